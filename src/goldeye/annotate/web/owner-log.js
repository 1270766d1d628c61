// Every change: who did what and when.

import { request } from "./api.js";
import { byId, h, moment, renew, sentence } from "./owner-dom.js";

const PAGE = 100;

/** @typedef {{id: number, time: string, actor: string | null, action: string, detail: unknown}} Entry */

let entries = /** @type {Entry[]} */ ([]);

/** Show the newest entries. */
export async function showLog() {
  entries = [];
  await more();
}

async function more() {
  const button = byId("log-older");
  const last = entries.at(-1);
  try {
    const answer = await request("GET", last ? `/api/owner/log?before=${last.id}` : "/api/owner/log");
    entries = [...entries, ...answer.entries];
    renew(byId("log-body"), entries.length > 0 ? logTable() : h("p", { class: "panel hello" }, "Nothing has been changed yet."));
    button.hidden = answer.entries.length < PAGE;
    button.onclick = more;
  } catch (error) {
    renew(byId("log-body"), entries.length > 0 && logTable(), h("p", { class: "problem", role: "alert" }, sentence(error)));
    button.hidden = entries.length === 0;
  }
}

function logTable() {
  return h(
    "div",
    { class: "scroll panel", role: "group", tabindex: 0, "aria-label": "Log of changes", "data-key": "log" },
    h(
      "table",
      { class: "figures words" },
      h("thead", {}, h("tr", {}, ["Time", "Who", "What", "Details"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, entries.map(({ id, time, actor, action, detail }) =>
        h("tr", { "data-key": id },
          h("td", {}, h("time", { datetime: time }, moment(time))),
          h("td", {}, actor ?? "–"),
          h("td", {}, action.replaceAll("_", " ")),
          h("td", { class: "detail" }, text(detail))))),
    ),
  );
}

/** @param {unknown} detail @returns {string} */
function text(detail) {
  if (detail === null || detail === undefined) return "";
  if (typeof detail !== "object") return String(detail);
  if (Array.isArray(detail)) return detail.map(text).join(", ");
  return Object.entries(detail).map(([name, value]) => `${name.replaceAll("_", " ")}: ${text(value)}`).join("; ");
}
