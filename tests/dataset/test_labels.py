"""Votes to final labels, against the official classes' answers and the rules as properties."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import (
    Label,
    Vote,
    VoteTable,
    final_label,
    finals,
    label_stats,
    read_official,
    read_votes,
    stats_text,
    usable_groups,
)
from goldeye.errors import InvalidInput
from goldeye.images import write_image

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


def write_official(dataset: Dataset, slot: str, name: str, labels: dict[str, Any], total: float | None = 20) -> Path:
    """A label file as released."""
    content: dict[str, Any] = {"Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None}}
    for number, (candidate, label) in enumerate(labels.items(), start=2):
        content[f"Picture_{number}"] = {"Name": f"{name}_{candidate}.png", "File": candidate, "Label": label}
    if total is not None:
        content["Time_cost"] = {"Start": "2022-08-05 16:11:00", "End": "2022-08-05 16:11:20", "Total": total}
    path = dataset.path / "labels" / "0-2" / slot / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def store_votes(path: Path, answers: dict[str, dict[str, dict[str, str]]]) -> None:
    """Answer groups in a store as the application does: {person: {group: {candidate: label}}}, 2 s a candidate."""
    from goldeye.annotate.assign import Assigner, GroupPictures
    from goldeye.annotate.store import Store

    store = Store(path)
    for name, groups in answers.items():
        store.invite(name)
        person = next(person.id for person in store.people() if person.name == name)
        pictures = [GroupPictures(group, Path(), dict.fromkeys(labels, Path())) for group, labels in groups.items()]
        assigner = Assigner(store, pictures)
        while (given := assigner.claim(person)[0]) is not None:
            for position, candidate in enumerate(given.order):
                label = groups[given.group][candidate]
                key = f"{given.id}-{candidate}"
                assigner.answer(person, given.id, position, label, client_id=key, active_ms=2000)
    store.close()


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
    files = (golden / "hggt_mini").glob("Train/labels/0-12/*/*.json")
    times = [json.loads(path.read_text())["Time_cost"]["Total"] for path in files]
    totals = {label: sum(row[label] for row in expected["annotation_counts_per_enhancer"].values()) for label in Label}
    assert stats == {
        "groups": 12,
        "labelled_groups": 12,
        "annotators": 3,
        "annotators_are": "slots",
        "source": "labels",
        "annotations": expected["annotation_counts_per_enhancer"] | {"total": totals},
        "final": expected["final_counts_per_enhancer"] | {"total": expected["final_totals"]},
        "positives_per_group": list(expected["groups_by_positive_count"].values()),
        "usable_groups": {"positive": 7, "positive_negative": 9},
        "seconds_per_group": {"mean": pytest.approx(expected["mean_time_cost"]), "median": np.median(times)},
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
def test_final_label_does_not_hang_on_the_order(votes: list[Label], rng: random.Random) -> None:
    shuffled = votes[:]
    rng.shuffle(shuffled)
    assert final_label(shuffled) is final_label(votes)


@given(labels_of_many)
def test_final_label_is_the_unique_most_frequent_else_similar(votes: list[Label]) -> None:
    counts = Counter(votes)
    most = max(counts.values())
    winners = [label for label, count in counts.items() if count == most]
    assert final_label(votes) is (winners[0] if len(winners) == 1 else S)


@given(labels_of_many)
def test_swapping_better_and_worse_swaps_the_final_label(votes: list[Label]) -> None:
    swap = {P: N, N: P, S: S}
    assert final_label([swap[vote] for vote in votes]) is swap[final_label(votes)]


@given(labels_of_many)
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


@pytest.mark.parametrize("text", ["{", "[]", '{"Picture_1": {"File": "01"}}', '{"Picture_1": 3}', '{"Time_cost": 3}'])
def test_damaged_label_file_is_named(dataset: Dataset, text: str) -> None:
    path = write_official(dataset, "A", "x", {})
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"x\.json' is not a label file in the official form"):
        read_votes(dataset)


def test_statistics_as_text(golden: Path) -> None:
    text = stats_text(label_stats(Dataset.open(golden / "hggt_mini")), {"01": "rcan"}).splitlines()
    assert text[0] == "12 of 12 groups have votes, from 3 annotator slots (labels)."
    rows = [line.split() for line in text]
    assert rows[2][:2] == ["Table", "1:"]
    assert rows[4] == ["01", "rcan", "17", "11", "8"]
    assert rows[8] == ["total", "58", "49", "37"]
    assert rows[16] == ["total", "17", "21", "10"]
    assert rows[19:21] == [["positives", "0", "1", "2", "3", "4"], ["groups", "5", "2", "2", "1", "2"]]
    assert "34.28 s" in text[-1]
