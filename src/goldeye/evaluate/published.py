"""The figures that the papers print, as rows of a benchmark's table (data/published.json).

A row stands under a test set of the same name and a metric of the same definition only: LDL's PSNR and SSIM, which are
of the Y channel, under psnr_y and ssim_y. Where a paper does not say which colours its PSNR is of, the row says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from goldeye.errors import InvalidInput, unknown_name

_UNSTATED = "the paper does not say of which colours its PSNR and SSIM are; they stand under psnr and ssim (RGB)"


@dataclass(frozen=True)
class PublishedRow:
    """One method of one table: `figures` is {test set: {metric: value}}."""

    table: str
    name: str
    source: str
    """The paper and its table."""
    figures: Mapping[str, Mapping[str, float]]
    note: str = ""
    parameters: int | None = None
    digits: Mapping[str, int] = field(default_factory=dict)
    """{metric: digits behind the point that the paper's table prints}."""

    @property
    def key(self) -> str:
        """What a configuration calls it: `TABLE/ROW`."""
        return f"{self.table}/{self.name}"


def published_tables() -> list[str]:
    """The tables by name, such as `ldl.table1`."""
    return sorted({row.table for row in _rows()})


def find_published(key: str) -> list[PublishedRow]:
    """The rows that `TABLE` or `TABLE/ROW` stands for; InvalidInput for an unknown one, naming the nearest."""
    table, _, name = key.partition("/")
    rows = [row for row in _rows() if row.table == table]
    if not rows:
        raise unknown_name("published table", table, published_tables())
    if not name:
        return rows
    found = [row for row in rows if row.name == name]
    if not found:
        raise unknown_name(f"row of the published table {table}", name, [row.name for row in rows])
    return found


def figures_for(row: PublishedRow, sets: Mapping[str, str], metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    """{set: {metric: value}} of what a table shows; `sets` is {set: the name under which papers give it}."""
    wanted = list(metrics)
    by_name = {_plain(name): values for name, values in row.figures.items()}
    found = {
        title: {metric: value for metric, value in by_name.get(_plain(name), {}).items() if metric in wanted}
        for title, name in sets.items()
    }
    return {title: values for title, values in found.items() if values}


def shown_rows(keys: Iterable[str], sets: Mapping[str, str], metrics: Iterable[str]) -> list[PublishedRow]:
    """The rows of `keys` that have a figure for the table; InvalidInput for a key none of whose rows has."""
    wanted = list(metrics)
    shown: dict[str, PublishedRow] = {}
    for key in keys:
        rows = find_published(key)
        fitting = [row for row in rows if figures_for(row, sets, wanted)]
        if not fitting:
            of_sets = sorted({name for row in rows for name in row.figures})
            of_metrics = sorted({metric for row in rows for values in row.figures.values() for metric in values})
            raise InvalidInput(
                f"'{key}' has no published figure for these sets and metrics.",
                hint=f"It has {', '.join(of_metrics)} on {', '.join(of_sets)}; a set's `published:` says which it is.",
            )
        shown |= {row.key: row for row in fitting}
    return list(shown.values())


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


@cache
def _rows() -> tuple[PublishedRow, ...]:
    text = resources.files("goldeye.evaluate").joinpath("data/published.json").read_text(encoding="utf-8")
    figures = json.loads(text)
    return _with_digits(
        [*_hggt(figures["hggt"]), *_ldl(figures["ldl"]), *_rgan(figures["rgan"]), *_edl(figures["edl"])]
    )


def _with_digits(rows: Iterable[PublishedRow]) -> tuple[PublishedRow, ...]:
    """A table prints a metric with as many digits as its longest figure has; JSON drops the zeros of the others."""
    digits: dict[str, dict[str, int]] = {}
    rows = list(rows)
    for row in rows:
        of = digits.setdefault(row.table, {})
        for values in row.figures.values():
            for metric, value in values.items():
                of[metric] = max(of.get(metric, 0), len(repr(value).partition(".")[2]))
    return tuple(replace(row, digits=digits[row.table]) for row in rows)


def _hggt(tables: Mapping[str, Any]) -> Iterable[PublishedRow]:
    for table, source in (
        ("table4_test100", "HGGT, Table 4"),
        ("supplement_table3_test100", "HGGT, supplement, Table 3"),
    ):
        for method, trainings in tables[table].items():
            for training, values in trainings.items():
                name = f"{method}, {training}"
                yield PublishedRow(f"hggt.{table.split('_test100')[0]}", name, source, {"Test-100": values})


def _ldl(tables: Mapping[str, Any]) -> Iterable[PublishedRow]:
    for name, sets in tables["table1"]["figures"].items():
        yield PublishedRow("ldl.table1", name, "LDL, Table 1", {key: _luma(values) for key, values in sets.items()})
    for row in tables["table2_ablation_div2k100"]:
        parts = ", ".join(row["parts"]) or "no artifact term"
        values = {metric: row[metric] for metric in ("lpips", "psnr")}
        name = f"row {row['row']}: {parts}"
        yield PublishedRow("ldl.table2", name, "LDL, Table 2", {"DIV2K100": _luma(values)})


def _luma(values: Mapping[str, float]) -> dict[str, float]:
    return {f"{metric}_y" if metric in ("psnr", "ssim") else metric: value for metric, value in values.items()}


def _rgan(tables: Mapping[str, Any]) -> Iterable[PublishedRow]:
    for name, values in tables["table1_ntire2020_track1"].items():
        yield PublishedRow("rgan.table1", name, "RGAN, Table 1", {"NTIRE 2020 track 1": values}, _UNSTATED)


def _edl(tables: Mapping[str, Any]) -> Iterable[PublishedRow]:
    parameters = tables["table6_parameters"]
    niqe = tables["table2_niqe_realsr"]
    for table, numeral, name_of_set in (
        ("table1_realsr", "I", "RealSR"),
        ("table3_camerasr", "III", "CameraSR"),
        ("table4_aim2019", "IV", "AIM 2019"),
        ("table5_ntire2020", "V", "NTIRE 2020"),
        ("table7_branches", "VII", "RealSR"),
        ("table8_discriminator", "VIII", "RealSR"),
        ("table9_ngdc", "IX", "RealSR"),
        ("table10_losses", "X", "RealSR"),
    ):
        for method, values in tables[table].items():
            more = {"niqe": niqe[method]} if table == "table1_realsr" and method in niqe else {}
            yield PublishedRow(
                f"edl.{table.partition('_')[0]}",
                method,
                f"EDL, Table {numeral}" + (" and II (NIQE)" if more else ""),
                {name_of_set: {**values, **more}},
                _UNSTATED,
                parameters.get(method),
            )
