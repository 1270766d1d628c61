"""`goldeye testset`: groups with several positives, their votes and their LR pictures, as the released Test-100."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from goldeye.cli import run
from goldeye.curate.testset import make_testset
from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, finals, label_stats, read_official, read_votes
from goldeye.degrade import get_pipeline
from goldeye.errors import InvalidInput
from goldeye.files import sha256, sole_user, write_lines
from goldeye.images import Picture, find_images, matlab_resize, read_image, to_float, to_uint8, write_image

P, S, N = "Positive", "Similar", "Negative"
SLOTS = ("01", "02", "03")


def picture(seed: int, side: int = 32) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def add_group(root: Path, name: str, seed: int, *, range_: str = "0-8", suffix: str = ".png", side: int = 32) -> None:
    folder = root / "images" / range_
    write_image(folder / "original" / f"{name}{suffix}", picture(seed, side))
    for slot in SLOTS:
        write_image(folder / slot / f"{name}_{slot}{suffix}", picture(seed + int(slot) * 100, side))


def vote(root: Path, name: str, labels: dict[str, tuple[str, ...]], range_: str = "0-8") -> None:
    """`labels`: {voter's slot: a label for each candidate}."""
    for slot, given in labels.items():
        pictures = {"Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None}}
        for number, (candidate, label) in enumerate(zip(SLOTS, given, strict=True), start=2):
            pictures[f"Picture_{number}"] = {"Name": f"{name}_{candidate}.png", "File": candidate, "Label": label}
        cost = {"Start": "2022-08-05 16:11:00", "End": "2022-08-05 16:11:20", "Total": 20}
        path = root / "labels" / range_ / slot / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(pictures | {"Time_cost": cost}))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Eight groups of which g0 to g5 have two or three positives, g6 has one and g7 no votes."""
    root = tmp_path / "data"
    for number in range(8):
        add_group(root, f"g{number}", number)
    for number in range(6):
        third = (P, S, N)[number % 3]
        vote(root, f"g{number}", {"A": (P, P, third), "B": (P, P, third), "C": (P, S, N)})
    vote(root, "g6", {"A": (P, N, N), "B": (P, S, S), "C": (S, P, N)})
    return root


def add_splits(root: Path, splits: dict[str, str]) -> None:
    rows = [
        {"id": group.id, "range": group.range, "source": f"{group.id}.jpg", "split": splits[group.id]}
        for group in Dataset.open(root).groups
    ]
    write_lines(root / "groups.jsonl", rows)


def contents(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def names(output: Path, count: int) -> list[str]:
    return [group.id for group in Dataset.open(output / "GT" / f"Test-{count}").groups]


def test_the_layout_is_the_released_one(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = make_testset(dataset, out, count=6)
    assert made == {
        "output": str(out),
        "groups": 6,
        "suitable": 6,
        "split": None,
        "gt": str(out / "GT" / "Test-6"),
        "lr": str(out / "Blind_Degradation_Benchmark_LQ" / "Test-6" / "Blind_LR"),
    }
    expected = {"testset.yaml", "degradations.jsonl"}
    for name in (f"g{number}" for number in range(6)):
        expected |= {f"GT/Test-6/images/original/{name}.png"}
        expected |= {f"GT/Test-6/images/{slot}/{name}_{slot}.png" for slot in SLOTS}
        expected |= {f"GT/Test-6/labels/{voter}/{name}.json" for voter in "ABC"}
        expected |= {f"Blind_Degradation_Benchmark_LQ/Test-6/Blind_LR/{name}.png"}
    found = contents(out)
    assert set(found) == expected
    for name, data in found.items():
        if "images/" in name:
            range_and_file = name.split("images/")[1]
            assert data == (dataset / "images" / "0-8" / range_and_file).read_bytes()
    document = json.loads(found["GT/Test-6/labels/A/g1.json"])
    assert document["Picture_1"] == {"Name": "g1.png", "File": "original", "Label": None}
    assert document["Picture_4"] == {"Name": "g1_03.png", "File": "03", "Label": S}
    assert document["Time_cost"] == {"Start": "2022-08-05 16:11:00", "End": "2022-08-05 16:11:20", "Total": 20}


def test_the_final_labels_are_the_sources(dataset: Path, tmp_path: Path) -> None:
    make_testset(dataset, tmp_path / "out", count=6)
    opened = Dataset.open(tmp_path / "out" / "GT" / "Test-6")
    source = finals(Dataset.open(dataset))
    assert finals(opened) == {group.id: source[group.id] for group in opened.groups}
    stats = label_stats(opened)
    assert (stats["labelled_groups"], stats["annotators"], stats["seconds_per_group"]["mean"]) == (6, 3, 20)


def test_lr_pictures_are_made_by_the_preset_and_can_be_replayed(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = make_testset(dataset, out, count=6, seed=5)
    rows = [json.loads(line) for line in (out / "degradations.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == [f"g{number}.png" for number in range(6)]
    for row in rows:
        assert (row["preset"], row["seed"], row["scale"]) == ("hggt", 5, 4)
        gt = to_float(read_image(out / "GT" / "Test-6" / "images" / "original" / row["name"]))
        again = to_uint8(get_pipeline("hggt").apply(gt, row["parameters"]))
        np.testing.assert_array_equal(read_image(Path(made["lr"]) / row["output"]), again)
    lr = str(tmp_path / "lr")
    argv = ["degrade", str(out / "GT/Test-6/images/original"), "-o", lr, "--preset", "hggt", "--seed", "5", "-q"]
    assert run(argv) == 0
    for path in find_images(Path(made["lr"])):
        assert path.read_bytes() == (Path(lr) / path.name).read_bytes()


def test_another_preset_and_scale(dataset: Path, tmp_path: Path) -> None:
    made = make_testset(dataset, tmp_path / "out", count=3, preset="bicubic", scale=2)
    for path in find_images(Path(made["lr"])):
        gt = to_float(read_image(tmp_path / "out" / "GT" / "Test-3" / "images" / "original" / path.name))
        np.testing.assert_array_equal(read_image(path), to_uint8(matlab_resize(gt, 16, 16)))


def test_the_seed_decides_and_the_same_call_writes_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    for folder, seed in (("one", 3), ("two", 3)):
        make_testset(dataset, tmp_path / folder, count=3, seed=seed)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    drawn = set()
    for seed in range(12):
        make_testset(dataset, tmp_path / f"seed-{seed}", count=3, seed=seed)
        drawn.add(tuple(names(tmp_path / f"seed-{seed}", 3)))
    assert len(drawn) > 4
    assert {name for group in drawn for name in group} == {f"g{number}" for number in range(6)}


def test_only_groups_with_enough_positives_are_drawn(dataset: Path, tmp_path: Path) -> None:
    make_testset(dataset, tmp_path / "three", count=2, min_positives=3)
    assert names(tmp_path / "three", 2) == ["g0", "g3"]
    make_testset(dataset, tmp_path / "one", count=7, min_positives=1)
    assert "g6" in names(tmp_path / "one", 7)


def test_too_few_groups_say_how_many_there_are(dataset: Path, tmp_path: Path, capsys: Any) -> None:
    argv = ["testset", str(dataset), "-o", str(tmp_path / "out")]
    assert run(argv) == 2
    assert capsys.readouterr().err == (
        f"goldeye: '{dataset}' has 6 groups with at least 2 positives, not 100.\n"
        "Ask for fewer with -n 6 or --at-most.\n"
    )
    assert not (tmp_path / "out").exists()
    assert run([*argv, "--at-most", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["schema"], made["groups"], made["suitable"]) == ("goldeye.testset/1", 6, 6)
    with pytest.raises(InvalidInput, match="has 0 groups with at least 4 positives"):
        make_testset(dataset, tmp_path / "none", min_positives=4, at_most=True)


def test_evaluation_finds_the_groups_by_the_names_of_the_lr(dataset: Path, tmp_path: Path, capsys: Any) -> None:
    made = make_testset(dataset, tmp_path / "out", count=4)
    for path in find_images(Path(made["lr"])):
        lr = to_float(read_image(path))
        write_image(tmp_path / "sr" / path.name, to_uint8(matlab_resize(lr, 32, 32)))
    assert run(["evaluate", str(tmp_path / "sr"), "--dataset", made["gt"], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["excluded"]) == (4, [])
    assert list(found["metrics"]["psnr"]["per_image"]) == names(tmp_path / "out", 4)


def test_a_test_set_holds_no_training_photos_unless_asked_for(dataset: Path, tmp_path: Path) -> None:
    add_splits(dataset, {f"g{number}": "test" if number in (1, 2, 4) else "train" for number in range(8)})
    made = make_testset(dataset, tmp_path / "test", count=3)
    assert made["split"] == "test"
    assert names(tmp_path / "test", 3) == ["g1", "g2", "g4"]
    with pytest.raises(InvalidInput, match="3 groups of its split 'test' with at least 2 positives, not 4"):
        make_testset(dataset, tmp_path / "four", count=4)
    make_testset(dataset, tmp_path / "train", count=3, split="train")
    assert names(tmp_path / "train", 3) == ["g0", "g3", "g5"]
    made = make_testset(dataset, tmp_path / "all", count=6, split="all")
    assert made["split"] == "all"
    with pytest.raises(InvalidInput, match="Unknown split 'tset'"):
        make_testset(dataset, tmp_path / "typo", split="tset")
    add_splits(dataset, {f"g{number}": "train" for number in range(8)})
    with pytest.raises(InvalidInput, match="no test split") as refused:
        make_testset(dataset, tmp_path / "none", count=2)
    assert "--split all" in str(refused.value.hint)


def test_names_that_ranges_share_are_made_different(dataset: Path, tmp_path: Path) -> None:
    for name, seed in (("g0", 50), ("0-8_g0", 51)):
        add_group(dataset, name, seed, range_="8-10")
        vote(dataset, name, {"A": (P, P, P)}, "8-10")
    out = tmp_path / "out"
    make_testset(dataset, out, count=8)
    opened = Dataset.open(out / "GT" / "Test-8")
    assert {group.id for group in opened.groups} == {
        *(f"g{number}" for number in range(1, 6)),
        "0-8_g0",
        "0-8_g0-2",
        "8-10_g0",
    }
    record = yaml.safe_load((out / "testset.yaml").read_text())
    origin = {row["name"]: row["group"] for row in record["groups"]}
    source = Dataset.open(dataset)
    originals = {group.id: group.original for group in source.groups}
    labels, before = finals(opened), finals(source)
    for group in opened.groups:
        assert group.original.read_bytes() == originals[origin[group.id]].read_bytes()
        assert labels[group.id] == before[origin[group.id]]


def test_the_record_says_where_the_groups_come_from(dataset: Path, tmp_path: Path) -> None:
    add_splits(dataset, {f"g{number}": "test" for number in range(8)})
    make_testset(dataset, tmp_path / "out", count=6, seed=7)
    record = yaml.safe_load((tmp_path / "out" / "testset.yaml").read_text())
    groups = record.pop("groups")
    assert record == {
        "format": 1,
        "dataset": str(dataset),
        "split": "test",
        "suitable": 6,
        "min_positives": 2,
        "preset": "hggt",
        "scale": 4,
        "seed": 7,
        "enhancers": {slot: slot for slot in SLOTS},
    }
    original = dataset / "images" / "0-8" / "original" / "g3.png"
    assert groups[3] == {
        "name": "g3",
        "group": "g3",
        "source": "g3.jpg",
        "positives": ["01", "02", "03"],
        "sha256": sha256(original),
    }


def test_people_of_a_store_fill_slots_and_are_named_by_pseudonyms(dataset: Path, tmp_path: Path) -> None:
    from goldeye.annotate.assign import Assigner, GroupPictures
    from goldeye.annotate.store import Store

    shutil.rmtree(dataset / "labels")
    answers = {"01": P, "02": P, "03": N}
    with closing(Store(dataset / "annotations.sqlite")) as store:
        for name in ("Ada Lovelace", "Bo"):
            store.invite(name)
        shown = [GroupPictures(f"g{number}", Path(), dict.fromkeys(SLOTS, Path())) for number in range(2)]
        for person in store.people():
            assigner = Assigner(store, shown)
            while (given := assigner.claim(person.id)[0]) is not None:
                for position, slot in enumerate(given.order):
                    key = f"{given.id}-{slot}"
                    assigner.answer(person.id, given.id, position, answers[slot], client_id=key, active_ms=1500)
    make_testset(dataset, tmp_path / "out", count=2)
    opened = Dataset.open(tmp_path / "out" / "GT" / "Test-2")
    votes = read_votes(opened)
    assert len(votes.voters) == 2
    assert all(voter.startswith("p-") for voter in votes.voters)
    assert finals(opened) == finals(Dataset.open(dataset))
    assert {path.name for path in (opened.path / "labels").iterdir()} == {"A", "B", "people.csv"}
    assert read_official(opened.path / "labels" / "A" / "g0.json", "g0")[0].label is Label.POSITIVE
    assert b"Ada" not in b"".join(contents(tmp_path / "out").values())


def test_pictures_of_other_kinds_become_png(dataset: Path, tmp_path: Path) -> None:
    add_group(dataset, "tif", 60, suffix=".tif")
    vote(dataset, "tif", {"A": (P, P, P)})
    make_testset(dataset, tmp_path / "out", count=7)
    images = tmp_path / "out" / "GT" / "Test-7" / "images"
    np.testing.assert_array_equal(read_image(images / "original" / "tif.png"), picture(60))
    np.testing.assert_array_equal(read_image(images / "02" / "tif_02.png"), picture(260))


def test_groups_without_a_whole_lr_are_refused(dataset: Path, tmp_path: Path) -> None:
    add_group(dataset, "odd", 70, side=30)
    vote(dataset, "odd", {"A": (P, P, P)})
    with pytest.raises(InvalidInput, match=r"odd.png' is 30 x 30 pixels, no multiple of the scale 4"):
        make_testset(dataset, tmp_path / "out", count=7)
    write_image(dataset / "images" / "0-8" / "02" / "odd_02.png", picture(1, 32))
    with pytest.raises(InvalidInput, match=r"odd_02.png' is 32 x 32 pixels, its original 30 x 30"):
        make_testset(dataset, tmp_path / "out", count=7)
    assert not (tmp_path / "out").exists()


def test_invalid_input(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Unknown preset 'hgt'"):
        make_testset(dataset, tmp_path / "out", count=2, preset="hgt")
    with pytest.raises(InvalidInput, match="number of groups"):
        make_testset(dataset, tmp_path / "out", count=0)
    with pytest.raises(InvalidInput, match="must not lie in the dataset"):
        make_testset(dataset, dataset / "test", count=2)
    (tmp_path / "used").mkdir()
    make_testset(dataset, tmp_path / "used", count=2)  # an empty folder will do
    with pytest.raises(InvalidInput, match="is in use"):
        make_testset(dataset, tmp_path / "used", count=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="is in use"):
        make_testset(dataset, tmp_path / "file", count=2)
    shutil.rmtree(dataset / "labels")
    with pytest.raises(InvalidInput, match="no votes"):
        make_testset(dataset, tmp_path / "out", count=2)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "used", "file"}


def test_one_command_at_a_time_makes_a_test_set(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with (
        sole_user(tmp_path / ".out.unfinished"),
        pytest.raises(InvalidInput, match="Another goldeye command is writing into"),
    ):
        make_testset(dataset, tmp_path / "out", count=2)
    assert not (tmp_path / "out").exists()
    assert make_testset(dataset, tmp_path / "out", count=2)["groups"] == 2


def test_an_interruption_leaves_nothing(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.curate.testset.write_text", stop)
        with pytest.raises(KeyboardInterrupt):
            make_testset(dataset, tmp_path / "out", count=2)
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_killed_run_leaves_nothing_that_looks_finished(dataset: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "import goldeye.curate.testset as module\n"
        "module.write_text = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        "module.make_testset(Path('data'), Path('out'), count=3)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.unfinished" / "GT").is_dir()  # it was in the middle of its work
    make_testset(dataset, tmp_path / "out", count=3)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}
    make_testset(dataset, tmp_path / "whole", count=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_mini_dataset(golden: Path, tmp_path: Path, capsys: Any) -> None:
    expected = json.loads((golden / "hggt_mini" / "expected_multigt.json").read_text())
    made = make_testset(golden / "hggt_mini", tmp_path / "out", count=5)
    source = finals(Dataset.open(golden / "hggt_mini"))
    opened = Dataset.open(Path(made["gt"]))
    assert finals(opened) == {group.id: source[group.id] for group in opened.groups}
    # Official results of the test pictures are compared with the same ground truths as in the whole dataset.
    sr = golden / "hggt_mini" / "Test" / "SR"
    assert run(["evaluate", str(sr), "--dataset", made["gt"], "--suffix", "_sr", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["psnr"]["per_image"]
    official = expected["rgb_crop4"]["per_image"]
    assert len(found) >= 2
    for name, value in found.items():
        assert value == pytest.approx(official[name]["avg"][0], abs=2e-4)
