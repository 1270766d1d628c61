// The groups of a sitting in their order: the one on screen, those before it, and the one behind it, loaded early.

import { Refused, isPassing, pause, request } from "./api.js";
import { Pane } from "./viewer.js";

/**
 * @typedef {{done: number, total: number}} Progress
 * @typedef {{finished: false, assignment: string, kind: "normal" | "qualification", original: string | null,
 *   lr: string | null, candidates: string[], answers: (string | null)[], complete: boolean, skipped: boolean,
 *   width: number, height: number, progress: Progress, practice: {number: number, of: number} | null}} Work
 * @typedef {{finished: true, reason: "done" | "quota" | "paused" | "unqualified", progress: Progress}} Finished
 * @typedef {{answers: (string | null)[], expected: (string | null)[], right: number, total: number, note: string | null,
 *   result: {passed: boolean, right: number, total: number, needed: number} | null}} Feedback
 * @typedef {{original: HTMLImageElement[], versions: HTMLImageElement[][]}} Pictures
 * @typedef {{answers: (string | null)[], chosen: number}} State
 * @typedef {{work: Work, pictures: Pictures | null, undo: State[], early: boolean, news: boolean,
 *   counted: "done" | "skipped" | null, feedback: Feedback | null}} Group
 */

const STALE = 10 * 60_000; // ms after which a lease may have run out
const KEEP = 2; // groups on either side whose pictures stay in memory

/**
 * All pictures of a group, decoded. Each version's pane holds the version, what it flips with, and the LR input.
 * @param {Work} work
 * @returns {Promise<Pictures>}
 */
export async function loadPictures({ original, lr, candidates }) {
  const lrSource = lr ? [lr] : [];
  const lrName = lr ? ["LR input"] : [];
  const versions = candidates.map((source, i) => {
    const other = (i + 1) % candidates.length;
    const [behind, name] = original ? [original, "Original"] : [candidates[other], `Version ${other + 1}`];
    return Pane.load([source, behind, ...lrSource], [`Version ${i + 1}`, name, ...lrName]);
  });
  const first = original ? Pane.load([original], ["Original"]) : [];
  const [loaded, ...others] = await Promise.all([first, ...versions]);
  return { original: loaded, versions: others };
}

/**
 * @param {Work} work
 * @param {Pictures} pictures
 * @param {boolean} [early]  loaded before its turn: its progress does not know of the group before
 * @returns {Group} whose progress is news until it was shown
 */
function newGroup(work, pictures, early = false) {
  const counted = work.skipped ? "skipped" : work.complete ? "done" : null;
  return { work, pictures, undo: [], early, news: true, counted, feedback: null };
}

/** A server that is away is a TypeError, a picture that does not load a DOMException. @param {unknown} error */
const isAway = (error) => error instanceof TypeError || error instanceof Refused;

export class Deck {
  /**
   * @param {import("./api.js").Queue} queue
   * @param {(text: string) => void} onTrouble  told what it waits for
   * @param {(away: boolean) => void} onAway  told whether the server answers
   */
  constructor(queue, onTrouble, onAway) {
    this.queue = queue;
    this.onTrouble = onTrouble;
    this.onAway = onAway;
    /** @type {Group[]} */
    this.groups = [];
    this.at = -1;
    /** @type {{after: string, made: number, group: Promise<Group | null>} | null} */
    this.ahead = null;
  }

  /** The group on screen. @returns {Group | null} */
  get current() {
    return this.groups[this.at] ?? null;
  }

  /** How many groups of this sitting come after the one on screen. */
  get back() {
    return Math.max(this.groups.length - 1 - this.at, 0);
  }

  /** Forget all of it: the server knows better. */
  reset() {
    this.groups = [];
    this.at = -1;
    this.ahead = null;
  }

