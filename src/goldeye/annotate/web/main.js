// The annotator's page: start, judge group after group, done.

import { ActiveClock, Queue, Refused, isPassing, pause, request } from "./api.js";
import { Pane, Viewer, arrange, make } from "./viewer.js";

/** @type {Record<string, string>} */
const LABELS = { p: "Positive", s: "Similar", n: "Negative" };

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/**
 * @typedef {{finished: boolean, assignment: string, original: string, candidates: string[], answers: (string | null)[],
 *   width: number, height: number, progress: {done: number, total: number}}} Work
 */

const viewer = new Viewer((text) => (byId("zoom-text").value = text));
const clock = new ActiveClock();
const original = new Pane();

/** @type {Queue} */
let queue;
let name = "";
/** @type {Work | null} */
let work = null;
/** @type {{element: HTMLElement, badge: HTMLElement, pane: Pane, buttons: HTMLButtonElement[]}[]} */
let cards = [];
let chosen = 0;
/** @type {{position: number, label: string | null}[]} what undo goes back to, in this group */
let history = [];
let moving = false;
let halted = false; // an error is on the screen: no group replaces it before it was read

// Screens -----------------------------------------------------------------------------------------------------------

/** @param {"start" | "message" | "work"} screen */
function show(screen) {
  for (const id of ["start", "message", "work"]) byId(id).hidden = id !== screen;
  for (const id of ["footer", "zoom"]) byId(id).hidden = screen !== "work";
  for (const id of ["progress", "saved"]) byId(id).hidden = queue === undefined;
}

/** @param {string} title @param {string} text @param {string} [button] @param {() => void} [action] */
function message(title, text, button, action) {
  work = null;
  byId("message-title").textContent = title;
  byId("message-text").textContent = text;
  byId("message-button").textContent = button ?? "";
  byId("message-button").parentElement.hidden = !button;
  byId("message-button").onclick = action ?? null;
  show("message");
}

/** @param {string} text  said by screen readers */
const announce = (text) => (byId("announce").textContent = text);

/** @param {string} text */
function explain(text) {
  byId("saved").textContent = text;
  byId("saved").dataset.state = "problem";
}

/** @param {Refused} error */
function refused(error) {
  halted = true;
  if (error.status === 401) {
    message("Your link is not valid any more", "Please ask the owner of this annotation for a new one. What you have judged is kept.");
  } else {
    message("An answer was not taken", `${error.message} Please go on: the group is shown as it is saved.`, "Go on", next);
  }
}

/** @param {{waiting: number, away: boolean}} state */
function saveState({ waiting, away }) {
  const answers = waiting === 1 ? "1 answer" : `${waiting} answers`;
  byId("saved").textContent = waiting === 0 ? "All saved" : away ? `Server away: ${answers} kept here` : "Saving…";
  byId("saved").dataset.state = away ? "problem" : waiting ? "saving" : "saved";
}

// From the link to the first group ------------------------------------------------------------------------------------

async function begin() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    // The token is sent on a click only: link previews and prefetching must not use it.
    show("start");
    byId("start-button").onclick = () => signIn(token);
    byId("start-button").focus();
    return;
  }
  try {
    enter(await request("GET", "/api/session"));
  } catch (error) {
    if (isPassing(error)) {
      message("The server does not answer", "Please try again in a moment.", "Try again", begin);
    } else {
      message("Please open your personal link", "The owner of this annotation gave you one. It looks like this page’s address with “#token=…” at its end.");
    }
  }
}

/** @param {string} token */
async function signIn(token) {
  byId("start-button").disabled = true;
  try {
    const who = await request("POST", "/api/session", { token });
    window.history.replaceState(null, "", location.pathname);
    enter(who);
  } catch (error) {
    if (isPassing(error)) {
      message("The server does not answer", "Please try again in a moment.", "Try again", begin);
    } else {
      message("This link does not work", /** @type {Error} */ (error).message);
    }
  }
  byId("start-button").disabled = false;
}

