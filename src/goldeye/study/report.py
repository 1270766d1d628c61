"""A study's results for people and for other programs: text, Markdown, csv, and the files of a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goldeye.dataset.csv_files import csv_text
from goldeye.dataset.tables import Table, join
from goldeye.errors import InvalidInput
from goldeye.files import write_json, write_text
from goldeye.study.results import Vote
from goldeye.study.settings import LEVELS, Study

SCHEMA = "goldeye.study/1"


def results_text(found: Mapping[str, Any], form: str = "text") -> str:
    """The figures of `study_results` as text, Markdown (md) or csv (one figure a line)."""
    if form == "csv":
        return csv_text(summary_rows(found)).rstrip("\n")
    intro = (
        f"{found['votes']} of {found['votes_wanted']} votes on {found['items']} "
        f"{'pairs' if found['kind'] == 'pair' else 'ratings'} of {found['pictures']} pictures, from {found['people']} "
        "people"
    )
    if found["median_seconds"] is not None:
        intro += f", {found['median_seconds']:.1f} s each in the median"
    blocks: list[Table | str] = [f"{found['title']}\n{intro}."]
    blocks += _pair_blocks(found) if found["kind"] == "pair" else _rating_blocks(found)
    if found["per_person"]:
        blocks.append(_people_table(found))
    blocks += [f"{name}: {flag}." for name, row in found["per_person"].items() for flag in row["flags"]]
    if found["excluded"]:
        blocks.append(f"Left out of all figures (--exclude-failed): {', '.join(found['excluded'])}.")
    elif found["flagged"]:
        blocks.append("People with remarks are counted; --exclude-failed leaves them out.")
    blocks += [*found["notes"], found["intervals"]]
    return join(blocks, form)


def _pair_blocks(found: Mapping[str, Any]) -> list[Table | str]:
    rows = [
        [
            f"{row['a']} : {row['b']}",
            str(row["votes"]),
            f"{row['a_preferred']} : {row['b_preferred']}",
            _percent(row["a_share"]),
            _percents(row["wilson95"]),
            _percents(row["bootstrap95"]),
            "-" if row["sign_test_p"] is None else f"{row['sign_test_p']:.2g}",
        ]
        for row in found["comparisons"]
    ]
    header = ["methods", "votes", "preferred", "first", "95 % Wilson", "95 % bootstrap", "sign test p"]
    blocks: list[Table | str] = [Table("Preferences", header, rows)]
    if found["scores"] is not None:
        blocks.append(
            Table(
                f"Bradley-Terry scores ({found['scores']['scale']})",
                ["method", "score", "95 % bootstrap", "preferred", "votes"],
                [
                    [
                        row["method"],
                        f"{row['score']:.3f}",
                        _numbers(row["bootstrap95"]),
                        str(row["preferred"]),
                        str(row["votes"]),
                    ]
                    for row in found["scores"]["methods"]
                ],
            )
        )
        if found["scores"]["prior"]:
            blocks.append(
                "The votes alone give no finite scores: every two methods got half a win against each other for them."
            )
    sides = found["sides"]
    if sides["total"]:
        blocks.append(
            f"The left side was chosen in {sides['left']} of {sides['total']} votes: {_percent(sides['share'])} "
            f"{_percents(sides['wilson95'])}. Sides are drawn at random, so that 50 % are expected."
        )
    return blocks


def _rating_blocks(found: Mapping[str, Any]) -> list[Table | str]:
    ratings = Table(
        "Mean opinion scores, 0 to 5: lower is better",
        ["method", "votes", "mean", "95 % bootstrap", *(f"{level} {word}" for level, word in found["scale"].items())],
        [
            [row["method"], str(row["votes"]), _number(row["mean"]), _numbers(row["bootstrap95"])]
            + [str(count) for count in row["levels"]]
            for row in found["ratings"]
        ],
    )
    if not found["differences"]:
        return [ratings]
    differences = Table(
        "Differences of means (below 0: the first is better)",
        ["methods", "difference", "95 % bootstrap"],
        [
            [f"{row['a']} - {row['b']}", _number(row["mean"]), _numbers(row["bootstrap95"])]
            for row in found["differences"]
        ],
    )
    return [ratings, differences]


def _people_table(found: Mapping[str, Any]) -> Table:
    pair = found["kind"] == "pair"
    rows = []
    for name, row in found["per_person"].items():
        own = [_percent(row["left"]["share"]), _percents(row["left"]["wilson95"])] if pair else [_number(row["mean"])]
        seconds = "-" if row["median_seconds"] is None else f"{row['median_seconds']:.1f}"
        checks = f"{row['checks']['right']} of {row['checks']['total']}"
        remark = "left out" if row["excluded"] else "remark" if row["flags"] else ""
        rows.append([name, str(row["votes"]), seconds, *own, checks, remark])
    own_header = ["left", "95 % Wilson"] if pair else ["mean"]
    return Table("People", ["person", "votes", "median s", *own_header, "checks right", ""], rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _percents(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"[{ends[0]:.1%}, {ends[1]:.1%}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _numbers(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]"


def summary_rows(found: Mapping[str, Any]) -> list[list[object]]:
    """A figure and an interval a line: table, row, figure, value, low, high, and which interval it is."""
    rows: list[list[object]] = [["table", "row", "figure", "value", "low", "high", "interval"]]
    counts = ("pictures", "items", "votes_per_item", "votes_wanted", "votes", "people", "median_seconds")
    rows += [["study", "", key, found[key], None, None, None] for key in counts]

    def figure(table: str, name: str, key: str, value: object, ends: Mapping[str, Sequence[float] | None]) -> None:
        given = [(*pair, kind) for kind, pair in ends.items() if pair is not None]
        rows.extend([table, name, key, value, *interval] for interval in given or [(None, None, None)])

    for row in found.get("comparisons", ()):
        name = f"{row['a']} : {row['b']}"
        for key in ("votes", "a_preferred", "b_preferred", "sign_test_p"):
            figure("comparisons", name, key, row[key], {})
        ends = {"wilson95": row["wilson95"], "bootstrap95": row["bootstrap95"]}
        figure("comparisons", name, "a_share", row["a_share"], ends)
    for row in (found.get("scores") or {}).get("methods", ()):
        figure("scores", row["method"], "score", row["score"], {"bootstrap95": row["bootstrap95"]})
    for row in found.get("ratings", ()):
        figure("ratings", row["method"], "votes", row["votes"], {})
        figure("ratings", row["method"], "mean", row["mean"], {"bootstrap95": row["bootstrap95"]})
        for level, count in enumerate(row["levels"]):
            figure("ratings", row["method"], f"level_{level}", count, {})
    for row in found.get("differences", ()):
        name = f"{row['a']} - {row['b']}"
        figure("differences", name, "mean", row["mean"], {"bootstrap95": row["bootstrap95"]})
    if "sides" in found:
        figure("sides", "", "left_share", found["sides"]["share"], {"wilson95": found["sides"]["wilson95"]})
    for name, row in found["per_person"].items():
        figure("per_person", name, "votes", row["votes"], {})
        figure("per_person", name, "median_seconds", row["median_seconds"], {})
        figure("per_person", name, "checks_right", row["checks"]["right"], {})
        figure("per_person", name, "checks_total", row["checks"]["total"], {})
        if "left" in row:
            figure("per_person", name, "left_share", row["left"]["share"], {"wilson95": row["left"]["wilson95"]})
        else:
            figure("per_person", name, "mean", row["mean"], {})
        figure("per_person", name, "flags", "; ".join(row["flags"]), {})
        figure("per_person", name, "excluded", int(row["excluded"]), {})
    return rows


def vote_rows(study: Study, votes: Sequence[Vote]) -> list[list[object]]:
    """One vote a line, with the methods' names."""
    names = study.method_names
    if study.settings.kind == "rating":
        header: list[object] = ["picture", "method", "level", "word", "person", "seconds", "time"]
        return [header] + [
            [vote.picture, names[vote.slots[0]], int(vote.answer), LEVELS[int(vote.answer)], *_by(vote)]
            for vote in votes
        ]
    rows: list[list[object]] = [["picture", "pair", "left", "right", "chosen", "person", "seconds", "time"]]
    for vote in votes:
        left, right = (names[slot] for slot in vote.slots)
        pair = " : ".join(names[slot] for slot in names if slot in vote.slots)
        rows.append([vote.picture, pair, left, right, names[vote.answer], *_by(vote)])
    return rows


