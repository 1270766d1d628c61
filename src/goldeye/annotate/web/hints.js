// The words beside and under the pictures: what the labels mean, and which keys there are.

import { byId } from "./screens.js";
import { make } from "./viewer.js";

/** @import { Keys, Task } from "./keys.js" */

/** What a version is flipped with. @param {Task} task @param {boolean} reference  there is an original or reference */
function flipsWith({ kind }, reference) {
  if (kind === "label") return "original";
  return kind === "pair" && !reference ? "other" : "reference";
}

/**
 * The few words beside the pictures.
 * @param {Task} task
 * @param {boolean} reference
 * @param {string} question  shown elsewhere; empty: none
 */
export function writeGuide(task, reference, question) {
  const { kind, labels, words } = task;
  byId("guide-title").textContent = {
    label: "What the labels mean",
    pair: "Which picture looks better?",
    rating: "Against the reference, it is",
  }[kind];
  byId("guide-title").hidden = kind === "pair" && question !== "";
  const rows = kind === "pair" ? [] : labels;
  byId("guide-words").replaceChildren(
    ...rows.map((label) => {
      const row = make("div");
      const term = make("dt", label.toLowerCase());
      const meaning = make("dd");
      term.textContent = label;
      meaning.textContent = words[label] ?? "";
      row.append(term, meaning);
      return row;
    }),
  );
  byId("guide-words").hidden = rows.length === 0;
  byId("flip-name").textContent = flipsWith(task, reference);
}

/** @param {string} name */
function keyBox(name) {
  const box = make("kbd");
  box.textContent = name;
  return box;
}

/**
 * Write the keys wherever they are shown.
 * @param {Keys} keys
 * @param {Task} task
 * @param {boolean} reference
 * @param {number} count  versions on screen
 */
export function writeKeys(keys, task, reference, count) {
  /** @type {(id: string) => string} */
  const name = (id) => keys.name(id);
  for (const element of document.querySelectorAll("kbd[data-key]")) {
    element.textContent = name(/** @type {HTMLElement} */ (element).dataset.key ?? "");
  }
  const versions = Array.from({ length: Math.min(Math.max(count, 1), 9) }, (_, i) => name(`version:${i + 1}`));
  const plain = versions.length > 2 && versions.every((key, i) => key === String(i + 1));
  const numbers = plain ? [`1–${versions.length}`] : versions;
  const labels = task.labels.map((label) => name(`label:${label}`));
  /** @type {Record<string, [string[], string][]>} */
  const answers = {
    label: [[numbers, "choose"], [labels, "label"]],
    pair: [[numbers, "prefer"]],
    rating: [[labels, "rate"]],
  };
  /** @type {[string[], string][]} */
  const hints = [
    ...answers[task.kind],
    [[name("back")], "back"],
    [[name("full")], "fill screen"],
    [[name("zoom-in"), name("zoom-out")], "wheel: zoom"],
    [[name("left"), name("right"), name("up"), name("down")], "drag: move"],
  ];
  byId("hints").replaceChildren(
    ...hints.map(([names, text]) => {
      const item = make("li");
      item.append(...names.flatMap((key) => [keyBox(key), " "]), text);
      return item;
    }),
  );
  byId("guide-text").replaceChildren("Zoom in before you decide");
  if (reference || task.kind === "pair") {
    const text = ` to see the ${flipsWith(task, reference)} in the same place`;
    byId("guide-text").append(", and hold ", keyBox(name("flip")), text);
  }
  byId("guide-text").append(".");
}
