// What can be done with a key, with which one, and a person's own choice of keys.

import { thing } from "./screens.js";

/**
 * @typedef {{kind: "label" | "pair" | "rating", labels: string[], words: Record<string, string>}} Task
 * @typedef {{id: string, text: string, keys: string[]}} Action  with the keys that do it at first
 */

const NUMBERS = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const KEPT = ["Tab", "Escape", "CapsLock", "Process", "Dead", "Unidentified"];

/** @type {Record<string, string>} */
const NAMES = {
  " ": "Space", "-": "−", Backspace: "⌫", Delete: "Del", PageUp: "PgUp", PageDown: "PgDn",
  ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓",
};

/** How a key is written on the page. @param {string} key */
export const keyName = (key) => NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);

/** The name under which a key is kept. @param {KeyboardEvent} event */
export const keyOf = (event) => (event.key.length === 1 ? event.key.toLowerCase() : event.key);

/**
 * Everything that has a key in a task, in the order of the help.
 * @param {Task} task @param {boolean} lr  the LR input may be shown
 * @returns {Action[]}
 */
export function actionsOf(task, lr) {
  const original = task.kind === "label" ? "the original" : "the reference";
  const other = task.kind === "pair" ? "the reference or the other picture" : original;
  /** @type {(label: string) => string} */
  const labelling = (label) => (task.kind === "rating" ? `${label}: ${task.words[label]}` : `${label}, and on to the next version`);
  const labels = task.labels.map((label) => ({ id: `label:${label}`, text: labelling(label), keys: [label[0].toLowerCase()] }));
  const doing = task.kind === "pair" ? "Prefer" : "Choose";
  const versions = NUMBERS.map((n) => ({ id: `version:${n}`, text: `${doing} version ${n}`, keys: [String(n)] }));
  const first = { id: "original", text: `Show ${original} (when one picture fills the screen)`, keys: ["0"] };
  // A pair is judged by its numbers; a rating is one.
  const answers = { label: [...labels, ...versions, first], pair: [...versions.slice(0, 2), first], rating: labels }[task.kind];
  return [
    ...answers,
    { id: "earlier", text: "Choose the version before", keys: [","] },
    { id: "later", text: "Choose the version after", keys: ["."] },
    { id: "next", text: `Next ${thing}`, keys: ["Enter"] },
    { id: "back", text: `Back: the version before, then the ${thing} before`, keys: ["Backspace"] },
    { id: "previous", text: `Previous ${thing}`, keys: ["b"] },
    { id: "undo", text: "Undo, a skip too", keys: ["u"] },
    { id: "skip", text: `Skip this ${thing}, with a reason`, keys: ["k"] },
    { id: "flip", text: `Hold: ${other} in the version’s place`, keys: ["f", " "] },
    ...(lr ? [{ id: "lr", text: "Hold: the low-resolution input", keys: ["l"] }] : []),
    { id: "full", text: "One picture fills the screen, and back", keys: ["x"] },
    { id: "zoom-in", text: "Zoom in", keys: ["+", "="] },
    { id: "zoom-out", text: "Zoom out", keys: ["-"] },
    { id: "fit", text: "Fit, or pixel for pixel", keys: ["z"] },
    { id: "left", text: "Move left", keys: ["ArrowLeft"] },
    { id: "right", text: "Move right", keys: ["ArrowRight"] },
    { id: "up", text: "Move up", keys: ["ArrowUp"] },
    { id: "down", text: "Move down", keys: ["ArrowDown"] },
    { id: "guideline", text: "Read the guideline again", keys: ["g"] },
    { id: "help", text: "These keys", keys: ["?"] },
  ];
}

/** The keys of one task, as this browser's person likes them. */
export class Keys {
  /** @param {Task} task @param {boolean} lr */
  constructor(task, lr) {
    this.actions = actionsOf(task, lr);
    this.place = `goldeye-keys-${task.kind}`;
    /** @type {Record<string, string>} */
    this.own = {};
    try {
      const kept = JSON.parse(localStorage.getItem(this.place) ?? "{}");
      for (const { id } of this.actions) if (typeof kept[id] === "string") this.own[id] = kept[id];
    } catch {
      // No storage, or nothing readable in it: the keys are as at first.
    }
  }

  /** The keys that do something. @param {string} id @returns {string[]} */
  of(id) {
    if (id in this.own) return [this.own[id]];
    return this.actions.find((action) => action.id === id)?.keys ?? [];
  }

  /** The first of them, as it is written on the page. @param {string} id */
  name(id) {
    return keyName(this.of(id)[0] ?? "");
  }

  /** What an event's key does, or null. @param {KeyboardEvent} event */
  action(event) {
    const key = keyOf(event);
    const found = this.#doing(key);
    if (found || event.key.length !== 1) return found;
    // Letters of another alphabet, and digits that need Shift (French keyboards), go by the key's place.
    const place = /^(?:Key([A-Z])|Digit([0-9]))$/.exec(event.code);
    if (place?.[2]) return this.#doing(place[2]);
    return place && key > "~" ? this.#doing(place[1].toLowerCase()) : null;
  }

  /** @param {string} key */
  #doing(key) {
    return this.actions.find(({ id }) => this.of(id).includes(key))?.id ?? null;
  }

  /** Give something another key. @param {string} id @param {string} key @returns {string | null} why not */
  set(id, key) {
    if (KEPT.includes(key) || /^F\d+$/.test(key)) {
      return `${keyName(key)} keeps its usual meaning: please press another key.`;
    }
    const other = this.#doing(key);
    if (other && other !== id) {
      const text = this.actions.find((action) => action.id === other)?.text;
      return `${keyName(key)} is taken (${text}): please press another key, or change that one first.`;
    }
    this.own[id] = key;
    this.#keep();
    return null;
  }

  /** All keys as at first. */
  reset() {
    this.own = {};
    this.#keep();
  }

  #keep() {
    try {
      if (Object.keys(this.own).length > 0) localStorage.setItem(this.place, JSON.stringify(this.own));
      else localStorage.removeItem(this.place);
    } catch {
      // Without storage they last until the page is closed.
    }
  }
}
