"""What a study found: figures by hand, scripted voters, flags, text and files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit
from scripted import NOON, paper_study

from goldeye.annotate.tasks import PAIR, RATING
from goldeye.errors import InvalidInput
from goldeye.study.report import results_text, write_results
from goldeye.study.results import StudyVotes, Vote, study_results


def pair_vote(picture: int, shown: str, chosen: int, person: str = "p-1", seconds: float = 2.0) -> Vote:
    """`shown`: the two slots' last digits from left to right."""
    slots = tuple(f"0{digit}" for digit in shown)
    return Vote(f"picture-{picture:03}", slots, f"0{chosen}", person, seconds, NOON)


def rating(picture: int, method: int, level: int, person: str = "p-1") -> Vote:
    return Vote(f"picture-{picture:03}", (f"0{method}",), str(level), person, 3.0, NOON)


def found(votes: Iterable[Vote], **checks: list[bool]) -> StudyVotes:
    return StudyVotes(list(votes), checks)


def results(study, votes: Iterable[Vote], **settings):
    return study_results(study, found(votes), **{"bootstrap": 200, **settings})


def test_a_small_study_by_hand():
    """Two people, two pictures: A is preferred in 3 of 4, the left side is chosen in 3 of 4."""
    study = paper_study(pictures=2, votes=2)
    votes = [
        pair_vote(0, "12", 1, "x", 1.0),
        pair_vote(0, "21", 1, "y", 2.0),
        pair_vote(1, "12", 1, "x", 4.0),
        pair_vote(1, "21", 2, "y", 8.0),
    ]
    document = results(study, votes)
    (row,) = document["comparisons"]
    assert (row["a"], row["b"], row["votes"], row["a_preferred"], row["b_preferred"]) == ("A", "B", 4, 3, 1)
    assert row["a_share"] == 0.75
    assert row["wilson95"] == pytest.approx([0.30064, 0.95441], abs=1e-4)
    assert row["sign_test_p"] == pytest.approx(10 / 16)  # 0, 1, 3 or 4 of 4
    assert (document["sides"]["left"], document["sides"]["total"]) == (3, 4)
    assert document["per_person"]["x"]["left"]["share"] == 1
    assert document["per_person"]["y"]["left"]["share"] == 0.5
    assert document["per_person"]["y"]["median_seconds"] == 5
    assert document["median_seconds"] == 3
    assert document["per_picture"]["picture-001"] == [{"a": "A", "b": "B", "a_preferred": 1, "b_preferred": 1}]
    assert (document["votes"], document["votes_wanted"], document["people"]) == (4, 4, 2)
    assert document["scores"] is None
    json.dumps(document, allow_nan=False)


def test_without_votes_nothing_is_claimed():
    for kind, methods in (("pair", "ABC"), ("rating", "AB")):
        document = results(paper_study(kind, methods), [])
        json.dumps(document, allow_nan=False)
        assert document["votes"] == 0
        results_text(document)
        if kind == "pair":
            assert all(row["a_share"] is None and row["wilson95"] is None for row in document["comparisons"])
        else:
            assert all(row["mean"] is None and row["bootstrap95"] is None for row in document["ratings"])


def test_three_methods_have_scores_and_two_the_log_odds_of_their_votes():
    """1 beats 2 in 3 of 4 votes and 3 in 9 of 10; 2 beats 3 in 3 of 4: scores ln 3 apart fit all of it exactly."""
    study = paper_study(methods="ABC", pictures=4)
    votes = []
    for shown, first, total in (("12", 3, 4), ("13", 9, 10), ("23", 3, 4)):
        for number in range(total):
            chosen = int(shown[0] if number < first else shown[1])
            votes.append(pair_vote(number % 4, shown, chosen, f"p-{number}"))
    document = results(study, votes)
    scores = document["scores"]
    assert [row["method"] for row in scores["methods"]] == ["A", "B", "C"]
    assert [row["score"] for row in scores["methods"]] == pytest.approx([np.log(3), 0, -np.log(3)], abs=1e-6)
    assert scores["prior"] == 0
    assert [(row["preferred"], row["votes"]) for row in scores["methods"]] == [(12, 14), (4, 8), (2, 14)]


def test_scores_lie_inside_their_intervals():
    scores = results(paper_study(methods="ABC", pictures=10), three_methods())["scores"]["methods"]
    for row in scores:
        low, high = row["bootstrap95"]
        assert low < row["score"] < high
    assert sum(row["score"] for row in scores) == pytest.approx(0, abs=1e-6)


