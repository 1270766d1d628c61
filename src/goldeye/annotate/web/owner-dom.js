// Building and renewing parts of the owner's page, and figures as text.

import { Refused } from "./api.js";

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element. Attributes that are null, undefined or false are left out; functions become event handlers.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} attributes
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") /** @type {any} */ (element)[name] = value;
    else if (name === "share") element.style.flexGrow = String(value); // its part of a bar
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(/** @type {any} */ (child));
  }
  return element;
}

const HANDLERS = /** @type {const} */ (["onclick", "onsubmit"]);

/**
 * Make the children of `place` like the given ones with as few changes as possible: what did not change keeps its
 * focus, selection and scroll position. Elements with the same `data-key` are one and the same.
 * @param {Element} place
 * @param {...(Child | Child[])} children
 */
export function renew(place, ...children) {
  const fresh = h("div", {}, ...children);
  merge(place, fresh);
}

/** @param {Element} place @param {Element} fresh */
function merge(place, fresh) {
  const wanted = new Set(Array.from(fresh.children, keyOf));
  // What is gone goes first, so that the rest need not move: moving an element takes its focus.
  for (const child of [...place.children]) if (keyOf(child) && !wanted.has(keyOf(child))) child.remove();
  const keyed = new Map(Array.from(place.children, (child) => [keyOf(child), child]));
  let at = place.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    const old = key ? keyed.get(key) : at && !keyOf(at) ? at : null;
    if (old && old === at) at = at.nextSibling;
    if (old && old.nodeName === child.nodeName) {
      if (old.nextSibling !== at) place.insertBefore(old, at);
      update(old, child);
    } else {
      old?.remove();
      place.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** @param {Node} node */
const keyOf = (node) => (node instanceof HTMLElement ? node.dataset.key : undefined);

/** @param {Node} old @param {Node} fresh */
function update(old, fresh) {
  if (!(old instanceof HTMLElement && fresh instanceof HTMLElement)) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // What a person has opened stays open; a style is written below, as the page's policy allows it.
    if (!fresh.hasAttribute(name) && name !== "open" && name !== "style") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  for (const handler of HANDLERS) /** @type {any} */ (old)[handler] = fresh[handler];
  merge(old, fresh);
}

// Figures ---------------------------------------------------------------------------------------------------------------

export const DASH = "–";

/** @param {number | null | undefined} value @param {number} [digits]  after the point */
export function number(value, digits = 0) {
  if (value === null || value === undefined) return DASH;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {number | null | undefined} share @param {number} [digits] */
export const percent = (share, digits = 0) => (share === null || share === undefined ? DASH : `${number(share * 100, digits)}\u00a0%`);

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/**
 * A figure with its interval, as in `0.71 [0.65, 0.77]`.
 * @param {{value: number | null, ci95: number[] | null} | null | undefined} figure @param {number} [digits]
 */
export function figure(figure, digits = 2) {
  if (!figure || figure.value === null) return DASH;
  const text = number(figure.value, digits);
  return figure.ci95 ? `${text} [${figure.ci95.map((end) => number(end, digits)).join(", ")}]` : text;
}

/** A time in words, the exact one on demand. @param {string | null} iso */
export function ago(iso) {
  if (!iso) return h("span", {}, DASH);
  const time = new Date(iso);
  const minutes = Math.max((Date.now() - time.getTime()) / 60_000, 0);
  let text = time.toLocaleDateString("en-GB", { dateStyle: "medium" });
  if (minutes < 1) text = "just now";
  else if (minutes < 60) text = `${Math.floor(minutes)} min ago`;
  else if (minutes < 24 * 60) text = `${Math.floor(minutes / 60)} h ago`;
  else if (minutes < 7 * 24 * 60) text = counted(Math.floor(minutes / 60 / 24), "day") + " ago";
  return h("time", { datetime: iso, title: moment(iso) }, text);
}

/** @param {string} iso */
export const moment = (iso) => new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** The class that colours a label's part of a bar. @param {string} label */
export function tone(label) {
  return `tone-${label.toLowerCase().replaceAll(" ", "-")}`;
}

/** Counts or shares of all labels of the task, in its order. @param {string[]} labels @param {Record<string, number>} given */
export const inOrder = (labels, given) => Object.fromEntries(labels.map((label) => [label, given[label] ?? 0]));

/** Parts of a whole as one bar; the text beside says the same. @param {Record<string, number>} parts */
export function bar(parts) {
  const total = Object.values(parts).reduce((sum, part) => sum + part, 0);
  return h(
    "span",
    { class: "bar", "aria-hidden": "true" },
    total > 0 && Object.entries(parts).map(([label, part]) => part > 0 && h("span", { class: tone(label), share: part / total })),
  );
}

/**
 * A table: the first cell of each row is its header, all others are figures. Wide ones can be scrolled sideways.
 * @param {string} caption @param {Child[]} header @param {{cells: (Child | Child[])[], key?: string, strong?: boolean}[]} rows
 */
export function table(caption, header, rows) {
  const head = h("tr", {}, header.map((cell) => h("th", { scope: "col" }, cell)));
  const body = rows.map(({ cells: [first, ...rest], key, strong }) =>
    h("tr", { "data-key": key, class: strong ? "sum" : null }, h("th", { scope: "row" }, first), rest.map((cell) => h("td", {}, cell))),
  );
  return h(
    "div",
    { class: "scroll", role: "group", tabindex: 0, "aria-label": caption },
    h("table", { class: "figures" }, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, body)),
  );
}

/** An enhancer's slot and its name. @param {string} slot @param {Record<string, string>} names */
export function enhancer(slot, names) {
  const name = names[slot];
  return name && name !== slot ? [h("span", { class: "slot" }, slot), ` ${name}`] : slot;
}

/** What went wrong, as one sentence. @param {unknown} error */
export function sentence(error) {
  if (error instanceof Refused) return error.message;
  return "The server does not answer: please try again in a moment.";
}