def _by(vote: Vote) -> list[object]:
    return [vote.person, vote.seconds, vote.time.isoformat(timespec="seconds")]


def refuse_others(folder: Path, store: str) -> None:
    """InvalidInput unless `folder` is absent, empty, or holds results of the same store, which may be written anew."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise InvalidInput(f"The output '{folder}' is a file; a folder is needed.")
    try:
        there = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        own = (there["schema"], there["store"]) == (SCHEMA, store)
    except (OSError, ValueError, LookupError, TypeError):
        own = not any(folder.iterdir())
    if not own:
        raise InvalidInput(
            f"'{folder}' is there already and does not hold results of this study.",
            hint="Choose another folder, or remove it first.",
        )


def write_results(folder: Path, study: Study, found: Mapping[str, Any], votes: Sequence[Vote]) -> list[str]:
    """results.json, summary.csv, votes.csv, chart.svg and chart.png in `folder`; returns the files' paths.

    votes.csv has all votes that count, those of people left out as well.
    """
    import matplotlib  # noqa: F401 - a missing library or vote is told before anything is written

    from goldeye.study.chart import write_chart

    if not found["votes"]:
        raise InvalidInput("There is no vote to write and draw yet.")

    document = {"schema": SCHEMA} | dict(found)
    write_json(folder / "results.json", document)
    write_text(folder / "summary.csv", csv_text(summary_rows(found)))
    write_text(folder / "votes.csv", csv_text(vote_rows(study, votes)))
    for name in ("chart.svg", "chart.png"):
        write_chart(folder / name, found)
    return [str(folder / name) for name in ("results.json", "summary.csv", "votes.csv", "chart.svg", "chart.png")]
