"""What the owner's page shows of the answers: progress, pace, the labels' tables, and people who stand out.

Figures of all votes take seconds for a large dataset; they are computed once in a while and shared by all who look.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from goldeye.annotate.schema import assignment, item, person, vote
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Person, Store, utc_now
from goldeye.annotate.tasks import LABEL, Task
from goldeye.annotate.votes import CountedVote, last_rows
from goldeye.intervals import wilson

PAPER_SECONDS = 22.79  # HGGT §3.3: the average time for a group
LEAST_GOLD = 8  # labels of gold items before anybody is flagged
LEAST_GROUPS = 10  # groups before a person's other figures can stand out
LEAST_CONSISTENCY = 0.6  # who surely repeats fewer of their own labels is flagged
_FRESH = 2.0  # seconds for which figures are shown again without a look at the store
_SHARE = 0.05  # of a server's time may go into them

# What a task adds: {"labels": …, "agreement": …} of annotation, {"study": …} of a study.
Results = Callable[[list[CountedVote]], Mapping[str, Any]]


class Figures:
    """The figures of a store, computed at most now and then.

    `results` gives what only the kind of task knows; `names` (candidate → what made it) stands beside.
    """

    def __init__(
        self,
        store: Store,
        *,
        task: Task = LABEL,
        results: Results | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.store, self.task, self.results, self.names = store, task, results, dict(names or {})
        self._lock = threading.Lock()
        self._state: tuple[int, AnnotationSettings] | None = None
        self._until = 0.0
        self._found: dict[str, Any] = {}

    def overview(self, settings: AnnotationSettings) -> dict[str, Any]:
        """Everything for the owner's first page, as JSON allows it."""
        with self._lock:
            began = time.monotonic()
            if not self._found or began >= self._until:
                state = (last_vote(self.store), settings)
                if state != self._state or not self._found:
                    self._found, self._state = self._compute(settings), state
                self._until = began + max(_FRESH, (time.monotonic() - began) / _SHARE)
            found = self._found
        progress, pace = _progress(self.store), _pace(self.store)
        left = progress["votes_wanted"] - progress["votes"]
        hours = left / pace["groups_an_hour"] if pace["groups_an_hour"] else None
        pace |= {"median_seconds": found["median_seconds"], "paper_seconds": PAPER_SECONDS, "hours_left": hours}
        items = _items(self.store)
        qualifies = items["qualification"] > 0
        people = [_about(one, qualifies) | found["people"].get(one.id, _NOTHING) for one in self.store.people()]
        shown = {key: found[key] for key in ("labels", "agreement", "study", "computed")}
        return {"progress": progress, "pace": pace, "people": people, "gold_items": items["gold"], **shown}

    def outdate(self) -> None:
        """Something that the answers are compared with has changed."""
        self._state = None
        self._until = 0.0

    def _compute(self, settings: AnnotationSettings) -> dict[str, Any]:
        found: dict[str, Any] = {"labels": None, "agreement": None, "study": None, "computed": utc_now().isoformat()}
        counted = self.store.counted_votes(surplus=True)  # read once: it takes seconds where there are many
        if self.results is not None:
            found |= self.results(counted)
        answers = Given.of(self.store, self.task, counted)
        people = {one.id: _figures(one, answers, found["agreement"], settings) for one in self.store.people()}
        return found | {"median_seconds": answers.median, "people": people}


def last_vote(store: Store) -> int:
    """The number of the newest answer: when it is the same, no figure has changed."""
    with store.read() as connection:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(vote.c.id), 0))).scalar_one())


