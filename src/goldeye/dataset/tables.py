"""The figures of `goldeye labels` as tables: aligned text, Markdown, csv."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from goldeye.dataset.csv_files import csv_text

_LABELS = ("Positive", "Similar", "Negative")


@dataclass(frozen=True)
class Table:
    """Cells of text under a header; all rows are as long as it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def text_table(table: Table) -> str:
    """Columns in aligned text: the first to the left, the others to the right."""
    cells = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]
    return "\n".join([table.title, *(line.rstrip() for line in lines)])


def markdown_table(table: Table) -> str:
    """A table of GitHub's Markdown; names cannot break out of their cells."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(html.escape(" ".join(cell.split()), quote=False).replace("|", r"\|") for cell in cells)

    rule = "|---" + "|---:" * (len(table.header) - 1) + "|"
    return "\n".join(
        [f"**{table.title}**", "", line(table.header) + " |", rule, *(line(row) + " |" for row in table.rows)]
    )


def join(blocks: Iterable[Table | str], form: str) -> str:
    """Tables and sentences one below the other, as text or Markdown."""
    one = markdown_table if form == "md" else text_table
    return "\n\n".join(block if isinstance(block, str) else one(block) for block in blocks)


def stats_text(stats: Mapping[str, Any], names: Mapping[str, str] | None = None, form: str = "text") -> str:
    """The figures of `label_stats` with the paper's Tables 1-3; `names` (slot → enhancer) puts names beside slots.

    csv has one count a line: table, row, column, count.
    """
    if form == "csv":
        return csv_text(_stats_rows(stats)).rstrip("\n")
    who = "annotators" if stats["annotators_are"] == "people" else "annotator slots"
    least, positives = stats["min_votes"], stats["positives_per_group"]
    usable, time = stats["usable_groups"], stats["seconds_per_group"]
    enough = "votes" if least == 1 else f"at least {least} votes for a candidate"
    counts = Table(
        "Table 3: groups by their number of positives",
        ["positives", *map(str, range(len(positives))), "total"],
        [["groups", *(_share(count, sum(positives)) for count in positives), str(sum(positives))]],
    )
    people = Table(
        "By annotator",
        ["annotator", "groups", *_LABELS, "median s"],
        [_person_row(name, row) for name, row in stats["per_annotator"].items()],
    )
    return join(
        [
            f"{stats['labelled_groups']} of {stats['groups']} groups have {enough}, from {stats['annotators']} {who} "
            f"({stats['source']}).",
            _labels_table("Table 1: annotations per model", stats["annotations"], names or {}),
            _labels_table("Table 2: final labels per model", stats["final"], names or {}),
            counts,
            f"Training keeps {usable['positive']} groups (positives only) or {usable['positive_negative']} (positives "
            "and negatives).",
            people,
            "No times are known."
            if time["mean"] is None
            else f"A group took an annotator {time['mean']:.2f} s on average, {time['median']:.2f} s in the median.",
        ],
        form,
    )


def _labels_table(title: str, counts: Mapping[str, Mapping[str, int]], names: Mapping[str, str]) -> Table:
    rows = []
    for slot, row in counts.items():
        rows.append(
            [_title(slot, names), *(_share(count, sum(row.values())) for count in row.values()), str(sum(row.values()))]
        )
    return Table(title, ["model", *counts["total"], "total"], rows)


def _title(slot: str, names: Mapping[str, str]) -> str:
    return f"{slot} {names[slot]}" if names.get(slot, slot) != slot else slot


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.2%})" if total else str(count)


def _person_row(name: str, row: Mapping[str, Any]) -> list[str]:
    labels = [row[label] for label in _LABELS]
    median = "" if row["median_seconds"] is None else f"{row['median_seconds']:.2f}"
    return [name, str(row["groups"]), *(_share(count, sum(labels)) for count in labels), median]


def _stats_rows(stats: Mapping[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = [["table", "row", "column", "value"]]
    for table in ("annotations", "final"):
        rows += [[table, slot, label, count] for slot, row in stats[table].items() for label, count in row.items()]
    rows += [["positives_per_group", "groups", n, count] for n, count in enumerate(stats["positives_per_group"])]
    for table in ("usable_groups", "seconds_per_group"):
        rows += [[table, "", key, value] for key, value in stats[table].items()]
    rows += [
        ["per_annotator", name, key, value]
        for name, row in stats["per_annotator"].items()
        for key, value in row.items()
    ]
    return rows


_FIGURES = {
    "agreement": "agreement",
    "fleiss_kappa": "Fleiss' kappa",
    "alpha_nominal": "alpha nominal",
    "alpha_ordinal": "alpha ordinal",
}
_OF_ANNOTATORS = ("agreement", "alpha_nominal", "alpha_ordinal")


def agreement_text(figures: Mapping[str, Any], names: Mapping[str, str] | None = None, form: str = "text") -> str:
    """The figures of `label_agreement`; csv has one a line: scope, name, figure, value and the ends of its interval."""
    if form == "csv":
        return csv_text(_agreement_rows(figures)).rstrip("\n")
    who = "annotators" if figures["annotators_are"] == "people" else "annotator slots"
    times = figures["bootstrap"]["resamples"]
    intro = f"{figures['groups']} groups with votes, from {figures['annotators']} {who} ({figures['source']})."
    if times:
        intro += f" In brackets: 95 % intervals from {times} resamples of whole groups."
    models = {"all": figures["all"]} | {_title(slot, names or {}): row for slot, row in figures["candidates"].items()}
    people = dict(sorted(figures["per_annotator"].items(), key=_least_agreement_first))
    blocks: list[Table | str] = [
        intro,
        Table(
            "Agreement by model",
            ["model", "candidates", *_FIGURES.values()],
            [[name, str(row["candidates"]), *(_figure(row[key]) for key in _FIGURES)] for name, row in models.items()],
        ),
        Table(
            "Each annotator against the others, least agreement first",
            ["annotator", "votes", *_LABELS, *(_FIGURES[key] for key in _OF_ANNOTATORS)],
            [
                [name, str(row["votes"]), *(f"{row['shares'][label]:.1%}" for label in _LABELS)]
                + [_figure(row[key]) for key in _OF_ANNOTATORS]
                for name, row in people.items()
            ],
        ),
    ]
    if figures["worst_groups"]:
        blocks.append(_worst_table(figures["worst_groups"], names or {}))
    notes = [f"{name}: {row['note']}." for name, row in (*models.items(), *people.items()) if row["note"]]
    return join([*blocks, *notes], form)


def _least_agreement_first(item: tuple[str, Mapping[str, Any]]) -> tuple[float, str]:
    value = item[1]["agreement"]["value"]
    return (2.0 if value is None else value, item[0])


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    value, *ends = (f"{round(number, 3) + 0:.3f}" for number in (figure["value"], *(figure["ci95"] or ())))  # no -0.000
    return f"{value} [{', '.join(ends)}]" if ends else value


def _worst_table(groups: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Table:
    slots = list(dict.fromkeys(slot for group in groups for slot in group["labels"]))
    rows = []
    for group in groups:
        counts = [group["labels"].get(slot) for slot in slots]
        cells = ["" if row is None else "/".join(str(row[label]) for label in _LABELS) for row in counts]
        rows.append([group["group"], f"{group['disagreement']:.3f}", f"{group['distance']:.3f}", *cells])
    header = ["group", "disagreement", "distance", *(_title(slot, names) for slot in slots)]
    return Table("Groups with most disagreement (votes: Positive/Similar/Negative)", header, rows)


def _agreement_rows(figures: Mapping[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = [["scope", "name", "figure", "value", "low", "high"]]
    scopes = [("all", "", figures["all"])]
    scopes += [(scope, name, row) for scope in ("candidates", "per_annotator") for name, row in figures[scope].items()]
    for scope, name, row in scopes:
        rows += [[scope, name, key, row[key], None, None] for key in ("votes", "candidates")]
        rows += [[scope, name, f"share_{label}", share, None, None] for label, share in row["shares"].items()]
        rows += [
            [scope, name, key, row[key]["value"], *(row[key]["ci95"] or (None, None))] for key in _FIGURES if key in row
        ]
    for group in figures["worst_groups"]:
        rows += [["worst_groups", group["group"], key, group[key], None, None] for key in ("disagreement", "distance")]
    return rows
