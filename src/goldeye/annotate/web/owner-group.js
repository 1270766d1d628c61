// One group: its pictures side by side, who answered what, and its use as a gold or qualification item.

import { request } from "./api.js";
import { byId, enhancer, h, moment, number, renew, sentence } from "./owner-dom.js";
import { groupAddress, lastList } from "./owner-groups.js";
import { goldForm } from "./owner-gold.js";
import { Pane, Viewer } from "./viewer.js";

/**
 * @typedef {{id: string, width: number, height: number, original: string | null, lr: string | null,
 *   candidates: Record<string, string>, names: Record<string, string>,
 *   gold: {kind: string, expected: Record<string, string>, note: string | null} | null,
 *   answers: {person: string, kind: string, status: string, seconds: number | null,
 *     labels: Record<string, string | null>, skip_reason: string | null,
 *     history: {time: string, slot: string | null, label: string | null}[]}[]}} Group
 */

const ROOM = 250; // CSS pixels of the window's height for what stands around the pictures
const GAP = 8;
const CAPTION = 34;
const KINDS = /** @type {Record<string, string>} */ ({ normal: "vote", gold: "gold item", repeat: "repeated", qualification: "qualification" });
const STATUSES = /** @type {Record<string, string>} */ ({ leased: "open", complete: "complete", expired: "given up", surplus: "late, not counted" });

const viewer = new Viewer((text) => (byId("zoom-text").value = text));
/** @type {Group | null} */
let group = null;
let panes = /** @type {Pane[]} */ ([]);
let asked = "";

/** The group is on the screen no more. */
export function leaveGroup() {
  group = null;
  asked = "";
}

/** @param {string} id @param {string[]} labels  those of the task */
export async function openGroup(id, labels) {
  if (id === asked) return;
  asked = id;
  group = null;
  byId("group-title").textContent = id;
  byId("pictures").replaceChildren();
  renew(byId("group-body"), h("p", { class: "soft" }, "Loading…"));
  neighbours(id);
  try {
    const answer = /** @type {Group} */ (await request("GET", `/api/owner/group?id=${encodeURIComponent(id)}`));
    if (asked !== id) return; // another one was opened meanwhile
    group = answer;
    details(labels);
    await pictures(answer);
  } catch (error) {
    if (asked !== id) return;
    const text = error instanceof DOMException ? "A picture of this group cannot be loaded." : sentence(error);
    if (group) byId("pictures").replaceChildren(h("p", { class: "problem", role: "alert" }, text));
    else renew(byId("group-body"), h("p", { class: "problem", role: "alert" }, text));
  }
}

/** @param {string} id */
function neighbours(id) {
  const { address, ids } = lastList();
  byId("group-back").href = address;
  const at = ids.indexOf(id);
  for (const [name, to] of /** @type {const} */ ([["before", at - 1], ["after", at + 1]])) {
    const other = at < 0 ? undefined : ids[to];
    byId(`group-${name}`).disabled = other === undefined;
    byId(`group-${name}`).onclick = () => other !== undefined && (location.hash = groupAddress(other));
  }
}

// Pictures --------------------------------------------------------------------------------------------------------------

/** @param {Group} shown */
async function pictures(shown) {
  const { original, lr, candidates, names } = shown;
  const all = /** @type {[string, string][]} */ ([]);
  if (original) all.push(["Original", original]);
  if (lr) all.push(["LR input", lr]);
  const slots = Object.keys(candidates).sort();
  all.push(...slots.map((slot) => /** @type {[string, string]} */ ([names[slot] ?? slot, candidates[slot]])));
  const loaded = await Promise.all(all.map(([name, source]) => {
    const flipped = original && source !== original;
    return Pane.load(flipped ? [source, original] : [source], flipped ? [name, "Original"] : [name]);
  }));
  if (group !== shown) return;
  panes = loaded.map((layers) => {
    const pane = new Pane();
    pane.put(layers);
    return pane;
  });
  byId("pictures").replaceChildren(...panes.map((pane, i) => {
    const [name] = all[i];
    const slot = slots.find((each) => candidates[each] === all[i][1]);
    return h("figure", {}, pane.element, h("figcaption", {}, slot ? enhancer(slot, names) : name));
  }));
  byId("flip").hidden = !original;
  viewer.setPanes(panes, shown.width, shown.height);
  fit();
  flip(false);
}

