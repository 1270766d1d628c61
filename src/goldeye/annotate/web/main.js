// The annotator's page: guideline, practice, judge group after group, done.

import { ActiveClock, Queue, Refused, isPassing, request } from "./api.js";
import { Board } from "./board.js";
import { Deck } from "./deck.js";
import { askReason, putGuideline, showGuideline, showHelp, wireDialogs } from "./dialogs.js";
import { writeGuide, writeKeys } from "./hints.js";
import { wireButtons, wireHolds, wireKeys } from "./input.js";
import { Keys } from "./keys.js";
import {
  announce, byId, explain, notice, saveState, say, showScreen, writeMessage, writeProgress,
} from "./screens.js";
import { useTheme } from "./theme.js";

/** @import { Task } from "./keys.js" */
/** @import { Group, Progress } from "./deck.js" */

/**
 * @typedef {{name: string, role: "annotator" | "owner", instance: string, title: string, task: Task, lr: boolean,
 *   reference: boolean}} Who
 */

const REST = 25 * 60_000; // active ms after which a rest is proposed

const clock = new ActiveClock();
const board = new Board(byId("work"), {
  choose: (position) => choose(position),
  label: (position, label) => give(position, label),
  fill: (position) => fill(position),
  zoom: (text) => (byId("zoom-text").value = text),
});

/** @type {Who} */
let who;
/** @type {Queue} */
let queue;
/** @type {Deck} */
let deck;
/** @type {Keys} */
let keys;
/** @type {Group | null} the group on screen */
let group = null;
/** @type {Progress} */
let share = { done: 0, total: 0 };
/** @type {number[]} active seconds of each group of this sitting */
let paces = [];
let begun = 0; // of the group on screen, on the active clock
let moving = false;
let halted = false; // an error is on the screen: no group replaces it before it was read

// Screens -----------------------------------------------------------------------------------------------------------

/** @param {"start" | "reading" | "message" | "desk"} screen */
const show = (screen) => showScreen(screen, queue !== undefined);

/** @param {string} title @param {string} text @param {string} [button] @param {() => void} [action] */
function message(title, text, button, action) {
  group = null;
  board.fill(false);
  writeMessage(title, text, button, action);
  show("message");
  byId(button ? "message-button" : "message-title").focus();
}

/** @param {Refused} error @param {string} [title] */
function refused(error, title = "An answer was not taken") {
  halted = true;
  if (error.status === 401) {
    const text = "Please ask the owner of this annotation for a new one. What you have judged is kept.";
    message("Your link is not valid any more", text);
  } else {
    message(title, `${error.message} Please go on: the group is shown as it is saved.`, "Go on", () => {
      deck.reset();
      next();
    });
  }
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
    next();
  } catch (error) {
    if (isPassing(error)) {
      message("The server does not answer", "Please try again in a moment.", "Try again", begin);
    } else {
      const text = "The owner of this annotation gave you one: this page’s address with “#token=…” at its end.";
      message("Please open your personal link", text);
    }
  }
}

/** @param {string} token */
async function signIn(token) {
  byId("start-button").disabled = true;
  try {
    const person = await request("POST", "/api/session", { token });
    window.history.replaceState(null, "", location.pathname);
    enter(person);
    await read();
  } catch (error) {
    if (isPassing(error)) {
      message("The server does not answer", "Please try again in a moment.", "Try again", begin);
    } else {
      message("This link does not work", /** @type {Error} */ (error).message);
    }
  }
  byId("start-button").disabled = false;
}

/** Show the guideline, before the work. */
async function read() {
  await putGuideline(byId("reading-text"));
  byId("begin-button").onclick = next;
  show("reading");
  byId("begin-button").focus({ preventScroll: true });
}

/** @param {Who} person */
function enter(person) {
  who = person;
  document.title = who.title || "Goldeye annotation";
  byId("name").textContent = who.name;
  byId("owner-link").hidden = who.role !== "owner";
  queue = new Queue(`${who.instance}:${who.name}`, saveState, (error) => refused(error));
  deck = new Deck(queue, explain);
  keys = new Keys(who.task, who.lr);
  board.setTask(who.task);
  saveState({ waiting: queue.waiting.size, away: false });
  byId("hold-lr").hidden = !who.lr;
  byId("hold-flip").hidden = who.task.kind !== "pair" && !who.reference;
  writeGuide(who.task, who.reference);
  nameKeys();
}

function nameKeys() {
  board.nameKeys(keys);
  writeKeys(keys, who.task, who.reference, board.cards.length);
}


// From group to group -------------------------------------------------------------------------------------------------

/** @param {() => Promise<void>} step */
async function move(step) {
  if (moving) return;
  moving = true;
  halted = false;
  update();
  try {
    await step();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refused(error, "The server did not take that");
  } finally {
    moving = false;
    update();
  }
}

/** What Enter does: the next group, or in practice first how the answers were. */
function forward() {
  if (!group || moving || !canLeave()) return;
  if (group.work.kind === "qualification" && !group.feedback) return move(feedback);
  if (group.feedback?.result) return result(group.feedback.result);
  return next();
}

