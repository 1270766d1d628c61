"""What an import refuses, by name and before anything is written, and that it happens whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goldeye import cli
from goldeye.dataset.exchange import export_labels, import_labels, write_label_file
from goldeye.dataset.groups import Dataset, DatasetSettings, DatasetWriter, Enhancer
from goldeye.dataset.labels import Label, pseudonyms, read_votes
from goldeye.errors import InvalidInput
from goldeye.images import write_image

P, S, N = Label.POSITIVE, Label.SIMILAR, Label.NEGATIVE
HEADER = "group,candidate,label,voter"
GOOD = ["x,01,Positive,anna", "x,02,Similar,anna", "y,01,Negative,anna", "y,02,Similar,anna"]


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.sync waits for all that any program wrote, which takes long on a busy machine."""
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two groups, x and y, with two candidates each, and no votes."""
    picture = np.zeros((4, 4, 3), np.uint8)
    for name in ("x", "y"):
        for folder, file in (("original", name), ("01", f"{name}_01"), ("02", f"{name}_02")):
            write_image(tmp_path / "data" / "images" / "0-2" / folder / f"{file}.png", picture)
    return Dataset.open(tmp_path / "data")


def content(path: Path) -> dict[str, bytes]:
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def refused(dataset: Dataset, source: Path, *told: str, **options: Any) -> str:
    """Import, which must say all of `told` and write nothing; what was said."""
    before = content(dataset.path)
    with pytest.raises(InvalidInput) as caught:
        import_labels(dataset.path, source, **options)
    for text in told:
        assert text in caught.value.message
    assert content(dataset.path) == before
    return caught.value.message


def write_csv(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\r\n".join([header, *lines, ""]), encoding="utf-8", newline="")
    return path


# Tables ---------------------------------------------------------------------------------------------------------------


def test_a_table_with_the_needed_columns_alone(dataset: Dataset, tmp_path: Path) -> None:
    result = import_labels(dataset.path, write_csv(tmp_path / "v.csv", GOOD))
    assert (result["written"], result["votes"], result["groups"]) == (2, 4, 2)
    assert [(v.group, v.candidate, v.label, v.voter) for v in read_votes(dataset).votes] == [
        ("x", "01", P, "anna"),
        ("x", "02", S, "anna"),
        ("y", "01", N, "anna"),
        ("y", "02", S, "anna"),
    ]
    assert set(content(dataset.path / "labels")) == {"0-2/anna/x.json", "0-2/anna/y.json"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("z,01,Positive,anna", "line 6: the dataset has no group 'z'"),
        ("../x,01,Positive,anna", "line 6: the dataset has no group '../x'"),
        ("/etc/passwd,01,Positive,anna", "no group '/etc/passwd'"),
        ("x,03,Positive,bert", "line 6: group 'x' has no candidate '03' (it has 01, 02)"),
        ("x,../01,Positive,bert", "no candidate '../01'"),
        ("x,01,positive,bert", "line 6: unknown label 'positive', did you mean 'Positive'?"),
        ("x,01,Negativ,bert", "unknown label 'Negativ', did you mean 'Negative'?"),
        ("x,01,,bert", "the label is None; known are Positive, Similar, Negative"),
        ("x,01,Positive,anna", "line 6: 'anna' labels 01 of group 'x' twice (first: line 2)"),
        ("x,01,Positive,bert", "line 6: 'bert' gives group 'x' 1 labels of 2; 02 lacks one"),
        ("x,01,Positive,../bert", "line 6: the voter '../bert' cannot be the name of a folder"),
        ("x,01,Positive,..", "the voter '..' cannot be the name of a folder"),
        ("x,01,Positive,C:bert", "the voter 'C:bert' cannot"),
        ("x,01,Positive,a\\b", "cannot be the name of a folder"),
        ("x,01,Positive,.hidden", "the voter '.hidden' cannot"),
        (f"x,01,Positive,{'é' * 120}", "cannot be the name of a folder"),
        ("x,01,Positive,People.csv", "the voter 'People.csv' cannot"),
        ("x,01,Positive,", "line 6: no voter"),
        (",01,Positive,anna", "line 6: no group"),
        ("x,01,Positive", "line 6: 3 cells, but 4 columns"),
        ("x,01,Positive,anna,more", "line 6: 5 cells, but 4 columns"),
        ('x,01,"Positive,anna', "line 6: not csv"),
        ('x,01,"Positive"x,anna', "line 6: not csv"),
        ("x,01,Posi\0tive,anna", "line 6: holds a NUL byte"),
    ],
)
def test_each_wrong_row_is_named(dataset: Dataset, tmp_path: Path, line: str, told: str) -> None:
    message = refused(dataset, write_csv(tmp_path / "v.csv", [*GOOD, line]), told)
    assert message.startswith(f"'{tmp_path / 'v.csv'}' has 1 problem; nothing was imported.\n- ")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("seconds", "-1", "line 2: -1.0 is no number of seconds from 0"),
        ("seconds", "nan", "nan is no number of seconds"),
        ("seconds", "inf", "inf is no number of seconds"),
        ("seconds", "soon", "'soon' is no number of seconds"),
        ("started", "yesterday", "line 2: 'yesterday' is no time; one is 2022-08-05T16:56:06Z"),
        ("ended", "2022-13-01T00:00:00Z", "is no time"),
        ("ended", "0001-01-01T00:00:00+14:00", "is no time"),
        ("counted", "perhaps", "line 2: counted is true or false, not 'perhaps'"),
        ("range", "0-3", "line 2: group 'x' is in range 0-2, not in '0-3'"),
        ("secnds", "1", "unknown column 'secnds', did you mean 'seconds'?"),
        ("weather", "fine", "unknown column 'weather' (known: group, range,"),
        ("voter", "bert", "the column 'voter' is there 2 times"),
    ],
)
def test_each_wrong_cell_of_other_columns_is_named(
    dataset: Dataset, tmp_path: Path, column: str, value: str, told: str
) -> None:
    refused(dataset, write_csv(tmp_path / "v.csv", [f"{line},{value}" for line in GOOD], f"{HEADER},{column}"), told)


def test_every_problem_is_named_and_more_than_twenty_are_counted(dataset: Dataset, tmp_path: Path) -> None:
    lines = ["z,01,Positive,anna", "x,01,good,anna", "x,07,Positive,anna"]
    message = refused(dataset, write_csv(tmp_path / "v.csv", lines), "has 3 problems", "line 2", "line 3", "line 4")
    assert len(message.splitlines()) == 4
    many = [f"group {number},01,Positive,anna" for number in range(33)]
    message = refused(dataset, write_csv(tmp_path / "v.csv", many), "has 33 problems", "- and 13 more")
    assert len(message.splitlines()) == 22


def test_one_answer_with_two_times(dataset: Dataset, tmp_path: Path) -> None:
    lines = [f"{line},{seconds}" for line, seconds in zip(GOOD, (1, 2, 3, 3), strict=True)]
    told = "line 3: other times than line 2 for the same answer of 'anna'"
    refused(dataset, write_csv(tmp_path / "v.csv", lines, f"{HEADER},seconds"), told)


def test_the_enhancer_must_be_the_datasets(tmp_path: Path) -> None:
    enhancers = (Enhancer(name="rcan", slot="01"), Enhancer(name="elan", slot="02"))
    picture = np.zeros((8, 8, 3), np.uint8)
    writer = DatasetWriter(tmp_path / "data", DatasetSettings(enhancers=enhancers))
    writer.add("x", picture, {"01": picture, "02": picture}, source="x", source_sha256="", y=0, x=0, scores={})
    dataset = writer.finish({"x": "train"})
    lines = ["x,01,Positive,anna,elan", "x,02,Positive,anna,elan"]
    refused(
        dataset, write_csv(tmp_path / "v.csv", lines, f"{HEADER},enhancer"), "candidate 01 is by 'rcan', not by 'elan'"
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no columns"),
        (b"\n", "no columns"),
        (b"group;candidate;label;voter\nx;01;Positive;anna\n", "unknown column 'group;candidate;label;voter'"),
        (b"group,candidate,label\n", "no column voter in the first line"),
        (b"group,candidate,label,voter\n", "holds no votes"),
        (b"group,candidate,label,voter\nx,01,Positive,\xffanna\n", "line 2: not UTF-8 (byte 14 of the line)"),
        (b"group,candidate,label,voter\n" + b"x" * (2 << 20), "line 2: longer than 1 MiB"),
        (b'group,candidate,label,voter\n"' + b"x\n" * (1 << 18), "line 2: not csv (field larger"),
    ],
)
def test_files_that_are_no_table(dataset: Dataset, tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "v.csv").write_bytes(data)
    refused(dataset, tmp_path / "v.csv", told)


def test_a_spreadsheets_csv(dataset: Dataset, tmp_path: Path) -> None:
    """With a byte order mark, empty lines, and an apostrophe before what would be a formula."""
    text = "\r\n".join([HEADER, "", *GOOD[:2], "x,01,Similar,'=anna", "x,02,Similar,'=anna", ""])
    (tmp_path / "v.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    import_labels(dataset.path, tmp_path / "v.csv")
    assert read_votes(dataset).voters == ("=anna", "anna")


def test_absurd_sizes_are_not_read(dataset: Dataset, tmp_path: Path) -> None:
    for name, size in (("v.csv", 3 << 30), ("v.parquet", 3 << 30)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    refused(dataset, tmp_path / "v.csv", "holds 3.0 GiB")
    refused(dataset, tmp_path / "v.parquet", "holds 3.0 GiB")
    folder = tmp_path / "labels" / "A"
    folder.mkdir(parents=True)
    with (folder / "x.json").open("wb") as file:
        file.truncate(3 << 30)
    refused(dataset, tmp_path / "labels", "A/x.json: 3072 MiB are too many for a label file")


def test_parquet_of_other_types(dataset: Dataset, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = {"group": ["x", "x"], "candidate": ["01", "02"], "label": ["Positive", "Similar"], "voter": ["a", "a"]}
    for column, values, told in (
        ("candidate", [1, 2], "row 1: group 'x' has no candidate 1 (it has 01, 02)"),
        ("label", [1.5, None], "row 2: the label is None"),
        ("voter", [1, 1], "row 1: voter is 1"),
        ("group", [None, b"x"], "row 2: group is b'x'"),
        ("seconds", ["5", "-5"], "row 2: -5.0 is no number of seconds"),
        ("seconds", [True, True], "True is no number of seconds"),
        ("started", [5, 5], "row 1: 5 is no time"),
        ("counted", [2, 2], "row 1: counted is true or false, not 2"),
        ("label", [["Positive"], ["Positive"]], "row 1: the label is ['Positive']"),
    ):
        pq.write_table(pa.table(good | {column: values}), tmp_path / "v.parquet")
        refused(dataset, tmp_path / "v.parquet", told)
    (tmp_path / "v.parquet").write_bytes(b"PAR1 and then nothing PAR1")
    refused(dataset, tmp_path / "v.parquet", "not a whole Parquet file")


@pytest.mark.parametrize(
    ("name", "format_", "told"),
    [
        ("gone.csv", None, "does not exist"),
        ("votes.txt", None, "no ending that says what it is"),
        ("votes.txt", "official", "is not a folder, which labels as official are"),
        ("folder", "csv", "is not a file, which labels as csv are"),
        ("folder", None, "holds no label files"),
        ("votes.txt", "xml", "Unknown format 'xml'"),
        ("pipe.csv", None, "is not a file"),
    ],
)
def test_sources_that_are_none(dataset: Dataset, tmp_path: Path, name: str, format_: str | None, told: str) -> None:
    (tmp_path / "votes.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    refused(dataset, tmp_path / name, told, format_=format_)


# Label files ----------------------------------------------------------------------------------------------------------


def labels_folder(folder: Path, *voters: str, below: str = "0-2/") -> Path:
    for voter in voters:
        write_label_file(folder / f"{below}{voter}" / "x.json", "x", {"01": P, "02": S}, seconds=3)
    return folder


@pytest.mark.parametrize("below", ["", "0-2/", "labels/0-2/", "Train/labels/0-2/", "labels/"])
def test_with_ranges_and_without(dataset: Dataset, tmp_path: Path, below: str) -> None:
    folder = labels_folder(tmp_path / "in", "A", "B", below=below)
    assert import_labels(dataset.path, folder)["written"] == 2
    assert set(content(dataset.path / "labels")) == {"0-2/A/x.json", "0-2/B/x.json"}


def test_people_csv_names_the_voters(dataset: Dataset, tmp_path: Path) -> None:
    folder = labels_folder(tmp_path / "in", "A", "B")
    (folder / "people.csv").write_text("group,slot,person\nx,A,p-12\n")
    import_labels(dataset.path, folder)
    assert set(content(dataset.path / "labels")) == {"0-2/p-12/x.json", "0-2/B/x.json"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("slot,group,voter\n", "people.csv: the columns must be group, slot, person"),
        ("group,slot,person\nx,A\n", "people.csv, line 2: not a group, a slot and a person"),
        ("group,slot,person\nx,A,p\nx,A,q\n", "people.csv, line 3: slot 'A' of group 'x' is there twice"),
        (
            "group,slot,person\nx,A,p\nx,B,p\n",
            "people.csv, line 3: person 'p' has a slot of group 'x' already",
        ),
        ("group,slot,person\nx,A,p\nx,C,q\n", "people.csv: there is no label file of slot 'C' for group 'x'"),
        ("group,slot,person\nx,A,../p\n", "the voter '../p' cannot be the name of a folder"),
        ("group,slot,person\nx,A,\n", "people.csv, line 2: not a group, a slot and a person"),
    ],
)
def test_each_wrong_line_of_people_csv(dataset: Dataset, tmp_path: Path, text: str, told: str) -> None:
    folder = labels_folder(tmp_path / "in", "A", "B")
    (folder / "people.csv").write_text(text)
    refused(dataset, folder, told)


def change(**parts: Any) -> Callable[[dict[str, Any]], Any]:
    """A label file with some parts replaced; dots go into the parts' parts."""

    def changed(document: dict[str, Any]) -> dict[str, Any]:
        for key, value in parts.items():
            *way, last = key.split("__")
            part = document
            for name in way:
                part = part.setdefault(name, {})
            part[last] = value
        return document

    return changed


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (change(Picture_2__Label="Good"), "0-2/A/x.json: unknown label 'Good'"),
        (change(Picture_2__Label=["Positive"]), "the label is ['Positive']"),
        (change(Picture_2__File="07"), "group 'x' has no candidate '07' (it has 01, 02)"),
        (change(Picture_2__File=["01"]), "no candidate ['01']"),
        (change(Picture_2__File="02"), "'A' labels 02 of group 'x' twice"),
        (change(Picture_2__Name="y_01.png"), "'Picture_2' names the picture 'y_01.png'; the dataset's is 'x_01'"),
        (change(Picture_2__Name="../x_01.png"), "names the picture '../x_01.png'"),
        (change(Picture_2__Name=7), "names the picture 7"),
        (change(Picture_1__Name="/etc/x.png"), "'Picture_1' names the picture '/etc/x.png'"),
        (change(Picture_1__Label="Positive"), "the original has the label 'Positive'"),
        (change(Picture_2=3), "'Picture_2' is not {Name, File, Label}"),
        (change(Time_cost__Total=-3), "-3 is no number of seconds from 0"),
        (change(Time_cost__Total="3"), "'3' is no number of seconds"),
        (change(Time_cost__Total=10**400), "is no number of seconds"),
        (change(Time_cost__Total=float("nan")), "nan is no number of seconds"),
        (change(Time_cost__Start="2022-08-05"), "Start is '2022-08-05', which is no time"),
        (change(Time_cost__End=5), "End is 5, which is no time"),
        (change(Time_cost=[]), "Time_cost is []"),
        (lambda document: [], "not a label file in the official form"),
        (lambda document: {}, "it labels no candidate"),
        (lambda document: {"Picture_1": document["Picture_1"]}, "it labels no candidate"),
        (
            lambda document: {key: document[key] for key in ("Picture_1", "Picture_2")},
            "'A' gives group 'x' 1 labels of 2",
        ),
    ],
)
def test_each_wrong_part_of_a_label_file_is_named(
    dataset: Dataset, tmp_path: Path, edit: Callable[[dict[str, Any]], Any], told: str
) -> None:
    folder = labels_folder(tmp_path / "in", "A")
    path = folder / "0-2" / "A" / "x.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    refused(dataset, folder, "0-2/A/x.json", told)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "line 1 column 2"),
        (b"\xff\xfe", "can't decode byte 0xff"),
        (b"\0", "line 1 column 1"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"Picture_1": 1, "Picture_1": 2}', "'Picture_1' is there twice"),
        (b"", "line 1 column 1"),
    ],
)
def test_label_files_that_are_none(dataset: Dataset, tmp_path: Path, data: bytes, told: str) -> None:
    folder = labels_folder(tmp_path / "in", "A")
    (folder / "0-2" / "A" / "x.json").write_bytes(data)
    refused(dataset, folder, "0-2/A/x.json", told)