def test_ratings_by_hand():
    study = paper_study("rating", "AB", pictures=2, votes=2)
    votes = [rating(0, 1, 0, "x"), rating(0, 1, 1, "y"), rating(1, 1, 1, "x"), rating(1, 1, 4, "y")]
    votes += [rating(0, 2, 5, "x"), rating(1, 2, 3, "y")]
    document = results(study, votes)
    first, second = document["ratings"]
    assert (first["mean"], first["levels"]) == (1.5, [1, 2, 0, 0, 1, 0])
    assert (second["mean"], second["levels"]) == (4, [0, 0, 0, 1, 0, 1])
    assert document["differences"][0]["mean"] == -2.5
    assert document["per_picture"]["picture-000"] == {"A": {"votes": 2, "mean": 0.5}, "B": {"votes": 1, "mean": 5.0}}
    assert document["per_person"]["x"]["mean"] == 2
    assert document["lower_is_better"] is True
    assert list(document["scale"].values())[::5] == ["Perfect", "Terrible"]
    assert "Wilson" not in results_text(document)


def test_one_person_or_one_picture_has_no_bootstrap_interval():
    study = paper_study(pictures=20)
    alone = [pair_vote(number, "12", 1 + number % 2) for number in range(20)]
    assert results(study, alone)["comparisons"][0]["bootstrap95"] is None
    one = [pair_vote(0, "12", 1 + number % 2, f"p-{number}") for number in range(20)]
    assert results(study, one)["comparisons"][0]["bootstrap95"] is None
    both = [pair_vote(number, "12", 1 + (number + who) % 2, f"p-{who}") for number in range(20) for who in range(3)]
    assert results(study, both)["comparisons"][0]["bootstrap95"] is not None
    assert results(study, both, bootstrap=0)["comparisons"][0]["bootstrap95"] is None
    same = [pair_vote(number, "12", 1, f"p-{who}") for number in range(20) for who in range(3)]
    row = results(study, same)["comparisons"][0]
    assert row["bootstrap95"] is None, "all votes alike say nothing about how far they vary"
    assert row["wilson95"][0] < 1


