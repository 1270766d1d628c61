"""Adaptive votes, gold items, repetitions, quotas, pauses, skips, loading ahead, going back, the qualification."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from world import KEYS, World, some_groups

from goldeye.annotate.answers import Closed
from goldeye.annotate.assign import REPEAT_AFTER, Assigner, Assignment, UnknownAssignment
from goldeye.annotate.figures import Figures, gold_is_too_low
from goldeye.annotate.schema import vote
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.annotate.tasks import PAIR
from goldeye.annotate.work import DatasetChanged
from goldeye.dataset.labels import Label, final_label
from goldeye.errors import InvalidInput

ALL_GOOD = dict.fromkeys(KEYS, "Positive")
P, S, N = "Positive", "Similar", "Negative"


# --- adaptive votes ---------------------------------------------------------------------------------------------------


def test_a_third_vote_is_asked_only_where_two_differ(tmp_path: Path) -> None:
    world = World(tmp_path, groups=2, people=3, votes="adaptive")
    for person in (1, 2):
        for _ in range(2):
            work = world.claim(person)
            labels = ALL_GOOD | ({"03": N} if person == 2 and work.group == "g0" else {})
            world.judge(person, work, labels)
    third = world.claim(3)
    assert third.group == "g0"
    world.judge(3, third, ALL_GOOD)
    assert world.assigner.claim(3)[0] is None
    assert world.store.progress().by_group == {"g0": 3, "g1": 2}


def test_a_change_of_mind_asks_for_the_third_vote_or_no_longer(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=3, votes="adaptive")
    first = world.judge(1, world.claim(1), ALL_GOOD)
    world.judge(2, world.claim(2), ALL_GOOD)
    assert world.assigner.claim(3)[0] is None
    world.label(1, first, [0], N)
    assert world.claim(3).group == "g0"
    world.wait(31)  # abandoned
    world.label(1, first, [0], P)
    assert world.assigner.claim(3)[0] is None


def test_adaptive_votes_have_the_same_majority_with_fewer_votes(tmp_path: Path) -> None:
    """Each person has a fixed opinion of each candidate; finals of 2-or-3 votes are those of all three."""
    chance = random.Random(3)
    opinions = {
        (p, f"g{g}", key): chance.choices([P, S, N], [6, 3, 1])[0]
        for p, g, key in itertools.product((1, 2, 3), range(25), ("01", "02"))
    }
    finals, votes = {}, {}
    for kind in (3, "adaptive"):
        folder = tmp_path / str(kind)
        folder.mkdir()
        world = World(folder, 25, 3, ("01", "02"), kind)
        for person in (1, 2, 3):
            while (work := world.assigner.claim(person)[0]) is not None:
                world.judge(person, work, {key: opinions[person, work.group, key] for key in work.order})
        cast: dict[tuple[str, str], list[Label]] = {}
        for each in world.store.counted_votes():
            cast.setdefault((each.group, each.candidate), []).append(Label(each.label))
        finals[kind] = {key: final_label(labels) for key, labels in cast.items()}
        votes[kind] = sum(map(len, cast.values()))
    assert finals[3] == finals["adaptive"]
    assert votes["adaptive"] < votes[3] == 150


def test_the_order_by_disagreement(tmp_path: Path) -> None:
    world = World(tmp_path, groups=6, people=3, order="disagreement")
    for person in (1, 2):
        while (work := world.assigner.claim(person)[0]) is not None:
            # In group n, n of the four candidates get different labels.
            apart = dict.fromkeys(KEYS[: int(work.group[1:])], N) if person == 2 else {}
            world.judge(person, work, ALL_GOOD | apart)
    order = []
    while (work := world.assigner.claim(3)[0]) is not None:
        order.append(work.group)
        world.judge(3, work, ALL_GOOD)
    assert order[0] in ("g4", "g5")  # all four differ in both
    assert order[2:] == ["g3", "g2", "g1", "g0"]


def test_in_a_study_everybody_has_an_own_order(tmp_path: Path) -> None:
    """Three people in turn, as if at work at once: no two meet the groups in the same order, and all meet all."""
    world = World(tmp_path, groups=24, people=3, votes=3, order="own")
    orders: dict[int, list[str]] = {person: [] for person in (1, 2, 3)}
    for _ in range(24):
        for person, seen in orders.items():
            work = world.claim(person)
            seen.append(work.group)
            world.label(person, work)
    assert all(sorted(seen) == sorted(orders[1]) for seen in orders.values())
    for one, other in itertools.combinations(orders.values(), 2):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 15  # 24 when begun groups came first


def test_settings_stay_and_changing_the_votes_changes_what_is_needed(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=3, votes=1, quota=5)
    world.judge(1, world.claim(1), ALL_GOOD)
    assert world.assigner.claim(2)[0] is None
    again = Assigner(Store(world.place), some_groups(1), clock=lambda: world.now)
    assert (again.settings.votes, again.settings.quota) == (1, 5)
    more = Assigner(Store(world.place), some_groups(1), AnnotationSettings(votes=2), clock=lambda: world.now)
    work, _ = more.claim(2)
    assert work is not None
    assert world.claim(2).id == work.id  # another server on the store goes by the new settings at once
    assert any("votes 1 → 2" in entry.detail for entry in world.store.log())


# --- gold items and repetitions ---------------------------------------------------------------------------------------


def test_gold_items_come_at_their_rate_and_count_for_nobody(tmp_path: Path) -> None:
    gold = {f"g{n}": ("gold", {"01": P, "02": N}) for n in range(6)}
    world = World(tmp_path, groups=60, people=1, votes=1, gold=gold, gold_rate=0.1)
    kinds, totals = [], []
    while True:
        work, share = world.assigner.claim(1)
        if work is None:
            break
        kinds.append(work.kind)
        totals.append(share.total)
        assert share.done == len(kinds) - 1
        world.judge(1, work, ALL_GOOD)
    assert Counter(kinds) == {"normal": 54, "gold": 6}
    for block in range(0, 60, 10):
        assert kinds[block : block + 10].count("gold") == 1
    assert max(totals) - min(totals) <= 2  # the total does not tell where they are
    assert {each.group for each in world.store.counted_votes()} == {f"g{n}" for n in range(6, 60)}
    answers = world.store.gold_answers()
    assert len(answers) == 12
    assert sum(a.given == a.expected for a in answers) == 6


def test_a_gold_item_gets_no_normal_votes_until_it_is_released(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=1, gold={"g0": ("gold", {"01": P})}, gold_rate=0)
    assert world.assigner.claim(1)[0] is None
    world.store.set_gold("g0", None)
    assert world.claim(1).kind == "normal"


def test_gold_items_must_fit_the_groups(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    for expected, sentence in [({"09": P}, "Unknown candidate of group 'g0' '09'"), ({"01": "Good"}, "Unknown label")]:
        store.set_gold("g0", "gold", expected)
        with pytest.raises(InvalidInput, match=sentence):
            Assigner(store, some_groups(1))
    with pytest.raises(InvalidInput, match="needs an expected label"):
        store.set_gold("g0", "gold", {})
    with pytest.raises(InvalidInput, match="Unknown kind of item 'golden'"):
        store.set_gold("g0", "golden", {"01": P})


def test_groups_come_again_in_another_order_and_not_too_soon(tmp_path: Path) -> None:
    world = World(tmp_path, groups=40, people=1, votes=1, repeat_rate=0.2)
    given: list[Assignment] = []
    while (work := world.assigner.claim(1)[0]) is not None:
        given.append(work)
        changed = {"04": N} if work.kind == "repeat" else {}
        world.judge(1, work, ALL_GOOD | changed)
    first = {work.group: n for n, work in enumerate(given) if work.kind == "normal"}
    repeats = [(n, work) for n, work in enumerate(given) if work.kind == "repeat"]
    assert len(first) == 40
    assert 6 <= len(repeats) <= 10
    assert all(n - first[work.group] >= REPEAT_AFTER for n, work in repeats)
    assert len({work.group for _, work in repeats}) == len(repeats)
    assert any(work.order != given[first[work.group]].order for _, work in repeats)
    answers = world.store.repeat_answers()
    assert len(answers) == 4 * len(repeats)
    assert sum(a.first != a.again for a in answers) == len(repeats)
    assert len(world.store.counted_votes()) == 160  # once each


def simulate_gold(right: float, groups: int, rng: random.Random) -> int | None:
    """After how many gold groups of four versions somebody with that share of right labels is flagged."""
    settings = AnnotationSettings()
    good = 0
    for group in range(1, groups + 1):
        good += sum(rng.random() < right for _ in range(4))
        if gold_is_too_low(good, 4 * group, settings):
            return group
    return None


def test_a_careless_person_is_flagged_and_a_careful_one_is_not() -> None:
    """What gold_is_too_low states: within five groups, 99 %; by chance, within fifty groups, under 1 %."""
    rng = random.Random(0)
    careless = [simulate_gold(1 / 3, 5, rng) for _ in range(3000)]
    assert sum(found is not None for found in careless) >= 0.985 * 3000
    careful = [simulate_gold(0.92, 50, rng) for _ in range(1000)]
    assert sum(found is not None for found in careful) < 0.01 * 1000


def test_flags_name_who_stands_out_and_nobody_else(tmp_path: Path) -> None:
    gold = {f"g{n}": ("gold", dict.fromkeys(KEYS, N)) for n in range(6)}
    world = World(tmp_path, groups=36, people=4, votes=4, gold=gold, gold_rate=0.2)
    chance = random.Random(5)
    truth = {f"g{n}": {key: chance.choice([P, P, S, N]) for key in KEYS} for n in range(6, 36)}
    for person in (1, 2, 3, 4):
        while (work := world.assigner.claim(person)[0]) is not None:
            right = dict.fromkeys(KEYS, N) if work.kind == "gold" else truth[work.group]
            # p4 gives everything the same label, and others are wrong one time in twenty.
            labels = {key: P if person == 4 else (S if chance.random() < 0.05 else right[key]) for key in KEYS}
            for position, key in enumerate(work.order):
                client = f"client-{next(world.ids):06}"
                ms = 400 if person == 4 else 5000
                world.assigner.answer(person, work.id, position, labels[key], client_id=client, active_ms=ms)
    flags = {row["name"]: row["flags"] for row in Figures(world.store).overview(world.settings)["people"]}
    assert [flags[name] for name in ("p1", "p2", "p3")] == [[], [], []]
    said = " ".join(flags["p4"])
    assert "Gold items: 0 of" in said
    assert "Pace: 1.6 s a group" in said
    assert "of the labels are Positive" in said


# --- quotas, pauses, skips --------------------------------------------------------------------------------------------


def test_quotas_of_everybody_and_of_one(tmp_path: Path) -> None:
    world = World(tmp_path, groups=9, people=2, quota=3)
    world.store.set_quota("p2", 5)
    for person, most in [(1, 3), (2, 5)]:
        for n in range(most):
            work, share = world.assigner.claim(person)
            assert work is not None
            assert (share.done, share.total) == (n, most)
            world.label(person, work)
        work, share = world.assigner.claim(person)
        assert work is None
        assert (share.reason, share.done, share.total) == ("quota", most, most)
    with pytest.raises(InvalidInput, match="at least 1 group"):
        world.store.set_quota("p1", 0)


def test_a_paused_person_gets_nothing_new_but_may_finish(tmp_path: Path) -> None:
    world = World(tmp_path, groups=3, people=1)
    work = world.claim(1)
    world.store.pause("p1")
    assert world.assigner.claim(1)[0] is None
    assert world.assigner.claim(1)[1].reason == "paused"
    assert world.label(1, work).status == "complete"
    world.store.pause("p1", False)
    assert world.claim(1).group != work.group


def test_a_skipped_group_goes_to_others_and_answering_it_lifts_the_skip(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2, votes=1)
    work = world.label(1, world.claim(1), [0, 1])
    skipped = world.skip(1, work, "a face I know")
    assert (skipped.status, skipped.skipped) == ("expired", True)
    assert world.assigner.claim(1)[0] is None  # not to the same person
    other = world.claim(2)
    world.label(1, work, [2])
    assert world.label(1, work, [3]).status == "surplus"  # the place went to the other
    assert world.label(2, other).status == "complete"
    given = {row.person: row for row in world.store.assignments()}
    assert given["p1"].skip_reason is None
    with world.store.read() as connection:
        assert "Skipped" in connection.execute(sa.select(vote.c.label)).scalars().all()
    assert {each.person for each in world.store.counted_votes()} == {"p2"}


def test_a_skip_sent_twice_is_one_and_needs_a_reason(tmp_path: Path) -> None:
    world = World(tmp_path, groups=2, people=1)
    work = world.claim(1)
    for _ in range(2):
        world.assigner.skip(1, work.id, "unpleasant", client_id="client-skip", active_ms=5)
    assert world.store.progress().answers == 1
    for reason in ("", "   ", "x" * 201):
        with pytest.raises(InvalidInput, match="1 to 200"):
            world.assigner.skip(1, work.id, reason, client_id="client-other", active_ms=5)
    assert world.claim(1).group != work.group


def test_taking_an_answer_back_does_not_lift_a_skip(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=1)
    work = world.skip(1, world.label(1, world.claim(1)))
    assert world.label(1, work, [0], None).skipped
    assert world.label(1, work, [0], P).status == "complete"


# --- loading ahead, going back ----------------------------------------------------------------------------------------


def test_one_group_is_loaded_ahead_and_no_more(tmp_path: Path) -> None:
    world = World(tmp_path, groups=9, people=1)
    first = world.claim(1)
    second = world.claim(1, first.id)
    assert second.group != first.group
    assert world.claim(1, first.id).id == second.id
    assert world.claim(1, second.id).id == first.id  # two are held, and not a third
    assert world.claim(1).id == first.id
    world.label(1, first)
    assert world.claim(1).id == second.id
    third = world.claim(1, second.id)
    assert third.id not in (first.id, second.id)
    assert world.claim(1, "nonsense").id == second.id


def test_what_is_on_the_screen_is_not_taken_away_while_the_next_is_loaded(tmp_path: Path) -> None:
    world = World(tmp_path, groups=2, people=2, votes=1)
    first = world.claim(1)
    second = world.claim(1, first.id)
    world.wait(29)
    world.label(1, first)
    assert world.claim(1).id == second.id
    world.wait(29)
    assert world.assigner.claim(1, second.id)[0] is None
    world.wait(29)
    assert world.assigner.claim(2)[0] is None  # both are held


def test_going_back_and_changing_keeps_the_history(tmp_path: Path) -> None:
    world = World(tmp_path, groups=5, people=2)
    works = [world.label(1, world.claim(1)) for _ in range(3)]
    back, _ = world.assigner.previous(1)
    assert back is not None
    assert back.id == works[2].id
    earlier, share = world.assigner.previous(1, works[1].id)
    assert earlier is not None
    assert (earlier.id, share.done) == (works[0].id, 3)
    assert world.assigner.previous(1, works[0].id)[0] is None
    assert world.label(1, earlier, [2], N).status == "complete"
    votes = {each.candidate: each.label for each in world.store.counted_votes() if each.group == earlier.group}
    assert votes[earlier.order[2]] == N
    assert world.store.progress().answers == 13
    with pytest.raises(UnknownAssignment):
        world.assigner.previous(2, works[0].id)


# --- the qualification ------------------------------------------------------------------------------------------------

PRACTICE = {
    "g0": ("qualification", {"01": P, "02": N}),
    "g1": ("qualification", {"01": S, "02": S, "03": P, "04": P}),
}
RIGHT = {"g0": ALL_GOOD | {"02": N}, "g1": {"01": S, "02": S, "03": P, "04": P}}


def test_who_passes_the_qualification_gets_work(tmp_path: Path) -> None:
    world = World(tmp_path, groups=5, people=1, gold=PRACTICE)
    for number in (1, 2):
        work, share = world.assigner.claim(1)
        assert work is not None
        assert work.kind == "qualification"
        assert share.practice == (number, 2)
        ahead, waits = world.assigner.claim(1, work.id)
        assert (ahead, waits.reason) == (None, "practice")
        with pytest.raises(Closed, match="answered practice"):
            world.assigner.feedback(1, work.id)
        labels = RIGHT[work.group] | ({"01": N} if work.group == "g1" else {})
        world.judge(1, work, labels)
        found = world.assigner.feedback(1, work.id)
        assert found == world.assigner.feedback(1, work.id)  # asked again
        assert found.expected == [PRACTICE[work.group][1].get(key) for key in work.order]
        assert (found.right, found.total) == ((3, 4) if work.group == "g1" else (2, 2))
        with pytest.raises(Closed, match="cannot be changed"):
            world.label(1, work, [0])
    assert (found.passed, found.right_in_all, found.total_in_all) == (True, 5, 6)
    assert world.claim(1).kind == "normal"
    assert world.store.people()[0].qualified == "passed"
    assert world.store.counted_votes() == []
    assert world.assigner.previous(1, world.claim(1).id)[0] is None  # practice does not come back


def test_who_fails_the_qualification_gets_no_group_until_let_in(tmp_path: Path) -> None:
    world = World(tmp_path, groups=5, people=2, gold=PRACTICE)

    def fail() -> None:
        for _ in range(2):
            work = world.claim(1)
            assert work.kind == "qualification"
            with pytest.raises(Closed, match="cannot be skipped"):
                world.skip(1, work)
            world.judge(1, work, dict.fromkeys(KEYS, N))
            result = world.assigner.feedback(1, work.id)
        assert (result.passed, result.right_in_all) == (False, 1)
        work, share = world.assigner.claim(1)
        assert (work, share.reason) == (None, "unqualified")

    fail()
    world.store.qualify("p1", passed=False)  # once more
    fail()
    world.store.qualify("p1", passed=True)
    assert world.claim(1).kind == "normal"
    world.store.qualify("p2", passed=True)
    assert world.claim(2).kind == "normal"


def test_an_item_made_normal_after_all_others_decides_the_qualification(tmp_path: Path) -> None:
    world = World(tmp_path, groups=5, people=1, gold=PRACTICE)
    work = world.claim(1)
    world.judge(1, work, RIGHT[work.group])
    assert world.assigner.feedback(1, work.id).passed is None
    world.store.set_gold("g1" if work.group == "g0" else "g0", None)
    assert world.claim(1).kind == "normal"
    assert world.store.people()[0].qualified == "passed"


# --- places that become free, and servers that know less --------------------------------------------------------------


def test_a_late_answer_takes_the_place_that_becomes_free(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=3, votes=1)
    late = world.claim(1)
    world.wait(31)
    other = world.claim(2)
    assert world.label(1, late).status == "surplus"
    world.wait(31)  # the other gives up
    assert world.assigner.claim(3)[0] is None
    assert {each.person for each in world.store.counted_votes()} == {"p1"}
    assert world.label(2, other).status == "surplus"
    more = AnnotationSettings(votes=2)
    Assigner(Store(world.place), some_groups(1), more, clock=lambda: world.now)
    assert {each.person for each in world.store.counted_votes()} == {"p1", "p2"}


def test_a_skip_frees_the_place_for_a_late_answer(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=2, votes=1)
    late = world.claim(1)
    world.wait(31)
    other = world.claim(2)
    assert world.label(1, late).status == "surplus"
    world.skip(2, other)
    assert {each.person for each in world.store.counted_votes()} == {"p1"}


def test_counts_that_are_wrong_are_made_right_at_the_next_start(tmp_path: Path) -> None:
    world = World(tmp_path, groups=2, people=2)
    world.label(1, world.claim(1))
    with world.store.write() as connection:
        connection.execute(sa.text("UPDATE item SET taken = 0, complete = 0"))
    Assigner(Store(world.place), some_groups(2), clock=lambda: world.now)
    with world.store.read() as connection:
        assert sorted(connection.execute(sa.text("SELECT taken, complete FROM item"))) == [(0, 0), (1, 1)]


def label_all(world: World, person: int) -> None:
    while (work := world.assigner.claim(person)[0]) is not None:
        world.label(person, work)


def test_a_server_that_does_not_know_a_group_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, groups=1, people=1)
    Assigner(Store(world.place), some_groups(3), clock=lambda: world.now)
    with pytest.raises(DatasetChanged, match="start it again"):
        label_all(world, 1)


def test_of_a_pair_one_is_expected(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.set_gold("g0", "gold", dict.fromkeys(KEYS[:2], "Preferred"))
    with pytest.raises(InvalidInput, match="would expect both"):
        Assigner(store, some_groups(1, KEYS[:2]), task=PAIR)
