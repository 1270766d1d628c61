"""Votes to final labels, against the official classes' answers and the rules as properties."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.cli import run
from goldeye.config import DataConfig
from goldeye.dataset.groups import Dataset, DatasetSettings, Group
from goldeye.dataset.labels import (
    Label,
    Vote,
    VoteTable,
    final_label,
    finals,
    label_stats,
    pseudonyms,
    read_official,
    read_votes,
    usable_groups,
)
from goldeye.dataset.multi_gt import MultiGTDataset, labelled_groups
from goldeye.errors import InvalidInput
from goldeye.images import write_image
from stored_votes import store_votes

P, S, N = Label.POSITIVE, Label.SIMILAR, Label.NEGATIVE
labels_of_many = st.lists(st.sampled_from(list(Label)), min_size=1, max_size=9)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two groups, x and y, with two candidates each."""
    picture = np.zeros((4, 4, 3), np.uint8)
    for name in ("x", "y"):
        for folder, file in (("original", name), ("01", f"{name}_01"), ("02", f"{name}_02")):
            write_image(tmp_path / "images" / "0-2" / folder / f"{file}.png", picture)
    return Dataset.open(tmp_path)


def write_official(
    dataset: Dataset, slot: str, name: str, labels: dict[str, Any], total: float | None = 20, range_: str = "0-2"
) -> Path:
    """A label file as released."""
    content: dict[str, Any] = {"Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None}}
    for number, (candidate, label) in enumerate(labels.items(), start=2):
        content[f"Picture_{number}"] = {"Name": f"{name}_{candidate}.png", "File": candidate, "Label": label}
    if total is not None:
        content["Time_cost"] = {"Start": "2022-08-05 16:11:00", "End": "2022-08-05 16:11:20", "Total": total}
    path = dataset.path / "labels" / range_ / slot / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_golden_labels(golden: Path) -> None:
    expected = json.loads((golden / "hggt_mini" / "expected_labels.json").read_text())
    dataset = Dataset.open(golden / "hggt_mini")
    votes = read_votes(dataset)
    computed = finals(dataset)
    assert list(computed) == expected["group_names"]
    for name, group in expected["groups"].items():
        assert [final.label for final in computed[name].values()] == group["final"]
        assert [final.agreeing for final in computed[name].values()] == group["label_num"][1:]
        for voter, raw in group["raw"].items():
            assert [v.label for v in votes.votes if (v.group, v.voter) == (name, voter)] == raw
    usable = usable_groups(computed)
    assert usable["positive"] == expected["usable_groups"]["positive_only_dataset"]
    assert usable["positive_negative"] == expected["usable_groups"]["pos_neg_dataset"]


def test_golden_statistics(golden: Path) -> None:
    expected = json.loads((golden / "hggt_mini" / "expected_labels.json").read_text())
    stats = label_stats(Dataset.open(golden / "hggt_mini"))
    files = list((golden / "hggt_mini").glob("Train/labels/0-12/*/*.json"))
    times = [json.loads(path.read_text())["Time_cost"]["Total"] for path in files]
    totals = {label: sum(row[label] for row in expected["annotation_counts_per_enhancer"].values()) for label in Label}
    assert stats == {
        "groups": 12,
        "labelled_groups": 12,
        "min_votes": 1,
        "annotators": 3,
        "annotators_are": "slots",
        "source": "labels",
        "annotations": expected["annotation_counts_per_enhancer"] | {"total": totals},
        "final": expected["final_counts_per_enhancer"] | {"total": expected["final_totals"]},
        "positives_per_group": list(expected["groups_by_positive_count"].values()),
        "usable_groups": {"positive": 7, "positive_negative": 9},
        "seconds_per_group": {"mean": pytest.approx(expected["mean_time_cost"]), "median": np.median(times)},
        "per_annotator": {
            voter: {"groups": 12}
            | {label: sum(group["raw"][voter].count(label) for group in expected["groups"].values()) for label in Label}
            | {
                "median_seconds": np.median(
                    [t for t, path in zip(times, files, strict=True) if path.parent.name == voter]
                )
            }
            for voter in "ABC"
        },
    }
    json.dumps(stats, allow_nan=False)


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([P], P),
        ([P, P, N], P),
        ([N, S, N], N),
        ([P, S, N], S),
        ([P, N], S),
        ([P, P, N, N, S], S),
        ([P, P, N, S], P),
        ([N, N, N, P, P], N),
    ],
)
def test_final_label_by_hand(votes: list[Label], label: Label) -> None:
    assert final_label(votes) is label