/** As many columns as let the pictures be largest. */
function fit() {
  const place = byId("pictures");
  if (!group || panes.length === 0 || place.clientWidth === 0) return;
  const room = { width: place.clientWidth, height: Math.max(innerHeight - ROOM, 320) };
  let best = { columns: 1, width: 1, height: 1 };
  for (let columns = 1; columns <= panes.length; columns++) {
    const rows = Math.ceil(panes.length / columns);
    const widest = Math.floor((room.width - (columns - 1) * GAP) / columns);
    const highest = Math.floor((room.height - (rows - 1) * GAP) / rows) - CAPTION;
    const height = Math.min(highest, Math.floor((widest * group.height) / group.width));
    const width = Math.min(widest, Math.max(Math.floor((height * group.width) / group.height), 120));
    if (width * height > best.width * best.height) best = { columns, width, height };
  }
  // The picture is enlarged by whole numbers only: the windows are as large as it is then.
  const gain = Math.floor(devicePixelRatio * Math.min(best.width / group.width, best.height / group.height)) / devicePixelRatio;
  if (gain > 0) best = { ...best, width: Math.ceil(group.width * gain), height: Math.ceil(group.height * gain) };
  place.style.setProperty("--columns", String(best.columns));
  place.style.setProperty("--view-width", `${best.width}px`);
  place.style.setProperty("--view-height", `${best.height}px`);
  viewer.setWindow(best.width, best.height);
}

/** The original in the place of the version under the pointer, or of all versions. @param {boolean} on */
function flip(on) {
  const under = panes.filter((pane) => pane.element.matches(":hover"));
  for (const pane of panes) {
    const flipped = on && pane.layers.length > 1 && (under.length === 0 || under.includes(pane));
    pane.flip(flipped);
    pane.element.parentElement?.classList.toggle("flipped", flipped);
  }
  byId("flip").setAttribute("aria-pressed", String(on));
}

const KEYS = /** @type {Record<string, (event: KeyboardEvent) => void>} */ ({
  "+": () => viewer.step(1),
  "=": () => viewer.step(1),
  "-": () => viewer.step(-1),
  z: () => viewer.toggle(),
  f: (event) => event.repeat || flip(true),
  arrowleft: () => viewer.pan(-40, 0),
  arrowright: () => viewer.pan(40, 0),
  arrowup: () => viewer.pan(0, -40),
  arrowdown: () => viewer.pan(0, 40),
});

addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  const writing = event.target instanceof Element && event.target.closest("input, select, textarea, dialog");
  const scrolls = key === "arrowup" || key === "arrowdown" || key === "arrowleft" || key === "arrowright";
  const onPictures = document.activeElement === byId("pictures");
  if (!group || writing || event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS) || (scrolls && !onPictures)) return;
  KEYS[key](event);
  event.preventDefault();
});
addEventListener("keyup", (event) => {
  if (event.key.toLowerCase() === "f") flip(false);
});
addEventListener("blur", () => flip(false));
addEventListener("resize", fit);
byId("zoom-in").onclick = () => viewer.step(1);
byId("zoom-out").onclick = () => viewer.step(-1);
byId("zoom-fit").onclick = () => viewer.toggle();
byId("flip").onclick = () => flip(byId("flip").getAttribute("aria-pressed") !== "true");

// Answers ---------------------------------------------------------------------------------------------------------------

/** @param {string[]} labels */
function details(labels) {
  if (!group) return;
  const shown = group;
  renew(
    byId("group-body"),
    answers(shown),
    goldForm(shown, labels, (gold) => {
      shown.gold = gold;
      if (group === shown) details(labels);
    }),
  );
}

/** @param {Group} shown */
function answers({ answers, candidates, names }) {
  const slots = Object.keys(candidates).sort();
  if (answers.length === 0) {
    return h("section", { class: "panel" }, h("h2", {}, "Answers"), h("p", {}, "Nobody has been given this group yet."));
  }
  const columns = ["Person", "As", "State", "Seconds", ...slots.map((slot) => enhancer(slot, names)), "History"];
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Answers"),
    h(
      "div",
      { class: "scroll", role: "group", tabindex: 0, "aria-label": "Answers" },
      h(
        "table",
        { class: "figures" },
        h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, answers.map((answer) =>
          h("tr", {},
            h("th", { scope: "row" }, answer.person),
            h("td", {}, KINDS[answer.kind] ?? answer.kind),
            h("td", {}, state(answer), answer.skip_reason && h("q", {}, answer.skip_reason)),
            h("td", {}, number(answer.seconds, 1)),
            slots.map((slot) => h("td", {}, word(answer.labels[slot]))),
            h("td", {}, past(answer.history, names)),
          ))),
      ),
    ),
  );
}

/** @param {Group["answers"][0]} answer */
const state = ({ status, skip_reason: reason }) => (reason ? "skipped" : STATUSES[status] ?? status);

/** @param {string | null | undefined} label */
const word = (label) => (label ? h("span", { class: `word ${label.toLowerCase()}` }, label) : "–");

/** @param {Group["answers"][0]["history"]} history @param {Record<string, string>} names */
function past(history, names) {
  if (history.length === 0) return "–";
  const lines = history.map(({ time, slot, label }) =>
    h("li", {}, h("time", { datetime: time, class: "soft" }, moment(time)), " ",
      slot === null ? "skipped" : `${names[slot] ?? slot}: ${label ?? "taken back"}`));
  return h("details", {}, h("summary", {}, `${number(history.length)} ${history.length === 1 ? "answer" : "answers"}`), h("ol", {}, lines));
}
