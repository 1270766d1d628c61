"""A benchmark's figures as tables: text and Markdown, csv, LaTeX, and the rows of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goldeye.dataset.csv_files import csv_text
from goldeye.dataset.tables import Table, join
from goldeye.evaluate.definitions import definition_text
from goldeye.evaluate.multi_gt import direction
from goldeye.files import write_text

_DIGITS = {"niqe": 3, "fid": 2, "colour_shift": 2}
_ARROWS = {True: " ↑", False: " ↓", None: ""}
NONE = "–"


@dataclass(frozen=True)
class Column:
    """Figures of one metric on one set; `paper` where they are those printed for the same model."""

    set: str
    metric: str
    words: str
    """The metric with an arrow to where it is better, if it is anywhere."""
    paper: bool = False


@dataclass(frozen=True)
class Cell:
    """`rank` is 1 for the best measured figures of a column as they are printed, 2 for the second best, else 0."""

    text: str
    rank: int = 0


@dataclass(frozen=True)
class Row:
    """A model that was measured, or a row of a paper (`paper` says which)."""

    name: str
    parameters: str
    seconds: str
    cells: tuple[Cell, ...]
    paper: str | None = None


@dataclass(frozen=True)
class Figures:
    """One table of a benchmark."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    with_seconds: bool
    with_parameters: bool


def digits(metric: str, unit: str) -> int:
    """How many digits behind the point a metric deserves."""
    return _DIGITS.get(metric, 2 if unit == "dB" else 4)


def shown(metric: str, unit: str, value: float | None) -> str:
    """A figure with these digits."""
    return NONE if value is None else f"{value:.{digits(metric, unit)}f}"


def figures_of(document: Mapping[str, Any]) -> list[Figures]:
    """The tables of a benchmark's document, one for each of its lists of metrics."""
    return [_figures(document, name, metrics) for name, metrics in document["tables"].items()]


def _figures(document: Mapping[str, Any], title: str, metrics: Sequence[str]) -> Figures:
    info = document["metrics"]
    against = {one["name"]: one.get("against") for one in document["sets"]}
    beside = {row["beside"]: row for row in document["published"] if row["beside"] is not None}
    columns = []
    for one in document["sets"]:
        for metric in metrics:
            words = info[metric]["name"] + _ARROWS[direction(metric, one.get("against"))]
            columns.append(Column(one["name"], metric, words))
            if any(metric in row["figures"].get(one["name"], {}) for row in beside.values()):
                columns.append(Column(one["name"], metric, f"{info[metric]['name']} (paper)", paper=True))

    measured = {(row["model"], row["set"]): row for row in document["results"]}

    def text(model: str, column: Column) -> str:
        if column.paper:
            return _as_printed(beside[model], column) if model in beside else NONE
        row = measured.get((model, column.set))
        value = None if row is None else row["metrics"].get(column.metric, {}).get("mean")
        return shown(column.metric, info[column.metric]["unit"], value)

    names = [model["name"] for model in document["models"]]
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    for column in columns:
        texts = {name: text(name, column) for name in names}
        higher = direction(column.metric, against[column.set])
        ranks = {} if column.paper or higher is None else _ranks(texts, higher=higher)
        for name, figure in texts.items():
            cells[name].append(Cell(figure, ranks.get(name, 0)))
    rows = [
        Row(model["name"], _count(model["parameters"]), _seconds(document, model["name"]), tuple(cells[model["name"]]))
        for model in document["models"]
    ]
    for published in document["published"]:
        if published["beside"] is None:
            of = tuple(Cell(NONE if column.paper else _as_printed(published, column)) for column in columns)
            if any(cell.text != NONE for cell in of):
                rows.append(Row(published["name"], _count(published["parameters"]), NONE, of, published["source"]))
    return Figures(
        title,
        tuple(columns),
        tuple(rows),
        with_seconds=any(row.seconds != NONE for row in rows),
        with_parameters=any(row.parameters != NONE for row in rows),
    )


