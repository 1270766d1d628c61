// What the owner can do with one person.

import { request } from "./api.js";
import { openDialog, showLink, sure } from "./owner-dialog.js";
import { h, sentence } from "./owner-dom.js";

/** @typedef {import("./owner-people.js").Person} Person */

/** @param {Person} person @param {() => Promise<void>} refresh  the figures, after a change */
export function openPerson(person, refresh) {
  const { name, state } = person;
  const problem = h("p", { class: "problem", role: "alert" });
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const alive = state === "active" || state === "paused";

  /** @param {string} action @param {object} [more] */
  async function act(action, more = {}) {
    problem.textContent = "";
    try {
      const { link } = await request("POST", `/api/owner/people/${person.id}`, { action, ...more });
      dialog.close();
      if (link) showLink(name, link);
      await refresh();
    } catch (error) {
      problem.textContent = sentence(error);
    }
  }

  /** @param {string} action @param {string} title @param {string} text @param {string} yes */
  const ask = async (action, title, text, yes) => (await sure(title, text, yes)) && act(action);

  const ways = [
    state === "active" && way("Pause", "No new groups until you say so; the link stays valid.", () => act("pause")),
    state === "paused" && way("Resume", "Groups are given again.", () => act("resume")),
    alive && quotaForm(person, (quota) => act("quota", { quota })),
    alive && person.qualification === "failed" && way("Let try again", "The qualification begins anew.", () => act("requalify")),
    alive && (person.qualification === "failed" || person.qualification === "open") &&
      way("Count as qualified", "Groups are given without the rest of the qualification.", () => act("pass")),
    state !== "forgotten" &&
      way("New link", "Replaces a lost or revoked link.", () =>
        ask("renew", `A new link for ${name}?`,
          "The link that they have now stops working at once. The new one is shown to you once.",
          "Make a new link")),
    alive &&
      way("Revoke link", "They can answer no more; their votes stay.", () =>
        ask("revoke", `Revoke the link of ${name}?`,
          "They are signed out at once and can answer no more. Their votes stay. A new link brings them back.",
          "Revoke"), true),
    state !== "forgotten" &&
      way("Forget", "Removes the name; their votes stay under a pseudonym.", () =>
        ask("forget", `Forget ${name}?`,
          "Their name is removed for good and their link stops working. Their votes stay and count as before, under a " +
            "pseudonym. This cannot be taken back.",
          "Forget"), true),
  ];
  const dialog = openDialog(
    name,
    state === "forgotten" ? h("p", {}, "This person was forgotten; only the pseudonym and the votes are left.") : null,
    h("ul", { class: "ways" }, ways.map((each) => each && h("li", {}, each))),
    problem,
    h("p", { class: "actions" }, close),
  );
}

/** @param {string} name @param {string} text @param {() => void} act @param {boolean} [danger] */
function way(name, text, act, danger = false) {
  return [h("button", { type: "button", class: danger ? "danger" : null, onclick: act }, name), h("span", { class: "soft" }, text)];
}

/** @param {Person} person @param {(quota: number | null) => void} act */
function quotaForm(person, act) {
  const field = h("input", { type: "number", min: 1, step: 1, value: person.quota, placeholder: "none", "aria-label": "Most groups" });
  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    if (field.reportValidity()) act(field.value ? Number(field.value) : null);
  }
  const form = h("form", { class: "quota", onsubmit: submit }, field, h("button", { type: "submit" }, "Set limit"));
  return [form, h("span", { class: "soft" }, "The most groups they are given; empty for no limit.")];
}
