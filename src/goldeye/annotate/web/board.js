// The panes on screen: the original and the versions with their buttons, side by side or one filling the screen.

import { LEAST, Pane, Viewer, arrange, make } from "./viewer.js";

/** @import { Task, Keys } from "./keys.js" */
/** @import { Feedback, Pictures, Work } from "./deck.js" */

/**
 * @typedef {{element: HTMLElement, pane: Pane, badge: HTMLButtonElement, verdict: HTMLElement, fill: HTMLButtonElement,
 *   buttons: {button: HTMLButtonElement, label: string}[]}} Card
 * @typedef {{choose: (position: number) => void, label: (position: number, label: string) => void,
 *   fill: (position: number | null) => void, zoom: (text: string) => void}} Told
 */

const ROW = 44; // CSS pixels of one row of buttons under a picture, with the space around it
const TIGHT = { label: 300, pair: 0, rating: 330 }; // panes narrower than this need more rows
const NARROW = 240; // in panes narrower than this three labels are too long for one row

/** What a layer of a version's pane is. */
const LAYERS = { version: 0, behind: 1, lr: 2 };

export class Board {
  /**
   * @param {HTMLElement} root  holds `.left` (with the original's place and the guide) and `.candidates`
   * @param {Told} told
   */
  constructor(root, told) {
    this.root = root;
    this.told = told;
    this.viewer = new Viewer(told.zoom);
    this.left = /** @type {HTMLElement} */ (root.querySelector(".left"));
    this.guide = /** @type {HTMLElement} */ (root.querySelector(".guide"));
    this.candidates = /** @type {HTMLElement} */ (root.querySelector(".candidates"));
    /** @type {Task} */
    this.task = { kind: "label", labels: [], words: {} };
    /** @type {Card[]} */
    this.cards = [];
    /** @type {Work | null} */
    this.work = null;
    this.chosen = 0;
    this.full = false;
    this.guided = false; // the words beside the pictures may be shown
    this.base = LAYERS.version; // what the filling pane shows while no key is held
    /** @type {"flip" | "lr" | null} */
    this.held = null;
    this.original = new Pane();
    this.originalTitle = make("span", "title");
    const caption = make("div", "caption");
    const fill = fillButton("Original: fill the screen", () => told.fill(null));
    caption.append(this.originalTitle, make("span", "spacer"), fill);
    const element = make("div", "card-pane");
    element.append(this.original.element, caption);
    this.original.element.addEventListener("dblclick", () => told.fill(null));
    this.left.prepend(element);
    new ResizeObserver(() => this.fit()).observe(root);
  }

  /** @param {Task} task */
  setTask(task) {
    this.task = task;
    this.originalTitle.textContent = task.kind === "label" ? "Original" : "Reference";
    this.root.dataset.kind = task.kind;
    this.cards = [];
  }

  /** The pictures of a group, all at once. @param {Work} work @param {Pictures} pictures @param {Keys} keys */
  show(work, pictures, keys) {
    if (this.cards.length !== work.candidates.length) this.#makeCards(work.candidates.length, keys);
    this.work = work;
    this.base = LAYERS.version;
    this.left.hidden = work.original === null;
    this.original.put(pictures.original);
    this.cards.forEach((card, i) => card.pane.put(pictures.versions[i]));
    const panes = this.cards.map((card) => card.pane);
    this.viewer.setPanes(work.original === null ? panes : [this.original, ...panes], work.width, work.height);
    this.fit();
    this.#layers();
  }

  /** @param {number} count @param {Keys} keys */
  #makeCards(count, keys) {
    this.cards = Array.from({ length: count }, (_, i) => this.#makeCard(i));
    this.candidates.replaceChildren(...this.cards.map((card) => card.element));
    this.nameKeys(keys);
  }

