// Taking the labels out, in every format of `goldeye labels export`.

import { Refused, ownHeaders } from "./api.js";
import { byId, h, renew, sentence } from "./owner-dom.js";

const FORMATS = [
  {
    id: "official",
    name: "Official JSON",
    text: "One file for each group and annotator slot, as HGGT’s released labels have it, with pseudonyms of the people beside.",
  },
  { id: "csv", name: "csv", text: "One row for each vote, with its times.", names: true },
  { id: "parquet", name: "Parquet", text: "The same rows for pandas, Polars or DuckDB.", names: true },
  { id: "positives", name: "Positives", text: "The pictures of each positive version, each with its original beside, for training." },
  { id: "preferences", name: "Preferences", text: "Pairs of a better and a worse picture of a group, one a line (JSON)." },
  { id: "huggingface", name: "Hugging Face", text: "A dataset with pictures for the datasets library, with its card." },
];

/** Draw the part; it has nothing that changes by itself. */
export function showExport() {
  if (byId("export-body").childElementCount > 0) return;
  renew(
    byId("export-body"),
    h("p", {}, "Each is one zip file of all votes until now. People are pseudonyms, unless you choose their names."),
    h("div", { class: "formats" }, FORMATS.map(formatPanel)),
  );
}

/** @param {{id: string, name: string, text: string, names?: boolean}} format */
function formatPanel({ id, name, text, names = false }) {
  const withNames = h("input", { type: "checkbox" });
  const said = h("p", { class: "soft", role: "status" });
  const button = h("button", { type: "button", "aria-label": `Download ${name}` }, "Download");
  button.onclick = async () => {
    button.disabled = true;
    said.classList.remove("problem");
    said.textContent = "Preparing…";
    try {
      const file = await download(`/api/owner/export?format=${id}&names=${withNames.checked}`, `labels-${id}.zip`);
      said.textContent = `Saved as ${file}.`;
    } catch (error) {
      said.classList.add("problem");
      said.textContent = sentence(error);
    }
    button.disabled = false;
    button.focus();
  };
  return h(
    "section",
    { class: "panel", "aria-label": name },
    h("h2", {}, name),
    h("p", {}, text),
    names && h("label", { class: "choice" }, withNames, "with people’s names"),
    h("p", { class: "actions" }, button),
    said,
  );
}

/** @param {string} path @param {string} usual  the file's name when the server gives none @returns {Promise<string>} its name */
async function download(path, usual) {
  const response = await fetch(path, { credentials: "same-origin", headers: ownHeaders() });
  if (!response.ok) {
    const answer = await response.json().catch(() => null);
    throw new Refused(response.status, answer?.error?.message ?? `The server answered ${response.status}.`);
  }
  const given = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "");
  const link = h("a", { href: URL.createObjectURL(await response.blob()), download: given?.[1] ?? usual });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser has begun to write it by then
  return link.download;
}