def _ranks(texts: Mapping[str, str], *, higher: bool) -> dict[str, int]:
    """Ranks by what is printed, so that equal figures get equal marks; a second best only where there is a third."""
    figures = {name: float(text) for name, text in texts.items() if text != NONE}
    marks = sorted(set(figures.values()), reverse=higher)[: max(0, min(2, len(figures) - 1))]
    return {name: marks.index(figure) + 1 if figure in marks else 0 for name, figure in figures.items()}


def _as_printed(published: Mapping[str, Any], column: Column) -> str:
    """A figure with the digits of its paper's table."""
    value = published["figures"].get(column.set, {}).get(column.metric)
    return NONE if value is None else f"{value:.{published['digits'][column.metric]}f}"


def _count(parameters: int | None) -> str:
    return NONE if parameters is None else f"{parameters:,}"


def _seconds(document: Mapping[str, Any], model: str) -> str:
    """The mean over all pictures of all sets."""
    timings = [row["seconds"] for row in document["results"] if row["model"] == model and row["seconds"] is not None]
    pictures = sum(timing["pictures"] for timing in timings)
    if not pictures:
        return NONE
    return f"{sum(timing['mean'] * timing['pictures'] for timing in timings) / pictures:.3g}"


def notes(document: Mapping[str, Any]) -> list[str]:
    """What has to be known to read the tables."""
    found = [f"Scale {document['scale']}; the definitions say how many pixels are cropped at every border."]
    machines = sorted({on for row in document["results"] if row["seconds"] for on in row["seconds"]["on"]})
    if machines:
        found.append(f"Seconds a picture, without decoding and encoding, on {'; '.join(machines)}.")
    if document["published"]:
        found.append(
            "Rows and columns marked (paper) are figures as printed there, of the papers' own runs; they are never "
            "marked as the best."
        )
        found += sorted({f"{row['source']}: {row['note']}." for row in document["published"] if row["note"]})
    if far := [one["name"] for one in document["sets"] if one.get("against") == "negatives"]:
        found.append(
            f"Against negatives ({', '.join(far)}) no end of a figure is better: a result may differ from them because "
            "it is good, or because it is ruined."
        )
    definitions: dict[str, dict[str, list[str]]] = {}
    for row in document["results"]:
        for metric, figures in row["metrics"].items():
            if figures["mean"] is not None or figures["per_image"]:
                of = definitions.setdefault(metric, {}).setdefault(definition_text(figures["definition"]), [])
                of.append(row["set"])
            name = document["metrics"][metric]["name"]
            if "note" in figures:
                found.append(f"{row['model']} on {row['set']}, {name}: {figures['note']}.")
            found += [f"{name} on {row['set']}: {why}" for why in _without(figures)]
        found += [f"{row['model']} on {row['set']}: {note}" for note in row["notes"]]
        if row["excluded"]:
            count = len(row["excluded"])
            pictures = "1 picture" if count == 1 else f"{count} pictures"
            found.append(f"{row['model']} on {row['set']}: {pictures} left out (results.json names them).")
    found += [
        text if len(texts) == 1 else f"On {', '.join(dict.fromkeys(sets))}: {text}"
        for texts in definitions.values()
        for text, sets in texts.items()
    ]
    return list(dict.fromkeys(found))


def _without(figures: Mapping[str, Any]) -> list[str]:
    """Why pictures have no figure, the first reason with their number."""
    reasons = list(figures.get("reasons", {}).values())
    return [f"{len(reasons)} without a figure, the first because: {reasons[0]}"] if reasons else []


