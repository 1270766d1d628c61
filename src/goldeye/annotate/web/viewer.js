// Pictures of one size side by side that zoom and move together.
//
// The view is (zoom, centre): zoom in screen pixels per picture pixel, centre in picture pixels. It is the same for all
// panes, and stays when other pictures of the same size come in.

const LEVELS = [0.125, 0.25, 0.33, 0.5, 0.67, 0.75, 1, 2, 3, 4, 6, 8, 12, 16];

/** @param {string} tag @param {string} [className] */
export function make(tag, className) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  return element;
}

/** One picture in a window; others can be held in front of it. A smaller one is enlarged to the same size, in squares. */
export class Pane {
  constructor() {
    this.element = make("div", "view");
    this.layers = /** @type {HTMLImageElement[]} */ ([]);
  }

  /**
   * @param {string[]} sources  the picture, the one shown while flipped, and any more
   * @param {string[]} names    what they are, for those who cannot see them
   * @returns {Promise<HTMLImageElement[]>} the pictures, once all can be painted
   */
  static async load(sources, names) {
    const layers = sources.map((source, i) => {
      const image = new Image();
      image.decoding = "sync"; // all panes change in one frame
      image.src = source;
      image.alt = names[i];
      image.draggable = false;
      return image;
    });
    await Promise.all(layers.map((image) => image.decode()));
    return layers;
  }

  /** @param {HTMLImageElement[]} layers  pictures from `load` */
  put(layers) {
    this.layers = layers;
    this.element.replaceChildren(...layers);
    this.layer(0);
  }

  /** Load and show. @param {string[]} sources @param {string[]} names  as for `load` */
  async show(sources, names) {
    this.put(await Pane.load(sources, names));
  }

  /** Bring one picture to the front. @param {number} front */
  layer(front) {
    this.layers.forEach((image, i) => {
      image.hidden = i !== front;
    });
  }

  /** @param {boolean} on */
  flip(on) {
    this.layer(on ? Math.min(1, this.layers.length - 1) : 0);
  }
}

/** The view that several panes share. */
export class Viewer {
  /** @param {(text: string) => void} onZoom  told the zoom as text when it changes */
  constructor(onZoom) {
    this.onZoom = onZoom;
    /** @type {Pane[]} */
    this.panes = [];
    this.picture = { width: 1, height: 1 };
    this.window = { width: 1, height: 1 };
    this.centre = { x: 0.5, y: 0.5 };
    this.zoom = 1;
    this.fitted = true;
    this.wheel = 0;
    /** @type {Map<number, {x: number, y: number}>} */
    this.pointers = new Map();
    this.moved = false;
    this.pinch = 0;
    /** @type {WeakSet<HTMLElement>} */
    this.heard = new WeakSet();
  }

  /** @param {Pane[]} panes @param {number} width @param {number} height  picture pixels */
  setPanes(panes, width, height) {
    for (const { element } of panes) if (!this.heard.has(element)) this.#listen(element);
    this.panes = panes;
    if (width !== this.picture.width || height !== this.picture.height) {
      this.picture = { width, height };
      this.centre = { x: width / 2, y: height / 2 };
      this.fitted = true;
    }
  }

  /** @param {number} width @param {number} height  CSS pixels of each pane, whole numbers */
  setWindow(width, height) {
    this.window = { width, height };
    if (this.fitted) this.zoom = this.#fit();
    this.#paint();
  }

