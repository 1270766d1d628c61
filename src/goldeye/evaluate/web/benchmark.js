
// The page of `goldeye benchmark`. What stands before this in the page's script is the viewer of the annotation pages.

/** @type {any} */
const data = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent ?? "");
/** @type {(id: string) => any} */
const at = (id) => document.getElementById(id);
const NONE = "–";

/** @param {HTMLSelectElement} select @param {[string, string][]} options  value and words */
function fill(select, options) {
  select.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
}

/** @param {string} metric @param {number | null | undefined} value @param {boolean} [signed] */
function shown(metric, value, signed = false) {
  if (value === null || value === undefined) return NONE;
  const text = value.toFixed(data.metrics[metric].digits);
  return (signed && value > 0 ? `+${text}` : text).replace("-", "−");
}

/** @param {string} tag @param {string} text @param {string} [className] */
function words(tag, text, className) {
  const element = make(tag, className);
  element.textContent = text;
  return element;
}

// Paired differences ---------------------------------------------------------------------------------------------------

function showDifferences() {
  const metric = at("difference-metric").value;
  const rows = data.differences.filter((/** @type {any} */ row) => row.set === at("difference-set").value && row.metric === metric);
  const models = data.models.filter((/** @type {string} */ name) => rows.some((/** @type {any} */ row) => row.a === name || row.b === name));
  const head = make("tr");
  head.append(make("td"), ...models.map((/** @type {string} */ name) => Object.assign(words("th", `− ${name}`), { scope: "col" })));
  const thead = make("thead");
  thead.append(head);
  const body = make("tbody");
  for (const a of models) {
    const line = make("tr");
    line.append(Object.assign(words("th", a), { scope: "row" }));
    for (const b of models) line.append(differenceCell(rows, metric, a, b));
    body.append(line);
  }
  at("differences").replaceChildren(thead, body);
}

/** @param {any[]} rows @param {string} metric @param {string} a @param {string} b */
function differenceCell(rows, metric, a, b) {
  const cell = make("td");
  const row = rows.find((each) => (each.a === a && each.b === b) || (each.a === b && each.b === a));
  if (a === b || !row) return cell;
  const turn = row.a === a ? 1 : -1;
  const ends = row.ci95 && (turn > 0 ? row.ci95 : [-row.ci95[1], -row.ci95[0]]);
  const wins = turn > 0 ? row.win_rate : 1 - row.win_rate;
  cell.append(shown(metric, row.mean === null ? null : turn * row.mean, true));
  if (ends) cell.append(words("small", `${shown(metric, ends[0], true)} to ${shown(metric, ends[1], true)}`));
  const infinite = row.infinite ? `, ${row.infinite} infinite` : "";
  const one = data.sets.find((/** @type {any} */ each) => each.name === row.set);
  const better = one.higher_is_better[metric] === null ? "higher" : "better";
  cell.append(words("small", `${better} on ${Math.round(100 * wins)} % of ${row.n}${infinite}`));
  if (row.better) cell.className = row.better === a ? "better" : "worse";
  return cell;
}

// Pictures -------------------------------------------------------------------------------------------------------------

/** @param {any} picture @param {string} metric  largest minus smallest figure of the models */
function spread(picture, metric) {
  const values = Object.values(picture.figures[metric] ?? {}).filter((value) => value !== null);
  return values.length > 1 ? Math.max(...values) - Math.min(...values) : -1;
}

let listed = /** @type {any[]} */ ([]);

function showPictures() {
  const one = data.sets[Number(at("set").value)];
  const metric = at("order").value;
  listed = [...one.pictures];
  if (metric) listed.sort((a, b) => spread(b, metric) - spread(a, metric));
  else listed.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const fewer = listed.length < one.total ? `${listed.length} of ${one.total} pictures: those that differed most${data.sort ? ` in ${data.metrics[data.sort].name}` : ""}.` : "";
  at("how-many").textContent = fewer;
  at("how-many").hidden = !fewer;
  at("pictures").replaceChildren(...listed.map((picture, place) => card(picture, metric || data.sort, place)));
}

