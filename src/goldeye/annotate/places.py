"""The groups of an annotation and the places they have: who holds one, and what becomes of it.

Every group has `needed` places. A lease and a complete assignment hold one each, and a place is given only while one is
free, so that never more than `needed` complete normal assignments exist. A lease that ran out gives its place back; a
late answer takes a free place, or is surplus until one becomes free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import sqlalchemy as sa

from goldeye.annotate.schema import assignment, item, vote
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import COMMAND_LINE, Store, keep_settings, stored_settings, utc_now
from goldeye.annotate.tasks import LABEL, Task
from goldeye.annotate.votes import last_rows
from goldeye.annotate.work import GroupPictures
from goldeye.errors import InvalidInput

_CHUNK = 500  # group ids in one statement
# What people said in the votes of a group that count.
_COUNTED = sa.and_(
    assignment.c.group == sa.bindparam("judged"), assignment.c.kind == "normal", assignment.c.status == "complete"
)
_SAID = sa.select(vote.c.assignment, vote.c.candidate, vote.c.label).where(vote.c.id.in_(last_rows(_COUNTED)))


class Places:
    """The groups of an annotation, `groups`, and their places in `store`, as `settings` say.

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
            store.note(COMMAND_LINE, "changed the settings", changes)

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
        self.task.check_expected(group, expected, {id: known.candidates for id, known in self.groups.items()})

    def _take_in(self, connection: sa.Connection, *, votes_changed: bool) -> None:
        """Bring the table of items in line with the groups as they are now, and with what was given out."""
        if not self.store.is_sqlite:  # answers wait, so that no count changes meanwhile
            connection.execute(sa.text("LOCK TABLE item IN EXCLUSIVE MODE"))
        known = {row.id: row for row in connection.execute(sa.select(item))}
        taken: Counter[str] = Counter()
        complete: Counter[str] = Counter()
        c = assignment.c
        holds = c.status.in_(("leased", "complete")) & (c.kind == "normal")
        counts = sa.select(c.group, c.status, sa.func.count()).where(holds).group_by(c.group, c.status)
        for group, status, count in connection.execute(counts):
            taken[group] += count
            complete[group] += count * (status == "complete")
        new = [
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
            for id in self.groups
            if id not in known
        ]
        if new:
            connection.execute(sa.insert(item), new)
        for active in (True, False):
            ids = [id for id, row in known.items() if row.active != active and (id in self.groups) == active]
            for start in range(0, len(ids), _CHUNK):
                chosen = item.c.id.in_(ids[start : start + _CHUNK])
                connection.execute(sa.update(item).where(chosen).values(active=active))
        # An older server that still ran while the store was brought up to date did not count what it gave.
        wrong = [id for id, row in known.items() if (row.taken, row.complete) != (taken[id], complete[id])]
        for id in wrong:
            values = {"taken": taken[id], "complete": complete[id]}
            connection.execute(sa.update(item).where(item.c.id == id).values(values))
        # An item that was made gold before the application first saw it needs 0.
        unset = sa.true() if votes_changed else item.c.needed == 0
        connection.execute(sa.update(item).where(unset).values(needed=self.settings.first_votes))
        if votes_changed or new or wrong:
            for id in connection.execute(sa.select(item.c.id).where(item.c.complete > 1)).scalars().all():
                self._judge(connection, id)
            late = sa.select(c.group).where(c.kind == "normal", c.status == "surplus").distinct().order_by(c.group)
            for id in connection.execute(late).scalars().all():
                self._promote(connection, id)

    def _take_place(self, connection: sa.Connection, group: str) -> bool:
        """Hold one more place of a group, if one is free."""
        free = (item.c.id == group) & (item.c.taken < item.c.needed)
        return connection.execute(sa.update(item).where(free).values(taken=item.c.taken + 1)).rowcount == 1

    def _return_expired(self) -> None:
        """Leases that ran out give their places back."""
        c, now = assignment.c, self.clock()
        over = (c.status == "leased") & (c.leased_until <= now)
        with self.store.read() as connection:
            if connection.execute(sa.select(c.id).where(over).limit(1)).first() is None:
                return
        with self.store.write(alone=False) as connection:
            query = sa.select(c.id, c.group, c.kind).where(over).order_by(c.id).with_for_update(skip_locked=True)
            rows = connection.execute(query).all()
            for row in rows:
                connection.execute(sa.update(assignment).where(c.id == row.id).values(status="expired"))
            # In one order everywhere: transactions that lock several items cannot wait for each other in a circle.
            for group, count in sorted(Counter(row.group for row in rows if row.kind == "normal").items()):
                connection.execute(sa.update(item).where(item.c.id == group).values(taken=item.c.taken - count))
                self._promote(connection, group)

    def _promote(self, connection: sa.Connection, group: str) -> None:
        """Late answers take the places that have become free, the oldest first."""
        c = assignment.c
        late = sa.select(c.id).where(c.group == group, c.kind == "normal", c.status == "surplus")
        late = late.order_by(c.created, c.id).limit(1).with_for_update(skip_locked=True)
        while (id := connection.execute(late).scalar_one_or_none()) and self._take_place(connection, group):
            connection.execute(sa.update(assignment).where(c.id == id).values(status="complete"))
            connection.execute(sa.update(item).where(item.c.id == group).values(complete=item.c.complete + 1))
            self._judge(connection, group)

    def _length(self) -> timedelta:
        return timedelta(minutes=self.settings.lease_minutes)

    def _judge(self, connection: sa.Connection, group: str) -> None:
        """Renew how far the complete votes of a group differ, and with adaptive voting how many it needs."""
        rows = connection.execute(_SAID, {"judged": group})
        said: dict[str, list[str]] = {}  # by candidate the labels, or for a pair the preferred candidates
        voters = set()
        for row in rows:
            if row.label is not None:
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
