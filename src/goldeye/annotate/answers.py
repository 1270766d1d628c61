"""The answers to what was given out: stored once, settled into votes that count, and scored for practice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from goldeye.annotate.places import Places
from goldeye.annotate.schema import assignment, item, person, vote
from goldeye.annotate.work import Assignment, ClientIdUsed, Closed, Feedback, UnknownAssignment
from goldeye.errors import InvalidInput

# What every answer needs; made once, because making them takes longer than SQLite does to run them.
_OWN = sa.select(assignment).where(
    assignment.c.id == sa.bindparam("assignment"), assignment.c.person == sa.bindparam("owner")
)
_OWN_LOCKED = _OWN.with_for_update()
_VOTES = (
    sa.select(vote.c.candidate, vote.c.label).where(vote.c.assignment == sa.bindparam("assignment")).order_by(vote.c.id)
)
_SENT = sa.select(vote.c.assignment, vote.c.candidate, vote.c.label).where(vote.c.client_id == sa.bindparam("sent"))


class Answers(Places):
    """Takes the answers to what was given out."""

    def get(self, assignment_id: str, person_id: int) -> Assignment:
        """An assignment of this person. Raises UnknownAssignment for any other."""
        with self.store.read() as connection:
            return self._load(connection, assignment_id, person_id)

    def answer(
        self, person_id: int, assignment_id: str, position: int, label: str | None, *, client_id: str, active_ms: int
    ) -> Assignment:
        """Store one answer (None takes the earlier one back) to the candidate shown at `position` (0, 1, …).

        The same `client_id` again changes nothing, so that an answer can be sent until its receipt is known. Where one
        of two is preferred, the preference is taken from the other by a row of its own.
        Raises UnknownAssignment, InvalidInput (position, label), Closed or ClientIdUsed.
        """
        if label is not None and label not in self.task.labels:
            raise InvalidInput(f"Unknown label '{label}'.")
        with self._answering(person_id, assignment_id) as (connection, before):
            if not 0 <= position < len(before.order):
                raise InvalidInput(f"There is no candidate at position {position}.")
            candidate = before.order[position]
            if self._sent(connection, client_id, assignment_id, candidate, label):
                return before
            answers = list(before.answers)
            if self.task.one_of and label is not None:
                for i, given in enumerate(answers):
                    if given is not None and i != position:
                        self._insert(connection, f"{client_id}-taken", assignment_id, before.order[i], None, 0)
                        answers[i] = None
            self._insert(connection, client_id, assignment_id, candidate, label, active_ms)
            answers[position] = label
            skipped = before.skipped and label is None
            status = self._settle(connection, before, self.task.answered(answers), skipped=skipped)
            return replace(before, answers=answers, status=status, skipped=skipped)

    def skip(self, person_id: int, assignment_id: str, reason: str, *, client_id: str, active_ms: int) -> Assignment:
        """Give a group back unanswered: it goes to others and not to this person again, unless they answer it still.

        Raises UnknownAssignment, InvalidInput (a reason of 1 to 200 characters), Closed (practice) or ClientIdUsed.
        """
        if not 1 <= len(reason.strip()) <= 200:
            raise InvalidInput("A reason has 1 to 200 characters.")
        with self._answering(person_id, assignment_id) as (connection, before):
            if before.kind == "qualification":
                raise Closed("A practice group cannot be skipped.")
            if self._sent(connection, client_id, assignment_id, "", "Skipped"):
                return before
            self._insert(connection, client_id, assignment_id, "", "Skipped", active_ms)
            status = self._settle(connection, before, False, skipped=True, reason=reason.strip())
            return replace(before, status=status, skipped=True)

    def feedback(self, person_id: int, assignment_id: str) -> Feedback:
        """Close an answered qualification item and tell what was expected of it. Asked again it tells the same.

        Raises UnknownAssignment, or Closed where it is no such item or has open candidates.
        """
        with self.store.write(alone=False) as connection:
            connection.execute(sa.select(person.c.id).where(person.c.id == person_id).with_for_update())
            work = self._load(connection, assignment_id, person_id, lock=True)
            if work.kind != "qualification" or work.status != "complete":
                raise Closed("There is feedback for answered practice groups only.")
            query = sa.select(item.c.expected, item.c.note).where(item.c.id == work.group)
            row = connection.execute(query).one()
            if not work.closed:
                values = {"closed": self.clock()}
                connection.execute(sa.update(assignment).where(assignment.c.id == assignment_id).values(values))
            expected = [(row.expected or {}).get(key) for key in work.order]
            right, total = self._score(work.answers, expected)
            found = Feedback(work.answers, expected, row.note, right, total)
            decided = self._decide(connection, person_id)
            if decided is None:
                return found
            return replace(found, passed=decided[0], right_in_all=decided[1], total_in_all=decided[2])

    # Inside a transaction ----------------------------------------------------------------------------------------

    @contextmanager
    def _answering(self, person_id: int, assignment_id: str) -> Iterator[tuple[sa.Connection, Assignment]]:
        """A transaction that has this assignment to itself."""
        with self.store.write(alone=False) as connection:
            before = self._load(connection, assignment_id, person_id, lock=True)
            if before.closed:
                raise Closed("This practice group is finished: its answers cannot be changed.")
            yield connection, before

    def _load(self, connection: sa.Connection, assignment_id: str, person_id: int, *, lock: bool = False) -> Assignment:
        own = {"assignment": assignment_id, "owner": person_id}
        row: Any = connection.execute(_OWN_LOCKED if lock else _OWN, own).one_or_none()
        if row is None:
            raise UnknownAssignment("There is no such assignment.")
        last = dict(connection.execute(_VOTES, {"assignment": assignment_id}).all())
        return Assignment(
            row.id,
            row.group,
            row.order,
            [last.get(key) for key in row.order],
            row.status,
            row.kind,
            row.skip_reason is not None,
            row.closed is not None,
        )

    def _sent(
        self, connection: sa.Connection, client_id: str, assignment_id: str, candidate: str, label: str | None
    ) -> bool:
        """Whether this very answer is stored already; ClientIdUsed when the client id is another answer's."""
        sent = connection.execute(_SENT, {"sent": client_id}).one_or_none()
        if sent is not None and (sent.assignment, sent.candidate, sent.label) != (assignment_id, candidate, label):
            raise ClientIdUsed("This client id belongs to a different answer.")
        return sent is not None

    def _insert(
        self,
        connection: sa.Connection,
        client_id: str,
        assignment_id: str,
        candidate: str,
        label: str | None,
        active_ms: int,
    ) -> None:
        values = {
            "client_id": client_id,
            "assignment": assignment_id,
            "candidate": candidate,
            "label": label,
            "active_ms": active_ms,
            "server_time": self.clock(),
        }
        try:
            connection.execute(sa.insert(vote), values)
        except IntegrityError as error:  # the same client id in two transactions at once
            raise ClientIdUsed("This client id belongs to a different answer.") from error

    def _settle(
        self, connection: sa.Connection, before: Assignment, finished: bool, *, skipped: bool, reason: str | None = None
    ) -> str:
        """Give an assignment the status that follows from its answers, and its group the counts; returns the status."""
        normal = before.kind == "normal"
        held = before.status in ("leased", "complete")
        holds = not skipped and (held or not normal or self._take_place(connection, before.group))
        status = {
            (True, True): "complete",
            (True, False): "leased",
            (False, True): "surplus",
            (False, False): "expired",
        }[holds, finished and not skipped]
        values: dict[str, Any] = {"status": status, "leased_until": self.clock() + self._length()}
        if not skipped:
            values["skip_reason"] = None
        elif reason is not None:
            values["skip_reason"] = reason
        connection.execute(sa.update(assignment).where(assignment.c.id == before.id).values(values))
        if not normal:
            return status
        counts = {
            "taken": item.c.taken - int(held and not holds),
            "complete": item.c.complete + int(status == "complete") - int(before.status == "complete"),
        }
        if "complete" in (status, before.status) or held != holds:
            connection.execute(sa.update(item).where(item.c.id == before.group).values(counts))
        if "complete" in (status, before.status):
            self._judge(connection, before.group)
        if "complete" in (status, before.status) or (held and not holds):
            self._promote(connection, before.group)
        return status

    def _decide(self, connection: sa.Connection, person_id: int) -> tuple[bool, int, int] | None:
        """Whether a person passed the qualification, and their right and all labels; None before its last item."""
        c = assignment.c
        left = sa.select(sa.func.count()).select_from(item).where(item.c.kind == "qualification", item.c.active)
        mine = (c.person == person_id) & (c.kind == "qualification")
        closed = mine & (c.status == "complete") & c.closed.is_not(None)
        rows = connection.execute(
            sa.select(c.id, item.c.expected)
            .join(item, item.c.id == c.group)
            .where(closed, item.c.active, item.c.kind == "qualification")
        ).all()
        if len(rows) < connection.execute(left).scalar_one():
            return None
        right = total = 0
        for row in rows:
            work = self._load(connection, row.id, person_id)
            scored = self._score(work.answers, [(row.expected or {}).get(key) for key in work.order])
            right, total = right + scored[0], total + scored[1]
        passed = right >= self.settings.pass_mark * total
        undecided = (person.c.id == person_id) & person.c.qualified.is_(None)
        connection.execute(sa.update(person).where(undecided).values(qualified="passed" if passed else "failed"))
        return passed, right, total

    def _score(self, answers: list[str | None], expected: list[str | None]) -> tuple[int, int]:
        """(right, all) of the candidates whose label is known."""
        known = [(given, right) for given, right in zip(answers, expected, strict=True) if right is not None]
        return sum(self.task.is_right(given, right) for given, right in known), len(known)