  /** Load the group behind the one on screen. It is asked for once the answers to the groups before are saved. */
  prepare() {
    if (!this.current || this.back > 0 || this.ahead?.after === this.current.work.assignment) return;
    const after = this.current.work.assignment;
    this.ahead = { after, made: performance.now(), group: this.#load(after) };
  }

  /** @param {string} after @returns {Promise<Group | null>} null when there is none, or it must be asked for again */
  async #load(after) {
    const { groups } = this;
    for (let wait = 500; groups === this.groups; wait = Math.min(wait * 2, 5000)) {
      try {
        await this.queue.empty(after);
        const work = await request("POST", "/api/next", { after });
        this.onAway(false);
        if (work.finished || groups.some((group) => group.work.assignment === work.assignment)) return null;
        return newGroup(work, await loadPictures(work), true);
      } catch (error) {
        if (!isPassing(error)) return null;
        if (isAway(error)) this.onAway(true);
        await pause(wait);
      }
    }
    return null;
  }

  /**
   * Go to the next group. Without one at hand the server is asked, as often as it takes, once it has every answer.
   * @returns {Promise<Group | Finished>}
   */
  async next() {
    if (this.back > 0) return this.#go(this.at + 1);
    const { ahead } = this;
    this.ahead = null;
    const fresh = ahead && performance.now() - ahead.made < STALE;
    const loaded = ahead && ahead.after === this.current?.work.assignment ? await this.#waitFor(ahead.group) : null;
    if (loaded && fresh) {
      this.groups.push(loaded);
      return this.#go(this.groups.length - 1);
    }
    return this.#insist(async () => {
      await this.queue.empty();
      /** @type {Work | Finished} */
      const work = await request("POST", "/api/next", { after: null });
      if (work.finished) {
        this.at = this.groups.length;
        return work;
      }
      const known = this.groups.findIndex((group) => group.work.assignment === work.assignment);
      if (known >= 0) {
        this.groups[known].work = work;
        return this.#go(known);
      }
      const held = loaded?.work.assignment === work.assignment ? loaded.pictures : null;
      const pictures = held ?? (await loadPictures(work));
      this.groups.push(newGroup(work, pictures));
      return this.#go(this.groups.length - 1);
    });
  }

  /** @param {Promise<Group | null>} group */
  async #waitFor(group) {
    let waiting = true;
    pause(1000).then(() => waiting && this.queue.waiting.size === 0 && this.onTrouble("Loading the next pictures…"));
    const loaded = await group;
    waiting = false;
    return loaded;
  }

  /**
   * Go to the group before; null when there is none whose answers could be changed. Throws when the server is away.
   * @returns {Promise<Group | null>}
   */
  async previous() {
    if (this.at > 0) return this.groups[this.at - 1].work.kind === "normal" ? this.#go(this.at - 1) : null;
    /** @type {Work | {first: true}} */
    const work = await request("POST", "/api/previous", { before: this.groups[0]?.work.assignment ?? null });
    if ("first" in work || work.kind === "qualification") return null;
    const pictures = await loadPictures(work);
    this.groups.unshift(newGroup(work, pictures));
    return this.#go(0);
  }

  /** @param {number} index @returns {Promise<Group>} */
  async #go(index) {
    const group = this.groups[index];
    if (!group.pictures) group.pictures = await this.#insist(() => loadPictures(group.work));
    this.at = index;
    this.groups.forEach((other, i) => {
      if (Math.abs(i - index) > KEEP) other.pictures = null;
    });
    return group;
  }

  /** @template T @param {() => Promise<T>} ask @returns {Promise<T>} */
  async #insist(ask) {
    for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
      try {
        const answer = await ask();
        this.onAway(false);
        return answer;
      } catch (error) {
        if (!isPassing(error)) throw error;
        this.onTrouble(isAway(error) ? "Server away: trying again" : "A picture cannot be loaded: trying again");
        if (isAway(error)) this.onAway(true);
        await pause(wait);
      }
    }
  }

  /** How the answers to a complete practice group were, from the server; it takes no more of them. */
  feedback() {
    return this.#insist(async () => {
      await this.queue.empty();
      /** @type {Feedback} */
      const feedback = await request("POST", "/api/feedback", { assignment: this.current?.work.assignment });
      return feedback;
    });
  }
}
