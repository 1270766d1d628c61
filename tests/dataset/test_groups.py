"""The layout on disk: the released form, ours, and everything that can be wrong with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from goldeye.dataset.groups import Dataset, DatasetSettings, DatasetWriter, Enhancer
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.images import read_image, write_image

PICTURE = np.zeros((8, 8, 3), np.uint8)


def official(root: Path, ranges: dict[str, list[str]], slots: tuple[str, ...] = ("01", "02")) -> Path:
    """A dataset as released: pictures only."""
    for range_, names in ranges.items():
        for name in names:
            write_image(root / "images" / range_ / "original" / f"{name}.png", PICTURE)
            for slot in slots:
                write_image(root / "images" / range_ / slot / f"{name}_{slot}.png", PICTURE)
    return root


def written(root: Path, names: tuple[str, ...] = ("a-0-0", "b-0-4"), **how: Any) -> Dataset:
    """A dataset by our writer: photo a is for training, b for testing."""
    settings = DatasetSettings(patch_size=8, enhancers=(Enhancer(name="sharp", slot="01", weights_sha256="f" * 64),))
    writer = DatasetWriter(root, settings, **how)
    for value, name in enumerate(names):
        writer.add(
            name,
            PICTURE + value,
            {"01": PICTURE + value + 10},
            source=f"{name[0]}.png",
            source_sha256="0" * 64,
            y=0,
            x=4,
            scores={"std": 1.5},
        )
    return writer.finish({"a.png": "train", "b.png": "test"})


def test_golden_dataset_opens_untouched_from_one_level_above(golden: Path) -> None:
    dataset = Dataset.open(golden / "hggt_mini")
    expected = json.loads((golden / "hggt_mini" / "expected_labels.json").read_text())
    assert [group.id for group in dataset.groups] == expected["group_names"]
    assert dataset.path == golden / "hggt_mini" / "Train"
    assert dataset.slots == ("01", "02", "03", "04")
    assert dataset.enhancer_names == {slot: slot for slot in dataset.slots}
    assert {group.range for group in dataset.groups} == {"0-12"}
    group = dataset.groups[0]
    assert group.candidates["03"].name == f"{group.name}_03.png"
    dataset.check()


def test_ranges_nest_sort_by_number_and_make_ids_unique(tmp_path: Path) -> None:
    official(tmp_path, {"0-2": ["x", "y"], "10-12": ["z"], "2-4": ["x"], "more/0-1": ["w"]})
    dataset = Dataset.open(tmp_path)
    assert [group.id for group in dataset.groups] == ["0-2/x", "y", "2-4/x", "z", "w"]
    assert [group.range for group in dataset.groups] == ["0-2", "0-2", "2-4", "10-12", "more/0-1"]
    assert {group.name for group in dataset.groups} == {"w", "x", "y", "z"}


def test_any_number_of_enhancers(tmp_path: Path) -> None:
    slots = tuple(f"{number:02d}" for number in range(1, 12))
    dataset = Dataset.open(official(tmp_path, {"0-1": ["x"]}, slots))
    assert dataset.slots == slots
    assert list(dataset.groups[0].candidates) == list(slots)


def test_candidates_without_the_slot_in_their_name_are_found(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "0-1" / "original" / "x.png", PICTURE)
    write_image(tmp_path / "images" / "0-1" / "01" / "x.jpg", PICTURE)
    assert Dataset.open(tmp_path).groups[0].candidates["01"].name == "x.jpg"


def test_missing_candidate_is_named(tmp_path: Path) -> None:
    official(tmp_path, {"0-2": ["x", "y"]})
    (tmp_path / "images" / "0-2" / "02" / "y_02.png").unlink()
    with pytest.raises(InvalidInput, match=r"lacks 1 candidate pictures: 0-2/02/y_02\.png"):
        Dataset.open(tmp_path)


def test_unequal_sizes_are_named_when_asked(tmp_path: Path) -> None:
    official(tmp_path, {"0-2": ["x", "y"]})
    write_image(tmp_path / "images" / "0-2" / "01" / "y_01.png", PICTURE[:, :4])
    dataset = Dataset.open(tmp_path)
    with pytest.raises(InvalidInput, match=r"y \(original 8x8, 01 4x8, 02 8x8\)"):
        dataset.check()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "is not a dataset: it has no images/"),
        (lambda root: (root / "images").mkdir(), "holds no groups"),
        (lambda root: (root / "images" / "0-1" / "original").mkdir(parents=True), "holds no groups"),
        (lambda root: official(root, {"0-1": ["x"]}, ()), "holds no candidates"),
        (lambda root: [official(root / n, {"0-1": ["x"]}) for n in ("Test", "Train")], "several datasets: Test, Train"),
        (lambda root: official(root, {"0-1": ["x"]}) / "dataset.yaml", None),
    ],
)
def test_what_is_no_dataset_is_said_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], object], message: str | None
) -> None:
    make(tmp_path)
    if message is None:
        (tmp_path / "dataset.yaml").write_text("format: 1\nenhancer: []\n")
        message = r"dataset\.yaml' cannot be used: enhancer: Extra inputs"
    with pytest.raises(InvalidInput, match=message):
        Dataset.open(tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere' is not a folder"):
        Dataset.open(tmp_path / "nowhere")


def test_two_files_for_one_name_are_refused(tmp_path: Path) -> None:
    official(tmp_path, {"0-1": ["x"]})
    write_image(tmp_path / "images" / "0-1" / "original" / "x.jpg", PICTURE)
    with pytest.raises(InvalidInput, match="two pictures with one name"):
        Dataset.open(tmp_path)


def test_writer_and_reader_agree(tmp_path: Path) -> None:
    written(tmp_path / "set")
    dataset = Dataset.open(tmp_path / "set")
    first, second = dataset.groups
    assert (first.id, first.range, first.split, first.source) == ("a-0-0", "0-2", "train", "a.png")
    assert (second.y, second.x, second.scores) == (0, 4, {"std": 1.5})
    assert second.original == tmp_path / "set" / "images" / "0-2" / "original" / "b-0-4.png"
    assert np.array_equal(read_image(second.candidates["01"]), PICTURE + 11)
    assert dataset.enhancer_names == {"01": "sharp"}
    assert dataset.settings.enhancers[0].weights_sha256 == "f" * 64
    stored = yaml.safe_load((tmp_path / "set" / "dataset.yaml").read_text())
    assert stored["format"] == 1
    assert stored["labels"] == {"positive": "better", "similar": "similar", "negative": "worse"}
    assert dataset.votes_url == str(tmp_path / "set" / "annotations.sqlite")
    assert not list((tmp_path / "set").glob(".*"))


def test_ranges_hold_so_many_groups_and_the_last_says_how_many(tmp_path: Path) -> None:
    dataset = written(tmp_path, ("a-0", "a-1", "b-0"), batch_size=2)
    assert [group.range for group in dataset.groups] == ["0-2", "0-2", "2-3"]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["0-2", "2-3"]


def test_splits(tmp_path: Path) -> None:
    dataset = written(tmp_path / "set")
    assert [group.id for group in dataset.select("test")] == ["b-0-4"]
    assert [group.id for group in Dataset.open(tmp_path / "set", "train").groups] == ["a-0-0"]
    with pytest.raises(InvalidInput, match=r"Unknown split 'tset'\. Did you mean 'test'\?"):
        dataset.select("tset")
    with pytest.raises(InvalidInput, match="has no splits"):
        Dataset.open(official(tmp_path / "plain", {"0-1": ["x"]}), "train")


def test_unfinished_dataset_is_not_opened_and_is_started_over(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, DatasetSettings())
    values = {"source": "s.png", "source_sha256": "", "y": 0, "x": 0, "scores": {}}
    writer.add("stale", PICTURE, {"01": PICTURE}, **values)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="unfinished"):
        Dataset.open(tmp_path)
    dataset = written(tmp_path)
    assert [group.id for group in dataset.groups] == ["a-0-0", "b-0-4"]


@pytest.mark.parametrize("moves", [0, 1, 3, 4])
def test_stopped_while_pictures_are_moved_the_same_groups_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    whole = written(tmp_path / "whole")
    rename, left = Path.rename, iter(range(moves))

    def stop(path: Path, target: Path) -> Path:
        next(left)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        with pytest.raises(StopIteration) if moves < 4 else contextlib.nullcontext():
            written(tmp_path / "set")
    if moves < 4:
        with pytest.raises(InvalidInput, match="unfinished"):
            Dataset.open(tmp_path / "set")
        rows = [json.loads(line) for line in (tmp_path / "set" / "groups.jsonl").read_text().splitlines()]
        writer = DatasetWriter(tmp_path / "set", whole.settings, resume=True)
        for row in rows:
            writer.adopt(row, writer.work / "pictures", ("01",))
        writer.finish({row["source"]: row["split"] for row in rows})

    def files(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    assert files(tmp_path / "set") == files(tmp_path / "whole")


def test_a_picture_that_is_lost_is_named(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, DatasetSettings())
    values = {"source": "s.png", "source_sha256": "", "y": 0, "x": 0, "scores": {}}
    writer.add("g", PICTURE, {"01": PICTURE}, **values)  # type: ignore[arg-type]
    (tmp_path / ".incomplete" / "pictures" / "01" / "g_01.png").unlink()
    with pytest.raises(GoldeyeError, match=r"g_01\.png' is gone"):
        writer.finish({"s.png": "train"})


def test_writer_never_touches_what_is_there(tmp_path: Path) -> None:
    written(tmp_path / "set")
    with pytest.raises(InvalidInput, match="already holds a dataset"):
        DatasetWriter(tmp_path / "set", DatasetSettings())
    official(tmp_path / "plain", {"0-1": ["x"]})
    with pytest.raises(InvalidInput, match="is there already"):
        DatasetWriter(tmp_path / "plain", DatasetSettings())
    assert len(Dataset.open(tmp_path / "plain").groups) == 1


def test_writer_refuses_a_name_twice(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Two groups would be named 'a-0'"):
        written(tmp_path, ("a-0", "a-0"))


def test_groups_file_must_agree_with_the_pictures(tmp_path: Path) -> None:
    written(tmp_path)
    lines = (tmp_path / "groups.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "groups.jsonl").write_text(lines[0])
    with pytest.raises(InvalidInput, match=r"b-0-4\.png' is a group that .* does not list"):
        Dataset.open(tmp_path)
    (tmp_path / "groups.jsonl").write_text("".join([*lines, lines[0].replace("a-0-0", "gone")]))
    with pytest.raises(InvalidInput, match="lists 1 groups without pictures: gone"):
        Dataset.open(tmp_path)
    (tmp_path / "groups.jsonl").write_text(lines[0] + "{broken\n")
    with pytest.raises(InvalidInput, match=r"groups\.jsonl', line 2, is not a group"):
        Dataset.open(tmp_path)


def test_settings_hold_no_password() -> None:
    DatasetSettings(votes="postgresql://anna@host/db")
    with pytest.raises(ValueError, match="must not hold a password"):
        DatasetSettings(votes="postgresql://anna:secret@host/db")


@pytest.mark.parametrize(
    ("key", "value"),
    [("split", 5), ("source", ["a"]), ("source_sha256", 1), ("y", "3"), ("x", 1.5), ("scores", [1])],
)
def test_a_line_of_groups_with_a_wrong_type_is_named(tmp_path: Path, key: str, value: object) -> None:
    for folder, name in (("original", "x"), ("01", "x_01")):
        write_image(tmp_path / "images" / "0-1" / folder / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "groups.jsonl").write_text(json.dumps({"id": "x", key: value}))
    with pytest.raises(InvalidInput, match=rf"groups\.jsonl', line 1: {key} cannot be "):
        Dataset.open(tmp_path)
