// The annotator's page: guideline, practice, judge group after group, done.

import { ActiveClock, OTHER_PERSON, Queue, Refused, actAs, isPassing, request } from "./api.js";
import { Board } from "./board.js";
import { Deck } from "./deck.js";
import { askReason, loadGuideline, putGuideline, showGuideline, showHelp, wireDialogs } from "./dialogs.js";
import { writeGuide, writeKeys } from "./hints.js";
import { wireButtons, wireHolds, wireKeys } from "./input.js";
import { Keys } from "./keys.js";
import {
  announce, ask, byId, explain, nameThings, notice, saveState, say, showScreen, thing, writeMessage, writeProgress,
} from "./screens.js";
import { useTheme } from "./theme.js";

/** @import { Task } from "./keys.js" */
/** @import { Group, Progress, Work } from "./deck.js" */

/**
 * @typedef {{id: number, name: string, role: "annotator" | "owner", instance: string, title: string, task: Task,
 *   lr: boolean, reference: boolean}} Who
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
let coming = false; // the next group was asked for
let away = false; // the server is
let comparing = false; // with what is saved
/** @type {Group | null} the group that was left out last, as long as nothing else was done */
let skippedLast = null;

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
  if (error.code === OTHER_PERSON) {
    const text = "Answers you gave before are kept here. Open your own link again to go on.";
    message("This browser is signed in as somebody else now", text);
    for (const id of ["progress", "saved", "tools"]) byId(id).hidden = true;
  } else if (error.status === 401) {
    const text = "Please ask the owner of this annotation for a new one. What you have judged is kept.";
    message("Your link is not valid any more", text);
  } else {
    message(title, `${error.message} Please go on: the ${thing} is shown as it is saved.`, "Go on", () => {
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
    if (hasRead()) next();
    else await read();
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
  byId("begin-button").onclick = () => {
    rememberRead();
    next();
  };
  show("reading");
  byId("begin-button").focus({ preventScroll: true });
}

/** Names the person and the store. */
const place = () => `goldeye-read:${who.instance}:${who.id}`;

/** The person has begun after the guideline before, in this browser. */
function hasRead() {
  try {
    return localStorage.getItem(place()) !== null;
  } catch {
    return false; // no storage (private mode)
  }
}

function rememberRead() {
  try {
    localStorage.setItem(place(), "1");
  } catch {
    // As above.
  }
}

/** @param {Who} person */
function enter(person) {
  who = person;
  actAs(who.id);
  nameThings(who.task);
  document.title = who.title || "Goldeye annotation";
  byId("name").textContent = who.name;
  byId("owner-link").hidden = who.role !== "owner";
  queue = new Queue(`${who.instance}:${who.name}`, tellSaved, (error) => refused(error));
  deck = new Deck(queue, explain, tellAway);
  keys = new Keys(who.task, who.lr);
  board.setTask(who.task);
  saveState({ waiting: queue.waiting.size, away: false });
  byId("hold-lr").hidden = !who.lr;
  byId("hold-flip").hidden = who.task.kind !== "pair" && !who.reference;
  const question = who.task.kind === "label" ? "" : who.title;
  if (question) ask(question);
  writeGuide(who.task, who.reference, question);
  nameKeys();
  guide();
}

/** What the labels mean stands beside the pictures, unless the guideline is the owner's own: then its text rules. */
async function guide() {
  const { own } = await loadGuideline().catch(() => ({ own: false }));
  board.guided = !own;
  board.fit();
}

/** @param {{waiting: number, away: boolean}} state */
function tellSaved(state) {
  saveState(state);
  tellAway(state.away);
}

/** @param {boolean} state */
function tellAway(state) {
  if (away && !state) saveState({ waiting: queue.waiting.size, away: false });
  away = state;
  line();
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
  if (!group || moving) return;
  if (!canLeave()) return say(missing());
  if (group.work.kind === "qualification" && !group.feedback) return move(feedback);
  if (group.feedback?.result) return result(group.feedback.result);
  return next();
}

/** What the group on screen still needs. */
function missing() {
  if (who.task.kind === "pair") return "No picture is preferred yet.";
  const answers = deck.current?.work.answers ?? [];
  const open = answers.flatMap((label, i) => (label === null ? [String(i + 1)] : []));
  const what = who.task.kind === "rating" ? "rating" : "label";
  if (open.length === 1) return `Version ${open[0]} has no ${what} yet.`;
  return `Versions ${open.slice(0, -1).join(", ")} and ${open.at(-1)} have no ${what} yet.`;
}

function next() {
  skippedLast = null;
  const left = deck.current;
  if (left && left.work.kind === "normal" && canLeave()) count(left);
  return move(async () => {
    coming = true;
    line();
    const came = await deck.next().finally(() => (coming = false));
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
  const number = share.done === 1 ? `1 ${thing}` : `${share.done} ${thing}s`;
  const judged = share.done === 0 ? "" : `You have judged ${number}, and every answer is saved.`;
  const nothing = share.done === 0 && (reason === "quota" || reason === "done");
  if (reason === "paused") {
    message("A pause", `The owner of this annotation has paused your work. ${judged}`, "Look again", next);
  } else if (nothing) {
    message("Nothing to judge", "There is nothing to judge for you at the moment.", "Look again", next);
  } else if (reason === "unqualified") {
    const text = "The practice round was not passed. Please ask the owner of this annotation how to go on.";
    message("No work at the moment", text, "Look again", next);
  } else if (reason === "quota") {
    message(`Your share is done. Thank you, ${who.name}!`, `${judged} You can close this page.`, "Look for more", next);
  } else if (reason === "done") {
    message(`All done. Thank you, ${who.name}!`, `${judged} You can close this page.`, "Look for more", next);
  } else {
    const text = `Another window of yours may have the ${thing} that comes next.`;
    message("Nothing to do here at the moment", text, "Look again", next);
  }
  byId("progress").hidden = share.total === 0 && share.done === 0;
  byId("message-back").hidden = (share.done === 0 && deck.groups.length === 0) || reason === "unqualified";
}

/** To the group before the one on screen, if there is one whose answers can be changed. */
function previous() {
  if (group?.work.kind === "qualification") return say("In practice there is no way back.");
  skippedLast = null;
  return move(async () => {
    try {
      const before = await deck.previous();
      if (halted) return;
      if (before) open(before, before.work.candidates.length - 1);
      else say(`This is the first ${thing}.`);
    } catch (error) {
      if (!isPassing(error)) throw error;
      explain(`Server away: the ${thing} before cannot be shown now`);
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
    message("Practice not passed", `${counted} ${text}`, "Look again", next);
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
  skippedLast = null;
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

/** The last thing done was to skip a group, and U takes that back. */
const canUnskip = () => skippedLast !== null && !moving && !group?.work.answers.some((label) => label !== null);

function undo() {
  if (canUnskip()) return void previous();
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
    skippedLast = skipped;
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
  const answered = work?.answers.some((label) => label !== null) ?? false;
  byId("undo").disabled = !canUnskip() && !(canAnswer() && answered);
  byId("skip").disabled = !canAnswer() || practice;
  byId("previous").disabled = moving || practice;
  byId("next-name").textContent = practice && !group?.feedback ? "Check" : deck?.back > 0 ? "Forward" : `Next ${thing}`;
  line();
}

/** The line above the pictures; in practice it says how the answers were. */
function line() {
  if (!group || group.feedback) return;
  if (coming && away) notice("The server is away.", `The next ${thing} comes when the server is back.`);
  else if (group.work.skipped) notice(`You skipped this ${thing}.`, "An answer lifts that.");
  else byId("notice").hidden = true;
}

/** Somebody comes back to this window: another one may have answered the group on screen. */
async function compare() {
  const seen = group;
  if (!seen || document.hidden || comparing || moving || seen.feedback || queue.waiting.size > 0) return;
  comparing = true;
  try {
    const before = JSON.stringify(seen.work.answers);
    /** @type {Work} */
    const saved = await request("GET", `/api/work/${seen.work.assignment}`);
    const now = JSON.stringify(seen.work.answers);
    if (group !== seen || moving || queue.waiting.size > 0 || now !== before) return; // it was answered here meanwhile
    if (before === JSON.stringify(saved.answers)) return;
    seen.work.answers = saved.answers;
    seen.work.skipped = saved.skipped;
    seen.counted = saved.skipped ? "skipped" : saved.complete ? "done" : null;
    seen.undo = [];
    share = saved.progress;
    progress();
    update();
    say("Answered in another window: shown as saved.");
  } catch (error) {
    if (error instanceof Refused && error.code === OTHER_PERSON) refused(error);
  } finally {
    comparing = false;
  }
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
  message: { back: previous, previous, undo: () => skippedLast && previous() },
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
document.addEventListener("visibilitychange", compare);
addEventListener("focus", compare);
addEventListener("hashchange", () => location.reload()); // another personal link in the same tab
begin();
