"""Label files in the official form: labels/<range>/A/NAME.json, a file a person's answers to a group (REFERENCE §5).

The form knows slots A, B, C… and no people. `labels/people.csv` (group, slot, person) says beside it which
pseudonymous person filled which slot.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goldeye.dataset.csv_files import csv_cell
from goldeye.dataset.exchange.ballots import Answer, Ballot, Problems, brief, number
from goldeye.dataset.groups import Dataset, Group
from goldeye.dataset.labels import LABEL_FILE_BYTES, SLOT, Label
from goldeye.dataset.people import PEOPLE, PEOPLE_COLUMNS, read_people
from goldeye.errors import InvalidInput
from goldeye.files import write_text


def label_document(
    labels: Mapping[str, Label],
    names: Mapping[str, str],
    *,
    started: datetime | None = None,
    ended: datetime | None = None,
    seconds: float | None = None,
) -> str:
    """The text of a label file. `names` gives the file name of "original" and of each slot; `labels` goes by slot.

    Times are written in UTC. What is unknown of `Time_cost` is left out.
    """
    document: dict[str, Any] = {"Picture_1": {"Name": names["original"], "File": "original", "Label": None}}
    for position, (slot, label) in enumerate(labels.items(), start=2):
        document[f"Picture_{position}"] = {"Name": names[slot], "File": slot, "Label": str(label)}
    cost = {
        "Start": None if started is None else _time_text(started),
        "End": None if ended is None else _time_text(ended),
        "Total": None if seconds is None else number(seconds),
    }
    if known := {key: value for key, value in cost.items() if value is not None}:
        document["Time_cost"] = known
    return json.dumps(document, allow_nan=False)


def write_label_file(
    path: Path,
    group_name: str,
    labels: Mapping[str, Label],
    *,
    started: datetime | None = None,
    ended: datetime | None = None,
    seconds: float | None = None,
    suffix: str = ".png",
) -> None:
    """Write one label file, whole or not at all: `labels` of NAME_01.png, NAME_02.png, … by slot ("01", "02", …)."""
    names = {slot: f"{group_name}_{slot}{suffix}" for slot in labels} | {"original": f"{group_name}{suffix}"}
    write_text(path, label_document(labels, names, started=started, ended=ended, seconds=seconds))


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def slot_name(number_: int) -> str:
    """A, B, …, Z, AA, AB, …: the slot of the person who finished as number 0, 1, …"""
    name = ""
    number_ += 1
    while number_:
        number_, letter = divmod(number_ - 1, 26)
        name = chr(ord("A") + letter) + name
    return name


def fill_slots(ballots: Sequence[Ballot]) -> dict[str, Ballot]:
    """{slot: ballot} of one group. A voter who is only a slot (of label files without people) keeps it; the others
    take the free ones in the order given."""
    filled = {ballot.voter: ballot for ballot in ballots if SLOT.fullmatch(ballot.voter)}
    free = (slot for slot in map(slot_name, range(len(ballots))) if slot not in filled)
    for ballot in ballots:
        if not SLOT.fullmatch(ballot.voter):
            filled[next(free)] = ballot
    return dict(sorted(filled.items(), key=lambda item: (len(item[0]), item[0])))


def write_labels(folder: Path, dataset: Dataset, cast: Mapping[str, Sequence[Ballot]]) -> int:
    """Write `folder`/<range>/<slot>/NAME.json and `folder`/people.csv (new files, not flushed); how many files."""
    rows = []
    files = 0
    for group in dataset.groups:
        names = {"original": group.original.name} | {slot: path.name for slot, path in group.candidates.items()}
        for slot, ballot in fill_slots([ballot for ballot in cast.get(group.id, ()) if ballot.counted]).items():
            place = folder / group.range / slot / f"{group.name}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(ballot_document(ballot, names), encoding="utf-8")
            files += 1
            if ballot.voter != slot:
                rows.append((group.id, slot, ballot.voter))
    if rows:
        with (folder / PEOPLE).open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(PEOPLE_COLUMNS)
            writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return files


def ballot_document(ballot: Ballot, names: Mapping[str, str]) -> str:
    return label_document(ballot.labels, names, started=ballot.started, ended=ballot.ended, seconds=ballot.seconds)


def check_own(folder: Path, dataset: Dataset) -> None:
    """Raise InvalidInput unless every file of `folder`, a dataset's labels/, was exported there by us (or none is).

    We list what we export in people.csv; other label files would be lost with the folder.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    problems = Problems(folder / PEOPLE)
    places = {group.id: Path(group.range, f"{group.name}.json") for group in dataset.groups}
    people = read_people(folder, problems.add)
    listed = {folder / places[group].parent / slot / places[group].name for group, slot in people if group in places}
    others = [path for path in folder.rglob("*") if not path.is_dir() and path not in {*listed, folder / PEOPLE}]
    if problems.count or others or folder.is_symlink():
        what = f"such as '{others[0].relative_to(folder)}'" if others else "and people.csv does not list them"
        raise InvalidInput(
            f"'{folder}' holds labels that were not exported there ({what}).", hint="Export to another place."
        )


# Import ---------------------------------------------------------------------------------------------------------------


