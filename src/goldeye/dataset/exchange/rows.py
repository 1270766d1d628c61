"""Votes as a table, a row each: csv (RFC 4180, UTF-8) and Parquet."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goldeye.dataset.csv_files import check_table_size, csv_cell, csv_lines, csv_value
from goldeye.dataset.exchange.ballots import Answer, Ballot, Problems, brief, number
from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Final

COLUMNS = (
    *("group", "range", "candidate", "enhancer", "label", "voter", "seconds", "started", "ended", "counted"),
    *("final", "fraction"),
)
NEEDED = ("group", "candidate", "label", "voter")
PARQUET_FORMAT = "votes/1"

Row = dict[str, Any]


# Export ---------------------------------------------------------------------------------------------------------------


def vote_rows(
    dataset: Dataset, cast: Mapping[str, Sequence[Ballot]], computed: Mapping[str, Mapping[str, Final]]
) -> Iterator[Row]:
    """A row a vote, as `COLUMNS`: groups in the dataset's order, their voters as they finished, candidates by slot.

    `final` and `fraction` (the share of votes that gave the final label) are empty where too few votes count.
    """
    enhancers = dataset.enhancer_names
    for group in dataset.groups:
        finals = computed.get(group.id, {})
        for ballot in cast.get(group.id, ()):
            for slot, label in ballot.labels.items():
                final = finals.get(slot)
                yield {
                    "group": group.id,
                    "range": group.range,
                    "candidate": slot,
                    "enhancer": enhancers[slot],
                    "label": str(label),
                    "voter": ballot.voter,
                    "seconds": ballot.seconds,
                    "started": ballot.started,
                    "ended": ballot.ended,
                    "counted": ballot.counted,
                    "final": None if final is None else str(final.label),
                    "fraction": None if final is None else final.fractions[final.label],
                }


def write_csv(path: Path, rows: Iterable[Row]) -> int:
    """Write the rows under a line of column names; how many rows. A formula's first character is escaped."""
    held = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # lines end with CR LF, as RFC 4180 has it
        writer.writerow(COLUMNS)
        writer.writerows([csv_cell(_text(row[column])) for column in COLUMNS] for row in held)
    return len(held)


def _text(value: Any) -> str | float | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value)
    return time_text(value) if isinstance(value, datetime) else value


