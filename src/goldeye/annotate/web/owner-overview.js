// How far the annotation is, how fast it goes, and what has been found so far.

import { DASH, bar, byId, counted, enhancer, figure, h, number, percent, renew, table } from "./owner-dom.js";
import { study } from "./owner-study.js";

const AGREEMENT = { agreement: "Agreement", fleiss_kappa: "Fleiss’ kappa", alpha_nominal: "Alpha, nominal", alpha_ordinal: "Alpha, ordinal" };

/** @typedef {Record<string, Record<string, number>>} Counts  by enhancer and by label, with a last row "total" */

/** @param {any} overview  the answer of /api/owner/overview, null before the first one */
export function showOverview(overview) {
  if (!overview) {
    renew(byId("overview-body"), h("p", { class: "soft" }, "Loading…"));
    return;
  }
  const names = overview.names ?? {};
  const { progress, labels, agreement } = overview;
  const begun = progress.votes > 0;
  renew(
    byId("overview-body"),
    !begun && nothingYet(overview.people ?? []),
    tiles(overview),
    begun && overview.study && study(overview.study),
    h(
      "div",
      { class: "pair", "data-key": "panels" },
      begun && labels && [votesTable(labels, names), finalTable(labels, names)],
      begun && agreement && agreementTable(agreement, names),
      begun && labels && positives(labels),
      settings(overview),
    ),
    overview.computed && h("p", { class: "soft" }, `As of ${new Date(overview.computed).toLocaleTimeString("en-GB")}.`),
  );
}

/** @param {{role: string, state: string}[]} people */
function nothingYet(people) {
  const invited = people.filter((person) => person.role === "annotator" && person.state === "active").length;
  const text = invited
    ? `${counted(invited, "person has a link", "people have a link")}, and nobody has finished a group yet. Figures appear here with the first votes.`
    : "Nobody has voted yet. Invite the first people: each gets a link of their own, and figures appear here with the first votes.";
  return h("p", { class: "panel hello", "data-key": "hello" }, text, " ", h("a", { href: "#people" }, invited ? "See the people" : "Invite people"));
}

// Progress and pace -----------------------------------------------------------------------------------------------------

/** @param {any} overview */
function tiles({ task, progress, pace }) {
  const { groups, groups_finished: finished, groups_begun: begun, votes, votes_wanted: wanted } = progress;
  const paper = task === "label" && pace.paper_seconds ? `the paper’s annotators took ${number(pace.paper_seconds, 2)}\u00a0s` : "median";
  const unknown = votes < wanted && pace.hours_left === null;
  const doers = pace.people_last_hour ? `by ${counted(pace.people_last_hour, "person", "people")}` : "nobody is at work";
  return h(
    "div",
    { class: "tiles", "data-key": "tiles" },
    tile("Groups finished", number(finished), `of ${number(groups)}; ${number(Math.max(begun - finished, 0))} more begun`, [finished, groups]),
    tile("Votes", number(votes), `of ${number(wanted)} wanted`, [votes, wanted]),
    tile("In the last hour", counted(pace.groups_last_hour, "group"), doers),
    tile("Time for a group", pace.median_seconds === null ? DASH : `${number(pace.median_seconds, 1)}\u00a0s`, paper),
    tile("Left", left(pace.hours_left, votes >= wanted), unknown ? "not known yet" : "at the present pace"),
  );
}

/** @param {number | null} hours @param {boolean} done */
function left(hours, done) {
  if (done) return "Nothing";
  if (hours === null) return DASH;
  return hours < 1 ? `${number(Math.max(hours * 60, 1))}\u00a0min` : `${number(hours, hours < 10 ? 1 : 0)}\u00a0h`;
}

/** @param {string} name @param {string} value @param {string} under @param {number[]} [part]  how much of what */
function tile(name, value, under, part) {
  return h(
    "div",
    { class: "tile" },
    h("span", { class: "tile-name" }, name),
    h("span", { class: "tile-value" }, value),
    h("span", { class: "soft" }, under),
    part && h("progress", { max: Math.max(part[1], 1), value: part[0], "aria-label": name }),
  );
}

/** @param {number} share */
const rate = (share) => `${Number((share * 100).toFixed(1))}\u00a0%`;