@given(labels_of_many, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_final_label_does_not_hang_on_the_order(votes: list[Label], rng: random.Random) -> None:
    shuffled = votes[:]
    rng.shuffle(shuffled)
    assert final_label(shuffled) is final_label(votes)


@given(labels_of_many)
@settings(deadline=None)
def test_final_label_is_the_unique_most_frequent_else_similar(votes: list[Label]) -> None:
    counts = Counter(votes)
    most = max(counts.values())
    winners = [label for label, count in counts.items() if count == most]
    assert final_label(votes) is (winners[0] if len(winners) == 1 else S)


@given(labels_of_many)
@settings(deadline=None)
def test_swapping_better_and_worse_swaps_the_final_label(votes: list[Label]) -> None:
    swap = {P: N, N: P, S: S}
    assert final_label([swap[vote] for vote in votes]) is swap[final_label(votes)]


@given(labels_of_many)
@settings(deadline=None)
def test_one_more_vote_for_the_winner_keeps_it(votes: list[Label]) -> None:
    winner = final_label(votes)
    if votes.count(winner) == max(Counter(votes).values()):
        assert final_label([*votes, winner]) is winner


def test_final_label_needs_votes() -> None:
    with pytest.raises(ValueError, match="at least one"):
        final_label([])


def test_soft_labels_and_least_number_of_votes(dataset: Dataset) -> None:
    table = VoteTable(
        (*(Vote("x", "01", label, str(n)) for n, label in enumerate([P, P, N])), Vote("y", "02", S, "0")),
        "labels",
        "slots",
    )
    computed = finals(dataset, table)
    final = computed["x"]["01"]
    assert (final.label, final.agreeing, final.votes) == (P, 2, 3)
    assert final.fractions == pytest.approx({P: 2 / 3, S: 0, N: 1 / 3})
    assert "02" not in computed["x"]
    assert finals(dataset, table, min_votes=2).keys() == {"x"}


def test_votes_of_files_and_store_are_joined(dataset: Dataset) -> None:
    write_official(dataset, "A", "x", {"01": "Positive", "02": "Similar"})
    write_official(dataset, "B", "x", {"01": "Positive", "02": "Negative"}, total=None)
    store_votes(dataset.path / "annotations.sqlite", {"anna": {"y": {"01": "Negative", "02": "Positive"}}})
    table = read_votes(dataset)
    assert (table.source, table.annotators_are, table.voters) == ("store+labels", "people", ("A", "B", "anna"))
    assert {(v.group, v.voter, v.candidate): (v.label, v.seconds) for v in table.votes} == {
        ("x", "A", "01"): (P, 20),
        ("x", "A", "02"): (S, 20),
        ("x", "B", "01"): (P, None),
        ("x", "B", "02"): (N, None),
        ("y", "anna", "01"): (N, 4),
        ("y", "anna", "02"): (P, 4),
    }
    assert label_stats(dataset)["seconds_per_group"] == {"mean": 12, "median": 12}


def test_a_voter_counts_once_a_group_and_the_store_wins(dataset: Dataset) -> None:
    write_official(dataset, "A", "x", {"01": "Positive", "02": "Positive"})
    write_official(dataset, "A", "y", {"01": "Positive", "02": "Positive"})
    store_votes(dataset.path / "annotations.sqlite", {"A": {"x": {"01": "Negative", "02": "Similar"}}})
    computed = finals(dataset)
    assert [final.label for final in computed["x"].values()] == [N, S]
    assert [final.votes for final in computed["x"].values()] == [1, 1]
    assert [final.label for final in computed["y"].values()] == [P, P]


def test_another_database_may_be_named(dataset: Dataset, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere 100%?.sqlite"
    store_votes(other, {"anna": {"x": {"01": "Negative", "02": "Positive"}}})
    assert read_votes(dataset, database=str(other)).source == "store"
    with pytest.raises(InvalidInput, match=r"no annotation database '.*gone\.sqlite'"):
        read_votes(dataset, database=str(tmp_path / "gone.sqlite"))


def test_without_votes_the_next_step_is_told_and_no_database_is_made(dataset: Dataset) -> None:
    with pytest.raises(InvalidInput, match="has no votes yet") as caught:
        label_stats(dataset)
    assert "goldeye annotate" in str(caught.value.hint)
    assert not (dataset.path / "annotations.sqlite").exists()


def test_candidates_the_dataset_lacks_are_passed_over(dataset: Dataset) -> None:
    write_official(dataset, "A", "x", {"01": "Positive", "02": "Similar", "03": "Negative"})
    write_official(dataset, "A", "gone", {"01": "Positive"})
    store_votes(dataset.path / "annotations.sqlite", {"anna": {"gone": {"01": "Negative"}}})
    assert [(vote.group, vote.candidate) for vote in read_votes(dataset).votes] == [("x", "01"), ("x", "02")]


@pytest.mark.parametrize("label", ["positive", "", None, 1, ["Positive"]])
def test_unknown_label_names_file_and_key(dataset: Dataset, label: Any) -> None:
    path = write_official(dataset, "A", "x", {"01": "Positive", "02": label})
    with pytest.raises(InvalidInput, match=r"x\.json") as caught:
        read_official(path, "x")
    if not isinstance(label, list):
        assert "Picture_3" in caught.value.message


def test_only_folders_that_are_seen_are_slots_and_only_files_are_read(dataset: Dataset) -> None:
    write_official(dataset, "A", "x", {"01": "Positive"})
    write_official(dataset, ".copy", "x", {"01": "Positive"})
    assert read_votes(dataset).voters == ("A",)
    (dataset.path / "labels" / "0-2" / "B" / "x.json").mkdir(parents=True)
    with pytest.raises(InvalidInput, match=r"x\.json' cannot be read: Is a directory"):
        read_votes(dataset)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"Picture_1": {"File": "01"}}', '{"Picture_1": 3}', '{"Time_cost": 3}', '{"a": ' + "[" * 100_000],
)
def test_damaged_label_file_is_named(dataset: Dataset, text: str) -> None:
    path = write_official(dataset, "A", "x", {})
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"x\.json' is not a label file in the official form"):
        read_votes(dataset)


