"""Who sees what: k votes a group, nobody twice on a group, abandoned work returns, the versions in a blind order.

Every group has k places. A live lease and a complete assignment hold one each, so that never more than k complete
normal assignments exist. A lease that ran out gives its place back; a late answer is kept and takes a free place, or
becomes surplus when there is none.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from goldeye.annotate.store import LABELS, Store, assignment, utc_now, vote
from goldeye.errors import GoldeyeError, InvalidInput

LEASE = timedelta(minutes=30)


@dataclass(frozen=True)
class GroupPictures:
    """A group to judge: the original and its candidates by key ("01", "02", …), all of one size."""

    id: str
    original: Path
    candidates: dict[str, Path]


@dataclass(frozen=True)
class Assignment:
    """A group given to a person: candidate keys in the order shown, and the current answer to each (None: open)."""

    id: str
    group: str
    order: list[str]
    answers: list[str | None]
    status: str


@dataclass(frozen=True)
class Share:
    """A person's own progress: groups done, and all that are theirs to do as things stand."""

    done: int
    total: int


class UnknownAssignment(GoldeyeError):
    """There is no such assignment for this person (which is all that anybody is told about another's)."""

    code = "not_found"


class ClientIdUsed(GoldeyeError):
    """The client id of an answer was used before for a different answer."""

    code = "conflict"


