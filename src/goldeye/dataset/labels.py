"""From votes to final labels, and the paper's three tables of them (HGGT Tables 1-3; REFERENCE §5).

A final label is always computed from the votes, never stored.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goldeye.dataset.groups import Dataset
from goldeye.dataset.people import PEOPLE, read_people
from goldeye.errors import InvalidInput

if TYPE_CHECKING:
    from goldeye.annotate.store import Store
    from goldeye.annotate.votes import CountedVote

SLOT = re.compile(r"[A-Z]{1,2}")  # the folder of a label file that names no person
LABEL_FILE_BYTES = 1 << 20  # the most a label file may have; the official ones have 400


class Label(StrEnum):
    """What a person says of a candidate beside the original: better, about the same, worse."""

    POSITIVE = "Positive"
    SIMILAR = "Similar"
    NEGATIVE = "Negative"


_LABELS = {str(label): label for label in Label}


@dataclass(frozen=True)
class Vote:
    """One person's answer for one candidate of one group.

    `voter` is a person (store, people.csv) or a slot A, B, C… (official files); `seconds` is the voter's time on the
    whole group, `started` and `ended` (UTC) its ends: the same for each of its candidates, None when unknown. A late
    answer has `counted` False; it is there for exports alone.
    """

    group: str
    candidate: str
    label: Label
    voter: str
    seconds: float | None = None
    started: datetime | None = None
    ended: datetime | None = None
    counted: bool = True


@dataclass(frozen=True)
class VoteTable:
    """One vote per (group, candidate, voter): those that count, and late ones where they were asked for."""

    votes: tuple[Vote, ...]
    source: str  # "store", "labels" or "store+labels"
    annotators_are: str  # "people" or "slots"
    people: Mapping[str, str] = field(default_factory=dict)  # each person of the store → pseudonym

    @property
    def counted(self) -> tuple[Vote, ...]:
        return tuple(vote for vote in self.votes if vote.counted)

    @property
    def voters(self) -> tuple[str, ...]:
        return tuple(sorted({vote.voter for vote in self.votes}))


@dataclass(frozen=True)
class Final:
    """The computed label of one candidate. `agreeing`: how many votes gave that very label (1 of 3 when all differ)."""

    label: Label
    agreeing: int
    votes: int
    fractions: Mapping[Label, float] = field(default_factory=dict)


def pseudonyms(table: VoteTable) -> dict[str, str]:
    """{voter: what to call them in files that leave the house}: the same in every export of one store.

    Slots, and people that label files name, stay as they are.
    """
    return {voter: table.people.get(voter, voter) for voter in table.voters}


def final_label(labels: Sequence[Label]) -> Label:
    """The most frequent label; Similar when several are equally frequent, as with three different votes."""
    if not labels:
        raise ValueError("a final label needs at least one vote")
    ranked = Counter(labels).most_common()
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        return Label.SIMILAR
    return ranked[0][0]


def finals(dataset: Dataset, votes: VoteTable | None = None, *, min_votes: int = 1) -> dict[str, dict[str, Final]]:
    """{group id: {slot: Final}} of the candidates with at least `min_votes` votes, in the dataset's order."""
    table = read_votes(dataset) if votes is None else votes
    cast: dict[tuple[str, str], list[Label]] = {}
    for vote in table.counted:
        cast.setdefault((vote.group, vote.candidate), []).append(vote.label)
    result: dict[str, dict[str, Final]] = {}
    for group in dataset.groups:
        found = {slot: cast[group.id, slot] for slot in dataset.slots if (group.id, slot) in cast}
        computed = {slot: _final(labels) for slot, labels in found.items() if len(labels) >= min_votes}
        if computed:
            result[group.id] = computed
    return result


def _final(labels: Sequence[Label]) -> Final:
    label = final_label(labels)
    fractions = {each: labels.count(each) / len(labels) for each in Label}
    return Final(label, labels.count(label), len(labels), fractions)


def usable_groups(computed: Mapping[str, Mapping[str, Final]]) -> dict[str, list[str]]:
    """Which groups each training keeps: with a positive, or with a positive or negative (HGGT §4, REFERENCE §5)."""
    kept: dict[str, list[str]] = {"positive": [], "positive_negative": []}
    for identity, by_slot in computed.items():
        labels = {final.label for final in by_slot.values()}
        if Label.POSITIVE in labels:
            kept["positive"].append(identity)
        if labels - {Label.SIMILAR}:
            kept["positive_negative"].append(identity)
    return kept