# --- the official loader's rules --------------------------------------------------------------------------------------


def official_rules(table: list[list[list[str]]]) -> dict[str, Any]:
    """REFERENCE §5 written out plainly: table[group][candidate] is the list of its votes, perhaps an empty one."""
    labels, agreeing, usable = [], [], {"original": [], "positive": [], "positive+negative": []}
    for number, group in enumerate(table):
        row, agree = [], []
        for votes in group:
            tally = sorted(((votes.count(word), word) for word in ("Positive", "Similar", "Negative")), reverse=True)
            winner = tally[0][1] if tally[0][0] > tally[1][0] else "Similar"
            row.append(winner if votes else None)
            agree.append(votes.count(winner))
        labels.append(row)
        agreeing.append(agree)
        usable["original"].append(number)
        if row.count("Positive") > 0:
            usable["positive"].append(number)
        if not all(word in ("Similar", None) for word in row):
            usable["positive+negative"].append(number)
    return {"labels": labels, "agreeing": agreeing, "usable": usable}


vote_words = st.lists(st.sampled_from(["Positive", "Similar", "Negative"]), max_size=7)


@st.composite
def vote_tables(draw: st.DrawFn) -> list[list[list[str]]]:
    """Any number of groups, candidates and annotators, not all of whom voted everywhere."""
    candidates = draw(st.integers(1, 5))
    return draw(st.lists(st.lists(vote_words, min_size=candidates, max_size=candidates), min_size=1, max_size=8))


def in_memory(table: list[list[list[str]]], path: Path = Path("nowhere")) -> tuple[Dataset, VoteTable]:
    slots = tuple(f"{number:02}" for number in range(1, len(table[0]) + 1))
    names = [f"g{number}" for number in range(len(table))]
    groups = [Group(n, "0-8", Path(f"{n}.png"), {slot: Path(f"{n}_{slot}.png") for slot in slots}) for n in names]
    votes = [
        Vote(name, slot, Label(word), f"voter {number}")
        for name, group in zip(names, table, strict=True)
        for slot, words in zip(slots, group, strict=True)
        for number, word in enumerate(words)
    ]
    return Dataset(path, DatasetSettings(), groups, slots), VoteTable(tuple(votes), "labels", "slots")


