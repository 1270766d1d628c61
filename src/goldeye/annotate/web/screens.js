// What the page says around the pictures: which screen is seen, messages, progress, and whether all is saved.

/** @import { Progress, Work } from "./deck.js" */
/** @import { Task } from "./keys.js" */

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** What is judged at one time. */
export let thing = "group";

/** Call it by its name wherever it is named. @param {Task} task */
export function nameThings({ kind }) {
  thing = { label: "group", pair: "pair", rating: "picture" }[kind];
  for (const element of document.querySelectorAll("[data-thing]")) element.textContent = thing;
}

/** Show a study's question above the guideline and above the pictures. @param {string} question */
export function ask(question) {
  for (const id of ["reading-title", "desk-title"]) {
    byId(id).textContent = question;
    byId(id).classList.remove("unseen");
  }
  byId("desk-title").title = question;
}

/** @param {"start" | "reading" | "message" | "desk"} screen @param {boolean} known  the person is signed in */
export function showScreen(screen, known) {
  for (const id of ["start", "reading", "message", "desk"]) byId(id).hidden = id !== screen;
  for (const id of ["footer", "zoom"]) byId(id).hidden = screen !== "desk";
  for (const id of ["progress", "saved", "tools"]) byId(id).hidden = !known || screen === "reading";
}

/** @param {string} title @param {string} text @param {string} [button] @param {() => void} [action] */
export function writeMessage(title, text, button, action) {
  byId("message-title").textContent = title;
  byId("message-text").textContent = text;
  byId("message-button").textContent = button ?? "";
  byId("message-button").hidden = !button;
  byId("message-button").onclick = action ?? null;
  byId("message-back").hidden = true;
}

/** @param {string} text  said by screen readers */
export const announce = (text) => (byId("announce").textContent = text);

/** Said to all, until the next key or touch. @param {string} text */
export function say(text) {
  announce(text);
  byId("toast").textContent = text;
  byId("toast").hidden = false;
}
for (const event of ["keydown", "pointerdown"]) {
  addEventListener(event, () => (byId("toast").hidden = true), { capture: true });
}

/** Why something takes long. @param {string} text */
export function explain(text) {
  byId("saved").textContent = text;
  byId("saved").dataset.state = "problem";
}

/** @param {{waiting: number, away: boolean}} state */
export function saveState({ waiting, away }) {
  const answers = waiting === 1 ? "1 answer" : `${waiting} answers`;
  byId("saved").textContent = waiting === 0 ? "All saved" : away ? `Server away: ${answers} kept here` : "Saving…";
  byId("saved").dataset.state = away ? "problem" : waiting ? "saving" : "saved";
}

/**
 * @param {Progress} share
 * @param {number} back  groups that come after the one on screen
 * @param {Work["practice"]} practice
 * @param {number[]} paces  active seconds of each group of this sitting
 */
export function writeProgress(share, back, practice, paces) {
  byId("progress").dataset.back = String(back > 0);
  byId("progress-bar").max = Math.max(practice ? practice.of : share.total, 1);
  byId("progress-bar").value = practice ? practice.number - 1 : share.done;
  let text = `${share.done} of ${share.total}`;
  if (back > 0) text = back === 1 ? `1 ${thing} back` : `${back} ${thing}s back`;
  if (practice) text = `Practice ${practice.number} of ${practice.of}`;
  byId("progress-text").textContent = text;
  const middle = [...paces].sort((a, b) => a - b)[Math.floor(paces.length / 2)];
  byId("pace").hidden = middle === undefined || practice !== null;
  byId("pace").textContent = `${Math.max(Math.round(middle ?? 0), 1)} s a ${thing}`;
}

/** A line above the pictures. @param {string} title @param {string} text */
export function notice(title, text) {
  byId("notice-title").textContent = title;
  byId("notice-text").textContent = text;
  byId("notice").hidden = false;
}
