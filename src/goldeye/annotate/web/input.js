// Keys, buttons, and what is held down.

import { dialogIsOpen } from "./dialogs.js";
import { byId } from "./screens.js";

/** @import { Board } from "./board.js" */
/** @import { Keys } from "./keys.js" */

/**
 * What keys do, by the names in keys.js: with pictures on screen, with a message on screen, and always.
 * @typedef {{label: (label: string) => void, version: (position: number) => void, desk: Record<string, () => void>,
 *   message: Record<string, () => void>, anywhere: Record<string, () => void>}} Does
 */

const STEP = 80; // CSS pixels that an arrow key moves the pictures

/** @param {Board} board @param {"flip" | "lr" | null} what */
function hold(board, what) {
  if (board.held !== what) board.hold(what);
}

/**
 * @param {Board} board
 * @param {() => Keys | undefined} keysNow  none before the person is known
 * @param {Does} does
 */
export function wireKeys(board, keysNow, does) {
  const { viewer } = board;
  /** What goes on while a key is held. @type {Record<string, () => void>} */
  const repeats = {
    "zoom-in": () => viewer.step(1),
    "zoom-out": () => viewer.step(-1),
    left: () => viewer.pan(-STEP, 0),
    right: () => viewer.pan(STEP, 0),
    up: () => viewer.pan(0, -STEP),
    down: () => viewer.pan(0, STEP),
    flip: () => hold(board, "flip"),
    lr: () => hold(board, "lr"),
  };

  /** @param {string} id @returns {(() => void) | undefined} */
  const onDesk = (id) => {
    const [what, name] = id.split(":");
    if (name === undefined) return does.desk[id];
    return what === "label" ? () => does.label(name) : () => does.version(Number(name) - 1);
  };

  /** @param {string} id @param {boolean} repeated @returns {(() => void) | undefined} */
  const found = (id, repeated) => {
    if (!byId("desk").hidden && id in repeats) return repeats[id];
    if (repeated) return () => {}; // a key held down is one answer
    if (id in does.anywhere) return byId("tools").hidden ? undefined : does.anywhere[id];
    if (!byId("desk").hidden) return onDesk(id);
    return byId("message").hidden || byId("message-back").hidden ? undefined : does.message[id];
  };

  addEventListener("keydown", (event) => {
    const keys = keysNow();
    if (!keys || dialogIsOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (target instanceof HTMLSelectElement || target instanceof HTMLInputElement) return;
    // A button or link that was reached with Tab keeps its own keys.
    const onButton = target instanceof HTMLButtonElement || target instanceof HTMLAnchorElement;
    if (onButton && (event.key === "Enter" || event.key === " ")) return;
    if (event.key === "Escape" && board.full) return board.fill(false);
    const id = keys.action(event);
    const action = id && found(id, event.repeat);
    if (!action) return;
    event.preventDefault();
    action();
  });
  addEventListener("keyup", (event) => {
    if (board.held && keysNow()?.action(event) === board.held) hold(board, null);
  });
  addEventListener("blur", () => hold(board, null));
}

/** @param {Record<string, () => void>} does  by the buttons' ids */
export function wireButtons(does) {
  for (const [id, action] of Object.entries(does)) byId(id).onclick = () => action();
  // The pointer leaves the keyboard's focus alone, so that Enter after a click still means "next group".
  addEventListener("mousedown", (event) => {
    if (event.target instanceof Element && event.target.closest("button")) event.preventDefault();
  });
}

/** The buttons that show another picture while they are held. @param {Board} board */
export function wireHolds(board) {
  for (const what of /** @type {const} */ (["flip", "lr"])) {
    /** @type {HTMLButtonElement} */
    const button = byId(`hold-${what}`);
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      hold(board, what);
    });
    button.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") hold(board, what);
    });
    for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) {
      button.addEventListener(end, () => hold(board, null));
    }
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // what a finger held down brings
  }
}