def find_labels(source: Path) -> Path:
    """The folder that holds the ranges or slots: `source`/labels, one level below that (Train/labels), or `source`."""
    if (source / "labels").is_dir():
        return source / "labels"
    children = (child for child in sorted(source.iterdir()) if not child.is_symlink())
    below = [child / "labels" for child in children if (child / "labels").is_dir()]
    return below[0] if len(below) == 1 else source


def read_label_folder(folder: Path, dataset: Dataset, problems: Problems) -> Iterator[Answer]:
    """The answers of all label files below `folder`, with ranges or without; what is wrong goes to `problems`."""
    if folder.is_symlink():
        raise InvalidInput(f"'{folder}' is a symbolic link.")
    people = {} if (folder / PEOPLE).is_symlink() else read_people(folder, problems.add)
    by_place = {(group.range, group.name): group for group in dataset.groups}
    by_name: dict[str, list[Group]] = {}
    for each in dataset.groups:
        by_name.setdefault(each.name, []).append(each)
    seen: dict[tuple[str, str], str] = {}
    found = False
    for path in _label_files(folder, problems):
        found = True
        where = path.relative_to(folder).as_posix()
        *ranges, slot, _ = path.relative_to(folder).parts
        named = by_name.get(path.stem, [])
        group: Group | None = by_place.get(("/".join(ranges), path.stem)) or (
            named[0] if len(named) == 1 and not ranges else None
        )
        if group is None:
            several = "several groups" if named and not ranges else "no group"
            problems.add(f"{where}: the dataset has {several} {'/'.join([*ranges, path.stem])!r}")
            continue
        voter = people.pop((group.id, slot), slot)
        if (group.id, voter) in seen:
            problems.add(f"{where}: {voter!r} has a label file for this group already, {seen[group.id, voter]}")
            continue
        seen[group.id, voter] = where
        yield from read_label_file(path, where, group, voter, problems)
    for group_id, slot in people:
        problems.add(f"{PEOPLE}: there is no label file of slot {slot!r} for group {group_id!r}")
    if not found and not problems.count:
        raise InvalidInput(f"'{folder}' holds no label files (…/A/NAME.json).")


def _label_files(folder: Path, problems: Problems) -> Iterator[Path]:
    """Every .json below, in order. Links are refused, other and hidden files passed over."""
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        children = sorted(child for child in parent.iterdir() if not child.name.startswith("."))
        for path in children:
            where = path.relative_to(folder).as_posix()
            if path.is_symlink():
                problems.add(f"{where}: a symbolic link")
            elif path.suffix != ".json" or path.is_dir():
                continue
            elif not path.is_file():
                problems.add(f"{where}: not a plain file")
            elif parent == folder:
                problems.add(f"{where}: not in the folder of a slot or person")
            else:
                yield path
        waiting += [path for path in reversed(children) if path.is_dir() and not path.is_symlink()]


def read_label_file(path: Path, where: str, group: Group, voter: str, problems: Problems) -> Iterator[Answer]:
    """The answers of one label file of `group`."""
    if path.stat().st_size > LABEL_FILE_BYTES:
        problems.add(f"{where}: {path.stat().st_size >> 20} MiB are too many for a label file")
        return
    try:
        document = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
        if not isinstance(document, dict):
            raise ValueError("not a label file in the official form")
        seconds, started, ended = _time_cost(document.get("Time_cost"))
    except RecursionError:
        problems.add(f"{where}: nested too deeply")
        return
    except ValueError as error:  # also malformed JSON and text that is not UTF-8, which say the place
        problems.add(f"{where}: {error}")
        return
    known = {"original": group.original.stem} | {slot: path.stem for slot, path in group.candidates.items()}
    labelled = False
    for key, picture in document.items():
        if not key.startswith("Picture_"):
            continue
        if not isinstance(picture, dict) or not {"Name", "File", "Label"} <= picture.keys():
            problems.add(f"{where}: {brief(key)} is not {{Name, File, Label}}")
            continue
        slot, name = picture["File"], picture["Name"]
        stem = known.get(slot) if isinstance(slot, str) else None
        if stem is not None and (not isinstance(name, str) or Path(name).stem != stem or Path(name).name != name):
            problems.add(f"{where}: {brief(key)} names the picture {brief(name)}; the dataset's is {stem!r}")
        if slot != "original":
            labelled = True
            yield Answer(where, group.id, voter, slot, picture["Label"], seconds, started, ended)
        elif picture["Label"] is not None:
            problems.add(f"{where}: the original has the label {brief(picture['Label'])}")
    if not labelled:
        problems.add(f"{where}: not a label file in the official form: it labels no candidate")


def _time_cost(cost: Any) -> tuple[Any, datetime | None, datetime | None]:
    """(seconds, started, ended) of a file's `Time_cost`, which may be missing. ValueError names what is no time."""
    if cost is None:
        return None, None, None
    if not isinstance(cost, dict):
        raise ValueError(f"Time_cost is {brief(cost)}")
    times = []
    for key in ("Start", "End"):
        text = cost.get(key)
        try:
            times.append(None if text is None else datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{key} is {brief(text)}, which is no time; one is 2022-08-05 16:56:06") from error
    return cost.get("Total"), times[0], times[1]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's items; ValueError where a key is there twice (JSON readers keep the last without a word)."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for position, (key, _) in enumerate(pairs) if key in {k for k, _ in pairs[:position]})
        raise ValueError(f"{brief(twice)} is there twice")
    return found
