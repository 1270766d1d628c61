"""One person's answers to one group, and the checks that such answers pass before a dataset takes them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goldeye.dataset.groups import Dataset, Group
from goldeye.dataset.labels import Label, Vote
from goldeye.dataset.people import PEOPLE
from goldeye.errors import InvalidInput

_LABELS = frozenset(Label)
_SHOWN = 20  # problems that are named; the others are counted
_NAME_BYTES = 200  # of a voter, who becomes a folder's name (file systems take 255)


@dataclass(frozen=True)
class Ballot:
    """What one voter said of a group. Times are UTC, to the second; `seconds` is the time spent on the whole group."""

    group: str
    voter: str
    labels: Mapping[str, Label]
    seconds: float | None = None
    started: datetime | None = None
    ended: datetime | None = None
    counted: bool = True

    def repeats(self, other: Ballot) -> bool:
        """Whether this is the other's answer again: the same labels, and no other times (it may lack some)."""
        mine, theirs = ((ballot.seconds, ballot.started, ballot.ended) for ballot in (self, other))
        same_times = all(own is None or own == known for own, known in zip(mine, theirs, strict=True))
        return same_times and (self.labels, self.counted) == (other.labels, other.counted)

    @property
    def finished(self) -> tuple[bool, bool, datetime, str]:
        """Sorts the ballots of a group: those that count first, then as they ended; unknown times last."""
        unknown = datetime.max.replace(tzinfo=UTC)
        return (not self.counted, self.ended is None, self.ended or unknown, self.voter)


def to_ballots(votes: Iterable[Vote], names: Mapping[str, str]) -> dict[str, list[Ballot]]:
    """{group id: its ballots as people finished}. `names` maps each voter to what the voter is called here.

    Times lose their fractions of a second, which no format keeps, so that the order is the same after a round trip.
    """
    cast: dict[tuple[str, str], list[Vote]] = {}
    for vote in votes:
        cast.setdefault((vote.group, vote.voter), []).append(vote)
    result: dict[str, list[Ballot]] = {}
    for (group, voter), own in cast.items():
        first = own[0]
        labels = {vote.candidate: vote.label for vote in sorted(own, key=lambda vote: vote.candidate)}
        times = (_to_second(first.started), _to_second(first.ended))
        ballot = Ballot(group, names[voter], labels, first.seconds, *times, first.counted)
        result.setdefault(group, []).append(ballot)
    return {group: sorted(own, key=lambda ballot: ballot.finished) for group, own in result.items()}


def _to_second(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC).replace(microsecond=0)


def number(seconds: float) -> float | int:
    """Seconds as the official files write them: an integer where it is one."""
    return int(seconds) if seconds < 1e15 and float(seconds).is_integer() else seconds


# Import ---------------------------------------------------------------------------------------------------------------


