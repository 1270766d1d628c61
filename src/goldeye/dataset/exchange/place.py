"""Imported answers become label files: DATASET/labels/<range>/<voter>/NAME.json, all of them or none."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from goldeye.dataset.exchange.ballots import Ballot, Problems, to_ballots
from goldeye.dataset.exchange.official import ballot_document
from goldeye.dataset.exchange.whole import flush, remove
from goldeye.dataset.groups import Dataset, Group
from goldeye.dataset.labels import read_official, read_store
from goldeye.dataset.people import read_people
from goldeye.errors import InvalidInput


@dataclass
class Plan:
    """What an import will do: text by place below labels/, and how many files are there already."""

    texts: dict[Path, str] = field(default_factory=dict)
    skipped: int = 0
    replaced: int = 0


def plan_import(
    dataset: Dataset, ballots: Sequence[Ballot], problems: Problems, *, overwrite: bool, database: str | None
) -> Plan:
    """Where each ballot goes. Nothing is written; what stands in the way goes to `problems`.

    A voter who is in the annotation store under a name or pseudonym is the same person. The same answer in the store
    or in place already is passed over; another one is a problem, in place unless `overwrite`.
    """
    labels = dataset.path / "labels"
    groups = {group.id: group for group in dataset.groups}
    known = _Known.of(dataset, database)
    folders = _Folders(labels)
    plan = Plan()
    seen: dict[tuple[str, str], str] = {}
    for ballot in ballots:
        group = groups[ballot.group]
        who = f"{ballot.voter!r} on group {group.id!r}"
        aliases = known.aliases(ballot.voter)
        first = seen.setdefault((group.id, min(aliases)), ballot.voter)
        if first != ballot.voter:
            problems.add(f"{who}: the same person as {first!r}, who answers it too")
            continue
        answered = [(group.id, alias) for alias in aliases if (group.id, alias) in known.answered]
        if answered:
            if all(key in known.stored and ballot.repeats(known.stored[key]) for key in answered):
                plan.skipped += 1
            else:
                problems.add(f"{who}: the annotation store says otherwise, and its word stands")
            continue
        place = _place(group, aliases, known, labels)
        obstacle = folders.obstacle(place)
        if obstacle is not None:
            problems.add(f"{who}: {obstacle}")
            continue
        if (labels / place).exists():
            if known.person(group, place.parent.name) not in aliases:
                problems.add(f"{who}: '{labels / place}' holds the answer of another person")
                continue
            if _is_there(labels / place, ballot):
                plan.skipped += 1
                continue
            if not overwrite:
                problems.add(f"{who}: '{labels / place}' says otherwise (--overwrite replaces it)")
                continue
            plan.replaced += 1
        names = {"original": group.original.name} | {slot: path.name for slot, path in group.candidates.items()}
        plan.texts[place] = ballot_document(ballot, names)
    return plan


@dataclass(frozen=True)
class _Known:
    """Who answered what already."""

    answered: set[tuple[str, str]]  # (group, person) of the store
    stored: dict[tuple[str, str], Ballot]  # the whole answers among these
    names: dict[str, str]  # pseudonym → person of the store, and person → pseudonym
    slots: dict[tuple[str, str], str]  # (group, slot) → person, of labels/people.csv
    filled: dict[tuple[str, str], str]  # (group, person) → slot

    @classmethod
    def of(cls, dataset: Dataset, database: str | None) -> _Known:
        store, labels = read_store(dataset, database), dataset.path / "labels"
        cast = to_ballots(store.votes, {vote.voter: vote.voter for vote in store.votes})
        stored = {(ballot.group, ballot.voter): ballot for own in cast.values() for ballot in own}
        names = store.names | {name: pseudonym for pseudonym, name in store.names.items()}
        slots = {} if labels.is_symlink() else read_people(labels)
        filled = {(group, person): slot for (group, slot), person in slots.items()}
        return cls(store.answered, stored, names, slots, filled)

    def aliases(self, voter: str) -> list[str]:
        """The names of one person: as given, and the pseudonym or name that goes with it."""
        return [voter, self.names[voter]] if voter in self.names else [voter]

    def person(self, group: Group, folder: str) -> str:
        """Whose the label files of the group in `folder` (a slot or a voter) are."""
        return self.slots.get((group.id, folder), folder)


def _place(group: Group, aliases: Sequence[str], known: _Known, labels: Path) -> Path:
    """Where below `labels` the label file of a person (by all names) on a group is, or else will be."""
    for alias in aliases:
        folder = known.filled.get((group.id, alias), alias)
        place = Path(group.range, folder, f"{group.name}.json")
        if known.person(group, folder) in aliases and (labels / place).exists():
            return place
    return Path(group.range, aliases[0], f"{group.name}.json")


class _Folders:
    """What is in the way of new label files below `labels`; each folder is looked at once."""

    def __init__(self, labels: Path) -> None:
        self.labels = labels
        self._found: dict[Path, str | None] = {}
        self._spelled: dict[Path, dict[str, str]] = {}  # folder → its children's names by their spelling

    def obstacle(self, place: Path) -> str | None:
        """Why no file can be put at labels/`place`; None where nothing is in the way."""
        folder = place.parent
        if folder not in self._found:
            way = [self.labels / parent for parent in reversed(place.parents)]  # labels itself first
            self._found[folder] = next(filter(None, map(_wrong_folder, way)), None) or self._near_name(folder)
        if self._found[folder] is not None:
            return self._found[folder]
        target = self.labels / place
        if target.is_symlink() or (target.exists() and not target.is_file()):
            return f"'{target}' is not a plain file"
        return None

    def _near_name(self, folder: Path) -> str | None:
        """Two voters' folders that many file systems take for one."""
        above = self.labels / folder.parent
        if above not in self._spelled:
            names = sorted(child.name for child in above.iterdir()) if above.exists() else []
            self._spelled[above] = {_spelling(name): name for name in names}
        if (self.labels / folder).exists():
            return None
        other = self._spelled[above].setdefault(_spelling(folder.name), folder.name)
        return None if other == folder.name else f"some systems would take its folder for that of {other!r}"


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _wrong_folder(folder: Path) -> str | None:
    if folder.is_symlink():
        return f"'{folder}' is a symbolic link"
    return f"'{folder}' is not a folder" if folder.exists() and not folder.is_dir() else None


def _is_there(path: Path, ballot: Ballot) -> bool:
    """Whether a label file says what the ballot says."""
    try:
        votes = read_official(path, ballot.group, ballot.voter)
    except InvalidInput:
        return False
    return any(ballot.repeats(own) for own in to_ballots(votes, {ballot.voter: ballot.voter}).get(ballot.group, ()))


def carry_out(dataset: Dataset, plan: Plan) -> None:
    """Write the planned files: all to a temporary folder, then each to its place by a rename.

    A process that is killed on the way leaves whole files alone, and importing again brings the others.
    """
    labels, temporary = dataset.path / "labels", dataset.path / ".labels-import"
    remove(temporary)
    if not plan.texts:
        return
    try:
        temporary.mkdir()
        for place, text in plan.texts.items():
            (temporary / place).parent.mkdir(parents=True, exist_ok=True)
            with (temporary / place).open("x", encoding="utf-8") as file:
                file.write(text)
        flush()
        if not labels.exists():
            temporary.rename(labels)
            return
        for place in plan.texts:
            (labels / place).parent.mkdir(parents=True, exist_ok=True)
            (temporary / place).replace(labels / place)
    finally:
        remove(temporary)
