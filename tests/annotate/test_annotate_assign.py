"""Who sees what: places, leases, orders, and the races for them."""

from __future__ import annotations

import itertools
import random
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import KEYS, World, assert_never_more_than, some_groups

from goldeye.annotate.assign import Assigner, Assignment, ClientIdUsed, GroupPictures, UnknownAssignment
from goldeye.annotate.schema import assignment, item
from goldeye.annotate.store import Store
from goldeye.errors import InvalidInput


def test_k_people_a_group_and_nobody_twice(tmp_path: Path) -> None:
    world = World(tmp_path, groups=5, people=5)
    seen: dict[int, list[str]] = {}
    for person in range(1, 6):
        seen[person] = []
        while (work := world.assigner.claim(person)[0]) is not None:
            seen[person].append(work.group)
            assert world.label(person, work).status == "complete"
        assert len(set(seen[person])) == len(seen[person])
    assert Counter(itertools.chain(*seen.values())) == {f"g{n}": 3 for n in range(5)}
    assert Counter((v.group, v.candidate) for v in world.store.counted_votes()) == {
        (f"g{n}", key): 3 for n in range(5) for key in KEYS
    }
    assert seen[4] == seen[5] == []  # three votes a group were enough


def test_begun_groups_are_finished_first(tmp_path: Path) -> None:
    world = World(tmp_path, groups=40, people=2)
    first, second = ({world.label(p, world.claim(p)).group for _ in range(10)} for p in (1, 2))
    assert first == second


def test_people_meet_the_groups_in_different_orders(tmp_path: Path) -> None:
    world = World(tmp_path, groups=40, people=2)
    world.store.close()
    shutil.copy(tmp_path / "a.sqlite", tmp_path / "b.sqlite")  # the same secret, and nobody else's work
    orders = []
    for person, name in [(1, "a"), (2, "b")]:
        world.assigner = Assigner(Store(tmp_path / f"{name}.sqlite"), some_groups(40))
        orders.append([world.label(person, world.claim(person)).group for _ in range(40)])
    assert sorted(orders[0]) == sorted(orders[1])
    assert sum(a == b for a, b in zip(*orders, strict=True)) < 10


def test_open_work_is_given_again(tmp_path: Path) -> None:
    world = World(tmp_path, groups=3, people=1)
    work = world.claim(1)
    world.label(1, work, [2])
    again = world.claim(1)
    assert (again.id, again.order) == (work.id, work.order)
    assert again.answers == [None, None, "Similar", None]


def test_order_is_a_stable_permutation_that_differs_between_people_and_groups(tmp_path: Path) -> None:
    world = World(tmp_path, groups=60, people=0)
    groups = list(world.assigner.groups.values())
    orders = {(p, g.id): tuple(world.assigner.shown_order(p, g)) for p in range(1, 11) for g in groups}
    assert all(sorted(order) == list(KEYS) for order in orders.values())
    again = Assigner(Store(tmp_path / "a.sqlite"), groups)
    assert all(tuple(again.shown_order(p, again.groups[g])) == order for (p, g), order in orders.items())
    # Each candidate is in each position about equally often: 600 orders, 150 expected, 10.6 standard deviation.
    for position, key in itertools.product(range(4), KEYS):
        assert 95 < sum(order[position] == key for order in orders.values()) < 205
    assert len({orders[1, g.id] for g in groups}) > 12
    assert len({orders[p, "g0"] for p in range(1, 11)}) > 3


def test_an_abandoned_group_returns_and_a_vote_renews_the_lease(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2, votes=1)
    work = world.claim(1)
    assert world.assigner.claim(2)[0] is None
    world.wait(29)
    world.label(1, work, [0])
    world.wait(29)
    assert world.assigner.claim(2)[0] is None
    world.wait(2)
    assert world.claim(2).group == work.group


def test_a_late_answer_is_complete_while_there_is_room(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2, votes=1)
    work = world.claim(1)
    world.wait(31)
    assert world.label(1, work).status == "complete"
    assert world.assigner.claim(2)[0] is None