/** @param {{name: string, instance: string}} who */
function enter(who) {
  name = who.name;
  byId("name").textContent = name;
  queue = new Queue(`${who.instance}:${name}`, saveState, refused);
  saveState({ waiting: queue.waiting.size, away: false });
  next();
}

// A group -------------------------------------------------------------------------------------------------------------

async function next() {
  if (moving) return;
  moving = true;
  halted = false;
  update();
  try {
    await queue.empty(); // the server gives out the next group once it has every answer to this one
    if (!halted) await load();
  } finally {
    moving = false;
    update();
  }
}

async function load() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
    try {
      const answer = await request("POST", "/api/next");
      if (answer.finished) {
        progress(answer.progress);
        const judged = answer.progress.done === 1 ? "1 group" : `${answer.progress.done} groups`;
        message(`All done. Thank you, ${name}!`, `You have judged ${judged}, and every answer is saved. You can close this page.`, "Look for more", next);
      } else {
        await open(answer);
      }
      return;
    } catch (error) {
      if (error instanceof Refused && !isPassing(error)) return refused(error);
      // A picture that does not load is a DOMException, a server that is away a TypeError.
      explain(error instanceof TypeError ? "Server away: trying again" : "A picture cannot be loaded: trying again");
      await pause(wait);
    }
  }
}

/** @param {{done: number, total: number}} share */
function progress({ done, total }) {
  byId("progress-bar").max = Math.max(total, 1);
  byId("progress-bar").value = done;
  byId("progress-text").textContent = `${done} of ${total}`;
}

/** @param {Work} group */
async function open(group) {
  if (cards.length !== group.candidates.length) makeCards(group.candidates.length);
  // All pictures appear at once: none is known by coming in first.
  await Promise.all([
    original.show([group.original], ["Original"]),
    ...cards.map((card, i) => card.pane.show([group.candidates[i], group.original], [`Version ${i + 1}`, "Original"])),
  ]);
  work = group;
  history = [];
  progress(group.progress);
  byId("numbers").textContent = cards.length === 1 ? "1" : `1–${Math.min(cards.length, 9)}`;
  viewer.setPanes([original, ...cards.map((card) => card.pane)], group.width, group.height);
  show("work");
  fitWindow();
  choose(Math.max(group.answers.indexOf(null), 0));
  saveState({ waiting: queue.waiting.size, away: queue.away });
  clock.take();
}

/** @param {number} count */
function makeCards(count) {
  cards = Array.from({ length: count }, (_, i) => {
    const element = make("article", "card-pane");
    element.setAttribute("role", "group");
    const pane = new Pane();
    const caption = make("div", "caption");
    const badge = make("span", "badge");
    badge.textContent = String(i + 1);
    const buttons = Object.entries(LABELS).map(([key, label]) => {
      const button = /** @type {HTMLButtonElement} */ (make("button", label.toLowerCase()));
      button.type = "button";
      button.textContent = label;
      button.setAttribute("aria-label", `Version ${i + 1}: ${label}`);
      button.setAttribute("aria-keyshortcuts", key.toUpperCase());
      button.onclick = () => give(i, label);
      button.onfocus = () => choose(i);
      return button;
    });
    caption.append(badge, ...buttons);
    element.append(pane.element, caption);
    pane.element.addEventListener("pointerdown", () => choose(i));
    return { element, badge, pane, buttons };
  });
  byId("candidates").replaceChildren(...cards.map((card) => card.element));
}

function fitWindow() {
  if (!work) return;
  const main = byId("work");
  const style = getComputedStyle(main);
  const gap = parseFloat(style.columnGap);
  const room = {
    width: main.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
    height: main.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
  };
  const caption = parseFloat(style.getPropertyValue("--caption"));
  const best = arrange(cards.length, room, work, { gap, caption });
  const width = Math.max(best.width, 160);
  const height = Math.max(best.height, 120);
  const used = (best.columns + 1) * width + best.columns * gap;
  main.style.setProperty("--columns", best.columns);
  main.style.setProperty("--inset", `${Math.max(Math.floor((room.width - used) / 2), 0)}px`); // whole pixels: sharp
  main.style.setProperty("--view-width", `${width}px`);
  main.style.setProperty("--view-height", `${height}px`);
  byId("guide").hidden = room.height - height - caption < 190;
  viewer.setWindow(width, height);
}