def _progress(store: Store) -> dict[str, int]:
    there = (item.c.kind == "normal") & item.c.active
    wanted = sa.case((item.c.complete > item.c.needed, item.c.complete), else_=item.c.needed)
    query = sa.select(
        sa.func.count(),
        sa.func.count().filter(item.c.complete >= item.c.needed),
        sa.func.count().filter(item.c.taken > 0),
        sa.func.coalesce(sa.func.sum(item.c.complete), 0),
        sa.func.coalesce(sa.func.sum(wanted), 0),
    ).where(there)
    with store.read() as connection:
        groups, finished, begun, votes, needed = connection.execute(query).one()
    return {
        "groups": groups,
        "groups_finished": finished,
        "groups_begun": begun,
        "votes": int(votes),
        "votes_wanted": int(needed),
    }


def _pace(store: Store) -> dict[str, Any]:
    ended = sa.select(vote.c.assignment, sa.func.max(vote.c.server_time).label("ended")).group_by(vote.c.assignment)
    ended = ended.where(vote.c.server_time > utc_now() - timedelta(hours=1))
    recent = ended.subquery()
    query = (
        sa.select(sa.func.count(), sa.func.count(sa.distinct(assignment.c.person)), sa.func.min(assignment.c.created))
        .join(recent, recent.c.assignment == assignment.c.id)
        .where(assignment.c.status == "complete", assignment.c.kind == "normal")
    )
    with store.read() as connection:
        groups, people, began = connection.execute(query).one()
    # People who began ten minutes ago have not worked for an hour; less than five minutes tell too little.
    worked = min(max(utc_now() - began, timedelta(minutes=5)), timedelta(hours=1)) if began else timedelta(hours=1)
    return {
        "groups_last_hour": groups,
        "people_last_hour": people,
        "groups_an_hour": groups * (timedelta(hours=1) / worked),
    }


def _items(store: Store) -> Counter[str]:
    """How many items of each kind there are."""
    query = sa.select(item.c.kind, sa.func.count()).where(item.c.active).group_by(item.c.kind)
    with store.read() as connection:
        return Counter(dict(connection.execute(query).all()))


# People -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """What people answered, gathered by their names."""

    seconds: Mapping[str, Sequence[float]]  # of each counted group
    labels: Mapping[str, Counter[str]]
    done: Mapping[str, int]
    skipped: Mapping[str, int]
    last: Mapping[int, str]  # by id: the time of the last answer
    gold: Mapping[str, Sequence[bool]]
    repeats: Mapping[str, Sequence[bool]]

    @classmethod
    def of(cls, store: Store, task: Task, counted: Iterable[CountedVote]) -> Given:
        seconds: dict[tuple[str, str], float] = {}
        labels: dict[str, Counter[str]] = {}
        for each in counted:
            if not each.counted:
                continue
            seconds[each.person, each.group] = each.seconds
            labels.setdefault(each.person, Counter())[each.label] += 1
        given = store.assignments()
        last = (
            sa.select(assignment.c.person, sa.func.max(vote.c.server_time))
            .join(vote, vote.c.assignment == assignment.c.id)
            .group_by(assignment.c.person)
        )
        with store.read() as connection:
            ends = {number: ended.isoformat() for number, ended in connection.execute(last)}
        return cls(
            _gather((name, spent) for (name, _), spent in seconds.items()),
            labels,
            Counter(row.person for row in given if row.kind == "normal" and row.status in ("complete", "surplus")),
            Counter(row.person for row in given if row.skip_reason is not None),
            ends,
            _gather(
                (row.person, task.is_right(row.given, row.expected))
                for row in store.gold_answers()
                if row.kind == "gold"
            ),
            _gather((row.person, row.first == row.again) for row in store.repeat_answers()),
        )

    @property
    def median(self) -> float | None:
        """Median seconds a group, over all people."""
        every = [spent for times in self.seconds.values() for spent in times]
        return statistics.median(every) if every else None


