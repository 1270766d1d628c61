// The dialogs over the work: the keys and their choice, why a group is skipped, and the guideline.

import { request } from "./api.js";
import { keyName, keyOf } from "./keys.js";
import { byId } from "./screens.js";
import { make } from "./viewer.js";

/** @import { Keys } from "./keys.js" */

const REASONS = [
  "I cannot decide",
  "A picture is broken or empty",
  "The pictures do not show the same thing",
  "I do not want to see this picture",
];

/** True while a dialog is open: the keys are its own. */
export const dialogIsOpen = () => document.querySelector("dialog[open]") !== null;

/** Close buttons, and a click beside a dialog. */
export function wireDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    for (const button of dialog.querySelectorAll(".close")) button.addEventListener("click", () => dialog.close());
    dialog.addEventListener("pointerdown", (event) => {
      const box = dialog.getBoundingClientRect();
      const across = event.clientX >= box.left && event.clientX <= box.right;
      const along = event.clientY >= box.top && event.clientY <= box.bottom;
      if (event.target === dialog && !(across && along)) dialog.close();
    });
  }
}

/**
 * The help: all keys, each of which can be changed.
 * @param {Keys} keys
 * @param {number} versions  how many there are to choose from
 * @param {() => void} onChange
 */
export function showHelp(keys, versions, onChange) {
  const shown = keys.actions.filter(({ id }) => !id.startsWith("version:") || Number(id.slice(8)) <= versions);
  const say = (/** @type {string} */ text) => (byId("help-note").textContent = text);
  const list = () => {
    byId("help-keys").replaceChildren(
      ...shown.map(({ id, text }) => {
        const row = make("tr");
        const what = make("th");
        what.setAttribute("scope", "row");
        what.textContent = text;
        const cell = make("td");
        const button = /** @type {HTMLButtonElement} */ (make("button", "key"));
        button.type = "button";
        button.dataset.action = id;
        button.textContent = keys.of(id).map(keyName).join(" or ");
        button.setAttribute("aria-label", `${text}: ${keys.of(id).map(keyName).join(" or ")}. Change`);
        button.onclick = () => listen(button, id);
        cell.append(button);
        row.append(what, cell);
        return row;
      }),
    );
  };
  /** @param {HTMLButtonElement} button @param {string} id */
  const listen = (button, id) => {
    button.textContent = "Press a key…";
    button.focus();
    say("Press the new key, or Esc to leave it as it is.");
    const stop = () => {
      button.removeEventListener("keydown", take);
      button.removeEventListener("blur", cancel);
    };
    const cancel = () => {
      stop();
      list();
    };
    /** @param {KeyboardEvent} event */
    const take = (event) => {
      if (["Shift", "Control", "Alt", "AltGraph", "Meta"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      const refusal = event.key === "Escape" ? null : keys.set(id, keyOf(event));
      if (refusal) return say(refusal);
      say(event.key === "Escape" ? "Nothing was changed." : "Changed, for this browser.");
      stop();
      list();
      byId("help-keys").querySelector(`[data-action="${id}"]`)?.focus();
      onChange();
    };
    button.addEventListener("keydown", take);
    button.addEventListener("blur", cancel);
  };
  byId("help-reset").onclick = () => {
    keys.reset();
    list();
    say("All keys are as at first.");
    onChange();
  };
  list();
  say("Press a key’s button to change it.");
  byId("help").showModal();
}

/** Ask why a group is skipped. @param {(reason: string) => void} onReason */
export function askReason(onReason) {
  const dialog = byId("skip-dialog");
  const give = (/** @type {string} */ reason) => {
    dialog.close();
    onReason(reason);
  };
  byId("reasons").replaceChildren(
    ...REASONS.map((reason, i) => {
      const item = make("li");
      const button = /** @type {HTMLButtonElement} */ (make("button"));
      const number = make("kbd");
      button.type = "button";
      number.textContent = String(i + 1);
      button.append(number, ` ${reason}`);
      button.onclick = () => give(reason);
      item.append(button);
      return item;
    }),
  );
  byId("reason").value = "";
  byId("skip-form").onsubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const reason = byId("reason").value.trim();
    if (reason) give(reason);
  };
  dialog.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    const reason = event.target === byId("reason") ? undefined : REASONS[Number(event.key) - 1];
    if (!reason) return;
    event.preventDefault();
    give(reason);
  };
  dialog.showModal();
}

/** @type {Promise<{html: string, own?: boolean}> | null} */
let guideline = null;

/** The guideline, asked for once. Throws like `request`. */
export async function loadGuideline() {
  guideline ??= request("GET", "/api/guideline");
  try {
    return await guideline;
  } catch (error) {
    guideline = null;
    throw error;
  }
}

/** Put the guideline into an element. Throws like `request`. @param {HTMLElement} place */
export async function putGuideline(place) {
  place.innerHTML = (await loadGuideline()).html; // sanitised by the server
  // Markdown has no tables without a head: an empty one is no head.
  for (const head of place.querySelectorAll("thead")) if (!head.textContent?.trim()) head.remove();
}

/** The guideline over the work. */
export async function showGuideline() {
  const place = byId("guideline-text");
  byId("guideline").showModal();
  try {
    await putGuideline(place);
  } catch {
    place.textContent = "The guideline cannot be loaded at the moment. Please try again later.";
  }
  place.scrollTop = 0;
}