def time_text(time: datetime) -> str:
    """ISO 8601 in UTC, to the second: 2022-08-05T16:56:06Z."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def write_parquet(path: Path, rows: Iterable[Row]) -> int:
    """Write the rows with typed columns; how many. The schema's metadata has goldeye.format = votes/1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    word = pa.dictionary(pa.int32(), pa.string())
    time = pa.timestamp("ms", tz="UTC")  # Parquet has no coarser unit
    types = {"seconds": pa.float64(), "started": time, "ended": time, "counted": pa.bool_(), "fraction": pa.float64()}
    schema = pa.schema(
        [(column, types.get(column, pa.string() if column == "group" else word)) for column in COLUMNS],
        metadata={"goldeye.format": PARQUET_FORMAT},
    )
    held = list(rows)
    arrays = [pa.array([row[field.name] for row in held], type=field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)
    return len(held)


# Import ---------------------------------------------------------------------------------------------------------------


class RowReader:
    """Reads a csv or Parquet file as unchecked answers; what cannot be an answer goes to `problems`.

    `surplus` counts the rows that say of themselves that they do not count: they are passed over.
    """

    def __init__(self, source: Path, dataset: Dataset, problems: Problems) -> None:
        self.source = source
        self.problems = problems
        self.surplus = 0
        self._ranges = {group.id: group.range for group in dataset.groups}
        self._enhancers = dataset.enhancer_names

    def read(self, format_: str) -> Iterator[Answer]:
        rows = self._csv_rows() if format_ == "csv" else self._parquet_rows()
        for where, cells in rows:
            answer = self._answer(where, cells)
            if answer is not None:
                yield answer

    def _csv_rows(self) -> Iterator[tuple[str, Row]]:
        lines = csv_lines(self.source, self.problems.add)
        _, header = next(lines, (0, []))
        if not self._known_columns(header):
            return
        for line, cells in lines:
            if len(cells) == len(header):
                values = (csv_value(cell) or None for cell in cells)
                yield f"line {line}", dict(zip(header, values, strict=True))
            elif cells:
                self.problems.add(f"line {line}: {len(cells)} cells, but {len(header)} columns")

    def _parquet_rows(self) -> Iterator[tuple[str, Row]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        check_table_size(self.source, self.source.stat().st_size)
        try:
            with pq.ParquetFile(self.source) as file:
                meta = file.metadata
                held = sum(meta.row_group(index).total_byte_size for index in range(meta.num_row_groups))
                check_table_size(self.source, held)
                names = file.schema_arrow.names
                if not self._known_columns(names):
                    return
                row = 0
                for batch in file.iter_batches(batch_size=1 << 14):
                    for cells in batch.to_pylist():
                        row += 1
                        yield f"row {row}", cells
        except (pa.ArrowException, ValueError, OverflowError, TypeError, OSError) as error:
            reason = " ".join(str(error).split())
            self.problems.add(f"not a whole Parquet file: {reason[:200]}")

    def _known_columns(self, header: Sequence[str]) -> bool:
        """Whether rows can be read under these columns."""
        before = self.problems.count
        for name in dict.fromkeys(header):
            if name not in COLUMNS:
                near = difflib.get_close_matches(name, COLUMNS, n=1)
                guess = f", did you mean '{near[0]}'?" if near else f" (known: {', '.join(COLUMNS)})"
                self.problems.add(f"unknown column {brief(name)}{guess}")
            if header.count(name) > 1:
                self.problems.add(f"the column {brief(name)} is there {header.count(name)} times")
        missing = [name for name in NEEDED if name not in header]
        if missing:
            self.problems.add(f"no column {', '.join(missing)} in the first line" if header else "no columns")
        return self.problems.count == before

    def _answer(self, where: str, cells: Row) -> Answer | None:
        """One row; None where it does not count or names no group or voter."""
        counted = cells.get("counted")
        if str(counted).lower() == "false":
            self.surplus += 1
            return None
        if counted is not None and str(counted).lower() != "true":
            self.problems.add(f"{where}: counted is true or false, not {brief(counted)}")
        group, voter = cells["group"], cells["voter"]
        for name, value in (("group", group), ("voter", voter)):
            if not isinstance(value, str) or not value:
                self.problems.add(f"{where}: no {name}" if value is None else f"{where}: {name} is {brief(value)}")
                return None
        self._check_place(where, cells)
        started, ended = (self._time(where, cells.get(name)) for name in ("started", "ended"))
        seconds = cells.get("seconds")
        if isinstance(seconds, str):
            with suppress(ValueError):  # `collect` says what is no number
                seconds = float(seconds)
        return Answer(where, group, voter, cells["candidate"], cells["label"], seconds, started, ended)

    def _check_place(self, where: str, cells: Row) -> None:
        """The range and the enhancer, where the file gives them, are the dataset's."""
        group, candidate = cells["group"], cells["candidate"]
        range_, enhancer = cells.get("range"), cells.get("enhancer")
        own = self._ranges.get(group)
        if range_ is not None and own is not None and range_ != own:
            self.problems.add(f"{where}: group {brief(group)} is in range {own}, not in {brief(range_)}")
        maker = self._enhancers.get(candidate) if isinstance(candidate, str) else None
        if maker is not None and enhancer not in (None, candidate, maker) and maker != candidate:
            self.problems.add(f"{where}: candidate {candidate} is by {maker!r}, not by {brief(enhancer)}")

    def _time(self, where: str, value: Any) -> datetime | None:
        time = parse_time(value)
        if time is None and value is not None:
            self.problems.add(f"{where}: {brief(value)} is no time; one is 2022-08-05T16:56:06Z")
        return time


def parse_time(value: Any) -> datetime | None:
    """A time in UTC, to the second, from ISO 8601 text (without zone: UTC); None where it is none."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(time, datetime):
            return None
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return time.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None