def test_label_files_in_wrong_places(dataset: Dataset, tmp_path: Path) -> None:
    folder = labels_folder(tmp_path / "in", "A")
    good = folder / "0-2" / "A" / "x.json"
    shutil.copyfile(good, folder / "x.json")
    shutil.copyfile(good, folder / "0-2" / "A" / "gone.json")
    (folder / "3-4" / "A").mkdir(parents=True)
    shutil.copyfile(good, folder / "3-4" / "A" / "x.json")
    refused(
        dataset,
        folder,
        "has 3 problems",
        "x.json: not in the folder of a slot or person",
        "0-2/A/gone.json: the dataset has no group '0-2/gone'",
        "3-4/A/x.json: the dataset has no group '3-4/x'",
    )


def test_a_name_in_two_ranges_needs_the_range(dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.path / "images" / "0-2", dataset.path / "images" / "2-4")
    refused(dataset, labels_folder(tmp_path / "in", "A", below=""), "A/x.json: the dataset has several groups 'x'")
    import_labels(dataset.path, labels_folder(tmp_path / "named", "A", below="2-4/"))
    assert {vote.group for vote in read_votes(Dataset.open(dataset.path)).votes} == {"2-4/x"}


def test_links_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    folder = labels_folder(tmp_path / "in", "A")
    secret = tmp_path / "secret"
    labels_folder(secret, "B", below="")
    (folder / "0-2" / "B").symlink_to(secret / "B")
    (folder / "0-2" / "A" / "y.json").symlink_to(secret / "B" / "x.json")
    (folder / "people.csv").symlink_to(secret)
    refused(
        dataset,
        folder,
        "has 3 problems",
        "0-2/B: a symbolic link",
        "0-2/A/y.json: a symbolic link",
        "people.csv: a symbolic link",
    )
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "labels").symlink_to(folder)
    refused(dataset, outer, "is a symbolic link")
    os.mkfifo(secret / "B" / "y.json")
    refused(dataset, secret, "B/y.json: not a plain file")


