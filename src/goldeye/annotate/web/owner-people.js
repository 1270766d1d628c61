// Who annotates, how it goes, and what the owner can do about it.

import { request } from "./api.js";
import { openPerson } from "./owner-person.js";
import { showLink } from "./owner-dialog.js";
import { ago, bar, byId, counted, h, inOrder, number, percent, renew, sentence } from "./owner-dom.js";

/**
 * @typedef {{id: number, name: string, role: string, state: string, quota: number | null, qualification: string | null,
 *   done: number, skipped: number, last_answer: string | null, median_seconds: number | null,
 *   shares: Record<string, number> | null, agreement: {value: number | null, ci95: number[] | null} | null,
 *   gold: {right: number, total: number, accuracy: number | null, ci95: number[] | null} | null,
 *   repeat: {same: number, total: number, consistency: number | null} | null, flags: string[]}} Person
 */

const COLUMNS = ["Person", "Groups", "Median s", "Labels", "Agrees with others", "Right on gold", "Same again", "Last answer"];
const STATES = /** @type {Record<string, string>} */ ({ paused: "paused", revoked: "link revoked", forgotten: "forgotten" });
const QUALIFICATION = /** @type {Record<string, string>} */ ({ open: "in qualification", failed: "not qualified" });

/** Ids in the order shown. It changes only when the part is opened: no row moves away under the pointer. */
let order = /** @type {number[]} */ ([]);

/** Whose labels stand out come first again, at the next look. */
export const arrangePeople = () => (order = []);

/** @param {{people: Person[]} | null} overview @param {string[]} labels  those of the task @param {() => Promise<void>} refresh */
export function showPeople(overview, labels, refresh) {
  byId("invite").onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    invite(refresh);
  };
  const people = overview?.people;
  if (!people) {
    renew(byId("people-body"), h("p", { class: "soft" }, "Loading…"));
  } else if (people.length === 0) {
    renew(byId("people-body"), h("p", { class: "panel hello" }, "Nobody has been invited yet."));
  } else {
    renew(byId("people-body"), people.some((person) => person.flags.length > 0) && legend(people), peopleTable(sorted(people), labels, refresh));
  }
}

/** @param {Person[]} people */
function sorted(people) {
  const gone = /** @type {(person: Person) => number} */ ((person) => Number(person.state === "revoked" || person.state === "forgotten"));
  const ranked = people.toSorted((a, b) => gone(a) - gone(b) || b.flags.length - a.flags.length || b.done - a.done || a.name.localeCompare(b.name));
  if (order.length === 0) order = ranked.map((person) => person.id);
  const known = new Set(order);
  order = [...ranked.filter((person) => !known.has(person.id)).map((person) => person.id), ...order];
  const byNumber = new Map(people.map((person) => [person.id, person]));
  return order.map((id) => byNumber.get(id)).filter((person) => person !== undefined);
}

/** @param {Person[]} people */
function legend(people) {
  const flagged = people.filter((person) => person.flags.length > 0).length;
  return h("p", { class: "soft", "data-key": "legend" }, `${counted(flagged, "person stands", "people stand")} out and should be looked at.`);
}

/** @param {Person[]} people @param {string[]} labels @param {() => Promise<void>} refresh */
function peopleTable(people, labels, refresh) {
  return h(
    "div",
    { class: "scroll panel", role: "group", tabindex: 0, "aria-label": "People", "data-key": "people" },
    h(
      "table",
      { class: "figures cards" },
      h("thead", {}, h("tr", {}, [...COLUMNS, h("span", { class: "unseen" }, "Actions")].map((name) => h("th", { scope: "col" }, name)))),
      people.map((person) => row(person, labels, refresh)),
    ),
  );
}

/** @param {Person} person @param {string[]} labels @param {() => Promise<void>} refresh */
function row(person, labels, refresh) {
  const { name, done, quota, skipped, gold, repeat } = person;
  const tags = [person.role === "owner" && "owner", STATES[person.state], person.qualification && QUALIFICATION[person.qualification]];
  const cells = [
    [number(done), quota !== null && h("span", { class: "soft" }, ` of ${number(quota)}`),
      skipped > 0 && h("span", { class: "soft block" }, `${number(skipped)} skipped`)],
    number(person.median_seconds, 1),
    shares(person.shares, labels),
    agreement(person.agreement),
    gold ? [`${number(gold.right)} of ${number(gold.total)}`, h("span", { class: "soft block" }, share(gold.accuracy, gold.ci95))] : "–",
    repeat ? [`${number(repeat.same)} of ${number(repeat.total)}`, h("span", { class: "soft block" }, percent(repeat.consistency))] : "–",
    ago(person.last_answer),
  ];
  return h(
    "tbody",
    { "data-key": person.id, class: person.flags.length > 0 ? "flagged" : null },
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("span", { class: "person" }, name), tags.map((tag) => tag && h("span", { class: "tag" }, tag))),
      cells.map((cell, i) => h("td", { "data-name": COLUMNS[i + 1] }, cell)),
      h("td", {}, h("button", { type: "button", onclick: () => openPerson(person, refresh), "aria-label": `Manage ${name}` }, "Manage")),
    ),
    person.flags.length > 0 && h("tr", { class: "flags" }, h("td", { colspan: COLUMNS.length + 1 }, person.flags.map((flag) => h("p", {}, flag)))),
  );
}

/** @param {Person["agreement"]} value */
function agreement(value) {
  if (!value || value.value === null) return "–";
  return [number(value.value, 2), value.ci95 && h("span", { class: "soft block" }, `[${value.ci95.map((end) => number(end, 2)).join(", ")}]`)];
}

/** @param {number | null} share @param {number[] | null} ends */
const share = (share, ends) => percent(share) + (ends ? ` [${ends.map((end) => number(end * 100)).join(", ")}]` : "");

/** @param {Record<string, number> | null} given @param {string[]} labels */
function shares(given, labels) {
  if (!given || labels.length < 2) return "–"; // of a preference there is only one label
  const parts = inOrder(labels, given);
  const text = Object.entries(parts).map(([label, part]) => `${label[0]}\u00a0${number(part * 100)}`).join(" · ");
  const spoken = Object.entries(parts).map(([label, part]) => `${label} ${percent(part)}`).join(", ");
  return h("span", { class: "shares" }, bar(parts), h("span", { "aria-hidden": "true" }, `${text} %`), h("span", { class: "unseen" }, spoken));
}

/** @param {() => Promise<void>} refresh */
async function invite(refresh) {
  const name = byId("invite-name");
  const quota = byId("invite-quota");
  const problem = byId("invite-problem");
  problem.textContent = "";
  if (!name.value.trim()) {
    problem.textContent = "Please give the person’s name.";
    name.focus();
    return;
  }
  if (!quota.validity.valid) {
    problem.textContent = "Most groups is a whole number of at least 1, or empty for no limit.";
    quota.focus();
    return;
  }
  try {
    const body = { name: name.value.trim(), role: byId("invite-role").value, quota: quota.value ? Number(quota.value) : null };
    const { person, link } = await request("POST", "/api/owner/people", body);
    name.value = "";
    quota.value = "";
    showLink(person.name, link);
    await refresh();
  } catch (error) {
    problem.textContent = sentence(error);
  }
}
