"""The answers to what was given out: stored once, settled into votes that count, and scored for practice.

Every group has `needed` places. A lease and a complete assignment hold one each, so that never more than that many
complete normal assignments exist. A late answer takes a free place, or becomes surplus when there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from goldeye.annotate.schema import assignment, item, person, vote
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store, keep_settings, stored_settings, utc_now
from goldeye.annotate.tasks import LABEL, Task
from goldeye.annotate.work import Assignment, ClientIdUsed, Closed, Feedback, GroupPictures, UnknownAssignment
from goldeye.errors import InvalidInput, unknown_name

_CHUNK = 500  # group ids in one statement


class Answers:
    """Takes the answers to `groups` into `store`, as `settings` say.

    Settings are kept in the store; without any, those of the last time stay. `clock` returns the present time in UTC.
    Raises InvalidInput when `groups` cannot go with the answers or the gold items in the store.
    """

    def __init__(
        self,
        store: Store,
        groups: Iterable[GroupPictures],
        settings: AnnotationSettings | None = None,
        *,
        task: Task = LABEL,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store, self.task, self.clock = store, task, clock
        self.groups: dict[str, GroupPictures] = {}
        for group in groups:
            if group.id in self.groups:
                raise InvalidInput(f"Two groups have the id '{group.id}'.")
            if not group.candidates:
                raise InvalidInput(f"Group '{group.id}' has no candidate to compare with its original.")
            if task.one_of and len(group.candidates) != 2:
                raise InvalidInput(f"Group '{group.id}' has {len(group.candidates)} candidates, and a pair has two.")
            self.groups[group.id] = group
        if not self.groups:
            raise InvalidInput("There is no group to annotate.")
        self._refuse_changed_groups()
        with store.write() as connection:
            before = stored_settings(connection)
            self.settings = settings or before or AnnotationSettings()
            self._take_in(connection, votes_changed=before is None or before.votes != self.settings.votes)
            if before != self.settings:
                keep_settings(connection, self.settings)
        if before is not None and before != self.settings:
            old = before.model_dump(mode="json")
            new = self.settings.model_dump(mode="json")
            changes = ", ".join(f"{key} {old[key]} → {new[key]}" for key in new if old[key] != new[key])
            store.note("command line", "changed the settings", changes)

    # Which groups there are --------------------------------------------------------------------------------------

    def _refuse_changed_groups(self) -> None:
        with self.store.read() as connection:
            for row in connection.execute(sa.select(assignment.c.group, assignment.c.order)):
                group = self.groups.get(row.group)
                if group is not None and set(row.order) != set(group.candidates):
                    raise InvalidInput(
                        f"Group '{row.group}' was annotated with the candidates {', '.join(sorted(row.order))}, "
                        f"but now has {', '.join(sorted(group.candidates))}.",
                        hint="Select into a new folder, and annotate that.",
                    )
            golds = connection.execute(sa.select(item.c.id, item.c.expected).where(item.c.expected.is_not(None))).all()
        for row in golds:
            if row.id in self.groups:
                self.check_expected(row.id, row.expected)

    def check_expected(self, group: str, expected: dict[str, str]) -> None:
        """InvalidInput unless `expected` (candidate → label) fits the group."""
        if group not in self.groups:
            raise unknown_name("group", group, self.groups)
        for candidate, label in expected.items():
            if candidate not in self.groups[group].candidates:
                raise unknown_name(f"candidate of group '{group}'", candidate, self.groups[group].candidates)
            if label not in self.task.labels:
                raise unknown_name("label", label, self.task.labels)

    def _take_in(self, connection: sa.Connection, *, votes_changed: bool) -> None:
        """Bring the table of items in line with the groups as they are now."""
        known = dict(connection.execute(sa.select(item.c.id, item.c.active)).all())
        new = [id for id in self.groups if id not in known]
        if new:
            holds = assignment.c.status.in_(("leased", "complete")) & (assignment.c.kind == "normal")
            counts = sa.select(assignment.c.group, assignment.c.status, sa.func.count()).where(holds)
            taken: Counter[str] = Counter()
            complete: Counter[str] = Counter()
            for group, status, count in connection.execute(counts.group_by(assignment.c.group, assignment.c.status)):
                taken[group] += count
                complete[group] += count * (status == "complete")
            rows = [
                {
                    "id": id,
                    "rank": self.store.item_rank(id),
                    "kind": "normal",
                    "active": True,
                    "needed": self.settings.first_votes,
                    "taken": taken[id],
                    "complete": complete[id],
                    "disagreement": 0.0,
                }
                for id in new
            ]
            connection.execute(sa.insert(item), rows)
        for active in (True, False):
            ids = [id for id, was in known.items() if was != active and (id in self.groups) == active]
            for start in range(0, len(ids), _CHUNK):
                chosen = item.c.id.in_(ids[start : start + _CHUNK])
                connection.execute(sa.update(item).where(chosen).values(active=active))
        # An item that was made gold before the application first saw it needs 0.
        unset = sa.true() if votes_changed else item.c.needed == 0
        connection.execute(sa.update(item).where(unset).values(needed=self.settings.first_votes))
        if votes_changed or new:
            voted = sa.select(item.c.id).where(item.c.complete > 1)
            for id in connection.execute(voted).scalars().all():
                self._judge(connection, id)

    # Answers -----------------------------------------------------------------------------------------------------

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
            lifts = before.skipped and label is not None
            self._settle(connection, before, self.task.answered(answers), skipped=before.skipped and not lifts)
            return self._load(connection, assignment_id, person_id)

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
            self._settle(connection, before, False, skipped=True, reason=reason.strip())
            return self._load(connection, assignment_id, person_id)

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
            return self._result(connection, person_id, found)

    # Inside a transaction ----------------------------------------------------------------------------------------

    @contextmanager
    def _answering(self, person_id: int, assignment_id: str) -> Iterator[tuple[sa.Connection, Assignment]]:
        """A transaction that has this assignment to itself."""
        try:
            with self.store.write(alone=False) as connection:
                before = self._load(connection, assignment_id, person_id, lock=True)
                if before.closed:
                    raise Closed("This practice group is finished: its answers cannot be changed.")
                yield connection, before
        except IntegrityError as error:  # the same client id in two transactions at once
            raise ClientIdUsed("This client id belongs to a different answer.") from error

    def _load(self, connection: sa.Connection, assignment_id: str, person_id: int, *, lock: bool = False) -> Assignment:
        query = sa.select(assignment).where(assignment.c.id == assignment_id, assignment.c.person == person_id)
        row: Any = connection.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None:
            raise UnknownAssignment("There is no such assignment.")
        votes = sa.select(vote.c.candidate, vote.c.label).where(vote.c.assignment == assignment_id).order_by(vote.c.id)
        last = dict(connection.execute(votes).all())
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
        sent = connection.execute(sa.select(vote).where(vote.c.client_id == client_id)).one_or_none()
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
        connection.execute(sa.insert(vote).values(values))

    def _settle(
        self, connection: sa.Connection, before: Assignment, finished: bool, *, skipped: bool, reason: str | None = None
    ) -> None:
        """Give an assignment the status that follows from its answers, and its group the counts."""
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
            return
        counts = {
            "taken": item.c.taken - int(held and not holds),
            "complete": item.c.complete + int(status == "complete") - int(before.status == "complete"),
        }
        if "complete" in (status, before.status) or held != holds:
            connection.execute(sa.update(item).where(item.c.id == before.group).values(counts))
        if "complete" in (status, before.status):
            self._judge(connection, before.group)

    def _take_place(self, connection: sa.Connection, group: str) -> bool:
        """Hold one more place of a group, if one is free."""
        free = (item.c.id == group) & (item.c.taken < item.c.needed)
        return connection.execute(sa.update(item).where(free).values(taken=item.c.taken + 1)).rowcount == 1

    def _length(self) -> timedelta:
        return timedelta(minutes=self.settings.lease_minutes)

    def _judge(self, connection: sa.Connection, group: str) -> None:
        """Renew how far the complete votes of a group differ, and with adaptive voting how many it needs."""
        last = (
            sa.select(sa.func.max(vote.c.id))
            .join(assignment, assignment.c.id == vote.c.assignment)
            .where(assignment.c.group == group, assignment.c.kind == "normal", assignment.c.status == "complete")
            .group_by(vote.c.assignment, vote.c.candidate)
        )
        rows = connection.execute(
            sa.select(vote.c.assignment, vote.c.candidate, vote.c.label).where(vote.c.id.in_(last))
        )
        said: dict[str, list[str]] = {}  # by candidate the labels, or for a pair the preferred candidates
        voters = set()
        for row in rows:
            if row.label is not None and row.candidate:
                voters.add(row.assignment)
                key, word = ("", row.candidate) if self.task.one_of else (row.candidate, row.label)
                said.setdefault(key, []).append(word)
        pairs = [[a != b for a, b in combinations(words, 2)] for words in said.values() if len(words) > 1]
        shares = [sum(differ) / len(differ) for differ in pairs]
        disagreement = sum(shares) / len(shares) if shares else 0.0
        values: dict[str, Any] = {"disagreement": disagreement}
        if self.settings.votes == "adaptive":
            values["needed"] = 3 if len(voters) > 2 or (len(voters) == 2 and disagreement > 0) else 2
        connection.execute(sa.update(item).where(item.c.id == group).values(values))

    def _result(self, connection: sa.Connection, person_id: int, found: Feedback) -> Feedback:
        """With the result of the whole qualification, once its last item is closed."""
        c = assignment.c
        left = sa.select(sa.func.count()).select_from(item).where(item.c.kind == "qualification", item.c.active)
        closed = (
            (c.person == person_id) & (c.kind == "qualification") & (c.status == "complete") & c.closed.is_not(None)
        )
        rows = connection.execute(
            sa.select(c.id, item.c.expected)
            .join(item, item.c.id == c.group)
            .where(closed, item.c.active, item.c.kind == "qualification")
        ).all()
        if len(rows) < connection.execute(left).scalar_one():
            return found
        right = total = 0
        for row in rows:
            work = self._load(connection, row.id, person_id)
            scored = self._score(work.answers, [(row.expected or {}).get(key) for key in work.order])
            right, total = right + scored[0], total + scored[1]
        passed = right >= self.settings.pass_mark * total
        values = {"qualified": "passed" if passed else "failed"}
        undecided = (person.c.id == person_id) & person.c.qualified.is_(None)
        connection.execute(sa.update(person).where(undecided).values(values))
        return Feedback(found.answers, found.expected, found.note, found.right, found.total, passed, right, total)

    def _score(self, answers: list[str | None], expected: list[str | None]) -> tuple[int, int]:
        """(right, all) of the candidates whose label is known."""
        known = [(given, right) for given, right in zip(answers, expected, strict=True) if right is not None]
        return sum(self.task.is_right(given, right) for given, right in known), len(known)
