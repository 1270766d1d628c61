"""Labels in other forms and back: each format as other tools read it, and round trips."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goldeye import cli
from goldeye.dataset.exchange import FORMATS, export_labels, import_labels, write_label_file
from goldeye.dataset.exchange.ballots import Ballot, bad_voter
from goldeye.dataset.exchange.official import fill_slots, slot_name
from goldeye.dataset.exchange.rows import COLUMNS
from goldeye.dataset.groups import Dataset, DatasetSettings, DatasetWriter, Enhancer
from goldeye.dataset.labels import Label, finals, label_stats, read_official, read_votes
from goldeye.errors import InvalidInput
from goldeye.images import read_image, write_image
from stored_votes import store_votes

P, S, N = Label.POSITIVE, Label.SIMILAR, Label.NEGATIVE
BEGAN = datetime(2022, 8, 5, 16, 10, tzinfo=UTC)
ROUND_TRIPS = ("official", "csv", "parquet")


def make_dataset(folder: Path, names: Iterable[str] = ("x", "y"), slots: Iterable[str] = ("01", "02")) -> Dataset:
    """Groups of small different pictures in the range 0-2."""
    for number, name in enumerate(names):
        for slot in ("original", *slots):
            picture = np.full((6, 5, 3), 40 * number + sum(map(ord, slot)) % 40, np.uint8)
            file = name if slot == "original" else f"{name}_{slot}"
            write_image(folder / "images" / "0-2" / slot / f"{file}.png", picture)
    return Dataset.open(folder)


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.sync waits for all that any program wrote, which takes long on a busy machine."""
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "data")


def vote(dataset: Dataset, voter: str, name: str, labels: Iterable[Label], after: float | None = None) -> Path:
    """A label file of one voter; `after` seconds the voter was done."""
    times: dict[str, Any] = {}
    if after is not None:
        times = {"started": BEGAN, "ended": BEGAN + timedelta(seconds=after), "seconds": after}
    path = dataset.path / "labels" / "0-2" / voter / f"{name}.json"
    write_label_file(path, name, dict(zip(dataset.slots, labels, strict=True)), **times)
    return path


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_votes(dataset: Dataset, to: Path) -> Dataset:
    """The same pictures without any votes."""
    shutil.copytree(dataset.path / "images", to / "images")
    return Dataset.open(to)


def counts(dataset: Dataset) -> dict[str, Any]:
    """The figures of the votes, whatever form they lie in and whatever people are called."""
    figures = label_stats(dataset)
    figures["per_annotator"] = sorted(map(json.dumps, figures["per_annotator"].values()))
    return {key: value for key, value in figures.items() if key not in ("source", "annotators_are")}


def round_trip(dataset: Dataset, format_: str, folder: Path, **options: Any) -> None:
    """Export → import into a copy → export gives the same bytes, and the copy has the same figures."""
    first, second = (folder / f"{number}.{format_}" for number in (1, 2))
    export_labels(dataset.path, first, format_, **options)
    copy = without_votes(dataset, folder / f"copy-{format_}")
    import_labels(copy.path, first, format_)
    export_labels(copy.path, second, format_, **options)
    if first.is_dir():
        assert files_below(first) == files_below(second)
    else:
        assert first.read_bytes() == second.read_bytes()
    assert counts(copy) == counts(dataset)
    assert finals(copy) == finals(dataset)


# The official form ----------------------------------------------------------------------------------------------------


def test_golden_labels_come_out_byte_for_byte(golden: Path, tmp_path: Path) -> None:
    summary = export_labels(golden / "hggt_mini", tmp_path / "out", "official")
    assert summary["files"] == 36
    assert files_below(tmp_path / "out" / "labels") == files_below(golden / "hggt_mini" / "Train" / "labels")


@pytest.mark.parametrize("format_", ROUND_TRIPS)
def test_golden_round_trip(golden: Path, tmp_path: Path, format_: str) -> None:
    round_trip(Dataset.open(golden / "hggt_mini"), format_, tmp_path)


@pytest.mark.parametrize("format_", ROUND_TRIPS)
def test_the_layout_without_ranges(golden: Path, tmp_path: Path, format_: str) -> None:
    """As Test-100 was released: images/original/…, labels/A/…"""
    for name in ("images", "labels"):
        shutil.copytree(golden / "hggt_mini" / "Train" / name / "0-12", tmp_path / "data" / name)
    round_trip(Dataset.open(tmp_path / "data"), format_, tmp_path)
    if format_ == "official":
        assert files_below(tmp_path / "1.official" / "labels") == files_below(tmp_path / "data" / "labels")