/** @param {any} overview */
function settings({ task, gold_items, settings }) {
  const { votes, order, lease_minutes, gold_rate, repeat_rate, quota, pass_mark, gold_accuracy } = settings;
  const checks = task === "label" ? "gold items" : "attention checks";
  const sentences = [
    votes === "adaptive" ? "Two votes for each group, and a third where they differ." : votes && `${counted(votes, "vote")} for each group.`,
    order === "disagreement" ? "Groups on which people disagree come first." : order === "random" && "Groups come in random order.",
    lease_minutes && `A group that is left open goes to somebody else after ${counted(lease_minutes, "minute")}.`,
    quota
      ? `A person is given at most ${counted(quota, "group")}, unless they have a limit of their own.`
      : "A person may do as many groups as there are.",
    gold_rate && gold_items
      ? `${rate(gold_rate)} of the groups given out are ${checks}; who is right on less than ${rate(gold_accuracy)} of them stands out.`
      : `No ${checks} are mixed in.`,
    repeat_rate ? `${rate(repeat_rate)} of the groups given out are shown to a person a second time.` : "No groups are repeated.",
    pass_mark && `The qualification, where there is one, is passed with ${rate(pass_mark)}.`,
  ];
  return panel("settings", "How it is set", h("ul", { class: "sentences" }, sentences.map((text) => text && h("li", {}, text))));
}

// Labels ----------------------------------------------------------------------------------------------------------------

/** @param {any} labels  the document of `goldeye labels stats` @param {Record<string, string>} names */
const votesTable = (labels, names) =>
  panel("votes", "Votes by enhancer", labelCounts("Table 1: all votes", labels.annotations, names));

/** @param {any} labels  as above @param {Record<string, string>} names */
const finalTable = (labels, names) =>
  panel("final", "Final labels", labelCounts("Table 2: the majority of the votes, by enhancer", labels.final, names));

/** @param {string} key @param {string} title @param {...any} content */
const panel = (key, title, ...content) => h("section", { class: "panel", "data-key": key }, h("h2", {}, title), content);

/** @param {string} caption @param {Counts} counts @param {Record<string, string>} names */
function labelCounts(caption, counts, names) {
  const labels = Object.keys(counts.total);
  return table(
    caption,
    ["Enhancer", ...labels, "All", "Shares"],
    Object.entries(counts).map(([slot, row]) => {
      const all = Object.values(row).reduce((sum, count) => sum + count, 0);
      return {
        cells: [slot === "total" ? "All" : enhancer(slot, names), ...labels.map((label) => share(row[label], all)), number(all), bar(row)],
        key: slot,
        strong: slot === "total",
      };
    }),
  );
}

/** @param {number} count @param {number} all */
const share = (count, all) => [number(count), all > 0 && h("span", { class: "soft block" }, percent(count / all, 1))];

/** @param {{positives_per_group: number[], usable_groups: {positive: number, positive_negative: number}}} labels */
function positives({ positives_per_group: groups, usable_groups: kept }) {
  const all = groups.reduce((sum, count) => sum + count, 0);
  const most = Math.max(...groups, 1);
  const rows = groups.map((count, n) => ({
    cells: [String(n), number(count), all ? percent(count / all, 1) : DASH, length(count / most)],
    key: String(n),
  }));
  const columns = ["Positives", "Groups", "Share", h("span", { class: "unseen" }, "As a bar")];
  return panel(
    "positives",
    "Positives in a group",
    table("Table 3: groups by their number of positives", columns, rows),
    kept && h("p", { class: "under" },
      `Training keeps ${counted(kept.positive, "group")} with a positive, or ${number(kept.positive_negative)} with a positive or a negative.`),
  );
}

/** @param {number} share  of the longest bar */
const length = (share) =>
  h(
    "span",
    { class: "bar plain", "aria-hidden": "true" },
    share > 0 && h("span", { class: "tone-positive", share }),
    h("span", { share: 1 - share }),
  );

/** @param {any} agreement  the document of `goldeye labels agreement` @param {Record<string, string>} names */
function agreementTable(agreement, names) {
  const { all, candidates = {}, bootstrap } = agreement;
  const rows = [["all", "All", all], ...Object.entries(candidates).map(([slot, row]) => [slot, enhancer(slot, names), row])];
  const notes = [...new Set(rows.map(([, , row]) => row?.note).filter(Boolean))];
  return h(
    "section",
    { class: "panel wide", "data-key": "agreement" },
    h("h2", {}, "Agreement"),
    table(
      "How far people agree on the same pictures",
      ["Enhancer", "Pictures with two votes", ...Object.values(AGREEMENT)],
      rows.map(([key, name, row]) => ({
        cells: [name, number(row?.candidates), ...Object.keys(AGREEMENT).map((each) => figure(row?.[each]))],
        key,
        strong: key === "all",
      })),
    ),
    h(
      "p",
      { class: "soft under" },
      "1 is perfect agreement; kappa and alpha are 0 where people agree no more than by chance.",
      bootstrap?.resamples ? ` In brackets: 95 % intervals from ${number(bootstrap.resamples)} resamples of whole groups.` : "",
      notes.length > 0 && ` A dash: ${notes.join("; ")}.`,
    ),
  );
}