function next() {
  const left = deck.current;
  if (left && left.work.kind === "normal" && canLeave()) count(left);
  return move(async () => {
    const came = await deck.next();
    if (halted) return;
    if (!("finished" in came)) return open(came);
    share = came.progress;
    progress();
    finish(came.reason);
  });
}

/** Bring the progress up to date with a group that is left: the server tells the same, but later. @param {Group} left */
function count(left) {
  const before = left.counted;
  left.counted = left.work.skipped ? "skipped" : "done";
  const now = (/** @type {string} */ what) => Number(left.counted === what) - Number(before === what);
  share = { done: share.done + now("done"), total: share.total - now("skipped") };
  if (before === null && left.counted === "done") paces.push((clock.total - begun) / 1000);
}

/** @param {string} reason */
function finish(reason) {
  const judged = `You have judged ${share.done === 1 ? "1 group" : `${share.done} groups`}, and every answer is saved.`;
  if (reason === "paused") {
    message("A pause", `The owner of this annotation has paused your work. ${judged}`, "Try again", next);
  } else if (reason === "unqualified") {
    const text = "The practice round was not passed. Please ask the owner of this annotation how to go on.";
    message("No work at the moment", text);
  } else if (reason === "quota") {
    message(`Your share is done. Thank you, ${who.name}!`, `${judged} You can close this page.`, "Look for more", next);
  } else if (reason === "done") {
    message(`All done. Thank you, ${who.name}!`, `${judged} You can close this page.`, "Look for more", next);
  } else {
    const text = "Another window of yours may have the group that comes next.";
    message("Nothing to do here at the moment", text, "Try again", next);
  }
  byId("message-back").hidden = share.done === 0 || reason === "unqualified";
}

/** To the group before the one on screen, if there is one whose answers can be changed. */
function previous() {
  if (group?.work.kind === "qualification") return say("In practice there is no way back.");
  return move(async () => {
    try {
      const before = await deck.previous();
      if (before) open(before, before.work.candidates.length - 1);
      else say("This is the first group.");
    } catch (error) {
      if (!isPassing(error)) throw error;
      explain("Server away: the group before cannot be shown now");
    }
  });
}

/** @param {Group} came @param {number | null} [at]  the version to choose; null: the first without an answer */
function open(came, at = null) {
  group = came;
  if (!came.counted) begun = clock.total;
  if (came.news && !came.early) share = came.work.progress;
  came.news = false;
  progress();
  show("desk");
  if (came.pictures) board.show(came.work, came.pictures, keys);
  nameKeys();
  byId("notice").hidden = true;
  choose(at ?? Math.max(came.work.answers.indexOf(null), 0));
  announce(`${byId("progress-text").textContent}. ${came.work.candidates.length} versions.`);
  if (clock.sinceBreak > REST) byId("rest").hidden = false;
  if (came.work.kind === "normal") prepare();
}

/** Load the next group; its progress is news, as long as the group on screen is not in it. */
async function prepare() {
  deck.prepare();
  const behind = await deck.ahead?.group;
  if (!behind?.news || !group || deck.back > 0 || canLeave()) return;
  behind.news = false;
  share = behind.work.progress;
  progress();
}

const progress = () => writeProgress(share, group ? deck.back : 0, group?.work.practice ?? null, paces);

// Practice ------------------------------------------------------------------------------------------------------------

async function feedback() {
  const practised = group;
  if (!practised) return;
  const said = await deck.feedback();
  if (halted) return;
  practised.feedback = said;
  practised.work.answers = said.answers;
  /** @type {(label: string) => string} */
  const word = (label) => (who.task.kind === "rating" ? `${label} ${who.task.words[label]}` : label);
  const wrong = said.expected.flatMap((label, i) => {
    const given = said.answers[i];
    if (label === null || label === given) return [];
    return [`Version ${i + 1}: expected ${word(label)}, you said ${given ? word(given) : "nothing"}.`];
  });
  notice(`${said.right} of ${said.total} as expected.`, [...wrong, said.note ?? ""].join(" "));
  if (said.result === null || said.result.passed) deck.prepare();
}

/** @param {{passed: boolean, right: number, total: number, needed: number}} outcome */
function result({ passed, right, total, needed }) {
  const counted = `${right} of ${total} answers were as expected; ${Math.round(needed * 100)} % are needed.`;
  if (passed) {
    message("Practice passed", `${counted} Now the work begins: there is no feedback any more.`, "Begin the work", next);
  } else {
    const text = "Thank you for trying. Please ask the owner of this annotation how to go on.";
    message("Practice not passed", `${counted} ${text}`);
  }
}

// Answers -------------------------------------------------------------------------------------------------------------

/** @param {number} position */
function choose(position) {
  board.choose(position);
  update();
}

/** All versions have their answers, or the group was skipped. */
function canLeave() {
  const work = deck.current?.work;
  if (!work) return false;
  return work.skipped || (who.task.kind === "pair" ? work.answers.includes("Preferred") : !work.answers.includes(null));
}