/** @param {number} position */
function choose(position) {
  chosen = position;
  update();
}

/** @param {number} position @param {string | null} label */
function put(position, label) {
  if (!work) return;
  work.answers[position] = label;
  queue.add({ assignment: work.assignment, position, label, active_ms: clock.take() });
  announce(`Version ${position + 1}: ${label ?? "no label"}`);
}

/** Label a version and go on to the next one without. @param {number} position @param {string} label */
function give(position, label) {
  if (!work || moving) return;
  if (work.answers[position] !== label) {
    history.push({ position, label: work.answers[position] });
    put(position, label);
  }
  const count = cards.length;
  const open = Array.from({ length: count }, (_, i) => (position + 1 + i) % count).find((i) => work?.answers[i] === null);
  choose(open ?? position);
}

function undo() {
  if (!work || moving) return;
  // After a reload there is no history: then the chosen version's label is taken back.
  const last = history.pop() ?? { position: chosen, label: null };
  if (work.answers[last.position] !== last.label) put(last.position, last.label);
  choose(last.position);
}

/** Show the state of the group. */
function update() {
  const answers = work?.answers ?? [];
  cards.forEach((card, i) => {
    const label = answers[i];
    card.element.classList.toggle("chosen", i === chosen);
    card.element.dataset.label = label ?? "";
    card.element.setAttribute("aria-label", `Version ${i + 1}, ${label ?? "no label"}${i === chosen ? ", chosen" : ""}`);
    card.buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === label)));
  });
  byId("next").disabled = moving || !work || answers.includes(null);
  byId("undo").disabled = moving || !work || answers.every((label) => label === null);
}

/** @param {boolean} on */
function flip(on) {
  cards.forEach((card, i) => {
    const flipped = on && i === chosen;
    card.pane.flip(flipped);
    card.element.classList.toggle("flipped", flipped);
  });
}

// Keys and pointer ------------------------------------------------------------------------------------------------

addEventListener("keydown", (event) => {
  if (!work || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  // A button that was reached with Tab keeps its own keys.
  const onButton = event.target instanceof HTMLButtonElement && (key === "enter" || key === " ");
  if (onButton) return;
  const number = /^[1-9]$/.test(key) ? Number(key) : 0;
  if (key === "+" || key === "=") viewer.step(1);
  else if (key === "-") viewer.step(-1);
  else if (key === "f" || key === " ") flip(true);
  else if (event.repeat) return; // a key held down is one answer
  else if (number > 0 && number <= cards.length) choose(number - 1);
  else if (key in LABELS) give(chosen, LABELS[key]);
  else if (key === "u") undo();
  else if (key === "backspace") choose(Math.max(chosen - 1, 0));
  else if (key === "enter" && !byId("next").disabled) next();
  else if (key === "z") viewer.toggle();
  else return;
  event.preventDefault();
});
addEventListener("keyup", (event) => {
  if (event.key.toLowerCase() === "f" || event.key === " ") flip(false);
});
addEventListener("blur", () => flip(false));
addEventListener("resize", fitWindow);
// The pointer leaves the keyboard's focus alone, so that Enter after a click still means "next group".
addEventListener("mousedown", (event) => {
  if (event.target instanceof Element && event.target.closest("button")) event.preventDefault();
});

byId("next").onclick = next;
byId("undo").onclick = undo;
byId("zoom-in").onclick = () => viewer.step(1);
byId("zoom-out").onclick = () => viewer.step(-1);
byId("zoom-fit").onclick = () => viewer.toggle();
addEventListener("hashchange", () => location.reload()); // another personal link in the same tab

{
  const element = make("article", "card-pane");
  const caption = make("div", "caption");
  const title = make("span", "title");
  title.textContent = "Original";
  caption.append(title);
  element.append(original.element, caption);
  byId("original").append(element);
}
begin();
