"""The tables: the paper's own from votes laid out like its counts, and cells that no program runs."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.cli import run
from goldeye.dataset.agreement import label_agreement
from goldeye.dataset.csv_files import csv_cell, csv_text, csv_value
from goldeye.dataset.groups import Dataset, DatasetSettings, Group
from goldeye.dataset.labels import Label, Vote, VoteTable, label_stats
from goldeye.dataset.tables import Table, agreement_text, join, stats_text

P, S, N = Label.POSITIVE, Label.SIMILAR, Label.NEGATIVE

# HGGT Tables 1-3, and of §4 the groups that each training keeps.
SLOTS = ("01", "02", "03", "04")
ANNOTATIONS = {
    "01": (42362, 14623, 3594),
    "02": (39031, 17615, 3933),
    "03": (47251, 10259, 3069),
    "04": (47398, 8407, 4774),
}
FINAL = {"01": (15250, 4379, 564), "02": (13907, 5635, 651), "03": (17236, 2517, 440), "04": (17190, 2144, 859)}
POSITIVES_PER_GROUP = (1267, 996, 2616, 3901, 11413)
KEPT = (18926, 19272)
GROUPS, PEOPLE, THREE_WAY = 20193, 60, 100


def paper_finals() -> list[dict[str, Label]]:
    """Final labels of each group with exactly the paper's Tables 2 and 3 and the groups that both trainings keep.

    The positives are a 0/1 matrix with given sums of rows and columns: each group takes the models with most left
    (Ryser's construction). Of the groups without positive, so many get a negative that 19,272 stay.
    """
    left = {slot: FINAL[slot][0] for slot in SLOTS}
    finals: list[dict[str, Label]] = []
    for number in range(len(SLOTS), -1, -1):
        for _ in range(POSITIVES_PER_GROUP[number]):
            chosen = sorted(SLOTS, key=lambda slot: -left[slot])[:number]
            for slot in chosen:
                left[slot] -= 1
            finals.append(dict.fromkeys(SLOTS, S) | dict.fromkeys(chosen, P))
    negatives = {slot: FINAL[slot][2] for slot in SLOTS}
    without = [group for group in finals if P not in group.values()]
    turn = cycle(SLOTS)
    for group in without[: KEPT[1] - KEPT[0]]:
        slot = next(turn)
        group[slot] = N
        negatives[slot] -= 1
    for group in finals:
        for slot, label in group.items():
            if label is S and P in group.values() and negatives[slot]:
                group[slot] = N
                negatives[slot] -= 1
    return finals


def paper_votes(slot: str) -> dict[Label, Iterator[tuple[Label, Label, Label]]]:
    """Three votes for each final label of a model, with exactly its row of Table 1.

    100 Similars are made of three different votes; then as many Positives as it takes have one Similar or one Negative
    among their votes, and all others are unanimous.
    """
    positives, similars, negatives = FINAL[slot]
    one_similar = ANNOTATIONS[slot][1] - 3 * similars + 2 * THREE_WAY
    one_negative = ANNOTATIONS[slot][2] - 3 * negatives - THREE_WAY
    assert min(one_similar, one_negative) >= 0
    assert one_similar + one_negative <= positives
    unanimous = positives - one_similar - one_negative
    return {
        P: iter([(P, S, P)] * one_similar + [(N, P, P)] * one_negative + [(P, P, P)] * unanimous),
        S: iter([(P, S, N)] * THREE_WAY + [(S, S, S)] * (similars - THREE_WAY)),
        N: iter([(N, N, N)] * negatives),
    }


@pytest.fixture(scope="module")
def paper() -> tuple[Dataset, VoteTable]:
    """A dataset of the paper's size, in memory: 20,193 groups x 4 models x 3 of 60 people, 242,316 votes."""
    finals, cast = paper_finals(), {slot: paper_votes(slot) for slot in SLOTS}
    groups = [Group(f"{n:05}", "0-20193", Path(f"{n:05}.png"), dict.fromkeys(SLOTS, Path())) for n in range(GROUPS)]
    votes = []
    for number, (group, labels) in enumerate(zip(groups, finals, strict=True)):
        by_slot = {slot: next(cast[slot][label]) for slot, label in labels.items()}
        for turn in range(3):
            person = f"person-{(3 * number + turn) % PEOPLE:02}"
            seconds = 22.79 + (number % 3 - 1) * 5  # the paper's mean
            votes += [Vote(group.id, slot, three[turn], person, seconds) for slot, three in by_slot.items()]
    return Dataset(Path("paper"), DatasetSettings(), groups, SLOTS), VoteTable(tuple(votes), "store", "people")


def test_what_this_file_holds_is_what_was_published(golden: Path) -> None:
    published = json.loads((golden.parent / "design" / "published.json").read_text())["hggt"]
    tables = {"table1_annotations": ANNOTATIONS, "table2_final": FINAL}
    for name, table in tables.items():
        assert {slot: tuple(row.values()) for slot, row in published[name].items() if slot != "total"} == table
        assert list(published[name]["01"]) == [str(label) for label in Label]
    assert tuple(published["table3_positives_per_group"]) == POSITIVES_PER_GROUP


def test_votes_like_the_papers_print_its_tables(paper: tuple[Dataset, VoteTable]) -> None:
    stats = label_stats(*paper)
    text = stats_text(stats, {"01": "rcan"}).splitlines()
    shown = "\n".join(" ".join(line.split()) for line in text)
    assert "20193 of 20193 groups have votes, from 60 annotators (store)." in shown
    assert (
        "model Positive Similar Negative total\n"
        "01 rcan 42362 (69.93%) 14623 (24.14%) 3594 (5.93%) 60579\n"
        "02 39031 (64.43%) 17615 (29.08%) 3933 (6.49%) 60579\n"
        "03 47251 (78.00%) 10259 (16.93%) 3069 (5.07%) 60579\n"
        "04 47398 (78.24%) 8407 (13.88%) 4774 (7.88%) 60579\n"
        # The paper's text has 72.65, 21.00 and 6.35 %: made to add up to 100.00.
        "total 176042 (72.65%) 50904 (21.01%) 15370 (6.34%) 242316\n"
    ) in shown
    assert (
        "01 rcan 15250 (75.52%) 4379 (21.69%) 564 (2.79%) 20193\n"
        "02 13907 (68.87%) 5635 (27.91%) 651 (3.22%) 20193\n"
        "03 17236 (85.36%) 2517 (12.46%) 440 (2.18%) 20193\n"
        "04 17190 (85.13%) 2144 (10.62%) 859 (4.25%) 20193\n"
        "total 63583 (78.72%) 14675 (18.17%) 2514 (3.11%) 80772\n"
    ) in shown
    assert (
        "positives 0 1 2 3 4 total\ngroups 1267 (6.27%) 996 (4.93%) 2616 (12.95%) 3901 (19.32%) 11413 (56.52%) 20193\n"
    ) in shown  # the paper's text: 6.28 %
    assert "Training keeps 18926 groups (positives only) or 19272 (positives and negatives)." in shown
    assert "22.79 s on average" in shown
    assert {row["groups"] for row in stats["per_annotator"].values()} == {1009, 1010}


def test_the_papers_counts_as_markdown_csv_and_json(paper: tuple[Dataset, VoteTable]) -> None:
    stats = label_stats(*paper)
    markdown = stats_text(stats, {"01": "rcan"}, "md")
    assert "| 01 rcan | 42362 (69.93%) | 14623 (24.14%) | 3594 (5.93%) | 60579 |" in markdown
    rows = list(csv.DictReader(io.StringIO(stats_text(stats, {"01": "rcan"}, "csv"))))
    counts = {(row["table"], row["row"], row["column"]): row["value"] for row in rows}
    assert counts["annotations", "total", "Positive"] == "176042"
    assert counts["final", "04", "Negative"] == "859"
    assert counts["positives_per_group", "groups", "4"] == "11413"
    assert counts["usable_groups", "", "positive_negative"] == "19272"
    assert float(counts["seconds_per_group", "", "mean"]) == pytest.approx(22.79)
    assert json.loads(json.dumps(stats, allow_nan=False)) == stats


@pytest.mark.slow
def test_the_papers_counts_from_as_many_official_files(
    paper: tuple[Dataset, VoteTable], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """60,579 label files through the command (2 to 3 s a reading on the reference machine)."""
    dataset, table = paper
    for slot in ("original", *SLOTS):
        folder = tmp_path / "images" / "0-20193" / slot
        folder.mkdir(parents=True)
        for group in dataset.groups:
            (folder / f"{group.id}{'' if slot == 'original' else '_' + slot}.png").touch()
    ballots: dict[tuple[str, str], dict[str, str]] = {}
    for vote in table.votes:
        ballots.setdefault((vote.group, vote.voter), {})[vote.candidate] = vote.label
    turn: Counter[str] = Counter()
    for (name, _), labels in ballots.items():
        content: dict[str, object] = {"Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None}}
        for number, (slot, label) in enumerate(labels.items(), start=2):
            content[f"Picture_{number}"] = {"Name": f"{name}_{slot}.png", "File": slot, "Label": label}
        content["Time_cost"] = {"Start": "2022-08-05 16:10:00", "End": "2022-08-05 16:10:23", "Total": 23}
        path = tmp_path / "labels" / "0-20193" / "ABC"[turn[name]] / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        turn[name] += 1
    assert run(["labels", "stats", str(tmp_path), "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    for name, expected in (("annotations", ANNOTATIONS), ("final", FINAL)):
        assert {slot: tuple(row.values()) for slot, row in stats[name].items() if slot != "total"} == expected
    assert tuple(stats["positives_per_group"]) == POSITIVES_PER_GROUP
    assert tuple(stats["usable_groups"].values()) == KEPT
    assert (stats["annotators"], stats["annotators_are"]) == (3, "slots")


# --- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''-x"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    assert csv_value(csv_cell(text)) == text


@pytest.mark.parametrize("value", ["a=b", "'quoted'", "", " =1", "0001-210-599", 3, -3, -0.5, True])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) == str(value)
    assert csv_value(csv_cell(value)) == str(value)


def test_nothing_is_an_empty_cell() -> None:
    assert csv_cell(None) == ""


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), min_size=1))
@settings(deadline=None)
def test_every_text_comes_back_from_csv_and_none_is_a_formula(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    assert [[csv_value(cell) for cell in row] for row in read] == rows
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in read for cell in row)


def test_names_cannot_break_out_of_their_cells() -> None:
    table = Table("Title", ["name", "n"], [["a|b\n| c", "1"], ["<script>", "2"]])
    assert join([table, "End."], "md").splitlines() == [
        "**Title**",
        "",
        "| name | n |",
        "|---|---:|",
        r"| a\|b \| c | 1 |",
        "| &lt;script&gt; | 2 |",
        "",
        "End.",
    ]


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_golden_sets_text(golden: Path) -> None:
    text = stats_text(label_stats(Dataset.open(golden / "hggt_mini")), {"01": "rcan", "02": "02"}).splitlines()
    assert text[0] == "12 of 12 groups have votes, from 3 annotator slots (labels)."
    rows = [line.split() for line in text]
    assert rows[4] == ["01", "rcan", "17", "(47.22%)", "11", "(30.56%)", "8", "(22.22%)", "36"]
    assert rows[5][:2] == ["02", "15"]
    assert rows[8] == ["total", "58", "(40.28%)", "49", "(34.03%)", "37", "(25.69%)", "144"]
    assert rows[16][::2] == ["total", "(35.42%)", "(43.75%)", "(20.83%)"]
    assert rows[19] == ["positives", "0", "1", "2", "3", "4", "total"]
    assert rows[20][1::2] == ["5", "2", "2", "1", "2", "12"]
    assert text[22] == "Training keeps 7 groups (positives only) or 9 (positives and negatives)."
    assert rows[26] == ["A", "12", "19", "(39.58%)", "17", "(35.42%)", "12", "(25.00%)", "42.00"]
    assert text[-1] == "A group took an annotator 34.28 s on average, 33.50 s in the median."
    assert all(line == line.rstrip() for line in text)


def test_votes_without_times_and_below_the_least_number() -> None:
    group = Group("g", "0-1", Path("g.png"), {"01": Path()})
    table = VoteTable((Vote("g", "01", P, "A"),), "labels", "slots")
    stats = label_stats(Dataset(Path("d"), DatasetSettings(), [group], ("01",)), table, min_votes=2)
    text = stats_text(stats)
    assert text.startswith("0 of 1 groups have at least 2 votes for a candidate, from 1 annotator slots (labels).")
    assert text.endswith("No times are known.")
    assert stats["seconds_per_group"] == {"mean": None, "median": None}


def test_agreement_in_every_form(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["labels", "agreement", str(golden / "hggt_mini"), "--bootstrap", "50", "--seed", "1", "--worst", "1"]
    printed = {}
    for form in ("text", "md", "csv", "json"):
        assert run([*command, "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    figures = json.loads(printed["json"])
    kappa = figures["all"]["fleiss_kappa"]
    shown = "{:.3f} [{:.3f}, {:.3f}]".format(kappa["value"], *kappa["ci95"])
    assert shown in printed["text"]
    assert f"| {shown} |" in printed["md"]
    rows = list(csv.DictReader(io.StringIO(printed["csv"])))
    found = {(row["scope"], row["name"], row["figure"]): row for row in rows}
    row = found["all", "", "fleiss_kappa"]
    assert [float(row[key]) for key in ("value", "low", "high")] == [kappa["value"], *kappa["ci95"]]
    assert found["per_annotator", "B", "votes"]["value"] == "48"
    assert found["worst_groups", "0186-6-106", "disagreement"]["value"] == "1.0"
    order = [line.split()[0] for line in printed["text"].split("least agreement first")[1].splitlines()[2:5]]
    by_agreement = sorted("ABC", key=lambda voter: figures["per_annotator"][voter]["agreement"]["value"])
    assert order == by_agreement


def test_undefined_figures_are_dashes_with_their_reason() -> None:
    group = Group("g", "0-1", Path("g.png"), {"01": Path()})
    dataset = Dataset(Path("d"), DatasetSettings(), [group], ("01",))
    figures = label_agreement(dataset, VoteTable((Vote("g", "01", P, "A"),), "labels", "slots"), bootstrap=10)
    lines = [line.split() for line in agreement_text(figures).splitlines()]
    assert ["all", "0", "-", "-", "-", "-"] in lines
    assert "all: no candidate has two votes." in agreement_text(figures).splitlines()
    assert "most disagreement" not in agreement_text(figures)
    assert "all,,fleiss_kappa,,," in agreement_text(figures, form="csv").splitlines()
