"""What a store tells of the answers given: those that count, who answered what, gold items, progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from goldeye.annotate.database import Database
from goldeye.annotate.schema import assignment, item, person, vote


class CountedVote(NamedTuple):
    """A label that counts, or a surplus one. `seconds` is the active time that `person` spent on the whole group.

    `started` and `ended` (UTC): when the group was first shown to the person, and their last answer to it.
    """

    group: str
    candidate: str
    label: str
    person: str
    seconds: float
    started: datetime
    ended: datetime
    counted: bool = True


class GivenGroup(NamedTuple):
    """A group that was given to a person: `order` are its candidates as shown, first to last."""

    id: str
    group: str
    person: str
    kind: str
    order: list[str]
    status: str
    created: datetime
    skip_reason: str | None


class GoldAnswer(NamedTuple):
    """A person's label of a candidate whose right label is known; None where they preferred the other of a pair."""

    person: str
    group: str
    candidate: str
    expected: str
    given: str | None
    kind: str


class RepeatAnswer(NamedTuple):
    """The labels that a person gave to a candidate the first time and when it was shown again."""

    person: str
    group: str
    candidate: str
    first: str
    again: str


@dataclass(frozen=True)
class Progress:
    """How far the annotation is: complete normal assignments by group and by person, and all answers given."""

    by_group: dict[str, int]
    by_person: dict[str, int]
    answers: int