/** @param {any} picture @param {string | null} metric @param {number} place */
function card(picture, metric, place) {
  const element = make("article", "picture");
  const header = make("header");
  header.append(words("h3", picture.name));
  if (metric && spread(picture, metric) >= 0) {
    header.append(words("span", `${data.metrics[metric].name} differs by ${shown(metric, spread(picture, metric))}`, "note"));
  }
  const crops = make("div", "crops");
  // Two screen pixels for one of the picture, in whole CSS pixels.
  crops.style.setProperty("--side", `${Math.max(1, Math.round(176 / picture.crop.side)) * picture.crop.side}px`);
  crops.append(whole(picture, place));
  const figures = metric ? (picture.figures[metric] ?? {}) : {};
  const there = Object.values(figures).filter((value) => value !== null);
  const higher = metric && data.sets[Number(at("set").value)].higher_is_better[metric];
  const best = there.length < 2 || higher === null ? null : higher ? Math.max(...there) : Math.min(...there);
  for (const layer of picture.layers) {
    const caption = words("figcaption", layer.title);
    if (layer.kind === "model" && metric) {
      const value = figures[layer.title];
      caption.append(words("span", `${data.metrics[metric].name} ${shown(metric, value)}`, value !== null && value === best ? "value best" : "value"));
    }
    crops.append(figure(layer.crop, `${picture.name}, ${layer.title}: compare`, caption, () => open(place, picture.crop)));
  }
  element.append(header, crops);
  return element;
}

/** @param {string} source @param {string} label @param {HTMLElement} caption @param {() => void} onClick */
function figure(source, label, caption, onClick) {
  const element = make("figure");
  const button = make("button");
  Object.assign(button, { type: "button" });
  button.setAttribute("aria-label", label);
  const image = new Image();
  image.src = source;
  image.alt = "";
  button.append(image);
  button.addEventListener("click", onClick);
  element.append(button, caption);
  return element;
}

/** The whole picture with the crop's frame. @param {any} picture @param {number} place */
function whole(picture, place) {
  const element = figure(picture.thumbnail, `${picture.name}: compare the whole picture`, words("figcaption", `${picture.width} × ${picture.height}`), () => open(place, null));
  element.className = "whole";
  const frame = make("span", "frame");
  const { top, left, side } = picture.crop;
  frame.style.top = `${(100 * top) / picture.height}%`;
  frame.style.left = `${(100 * left) / picture.width}%`;
  frame.style.width = `${(100 * side) / picture.width}%`;
  frame.style.height = `${(100 * side) / picture.height}%`;
  /** @type {HTMLElement} */ (element.firstElementChild).append(frame);
  return element;
}

// Viewer ---------------------------------------------------------------------------------------------------------------

const viewer = new Viewer((text) => { at("zoom").textContent = text; });
const CAPTION = 24;
const GAP = 12;
let current = 0;
let panes = /** @type {Pane[]} */ ([]);
let turn = 0; // which call of `show` is the last: an earlier one may still wait for its pictures

/** @param {number} place @param {any} crop  where to look first; null: the whole picture */
function open(place, crop) {
  current = place;
  at("viewer").showModal();
  show(crop);
}

/** @param {any} [crop] */
async function show(crop = null) {
  const mine = ++turn;
  const picture = listed[current];
  const slider = at("mode").value === "slider";
  at("title").textContent = `${picture.name} (${current + 1} of ${listed.length})`;
  at("pair").hidden = at("slide").hidden = !slider;
  at("flip").hidden = slider;
  flip(false);
  if (slider) sides(picture);
  const layers = slider ? ["left", "right"].map((side) => picture.layers[Number(at(side).value)]) : picture.layers;
  const gt = picture.layers[reference(picture)];
  at("flip").textContent = `Flip to ${gt.title}`;
  at("flip").title = `Show the ${gt.title} instead (hold the space bar)`;
  const fresh = layers.map(() => new Pane());
  const loaded = await Promise.all(layers.map((/** @type {any} */ layer) => Pane.load(
    slider || layer === gt ? [layer.source] : [layer.source, gt.source],
    slider || layer === gt ? [layer.title] : [layer.title, gt.title],
  )));
  if (mine !== turn) return;
  panes = fresh;
  panes.forEach((pane, i) => pane.put(loaded[i]));
  viewer.setPanes(panes, picture.width, picture.height);
  at("stage").replaceChildren(slider ? stack() : beside(layers));
  size();
  if (crop) {
    viewer.fitted = false;
    viewer.zoom = Math.max(viewer.zoom, 3);
    /** @type {(middle: number, side: number, room: number) => number} */
    const inside = (middle, side, room) => {
      const half = (room * devicePixelRatio) / viewer.zoom / 2;
      return side < 2 * half ? side / 2 : Math.min(Math.max(middle, half), side - half);
    };
    viewer.centre = {
      x: inside(crop.left + crop.side / 2, picture.width, viewer.window.width),
      y: inside(crop.top + crop.side / 2, picture.height, viewer.window.height),
    };
    viewer.refresh();
  }
}

/** Where among the layers the picture stands that others flip to. @param {any} picture */
function reference(picture) {
  return Math.max(0, picture.layers.findIndex((/** @type {any} */ layer) => layer.kind === "gt"));
}

