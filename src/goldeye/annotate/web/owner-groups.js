// All groups, a page at a time: where people disagree, and what was skipped.

import { request } from "./api.js";
import { bar, byId, counted, enhancer, h, inOrder, number, percent, renew, sentence } from "./owner-dom.js";

/**
 * @typedef {{id: string, votes: number, needed: number, disagreement: number | null,
 *   labels: Record<string, Record<string, number>>, gold: string | null, skipped: number}} Group
 */

const CHOICES = { sort: "disagreement", only: "all", page: "1" };
let address = "";
let shown = /** @type {Group[]} */ ([]);
let asked = 0;

/** The address of the list as it was last shown, and the groups on it: the way back and on from a group. */
export const lastList = () => ({ address: `#groups${address}`, ids: shown.map((group) => group.id) });

/** @param {string} id */
export const groupAddress = (id) => `#group=${encodeURIComponent(id)}`;

/**
 * @param {URLSearchParams} wanted  the page's address: which groups, in which order, which page
 * @param {Record<string, string>} names  of the enhancers, by slot
 * @param {string[]} labels  those of the task
 */
export async function showGroups(wanted, names, labels) {
  const now = ++asked;
  const choice = Object.fromEntries(Object.entries(CHOICES).map(([name, usual]) => [name, wanted.get(name) ?? usual]));
  for (const name of /** @type {const} */ (["sort", "only"])) {
    byId(`groups-${name}`).value = choice[name];
    byId(`groups-${name}`).onchange = (/** @type {Event} */ event) => {
      const { value } = /** @type {HTMLSelectElement} */ (event.target);
      location.hash = listAddress({ ...choice, [name]: value, page: "1" });
    };
  }
  const before = address;
  address = listAddress(choice).slice("groups".length);
  try {
    const answer = await request("GET", `/api/owner/groups?${new URLSearchParams(choice)}`);
    if (now !== asked) return; // another one was asked for meanwhile
    shown = answer.groups;
    byId("groups-count").textContent = `${counted(answer.total, "group")}; votes as ${labels.join(" / ")}`;
    if (answer.total === 0) renew(byId("groups-body"), h("p", { class: "panel hello" }, "There are no such groups."));
    else renew(byId("groups-body"), groupTable(answer.groups, names, labels), pager(choice, answer.page, answer.pages));
    if (address !== before) byId("main").scrollTop = 0;
  } catch (error) {
    byId("groups-count").textContent = "";
    renew(byId("groups-body"), h("p", { class: "problem", role: "alert" }, sentence(error)));
  }
}

/** @param {Record<string, string>} choice */
function listAddress(choice) {
  const changed = Object.entries(choice).filter(([name, value]) => value !== CHOICES[/** @type {keyof typeof CHOICES} */ (name)]);
  return ["groups", ...changed.map(([name, value]) => `${name}=${encodeURIComponent(value)}`)].join("&");
}

/** @param {Group[]} groups @param {Record<string, string>} names @param {string[]} labels */
function groupTable(groups, names, labels) {
  const slots = [...new Set([...Object.keys(names), ...groups.flatMap((group) => Object.keys(group.labels))])].sort();
  const columns = ["Group", "Votes", "Disagreement", ...slots.map((slot) => enhancer(slot, names))];
  return h(
    "div",
    { class: "scroll panel", role: "group", tabindex: 0, "aria-label": "Groups", "data-key": "groups" },
    h(
      "table",
      { class: "figures cards" },
      h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, groups.map((group) => row(group, slots, names, labels))),
    ),
  );
}

/** @param {Group} group @param {string[]} slots @param {Record<string, string>} names @param {string[]} labels */
function row(group, slots, names, labels) {
  const tags = [group.gold, group.skipped > 0 && `skipped by ${number(group.skipped)}`];
  return h(
    "tr",
    { "data-key": group.id },
    h("th", { scope: "row" }, h("a", { href: groupAddress(group.id) }, group.id), tags.map((tag) => tag && h("span", { class: "tag" }, tag))),
    h("td", { "data-name": "Votes" }, `${number(group.votes)} of ${number(group.needed)}`),
    h("td", { "data-name": "Disagreement" }, group.votes > 1 ? percent(group.disagreement) : "–"),
    slots.map((slot) => h("td", { "data-name": names[slot] ?? slot }, counts(group.labels[slot], labels))),
  );
}

/** As in `2 / 1 / 0`, with a bar. @param {Record<string, number> | undefined} given @param {string[]} labels */
function counts(given, labels) {
  if (!given) return "–";
  const all = inOrder(labels, given);
  const spoken = Object.entries(all).map(([label, count]) => `${label} ${count}`).join(", ");
  const text = Object.values(all).join(" / ");
  return h(
    "span",
    { class: "shares small", title: spoken },
    bar(all),
    h("span", { "aria-hidden": "true" }, text),
    h("span", { class: "unseen" }, spoken),
  );
}

/** @param {Record<string, string>} choice @param {number} page @param {number} pages */
function pager(choice, page, pages) {
  if (pages < 2) return null;
  /** @param {string} text @param {number} to */
  const way = (text, to) => {
    if (to < 1 || to > pages) return h("span", { class: "soft", "data-key": text }, text);
    return h("a", { href: `#${listAddress({ ...choice, page: String(to) })}`, "data-key": text }, text);
  };
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages", "data-key": "pager" },
    way("First", page > 1 ? 1 : 0), way("Previous", page - 1), h("span", { "data-key": "page" }, `Page ${number(page)} of ${number(pages)}`),
    way("Next", page + 1), way("Last", page < pages ? pages : 0),
  );
}
