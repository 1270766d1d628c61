// The owner's page: from the link to the parts of the dashboard, and fresh figures every few seconds.

import { OTHER_PERSON, Refused, actAs, isPassing, pause, request } from "./api.js";
import { byId, sentence } from "./owner-dom.js";
import { showExport } from "./owner-export.js";
import { leaveGroup, openGroup } from "./owner-group.js";
import { showGroups } from "./owner-groups.js";
import { showLog } from "./owner-log.js";
import { showOverview } from "./owner-overview.js";
import { arrangePeople, showPeople } from "./owner-people.js";

const EVERY_MS = 5000;
const PARTS = ["overview", "people", "groups", "group", "export", "log"];

/**
 * @typedef {{id: number, name: string, role: string, title?: string, task?: {kind: string, labels: string[]}}} Who
 */

/** @type {Who | null} */
let who = null;
/** @type {any} the newest answer of /api/owner/overview */
let overview = null;
let part = "";
let asked = 0; // how often the figures were asked for, and which answer is shown: an older one never replaces it
let shown = 0;
let polling = false;

// Screens -----------------------------------------------------------------------------------------------------------

/** @param {string} screen  "start", "message" or a part */
function show(screen) {
  for (const id of ["start", "message", ...PARTS]) byId(id).hidden = id !== screen;
  for (const id of ["parts", "account"]) byId(id).hidden = who === null;
}

/** @param {string} title @param {string} text @param {{again?: () => void, work?: boolean}} [ways] */
function message(title, text, { again, work = false } = {}) {
  part = "";
  byId("message-title").textContent = title;
  byId("message-text").textContent = text;
  byId("message-link").parentElement.hidden = !work;
  byId("message-button").parentElement.hidden = !again;
  byId("message-button").onclick = again ?? null;
  show("message");
}

/** The session is over, or never was this owner's. @param {unknown} error @returns {boolean} whether that is it */
function signedOut(error) {
  if (error instanceof Refused && error.code === OTHER_PERSON) {
    who = null;
    message("This browser is signed in as somebody else now", "Open your own link again to go on.");
    return true;
  }
  if (!(error instanceof Refused) || (error.status !== 401 && error.status !== 403)) return false;
  who = null;
  message("Please open your owner’s link",
    "It was printed when the annotation was started, and looks like this page’s address with “#token=…” at its end.");
  return true;
}

// From the link to the first part -------------------------------------------------------------------------------------

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
    if (!signedOut(error)) message("The server does not answer", sentence(error), { again: begin });
  }
}

/** @param {string} token */
async function signIn(token) {
  byId("start-button").disabled = true;
  try {
    const person = await request("POST", "/api/session", { token });
    history.replaceState(null, "", location.pathname);
    enter(person);
  } catch (error) {
    if (isPassing(error)) message("The server does not answer", sentence(error), { again: begin });
    else message("This link does not work", sentence(error));
  }
  byId("start-button").disabled = false;
}

/** @param {Who} person */
function enter(person) {
  if (person.role !== "owner") {
    message("This page is for the owner", `You are signed in as ${person.name}, who annotates.`, { work: true });
    return;
  }
  who = person;
  actAs(person.id);
  byId("who").textContent = person.name;
  byId("brand").textContent = person.title || "Goldeye";
  document.title = `${person.title || "Goldeye"}: the owner’s page`;
  byId("export-link").hidden = (person.task?.kind ?? "label") !== "label";
  go();
  refresh();
  poll();
}

const labels = () => who?.task?.labels ?? [];

/** Show the part that the address names. */
function go() {
  if (!who) return;
  const address = new URLSearchParams(location.hash.slice(1));
  const before = part;
  part = PARTS.find((name) => address.has(name)) ?? "overview";
  show(part);
  for (const link of byId("parts").children) {
    const here = link.hash === `#${part === "group" ? "groups" : part}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (part !== before) byId("main").scrollTop = 0;
  if (part !== "group") leaveGroup();
  if (part === "people") arrangePeople();
  paint();
  if (part === "groups") showGroups(address, overview?.names ?? {}, labels());
  if (part === "group") openGroup(address.get("group") ?? "", labels());
  if (part === "export") showExport();
  if (part === "log") showLog();
}

// Fresh figures -------------------------------------------------------------------------------------------------------

/** Show what is known. */
function paint() {
  if (part === "overview") showOverview(overview);
  if (part === "people") showPeople(overview, labels(), refresh);
}

/** Ask for the figures now. */
async function refresh() {
  const now = ++asked;
  try {
    const first = overview === null;
    const answer = await request("GET", "/api/owner/overview");
    if (now < shown || !who) return;
    shown = now;
    overview = answer;
    byId("live").textContent = "";
    if (first && part === "groups") go(); // now the enhancers' names are known
    else paint();
  } catch (error) {
    if (!signedOut(error)) byId("live").textContent = isPassing(error) ? "Server away: trying again" : sentence(error);
  }
}

async function poll() {
  if (polling) return;
  polling = true;
  while (who) {
    await pause(EVERY_MS);
    if (!document.hidden && who) await refresh();
  }
  polling = false;
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && who) refresh();
});
addEventListener("hashchange", () => {
  if (new URLSearchParams(location.hash.slice(1)).has("token")) location.reload(); // another personal link in the same tab
  else go();
});
byId("sign-out").onclick = async () => {
  try {
    await request("POST", "/api/sign-out", {});
    who = null;
    message("You are signed out", "Open your link again to come back.");
  } catch (error) {
    byId("live").textContent = sentence(error);
  }
};
begin();
