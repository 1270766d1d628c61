"""csv as Goldeye writes and reads it: RFC 4180 in UTF-8, with cells that no spreadsheet runs as formulas."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from goldeye.errors import InvalidInput

MOST_BYTES = 1 << 30  # of a table; the 242,316 labels of HGGT take 30 MB
_MOST_LINE = 1 << 20

# What a spreadsheet takes for the beginning of a formula, with the apostrophes that were already put before it.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def csv_cell(value: object) -> str:
    """A value as a csv cell (unquoted); a text that a spreadsheet would run as a formula gets an apostrophe before it.

    None is an empty cell. Numbers stay numbers, negative ones too. `csv_value` is the way back.
    """
    text = "" if value is None else str(value)
    return f"'{text}" if not isinstance(value, int | float) and _FORMULA.match(text) else text


def csv_value(cell: str) -> str:
    """The text that `csv_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as csv (RFC 4180 quoting, lines end with \\n), every cell through `csv_cell`."""
    # csv.writer leaves a lone \r unquoted when lines end with \n.
    return "".join(",".join(_quoted(csv_cell(cell)) for cell in row) + "\n" for row in rows)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def csv_lines(path: Path, report: Callable[[str], None]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv file as (number of the first line, cells); it ends early where the file is damaged.

    `report` is told what is wrong with a line. InvalidInput for a file of more than MOST_BYTES.
    """
    check_table_size(path, path.stat().st_size)
    reader = csv.reader(_decoded(path, report), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            report(f"line {line}: not csv ({error})")
            return
        yield line, cells


def _decoded(path: Path, report: Callable[[str], None]) -> Iterator[str]:
    """Lines of UTF-8 text, with their ends."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_LINE), b""), start=1):
            if len(line) == _MOST_LINE:
                report(f"line {number}: longer than {_MOST_LINE >> 20} MiB")
                return
            if b"\0" in line:
                report(f"line {number}: holds a NUL byte")
                return
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                report(f"line {number}: not UTF-8 (byte {error.start} of the line)")
                return


def check_table_size(path: Path, size: int) -> None:
    """InvalidInput where a table of `size` bytes is too large to be one of votes."""
    if size > MOST_BYTES:
        raise InvalidInput(f"'{path}' holds {size / (1 << 30):.1f} GiB; a table of votes may have 1.")
