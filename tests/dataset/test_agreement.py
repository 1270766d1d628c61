"""The agreement figures, against two libraries, the formulas written out, and resamples made by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import fleiss_kappa

from goldeye.cli import run
from goldeye.dataset.agreement import SCALE, label_agreement
from goldeye.dataset.groups import Dataset, DatasetSettings, Group
from goldeye.dataset.labels import Label, Vote, VoteTable

P, S, N = Label.POSITIVE, Label.SIMILAR, Label.NEGATIVE
CODES = {"P": P, "S": S, "N": N, "-": None}

# Votes as a table: one text a (group, candidate), one character a voter, "-" where a voter gave none.
Columns = Sequence[Sequence[str]]


def votes_of(table: Columns) -> tuple[Dataset, VoteTable]:
    slots = tuple(f"{number:02}" for number in range(1, len(table[0]) + 1))
    names = [f"g{number}" for number in range(len(table))]
    groups = [Group(n, "0-9", Path(n), dict.fromkeys(slots, Path(n))) for n in names]
    votes = [
        Vote(name, slot, label, f"v{voter}")
        for name, texts in zip(names, table, strict=True)
        for slot, text in zip(slots, texts, strict=True)
        for voter, letter in enumerate(text)
        if (label := CODES[letter]) is not None
    ]
    return Dataset(Path("set"), DatasetSettings(), groups, slots), VoteTable(tuple(votes), "labels", "slots")


def figures_of(table: Columns, **settings: Any) -> dict[str, Any]:
    figures = label_agreement(*votes_of(table), **({"bootstrap": 0} | settings))
    json.dumps(figures, allow_nan=False)
    return figures


def counts_of(table: Columns) -> np.ndarray:
    """(candidates with a vote, 3) along SCALE."""
    texts = [text for group in table for text in group]
    counts = np.array([[text.count(str(label)[0]) for label in SCALE] for text in texts])
    return counts[counts.sum(axis=1) > 0]


@st.composite
def tables(draw: st.DrawFn, letters: str = "PSN-") -> list[list[str]]:
    slots, voters = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    text = st.text(letters, min_size=voters, max_size=voters)
    table = draw(st.lists(st.lists(text, min_size=slots, max_size=slots), min_size=1, max_size=6))
    assume(any(letter != "-" for group in table for text in group for letter in text))
    return table


# --- against other implementations ------------------------------------------------------------------------------------


@given(tables())
@settings(deadline=None)
def test_alpha_equals_the_library_with_votes_missing(table: list[list[str]]) -> None:
    counts = counts_of(table)
    figures = figures_of(table)["all"]
    pairable = counts[counts.sum(axis=1) >= 2]
    for name, level in (("alpha_nominal", "nominal"), ("alpha_ordinal", "ordinal")):
        if len(pairable) and np.count_nonzero(pairable.sum(axis=0)) > 1:
            expected = krippendorff.alpha(value_counts=counts, level_of_measurement=level, value_domain=[0, 1, 2])
            assert figures[name]["value"] == pytest.approx(expected, abs=1e-12)
        else:
            assert figures[name]["value"] is None
            assert figures["note"]


@given(tables("PSN"))
@settings(deadline=None)
def test_kappa_equals_fleiss_where_all_candidates_have_as_many_votes(table: list[list[str]]) -> None:
    counts = counts_of(table)
    figures = figures_of(table)["all"]
    if np.count_nonzero(counts.sum(axis=0)) > 1:
        assert figures["fleiss_kappa"]["value"] == pytest.approx(fleiss_kappa(counts), abs=1e-12)
    else:
        assert figures["fleiss_kappa"]["value"] is None


def test_kappa_by_hand() -> None:
    """By hand: PPPS and SSNN have P_1 = 6/12 and P_2 = 4/12, and the labels the shares 3/8, 3/8, 2/8."""
    kappa = figures_of([["PPPS"], ["SSNN"]])["all"]["fleiss_kappa"]["value"]
    expected = (3 / 8) ** 2 + (3 / 8) ** 2 + (2 / 8) ** 2
    assert kappa == pytest.approx(((6 / 12 + 4 / 12) / 2 - expected) / (1 - expected))


@given(tables())
@settings(deadline=None)
def test_kappa_and_raw_agreement_follow_the_formulas_for_unequal_numbers(table: list[list[str]]) -> None:
    """Gwet: p_a over candidates with two votes or more, the chance shares over all candidates with a vote."""
    figures = figures_of(table)["all"]
    votes = [text.replace("-", "") for group in table for text in group if text.strip("-")]
    agreeing = []
    for text in votes:
        pairs = list(permutations(text, 2))
        if pairs:
            agreeing.append(sum(a == b for a, b in pairs) / len(pairs))
    if not agreeing:
        assert figures["agreement"]["value"] is None
        assert figures["note"] == "no candidate has two votes"
        return
    raw = sum(agreeing) / len(agreeing)
    chance = sum((sum(text.count(letter) / len(text) for text in votes) / len(votes)) ** 2 for letter in "PSN")
    assert figures["candidates"] == len(agreeing)
    assert figures["agreement"]["value"] == pytest.approx(raw)
    if len(set("".join(votes))) > 1:
        assert figures["fleiss_kappa"]["value"] == pytest.approx((raw - chance) / (1 - chance))


@given(tables())
@settings(deadline=None)
def test_each_model_has_the_figures_of_a_dataset_of_it_alone(table: list[list[str]]) -> None:
    found = figures_of(table)["candidates"]
    for number, slot in enumerate(found):
        column = [[group[number]] for group in table]
        if any(text[0].strip("-") for text in column):
            assert found[slot] == figures_of(column)["all"]
        else:
            assert (found[slot]["votes"], found[slot]["note"]) == (0, "no candidate has two votes")


# --- annotators -------------------------------------------------------------------------------------------------------


@given(tables())
@settings(deadline=None)
def test_an_annotator_is_compared_with_the_other_votes_on_the_same_candidates(table: list[list[str]]) -> None:
    found = figures_of(table)["per_annotator"]
    texts = [text for group in table for text in group]
    for name, row in found.items():
        voter = int(name[1:])
        mine = [(text[voter], (text[:voter] + text[voter + 1 :]).replace("-", "")) for text in texts]
        mine = [(own, others) for own, others in mine if own != "-"]
        assert row["votes"] == len(mine)
        assert row["shares"]["Positive"] == pytest.approx(sum(own == "P" for own, _ in mine) / len(mine))
        compared = [(own, others) for own, others in mine if others]
        assert row["candidates"] == len(compared)
        if compared:
            expected = sum(others.count(own) / len(others) for own, others in compared) / len(compared)
            assert row["agreement"]["value"] == pytest.approx(expected)
        else:
            assert row["agreement"]["value"] is None


@given(tables("PSN").filter(lambda table: len(table[0][0]) == 2))
@settings(deadline=None)
def test_of_two_annotators_each_has_the_alpha_of_the_pair(table: list[list[str]]) -> None:
    figures = figures_of(table)
    for row in figures["per_annotator"].values():
        for name in ("agreement", "alpha_nominal", "alpha_ordinal"):
            assert row[name]["value"] == pytest.approx(figures["all"][name]["value"])


def test_who_answers_at_random_stands_out() -> None:
    rng = np.random.default_rng(1)
    table = []
    for _ in range(60):
        truth = "PSN"[rng.integers(3)]
        table.append([truth * 3 + "PSN"[rng.integers(3)]])
    people = figures_of(table, bootstrap=200)["per_annotator"]
    low, high = people["v3"]["alpha_nominal"]["ci95"]
    assert low < 0 < high < 0.5
    assert all(people[name]["alpha_nominal"]["ci95"][0] > high for name in ("v0", "v1", "v2"))


# --- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_are_percentiles_over_whole_groups_drawn_again() -> None:
    """Against datasets in which the drawn groups really are repeated, figures from the libraries."""
    rng = np.random.default_rng(3)
    table = [["".join(rng.choice(list("PPPSN"), 4)) for _ in range(2)] for _ in range(12)]
    found = figures_of(table, bootstrap=60, seed=7)["all"]
    drawn = np.random.default_rng(7).integers(12, size=(60, 12))
    samples = [counts_of([table[group] for group in row]) for row in drawn]
    expected = {
        "fleiss_kappa": [fleiss_kappa(counts) for counts in samples],
        "alpha_ordinal": [krippendorff.alpha(value_counts=c, level_of_measurement="ordinal") for c in samples],
        "alpha_nominal": [krippendorff.alpha(value_counts=c, level_of_measurement="nominal") for c in samples],
    }
    for name, values in expected.items():
        assert found[name]["ci95"] == pytest.approx(np.percentile(values, [2.5, 97.5]))
        assert found[name]["ci95"][0] < found[name]["value"] < found[name]["ci95"][1]


def test_intervals_hang_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [[letter * 3, "PSN", "PPS"] for letter in "PSNPSNPPSN"]
    first = figures_of(table, bootstrap=50, seed=1)
    assert figures_of(table, bootstrap=50, seed=1) == first
    assert figures_of(table, bootstrap=50, seed=2) != first
    monkeypatch.setattr("goldeye.dataset.agreement._DRAWN", 70)  # a few resamples at once
    assert figures_of(table, bootstrap=50, seed=1) == first
    assert figures_of(table, bootstrap=0)["all"]["agreement"]["ci95"] is None
    assert figures_of(table, bootstrap=0)["all"]["note"] is None


def test_candidates_of_a_group_are_not_taken_for_independent() -> None:
    """Every candidate three times over in its group: the same figure and the same interval, not a narrower one."""
    table = [["PPP"], ["PPS"], ["PSN"], ["SSS"], ["NNS"], ["PPN"], ["SSP"], ["NNN"]]
    once, thrice = figures_of(table, bootstrap=200), figures_of([group * 3 for group in table], bootstrap=200)
    assert once["all"]["agreement"]["value"] == pytest.approx(thrice["all"]["agreement"]["value"])
    assert once["all"]["agreement"]["ci95"] == pytest.approx(thrice["all"]["agreement"]["ci95"])


# --- what is not defined ----------------------------------------------------------------------------------------------


def nothing(figure: Mapping[str, Any]) -> bool:
    return figure["value"] is None and figure["ci95"] is None


def test_what_is_not_defined_is_none_with_a_note() -> None:
    single = figures_of([["P-", "-S"], ["N-", "--"]], bootstrap=20)["all"]
    assert all(nothing(single[name]) for name in ("agreement", "fleiss_kappa", "alpha_nominal", "alpha_ordinal"))
    assert (single["candidates"], single["note"]) == (0, "no candidate has two votes")

    same = figures_of([["PP"], ["PP"], ["PP"]], bootstrap=20)["all"]
    assert same["agreement"] == {"value": 1.0, "ci95": [1.0, 1.0]}
    assert all(nothing(same[name]) for name in ("fleiss_kappa", "alpha_nominal", "alpha_ordinal"))
    assert "same label" in same["note"]

    alone = figures_of([["PS", "NN"]], bootstrap=20)["all"]
    assert alone["agreement"] == {"value": 0.5, "ci95": None}
    assert alone["note"] == "too few groups for an interval"

    lone = figures_of([["PP-", "PS-"], ["--N", "SS-"]], bootstrap=20)["per_annotator"]["v2"]
    assert (lone["votes"], lone["candidates"]) == (1, 0)
    assert lone["note"] == "no candidate has two votes"


def test_full_agreement_is_one_and_chance_is_about_nothing() -> None:
    full = figures_of([["PPP", "NNN"], ["SSS", "PPP"], ["NNN", "SSS"]], bootstrap=50)["all"]
    for name in ("agreement", "fleiss_kappa", "alpha_nominal", "alpha_ordinal"):
        assert full[name]["value"] == pytest.approx(1)
    rng = np.random.default_rng(0)
    chance = figures_of([["".join(rng.choice(list("PSN"), 3))] for _ in range(2000)])["all"]
    for name in ("fleiss_kappa", "alpha_nominal", "alpha_ordinal"):
        assert abs(chance[name]["value"]) < 0.05


def test_ordinal_alpha_forgives_neighbours() -> None:
    neighbours = figures_of([["PS"], ["SN"], ["PP"], ["NN"], ["SS"]])["all"]
    opposites = figures_of([["PN"], ["NP"], ["PP"], ["NN"], ["SS"]])["all"]
    assert neighbours["agreement"] == opposites["agreement"]
    assert neighbours["alpha_ordinal"]["value"] > opposites["alpha_ordinal"]["value"] + 0.3


# --- groups -----------------------------------------------------------------------------------------------------------


def test_groups_are_listed_by_disagreement_then_distance() -> None:
    table = [["PPP", "PPP"], ["PPS", "PPP"], ["PSN", "PPP"], ["PPN", "PPP"], ["P--", "---"], ["PPS", "---"]]
    worst = figures_of(table)["worst_groups"]
    # g5 has one candidate to compare, the others a second one without disagreement.
    assert [row["group"] for row in worst] == ["g5", "g2", "g3", "g1"]
    assert [row["disagreement"] for row in worst] == pytest.approx([2 / 3, 1 / 2, 1 / 3, 1 / 3])
    assert [row["distance"] for row in worst] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 1 / 3])
    assert worst[1]["labels"] == {
        "01": {"Positive": 1, "Similar": 1, "Negative": 1},
        "02": {"Positive": 3, "Similar": 0, "Negative": 0},
    }
    assert [row["group"] for row in figures_of(table, worst=1)["worst_groups"]] == ["g5"]
    assert figures_of(table, worst=0)["worst_groups"] == []


@settings(max_examples=50)
@given(tables(), st.randoms(use_true_random=False))
def test_neither_the_order_of_groups_nor_of_voters_matters(table: list[list[str]], rng: Any) -> None:
    order = rng.sample(range(len(table[0][0])), len(table[0][0]))
    shuffled = [["".join(text[voter] for voter in order) for text in group] for group in rng.sample(table, len(table))]
    one, other = figures_of(table)["all"], figures_of(shuffled)["all"]
    for name in ("agreement", "fleiss_kappa", "alpha_nominal", "alpha_ordinal"):
        assert one[name]["value"] == (other[name]["value"] and pytest.approx(other[name]["value"], abs=1e-12))


def test_late_votes_and_other_groups_are_left_out() -> None:
    dataset, table = votes_of([["PPS"], ["NNN"]])
    more = (Vote("g0", "01", N, "late", counted=False), Vote("gone", "01", N, "v0"), Vote("g0", "09", N, "v0"))
    assert label_agreement(
        dataset, VoteTable((*table.votes, *more), "labels", "slots"), bootstrap=5
    ) == label_agreement(dataset, table, bootstrap=5)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_golden_sets_agreement(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["labels", "agreement", str(golden / "hggt_mini"), "--bootstrap", "100", "--worst", "2"]
    assert run([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["schema"] == "goldeye.labels/1"
    raw = json.loads((golden / "hggt_mini" / "expected_labels.json").read_text())["groups"].values()
    words = list(SCALE)
    data = [[words.index(label) for group in raw for label in group["raw"][slot]] for slot in "ABC"]
    for name, level in (("alpha_nominal", "nominal"), ("alpha_ordinal", "ordinal")):
        expected = krippendorff.alpha(reliability_data=data, level_of_measurement=level)
        assert figures["all"][name]["value"] == pytest.approx(expected)
        assert not math.isnan(expected)
    assert run(command) == 0
    text = capsys.readouterr().out
    assert "12 groups with votes, from 3 annotator slots (labels)." in text
    assert "0186-6-106           1.000     1.333  1/1/1  1/1/1  1/1/1  1/1/1" in text
    assert run([*command, "--bootstrap", "-1"]) == 2