@given(vote_tables())
@settings(deadline=None)
def test_labels_follow_the_official_rules_for_any_number_of_annotators(table: list[list[list[str]]]) -> None:
    dataset, votes = in_memory(table)
    computed, expected = finals(dataset, votes), official_rules(table)
    for number, group in enumerate(dataset.groups):
        found = computed.get(group.id, {})
        assert [found[slot].label if slot in found else None for slot in dataset.slots] == expected["labels"][number]
        assert [found[s].agreeing if s in found else 0 for s in dataset.slots] == expected["agreeing"][number]
        for final in found.values():
            assert sum(final.fractions.values()) == pytest.approx(1)
            assert final.fractions[final.label] == pytest.approx(final.agreeing / final.votes)
    usable = usable_groups(computed)
    for mine, theirs in (("positive", "positive"), ("positive_negative", "positive+negative")):
        assert usable[mine] == [f"g{number}" for number in expected["usable"][theirs]]
    stats = label_stats(dataset, votes)
    words = Counter(word for row in expected["labels"] for word in row)
    assert stats["final"]["total"] == {str(label): words[label] for label in Label}
    positives = Counter(row.count("Positive") for row in expected["labels"] if set(row) != {None})
    assert stats["positives_per_group"] == [positives[number] for number in range(len(dataset.slots) + 1)]
    json.dumps(stats, allow_nan=False)


@given(vote_tables(), st.integers(1, 4))
@settings(deadline=None)
def test_fewer_votes_than_asked_for_make_no_label(table: list[list[list[str]]], least: int) -> None:
    dataset, votes = in_memory(table)
    enough = [[words if len(words) >= least else [] for words in group] for group in table]
    assert finals(dataset, votes, min_votes=least) == finals(*in_memory(enough))
    assert label_stats(dataset, votes, min_votes=least)["annotations"] == label_stats(dataset, votes)["annotations"]


@settings(max_examples=15)
@given(vote_tables(), st.integers(1, 3))
def test_the_three_trainings_take_the_groups_of_the_official_loaders(table: list[list[list[str]]], least: int) -> None:
    enough = [[words if len(words) >= least else [] for words in group] for group in table]
    expected = official_rules(enough)["usable"]
    with tempfile.TemporaryDirectory() as folder:
        dataset, votes = in_memory(table, Path(folder))
        for group, voter in sorted({(vote.group, vote.voter) for vote in votes.votes}):
            labels = {v.candidate: v.label for v in votes.votes if (v.group, v.voter) == (group, voter)}
            write_official(dataset, voter, group, labels, range_="0-8")
        for target, numbers in expected.items():
            if target == "original":
                assert [g.id for g in labelled_groups(dataset, target, None)] == [f"g{n}" for n in numbers]
            elif numbers:
                groups = labelled_groups(dataset, target, None, min_votes=least)
                assert [g.id for g in groups] == [f"g{n}" for n in numbers]
                assert all(0 < one.share <= 1 for g in groups for one in (*g.positives, *g.negatives))
            else:
                with pytest.raises(InvalidInput, match=r"labels .*that target|no votes yet"):
                    labelled_groups(dataset, target, None, min_votes=least)


# --- official files ---------------------------------------------------------------------------------------------------


def test_the_times_of_a_file_are_read(dataset: Dataset) -> None:
    path = write_official(dataset, "A", "x", {"01": "Positive"})
    vote = read_official(path, "x")[0]
    assert (vote.started, vote.ended) == (
        datetime(2022, 8, 5, 16, 11, tzinfo=UTC),
        datetime(2022, 8, 5, 16, 11, 20, tzinfo=UTC),
    )
    assert read_official(path, "x", "anna")[0].voter == "anna"


@pytest.mark.parametrize(
    "change",
    [{"Total": -1}, {"Total": float("nan")}, {"Total": float("inf")}, {"Total": "soon"}, {"Start": "noon"}, {"End": 7}],
)
def test_impossible_times_are_refused(dataset: Dataset, change: dict[str, Any]) -> None:
    path = write_official(dataset, "A", "x", {"01": "Positive"})
    content = json.loads(path.read_text())
    content["Time_cost"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidInput, match=r"x\.json' is not a label file in the official form"):
        read_official(path, "x")


