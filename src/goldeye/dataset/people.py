"""labels/people.csv (group, slot, person): which pseudonymous person filled slot A, B, C… of a group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from goldeye.dataset.csv_files import csv_lines, csv_value
from goldeye.errors import InvalidInput

PEOPLE = "people.csv"
PEOPLE_COLUMNS = ("group", "slot", "person")


def read_people(labels: Path, report: Callable[[str], None] | None = None) -> dict[tuple[str, str], str]:
    """{(group id, slot): person} of the folder `labels`; empty where it has no people.csv.

    `report` is told what is wrong; without it that is an InvalidInput: other columns, an empty cell, a slot listed
    twice, a person in two slots of a group, damage.
    """
    path = labels / PEOPLE
    if not path.exists():
        return {}

    def refuse(problem: str) -> None:
        raise InvalidInput(f"'{labels}' cannot be used: {problem}.")

    tell = report or refuse
    if not path.is_file():
        tell(f"{PEOPLE}: not a file")
        return {}
    lines = csv_lines(path, lambda problem: tell(f"{PEOPLE}, {problem}"))
    _, header = next(lines, (0, []))
    if sorted(header) != sorted(PEOPLE_COLUMNS):
        tell(f"{PEOPLE}: the columns must be {', '.join(PEOPLE_COLUMNS)}")
        return {}
    people: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str]] = set()
    for line, cells in lines:
        where = f"{PEOPLE}, line {line}"
        if not cells:
            continue
        if len(cells) != len(header) or not all(cells):
            tell(f"{where}: not a group, a slot and a person")
            continue
        row = dict(zip(header, map(csv_value, cells), strict=True))
        group, slot, person = (row[column] for column in PEOPLE_COLUMNS)
        if (group, slot) in people:
            tell(f"{where}: slot {slot!r} of group {group!r} is there twice")
        elif (group, person) in seen:
            tell(f"{where}: person {person!r} has a slot of group {group!r} already")
        else:
            people[group, slot] = person
            seen.add((group, person))
    return people
