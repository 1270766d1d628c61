"""Who sees what: k votes a group, nobody twice on a group, abandoned work returns, the versions in a blind order.

A lease that ran out gives its place back. Gold items (whose right labels are known) and repeated groups come between
the others and look like them; qualification items come first, with feedback.
"""

from __future__ import annotations

import heapq
import itertools
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from goldeye.annotate.answers import Answers
from goldeye.annotate.schema import assignment, item, open_item, person, special_item
from goldeye.annotate.store import stored_settings
from goldeye.annotate.work import (
    Assignment,
    ClientIdUsed,
    Closed,
    DatasetChanged,
    Feedback,
    GroupPictures,
    Share,
    UnknownAssignment,
)

__all__ = [
    "Assigner",
    "Assignment",
    "ClientIdUsed",
    "Closed",
    "Feedback",
    "GroupPictures",
    "Share",
    "UnknownAssignment",
]

REPEAT_AFTER = 10  # groups between a group and its repetition, so that it is not simply remembered


class Assigner(Answers):
    """Gives out groups, and takes the answers (see Answers for what it is made of)."""

    def shown_order(self, person_id: int, group: GroupPictures, *also: object) -> list[str]:
        """The candidates' keys in this person's blind order: random, but the same each time they are asked for."""
        return sorted(group.candidates, key=lambda key: self.store.keyed_hash("order", person_id, group.id, key, *also))

    def claim(self, person_id: int, after: str | None = None) -> tuple[Assignment | None, Share]:
        """The group this person works on now: the open one if there is any, else a new one; None when all is done.

        `after` is the assignment on the screen: the one to come behind it is given, so that its pictures can be loaded
        early; nobody holds more than these two. Groups that others began come first, so that groups get finished.
        """
        self._return_expired()
        with self.store.write(alone=False) as connection:
            self.settings = stored_settings(connection) or self.settings
            # One claim of a person at a time, also from two windows.
            me = connection.execute(sa.select(person).where(person.c.id == person_id).with_for_update()).one()
            work, reason = None, "paused"
            if me.paused is None:
                practice = self._practice(connection, me, after)
                if practice is not None:
                    return practice
                work, reason = self._claim(connection, me, after)
        with self.store.read() as connection:  # counted here, others need not wait for it
            open_rows = [] if me.paused is not None else self._open_rows(connection, person_id)
            return work, self._share(connection, me, open_rows, reason)

    def _claim(self, connection: sa.Connection, me: Any, after: str | None) -> tuple[Assignment | None, str]:
        """The open group or a new one for somebody who may work, or why there is none."""
        open_rows = self._open_rows(connection, me.id)
        for row in open_rows:
            if row.id == after:  # it is on the screen: its time starts anew
                self._lease(connection, row)
        ahead = [row for row in open_rows if row.id != after]
        if ahead:
            return self._lease(connection, ahead[0]), "done"
        normal, given = self._counts(connection, me.id)
        quota = self._quota(me)
        if quota is not None and normal >= quota:
            return None, "quota"
        id = self._new(connection, me.id, given + 1)
        return (None if id is None else self._load(connection, id, me.id)), "done"

    def again(self, person_id: int, assignment_id: str) -> tuple[Assignment, Share]:
        """An assignment of this person as it stands. Raises UnknownAssignment for any other."""
        with self.store.read() as connection:
            work = self._load(connection, assignment_id, person_id)
            if work.group not in self.groups:
                raise UnknownAssignment("There is no such assignment.")
            me = connection.execute(sa.select(person).where(person.c.id == person_id)).one()
            return work, self._share(connection, me, self._open_rows(connection, person_id))

    def previous(self, person_id: int, before: str | None = None) -> tuple[Assignment | None, Share]:
        """The group given to a person before that one (None: the newest), closed practice left out."""
        c = assignment.c
        query = (
            sa.select(c.id)
            .join(item, item.c.id == c.group)
            .where(c.person == person_id, c.closed.is_(None), item.c.active)
            .order_by(c.number.desc())
            .limit(1)
        )
        with self.store.read() as connection:
            if before is not None:
                self._load(connection, before, person_id)
                query = query.where(c.number < sa.select(c.number).where(c.id == before).scalar_subquery())
            me = connection.execute(sa.select(person).where(person.c.id == person_id)).one()
            share = self._share(connection, me, self._open_rows(connection, person_id))
            found = connection.execute(query).scalar_one_or_none()
            return (None if found is None else self._load(connection, found, person_id)), share

    # Which group -------------------------------------------------------------------------------------------------

    def _new(self, connection: sa.Connection, person_id: int, number: int) -> str | None:
        """Give a person group `number` of theirs: a gold item or a repetition when it is their turn, else a normal.

        None when there is none for them.
        """
        id: str | None = None
        if self._turn(person_id, number, "gold", self.settings.gold_rate):
            id = self._give(connection, person_id, "gold", [self._unseen(person_id, "gold")])
        if id is None and self._turn(person_id, number, "repeat", self.settings.repeat_rate):
            id = self._give(connection, person_id, "repeat", [self._repeatable(person_id)])
        return id or self._give(connection, person_id, "normal", self._open(connection, person_id, number))

    def _turn(self, person_id: int, number: int, kind: str, rate: float) -> bool:
        """Whether a person's group `number` (1, 2, …) is of a kind: one in every round(1 / rate), at random."""
        if rate <= 0:
            return False
        length = max(round(1 / rate), 2)
        block, place = divmod(number - 1, length)
        return place == self._drawn(person_id, kind, block, length)

    def _drawn(self, person_id: int, kind: str, block: int, length: int) -> int:
        """Which of a block's groups it is."""
        return int.from_bytes(self.store.keyed_hash(kind, person_id, block)[:4], "big") % length

    def _unseen(self, person_id: int, kind: str) -> sa.Select[Any]:
        """Items of a kind that a person has not had in any form, in the order of their ranks."""
        had = sa.exists().where(assignment.c.group == item.c.id, assignment.c.person == person_id)
        known = sa.true() if kind == "normal" else special_item  # said for itself, for the index
        return sa.select(item.c.id).where(known, item.c.kind == kind, item.c.active, ~had).order_by(item.c.rank)

    def _open(self, connection: sa.Connection, person_id: int, number: int) -> Iterator[sa.Select[Any]]:
        """Normal groups that want votes and that a person has not had: queries, of which the first with a row counts.

        At random, those with most places taken come first, and of them the next after a rank drawn for this very claim.
        """
        unseen = self._unseen(person_id, "normal").where(open_item)
        if self.settings.order == "disagreement":
            yield unseen.order_by(None).order_by(item.c.disagreement.desc(), item.c.taken.desc(), item.c.rank)
            return
        own = self.store.item_rank(f"person {person_id} {number}")
        if self.settings.order == "own":
            for side in (item.c.rank >= own, item.c.rank < own):
                yield unseen.where(side)
            return
        most = connection.execute(sa.select(sa.func.max(item.c.taken)).where(open_item)).scalar_one()
        for taken in range(-1 if most is None else most, -1, -1):
            for side in (item.c.rank >= own, item.c.rank < own):
                yield unseen.where(item.c.taken == taken, side)

    def _repeatable(self, person_id: int) -> sa.Select[Any]:
        """Groups that a person finished some time ago and has not had again, the oldest first."""
        c, other = assignment.c, assignment.alias()
        last = sa.select(sa.func.max(c.number)).where(c.person == person_id).scalar_subquery()
        again = sa.exists().where(other.c.group == c.group, other.c.person == person_id, other.c.kind == "repeat")
        return (
            sa.select(item.c.id)
            .join(assignment, c.group == item.c.id)
            .where(c.person == person_id, c.kind == "normal", c.status.in_(("complete", "surplus")), item.c.active)
            .where(c.number <= last - REPEAT_AFTER, ~again)
            .order_by(c.number)
        )

    def _give(
        self, connection: sa.Connection, person_id: int, kind: str, queries: Iterable[sa.Select[Any]]
    ) -> str | None:
        """Give the first group of the queries to a person; None when they have none."""
        # A row that another transaction holds is passed over: it is likely to be taken. With nothing else left, it is
        # waited for; the second time for what became free meanwhile.
        tried = list(queries)
        for skip_locked in (True, False, False):
            firsts = (query.limit(1).with_for_update(of=item, skip_locked=skip_locked) for query in tried)
            groups = (connection.execute(query).scalar_one_or_none() for query in firsts)
            group = next((group for group in groups if group is not None), None)
            if group is not None or self.store.is_sqlite:
                break
        if group is None:
            return None
        if group not in self.groups:
            raise DatasetChanged("The dataset has more groups than this server knows: its owner must start it again.")
        if kind == "normal":
            connection.execute(sa.update(item).where(item.c.id == group).values(taken=item.c.taken + 1))
        mine = sa.select(sa.func.coalesce(sa.func.max(assignment.c.number), 0)).where(assignment.c.person == person_id)
        number = connection.execute(mine).scalar_one() + 1
        now = self.clock()
        also = () if kind == "normal" else (kind, number)
        values = {
            "id": secrets.token_urlsafe(18),
            "group": group,
            "person": person_id,
            "kind": kind,
            "order": self.shown_order(person_id, self.groups[group], *also),
            "created": now,
            "leased_until": now + self._length(),
            "status": "leased",
            "number": number,
        }
        connection.execute(sa.insert(assignment).values(values))
        return str(values["id"])

    def _practice(
        self, connection: sa.Connection, me: Any, after: str | None
    ) -> tuple[Assignment | None, Share] | None:
        """The qualification item that a person must do next; None when they may work on the others."""
        if me.qualified == "passed":
            return None
        if me.qualified == "failed":
            return None, Share(0, 0, "unqualified")
        items = sa.select(sa.func.count()).where(special_item, item.c.kind == "qualification", item.c.active)
        total = connection.execute(items).scalar_one()
        if total == 0:
            return None
        c = assignment.c
        current = (c.person == me.id) & (c.kind == "qualification") & c.status.in_(("leased", "complete", "expired"))
        rows = connection.execute(sa.select(assignment).where(current).order_by(c.number)).all()
        waiting = [row for row in rows if row.closed is None and row.group in self.groups]
        done = sum(row.closed is not None for row in rows)
        share = Share(done, total, "practice", (min(done + 1, total), total))
        if after is not None and waiting:
            return None, share  # nothing is loaded ahead: what comes next depends on the result
        if waiting:
            return self._lease(connection, waiting[0]), share
        had = sa.exists().where(c.group == item.c.id, current)
        query = sa.select(item.c.id).where(item.c.kind == "qualification", item.c.active, ~had).order_by(item.c.rank)
        id = self._give(connection, me.id, "qualification", [query])
        if id is not None:
            return self._load(connection, id, me.id), share
        decided = self._decide(connection, me.id)  # here when an item was made a normal group since
        if decided is None:
            return None, share  # another window has the last one
        return None if decided[0] else (None, Share(0, 0, "unqualified"))

    # Leases ------------------------------------------------------------------------------------------------------

    def _open_rows(self, connection: sa.Connection, person_id: int) -> list[Any]:
        """A person's groups that wait for answers, oldest first: on lease, or abandoned and still in want of votes."""
        c = assignment.c
        reopened = (c.status == "expired") & c.skip_reason.is_(None) & ((c.kind != "normal") | open_item)
        waiting = c.status.in_(("leased", "expired"))  # said for itself, because the index has the status
        query = (
            sa.select(assignment)
            .join(item, item.c.id == c.group)
            .where(c.person == person_id, waiting, c.kind != "qualification", item.c.active)
            .where((c.status == "leased") | reopened)
        )
        # Sorted here: with an order SQLite would rather walk through all that the person ever had.
        return sorted(connection.execute(query), key=lambda row: int(row.number))

    def _lease(self, connection: sa.Connection, row: Any) -> Assignment:
        """Give an open assignment (again)."""
        work = self._load(connection, row.id, row.person, lock=True)
        if work.status == "leased" or row.kind != "normal" or self._take_place(connection, row.group):
            values: dict[str, Any] = {"leased_until": self.clock() + self._length()}
            values |= {"status": "leased"} if work.status == "expired" else {}
            connection.execute(sa.update(assignment).where(assignment.c.id == row.id).values(values))
        return self._load(connection, row.id, row.person)

    # Progress ----------------------------------------------------------------------------------------------------

    def _counts(self, connection: sa.Connection, person_id: int) -> tuple[int, int]:
        """How many normal groups a person did or has on lease, and how many groups of all kinds they were given."""
        c = assignment.c
        held = (c.kind == "normal") & c.status.in_(("complete", "surplus", "leased"))
        counts = sa.select(sa.func.count().filter(held), sa.func.count())
        normal, given = connection.execute(counts.where(c.person == person_id, c.kind != "qualification")).one()
        return normal, given

    def _quota(self, me: Any) -> int | None:
        quota: int | None = me.quota if me.quota is not None else self.settings.quota
        return quota

    def _share(self, connection: sa.Connection, me: Any, open_rows: list[Any], reason: str = "done") -> Share:
        c = assignment.c
        done = c.status.in_(("complete", "surplus"))
        counts = sa.select(
            sa.func.count().filter(done, c.kind != "normal"),
            sa.func.count().filter(done, c.kind == "normal"),
            sa.func.count(),
        ).where(c.person == me.id, c.kind != "qualification")
        special, normal, given = connection.execute(counts).one()
        free: int = connection.execute(sa.select(sa.func.count()).select_from(item).where(open_item)).scalar_one()
        seen = sa.select(sa.func.count(sa.distinct(c.group))).join(item, item.c.id == c.group)
        free -= connection.execute(seen.where(c.person == me.id, open_item)).scalar_one()
        opened = sum(row.kind == "normal" for row in open_rows)
        normals = normal + opened + free
        quota = self._quota(me)
        ends = quota is not None and quota <= normals  # else what is left after the last normal group is given, too
        if quota is not None:
            normals = min(normals, max(quota, normal + opened))
        # Gold items and repetitions to come are counted in from the start, else the total would tell which they are.
        to_come = normals - normal - opened
        specials = special + len(open_rows) - opened + self._specials(connection, me.id, given, to_come, ends)
        return Share(normal + special, normals + specials, reason)

    def _specials(self, connection: sa.Connection, person_id: int, given: int, normals: int, ends: bool) -> int:
        """How many gold items and repetitions will come between the next `normals` groups of a person.

        Counted by whose turn it is, as they will be given: as one is handed out, the sum of all does not change.
        """
        left: int = connection.execute(
            sa.select(sa.func.count()).select_from(self._unseen(person_id, "gold").subquery())
        ).scalar_one()
        rates = {"gold": self.settings.gold_rate if left else 0.0, "repeat": self.settings.repeat_rate}
        turns = heapq.merge(*(self._turns(person_id, given + 1, kind, rate) for kind, rate in rates.items() if rate))
        found, end, last = 0, given + normals + (not ends), 0  # `end`: the last number, as far as is known
        for number, kind in turns:
            if number > end or (ends and not normals):
                break
            if number == last or (kind == "gold" and not left) or (kind == "repeat" and number <= REPEAT_AFTER + 1):
                continue
            left -= kind == "gold"
            found, end, last = found + 1, end + 1, number
        return found

    def _turns(self, person_id: int, first: int, kind: str, rate: float) -> Iterator[tuple[int, str]]:
        """(number, kind) of a person's groups from number `first` on that are of a kind, without end."""
        length = max(round(1 / rate), 2)
        for block in itertools.count((first - 1) // length):
            number = block * length + self._drawn(person_id, kind, block, length) + 1
            if number >= first:
                yield number, kind