@pytest.mark.parametrize("place", ["labels", "labels/0-2", "labels/0-2/anna", "labels/0-2/anna/x.json"])
def test_nothing_is_written_through_a_link_or_over_a_folder(dataset: Dataset, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    (outside / "0-2" / "anna").mkdir(parents=True)
    target = dataset.path / place
    target.parent.mkdir(parents=True, exist_ok=True)
    source = write_csv(tmp_path / "v.csv", GOOD[:2])
    target.symlink_to(outside)
    refused(dataset, source, f"'{target}' is ", overwrite=True)
    target.unlink()
    target.write_text("a file") if not place.endswith(".json") else target.mkdir()
    refused(dataset, source, f"'{target}' is not a ", overwrite=True)
    assert not list(outside.rglob("*.json"))


def test_no_link_of_the_dataset_or_source_leads_elsewhere(dataset: Dataset, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    labels_folder(outside / "labels", "A")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Train").symlink_to(outside)
    refused(dataset, tmp_path / "in", "Train: a symbolic link")
    shutil.rmtree(outside / "labels")
    # What an import that was killed leaves, made by somebody else.
    (dataset.path / ".labels-import").symlink_to(outside)
    (dataset.path / ".labels.old").symlink_to(outside)
    import_labels(dataset.path, write_csv(tmp_path / "v.csv", [line.replace("anna", "bert") for line in GOOD]))
    import_labels(dataset.path, write_csv(tmp_path / "w.csv", GOOD))
    assert not list(outside.iterdir())
    assert len(content(dataset.path / "labels")) == 4
    assert not list(dataset.path.glob(".*"))


@pytest.mark.parametrize(("first", "second"), [("Anna", "anna"), ("Jos\u00e9", "Jose\u0301")])
def test_two_voters_in_what_many_systems_take_for_one_folder(
    dataset: Dataset, tmp_path: Path, first: str, second: str
) -> None:
    lines = [line.replace("anna", voter) for voter in (first, second) for line in GOOD]
    told = f"{second!r} on group 'x': some systems would take its folder for that of {first!r}"
    refused(dataset, write_csv(tmp_path / "v.csv", lines), told)
    import_labels(dataset.path, write_csv(tmp_path / "v.csv", lines[:4]))
    refused(dataset, write_csv(tmp_path / "v.csv", lines[4:]), told, overwrite=True)


# What is there already ------------------------------------------------------------------------------------------------


def test_importing_again_changes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "v.csv", GOOD)
    import_labels(dataset.path, source)
    before = content(dataset.path)
    result = import_labels(dataset.path, source)
    assert (result["written"], result["replaced"], result["skipped"]) == (0, 0, 2)
    assert import_labels(dataset.path, dataset.path / "labels")["skipped"] == 2
    assert content(dataset.path) == before


def test_the_same_answer_without_times_is_the_same(dataset: Dataset, tmp_path: Path) -> None:
    import_labels(dataset.path, write_csv(tmp_path / "v.csv", [f"{line},5" for line in GOOD], f"{HEADER},seconds"))
    assert import_labels(dataset.path, write_csv(tmp_path / "w.csv", GOOD))["skipped"] == 2
    other = write_csv(tmp_path / "w.csv", [f"{line},6" for line in GOOD], f"{HEADER},seconds")
    refused(dataset, other, "has 2 problems", "x.json' says otherwise")


def test_another_answer_of_the_same_person(dataset: Dataset, tmp_path: Path) -> None:
    import_labels(dataset.path, write_csv(tmp_path / "v.csv", GOOD))
    other = write_csv(tmp_path / "w.csv", ["x,01,Negative,anna", "x,02,Similar,anna", *GOOD[2:]])
    refused(
        dataset, other, "has 1 problem", "'anna' on group 'x'", "anna/x.json' says otherwise (--overwrite replaces it)"
    )
    result = import_labels(dataset.path, other, overwrite=True)
    assert (result["written"], result["replaced"], result["skipped"]) == (0, 1, 1)
    assert read_votes(dataset).votes[0].label is N


def test_a_damaged_file_in_place_is_replaced_only_when_told(dataset: Dataset, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "v.csv", GOOD)
    import_labels(dataset.path, source)
    (dataset.path / "labels" / "0-2" / "anna" / "x.json").write_text("{")
    refused(dataset, source, "says otherwise")
    assert import_labels(dataset.path, source, overwrite=True)["replaced"] == 1


def test_people_csv_of_the_dataset_is_minded(dataset: Dataset, tmp_path: Path) -> None:
    """Slot A of x is p-1 there: p-1 is not taken twice, and an anonymous A does not become p-1."""
    labels = labels_folder(dataset.path / "labels", "A")
    (labels / "people.csv").write_text("group,slot,person\nx,A,p-1\n")
    same = [f"{line.replace('anna', 'p-1')},3" for line in GOOD[:2]]
    header = f"{HEADER},seconds"
    assert import_labels(dataset.path, write_csv(tmp_path / "v.csv", same, header))["skipped"] == 1
    other = [line.replace("Positive", "Negative") for line in same]
    refused(dataset, write_csv(tmp_path / "v.csv", other, header), "0-2/A/x.json' says otherwise")
    assert import_labels(dataset.path, tmp_path / "v.csv", overwrite=True)["replaced"] == 1
    assert [(vote.voter, vote.label) for vote in read_votes(dataset).votes] == [("p-1", N), ("p-1", S)]
    anonymous = [line.replace("anna", "A") for line in GOOD[:2]]
    refused(
        dataset,
        write_csv(tmp_path / "w.csv", anonymous),
        "A/x.json' holds the answer of another person",
        overwrite=True,
    )


def test_people_of_the_store_are_not_taken_twice(dataset: Dataset, tmp_path: Path) -> None:
    from goldeye.annotate.assign import Assigner, GroupPictures
    from goldeye.annotate.store import Store

    store = Store(dataset.path / "annotations.sqlite")
    store.invite("anna")
    (person,) = store.people()
    assigner = Assigner(store, [GroupPictures("x", Path(), {"01": Path(), "02": Path()})])
    given = assigner.claim(person.id)[0]
    assert given is not None
    for position, candidate in enumerate(given.order):
        assigner.answer(person.id, given.id, position, "Positive", client_id=candidate, active_ms=1)
    store.close()
    export_labels(dataset.path, tmp_path / "own.csv", "csv")
    export_labels(dataset.path, tmp_path / "named.csv", "csv", names=True)
    export_labels(dataset.path, tmp_path / "own.parquet", "parquet")
    export_labels(dataset.path, tmp_path / "own", "official")
    bare = write_csv(tmp_path / "bare.csv", ["x,01,Positive,anna", "x,02,Positive,anna"])
    before = content(dataset.path)
    for source in (*(tmp_path / name for name in ("own.csv", "named.csv", "own.parquet", "own")), bare):
        result = import_labels(dataset.path, source)
        assert (result["written"], result["replaced"], result["skipped"]) == (0, 0, 1)
    assert content(dataset.path) == before
    changed = (tmp_path / "own.csv").read_text().replace(",Positive,p-", ",Negative,p-", 1)
    (tmp_path / "own.csv").write_text(changed)
    refused(dataset, tmp_path / "own.csv", "the annotation store says otherwise, and its word stands", overwrite=True)
    (pseudonym,) = pseudonyms(read_votes(dataset)).values()
    twice = [*GOOD[2:], *(line.replace("anna", pseudonym) for line in GOOD[2:])]
    refused(dataset, write_csv(tmp_path / "v.csv", twice), f"{pseudonym!r} on group 'y': the same person as 'anna'")
    assert import_labels(dataset.path, write_csv(tmp_path / "v.csv", GOOD[2:]))["written"] == 1


def test_a_crash_while_writing_leaves_whole_files_and_the_next_import_ends_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_labels(dataset.path, write_csv(tmp_path / "first.csv", [line.replace("anna", "bert") for line in GOOD]))
    before = content(dataset.path)
    replace, moved = Path.replace, []

    def fails_after_one(self: Path, target: Path) -> Path:
        if moved:
            raise OSError(28, "No space left on device")
        moved.append(target)
        return replace(self, target)

    source = write_csv(tmp_path / "v.csv", GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails_after_one)
        with pytest.raises(OSError, match="No space"):
            import_labels(dataset.path, source)
    after = content(dataset.path)
    assert set(after) - set(before) == {"labels/0-2/anna/x.json"}
    result = import_labels(dataset.path, source)
    assert (result["written"], result["skipped"]) == (1, 1)
    with monkeypatch.context() as patch:  # nothing was written yet when the disk is full
        patch.setattr("os.sync", lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        before = content(dataset.path)
        with pytest.raises(OSError, match="No space"):
            import_labels(dataset.path, write_csv(tmp_path / "w.csv", [f"{line}2" for line in GOOD]))
    assert content(dataset.path) == before


def killed_at_each_step(work: Callable[[], object], prepare: Callable[[], object]) -> Iterator[None]:
    """Do `work` in a process that ends at once before its first, second, … change of a folder; a pause after each."""
    changes = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")
    for step in range(1, 200):
        prepare()
        child = os.fork()
        if child == 0:
            made = 0

            def end(event: str, arguments: tuple[Any, ...], step: int = step) -> None:
                nonlocal made
                writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
                made += event in changes or bool(writes)
                if made == step:
                    os._exit(9)

            sys.addaudithook(end)
            try:
                work()
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9)
        if code == 0:
            assert step > 5
            return
        yield
    raise AssertionError("it never ended")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("first", [False, True])
def test_an_import_killed_at_any_step_is_ended_by_the_next(dataset: Dataset, tmp_path: Path, first: bool) -> None:
    source = write_csv(tmp_path / "v.csv", GOOD)
    if not first:
        labels_folder(dataset.path / "labels", "A")
    before = content(dataset.path)

    def prepare() -> None:
        shutil.rmtree(dataset.path / "labels", ignore_errors=True)
        if not first:
            labels_folder(dataset.path / "labels", "A")

    prepare()
    import_labels(dataset.path, source)
    after = content(dataset.path)
    for _ in killed_at_each_step(lambda: import_labels(dataset.path, source), prepare):
        left = {name: data for name, data in content(dataset.path).items() if not name.startswith(".")}
        assert before.items() <= left.items() <= after.items()
        import_labels(dataset.path, source)
        assert content(dataset.path) == after


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("next_", ["export", "import"])
def test_an_export_into_the_dataset_killed_at_any_step_loses_nothing(
    dataset: Dataset, tmp_path: Path, next_: str
) -> None:
    source = write_csv(tmp_path / "v.csv", GOOD[2:])
    labels = dataset.path / "labels"

    def prepare() -> None:
        for path in (labels, dataset.path / ".labels.old"):
            shutil.rmtree(path, ignore_errors=True)
        (labels_folder(labels, "A") / "people.csv").write_text("group,slot,person\nx,A,p-1\n")

    def export() -> object:
        return export_labels(dataset.path, dataset.path, "official")

    for _ in killed_at_each_step(export, prepare):
        if next_ == "export":
            export()
        else:
            import_labels(dataset.path, source)
        assert [vote.voter for vote in read_votes(dataset).votes if vote.group == "x"] == ["p-1"] * 2


def test_the_command_names_the_problems(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_csv(tmp_path / "v.csv", ["z,01,Positive,anna"])
    assert cli.run(["labels", "import", str(dataset.path), str(source)]) == 2
    assert capsys.readouterr().err == (
        f"goldeye: '{source}' has 1 problem; nothing was imported.\n- line 2: the dataset has no group 'z'\n"
    )
    assert cli.run(["labels", "import", str(dataset.path), str(source), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "invalid_input"


# Damage ---------------------------------------------------------------------------------------------------------------

_PIECES = (b"\0", b"\xff", b"'", b'"', b",", b"\n", b"../", b"/etc/", b"{", b"]", b"-", b"9" * 400, b"Picture_9", b"=1")


def damage(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few changes: replaced, cut, doubled, or with hostile pieces put in."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(damaged) + 1)
        kind = rng.randrange(4)
        if kind == 0 and damaged:
            damaged[place % len(damaged)] = rng.randrange(256)
        elif kind == 1:
            damaged[place:place] = rng.choice(_PIECES)
        elif kind == 2:
            del damaged[place : place + rng.randint(1, 20)]
        else:
            damaged[place:place] = damaged[place : place + rng.randint(1, 60)]
    return bytes(damaged)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["official", "csv", "parquet"])
def test_damaged_files_never_give_a_traceback_or_write_elsewhere(
    dataset: Dataset, tmp_path: Path, format_: str
) -> None:
    for voter in ("A", "p-1", "=b,"):
        for name in ("x", "y"):
            path = dataset.path / "labels" / "0-2" / voter / f"{name}.json"
            write_label_file(path, name, {"01": P, "02": N}, seconds=3)
    good = tmp_path / f"good.{format_}"
    export_labels(dataset.path, good, format_)
    shutil.rmtree(dataset.path / "labels")
    rng = random.Random(0)
    ended = {0: 0, 2: 0}
    for _ in range(400):
        arena = tmp_path / "arena"
        shutil.copytree(dataset.path, arena / "data", copy_function=os.link)
        source = arena / good.name
        if format_ == "official":
            shutil.copytree(good, source)
            path = rng.choice(sorted(path for path in source.rglob("*") if path.is_file()))
        else:
            path = source
        path.write_bytes(damage((good / path.relative_to(source) if good.is_dir() else good).read_bytes(), rng))
        before = content(arena)
        code = cli.run(["labels", "import", str(arena / "data"), str(source)])
        ended[code] += 1
        made = set(content(arena)) - set(before)
        assert {content(arena)[name] == data for name, data in before.items()} == {True}
        assert not made if code else all(name.startswith("data/labels/0-2/") for name in made)
        if code == 0:
            read_votes(Dataset.open(arena / "data"))
        shutil.rmtree(arena)
    assert min(ended.values()) > 0