  /** All of the picture, enlarged by a whole number if at all. */
  #fit() {
    const room = devicePixelRatio * Math.min(this.window.width / this.picture.width, this.window.height / this.picture.height);
    return room >= 1 ? Math.min(Math.floor(room), 16) : room;
  }

  /** All of the picture, or pixel for pixel when that is what is shown. */
  toggle() {
    const fit = this.#fit();
    this.fitted = !this.fitted && this.zoom !== fit;
    this.#zoomTo(this.fitted ? fit : fit < 1 ? 1 : this.zoom === fit ? 1 : fit, null);
  }

  /**
   * To the next larger (+1) or smaller (-1) level; the picture's point under `at` stays there.
   * @param {number} direction
   * @param {{x: number, y: number} | null} [at]  CSS pixels from the pane's corner; null: its middle
   */
  step(direction, at = null) {
    const smallest = Math.min(this.#fit(), 1);
    const levels = [...new Set([smallest, ...LEVELS.filter((level) => level > smallest)])];
    const next = direction > 0 ? levels.find((level) => level > this.zoom + 1e-6) : levels.findLast((level) => level < this.zoom - 1e-6);
    if (next === undefined) return;
    this.fitted = false;
    this.#zoomTo(next, at);
  }

  /** Move the window over the picture. @param {number} x @param {number} y  CSS pixels to the right and down */
  pan(x, y) {
    const scale = this.zoom / devicePixelRatio;
    this.centre = { x: this.centre.x + x / scale, y: this.centre.y + y / scale };
    this.#paint();
  }

  /** @param {number} zoom @param {{x: number, y: number} | null} at */
  #zoomTo(zoom, at) {
    const offset = at ? { x: at.x - this.window.width / 2, y: at.y - this.window.height / 2 } : { x: 0, y: 0 };
    const gain = devicePixelRatio * (1 / this.zoom - 1 / zoom);
    this.zoom = zoom;
    this.centre = { x: this.centre.x + offset.x * gain, y: this.centre.y + offset.y * gain };
    this.#paint();
  }

  #paint() {
    const scale = this.zoom / devicePixelRatio;
    // The middle of the window stays on the picture; a picture that fits is in the middle.
    const fits = this.zoom <= this.#fit();
    /** @type {(centre: number, picture: number) => number} */
    const inside = (centre, picture) => (fits ? picture / 2 : Math.min(Math.max(centre, 0), picture));
    this.centre = { x: inside(this.centre.x, this.picture.width), y: inside(this.centre.y, this.picture.height) };
    // Whole screen pixels: otherwise the browser would interpolate between them.
    /** @type {(value: number) => number} */
    const whole = (value) => Math.round(value * devicePixelRatio) / devicePixelRatio;
    const x = whole(this.window.width / 2 - this.centre.x * scale);
    const y = whole(this.window.height / 2 - this.centre.y * scale);
    // Where a screen pixel is not a CSS pixel, a pane may itself begin between two of them.
    const corners = this.panes.map((pane) => pane.element.getBoundingClientRect());
    this.panes.forEach((pane, i) => {
      const { left, top } = corners[i];
      const shift = `translate(${x + whole(left) - left}px, ${y + whole(top) - top}px)`;
      pane.element.classList.toggle("exact", this.zoom >= 1);
      for (const image of pane.layers) {
        const gain = image.naturalWidth > 0 ? this.picture.width / image.naturalWidth : 1;
        image.classList.toggle("enlarged", gain > 1);
        image.style.transform = `${shift} scale(${scale * gain})`;
      }
    });
    this.onZoom(`${Math.round(this.zoom * 100)} %`);
  }

  /** Paint again, after pictures came in. */
  refresh() {
    this.#paint();
  }

  /** @param {HTMLElement} element */
  #listen(element) {
    this.heard.add(element);
    /** @type {(event: MouseEvent) => {x: number, y: number}} */
    const within = (event) => {
      const box = element.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      // A notch of a wheel is about 100; a touchpad sends many small steps, and smaller ones (with ctrlKey) for a pinch.
      this.wheel += event.deltaY * (event.deltaMode !== 0 ? 40 : event.ctrlKey && Math.abs(event.deltaY) < 40 ? 8 : 1);
      if (Math.abs(this.wheel) < 40) return;
      this.step(-Math.sign(this.wheel), within(event));
      this.wheel = 0;
    }, { passive: false });

    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      element.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      this.moved = this.pointers.size > 1;
      this.pinch = 0;
    });
    element.addEventListener("pointermove", (event) => {
      const from = this.pointers.get(event.pointerId);
      if (!from) return;
      const to = { x: event.clientX, y: event.clientY };
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (!other) {
        if (!this.moved && Math.hypot(to.x - from.x, to.y - from.y) < 4) return;
        this.moved = true;
        this.pan(from.x - to.x, from.y - to.y);
      } else {
        const before = Math.hypot(from.x - other.x, from.y - other.y);
        this.pinch = this.pinch + Math.log2(Math.hypot(to.x - other.x, to.y - other.y) / before);
        if (Math.abs(this.pinch) > 0.4) {
          const box = element.getBoundingClientRect();
          const middle = { x: (to.x + other.x) / 2 - box.left, y: (to.y + other.y) / 2 - box.top };
          this.step(Math.sign(this.pinch), middle);
          this.pinch = 0;
        }
        this.pan((from.x - to.x) / 2, (from.y - to.y) / 2);
      }
      this.pointers.set(event.pointerId, to);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, (event) => this.pointers.delete(/** @type {PointerEvent} */ (event).pointerId));
    }
  }
}

/** The smallest window, in CSS pixels: where there is less room, the page scrolls. */
export const LEAST = { width: 160, height: 120 };

/**
 * The number of columns beside the original's column that lets the pictures be largest, and the size of a window.
 * @param {number} count  windows beside the original (or all, where there is none)
 * @param {{width: number, height: number}} room  CSS pixels for everything
 * @param {{width: number, height: number}} picture
 * @param {{gap: number, caption: number}} around  CSS pixels between panes, and under each window
 * @param {number} [beside]  columns for the original: 1, or 0 where there is none
 */
export function arrange(count, room, picture, around, beside = 1) {
  let best = { columns: 1, width: 0, height: 0, size: -Infinity };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const width = Math.floor((room.width - (columns - 1 + beside) * around.gap) / (columns + beside));
    const height = Math.floor((room.height - (rows - 1) * around.gap) / rows) - around.caption;
    if (columns > 1 && width < LEAST.width) break; // rather more rows than panes beyond the edge
    const size = Math.min(width / picture.width, height / picture.height);
    if (size > best.size) best = { columns, width, height, size };
  }
  return best;
}
