"""A store with people, and a clock that only the test moves."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from goldeye.annotate.assign import Assigner, Assignment, GroupPictures
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store

KEYS = ("01", "02", "03", "04")


def some_groups(count: int, keys: tuple[str, ...] = KEYS) -> list[GroupPictures]:
    return [GroupPictures(f"g{n}", Path("o.png"), {key: Path(f"{key}.png") for key in keys}) for n in range(count)]


class World:
    """People p1, p2, … and groups g0, g1, … in the store `place` (a folder gets a SQLite file)."""

    def __init__(
        self,
        place: Path | str,
        groups: int,
        people: int,
        keys: tuple[str, ...] = KEYS,
        votes: int | str = 3,
        gold: Mapping[str, tuple[str, Mapping[str, str]]] | None = None,
        **settings: Any,
    ) -> None:
        self.place = place / "a.sqlite" if isinstance(place, Path) else place
        self.store = Store(self.place)
        for n in range(people):
            self.store.invite(f"p{n + 1}")
        for group, (kind, expected) in (gold or {}).items():
            self.store.set_gold(group, kind, expected)
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.settings = AnnotationSettings(votes=votes, **settings)
        self.assigner = Assigner(self.store, some_groups(groups, keys), self.settings, clock=lambda: self.now)
        self.ids = itertools.count()

    def claim(self, person: int, after: str | None = None) -> Assignment:
        work, _ = self.assigner.claim(person, after)
        assert work is not None
        return work

    def label(
        self, person: int, work: Assignment, positions: list[int] | None = None, label: str | None = "Similar"
    ) -> Assignment:
        for position in range(len(work.order)) if positions is None else positions:
            client = f"client-{next(self.ids):06}"
            work = self.assigner.answer(person, work.id, position, label, client_id=client, active_ms=10)
        return work

    def judge(self, person: int, work: Assignment, labels: Mapping[str, str]) -> Assignment:
        """Label by the candidates' keys."""
        for position, key in enumerate(work.order):
            work = self.label(person, work, [position], labels[key])
        return work

    def skip(self, person: int, work: Assignment, reason: str = "cannot decide") -> Assignment:
        client = f"client-{next(self.ids):06}"
        return self.assigner.skip(person, work.id, reason, client_id=client, active_ms=10)

    def wait(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)


def assert_never_more_than(world: World, votes: int) -> None:
    counts = Counter((vote.group, vote.candidate) for vote in world.store.counted_votes())
    assert all(count <= votes for count in counts.values()), counts
    assert all(count <= votes for count in world.store.progress().by_group.values())