def test_absurd_label_files_are_refused(dataset: Dataset) -> None:
    path = write_official(dataset, "A", "x", {"01": "Positive"}, total=10**400)
    with pytest.raises(InvalidInput, match="is not a label file"):
        read_votes(dataset)
    with path.open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(InvalidInput, match="is not a label file"):
        read_votes(dataset)


@pytest.mark.parametrize(("folders", "are"), [("AB", "slots"), (["A", "AZ"], "slots"), (["A", "anna"], "people")])
def test_folders_named_like_slots_are_slots_and_others_people(
    dataset: Dataset, folders: Iterable[str], are: str
) -> None:
    for folder in folders:
        write_official(dataset, folder, "x", {"01": "Positive"})
    assert read_votes(dataset).annotators_are == are


def test_a_candidate_labelled_twice_in_a_file_is_refused(dataset: Dataset) -> None:
    path = write_official(dataset, "A", "x", {"01": "Positive"})
    content = json.loads(path.read_text())
    content["Picture_3"] = content["Picture_2"]
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidInput, match=r"x\.json': Picture_3 labels '01' a second time"):
        read_votes(dataset)


def test_the_released_test_set_has_no_range_folder(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    for folder, file in product(("original", "01", "02"), ("x", "y")):
        write_image(tmp_path / f"images/{folder}/{file}{'' if folder == 'original' else '_' + folder}.png", picture)
    dataset = Dataset.open(tmp_path)
    assert [(group.id, group.range) for group in dataset.groups] == [("x", ""), ("y", "")]
    assert dataset.groups[0].candidates["02"] == tmp_path / "images/02/x_02.png"
    write_official(dataset, "A", "y", {"01": "Positive", "02": "Similar"}, range_="")
    assert [(v.group, v.candidate, v.voter) for v in read_votes(dataset).votes] == [("y", "01", "A"), ("y", "02", "A")]
    (tmp_path / "images/02/x_02.png").unlink()
    with pytest.raises(InvalidInput, match=r"lacks 1 candidate pictures: 02/x_02\.png"):
        Dataset.open(tmp_path)


def test_splits_have_their_own_votes(dataset: Dataset) -> None:
    write_official(dataset, "A", "x", {"01": "Positive"})
    write_official(dataset, "A", "y", {"01": "Negative"})
    only_y = replace(dataset, groups=dataset.groups[1:])
    assert [vote.group for vote in read_votes(only_y).votes] == ["y"]
    assert label_stats(only_y)["groups"] == 1


# --- late answers -----------------------------------------------------------------------------------------------------


def test_late_answers_never_count(dataset: Dataset) -> None:
    from goldeye.annotate.assign import Assigner, GroupPictures
    from goldeye.annotate.settings import AnnotationSettings
    from goldeye.annotate.store import Store

    store, now = Store(dataset.votes_url), datetime(2026, 3, 1, tzinfo=UTC)
    for name in ("ada", "bo"):
        store.invite(name)
    group = GroupPictures("x", Path(), {"01": Path(), "02": Path()})

    def answer(person: int, assigner: Assigner, work: Any, label: str, at: int) -> None:
        clock[0] = now + timedelta(minutes=at)
        key = f"{person}-{at}-client"
        assigner.answer(person, work.id, work.order.index("01"), label, client_id=key + "1", active_ms=1000)
        clock[0] += timedelta(seconds=7)
        assigner.answer(person, work.id, work.order.index("02"), label, client_id=key + "2", active_ms=500)

    clock = [now]
    assigner = Assigner(store, [group], AnnotationSettings(votes=1, lease_minutes=30), clock=lambda: clock[0])
    late, _ = assigner.claim(1)
    clock[0] = now + timedelta(minutes=31)
    given, _ = assigner.claim(2)
    answer(2, assigner, given, "Negative", 32)
    answer(1, assigner, late, "Positive", 33)
    assert {vote.person for vote in store.counted_votes()} == {"bo"}
    store.close()

    table = read_votes(dataset)
    assert [(v.voter, v.label, v.counted) for v in table.votes] == [("bo", N, True)] * 2
    assert (table.votes[0].started, table.votes[0].ended) == (
        now + timedelta(minutes=31),
        now + timedelta(minutes=32, seconds=7),
    )
    everything = read_votes(dataset, surplus=True)
    assert [(v.voter, v.counted) for v in everything.votes] == [("ada", False)] * 2 + [("bo", True)] * 2
    assert everything.counted == table.votes
    assert everything.voters == ("ada", "bo")
    assert finals(dataset, everything) == finals(dataset, table)
    assert label_stats(dataset, everything) == label_stats(dataset, table)
    # Nor does a label file that an export made of them, once people.csv says whose it is.
    write_official(dataset, "A", "x", {"01": "Positive", "02": "Positive"})
    write_people(dataset, ("x", "A", pseudonyms(everything)["ada"]))
    assert read_votes(dataset).votes == table.votes


# --- who filled a slot ------------------------------------------------------------------------------------------------


def write_people(dataset: Dataset, *rows: tuple[str, str, str]) -> Path:
    path = dataset.path / "labels" / "people.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("group,slot,person\n" + "".join(",".join(row) + "\n" for row in rows))
    return path


def test_a_store_exported_into_its_own_dataset_counts_once(dataset: Dataset) -> None:
    answers = {"x": {"01": "Positive", "02": "Similar"}, "y": {"01": "Negative", "02": "Positive"}}
    store_votes(dataset.path / "annotations.sqlite", {"anna": answers, "bert": {"x": answers["x"]}})
    before = read_votes(dataset)
    names = pseudonyms(before)
    assert set(names) == {"anna", "bert"}
    assert all(name.startswith("p-") and len(name) == 10 for name in names.values())
    for group, slot in (("x", "A"), ("x", "B"), ("y", "A")):
        write_official(dataset, slot, group, {"01": "Negative", "02": "Negative"})  # the store's answer stands
    assert read_votes(dataset).voters == ("A", "B", "anna", "bert")
    write_people(dataset, ("x", "A", names["anna"]), ("x", "B", names["bert"]), ("y", "A", names["anna"]))
    again = read_votes(dataset)
    assert (again.votes, again.source) == (before.votes, "store")
    # Where the store is away (a copy for others), the people are known by their pseudonyms.
    (dataset.path / "annotations.sqlite").unlink()
    alone = read_votes(dataset)
    assert (alone.voters, alone.annotators_are, alone.source) == (tuple(sorted(names.values())), "people", "labels")
    assert pseudonyms(alone) == {name: name for name in names.values()}


def test_what_somebody_took_back_in_the_store_does_not_count_from_a_file(dataset: Dataset) -> None:
    from goldeye.annotate.schema import vote
    from goldeye.annotate.store import Store

    path = dataset.path / "annotations.sqlite"
    store_votes(
        path, {"anna": {"x": {"01": "Positive", "02": "Similar"}}, "bert": {"y": {"01": "Positive", "02": "Similar"}}}
    )
    write_official(dataset, "A", "x", {"01": "Positive", "02": "Similar"})
    write_people(dataset, ("x", "A", pseudonyms(read_votes(dataset))["anna"]))
    from goldeye.annotate.assign import Assigner, GroupPictures

    store = Store(path)
    with store.read() as connection:
        work = connection.execute(vote.select()).first().assignment
    assigner = Assigner(store, [GroupPictures("x", Path(), {"01": Path(), "02": Path()})])
    assigner.answer(1, work, 0, None, client_id="taken-back", active_ms=1)
    store.close()
    assert read_votes(dataset).voters == ("bert",)


def test_a_person_no_store_knows_is_a_voter_of_their_own(dataset: Dataset) -> None:
    store_votes(dataset.path / "annotations.sqlite", {"anna": {"x": {"01": "Positive", "02": "Similar"}}})
    write_official(dataset, "A", "x", {"01": "Positive", "02": "Similar"})
    write_official(dataset, "B", "x", {"01": "Positive", "02": "Similar"})
    write_people(dataset, ("x", "A", "p-00000000"), ("another dataset's group", "A", "p-00000000"))
    table = read_votes(dataset)
    assert table.voters == ("B", "anna", "p-00000000")  # slot B is not listed: it stays a slot
    assert pseudonyms(table)["p-00000000"] == "p-00000000"
    assert pseudonyms(table)["B"] == "B"


def test_a_person_named_like_another_slot_is_not_counted_twice(dataset: Dataset) -> None:
    write_official(dataset, "A", "x", {"01": "Positive"})
    write_official(dataset, "B", "x", {"01": "Positive"})
    write_people(dataset, ("x", "A", "B"))
    with pytest.raises(InvalidInput, match=r"B/x\.json' is a second label file of 'B' for group 'x'"):
        read_votes(dataset)


def test_escaped_cells_and_a_byte_order_mark_are_read(dataset: Dataset) -> None:
    write_official(dataset, "A", "x", {"01": "Positive"})
    path = dataset.path / "labels" / "people.csv"
    path.write_text("\ufeffperson,slot,group\r\n'=anna,A,x\r\n", newline="")
    assert read_votes(dataset).voters == ("=anna",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("group,slot\nx,A\n", r"labels' cannot be used: people\.csv: the columns must be group, slot, person\.$"),
        ("", r"people\.csv: the columns must be group, slot, person"),
        ("group,slot,person\nx,A,\n", r"people\.csv, line 2: not a group, a slot and a person"),
        ("group,slot,person\n\nx,A\n", r"line 3: not a group, a slot and a person"),
        ("group,slot,person\nx,A,p,q\n", r"line 2: not a group, a slot and a person"),
        ("group,slot,person\nx,A,p\nx,A,q\n", r"line 3: slot 'A' of group 'x' is there twice"),
        ("group,slot,person\nx,A,p\nx,B,p\n", r"line 3: person 'p' has a slot of group 'x' already"),
        ("group,slot,person\nx,A,p\nx,B,q\n", r"people\.csv' lists slot 'B' of group 'x', which has no label file"),
        ('group,slot,person\nx,A,"p\n', r"people\.csv, line 2: not csv"),
    ],
)
def test_a_damaged_table_of_people_is_named(dataset: Dataset, text: str, sentence: str) -> None:
    write_official(dataset, "A", "x", {"01": "Positive"})
    write_people(dataset).write_text(text)
    with pytest.raises(InvalidInput, match=sentence) as caught:
        read_votes(dataset)
    assert "\n" not in caught.value.message
    write_people(dataset).write_bytes(b"group,slot,person\nx,A,\xff\n")
    with pytest.raises(InvalidInput, match=r"people\.csv, line 2: not UTF-8"):
        read_votes(dataset)