def scripted(seed: int, preference: float, *, people: int = 12, pictures: int = 100, spread: float = 0.0):
    """People who prefer method 1 with a probability, in the log-odds spread over people; sides are drawn."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(0, spread, people) if spread else np.zeros(people)
    likes = expit(np.log(preference / (1 - preference)) + taste)
    for person in range(people):
        for number in range(pictures):
            shown = "12" if rng.random() < 0.5 else "21"
            yield pair_vote(number, shown, 1 if rng.random() < likes[person] else 2, f"p-{person}")


def test_a_known_preference_is_inside_the_reported_intervals():
    """12 people x 100 pairs, 100 simulations: both intervals hold the truth in 90 or more, and sides are even."""
    study = paper_study()
    inside = {"wilson95": 0, "bootstrap95": 0}
    left_holds = flagged = 0
    for seed in range(100):
        document = results(study, scripted(seed, 0.8), seed=seed)
        (row,) = document["comparisons"]
        for key in inside:
            inside[key] += row[key][0] <= 0.8 <= row[key][1]
        left_holds += document["sides"]["wilson95"][0] <= 0.5 <= document["sides"]["wilson95"][1]
        flagged += len(document["flagged"])
    assert min(inside.values()) >= 90, inside
    assert left_holds >= 88
    assert flagged <= 6, "of 1200 people without any side bias 1.2 are expected to be flagged"


def test_where_people_differ_only_the_bootstrap_holds():
    """Why there are two intervals: votes of one person are not independent."""
    study, truth = paper_study(), float(expit(np.log(4) + np.random.default_rng(0).normal(0, 0.8, 10**6)).mean())
    inside = {"wilson95": 0, "bootstrap95": 0}
    for seed in range(60):
        (row,) = results(study, scripted(seed, 0.8, spread=0.8), seed=seed)["comparisons"]
        for key in inside:
            inside[key] += row[key][0] <= truth <= row[key][1]
    assert inside["bootstrap95"] >= 52, inside
    assert inside["wilson95"] <= 40, inside


def test_the_same_seed_gives_the_same_document():
    study, votes = paper_study(pictures=10), list(scripted(0, 0.7, people=4, pictures=10))
    assert results(study, votes, seed=3) == results(study, votes, seed=3)
    assert results(study, votes, seed=3) != results(study, votes, seed=4)


def test_people_are_flagged_and_left_out_only_when_asked():
    study = paper_study(pictures=40)
    careful = list(scripted(1, 0.9, people=4, pictures=40))
    lefty = [pair_vote(n, shown, int(shown[0]), "lefty") for n in range(40) for shown in ("12" if n % 2 else "21",)]
    careless = [pair_vote(n, "21", 2 - n % 2, "careless") for n in range(40)]
    votes = StudyVotes(
        [*careful, *lefty, *careless],
        {
            "p-0": [True] * 4,
            "careless": [False, True, True, False],
            "lefty": [True] * 4,
            "p-1": [True, True, True, False],
        },
    )
    document = study_results(study, votes, bootstrap=100, barred={"p-2": "annotated 'train'"})
    assert document["flagged"] == ["careless", "lefty", "p-2"]
    assert document["excluded"] == []
    assert document["votes"] == 240
    flags = {name: row["flags"] for name, row in document["per_person"].items()}
    assert flags["careless"] == ["failed the attention checks: 2 of 4 right"]
    assert flags["lefty"] == ["chose the left side too often: left 40 of 40"]
    assert flags["p-2"] == ["annotated 'train'"]
    assert flags["p-0"] == flags["p-1"] == flags["p-3"] == []
    assert document["checks"]["failed"] == ["careless"]
    assert (document["checks"]["right"], document["checks"]["answered"]) == (13, 16)
    assert "--exclude-failed leaves them out" in results_text(document)

    without = study_results(study, votes, bootstrap=100, barred={"p-2": "annotated 'train'"}, exclude_flagged=True)
    assert without["excluded"] == ["careless", "lefty", "p-2"]
    assert (without["votes"], without["people"]) == (120, 3)
    assert without["per_person"]["lefty"]["excluded"]
    assert without["per_person"]["lefty"]["votes"] == 40, "what they did stays visible"
    assert without["comparisons"][0]["a_share"] > document["comparisons"][0]["a_share"]
    assert "Left out of all figures (--exclude-failed): careless, lefty, p-2." in results_text(without)


@pytest.mark.parametrize(
    ("expected", "given", "passed"),
    [
        ("0", "0", True),
        ("0", "1", True),
        ("0", "2", False),
        ("5", "4", True),
        ("5", "3", False),
        ("5", None, False),
    ],
)
def test_a_check_is_passed_exactly_or_to_within_a_level(expected, given, passed):
    assert RATING.is_right(given, expected) is passed
    assert PAIR.is_right("Preferred", "Preferred")
    assert not PAIR.is_right(None, "Preferred")


# Text and files -------------------------------------------------------------------------------------------------------


def test_the_text_says_what_the_document_does():
    document = results(paper_study(methods="ABC", pictures=10), three_methods(), bootstrap=100)
    text = results_text(document)
    assert "A : B" in text
    assert "Bradley-Terry" in text
    assert "take votes as independent" in text
    assert "| A : B | 40 |" in results_text(document, "md")
    rows = list(csv.DictReader(results_text(document, "csv").splitlines()))
    shares = [row for row in rows if row["row"] == "A : B" and row["figure"] == "a_share"]
    assert [row["interval"] for row in shares] == ["wilson95", "bootstrap95"]
    assert float(shares[0]["value"]) == document["comparisons"][0]["a_share"]
    assert float(shares[0]["low"]) == document["comparisons"][0]["wilson95"][0]


def three_methods() -> list[Vote]:
    rng = np.random.default_rng(0)
    return [
        pair_vote(n, shown, int(shown[rng.random() < 0.3]), f"p-{who}")
        for n in range(10)
        for who in range(4)
        for shown in ("12", "31", "23")
    ]


@pytest.mark.parametrize("kind", ["pair", "rating"])
def test_files_of_results(tmp_path, kind):
    study = paper_study(kind, ["=A", "B", "C"], pictures=10, votes=4)
    if kind == "pair":
        votes = three_methods()
    else:
        votes = [rating(n, m, (n + m + who) % 6, f"p-{who}") for n in range(10) for m in (1, 2, 3) for who in range(4)]
    document = results(study, votes)
    paths = write_results(tmp_path / "out", study, document, votes)
    assert [path.rpartition("/")[2] for path in paths] == [
        "results.json",
        "summary.csv",
        "votes.csv",
        "chart.svg",
        "chart.png",
    ]
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored == {"schema": "goldeye.study/1", **document}
    with (tmp_path / "out" / "votes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    if kind == "pair":
        assert rows[1] == {
            "picture": "picture-000",
            "pair": "'=A : C",
            "left": "C",
            "right": "'=A",
            "chosen": rows[1]["chosen"],
            "person": "p-0",
            "seconds": "2.0",
            "time": "2026-01-01T12:00:00+00:00",
        }
        assert {row["chosen"] for row in rows} == {"'=A", "B", "C"}
    else:
        assert (rows[0]["method"], rows[0]["level"], rows[0]["word"]) == ("'=A", "1", "Almost Perfect")
    svg = (tmp_path / "out" / "chart.svg").read_bytes()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    with Image.open(tmp_path / "out" / "chart.png") as image:
        assert image.width >= 800
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**24)}
    assert {(0, 114, 178), (213, 94, 0), (0, 158, 115)} <= colours, "a bar for each method"
    write_results(tmp_path / "again", study, document, votes)
    assert (tmp_path / "again" / "chart.svg").read_bytes() == svg


def test_results_without_a_vote_write_no_file(tmp_path):
    study = paper_study()
    with pytest.raises(InvalidInput, match="no vote"):
        write_results(tmp_path / "out", study, results(study, []), [])
    assert not (tmp_path / "out").exists()