def tables_text(document: Mapping[str, Any], form: str = "text") -> str:
    """The tables as aligned text or Markdown (md), the best figure marked by two asterisks."""
    blocks: list[Table | str] = []
    for figures in figures_of(document):
        several = len(document["sets"]) > 1
        header = ["model", *_extra(figures, "parameters", "s a picture")]
        header += [f"{column.set} {column.words}" if several else column.words for column in figures.columns]
        rows = [
            [
                row.name + (f" (paper: {row.paper})" if row.paper else ""),
                *_extra(figures, row.parameters, row.seconds),
                *(f"**{cell.text}**" if cell.rank == 1 else cell.text for cell in row.cells),
            ]
            for row in figures.rows
        ]
        title = figures.name or ", ".join(f"{one['name']} ({one['pictures']} pictures)" for one in document["sets"])
        blocks.append(Table(title, header, rows))
    blocks += ["\n".join(f"{'- ' if form == 'md' else ''}{note}" for note in notes(document))]
    return join(blocks, form)


def _extra(figures: Figures, parameters: str, seconds: str) -> list[str]:
    return [parameters] * figures.with_parameters + [seconds] * figures.with_seconds


def csv_rows(document: Mapping[str, Any]) -> list[list[object]]:
    """A figure a line, those of papers as well."""
    rows: list[list[object]] = [["source", "model", "set", "metric", "value", "low", "high", "pictures"]]
    for row in document["results"]:
        for metric, figures in row["metrics"].items():
            low, high = figures["ci95"] or (None, None)
            count = sum(value is not None for value in figures["per_image"].values()) or None
            rows.append(["measured", row["model"], row["set"], metric, figures["mean"], low, high, count])
        if row["seconds"] is not None:
            seconds, count = row["seconds"]["mean"], row["seconds"]["pictures"]
            rows.append(["measured", row["model"], row["set"], "seconds", seconds, None, None, count])
    rows += [
        ["measured", model["name"], None, "parameters", model["parameters"], None, None, None]
        for model in document["models"]
        if model["parameters"] is not None
    ]
    rows += [
        [row["source"], row["name"], name, metric, value, None, None, None]
        for row in document["published"]
        for name, values in row["figures"].items()
        for metric, value in values.items()
    ]
    return rows


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$"}
_TEX |= {"↓": r"$\downarrow$", "–": "--", "Δ": r"$\Delta$", **{letter: f"\\{letter}" for letter in "&%$#_{}"}}


def tex(text: str) -> str:
    """Text for LaTeX."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def tex_tables(document: Mapping[str, Any]) -> str:
    """The tables for LaTeX (package booktabs): the best figure bold, the second best underlined."""
    return "\n\n".join(_tex_table(document, figures) for figures in figures_of(document)) + "\n"


def _tex_table(document: Mapping[str, Any], figures: Figures) -> str:
    extra = _extra(figures, "parameters", "s a picture")
    spans, rules, place = [], [], 2 + len(extra)
    for one in document["sets"]:
        width = sum(column.set == one["name"] for column in figures.columns)
        spans.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(one['name'])}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    lines = [
        f"% {' '.join(notes(document)[0].split())}",
        rf"\begin{{tabular}}{{l{'r' * (len(extra) + len(figures.columns))}}}",
        r"\toprule",
        " & ".join(["", *("" for _ in extra), *spans]) + r" \\",
        " ".join(rules),
        " & ".join(map(tex, ["model", *extra, *(column.words for column in figures.columns)])) + r" \\",
        r"\midrule",
    ]
    for position, row in enumerate(figures.rows):
        if row.paper and (position == 0 or not figures.rows[position - 1].paper):
            lines.append(r"\midrule")
        name = tex(row.name + (f" (paper: {row.paper})" if row.paper else ""))
        marked = [("{}", r"\textbf{{{}}}", r"\underline{{{}}}")[cell.rank].format(tex(cell.text)) for cell in row.cells]
        lines.append(" & ".join([name, *map(tex, _extra(figures, row.parameters, row.seconds)), *marked]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def write_tables(folder: Path, document: Mapping[str, Any]) -> None:
    """table.md, table.csv and table.tex in `folder`."""
    texts = {
        "table.md": tables_text(document, "md") + "\n",
        "table.csv": csv_text(csv_rows(document)),
        "table.tex": tex_tables(document),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
