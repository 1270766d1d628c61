// The results of a user study: which method people prefer, or how they rate the methods.

import { DASH, bar, counted, h, number, percent, table } from "./owner-dom.js";

/**
 * The part of `goldeye study results` (goldeye.study/1) that is shown.
 * @typedef {{a: string, b: string, votes: number, a_preferred: number, b_preferred: number, a_share: number | null,
 *   wilson95: number[] | null, bootstrap95: number[] | null}} Comparison
 * @typedef {{method: string, score: number, bootstrap95: number[] | null, preferred: number, votes: number}} Score
 * @typedef {{method: string, votes: number, mean: number | null, bootstrap95: number[] | null, levels: number[]}} Rating
 */

const HIDDEN = "unseen";

/** @param {any} found */
export function study(found) {
  const { comparisons, scores, ratings, differences, per_picture: pictures, intervals } = found;
  return h(
    "section",
    { class: "panel", "data-key": "study" },
    h("h2", {}, "Results"),
    h("p", {}, `${counted(found.people, "person", "people")} gave ${number(found.votes)} of `,
      `${counted(found.votes_wanted, "vote")} on ${counted(found.pictures, "picture")}.`),
    comparisons && preferences(comparisons),
    scores?.methods && bradleyTerry(scores.methods),
    ratings && means(ratings, found.scale ?? {}, found.lower_is_better),
    differences?.length > 0 && apart(differences),
    h("ul", { class: "sentences under" }, warnings(found).map((text) => h("li", {}, text))),
    pictures && perPicture(pictures),
    intervals && h("p", { class: "soft under" }, intervals),
  );
}

/** @param {Comparison[]} pairs */
const preferences = (pairs) =>
  table(
    "Which version people prefer; in brackets the 95 % interval (Wilson)",
    ["First", "Second", "Votes", "Prefer the first", "Prefer the second", h("span", { class: HIDDEN }, "As a bar")],
    pairs.map(({ a, b, votes, a_preferred: first, b_preferred: second, a_share: share, wilson95: ends }) => ({
      cells: [a, b, number(votes),
        [number(first), under(share, ends)],
        [number(second), under(share === null ? null : 1 - share, ends && [1 - ends[1], 1 - ends[0]])],
        bar({ Preferred: first, "Not preferred": second })],
      key: `${a} ${b}`,
    })),
  );

/** @param {number | null} share @param {number[] | null} ends */
const under = (share, ends) =>
  h("span", { class: "soft block" }, percent(share, 1), ends && ` [${ends.map((end) => number(end * 100, 1)).join(", ")}]`);

/** @param {Score[]} rows */
const bradleyTerry = (rows) =>
  table(
    "Bradley-Terry scores, best first (log-odds, centred at 0); in brackets the 95 % interval (bootstrap)",
    ["Method", "Score", "Preferred", "Votes"],
    rows.map((row) => ({ cells: [row.method, withEnds(row.score, row.bootstrap95), number(row.preferred), number(row.votes)], key: row.method })),
  );

/** @param {number | null} value @param {number[] | null} ends */
const withEnds = (value, ends) => number(value, 2) + (ends ? ` [${ends.map((end) => number(end, 2)).join(", ")}]` : "");

/** @param {Rating[]} rows @param {Record<string, string>} scale @param {boolean | undefined} lower */
const means = (rows, scale, lower) =>
  table(
    `Mean ratings${lower ? ", lower is better" : ""}; in brackets the 95 % interval (bootstrap)`,
    ["Method", "Mean", "Votes", ...Object.entries(scale).map(([level, word]) => `${level} ${word}`), h("span", { class: HIDDEN }, "As a bar")],
    rows.map(({ method, votes, mean, bootstrap95: ends, levels }) => ({
      cells: [method, withEnds(mean, ends), number(votes), ...levels.map((count) => number(count)), bar(Object.fromEntries(levels.entries()))],
      key: method,
    })),
  );

/** @param {{a: string, b: string, mean: number | null, bootstrap95: number[] | null}[]} rows */
const apart = (rows) =>
  table(
    "Differences of the means",
    ["First", "Second", "First less second"],
    rows.map(({ a, b, mean, bootstrap95: ends }) => ({ cells: [a, b, withEnds(mean, ends)], key: `${a} ${b}` })),
  );

/** What tells whether the votes can be trusted. @param {any} found @returns {string[]} */
function warnings({ sides, checks, flagged = [], excluded = [], median_seconds: seconds }) {
  const texts = [];
  if (seconds !== null && seconds !== undefined) texts.push(`A vote took ${number(seconds, 1)} s in the median.`);
  if (sides?.total > 0) {
    const left = `${number(sides.left)} of ${number(sides.total)} times (${percent(sides.share, 1)})`;
    texts.push(`The left version was chosen ${left}; half is expected.`);
  }
  if (checks?.answered > 0) texts.push(`Attention checks: ${number(checks.right)} of ${number(checks.answered)} right.`);
  if (flagged.length > 0) texts.push(`Stand out: ${flagged.join(", ")}${excluded.length > 0 ? " (left out)" : ""}.`);
  return texts;
}

/** @param {Record<string, any>} pictures  a list of comparisons, or ratings by method, for each picture */
function perPicture(pictures) {
  const rows = Object.entries(pictures).map(([name, row]) => ({
    cells: [name, Array.isArray(row) ? row.map(outcome).join("; ") : Object.entries(row).map(rating).join("; ")],
    key: name,
  }));
  return h("details", {}, h("summary", {}, `By picture (${number(rows.length)})`), table("By picture", ["Picture", "Votes"], rows));
}

/** @param {Comparison} pair */
const outcome = ({ a, b, a_preferred: first, b_preferred: second }) => `${a} ${number(first)} : ${number(second)} ${b}`;

/** @param {[string, {votes: number, mean: number | null}]} entry */
const rating = ([method, { votes, mean }]) => `${method} ${votes > 0 ? number(mean, 2) : DASH}`;
