// A group whose answer is known: a gold item, mixed in unseen, or an item of the qualification.

import { request } from "./api.js";
import { enhancer, h, sentence } from "./owner-dom.js";

/** @typedef {import("./owner-group.js").Group} Group */

const KINDS = [
  ["gold", "Gold item, mixed in with the work"],
  ["qualification", "Qualification item, with the answer shown after it"],
];

/**
 * @param {Group} group
 * @param {string[]} labels  those of the task
 * @param {(gold: Group["gold"]) => void} changed
 */
export function goldForm({ id, candidates, names, gold }, labels, changed) {
  const slots = Object.keys(candidates).sort();
  const said = h("p", { class: "problem", role: "alert" });
  const note = h("textarea", { rows: 2, maxlength: 1000 }, gold?.note ?? "");
  const kinds = KINDS.map(([kind, text]) => {
    const input = h("input", { type: "radio", name: "gold-kind", value: kind });
    input.checked = kind === (gold?.kind ?? "gold");
    return { input, row: h("label", { class: "choice" }, input, text) };
  });
  const choices = slots.map((slot) => {
    const select = h("select", {}, h("option", { value: "" }, "–"), labels.map((label) => h("option", { value: label }, label)));
    select.value = gold?.expected[slot] ?? "";
    return { slot, select, row: h("label", {}, h("span", {}, enhancer(slot, names)), select) };
  });

  /** @param {string | null} kind  null: no more */
  async function send(kind) {
    const expected = kind ? Object.fromEntries(choices.filter(({ select }) => select.value).map(({ slot, select }) => [slot, select.value])) : {};
    said.textContent = "";
    if (kind && Object.keys(expected).length === 0) {
      said.textContent = "Please say which label is right for at least one version.";
      choices[0]?.select.focus();
      return;
    }
    try {
      const answer = await request("POST", "/api/owner/gold", { group: id, kind, expected, note: (kind && note.value.trim()) || null });
      changed(answer.gold);
    } catch (error) {
      said.textContent = sentence(error);
    }
  }

  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    send(kinds.find(({ input }) => input.checked)?.input.value ?? "gold");
  }
  const state = gold
    ? `This group is ${gold.kind === "gold" ? "a gold item" : "an item of the qualification"}.`
    : "Where you know the right labels, this group can test people. It is not given out for votes then.";
  return h(
    "section",
    { class: "panel", "data-key": `gold ${JSON.stringify(gold)}` },
    h("h2", {}, "Use as a test"),
    h("p", { role: "status" }, state),
    h(
      "form",
      { class: "gold", onsubmit: submit },
      h("fieldset", {}, h("legend", {}, "Kind"), kinds.map(({ row }) => row)),
      h("fieldset", {}, h("legend", {}, "Right labels"), h("div", { class: "fields" }, choices.map(({ row }) => row))),
      h("label", { class: "wide" }, "Note, shown with the answer in the qualification", note),
      h("p", { class: "actions" },
        h("button", { type: "submit", class: "primary" }, gold ? "Save changes" : "Use as a test"),
        gold && h("button", { type: "button", onclick: () => send(null) }, "Remove")),
      said,
    ),
  );
}
