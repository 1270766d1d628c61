"""Packs: what is in them, that training sees the same samples, restarts, damage, the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_training_data import labelled, smooth

from goldeye.cli import run
from goldeye.config import DataConfig, load_recipe
from goldeye.dataset import packing
from goldeye.dataset.multi_gt import MultiGTDataset
from goldeye.dataset.pack import Pack
from goldeye.dataset.packing import copy_sizes, make_pack, windows
from goldeye.dataset.paired import PairedDataset
from goldeye.dataset.synthetic import PhotoDataset
from goldeye.dataset.training import build_dataset
from goldeye.errors import InvalidInput
from goldeye.files import read_rows
from goldeye.images import find_images, read_image, write_image

Files = dict[str, bytes]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, height, width in (("a.png", 100, 130), ("sub/b.jpg", 64, 64), ("sub/c ü.png", 40, 90)):
        write_image(folder / name, smooth(height, height, width))
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    for number in range(3):
        lr = smooth(number, 24, 30 + number)
        write_image(tmp_path / "LR" / f"p{number}.png", lr)
        write_image(tmp_path / "GT" / f"p{number}.png", lr.repeat(4, axis=0).repeat(4, axis=1))
    return tmp_path / "GT", tmp_path / "LR"


def contents(pack: Path) -> Files:
    return {path.relative_to(pack).as_posix(): path.read_bytes() for path in pack.rglob("*") if path.is_file()}


def same_samples(one: Any, other: Any, count: int = 8) -> bool:
    assert len(one) == len(other)
    return all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in ((one[number], other[number]) for number in range(count))
    )


# --- what is in a pack ------------------------------------------------------------------------------------------------


def test_windows_by_hand() -> None:
    assert windows(100, 60, 40, 20) == [
        *((y, x, 40, 40) for y in (0, 20, 40, 60) for x in (0, 20)),
    ]
    assert windows(70, 30, 40, 20) == [(0, 0, 40, 30), (20, 0, 40, 30), (30, 0, 40, 30)]
    assert windows(70, 30, 0, 20) == [(0, 0, 70, 30)]
    # DIV2K's first picture, in the official setting: 8 x 5 sub-images of 480.
    assert len(windows(1404, 2040, 480, 240)) == 40


@given(st.integers(1, 90), st.integers(1, 90), st.integers(16, 64), st.data())
def test_windows_cover_the_picture(height: int, width: int, size: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(1, size))
    seen = np.zeros((height, width), int)
    for y, x, h, w in windows(height, width, size, step):
        assert (h, w) == (min(size, height), min(size, width))
        seen[y : y + h, x : x + w] += 1
        assert y + h <= height
        assert x + w <= width
    assert seen.min() >= 1


def test_sizes_of_shrunk_copies_by_hand() -> None:
    assert copy_sizes(1404, 2040) == [(1053, 1530), (702, 1020), (468, 680), (400, 581)]
    assert copy_sizes(2040, 1404) == [(1530, 1053), (1020, 702), (680, 468), (581, 400)]
    assert copy_sizes(900, 1000) == [(675, 750), (450, 500), (400, 444)]
    assert copy_sizes(400, 900) == copy_sizes(300, 300) == []


def test_sub_images_are_cut_where_the_index_says(photos: Path, tmp_path: Path) -> None:
    result, record = make_pack([photos], tmp_path / "pack", size=48, step=24)
    pack = Pack(tmp_path / "pack")
    assert [item["pictures"] for item in result.done] == [4 * 5, 4, 3]
    assert (len(pack), record.pictures, record.sources, record.failed) == (27, 27, 3, 0)
    rows = [json.loads(line) for line in (tmp_path / "pack" / "index.jsonl").read_text().splitlines()]
    number = 0
    for row in rows[:-1]:
        picture = read_image(photos / row["name"])
        assert picture.shape[:2] == (row["height"], row["width"])
        for factor, y, x, height, width, _ in row["pictures"]:
            assert factor == 1
            assert pack.size(number) == (height, width)
            assert np.array_equal(pack.read(number), picture[y : y + height, x : x + width])
            number += 1
    assert "sub/c ü.png at (0, 42)" in pack.name(26)
    assert (
        rows[-1]["bytes"] == record.bytes == sum(path.stat().st_size for path in (tmp_path / "pack/shards").iterdir())
    )


def test_shrunk_copies_and_sixteen_bits(tmp_path: Path) -> None:
    picture = smooth(1, 800, 900)
    write_image(tmp_path / "photos" / "a.png", picture)
    write_image(tmp_path / "photos" / "b.png", smooth(2, 400, 400).astype(np.uint16) * 257)
    make_pack([tmp_path / "photos"], tmp_path / "pack", size=0, multiscale=True)
    pack = Pack(tmp_path / "pack")
    assert [pack.size(number) for number in range(len(pack))] == [
        (800, 900),
        (600, 675),
        (400, 450),
        (400, 450),
        (400, 400),
    ]
    # A copy shows the same: its mean colour, and its coarse structure.
    half = pack.read(2).astype(float)
    blocks = picture.reshape(400, 2, 450, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - blocks).mean() < 6  # the sharper filter keeps more of the grain
    assert np.abs(half.mean(axis=(0, 1)) - blocks.mean(axis=(0, 1))).max() < 0.5
    assert np.array_equal(pack.read(4), smooth(2, 400, 400))


# --- training from a pack ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degradation", ["hggt", "bicubic"])
def test_a_pack_of_whole_photos_gives_the_same_samples(photos: Path, tmp_path: Path, degradation: str) -> None:
    make_pack([photos], tmp_path / "pack", size=0)
    config = DataConfig(path=photos, degradation=degradation, crop=32, augment="flip+rotate")
    # A JPEG decodes the same way both times.
    packed = config.model_copy(update={"path": tmp_path / "pack"})
    assert same_samples(PhotoDataset(config, scale=4, seed=2), PhotoDataset(packed, scale=4, seed=2))


def test_a_pack_of_pairs(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    make_pack([pairs[0]], tmp_path / "whole", lr_folders=[pairs[1]], size=0)
    config = DataConfig(path=pairs[0], lr_path=pairs[1], source="pairs", crop=32, augment="flip+rotate")
    packed = DataConfig(path=tmp_path / "whole", source="pairs", crop=32, augment="flip+rotate")
    assert same_samples(PairedDataset(config, scale=4, seed=2), PairedDataset(packed, scale=4, seed=2))
    _, record = make_pack([pairs[0]], tmp_path / "cut", lr_folders=[pairs[1]], size=48, step=24)
    assert record.settings.scale == 4
    assert record.pictures == 2 * (3 * 4 + 3 * 5 + 3 * 5)
    data = PairedDataset(packed.model_copy(update={"path": tmp_path / "cut"}), scale=4, seed=0)
    for number in range(20):
        sample = data[number]
        assert torch.equal(sample["gt"], sample["lr"].repeat_interleave(4, dim=1).repeat_interleave(4, dim=2))
    assert data.describe()["pack"] == str(tmp_path / "cut")
    with pytest.raises(InvalidInput, match="must be multiples of the pairs' scale 4"):
        make_pack([pairs[0]], tmp_path / "odd", lr_folders=[pairs[1]], size=50, step=24)
    with pytest.raises(InvalidInput, match="not 2 times smaller"):
        PairedDataset(packed.model_copy(update={"path": tmp_path / "cut"}), scale=2, seed=0)


def test_a_pack_of_a_dataset_has_its_pixels_and_not_its_labels(tmp_path: Path) -> None:
    dataset = labelled(tmp_path / "data")
    make_pack([dataset], tmp_path / "pack", dataset=True)
    config = DataConfig(path=dataset, source="dataset", target="positive+negative", crop=32)
    packed = config.model_copy(update={"path": tmp_path / "pack"})
    assert same_samples(MultiGTDataset(config, scale=4, seed=2), MultiGTDataset(packed, scale=4, seed=2))
    votes = dataset / "labels" / "0-3" / "A" / "bad.json"
    kept = votes.read_text()
    votes.unlink()
    assert len(MultiGTDataset(packed, scale=4, seed=2)) == 1
    votes.write_text(kept)
    write_image(dataset / "images" / "0-3" / "01" / "bad_01.png", smooth(1, 60, 80))
    make_pack([dataset], tmp_path / "unequal", dataset=True)
    with pytest.raises(InvalidInput, match="group 'bad' differ in size"):
        MultiGTDataset(packed.model_copy(update={"path": tmp_path / "unequal"}), scale=4, seed=2)
    # Both can be moved together; without its dataset a pack has no labels.
    (tmp_path / "elsewhere").mkdir()
    for name in ("data", "pack"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    moved = packed.model_copy(update={"path": tmp_path / "elsewhere" / "pack"})
    assert len(MultiGTDataset(moved, scale=4, seed=2)) == 2
    (tmp_path / "elsewhere" / "data").rename(tmp_path / "data")
    with pytest.raises(InvalidInput, match="has its labels, is not at"):
        MultiGTDataset(moved, scale=4, seed=2)


def test_workers_read_a_pack(photos: Path, tmp_path: Path) -> None:
    make_pack([photos], tmp_path / "pack", size=48, step=24, shard_bytes=50_000)
    assert len(list((tmp_path / "pack" / "shards").iterdir())) == 2
    data = PhotoDataset(DataConfig(path=tmp_path / "pack", degradation="bicubic", crop=32), scale=4, seed=0)
    first = data[0]  # a shard is open in this process when the others start
    loader = torch.utils.data.DataLoader(
        data, batch_size=3, sampler=range(12), num_workers=1, multiprocessing_context="spawn"
    )
    got = torch.cat([batch["lr"] for batch in loader])
    assert torch.equal(got[0], first["lr"])
    assert torch.equal(got, torch.stack([data[number]["lr"] for number in range(12)]))


def test_what_a_pack_tells_about_itself(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    make_pack([photos], tmp_path / "pack", size=48, step=24)
    data = build_dataset(load_recipe("tiny/rrdb-pretrain", [f"data.path={tmp_path / 'pack'}"]))
    described = data.describe()
    assert described["pack"] == str(tmp_path / "pack")
    assert described["left_out"] == {"could not be read when it was packed": 1}
    assert (described["items"], described["smallest"]) == (27, [40, 48])
    assert data.pictures() == [tmp_path / "pack" / name for name in ("pack.yaml", "index.jsonl", "shards/00000.bin")]
    assert list(data.check()) == [None, None, None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "pairs"}, "is a pack of photos; data.source is 'pairs'"),
        ({"meta_info": "list.txt"}, "no other folder, lr_path or meta_info"),
        ({"crop": 64}, r"a\.png at \(0, 0\)' is 48x48, smaller than the crop of 64 \(2\d more"),
    ],
)
def test_settings_that_do_not_fit_a_pack(photos: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    make_pack([photos], tmp_path / "pack", size=48, step=24)
    more = [f"data.{key}={value}" for key, value in settings.items()]
    more += ["data.degradation=null"] if "source" in settings else []
    with pytest.raises(InvalidInput, match=message):
        build_dataset(load_recipe("tiny/rrdb-pretrain", [f"data.path={tmp_path / 'pack'}", *more]))
    with pytest.raises(InvalidInput, match="no other folder"):
        build_dataset(load_recipe("tiny/rrdb-pretrain", [f"data.path=[{tmp_path / 'pack'}, {photos}]"]))


# --- restarts and damage ----------------------------------------------------------------------------------------------


def test_a_stopped_run_continues_and_ends_in_the_same_bytes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write_image(photos / f"z{number}.png", smooth(number, 60, 60))
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    make_pack([photos], straight, size=32, step=16, shard_bytes=60_000)
    read: list[Path] = []
    stops = [6]

    def noted(path: Path) -> Any:
        read.append(path)
        if len(read) in stops:
            raise KeyboardInterrupt
        return read_image(path)

    monkeypatch.setattr(packing, "read_image", noted)
    with pytest.raises(KeyboardInterrupt):
        make_pack([photos], stopped, size=32, step=16, shard_bytes=60_000)
    with pytest.raises(InvalidInput, match="is an unfinished pack"):
        PhotoDataset(DataConfig(path=stopped), scale=4, seed=0)
    with (stopped / "index.jsonl").open("a") as index:
        index.write('{"folder": 0, "na')  # as a power cut may leave it
    (stopped / "shards" / "00002.bin").write_bytes(b"not known to the index")
    finished = {row["name"] for row in read_rows(stopped / "index.jsonl") if "name" in row}
    assert 0 < len(finished) < 6
    read.clear()
    stops.clear()
    result, _ = make_pack([photos], stopped, size=32, step=16, shard_bytes=60_000)
    assert {path.relative_to(photos).as_posix() for path in read}.isdisjoint(finished)
    assert (len(result.skipped), len(result.done)) == (len(finished), 8 - len(finished))
    assert contents(stopped) == contents(straight)
    read.clear()
    again, record = make_pack([photos], stopped, size=32, step=16, shard_bytes=60_000)
    assert (len(again.skipped), len(again.done), read) == (8, 0, [])
    assert contents(stopped) == contents(straight)
    assert record.sources == 8


def test_a_killed_run_continues(tmp_path: Path) -> None:
    photos, killed = tmp_path / "photos", tmp_path / "killed"
    for number in range(40):
        write_image(photos / f"{number:02}.png", smooth(number, 120, 120))
    code = (
        "import sys; from pathlib import Path; from goldeye.dataset.packing import make_pack\n"
        "make_pack([Path(sys.argv[1])], Path(sys.argv[2]), size=32, step=8, shard_bytes=400_000)\n"
    )
    command = [sys.executable, "-c", code, str(photos)]
    process = subprocess.Popen([*command, str(killed)])
    deadline = time.monotonic() + 60
    while not (killed / "shards" / "00000.bin").is_file() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "pack.yaml").is_file()
    make_pack([photos], killed, size=32, step=8, shard_bytes=400_000)
    make_pack([photos], tmp_path / "straight", size=32, step=8, shard_bytes=400_000)
    assert contents(killed) == contents(tmp_path / "straight")


def test_changed_new_and_removed_pictures_are_taken_up(photos: Path, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    (photos / "broken.png").write_bytes(b"no picture")
    make_pack([photos], pack, size=48, step=24)
    write_image(photos / "broken.png", smooth(8, 50, 50))  # repaired
    result, record = make_pack([photos], pack, size=48, step=24)
    assert (len(result.failed), record.failed, record.sources) == (0, 0, 4)
    write_image(photos / "z.png", smooth(9, 48, 48))  # new: the shards before stay
    result, _ = make_pack([photos], pack, size=48, step=24)
    assert (len(result.skipped), len(result.done)) == (4, 1)
    write_image(photos / "z.png", smooth(10, 48, 48))  # changed
    make_pack([photos], pack, size=48, step=24)
    (photos / "a.png").unlink()
    make_pack([photos], pack, size=48, step=24)
    found = Pack(pack)
    assert found.names == ["broken.png", "sub/b.jpg", "sub/c ü.png", "z.png"]
    assert np.array_equal(found.read(len(found) - 1), smooth(10, 48, 48))
    make_pack([photos], tmp_path / "fresh", size=48, step=24)
    fresh = Pack(tmp_path / "fresh")
    assert all(np.array_equal(found.read(n), fresh.read(n)) for n in range(len(fresh)))


def test_pictures_that_cannot_be_packed_are_named_once(photos: Path, tmp_path: Path) -> None:
    data = (photos / "a.png").read_bytes()
    (photos / "sub" / "cut.png").write_bytes(data[: len(data) // 2])
    result, record = make_pack([photos], tmp_path / "pack", size=48, step=24)
    assert [Path(item["input"]).name for item in result.failed] == ["cut.png"]
    assert (len(result.done), record.failed) == (3, 1)
    again, _ = make_pack([photos], tmp_path / "pack", size=48, step=24)
    assert (len(again.failed), len(again.skipped), len(again.done)) == (1, 3, 0)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"No picture could be packed.*a\.png' is empty"):
        make_pack([tmp_path / "bad"], tmp_path / "none")


def test_pairs_that_do_not_pair_fail_by_name(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    write_image(pairs[0] / "p1.png", smooth(1, 90, 120))
    result, _ = make_pack([pairs[0]], tmp_path / "pack", lr_folders=[pairs[1]], size=48, step=24)
    assert [Path(item["input"]).name for item in result.failed] == ["p1.png"]
    assert "is 120x90 and its LR picture 31x24, not 4 times smaller" in result.failed[0]["error"]
    again, _ = make_pack([pairs[0]], tmp_path / "pack", lr_folders=[pairs[1]], size=48, step=24)
    assert (len(again.skipped), len(again.failed)) == (2, 1)
    (pairs[1] / "p2.png").unlink()
    with pytest.raises(InvalidInput, match="lacks 1 of 3 pictures: p2"):
        make_pack([pairs[0]], tmp_path / "other", lr_folders=[pairs[1]])
    (pairs[0] / "p2.png").unlink()
    with pytest.raises(InvalidInput, match="the LR pictures go with --lr"):
        make_pack([pairs[1]], tmp_path / "swapped", lr_folders=[pairs[0]])


@pytest.mark.parametrize("damage", ["shard cut", "shard gone", "index", "record"])
def test_a_damaged_pack_is_refused_and_made_whole_again(photos: Path, tmp_path: Path, damage: str) -> None:
    pack = tmp_path / "pack"
    make_pack([photos], pack, size=48, step=24)
    whole = contents(pack)
    shard = pack / "shards" / "00000.bin"
    if damage == "shard cut":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif damage == "shard gone":
        shard.unlink()
    elif damage == "index":
        (pack / "index.jsonl").write_text((pack / "index.jsonl").read_text()[:-30])
    else:
        (pack / "pack.yaml").write_text("settings: {}\n")
    with pytest.raises(InvalidInput, match="pack"):
        Pack(pack)
    if damage == "record":
        return
    make_pack([photos], pack, size=48, step=24)
    assert contents(pack) == whole


def test_changed_bytes_are_found_by_the_check(photos: Path, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    make_pack([photos], pack, size=48, step=24)
    shard = bytearray((pack / "shards" / "00000.bin").read_bytes())
    shard[100] ^= 1
    (pack / "shards" / "00000.bin").write_bytes(shard)
    data = PhotoDataset(DataConfig(path=pack, crop=32), scale=4, seed=0)
    assert [problem for problem in data.check() if problem] == [
        f"The pack '{pack}' is damaged: '00000.bin' has changed."
    ]


def test_folders_that_are_no_pack_are_left_alone(photos: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    attempts: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: make_pack([photos], foreign), "holds other files"),
        (lambda: make_pack([photos], photos), "holds other files"),
        (lambda: make_pack([photos], foreign / "letter.txt"), "is a file"),
        (lambda: make_pack([tmp_path / "nowhere"], tmp_path / "new"), "There is no folder"),
        (lambda: make_pack([photos], tmp_path / "new", size=10), "at least 16"),
        (lambda: make_pack([photos], tmp_path / "new", size=48, step=49), "--step 1 to --size"),
        (
            lambda: make_pack([photos], tmp_path / "new", lr_folders=[photos], multiscale=True),
            "shrunk copies of photos",
        ),
    )
    for refused, message in attempts:
        with pytest.raises(InvalidInput, match=message):
            refused()
    assert (foreign / "letter.txt").read_text() == "dear"
    assert not (tmp_path / "new").exists()
    make_pack([photos], tmp_path / "pack", size=48, step=24)
    with pytest.raises(InvalidInput, match="made with another size and step"):
        make_pack([photos], tmp_path / "pack")
    with pytest.raises(InvalidInput, match="made with another folders"):
        make_pack([photos / "sub"], tmp_path / "pack", size=48, step=24)
    with pytest.raises(InvalidInput, match="is a pack itself"):
        make_pack([tmp_path / "pack"], tmp_path / "again")
    labelled(tmp_path / "data")
    with pytest.raises(InvalidInput, match="is a dataset of patch groups"):
        make_pack([tmp_path / "data"], tmp_path / "again")
    (tmp_path / "data" / "dataset.yaml").unlink()  # as the released dataset
    with pytest.raises(InvalidInput, match="is a dataset of patch groups"):
        make_pack([tmp_path / "data"], tmp_path / "again")


def test_a_disk_that_is_too_small(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InvalidInput, match=r"needs 0\.0 GB more"):
        make_pack([photos], tmp_path / "pack", size=48, step=24)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tmp_path / "my pack"
    words = ["pack", str(photos), "-o", str(pack), "--size", "48", "--step", "24"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "27 pictures of 3 files; 0.2 MB; train with --set data.path=" in out
    (photos / "broken.png").write_bytes(b"no picture at all")
    assert run([*words, "--json"]) == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema"] == "goldeye.pack/1"
    assert (document["pack"], document["pictures"], document["failed"][0]["input"]) == (
        str(pack),
        27,
        str(photos / "broken.png"),
    )
    assert "broken.png" in captured.err
    assert yaml.safe_load((pack / "pack.yaml").read_text())["pictures"] == 27
    assert run(["pack", str(photos), "-o", str(pack)]) == 2
    assert "made with another size and step" in capsys.readouterr().err


def test_the_command_on_pairs_and_several_folders(
    pairs: tuple[Path, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(pairs[0]), str(pairs[0]), "--lr", str(pairs[1]), "--lr", str(pairs[1]), "--size", "48", "--step", "48"]
    assert run(["pack", *words, "-o", str(tmp_path / "pairs"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["done"]) == 6
    assert run(["pack", *words[:4], "-o", str(tmp_path / "odd")]) == 2
    assert "2 folders of GT and 1 of LR" in capsys.readouterr().err
    assert run(["pack", str(photos), str(photos / "sub"), "-o", str(tmp_path / "two"), "--size", "0"]) == 0
    assert len(Pack(tmp_path / "two")) == 5
    assert len(find_images(photos)) == 3
    os.chdir(tmp_path)
    assert run(["pack", "photos", "photos/sub", "-o", "two", "--size", "0", "--json"]) == 0  # the same folders
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["done"] == []