def test_a_label_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "A" / "x.json"
    ended = datetime(2022, 8, 5, 18, 56, 49, 900_000, tzinfo=UTC) - timedelta(hours=2)
    write_label_file(path, "x", {"01": P, "02": N}, started=BEGAN, ended=ended, seconds=42.0)
    assert path.read_text() == (
        '{"Picture_1": {"Name": "x.png", "File": "original", "Label": null}, '
        '"Picture_2": {"Name": "x_01.png", "File": "01", "Label": "Positive"}, '
        '"Picture_3": {"Name": "x_02.png", "File": "02", "Label": "Negative"}, '
        '"Time_cost": {"Start": "2022-08-05 16:10:00", "End": "2022-08-05 16:56:49", "Total": 42}}'
    )
    assert [(v.candidate, v.label, v.seconds) for v in read_official(path, "x")] == [("01", P, 42), ("02", N, 42)]
    write_label_file(path, "x", {"01": P})
    assert "Time_cost" not in path.read_text()
    write_label_file(path, "x", {"01": P}, seconds=1.25, suffix=".jpg")
    assert json.loads(path.read_text())["Time_cost"] == {"Total": 1.25}
    assert json.loads(path.read_text())["Picture_2"]["Name"] == "x_01.jpg"


def test_slots_go_on_after_z() -> None:
    expected = {0: "A", 1: "B", 25: "Z", 26: "AA", 27: "AB", 51: "AZ", 52: "BA", 701: "ZZ"}
    assert {number: slot_name(number) for number in expected} == expected


def test_slots_are_filled_as_people_finished_and_slots_without_people_stay() -> None:
    def ballot(voter: str) -> Ballot:
        return Ballot("x", voter, {"01": P})

    filled = fill_slots([ballot("p-2"), ballot("B"), ballot("p-1"), ballot("AA")])
    assert {slot: own.voter for slot, own in filled.items()} == {"A": "p-2", "B": "B", "C": "p-1", "AA": "AA"}


def test_more_than_26_voters(dataset: Dataset, tmp_path: Path) -> None:
    for number in range(30):
        vote(dataset, f"person {number}", "x", [P, S], after=30 - number)
    export_labels(dataset.path, tmp_path / "out", "official")
    folders = {path.name for path in (tmp_path / "out" / "labels" / "0-2").iterdir()}
    assert {"A", "Z", "AA", "AD"} <= folders
    assert len(folders) == 30
    people = list(csv.DictReader((tmp_path / "out" / "labels" / "people.csv").open(newline="")))
    assert people[0] == {"group": "x", "slot": "A", "person": "person 29"}
    round_trip(dataset, "official", tmp_path / "trip")


def test_people_of_a_store_are_pseudonyms(dataset: Dataset, tmp_path: Path) -> None:
    answers = {"anna": {"x": {"01": "Positive", "02": "Similar"}}, "=bert": {"x": {"01": "Positive", "02": "Negative"}}}
    store_votes(dataset.path / "annotations.sqlite", answers)
    for format_ in set(FORMATS) - {"positives"}:
        export_labels(dataset.path, tmp_path / format_, format_)
    for data in files_below(tmp_path).values():
        assert b"anna" not in data or data.startswith(b"SQLite")
    table = list(csv.DictReader((tmp_path / "csv").open(newline="")))
    assert {row["voter"][:2] for row in table} == {"p-"}
    assert {row["seconds"] for row in table} == {"4"}
    export_labels(dataset.path, tmp_path / "named.csv", "csv", names=True)
    assert {row["voter"] for row in csv.DictReader((tmp_path / "named.csv").open(newline=""))} == {"anna", "'=bert"}
    for format_ in ROUND_TRIPS:
        round_trip(dataset, format_, tmp_path / f"trip-{format_}")
    round_trip(dataset, "csv", tmp_path / "trip-names", names=True)


def test_an_export_into_the_dataset_counts_nothing_twice(dataset: Dataset) -> None:
    answers = {name: {"x": {"01": "Positive", "02": "Similar"}} for name in ("anna", "bert")}
    store_votes(dataset.path / "annotations.sqlite", answers)
    before = counts(dataset)
    assert cli.run(["labels", "export", str(dataset.path), "-o", str(dataset.path), "--format", "official"]) == 0
    assert counts(dataset) == before
    made = files_below(dataset.path / "labels")
    assert set(made) == {"people.csv", "0-2/A/x.json", "0-2/B/x.json"}
    export_labels(dataset.path, dataset.path, "official")  # again: those files are ours
    assert files_below(dataset.path / "labels") == made
    (dataset.path / "annotations.sqlite").unlink()
    assert counts(dataset) == before
    assert not [path for path in dataset.path.iterdir() if path.name.startswith(".")]