class NoVotes(InvalidInput):
    """A dataset has no votes yet."""


def read_votes(
    dataset: Dataset, *, database: str | None = None, surplus: bool = False, stored: StoredVotes | None = None
) -> VoteTable:
    """The votes of the annotation store together with the official label files; nothing is made or changed.

    `database` is the store's path or URL when it is not the one dataset.yaml names; `stored` is what was read from it
    already. A voter counts once a group: where
    the store and a label file have the same voter on the same group, the store's word stands. labels/people.csv says
    which person filled a slot; a slot that it leaves out is a voter by itself. `surplus` adds the late answers, with
    `counted` False.
    Raises NoVotes when there are no votes at all, and InvalidInput for a label file or people.csv that cannot be used.
    """
    stored = stored or read_store(dataset, database)
    labels, groups = dataset.path / "labels", {group.id for group in dataset.groups}
    people = {key: person for key, person in read_people(labels).items() if key[0] in groups}
    files = {(group, path.parent.name): path for path, group in _label_files(dataset)}
    for group, slot in people:
        if (group, slot) not in files:
            raise InvalidInput(f"'{labels / PEOPLE}' lists slot '{slot}' of group '{group}', which has no label file.")
    filed: list[Vote] = []
    seen: set[tuple[str, str]] = set()
    for (group, slot), path in files.items():
        person = people.get((group, slot), slot)
        voter = stored.names.get(person, person)
        if (group, voter) in seen:
            raise InvalidInput(f"'{path}' is a second label file of '{voter}' for group '{group}'.")
        seen.add((group, voter))
        if (group, voter) not in stored.answered:
            filed += [vote for vote in read_official(path, group, voter) if vote.candidate in dataset.slots]
    counted = any(vote.counted for vote in stored.votes)
    named = counted or people or any(not SLOT.fullmatch(vote.voter) for vote in filed)
    if not counted and not filed:
        raise NoVotes(
            f"'{dataset.path}' has no votes yet.", hint=f"Collect some with `goldeye annotate {dataset.path}`."
        )
    return VoteTable(
        (*(vote for vote in stored.votes if vote.counted or surplus), *filed),
        source="+".join(name for name, there in (("store", counted), ("labels", filed)) if there),
        annotators_are="people" if named else "slots",
        people={name: pseudonym for pseudonym, name in stored.names.items()},
    )


@dataclass(frozen=True)
class StoredVotes:
    """What the store knows of the dataset's groups; empty where there is no store."""

    votes: list[Vote] = field(default_factory=list)
    answered: set[tuple[str, str]] = field(default_factory=set)  # (group, person)
    names: dict[str, str] = field(default_factory=dict)  # pseudonym → person


def read_store(dataset: Dataset, database: str | None) -> StoredVotes:
    """Counted and late votes of the store that fall on the dataset's groups and slots."""
    place = database or dataset.votes_url
    file = place.removeprefix("sqlite:///")
    if "://" not in file and not Path(file).exists():  # opening the store would make it
        if database is not None:
            raise InvalidInput(f"There is no annotation database '{file}'.")
        return StoredVotes()
    from goldeye.annotate.store import Store

    with closing(Store(place, read_only=True)) as store:
        return stored_votes(dataset, store, store.counted_votes(surplus=True))


def stored_votes(dataset: Dataset, store: Store, counted: Sequence[CountedVote]) -> StoredVotes:
    """The same from an open store and its votes."""
    groups = {group.id for group in dataset.groups}
    votes = [
        Vote(v.group, v.candidate, _LABELS[v.label], v.person, v.seconds, v.started, v.ended, v.counted)
        for v in counted
        if v.group in groups and v.candidate in dataset.slots
    ]
    names = {person.pseudonym: person.name for person in store.people()}
    return StoredVotes(votes, store.answered(), names)


def _label_files(dataset: Dataset) -> Iterator[tuple[Path, str]]:
    """(labels/<range>/<slot>/NAME.json, group id) for the dataset's groups."""
    by_range: dict[str, dict[str, str]] = {}
    for group in dataset.groups:
        by_range.setdefault(group.range, {})[f"{group.name}.json"] = group.id
    for range_, names in by_range.items():
        folder = dataset.path / "labels" / range_
        if not folder.is_dir():
            continue
        for slot in sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != "."):
            for path in sorted(slot.iterdir()):
                if path.name in names:
                    yield path, names[path.name]