# --- a folder that cannot be written ----------------------------------------------------------------------------------


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """`folder` as a mounted release: nothing in it can be made or changed, by root neither (who becomes another)."""
    user = os.geteuid()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(OSError, match=r"denied|Read-only"):
            (folder / "new").touch()
        yield
    finally:
        os.seteuid(user)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def released() -> Iterator[Dataset]:
    """A dataset in a folder that everybody can reach (pytest's own folders are closed to others)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for place in ("original/x", "01/x_01", "02/x_02"):
            write_image(folder / "images" / "0-1" / f"{place}.png", np.zeros((4, 4, 3), np.uint8))
        store_votes(folder / "annotations.sqlite", {"anna": {"x": {"01": "Positive", "02": "Similar"}}})
        yield Dataset.open(folder)


def test_votes_are_read_where_nothing_can_be_written(released: Dataset) -> None:
    expected = read_votes(released)
    before = contents(released.path)
    with unwritable(released.path):
        assert read_votes(released) == expected
        assert label_stats(released)["annotators"] == 1
    assert contents(released.path) == before


@pytest.mark.parametrize("shared_memory", [True, False])
def test_votes_still_in_the_log_are_read_where_nothing_can_be_written(released: Dataset, shared_memory: bool) -> None:
    """A folder copied while a server ran: the newest votes are in the file -wal."""
    from goldeye.annotate.schema import vote
    from goldeye.annotate.store import Store

    store = Store(released.votes_url)
    with store.write() as connection:
        connection.execute(vote.update().values(label="Negative"))
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        copy.chmod(0o755)
        for path in released.path.glob("annotations.sqlite*"):
            if shared_memory or not path.name.endswith("-shm"):
                (copy / path.name).write_bytes(path.read_bytes())
        assert (copy / "annotations.sqlite-wal").stat().st_size > 0
        before = contents(copy)
        with unwritable(copy):
            table = read_votes(released, database=str(copy / "annotations.sqlite"))
        assert contents(copy) == before
    assert {v.label for v in table.votes} == {N}
    store.close()


def test_reading_changes_nothing_and_sees_what_a_server_just_wrote(
    released: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = contents(released.path)
    read_votes(released)
    assert contents(released.path) == before  # neither the database nor a file beside it
    from goldeye.annotate.schema import vote
    from goldeye.annotate.store import Store

    store = Store(released.votes_url)
    with store.write() as connection:
        connection.execute(vote.update().values(label="Negative"))
    assert {v.label for v in read_votes(released).votes} == {N}
    reader = Store(released.votes_url, read_only=True)
    with pytest.raises(Exception, match="readonly"):
        reader.invite("bert")
    reader.close()
    store.close()
    assert {v.label for v in read_votes(released).votes} == {N}
    assert not list(tmp_path.iterdir())  # nor is a copy left


def test_a_file_that_is_no_store_is_not_made_one(released: Dataset) -> None:
    (released.path / "annotations.sqlite").write_bytes(b"")
    with pytest.raises(InvalidInput, match="not one of Goldeye's"):
        read_votes(released)
    assert (released.path / "annotations.sqlite").read_bytes() == b""
    (released.path / "annotations.sqlite").write_text("no database" * 100)
    with pytest.raises(InvalidInput, match="cannot be opened: file is not a database"):
        read_votes(released)


# --- the base installation, the command -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stats", "agreement"])
def test_label_files_need_no_optional_library(dataset: Dataset, command: str) -> None:
    write_official(dataset, "A", "x", {"01": "Positive", "02": "Similar"})
    write_official(dataset, "B", "x", {"01": "Positive", "02": "Negative"})
    code = (
        "import sys\n"
        "for name in ('sqlalchemy', 'pyarrow', 'cv2', 'torch', 'ray', 'jinja2', 'krippendorff', 'statsmodels'):\n"
        "    sys.modules[name] = None\n"
        "from goldeye.cli import run\n"
        f"sys.exit(run(['labels', {command!r}, {str(dataset.path)!r}, '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["annotators"] == 2


def test_the_command_takes_database_and_least_votes(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    other = dataset.path.parent / "other.sqlite"
    store_votes(other, {"anna": {"x": {"01": "Negative", "02": "Positive"}}})
    write_official(dataset, "A", "x", {"01": "Negative"})
    arguments = ["labels", "stats", str(dataset.path), "--database", str(other), "--min-votes", "2", "--format", "json"]
    assert run(arguments) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["schema"], stats["min_votes"], stats["source"]) == ("goldeye.labels/1", 2, "store+labels")
    assert stats["final"]["total"] == {"Positive": 0, "Similar": 0, "Negative": 1}
    assert run(["labels", "stats", str(dataset.path), "--split", "test"]) == 2
    assert "has no splits" in capsys.readouterr().err
    assert run(["labels", "stats", str(dataset.path), "--format", "xml"]) == 2
    assert "Unknown format 'xml'" in capsys.readouterr().err
    assert run(["labels", "stats", str(dataset.path), "--min-votes", "0"]) == 2


def test_training_leaves_out_labels_from_too_few_votes(tmp_path: Path) -> None:
    for name, folder in product(("x", "y"), ("original", "01")):
        file = name if folder == "original" else f"{name}_{folder}"
        write_image(tmp_path / "images" / "0-2" / folder / f"{file}.png", np.zeros((16, 16, 3), np.uint8))
    dataset = Dataset.open(tmp_path)
    for voter, name in (("A", "x"), ("B", "x"), ("A", "y")):
        write_official(dataset, voter, name, {"01": "Positive"})
    config = DataConfig(path=tmp_path, source="dataset", target="positive", crop=16)
    assert [group.id for group in MultiGTDataset(config, scale=4, seed=0).groups] == ["x", "y"]
    twice = config.model_copy(update={"min_votes": 2})
    assert [group.id for group in MultiGTDataset(twice, scale=4, seed=0).groups] == ["x"]
    with pytest.raises(InvalidInput, match="has the labels from 3 votes or more that target 'positive' needs"):
        MultiGTDataset(config.model_copy(update={"min_votes": 3}), scale=4, seed=0)
    with pytest.raises(ValueError, match="target 'original' takes every group"):
        DataConfig(source="dataset", min_votes=2)