  /** @param {number} i @returns {Card} */
  #makeCard(i) {
    const element = make("div", "card-pane");
    element.setAttribute("role", "group");
    const pane = new Pane();
    const verdict = make("p", "verdict");
    verdict.hidden = true;
    const badge = /** @type {HTMLButtonElement} */ (make("button", "badge"));
    badge.type = "button";
    badge.textContent = String(i + 1);
    badge.onclick = () => this.told.choose(this.full ? (i + 1) % this.cards.length : i);
    const buttons = this.task.labels.map((label) => {
      const button = /** @type {HTMLButtonElement} */ (make("button", `label ${label.toLowerCase()}`));
      const text = this.#text(label);
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", `Version ${i + 1}: ${text}`);
      button.onclick = () => this.told.label(i, label);
      button.onfocus = () => this.told.choose(i);
      return { button, label };
    });
    const labels = make("div", "labels");
    labels.append(...buttons.map(({ button }) => button));
    const fill = fillButton(`Version ${i + 1}: fill the screen`, () => this.told.fill(i));
    const caption = make("div", "caption");
    caption.append(badge, labels, fill);
    element.append(pane.element, verdict, caption);
    pane.element.addEventListener("pointerdown", () => this.told.choose(i));
    pane.element.addEventListener("dblclick", () => this.told.fill(i));
    return { element, pane, badge, buttons, verdict, fill };
  }

  /** A label as it is written on its button. @param {string} label */
  #text(label) {
    return { label, pair: "Prefer", rating: `${label} ${this.task.words[label]}` }[this.task.kind];
  }

  /** Tell screen readers the keys of the buttons. @param {Keys} keys */
  nameKeys(keys) {
    this.cards.forEach((card, i) => {
      for (const { button, label } of card.buttons) {
        const [key] = keys.of(this.task.kind === "pair" ? `version:${i + 1}` : `label:${label}`);
        if (key) button.setAttribute("aria-keyshortcuts", key.length === 1 ? key.toUpperCase() : key);
      }
    });
  }

  /** Lay out the panes in the room there is. */
  fit() {
    const { work, root } = this;
    if (!work || root.clientWidth === 0) return;
    const style = getComputedStyle(root);
    const gap = parseFloat(style.columnGap);
    const room = {
      width: root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
      height: root.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
    };
    const rating = this.task.kind === "rating";
    const beside = work.original === null || this.full ? 0 : 1;
    const count = this.full ? 1 : this.cards.length;
    let caption = rating ? 2 * ROW : ROW;
    let best = arrange(count, room, work, { gap, caption }, beside);
    const tight = best.width < TIGHT[this.task.kind];
    if (tight) {
      caption = rating ? 4 * ROW : 2 * ROW;
      best = arrange(count, room, work, { gap, caption }, beside);
    }
    const width = Math.max(best.width, LEAST.width);
    const height = Math.max(best.height, LEAST.height);
    const columns = best.columns + beside;
    const used = columns * width + (columns - 1) * gap;
    root.classList.toggle("tight", tight);
    root.classList.toggle("narrow", this.task.kind === "label" && width < NARROW);
    root.style.setProperty("--caption", `${caption}px`);
    root.style.setProperty("--columns", String(best.columns));
    root.style.setProperty("--inset", `${Math.max(Math.floor((room.width - used) / 2), 0)}px`); // whole pixels: sharp
    root.style.setProperty("--view-width", `${width}px`);
    root.style.setProperty("--view-height", `${height}px`);
    this.guide.hidden = !this.guided || this.full || room.height - height - caption < 190;
    this.viewer.setWindow(width, height);
  }

  /** @param {number} position */
  choose(position) {
    if (position !== this.chosen) this.base = LAYERS.version;
    this.chosen = position;
    this.#layers();
  }

  /**
   * Let the chosen version fill the screen, or show all again.
   * @param {boolean} on
   * @param {boolean} [original]  shown in its place
   */
  fill(on, original = false) {
    this.full = on;
    this.base = on && original && this.work?.original ? LAYERS.behind : LAYERS.version;
    this.root.classList.toggle("full", on);
    document.body.classList.toggle("full", on);
    this.fit();
    this.#layers();
  }

  /** Hold another picture in the chosen version's place. @param {"flip" | "lr" | null} what */
  hold(what) {
    this.held = what;
    this.#layers();
  }

  #layers() {
    this.cards.forEach((card, i) => {
      const { layers } = card.pane;
      let front = LAYERS.version;
      if (i === this.chosen) {
        front = this.base;
        if (this.held === "flip") front = front === LAYERS.version ? LAYERS.behind : LAYERS.version;
        if (this.held === "lr") front = LAYERS.lr;
        if (front >= layers.length || (front === LAYERS.behind && !this.flips)) front = LAYERS.version;
      }
      card.pane.layer(front);
      card.element.classList.toggle("flipped", front !== LAYERS.version);
      if (front === LAYERS.version) delete card.pane.element.dataset.shows;
      else card.pane.element.dataset.shows = this.#nameOf(layers[front]);
      const label = this.work?.answers[i];
      const chosen = i === this.chosen;
      card.element.classList.toggle("chosen", chosen);
      const state = `${label ? this.#text(label) : "no label"}${chosen ? ", chosen" : ""}`;
      card.element.setAttribute("aria-label", `Version ${i + 1}, ${state}`);
      card.fill.setAttribute("aria-pressed", String(this.full && chosen));
      card.badge.setAttribute("aria-label", `Version ${i + 1}: ${this.full ? "go to the next one" : "choose"}`);
    });
  }

  /** There is another picture to flip with. */
  get flips() {
    return this.work !== null && (this.work.original !== null || (this.task.kind === "pair" && this.cards.length > 1));
  }

  /** @param {HTMLImageElement} image */
  #nameOf(image) {
    return image.alt === "Original" ? (this.originalTitle.textContent ?? "") : image.alt;
  }

  /** Show the answers as they stand, and how they compare with the expected ones. @param {Feedback | null} feedback */
  update(feedback) {
    this.cards.forEach((card, i) => {
      const label = this.work?.answers[i] ?? null;
      card.element.dataset.label = label ?? "";
      const expected = feedback?.expected[i] ?? null;
      card.verdict.hidden = expected === null;
      if (expected !== null) {
        const right = expected === label;
        card.verdict.dataset.right = String(right);
        const said = label ? this.#text(label) : "nothing";
        const text = this.#text(expected);
        card.verdict.textContent = right ? `✓ ${text}, as expected` : `✗ Expected ${text}, you said ${said}`;
      }
      for (const { button, label: own } of card.buttons) {
        button.setAttribute("aria-pressed", String(own === label));
        button.disabled = feedback !== null;
      }
    });
    this.#layers();
  }
}

/** @param {string} name @param {() => void} action */
function fillButton(name, action) {
  const button = /** @type {HTMLButtonElement} */ (make("button", "fill"));
  const svg = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(svg, "svg");
  const corners = document.createElementNS(svg, "path");
  icon.setAttribute("viewBox", "0 0 16 16");
  icon.setAttribute("aria-hidden", "true");
  corners.setAttribute("d", "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4");
  icon.append(corners);
  button.append(icon);
  button.type = "button";
  button.title = "Fill the screen, and back";
  button.setAttribute("aria-label", name);
  button.onclick = action;
  return button;
}