def test_an_export_never_replaces_labels_of_others(dataset: Dataset) -> None:
    vote(dataset, "A", "x", [P, S])
    with pytest.raises(InvalidInput, match=r"not exported there \(such as '0-2/A/x.json'\)"):
        export_labels(dataset.path, dataset.path, "official")
    with pytest.raises(InvalidInput, match="no --split"):
        export_labels(dataset.path, dataset.path, "official", with_pictures=True)


def test_a_failed_replacement_brings_the_old_labels_back(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    store_votes(dataset.path / "annotations.sqlite", {"anna": {"x": {"01": "Positive", "02": "Similar"}}})
    export_labels(dataset.path, dataset.path, "official")
    made = files_below(dataset.path / "labels")
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name.startswith(".goldeye-export"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="No space"):
        export_labels(dataset.path, dataset.path, "official")
    assert files_below(dataset.path / "labels") == made
    assert not list(dataset.path.glob(".*"))


def test_with_pictures_is_the_whole_official_layout(dataset: Dataset, tmp_path: Path) -> None:
    vote(dataset, "A", "x", [P, S], after=3)
    out = tmp_path / "out"
    summary = export_labels(dataset.path, out, "official", with_pictures=True)
    assert summary["pictures"] == 6
    assert {path for path in files_below(out) if path.endswith("png")} == {
        f"images/0-2/{path}.png"
        for name in ("x", "y")
        for path in (f"original/{name}", f"01/{name}_01", f"02/{name}_02")
    }
    assert counts(Dataset.open(out)) == counts(dataset)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_csv_rows_by_hand(dataset: Dataset, tmp_path: Path) -> None:
    vote(dataset, "p-1", "x", [P, S], after=20)
    vote(dataset, "p-2", "x", [P, N], after=10.5)
    vote(dataset, "p-2", "y", [N, N])
    out = tmp_path / "votes.csv"
    export_labels(dataset.path, out, "csv", min_votes=2)
    began, ended = "2022-08-05T16:10:00Z", "2022-08-05T16:10:10Z"
    assert out.read_bytes().decode().split("\r\n") == [
        ",".join(COLUMNS),
        f"x,0-2,01,01,Positive,p-2,10.5,{began},{ended},true,Positive,1",
        f"x,0-2,02,02,Negative,p-2,10.5,{began},{ended},true,Similar,0.5",
        f"x,0-2,01,01,Positive,p-1,20,{began},2022-08-05T16:10:20Z,true,Positive,1",
        f"x,0-2,02,02,Similar,p-1,20,{began},2022-08-05T16:10:20Z,true,Similar,0.5",
        "y,0-2,01,01,Negative,p-2,,,,true,,",
        "y,0-2,02,02,Negative,p-2,,,,true,,",
        "",
    ]


def test_tables_as_pandas_reads_them(dataset: Dataset, tmp_path: Path) -> None:
    import pandas as pd
    import pyarrow.parquet as pq

    vote(dataset, "anna", "x", [P, S], after=20)
    for format_ in ("csv", "parquet"):
        export_labels(dataset.path, tmp_path / f"votes.{format_}", format_)
    text = pd.read_csv(tmp_path / "votes.csv", dtype={"candidate": str}, parse_dates=["started", "ended"])
    table = pd.read_parquet(tmp_path / "votes.parquet")
    assert list(text.columns) == list(table.columns) == list(COLUMNS)
    for frame in (text, table):
        assert frame["candidate"].tolist() == ["01", "02"]
        assert frame["ended"].iloc[0] == pd.Timestamp("2022-08-05T16:10:20Z")
        assert frame["seconds"].sum() == 40
        assert frame["counted"].all()
    assert isinstance(table["label"].dtype, pd.CategoricalDtype)
    assert pq.read_schema(tmp_path / "votes.parquet").metadata[b"goldeye.format"] == b"votes/1"
    # What pandas writes comes back, too.
    text.to_csv(tmp_path / "pandas.csv", index=False)
    table.to_parquet(tmp_path / "pandas.parquet", index=False)
    for name in ("pandas.csv", "pandas.parquet"):
        copy = without_votes(dataset, tmp_path / f"copy {name}")
        import_labels(copy.path, tmp_path / name)
        assert counts(copy) == counts(dataset)


def test_surplus_votes_are_exported_and_never_counted(dataset: Dataset, tmp_path: Path) -> None:
    import sqlalchemy as sa

    from goldeye.annotate.schema import assignment, person
    from goldeye.annotate.store import Store

    place = dataset.path / "annotations.sqlite"
    store_votes(
        place, {name: {"x": {"01": label, "02": "Similar"}} for name, label in (("a", "Positive"), ("b", "Negative"))}
    )
    store = Store(place)
    with store.write() as connection:
        late = connection.execute(sa.select(person.c.id).where(person.c.name == "a")).scalar_one()
        connection.execute(sa.update(assignment).where(assignment.c.person == late).values(status="surplus"))
    store.close()
    summary = export_labels(dataset.path, tmp_path / "votes.csv", "csv")
    assert (summary["votes"], summary["surplus"]) == (4, 2)
    table = list(csv.DictReader((tmp_path / "votes.csv").open(newline="")))
    assert [(row["counted"], row["label"], row["final"]) for row in table] == [
        ("true", "Negative", "Negative"),
        ("true", "Similar", "Similar"),
        ("false", "Positive", "Negative"),
        ("false", "Similar", "Similar"),
    ]
    copy = without_votes(dataset, tmp_path / "copy")
    summary = import_labels(copy.path, tmp_path / "votes.csv")
    assert (summary["votes"], summary["surplus"], summary["written"]) == (2, 2, 1)
    assert counts(copy) == counts(dataset)
    assert export_labels(dataset.path, tmp_path / "official", "official")["files"] == 1


# Any votes ------------------------------------------------------------------------------------------------------------

GROUPS = ("x", "=1+1", 'a "b", c', "日本 é", "-y")
names = st.text("qZ,\"'\n\r\t=+-@;:é日\u2028 .", min_size=1, max_size=6).filter(lambda name: bad_voter(name) is None)
times = st.none() | st.integers(0, 10**6) | st.floats(0, 1e9)
tables = st.dictionaries(
    st.tuples(names | st.sampled_from(["A", "B", "AA"]), st.sampled_from(GROUPS)),
    st.tuples(st.lists(st.sampled_from(list(Label)), min_size=2, max_size=2), times, st.none() | st.integers(0, 99)),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("format_", ROUND_TRIPS)
@given(cast=tables)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_votes_make_the_round_trip(
    cast: dict[tuple[str, str], Any], format_: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    dataset = make_dataset(folder / "data", GROUPS)
    for (voter, group), (labels, seconds, after) in cast.items():
        ended = None if after is None else BEGAN + timedelta(seconds=after)
        path = dataset.path / "labels" / "0-2" / voter / f"{group}.json"
        write_label_file(path, group, dict(zip(dataset.slots, labels, strict=True)), seconds=seconds, ended=ended)
    round_trip(dataset, format_, folder / "trip")
    shutil.rmtree(folder)


# Pictures -------------------------------------------------------------------------------------------------------------


def labelled(dataset: Dataset) -> Dataset:
    """x: 01 positive (2 of 2), 02 similar (1 and 1); y: 01 negative, 02 positive (1 vote each)."""
    vote(dataset, "A", "x", [P, P])
    vote(dataset, "B", "x", [P, N])
    vote(dataset, "A", "y", [N, P])
    return dataset


def test_positives_are_pairs_of_folders(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export_labels(labelled(dataset).path, out, "positives")["pairs"] == 2
    assert set(files_below(out)) == {
        *(f"{folder}/{name}.png" for folder in ("original", "positive") for name in ("x_01", "y_02")),
        "meta_info.txt",
    }
    assert (out / "meta_info.txt").read_text() == "x_01.png (6,5,3)\ny_02.png (6,5,3)\n"
    x = next(group for group in dataset.groups if group.id == "x")
    assert (out / "original" / "x_01.png").read_bytes() == x.original.read_bytes()
    assert (out / "positive" / "x_01.png").read_bytes() == x.candidates["01"].read_bytes()
    with pytest.raises(InvalidInput, match="no positives"):
        export_labels(dataset.path, tmp_path / "none", "positives", min_votes=3)
    assert not (tmp_path / "none").exists()


def test_positives_of_other_endings_and_nested_names(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", ["x"])
    original = dataset.groups[0].original
    write_image(original.with_suffix(".bmp"), read_image(original))
    original.unlink()
    other = dataset.path / "images" / "3-4"
    shutil.copytree(dataset.path / "images" / "0-2", other)
    dataset = Dataset.open(dataset.path)
    vote(dataset, "A", "x", [P, S])
    out = tmp_path / "out"
    export_labels(dataset.path, out, "positives")
    assert {path.name for path in (out / "original").iterdir()} == {"0-2_x_01.png"}
    made = read_image(out / "original" / "0-2_x_01.png")
    assert (out / "original" / "0-2_x_01.png").read_bytes().startswith(b"\x89PNG")
    assert np.array_equal(made, read_image(dataset.groups[0].original))


def test_preferences_by_hand(dataset: Dataset, tmp_path: Path) -> None:
    labelled(dataset)
    export_labels(dataset.path, tmp_path / "pairs.jsonl", "preferences")
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    short = [(Path(row["better"]).stem, Path(row["worse"]).stem, row["margin"]) for row in rows]
    assert short == [
        ("x_01", "x", 1),
        ("x_01", "x_02", 1),
        ("y", "y_01", 1),
        ("y_02", "y", 1),
        ("y_02", "y_01", 2),
    ]
    assert rows[1] == {
        "group": "x",
        "split": None,
        "better": "images/0-2/01/x_01.png",
        "worse": "images/0-2/02/x_02.png",
        "better_label": "Positive",
        "worse_label": "Similar",
        "margin": 1,
        "better_votes": {"Positive": 2, "Similar": 0, "Negative": 0},
        "worse_votes": {"Positive": 1, "Similar": 0, "Negative": 1},
    }
    assert all((dataset.path / row[key]).is_file() for row in rows for key in ("better", "worse"))
    export_labels(dataset.path, tmp_path / "few.jsonl", "preferences", with_original=False)
    assert [json.loads(line)["group"] for line in (tmp_path / "few.jsonl").read_text().splitlines()] == ["x", "y"]


def selected(folder: Path) -> Dataset:
    """A dataset of ours with two splits; names that would be taken for times and patterns."""
    enhancers = (Enhancer(name="rcan", slot="01", weights_sha256="ab"), Enhancer(name="elan", slot="02", kind="folder"))
    writer = DatasetWriter(folder, DatasetSettings(enhancers=enhancers))
    rng = np.random.default_rng(0)
    for name, photo in (("2022-08-05", "a.jpg"), ("te st-[1]*#%41", "b.jpg"), ("test", "c.jpg")):
        pictures = [rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(3)]
        candidates = {"01": pictures[1], "02": pictures[2]}
        writer.add(name, pictures[0], candidates, source=photo, source_sha256="00", y=1, x=2, scores={})
    return writer.finish({"a.jpg": "train", "b.jpg": "test", "c.jpg": "train"})


@pytest.mark.parametrize("way", ["folder", "imagefolder"])
def test_hugging_face_datasets_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    for key, value in (("HF_HUB_OFFLINE", "1"), ("HF_HOME", str(tmp_path / "hf")), ("HF_DATASETS_OFFLINE", "1")):
        monkeypatch.setenv(key, value)
    import datasets

    dataset = selected(tmp_path / "data")
    for group in dataset.groups:
        path = dataset.path / "labels" / group.range / "A" / f"{group.name}.json"
        write_label_file(path, group.name, {"01": P, "02": N})
    out = tmp_path / "out"
    assert export_labels(dataset.path, out, "huggingface")["rows"] == {"train": 4, "test": 2}
    cache = str(tmp_path / "cache")
    loaded = (
        datasets.load_dataset(str(out), cache_dir=cache)
        if way == "folder"
        else datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=cache)
    )
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 4, "test": 2}
    groups = {group.id: group for group in dataset.groups}
    for split, rows in loaded.items():
        for row in rows:
            group = groups[row["group"]]
            assert group.split == split
            assert np.array_equal(np.asarray(row["original"]), read_image(group.original))
            assert np.array_equal(np.asarray(row["candidate"]), read_image(group.candidates[row["slot"]]))
            assert row["label"] == {"01": "Positive", "02": "Negative"}[row["slot"]]
            assert row["enhancer"] == {"01": "rcan", "02": "elan"}[row["slot"]]
            assert (row["votes"], row["positive"], row["negative"]) == (1, row["slot"] == "01", row["slot"] == "02")
            assert (row["source"], row["y"], row["x"]) == (group.source, 1, 2)


def test_a_split_that_datasets_refuses(tmp_path: Path) -> None:
    dataset = selected(tmp_path / "data")
    rows = (dataset.path / "groups.jsonl").read_text().replace('"test"}', '"../test"}')
    (dataset.path / "groups.jsonl").write_text(rows)
    for group in dataset.groups:
        path = dataset.path / "labels" / group.range / "A" / f"{group.name}.json"
        write_label_file(path, group.name, {"01": P, "02": N})
    with pytest.raises(InvalidInput, match=r"'\.\./test'"):
        export_labels(dataset.path, tmp_path / "out", "huggingface")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("format_", "told"), [("huggingface", "no final labels"), ("preferences", "no two pictures")])
def test_nothing_to_export_is_said(dataset: Dataset, tmp_path: Path, format_: str, told: str) -> None:
    labelled(dataset)
    with pytest.raises(InvalidInput, match=told):
        export_labels(dataset.path, tmp_path / "out", format_, min_votes=3)
    assert not (tmp_path / "out").exists()


# The command ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_a_place_that_is_taken_is_left_alone(dataset: Dataset, tmp_path: Path, format_: str) -> None:
    labelled(dataset)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "file", "link"):
        with pytest.raises(InvalidInput, match="is there already"):
            export_labels(dataset.path, tmp_path / name, format_)
    with pytest.raises(InvalidInput, match="the dataset's own folder"):
        export_labels(dataset.path, dataset.path / "images" / "0-2" / "new", format_)
    assert (tmp_path / "folder" / "mine").read_text() == "mine"


@pytest.mark.parametrize("format_", FORMATS)
def test_a_failed_export_leaves_nothing(
    dataset: Dataset, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(dataset)
    out = tmp_path / "sub" / "out"

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.sync", fails)
    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="No space"):
        export_labels(dataset.path, out, format_)
    assert list((tmp_path / "sub").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--format", "cvs"], "Did you mean 'csv'"),
        (["--format", "official", "--names"], "--names is for csv and parquet, not for official"),
        (["--format", "csv", "--with-pictures"], "--with-pictures is for official"),
        (["--format", "csv", "--no-original"], "--no-original is for preferences"),
        (["--format", "csv", "--split", "test"], "has no splits"),
        (["--format", "csv", "--database", "gone.sqlite"], "no annotation database 'gone.sqlite'"),
    ],
)
def test_wrong_options_are_one_sentence(
    dataset: Dataset, tmp_path: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled(dataset)
    assert cli.run(["labels", "export", str(dataset.path), "-o", str(tmp_path / "out"), *options]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_the_command_says(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled(dataset)
    out = tmp_path / "votes.csv"
    arguments = ["labels", "export", str(dataset.path), "--format", "csv", "-o"]
    assert cli.run([*arguments, str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "goldeye.labels/1",
        "format": "csv",
        "output": str(out),
        "groups": 2,
        "voters": 2,
        "votes": 6,
        "surplus": 0,
        "rows": 6,
    }
    assert cli.run([*arguments, str(tmp_path / "more.csv")]) == 0
    assert "more.csv: 6 rows, from 6 votes of 2 voters on 2 groups." in capsys.readouterr().out
    copy = without_votes(dataset, tmp_path / "copy")
    assert cli.run(["labels", "import", str(copy.path), str(out), "--dry-run"]) == 0
    assert "3 label files would be written" in capsys.readouterr().out
    assert not (copy.path / "labels").exists()
    assert cli.run(["labels", "import", str(copy.path), str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "goldeye.labels/1",
        "format": "csv",
        "source": str(out),
        "dry_run": False,
        "groups": 2,
        "voters": 2,
        "votes": 6,
        "surplus": 0,
        "written": 3,
        "replaced": 0,
        "skipped": 0,
    }
    assert read_votes(copy).voters == ("A", "B")


def test_an_empty_folder_may_be_filled(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert export_labels(labelled(dataset).path, tmp_path / "out", "official")["files"] == 3
    assert len(files_below(tmp_path / "out")) == 3


def test_a_split_alone(tmp_path: Path) -> None:
    dataset = selected(tmp_path / "data")
    for group in dataset.groups:
        path = dataset.path / "labels" / group.range / "A" / f"{group.name}.json"
        write_label_file(path, group.name, {"01": P, "02": N})
    assert export_labels(dataset.path, tmp_path / "test.csv", "csv", split="test")["rows"] == 2
    assert export_labels(dataset.path, tmp_path / "test", "official", split="test")["files"] == 1
