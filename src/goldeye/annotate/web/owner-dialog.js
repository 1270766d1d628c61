// Questions and messages in front of the page.

import { h } from "./owner-dom.js";

/**
 * Show a dialog until it is closed; the focus goes back to where it was.
 * @param {string} title
 * @param {...(Node | string | null)} content
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, ...content) {
  const heading = h("h2", { id: `dialog-${document.querySelectorAll("dialog").length}` }, title);
  const dialog = h("dialog", { "aria-labelledby": heading.id }, heading, content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask before something that cannot be taken back; true when the answer is yes.
 * @param {string} title @param {string} text @param {string} yes  what the button says that does it
 * @returns {Promise<boolean>}
 */
export function sure(title, text, yes) {
  return new Promise((resolve) => {
    let answer = false;
    const no = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
    const go = h("button", { type: "button", class: "danger", onclick: () => ((answer = true), dialog.close()) }, yes);
    const dialog = openDialog(title, h("p", {}, text), h("p", { class: "actions" }, go, no));
    dialog.addEventListener("close", () => resolve(answer));
    no.focus();
  });
}

/** A personal link, shown this once. @param {string} name @param {string} link */
export function showLink(name, link) {
  const field = h("input", { type: "text", readonly: true, "aria-label": `Link for ${name}`, value: link, class: "link" });
  const said = h("span", { role: "status", class: "soft" });
  const copy = h("button", { type: "button", class: "primary", onclick: async () => (said.textContent = await copied(field)) }, "Copy");
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = openDialog(
    `Link for ${name}`,
    h("p", {}, `Give this link to ${name} and to nobody else: whoever opens it answers as ${name}. `,
      h("strong", {}, "It is shown only now"), "; a lost one can be replaced by a new one."),
    field,
    h("p", { class: "actions" }, copy, close, said),
  );
  copy.focus();
}

/** @param {HTMLInputElement} field @returns {Promise<string>} how it went */
async function copied(field) {
  field.select();
  try {
    await navigator.clipboard.writeText(field.value); // missing outside https and localhost
  } catch {
    if (!document.execCommand("copy")) return "Please copy the marked text yourself.";
  }
  return "Copied.";
}