/** Answers can be given and changed now. */
const canAnswer = () => group !== null && !moving && group.feedback === null;

/** @param {number} position @param {string | null} label */
function put(position, label) {
  if (!group) return;
  const { work } = group;
  if (who.task.kind === "pair" && label !== null) work.answers.fill(null);
  work.answers[position] = label;
  work.skipped = false;
  queue.add({ assignment: work.assignment, position, label, active_ms: clock.take() });
  announce(`Version ${position + 1}: ${label ?? "no label"}`);
}

/** Label a version and go on to the next one without. @param {number} position @param {string} label */
function give(position, label) {
  if (!group || !canAnswer()) return;
  const { answers } = group.work;
  if (answers[position] !== label) {
    group.undo.push({ answers: [...answers], chosen: position });
    put(position, label);
  }
  const count = answers.length;
  const others = Array.from({ length: count }, (_, i) => (position + 1 + i) % count);
  const open = others.find((i) => answers[i] === null);
  choose(who.task.kind === "pair" ? position : (open ?? position));
}

function undo() {
  if (!group || !canAnswer()) return;
  const { answers } = group.work;
  // After a reload there is no history: then the chosen version's label is taken back.
  const before = group.undo.pop() ?? { answers: answers.with(board.chosen, null), chosen: board.chosen };
  // A preference given to one picture takes it from the other by itself.
  const changed = answers.flatMap((label, i) => (label !== before.answers[i] ? [i] : []));
  const told = changed.filter((i) => before.answers[i] !== null || !changed.some((j) => before.answers[j] !== null));
  for (const i of told) put(i, before.answers[i]);
  choose(before.chosen);
}

function skip() {
  if (!group || !canAnswer() || group.work.kind === "qualification") return;
  const skipped = group;
  askReason((reason) => {
    if (group !== skipped || moving) return;
    skipped.work.skipped = true;
    queue.add({ assignment: skipped.work.assignment, reason, active_ms: clock.take() });
    next();
  });
}

/** Let a picture fill the screen, or show all again when it does. @param {number | null} position  null: the original */
function fill(position) {
  if (!group) return;
  const on = !board.full;
  board.fill(on, position === null);
  if (position !== null) choose(position);
}

/** What Backspace does: the version before; at the first, the group before. */
function back() {
  if (group && board.chosen > 0) choose(board.chosen - 1);
  else previous();
}

/** Show the state of the group. */
function update() {
  const work = group?.work;
  if (group) board.update(group.feedback);
  const practice = work?.kind === "qualification";
  byId("next").disabled = moving || !group || !canLeave();
  byId("undo").disabled = !canAnswer() || !work || work.answers.every((label) => label === null);
  byId("skip").disabled = !canAnswer() || practice;
  byId("previous").disabled = moving || practice;
  byId("next-name").textContent = practice && !group?.feedback ? "Check" : deck?.back > 0 ? "Forward" : "Next group";
  if (group && work?.skipped) notice("You skipped this group.", "An answer lifts that.");
  else if (group && !group.feedback) byId("notice").hidden = true;
}

/** A version's number: chosen, or preferred where that is the question. @param {number} position */
function version(position) {
  if (position >= board.cards.length) return;
  if (board.full) board.fill(true);
  if (who.task.kind === "pair") give(position, who.task.labels[0]);
  else choose(position);
}

async function signOut() {
  byId("help").close();
  halted = true;
  await queue.empty();
  try {
    await request("POST", "/api/sign-out", {});
    message("You are signed out", "Every answer is saved. Your personal link brings you back.");
    byId("tools").hidden = true;
  } catch (error) {
    if (error instanceof Refused) refused(error, "The server did not take that");
    else explain("Server away: you are still signed in");
  }
}

const help = () => showHelp(keys, Math.max(board.cards.length, 2), nameKeys);

wireKeys(board, () => keys, {
  label: (label) => give(board.chosen, label),
  version,
  desk: {
    next: () => void forward(),
    back,
    previous,
    undo,
    skip,
    full: () => fill(board.chosen),
    original: () => board.full && board.fill(true, true),
    earlier: () => choose(Math.max(board.chosen - 1, 0)),
    later: () => choose(Math.min(board.chosen + 1, board.cards.length - 1)),
    fit: () => board.viewer.toggle(),
  },
  message: { back: previous, previous },
  anywhere: { help, guideline: showGuideline },
});
wireButtons({
  next: forward,
  undo,
  skip,
  previous,
  "message-back": previous,
  "zoom-in": () => board.viewer.step(1),
  "zoom-out": () => board.viewer.step(-1),
  "zoom-fit": () => board.viewer.toggle(),
  "help-button": help,
  "guideline-button": showGuideline,
  "sign-out": signOut,
  "rest-close": () => {
    byId("rest").hidden = true;
    clock.sinceBreak = 0;
  },
});
wireHolds(board);
wireDialogs();
useTheme(byId("theme"));
addEventListener("hashchange", () => location.reload()); // another personal link in the same tab
begin();