class Assigner:
    """Gives out `groups` from `store`, `votes_per_group` votes each, and takes the answers.

    `clock` returns the present time in UTC. Raises InvalidInput when `groups` cannot go with the votes in the store.
    """

    def __init__(
        self,
        store: Store,
        groups: Iterable[GroupPictures],
        *,
        votes_per_group: int = 3,
        lease: timedelta = LEASE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        if votes_per_group < 1:
            raise InvalidInput(f"A group needs at least 1 vote, not {votes_per_group}.")
        self.store, self.places, self.lease, self.clock = store, votes_per_group, lease, clock
        self.groups: dict[str, GroupPictures] = {}
        for group in groups:
            if group.id in self.groups:
                raise InvalidInput(f"Two groups have the id '{group.id}'.")
            if not group.candidates:
                raise InvalidInput(f"Group '{group.id}' has no candidate to compare with its original.")
            self.groups[group.id] = group
        if not self.groups:
            raise InvalidInput("There is no group to annotate.")
        self._rank = {id: int.from_bytes(store.keyed_hash("group", id)[:8], "big") for id in self.groups}
        self._refuse_changed_groups()

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

    def shown_order(self, person_id: int, group: GroupPictures) -> list[str]:
        """The candidates' keys in this person's blind order: random, but the same each time they are asked for."""
        return sorted(group.candidates, key=lambda key: self.store.keyed_hash("order", person_id, group.id, key))

    def claim(self, person_id: int) -> tuple[Assignment | None, Share]:
        """The group this person works on now: the open one if there is any, else a new one; None when all is done.

        Groups that others began come first, so that groups get finished; among equals each person has an own order.
        """
        now = self.clock()
        with self.store.write() as connection:
            over = (assignment.c.status == "leased") & (assignment.c.leased_until <= now)
            connection.execute(sa.update(assignment).where(over).values(status="expired"))
            taken = self._taken(connection, now)
            mine = sa.select(assignment).where(assignment.c.person == person_id, assignment.c.kind == "normal")
            rows = [row for row in connection.execute(mine.order_by(assignment.c.created)) if row.group in self.groups]
            seen = {row.group for row in rows}
            done = sum(row.status in ("complete", "surplus") for row in rows)
            open_rows = [row for row in rows if row.status == "leased"]
            open_rows += [row for row in rows if row.status == "expired" and taken.get(row.group, 0) < self.places]
            free = [id for id in self.groups if id not in seen and taken.get(id, 0) < self.places]
            share = Share(done, done + len(open_rows) + len(free))

            if open_rows:
                row = open_rows[0]
                values = {"status": "leased", "leased_until": now + self.lease}
                connection.execute(sa.update(assignment).where(assignment.c.id == row.id).values(values))
                return self._load(connection, row.id, person_id), share
            if not free:
                return None, share
            own = int.from_bytes(self.store.keyed_hash("person", person_id)[:8], "big")
            group = self.groups[min(free, key=lambda id: (-taken.get(id, 0), self._rank[id] ^ own))]
            values = {
                "id": secrets.token_urlsafe(18),
                "group": group.id,
                "person": person_id,
                "kind": "normal",
                "order": self.shown_order(person_id, group),
                "created": now,
                "leased_until": now + self.lease,
                "status": "leased",
            }
            connection.execute(sa.insert(assignment).values(values))
            return self._load(connection, str(values["id"]), person_id), share

    def get(self, assignment_id: str, person_id: int) -> Assignment:
        """An assignment of this person. Raises UnknownAssignment for any other."""
        with self.store.read() as connection:
            return self._load(connection, assignment_id, person_id)

    def answer(
        self, person_id: int, assignment_id: str, position: int, label: str | None, *, client_id: str, active_ms: int
    ) -> Assignment:
        """Store one answer (None takes the earlier one back) to the candidate shown at `position` (0, 1, …).

        The same `client_id` again changes nothing, so that an answer can be sent until its receipt is known.
        Raises UnknownAssignment, InvalidInput (position, label) or ClientIdUsed.
        """
        now = self.clock()
        if label is not None and label not in LABELS:
            raise InvalidInput(f"Unknown label '{label}'.")
        with self.store.write() as connection:
            before = self._load(connection, assignment_id, person_id)
            if not 0 <= position < len(before.order):
                raise InvalidInput(f"There is no candidate at position {position}.")
            candidate = before.order[position]
            sent = connection.execute(sa.select(vote).where(vote.c.client_id == client_id)).one_or_none()
            if sent is not None:
                if (sent.assignment, sent.candidate, sent.label) != (assignment_id, candidate, label):
                    raise ClientIdUsed("This client id belongs to a different answer.")
                return before
            values = {
                "client_id": client_id,
                "assignment": assignment_id,
                "candidate": candidate,
                "label": label,
                "active_ms": active_ms,
                "server_time": now,
            }
            connection.execute(sa.insert(vote).values(values))
            finished = all(x is not None for i, x in enumerate(before.answers) if i != position) and label is not None
            # The place of this very assignment is not in the way: only others can fill the group.
            has_place = self._taken(connection, now, before.group, but=assignment_id).get(before.group, 0) < self.places
            status = {
                (True, True): "complete",
                (True, False): "leased",
                (False, True): "surplus",
                (False, False): "expired",
            }[has_place, finished]
            changes = {"status": status, "leased_until": now + self.lease}
            connection.execute(sa.update(assignment).where(assignment.c.id == assignment_id).values(changes))
            return self._load(connection, assignment_id, person_id)

    def _taken(
        self, connection: sa.Connection, now: datetime, group: str | None = None, but: str | None = None
    ) -> dict[str, int]:
        """Places held in each group (or in `group`) by live leases and complete assignments (all `but` one)."""
        c = assignment.c
        holds = (c.status == "complete") | ((c.status == "leased") & (c.leased_until > now))
        query = sa.select(c.group, sa.func.count()).where(c.kind == "normal", holds).group_by(c.group)
        if group is not None:
            query = query.where(c.group == group)
        if but is not None:
            query = query.where(c.id != but)
        return dict(connection.execute(query).all())

    def _load(self, connection: sa.Connection, assignment_id: str, person_id: int) -> Assignment:
        query = sa.select(assignment).where(assignment.c.id == assignment_id, assignment.c.person == person_id)
        row: Any = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownAssignment("There is no such assignment.")
        votes = sa.select(vote.c.candidate, vote.c.label).where(vote.c.assignment == assignment_id).order_by(vote.c.id)
        last = dict(connection.execute(votes).all())
        return Assignment(row.id, row.group, row.order, [last.get(key) for key in row.order], row.status)