class Votes(Database):
    """The answers in a store."""

    def counted_votes(self, *, surplus: bool = False) -> list[CountedVote]:
        """The labels that count: the last answer to each candidate of every complete normal assignment.

        With `surplus` also those of surplus assignments, which do not count (`counted` is False).
        Ordered by group, then by assignment as they were given out, then by candidate.
        """
        statuses = ("complete", "surplus") if surplus else ("complete",)
        counts = sa.and_(assignment.c.kind == "normal", assignment.c.status.in_(statuses))
        totals = (
            sa.select(
                vote.c.assignment,
                sa.func.max(vote.c.id).label("last"),
                sa.func.sum(vote.c.active_ms).label("ms"),
                sa.func.max(vote.c.server_time).label("ended"),
            )
            .join(assignment, assignment.c.id == vote.c.assignment)
            .where(counts)
            .group_by(vote.c.assignment, vote.c.candidate)
            .subquery()
        )
        spent = (
            sa.select(
                totals.c.assignment,
                sa.func.sum(totals.c.ms).label("ms"),
                sa.func.max(totals.c.ended).label("ended"),
            )
            .group_by(totals.c.assignment)
            .subquery()
        )
        query = (
            sa.select(
                assignment.c.group,
                vote.c.candidate,
                vote.c.label,
                person.c.name,
                spent.c.ms,
                assignment.c.created,
                spent.c.ended,
                assignment.c.status,
            )
            .join(totals, totals.c.last == vote.c.id)
            .join(assignment, assignment.c.id == vote.c.assignment)
            .join(spent, spent.c.assignment == assignment.c.id)
            .join(person, person.c.id == assignment.c.person)
            .where(vote.c.label.is_not(None), vote.c.label != "Skipped")
            .order_by(assignment.c.group, assignment.c.created, assignment.c.id, vote.c.candidate)
        )
        with self.read() as connection:
            rows = connection.execute(query).all()
        return [
            CountedVote(group, candidate, label, name, int(ms) / 1000, started, ended, status == "complete")
            for group, candidate, label, name, ms, started, ended, status in rows
        ]

    def answered(self) -> set[tuple[str, str]]:
        """(group, person) wherever the person gave a normal answer, whether it counts, is open or came too late."""
        given = sa.exists().where(vote.c.assignment == assignment.c.id, vote.c.candidate != "")
        query = (
            sa.select(assignment.c.group, person.c.name)
            .join(person, person.c.id == assignment.c.person)
            .where(assignment.c.kind == "normal", given)
        )
        with self.read() as connection:
            return {(group, name) for group, name in connection.execute(query)}

    def progress(self) -> Progress:
        """How far the annotation is; people and groups without a complete assignment are left out of the counts."""
        done = sa.and_(assignment.c.kind == "normal", assignment.c.status == "complete")
        by_group = sa.select(assignment.c.group, sa.func.count()).where(done).group_by(assignment.c.group)
        by_person = (
            sa.select(person.c.name, sa.func.count())
            .join(assignment, assignment.c.person == person.c.id)
            .where(done)
            .group_by(person.c.name)
            .order_by(person.c.name)
        )
        with self.read() as connection:
            groups: dict[str, int] = dict(connection.execute(by_group).all())
            names: dict[str, int] = dict(connection.execute(by_person).all())
            answers = connection.execute(sa.select(sa.func.count()).select_from(vote)).scalar_one()
        return Progress(groups, names, answers)

    def assignments(self) -> list[GivenGroup]:
        """Every group given to anybody, in the order of time."""
        c = assignment.c
        query = (
            sa.select(c.id, c.group, person.c.name, c.kind, c.order, c.status, c.created, c.skip_reason)
            .join(person, person.c.id == c.person)
            .order_by(c.created, c.id)
        )
        with self.read() as connection:
            return [GivenGroup(*row) for row in connection.execute(query)]

    def gold_answers(self) -> list[GoldAnswer]:
        """Complete answers to gold and qualification items, by person in the order given; retired attempts left out."""
        c = assignment.c
        query = (
            sa.select(c.id, person.c.name, c.group, c.kind, item.c.expected)
            .join(person, person.c.id == c.person)
            .join(item, item.c.id == c.group)
            .where(c.kind.in_(("gold", "qualification")), c.status == "complete", item.c.kind == c.kind)
            .order_by(person.c.id, c.number)
        )
        with self.read() as connection:
            rows = connection.execute(_last_answers(c.kind.in_(("gold", "qualification"))))
            given = {(row.id, row.candidate): row.label for row in rows}
            return [
                GoldAnswer(row.name, row.group, candidate, label, given.get((row.id, candidate)), row.kind)
                for row in connection.execute(query)
                for candidate, label in sorted((row.expected or {}).items())
            ]

    def repeat_answers(self) -> list[RepeatAnswer]:
        """Complete answers to groups shown again, beside the same person's first ones."""
        c, again = assignment.c, assignment.alias()
        repeated = sa.exists().where(
            again.c.person == c.person,
            again.c.group == c.group,
            again.c.kind == "repeat",
            again.c.status == "complete",
        )
        which = sa.and_(c.kind.in_(("repeat", "normal")), c.status.in_(("complete", "surplus")), repeated)
        query = _last_answers(which).order_by(person.c.id, c.number, vote.c.candidate)
        first: dict[tuple[str, str, str], str] = {}
        answers = []
        with self.read() as connection:
            for row in connection.execute(query):
                key = (row.name, row.group, row.candidate)
                if row.kind == "normal":
                    first[key] = row.label
                elif key in first:
                    answers.append(RepeatAnswer(*key, first[key], row.label))
        return answers


def last_rows(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The ids of the last row of `vote` for every candidate of the assignments that `which` chooses."""
    return (
        sa.select(sa.func.max(vote.c.id))
        .join(assignment, assignment.c.id == vote.c.assignment)
        .where(which, vote.c.candidate != "")
        .group_by(vote.c.assignment, vote.c.candidate)
    )


def _last_answers(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The last label of every candidate of these assignments, with what it belongs to."""
    return (
        sa.select(
            assignment.c.id,
            person.c.name,
            assignment.c.group,
            assignment.c.kind,
            vote.c.candidate,
            vote.c.label,
        )
        .select_from(vote)
        .join(assignment, assignment.c.id == vote.c.assignment)
        .join(person, person.c.id == assignment.c.person)
        .where(vote.c.id.in_(last_rows(which)), vote.c.label.is_not(None))
    )