/** The two pictures of the slider; those chosen before where this picture has them. @param {any} picture */
function sides(picture) {
  /** @type {any[]} */
  const all = picture.layers;
  const models = all.flatMap((layer, i) => layer.kind === "model" ? [i] : []);
  const gt = reference(picture);
  const usual = models.length > 1 ? [models[0], models[models.length - 1]] : [models[0] ?? gt, gt];
  ["left", "right"].forEach((side, i) => {
    const before = at(side).selectedOptions[0]?.textContent;
    const same = all.findIndex((layer) => layer.title === before);
    fill(at(side), all.map((layer, place) => [String(place), layer.title]));
    at(side).value = String(same < 0 ? usual[i] : same);
  });
}

/** @param {any[]} layers */
function beside(layers) {
  const element = make("div", "panes");
  panes.forEach((pane, i) => {
    const box = make("figure", "pane");
    box.append(pane.element, words("figcaption", layers[i].title));
    element.append(box);
  });
  return element;
}

function stack() {
  const element = make("div", "stack");
  element.append(...panes.map((pane) => pane.element), make("span", "line"));
  return element;
}

function size() {
  if (!panes.length) return;
  const stage = at("stage");
  const style = getComputedStyle(stage);
  const room = {
    width: stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
    height: stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
  };
  const slider = at("mode").value === "slider";
  const best = slider
    ? { columns: 1, width: Math.floor(room.width), height: Math.floor(room.height) }
    : arrange(panes.length, room, viewer.picture, { gap: GAP, caption: CAPTION }, 0);
  const height = Math.max(best.height, LEAST.height);
  stage.style.setProperty("--columns", String(best.columns));
  stage.style.setProperty("--view-width", `${best.width}px`);
  stage.style.setProperty("--view-height", `${height}px`);
  viewer.setWindow(best.width, height);
}

/** @param {boolean} on */
function flip(on) {
  at("flip").setAttribute("aria-pressed", String(on));
  for (const pane of panes) pane.flip(on);
}

/** @param {number} direction */
function go(direction) {
  current = (current + direction + listed.length) % listed.length;
  show();
}

function slide() {
  at("stage").style.setProperty("--slide", `${at("slide").value}%`);
}

at("previous").addEventListener("click", () => go(-1));
at("next").addEventListener("click", () => go(1));
at("smaller").addEventListener("click", () => viewer.step(-1));
at("larger").addEventListener("click", () => viewer.step(1));
at("fit").addEventListener("click", () => viewer.toggle());
at("flip").addEventListener("click", () => flip(at("flip").getAttribute("aria-pressed") !== "true"));
at("close").addEventListener("click", () => at("viewer").close());
for (const id of ["mode", "left", "right"]) at(id).addEventListener("change", () => show());
at("slide").addEventListener("input", slide);
addEventListener("resize", () => { if (at("viewer").open) size(); });

at("viewer").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const choosing = event.target instanceof HTMLSelectElement || event.target instanceof HTMLInputElement;
  if (event.key === " " && !choosing) {
    event.preventDefault();
    if (!event.repeat) flip(true);
  } else if (event.key === "ArrowLeft" && !choosing) go(-1);
  else if (event.key === "ArrowRight" && !choosing) go(1);
  else if (event.key === "+" || event.key === "=") viewer.step(1);
  else if (event.key === "-") viewer.step(-1);
  else if (event.key === "0") viewer.toggle();
});
at("viewer").addEventListener("keyup", (/** @type {KeyboardEvent} */ event) => {
  if (event.key === " " && !(event.target instanceof HTMLSelectElement)) {
    event.preventDefault(); // a button would be pressed
    flip(false);
  }
});

// Start ----------------------------------------------------------------------------------------------------------------

const sortable = Object.keys(data.metrics).filter((metric) => data.sets.some((/** @type {any} */ one) => one.pictures.some((/** @type {any} */ picture) => spread(picture, metric) >= 0)));
fill(at("set"), data.sets.map((/** @type {any} */ one, /** @type {number} */ i) => [String(i), one.name]));
fill(at("order"), [...sortable.map((metric) => /** @type {[string, string]} */ ([metric, `by difference in ${data.metrics[metric].name}`])), ["", "by name"]]);
if (sortable.includes(data.sort)) at("order").value = data.sort;
for (const id of ["set", "order"]) at(id).addEventListener("change", showPictures);
if (at("differences")) {
  /** @type {(key: string) => [string, string][]} */
  const choices = (key) => [...new Set(data.differences.map((/** @type {any} */ row) => row[key]))].map((value) => [value, key === "metric" ? data.metrics[value].name : value]);
  fill(at("difference-set"), choices("set"));
  fill(at("difference-metric"), choices("metric"));
  for (const id of ["difference-set", "difference-metric"]) at(id).addEventListener("change", showDifferences);
  showDifferences();
}
slide();
showPictures();