def test_a_late_answer_is_surplus_when_the_place_is_taken(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2, votes=1)
    late = world.claim(1)
    world.label(1, late, [0, 1])
    world.wait(31)
    other = world.claim(2)
    assert world.label(1, late, [2]).status == "expired"
    assert world.label(1, late, [3]).status == "surplus"
    assert world.label(2, other).status == "complete"
    assert {vote.person for vote in world.store.counted_votes()} == {"p2"}
    assert world.store.progress().answers == 8  # kept, not counted
    work, share = world.assigner.claim(1)
    assert work is None  # and the group does not come back to the same person
    assert (share.done, share.total) == (1, 1)


def test_an_expired_group_comes_back_to_its_person(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=1)
    work = world.label(1, world.claim(1), [1])
    world.wait(31)
    again = world.claim(1)
    assert (again.id, again.status, again.answers) == (work.id, "leased", [None, "Similar", None, None])


def test_taking_an_answer_back_opens_the_group(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=1)
    work = world.label(1, world.claim(1))
    opened = world.assigner.answer(1, work.id, 1, None, client_id="client-undo", active_ms=0)
    assert (opened.status, opened.answers[1]) == ("leased", None)
    assert world.claim(1).id == work.id
    assert world.label(1, work, [1]).status == "complete"


def test_sending_again_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2)
    work = world.claim(1)
    send = world.assigner.answer
    for _ in range(3):
        assert send(1, work.id, 0, "Positive", client_id="client-1", active_ms=5).answers[0] == "Positive"
    send(1, work.id, 0, "Negative", client_id="client-2", active_ms=5)
    assert send(1, work.id, 0, "Positive", client_id="client-1", active_ms=5).answers[0] == "Negative"
    assert world.store.progress().answers == 2
    with pytest.raises(ClientIdUsed):
        send(1, work.id, 1, "Positive", client_id="client-1", active_ms=5)
    other = world.claim(2)
    with pytest.raises(ClientIdUsed):
        send(2, other.id, 0, "Positive", client_id="client-1", active_ms=5)


def test_answers_that_cannot_be(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2)
    work = world.claim(1)
    for person, id in [(2, work.id), (1, "nope"), (1, "../../etc/passwd"), (1, "' OR 1=1 --")]:
        with pytest.raises(UnknownAssignment):
            world.assigner.answer(person, id, 0, "Positive", client_id="client-1", active_ms=5)
    for position, label in [(4, "Positive"), (-1, "Positive"), (0, "positive")]:
        with pytest.raises(InvalidInput):
            world.assigner.answer(1, work.id, position, label, client_id="client-1", active_ms=5)
    assert world.store.progress().answers == 0


def test_share_counts_what_is_left_for_a_person(tmp_path: Path) -> None:
    world = World(tmp_path, groups=4, people=3, votes=2)
    assert [(s.done, s.total) for s in [world.assigner.claim(1)[1]]] == [(0, 4)]
    for person in (1, 2):
        world.label(person, world.claim(person))
    share = world.assigner.claim(1)[1]
    assert (share.done, share.total) == (1, 4)
    assert world.assigner.claim(3)[1].total == 3  # one group has its two votes