def read_official(path: Path, group: str, voter: str | None = None) -> list[Vote]:
    """The votes of one official label file: `Picture_1…N: {"Name", "File", "Label"}` and `Time_cost`.

    `File` is the slot of the candidate; the original carries no label. The voter is the name of the file's folder (A,
    B, C…) unless given. The file's times are local ones without zone; they are read as UTC.
    """
    votes: dict[str, Vote] = {}
    try:
        if path.stat().st_size > LABEL_FILE_BYTES:
            raise ValueError("too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        spent = content.get("Time_cost", {})
        seconds = None if spent.get("Total") is None else float(spent["Total"])
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError("a time that is none")
        started, ended = (
            None if text is None else _utc(datetime.fromisoformat(text))
            for text in (spent.get("Start"), spent.get("End"))
        )
        for key, picture in content.items():
            if not key.startswith("Picture_") or (slot := picture["File"]) == "original":
                continue
            if picture["Label"] not in _LABELS:
                raise InvalidInput(f"'{path}': {key} has the label {picture['Label']!r}; known are {', '.join(Label)}.")
            if slot in votes:
                raise InvalidInput(f"'{path}': {key} labels '{slot}' a second time.")
            label = _LABELS[picture["Label"]]
            votes[slot] = Vote(group, slot, label, voter or path.parent.name, seconds, started, ended)
    except OSError as error:
        raise InvalidInput(f"'{path}' cannot be read: {error.strerror}.") from error
    except (RecursionError, OverflowError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"'{path}' is not a label file in the official form.") from error
    return list(votes.values())


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def label_stats(dataset: Dataset, votes: VoteTable | None = None, *, min_votes: int = 1) -> dict[str, Any]:
    """The figures of `goldeye labels stats` as `--json` prints them, by annotator too.

    `min_votes` decides which candidates have a final label; `annotations` counts all votes.
    """
    table = read_votes(dataset) if votes is None else votes
    counted = table.counted
    computed = finals(dataset, table, min_votes=min_votes)
    usable = usable_groups(computed)
    positives = [sum(final.label is Label.POSITIVE for final in slots.values()) for slots in computed.values()]
    by_voter: dict[str, Counter[Label]] = {}
    seconds: dict[tuple[str, str], float | None] = {}
    for vote in counted:
        by_voter.setdefault(vote.voter, Counter())[vote.label] += 1
        seconds[vote.voter, vote.group] = vote.seconds
    times: dict[str, list[float | None]] = {name: [] for name in by_voter}
    for (voter, _), spent in seconds.items():
        times[voter].append(spent)
    known = [spent for spent in seconds.values() if spent is not None]
    return {
        "groups": len(dataset.groups),
        "labelled_groups": len(computed),
        "min_votes": min_votes,
        "annotators": len(by_voter),
        "annotators_are": table.annotators_are,
        "source": table.source,
        "annotations": _count(dataset.slots, [(vote.candidate, vote.label) for vote in counted]),
        "final": _count(dataset.slots, [(slot, f.label) for slots in computed.values() for slot, f in slots.items()]),
        "positives_per_group": [positives.count(number) for number in range(len(dataset.slots) + 1)],
        "usable_groups": {name: len(groups) for name, groups in usable.items()},
        "seconds_per_group": {
            "mean": statistics.fmean(known) if known else None,
            "median": statistics.median(known) if known else None,
        },
        "per_annotator": {
            name: {"groups": len(times[name])}
            | {str(label): by_voter[name][label] for label in Label}
            | {"median_seconds": _median(times[name])}
            for name in sorted(by_voter)
        },
    }


def _median(times: Sequence[float | None]) -> float | None:
    known = [spent for spent in times if spent is not None]
    return statistics.median(known) if known else None


def _count(slots: Sequence[str], labelled: Sequence[tuple[str, Label]]) -> dict[str, dict[str, int]]:
    """{slot: {label: how many}} with a last row "total"."""
    counts = Counter(labelled)
    table = {slot: {str(label): counts[slot, label] for label in Label} for slot in slots}
    table["total"] = {str(label): sum(row[label] for row in table.values()) for label in Label}
    return table
