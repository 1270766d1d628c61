"""What is given out and comes back: groups, assignments, progress, and what can be wrong with an answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from goldeye.errors import GoldeyeError


@dataclass(frozen=True)
class GroupPictures:
    """A group to judge: the original (or none), its candidates by key ("01", "02", …), and the LR input if shown.

    The original and the candidates are of one size, the LR input smaller.
    """

    id: str
    original: Path | None
    candidates: dict[str, Path]
    lr: Path | None = None


@dataclass(frozen=True)
class Assignment:
    """A group given to a person: candidate keys in the order shown, and the current answer to each (None: open)."""

    id: str
    group: str
    order: list[str]
    answers: list[str | None]
    status: str
    kind: str = "normal"
    skipped: bool = False
    closed: bool = False


@dataclass(frozen=True)
class Share:
    """A person's own progress: groups done, and all that are theirs to do as things stand.

    `reason` says why there is no group: done, quota, paused or unqualified. `practice`: which of how many
    qualification items it is.
    """

    done: int
    total: int
    reason: str = "done"
    practice: tuple[int, int] | None = None


@dataclass(frozen=True)
class Feedback:
    """What was expected of a qualification item, in the order shown, and after the last one how it went in all."""

    answers: list[str | None]
    expected: list[str | None]
    note: str | None
    right: int
    total: int
    passed: bool | None = None
    right_in_all: int = 0
    total_in_all: int = 0


class UnknownAssignment(GoldeyeError):
    """There is no such assignment for this person (which is all that anybody is told about another's)."""

    code = "not_found"


class ClientIdUsed(GoldeyeError):
    """The client id of an answer was used before for a different answer."""

    code = "conflict"


class Closed(GoldeyeError):
    """The assignment takes no answer any more, or not yet what was asked of it."""

    code = "closed"


class DatasetChanged(GoldeyeError):
    """The store has groups that this server was not started with."""

    code = "outdated"
