// Talking to the server. Answers go through a queue that survives a reload and a server that is away.

/** A request that the server answered with an error. */
export class Refused extends Error {
  /** @param {number} status @param {string} message @param {string} [code] */
  constructor(status, message, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The code of the answer to a page whose browser is signed in as another person now. */
export const OTHER_PERSON = "other_person";

/** @type {number | null} */
let person = null;

/** Ask only as this person from now on: another link may be opened in the same browser. @param {number} id */
export function actAs(id) {
  person = id;
}

/** What every request to the server carries. @returns {Record<string, string>} */
export const ownHeaders = () => ({ "X-Goldeye": "1", ...(person !== null && { "X-Goldeye-Person": String(person) }) });

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>} the JSON answer; throws Refused, or TypeError when the server is away
 */
export async function request(method, path, body) {
  const response = await fetch(path, {
    method,
    credentials: "same-origin",
    headers: { ...ownHeaders(), ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const { message = `The server answered ${response.status}.`, code } = answer?.error ?? {};
  throw new Refused(response.ok ? 502 : response.status, message, code);
}

/** True for what may work later: the server is away, overloaded or failing. @param {unknown} error */
export function isPassing(error) {
  return !(error instanceof Refused) || error.status >= 500 || error.status === 429 || error.status === 408;
}

/** @param {number} ms */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A random id. `crypto.randomUUID` exists only on https and localhost. */
function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * An answer to a version, or the reason why a group is left out.
 * @typedef {{assignment: string, position: number, label: string | null, active_ms: number}} Vote
 * @typedef {{assignment: string, reason: string, active_ms: number}} Skip
 * @typedef {(Vote | Skip) & {client_id: string}} Answer
 */

/**
 * Sends answers one after the other, in the order given, each until the server has confirmed it. Sending twice is
 * harmless (the client id), so that an answer whose receipt was lost is simply sent again. Each answer has its own
 * entry in localStorage: two tabs of one person cannot overwrite each other's.
 */
export class Queue {
  /**
   * @param {string} owner  names the person and the store; another person's answers are never sent
   * @param {(state: {waiting: number, away: boolean}) => void} onChange
   * @param {(error: Refused) => void} onRefused  an answer that will never be taken, or the end of the session
   */
  constructor(owner, onChange, onRefused) {
    this.prefix = `goldeye:${owner}:`;
    this.onChange = onChange;
    this.onRefused = onRefused;
    /** @type {Map<string, Answer>} */
    this.waiting = new Map();
    this.sending = false;
    this.away = false;
    this.last = 0;
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix));
      // The key begins with the time of the answer (fixed width), so that sorting is the order given.
      for (const key of keys.sort()) this.waiting.set(key, JSON.parse(localStorage.getItem(key) ?? ""));
    } catch {
      // No storage (private mode): answers wait in memory only.
    }
    this.wake = () => {};
    addEventListener("online", () => {
      this.wake();
      this.#send();
    });
  }

  /** @param {Vote | Skip} answer */
  add(answer) {
    const entry = { client_id: newId(), ...answer };
    this.last = Math.max(Date.now(), this.last + 1);
    const key = `${this.prefix}${String(this.last).padStart(15, "0")}:${entry.client_id}`;
    this.waiting.set(key, entry);
    try {
      localStorage.setItem(key, JSON.stringify(entry));
    } catch {
      // As above.
    }
    this.#send();
  }

  /**
   * Resolves once every answer given (except those to one group) is saved or refused, or sending has ended.
   * @param {string | null} [but]  assignment that may wait
   */
  async empty(but = null) {
    this.#send();
    while (this.sending && [...this.waiting.values()].some(({ assignment }) => assignment !== but)) await pause(15);
  }

  async #send() {
    if (this.sending) return;
    this.sending = true;
    let wait = 300;
    while (this.waiting.size > 0) {
      this.onChange({ waiting: this.waiting.size, away: this.away });
      const [key, answer] = /** @type {[string, Answer]} */ (this.waiting.entries().next().value);
      try {
        await request("POST", "reason" in answer ? "/api/skip" : "/api/vote", answer);
        this.away = false;
        this.#forget(key);
      } catch (error) {
        if (isPassing(error)) {
          this.away = true;
          this.onChange({ waiting: this.waiting.size, away: true });
          await Promise.race([pause(wait), new Promise((resolve) => (this.wake = () => resolve(null)))]);
          wait = Math.min(wait * 2, 5000);
          continue;
        }
        const refused = /** @type {Refused} */ (error);
        if (refused.status === 401 || refused.code === OTHER_PERSON) {
          // The answers stay in storage, for the day the person opens a valid link again.
          this.sending = false;
          this.onRefused(refused);
          return;
        }
        this.#forget(key);
        this.onRefused(refused);
      }
      wait = 300;
    }
    this.sending = false;
    this.onChange({ waiting: 0, away: false });
  }

  /** @param {string} key */
  #forget(key) {
    this.waiting.delete(key);
    try {
      localStorage.removeItem(key);
    } catch {
      // As above.
    }
  }
}

const BREAK = 3 * 60_000; // long enough to count as a rest

/** Measures active time: pauses of more than a minute, and the time while the page is hidden, do not count. */
export class ActiveClock {
  constructor() {
    this.spent = 0;
    /** All active milliseconds of this sitting, and those since a break of some minutes. */
    this.total = this.sinceBreak = 0;
    this.last = performance.now();
    for (const event of ["keydown", "pointerdown", "pointermove", "wheel"]) {
      addEventListener(event, () => this.#tick(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return this.#tick();
      if (performance.now() - this.last > BREAK) this.sinceBreak = 0;
      this.last = performance.now();
    });
  }

  #tick() {
    const now = performance.now();
    const active = Math.min(now - this.last, 60_000);
    this.spent += active;
    this.total += active;
    this.sinceBreak = now - this.last > BREAK ? 0 : this.sinceBreak + active;
    this.last = now;
  }

  /** The active milliseconds since it was last asked. */
  take() {
    this.#tick();
    const spent = Math.round(this.spent);
    this.spent = 0;
    return spent;
  }
}