class Problems:
    """What is wrong with a source: everything is looked for before the user is told."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.shown: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            self.shown.append(text)

    def raise_if_any(self) -> None:
        """InvalidInput with a line a problem."""
        if not self.count:
            return
        found = "1 problem" if self.count == 1 else f"{self.count} problems"
        lines = [f"'{self.source}' has {found}; nothing was imported.", *(f"- {line}" for line in self.shown)]
        more = self.count - len(self.shown)
        raise InvalidInput("\n".join([*lines, *([f"- and {more} more"] if more else [])]))


@dataclass(frozen=True)
class Answer:
    """One label as a source says it, not yet checked. `where` names the place for people ("line 7", "A/x.json")."""

    where: str
    group: str
    voter: str
    candidate: Any
    label: Any
    seconds: Any = None
    started: datetime | None = None
    ended: datetime | None = None


@dataclass
class _Draft:
    """The answers of one voter to one group while they come in."""

    where: str
    times: tuple[float | None, datetime | None, datetime | None]
    labels: dict[str, Label] = field(default_factory=dict)
    damaged: bool = False


def collect(answers: Iterable[Answer], dataset: Dataset, problems: Problems) -> list[Ballot]:
    """Whole, checked ballots of the dataset's groups; whatever is wrong goes to `problems`."""
    groups = {group.id: group for group in dataset.groups}
    drafts: dict[tuple[str, str], _Draft] = {}
    unknown: set[str] = set()
    wrong: dict[str, str | None] = {}  # by voter
    for answer in answers:
        where, voter = answer.where, answer.voter
        if answer.group not in groups:
            if answer.group not in unknown:
                problems.add(f"{where}: the dataset has no group {brief(answer.group)}")
            unknown.add(answer.group)
            continue
        if voter not in wrong:
            wrong[voter] = bad_voter(voter)
            if wrong[voter] is not None:
                problems.add(f"{where}: {wrong[voter]}")
        if wrong[voter] is not None:
            continue
        seconds = answer.seconds
        if seconds is not None and not _is_duration(seconds):
            problems.add(f"{where}: {brief(seconds)} is no number of seconds from 0")
            seconds = None
        times = (None if seconds is None else float(seconds), answer.started, answer.ended)
        draft = drafts.setdefault((answer.group, voter), _Draft(where, times))
        if draft.times != times:
            problems.add(f"{where}: other times than {draft.where} for the same answer of {brief(voter)}")
            draft.damaged = True
        _take(answer, groups[answer.group], draft, problems)
    ballots = []
    for (identity, voter), draft in drafts.items():
        missing = [slot for slot in dataset.slots if slot not in draft.labels]
        if missing and not draft.damaged:
            problems.add(
                f"{draft.where}: {brief(voter)} gives group {brief(identity)} {len(draft.labels)} labels of "
                f"{len(dataset.slots)}; {', '.join(missing)} lacks one"
            )
        if not missing and not draft.damaged:
            labels = {slot: draft.labels[slot] for slot in dataset.slots}
            ballots.append(Ballot(identity, voter, labels, *draft.times))
    return ballots


def _take(answer: Answer, group: Group, draft: _Draft, problems: Problems) -> None:
    """Put the answer's label into the draft."""
    where, candidate, label = answer.where, answer.candidate, answer.label
    if not isinstance(candidate, str) or candidate not in group.candidates:
        known = ", ".join(group.candidates)
        problems.add(f"{where}: group {group.id!r} has no candidate {brief(candidate)} (it has {known})")
        draft.damaged = True
    elif not isinstance(label, str) or label not in _LABELS:
        problems.add(f"{where}: {_unknown_label(label)}")
        draft.damaged = True
    elif candidate in draft.labels:
        problems.add(f"{where}: {answer.voter!r} labels {candidate} of group {group.id!r} twice (first: {draft.where})")
    else:
        draft.labels[candidate] = Label(label)


def _unknown_label(label: Any) -> str:
    if not isinstance(label, str):
        return f"the label is {brief(label)}; known are {', '.join(Label)}"
    near = difflib.get_close_matches(label[:40].strip().capitalize(), list(Label), n=1, cutoff=0.4)
    guess = f", did you mean '{near[0]}'?" if near else f"; known are {', '.join(Label)}"
    return f"unknown label {brief(label)}{guess}"


def bad_voter(voter: str) -> str | None:
    """Why a voter cannot be a folder's name; None where it can."""
    if not voter:
        return "the voter has no name"
    if (
        voter != voter.strip()
        or voter.startswith(".")
        or voter.casefold() == PEOPLE
        or any(character in "/\\\0" for character in voter)
        or (voter[1:2] == ":" and voter[0].isalpha())
        or len(voter.encode(errors="surrogateescape")) > _NAME_BYTES
    ):
        return f"the voter {brief(voter)} cannot be the name of a folder"
    return None


def _is_duration(seconds: Any) -> bool:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return False
    try:
        return math.isfinite(seconds) and seconds >= 0
    except OverflowError:  # an integer beyond any float
        return False


def brief(value: Any) -> str:
    """A value as Python shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