def _gather(rows: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in rows:
        found.setdefault(name, []).append(value)
    return found


_NOTHING: dict[str, Any] = {
    "done": 0,
    "skipped": 0,
    "last_answer": None,
    "median_seconds": None,
    "shares": None,
    "agreement": None,
    "gold": None,
    "repeat": None,
    "flags": [],
}


def _about(one: Person, qualifies: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "role": one.role,
        "state": one.state,
        "quota": one.quota,
        "qualification": one.qualified or ("open" if qualifies else None),
    }


def _figures(
    one: Person, answers: Given, agreement: Mapping[str, Any] | None, settings: AnnotationSettings
) -> dict[str, Any]:
    name = one.name
    labels = answers.labels.get(name, Counter())
    times = answers.seconds.get(name, ())
    gold, repeats = answers.gold.get(name, ()), answers.repeats.get(name, ())
    own = agreement["per_annotator"].get(name) if agreement else None
    total = sum(labels.values())
    return {
        "done": answers.done.get(name, 0),
        "skipped": answers.skipped.get(name, 0),
        "last_answer": answers.last.get(one.id),
        "median_seconds": statistics.median(times) if times else None,
        "shares": {label: count / total for label, count in sorted(labels.items())} if total else None,
        "agreement": own["agreement"] if own else None,
        "gold": {
            "right": sum(gold),
            "total": len(gold),
            "accuracy": sum(gold) / len(gold),
            "ci95": wilson(sum(gold), len(gold)),
        }
        if gold
        else None,
        "repeat": {"same": sum(repeats), "total": len(repeats), "consistency": sum(repeats) / len(repeats)}
        if repeats
        else None,
        "flags": _flags(name, answers, own, agreement, settings),
    }


def gold_is_too_low(right: int, total: int, settings: AnnotationSettings) -> bool:
    """Whether somebody is surely below the accuracy that is asked: the whole 95 % interval is.

    At a needed accuracy of 0.75, somebody who labels at random (one in three right) is flagged within five gold groups
    of four versions with a probability of 0.99, and somebody with 0.92 right ones by chance with less than 0.01.
    """
    return total >= LEAST_GOLD and _at_most(right, total) < settings.gold_accuracy


def _at_most(right: int, total: int) -> float:
    """The upper end of the share's interval."""
    interval = wilson(right, total)
    return 1.0 if interval is None else interval[1]


def _flags(
    name: str,
    answers: Given,
    own: Mapping[str, Any] | None,
    agreement: Mapping[str, Any] | None,
    settings: AnnotationSettings,
) -> list[str]:
    """In sentences, why a person should be looked at."""
    found = []
    gold, repeats = answers.gold.get(name, ()), answers.repeats.get(name, ())
    if gold_is_too_low(sum(gold), len(gold), settings):
        found.append(f"Gold items: {sum(gold)} of {len(gold)} labels right, surely below {settings.gold_accuracy:.0%}.")
    if len(repeats) >= LEAST_GOLD and _at_most(sum(repeats), len(repeats)) < LEAST_CONSISTENCY:
        found.append(f"Repeated groups: {sum(repeats)} of {len(repeats)} labels the same as the first time.")
    times = answers.seconds.get(name, ())
    if len(times) >= LEAST_GROUPS and answers.median and statistics.median(times) < answers.median / 3:
        found.append(f"Pace: {statistics.median(times):.1f} s a group in the median, {answers.median:.1f} s over all.")
    if own and agreement and len(times) >= LEAST_GROUPS:
        mine, everybody = own["agreement"], agreement["all"]["agreement"]
        if mine["ci95"] and everybody["ci95"] and mine["ci95"][1] < everybody["ci95"][0]:
            found.append(
                f"Agreement: {mine['value']:.0%} with others on the same versions, {everybody['value']:.0%} over all."
            )
    labels = answers.labels.get(name, Counter())
    others: Counter[str] = Counter()
    for who, counts in answers.labels.items():
        if who != name:
            others.update(counts)
    if len(times) >= LEAST_GROUPS and others:
        label, most = labels.most_common(1)[0]
        share, usual = most / labels.total(), others[label] / others.total()
        if share > 0.95 and usual < 0.85:
            found.append(f"{share:.0%} of the labels are {label}; of the others' {usual:.0%}.")
    return found


# Groups -------------------------------------------------------------------------------------------------------------


def group_rows(store: Store, *, sort: str, only: str, page: int, size: int = 50) -> dict[str, Any]:
    """A page of the groups with their counts of labels."""
    c = assignment.c
    skips = (
        sa.select(c.group, sa.func.count().label("skipped"))
        .where(c.skip_reason.is_not(None))
        .group_by(c.group)
        .subquery()
    )
    skipped = sa.func.coalesce(skips.c.skipped, 0)
    conditions = {
        "all": sa.true(),
        "finished": (item.c.kind == "normal") & (item.c.complete >= item.c.needed),
        "begun": item.c.taken > 0,
        "gold": item.c.kind != "normal",
        "skipped": skipped > 0,
    }
    orders: dict[str, list[sa.ColumnElement[Any]]] = {
        "disagreement": [item.c.disagreement.desc(), item.c.complete.desc(), item.c.id],
        "votes": [item.c.complete.desc(), item.c.id],
        "id": [item.c.id],
    }
    base = sa.select(item, skipped.label("skipped")).join(skips, skips.c.group == item.c.id, isouter=True)
    base = base.where(item.c.active, conditions[only])
    with store.read() as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(base.subquery())).scalar_one()
        rows = connection.execute(base.order_by(*orders[sort]).limit(size).offset((page - 1) * size)).all()
        labels = _labels_of(connection, [row.id for row in rows])
    return {
        "groups": [
            {
                "id": row.id,
                "votes": row.complete,
                "needed": row.needed,
                "disagreement": row.disagreement,
                "labels": labels.get(row.id, {}),
                "gold": None if row.kind == "normal" else row.kind,
                "skipped": row.skipped,
            }
            for row in rows
        ],
        "page": page,
        "pages": max(1, -(-total // size)),
        "total": total,
    }


def _labels_of(connection: sa.Connection, groups: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    c = assignment.c
    which = sa.and_(c.group.in_(groups), c.kind == "normal", c.status == "complete")
    query = (
        sa.select(c.group, vote.c.candidate, vote.c.label, sa.func.count())
        .join(assignment, c.id == vote.c.assignment)
        .where(vote.c.id.in_(last_rows(which)), vote.c.label.is_not(None))
        .group_by(c.group, vote.c.candidate, vote.c.label)
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for group, candidate, label, count in connection.execute(query):
        found.setdefault(group, {}).setdefault(candidate, {})[label] = count
    return found


def group_answers(store: Store, group: str) -> list[dict[str, Any]]:
    """Who answered what about a group, with every row of the history."""
    query = (
        sa.select(assignment, person.c.name)
        .join(person, person.c.id == assignment.c.person)
        .where(assignment.c.group == group)
        .order_by(assignment.c.created, assignment.c.id)
    )
    found = []
    with store.read() as connection:
        for row in connection.execute(query).all():
            rows = connection.execute(sa.select(vote).where(vote.c.assignment == row.id).order_by(vote.c.id)).all()
            last = {answer.candidate: answer.label for answer in rows}
            found.append(
                {
                    "person": row.name,
                    "kind": row.kind,
                    "status": row.status,
                    "seconds": sum(answer.active_ms for answer in rows) / 1000,
                    "labels": {candidate: last.get(candidate) for candidate in sorted(row.order)},
                    "skip_reason": row.skip_reason,
                    "history": [
                        {
                            "time": answer.server_time.isoformat(),
                            "slot": answer.candidate or None,
                            "label": answer.label,
                        }
                        for answer in rows
                    ],
                }
            )
    return found


def gold_of(store: Store, group: str) -> dict[str, Any] | None:
    """What is expected of a group that is a gold or qualification item; None for any other."""
    with store.read() as connection:
        query = sa.select(item.c.kind, item.c.expected, item.c.note).where(item.c.id == group)
        row = connection.execute(query).one_or_none()
    if row is None or row.kind == "normal":
        return None
    return {"kind": row.kind, "expected": row.expected, "note": row.note}