def test_groups_that_cannot_be_annotated(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.invite("p1")
    good = some_groups(1)
    for groups, sentence in [
        ([], "no group"),
        (good + good, "Two groups have the id 'g0'"),
        ([GroupPictures("g", Path("o.png"), {})], "'g' has no candidate"),
    ]:
        with pytest.raises(InvalidInput, match=sentence):
            Assigner(store, groups)
    Assigner(store, good).claim(1)
    with pytest.raises(
        InvalidInput, match=r"'g0' was annotated with the candidates 01, 02, 03, 04, but now has 01, 02"
    ):
        Assigner(store, some_groups(1, ("01", "02")))


def test_open_work_on_a_group_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    world = World(tmp_path, groups=2, people=1)
    gone = world.claim(1).group
    rest = [group for group in some_groups(2) if group.id != gone]
    work, share = Assigner(world.store, rest).claim(1)
    assert work is not None
    assert (work.group, share.total) == (rest[0].id, 1)


@given(st.lists(st.tuples(st.sampled_from("clwlL"), st.integers(1, 5), st.integers(0, 7)), max_size=60))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_never_more_than_k_whatever_the_history(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, int]]
) -> None:
    """Claims, answers, undos, waits and late answers in any order."""
    world = World(tmp_path_factory.mktemp("w"), groups=2, people=5, keys=("01", "02"), votes=2)
    held: dict[int, list[Assignment]] = {}
    for kind, person, number in events:
        mine = held.setdefault(person, [])
        if kind == "c":
            work, _ = world.assigner.claim(person)
            if work is not None and work.id not in {old.id for old in mine}:
                mine.append(work)
        elif kind == "w":
            world.wait(number * 6)
        elif mine:
            work = mine[number % len(mine)]
            label = None if kind == "L" and number > 3 else "Positive"
            client = f"client-{next(world.ids):06}"
            world.assigner.answer(person, work.id, number % 2, label, client_id=client, active_ms=1)
        assert_never_more_than(world, 2)
    world.store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a store can be, on both databases."""
    found: Path | str = tmp_path if request.param == "sqlite" else request.getfixturevalue("postgresql_database")
    return found


@pytest.mark.parametrize("votes", [3, "adaptive"])
def test_never_more_than_k_in_a_race(place: Path | str, votes: int | str) -> None:
    """12 people at once on 6 groups, each a thread with its own store as if a process, with leases that run out."""
    world = World(place, groups=6, people=12, votes=votes)
    failures: list[BaseException] = []

    def work(person: int) -> None:
        chance = random.Random(person)
        store = Store(world.place)
        # This person's clock runs up to two leases ahead: their view of others' leases is that they ran out.
        ahead = timedelta(minutes=chance.choice([0, 0, 40]))
        assigner = Assigner(store, some_groups(6), clock=lambda: world.now + ahead)
        after = None
        try:
            for turn in range(30):
                given, _ = assigner.claim(person, after)
                if given is None:
                    break
                after = chance.choice([None, given.id])  # sometimes the next one is loaded early
                for position in range(4):
                    if chance.random() < 0.9:
                        client = f"client-{person}-{turn}-{position}"
                        label = chance.choice(["Positive", "Negative"])
                        for _ in range(chance.choice([1, 1, 2])):  # sometimes sent twice
                            assigner.answer(person, given.id, position, label, client_id=client, active_ms=1)
                if chance.random() < 0.1:
                    assigner.skip(person, given.id, "why not", client_id=f"client-{person}-{turn}-s", active_ms=1)
        except BaseException as error:
            failures.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=work, args=(person,)) for person in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_never_more_than(world, 3)
    assert sum(world.store.progress().by_group.values()) >= 10  # it did something
    assert_counts_fit(world)
    world.store.close()


def assert_counts_fit(world: World) -> None:
    """What the table of items counts is what the assignments say."""
    with world.store.read() as connection:
        holds = assignment.c.status.in_(("leased", "complete")) & (assignment.c.kind == "normal")
        rows = connection.execute(sa.select(assignment.c.group, assignment.c.status).where(holds)).all()
        items = {row.id: row for row in connection.execute(sa.select(item))}
    for group, row in items.items():
        statuses = [status for name, status in rows if name == group]
        assert (row.taken, row.complete) == (len(statuses), statuses.count("complete"))
        assert row.taken <= 3


@pytest.mark.parametrize("votes", [1, "adaptive"])
def test_claims_in_a_race_share_the_groups_out(place: Path | str, votes: int | str) -> None:
    """At one moment eight people ask; with one place a group nobody gets the same, and nobody nothing."""
    world = World(place, groups=8, people=8, votes=votes)
    gate = threading.Barrier(8)

    def ask(person: int) -> str | None:
        gate.wait()
        for _ in range(8):  # a row that another transaction holds is passed over, and may come free
            work, _ = world.assigner.claim(person)
            if work is not None:
                return work.group
        return None

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(ask, range(1, 9)))
    assert None not in given
    assert max(Counter(given).values()) <= (1 if votes == 1 else 2)
    world.store.close()


def test_a_group_that_is_only_locked_is_waited_for(postgresql_database: str) -> None:
    """On PostgreSQL, an answer that holds the last open group's row at this moment does not make anybody "done"."""
    world = World(postgresql_database, groups=1, people=2)
    with ThreadPoolExecutor(1) as pool:
        with world.store.write(alone=False) as connection:
            connection.execute(sa.update(item).values(disagreement=0.5))
            claimed = pool.submit(world.assigner.claim, 2)
            with pytest.raises(TimeoutError):
                claimed.result(timeout=0.5)
        work, _ = claimed.result(timeout=10)
    assert work is not None
    world.store.close()
