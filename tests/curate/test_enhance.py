"""Photos to candidates: with networks and folders, resumed, refused and failed, by every engine."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import goldeye
import goldeye.curate.candidates as candidates_module
import goldeye.curate.enhance as enhance_module
from goldeye.batch import BatchResult
from goldeye.cli import run as command
from goldeye.curate.candidates import read_candidates
from goldeye.curate.engines import LocalEngine, RayEngine
from goldeye.curate.enhance import enhance_photos
from goldeye.dataset.groups import Enhancer
from goldeye.errors import InvalidInput
from goldeye.files import sha256, sole_user
from goldeye.images import Picture, matlab_resize, read_image, to_float, to_uint8, write_image
from goldeye.networks import build_network
from goldeye.networks.weights import load_model, save_weights
from goldeye.upscale.run import upscale_picture

RCAN = {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}
ELAN = {"m_elan": 2, "c_elan": 15}
RRDB = {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}


def picture(seed: int, height: int = 20, width: int = 24) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos, one of them in a folder and of another kind of file."""
    write_image(tmp_path / "photos" / "a.png", picture(0))
    write_image(tmp_path / "photos" / "deep" / "b.tif", picture(1, 17, 21))
    return tmp_path / "photos"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results made elsewhere, with endings of their own."""
    write_image(tmp_path / "elsewhere" / "a.bmp", picture(2))
    write_image(tmp_path / "elsewhere" / "deep" / "b.png", picture(3, 17, 21))
    return tmp_path / "elsewhere"


def weights(path: Path, architecture: str, config: dict[str, int], seed: int = 0) -> str:
    torch.manual_seed(seed)
    module = build_network(architecture, **config)
    scale = 4 if architecture == "rrdb" else 1
    save_weights(path, module, architecture=architecture, config=config, scale=scale)
    return str(path)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def names(entries: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(entry["enhancer"], Path(entry["input"]).name) for entry in entries]


def test_networks_and_folders_fill_the_slots_in_order(tmp_path: Path, photos: Path, folder: Path) -> None:
    same = weights(tmp_path / "same.safetensors", "rcan-x1", RCAN)
    larger = weights(tmp_path / "larger.safetensors", "rrdb", RRDB)
    out = tmp_path / "candidates"
    result = enhance_photos(photos, out, enhancers={"same": same, "larger": larger}, folders={"hand": folder})
    assert len(result.done) == 8
    assert not result.skipped
    assert not result.failed
    assert result.done[0] == {
        "input": str(photos / "a.png"),
        "enhancer": "original",
        "output": str(out / "original" / "a.png"),
    }

    for name, seed, size in (("a.png", 0, (20, 24)), ("deep/b.png", 1, (17, 21))):
        original = read_image(out / "original" / name)
        assert np.array_equal(original, picture(seed, *size))
        by_network = upscale_picture(load_model(same).module, original, scale=1)
        assert np.array_equal(read_image(out / "same" / name), by_network)
        assert not np.array_equal(by_network, original)
        x4 = upscale_picture(load_model(larger).module, to_float(original), scale=4)
        off = np.abs(read_image(out / "larger" / name).astype(int) - to_uint8(matlab_resize(x4, *size)))
        assert off.max() <= 1  # the network's result is kept in 16 bits in between
        assert off.mean() < 0.01
        assert np.array_equal(read_image(out / "hand" / name), picture(seed + 2, *size))

    record = yaml.safe_load((out / "candidates.yaml").read_text())
    assert record["format"] == 1
    assert [(e["slot"], e["name"], e["kind"], e["weights_sha256"]) for e in record["enhancers"]] == [
        ("01", "same", "model", sha256(Path(same))),
        ("02", "larger", "model", sha256(Path(larger))),
        ("03", "hand", "folder", None),
    ]
    assert record["enhancers"][1]["scale"] == 4
    assert [(p["name"], p["height"], p["width"]) for p in record["photos"]] == [
        ("a.png", 20, 24),
        ("deep/b.png", 17, 21),
    ]
    assert record["photos"][0]["sha256"] == sha256(photos / "a.png")
    assert record["photos"][0]["folders"] == {"hand": sha256(folder / "a.bmp")}


def test_finished_pictures_are_skipped(tmp_path: Path, photos: Path, folder: Path) -> None:
    out = tmp_path / "candidates"
    enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    before = files(out)
    again = enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    assert not again.done
    assert len(again.skipped) == 4
    assert files(out) == before


def test_interrupted_work_goes_on_to_the_same_result(
    tmp_path: Path, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enhancers = {"net": weights(tmp_path / "net.safetensors", "rcan-x1", RCAN)}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    enhance_photos(photos, whole, enhancers=enhancers, folders={"hand": folder})

    calls = 0

    def interrupted(path: Path, picture: Picture) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        write_image(path, picture)

    with monkeypatch.context() as patch:
        patch.setattr(enhance_module, "write_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            enhance_photos(photos, stopped, enhancers=enhancers, folders={"hand": folder})
    with pytest.raises(InvalidInput, match="stopped' is not finished"):
        read_candidates(stopped)
    result = enhance_photos(photos, stopped, enhancers=enhancers, folders={"hand": folder})
    assert len(result.skipped) == 3
    assert len(result.done) == 3
    assert files(stopped) == files(whole)


@pytest.mark.parametrize("name", ["../../kept", "/kept", "a/../../kept"])
def test_a_record_names_nothing_outside_its_folder(tmp_path: Path, photos: Path, folder: Path, name: str) -> None:
    output = tmp_path / "some" / "candidates"
    enhance_photos(photos, output, enhancers={}, folders={"hand": folder})
    for file, place in ((".made.yaml", "enhancers"), ("candidates.yaml", "photos")):
        record = yaml.safe_load((output / file).read_text())
        record[place][0]["name"] = name
        (output / file).write_text(yaml.safe_dump(record))
    (tmp_path / "kept").mkdir()
    with pytest.raises(InvalidInput, match=r"is not a record of `goldeye enhance`"):
        enhance_photos(photos, output, enhancers={}, folders={"hand": folder}, overwrite=True)
    with pytest.raises(InvalidInput, match=r"is not a record of `goldeye enhance`"):
        read_candidates(output)
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize("slot", ["../../kept", "/kept", "", "01\n"])
def test_a_slot_is_a_number(slot: str) -> None:
    with pytest.raises(ValueError, match="slot"):
        Enhancer(name="hand", slot=slot)


def test_one_command_at_a_time_writes_into_a_folder(tmp_path: Path, photos: Path, folder: Path) -> None:
    pytest.importorskip("fcntl")
    output = tmp_path / "candidates"
    with (
        sole_user(output),
        pytest.raises(InvalidInput, match="Another goldeye command is writing into"),
    ):
        enhance_photos(photos, output, enhancers={}, folders={"hand": folder})
    assert not list(output.iterdir())


def test_other_weights_are_refused_by_name(tmp_path: Path, photos: Path) -> None:
    out, path = tmp_path / "candidates", tmp_path / "net.safetensors"
    enhance_photos(photos, out, enhancers={"net": weights(path, "rcan-x1", RCAN)}, folders={})
    before = files(out)
    changed = {"net": weights(path, "rcan-x1", RCAN, seed=1)}
    with pytest.raises(InvalidInput, match="made differently: weights_sha256 of enhancer net"):
        enhance_photos(photos, out, enhancers=changed, folders={})
    assert files(out) == before
    result = enhance_photos(photos, out, enhancers=changed, folders={}, overwrite=True)
    assert len(result.done) == 4
    assert files(out)["net/a.png"] != before["net/a.png"]
    assert read_candidates(out).enhancers[0].weights_sha256 == sha256(path)


def test_other_settings_are_refused_even_after_a_stop(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enhancers = {"net": weights(tmp_path / "net.safetensors", "rcan-x1", RCAN)}

    def stop(path: Path, picture: Picture) -> None:
        write_image(path, picture)
        if path.parent.name == "net":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(enhance_module, "write_image", stop)
        with pytest.raises(KeyboardInterrupt):
            enhance_photos(photos, tmp_path / "out", enhancers=enhancers, folders={}, tile=8)
    with pytest.raises(InvalidInput, match=r"tile of enhancer net \(8 then, 512 now\)"):
        enhance_photos(photos, tmp_path / "out", enhancers=enhancers, folders={})


def test_changed_photos_and_results_are_refused_by_name(tmp_path: Path, photos: Path, folder: Path) -> None:
    out = tmp_path / "candidates"
    enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    write_image(folder / "a.bmp", picture(9))
    with pytest.raises(InvalidInput, match=r"the picture for '.*a\.png' in the folder of hand has changed"):
        enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    write_image(folder / "a.bmp", picture(2))
    write_image(photos / "a.png", picture(9))
    with pytest.raises(InvalidInput, match=r"photo '.*a\.png' has changed"):
        enhance_photos(photos, out, enhancers={}, folders={"hand": folder})


def test_photos_and_enhancers_come_and_go(tmp_path: Path, photos: Path, folder: Path) -> None:
    out = tmp_path / "candidates"
    net = weights(tmp_path / "net.safetensors", "rcan-x1", RCAN)
    enhance_photos(photos, out, enhancers={"net": net}, folders={})
    write_image(photos / "c.png", picture(5))
    write_image(folder / "c.png", picture(6))
    added = enhance_photos(photos, out, enhancers={"net": net}, folders={"hand": folder})
    assert names(added.done) == [
        ("original", "c.png"),
        ("net", "c.png"),
        ("hand", "a.png"),
        ("hand", "c.png"),
        ("hand", "b.tif"),
    ]
    enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    assert read_candidates(out).slots == {"01": "hand"}
    # What was left out is remembered: it cannot come back as something else.
    changed = weights(tmp_path / "net.safetensors", "rcan-x1", RCAN, seed=1)
    with pytest.raises(InvalidInput, match="weights_sha256 of enhancer net"):
        enhance_photos(photos, out, enhancers={"net": changed}, folders={"hand": folder})


def test_a_damaged_photo_fails_alone_and_is_tried_again(tmp_path: Path, photos: Path, folder: Path) -> None:
    good = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes(good[: len(good) // 2])
    out = tmp_path / "candidates"
    result = enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    assert names(result.failed) == [("original", "a.png")]
    assert "a.png" in result.failed[0]["error"]
    assert [photo.name for photo in read_candidates(out).photos] == ["deep/b.png"]
    assert not (out / "original" / "a.png").exists()
    assert not (out / "hand" / "a.png").exists()
    again = enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    assert names(again.failed) == [("original", "a.png")]
    assert len(again.skipped) == 2
    (photos / "a.png").write_bytes(good)
    mended = enhance_photos(photos, out, enhancers={}, folders={"hand": folder})
    assert names(mended.done) == [("original", "a.png"), ("hand", "a.png")]
    assert [photo.name for photo in read_candidates(out).photos] == ["a.png", "deep/b.png"]


def test_sixteen_bit_photos_become_eight_bit(tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "a.png", picture(0).astype(np.uint16) * 257)
    write_image(tmp_path / "hand" / "a.png", picture(1).astype(np.uint16) * 257)
    enhance_photos(tmp_path / "photos", tmp_path / "out", enhancers={}, folders={"hand": tmp_path / "hand"})
    assert np.array_equal(read_image(tmp_path / "out" / "original" / "a.png"), picture(0))
    assert np.array_equal(read_image(tmp_path / "out" / "hand" / "a.png"), picture(1))


def run(photos: Path, out: Path, **options: dict[str, object]) -> BatchResult:
    return enhance_photos(photos, out, **{"enhancers": {}, "folders": {}, **options})  # type: ignore[arg-type]


def test_everything_is_checked_before_work_starts(tmp_path: Path, photos: Path, folder: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InvalidInput, match="at least one enhancer"):
        run(photos, out)
    with pytest.raises(InvalidInput, match="'original' cannot name an enhancer"):
        run(photos, out, folders={"original": folder})
    with pytest.raises(InvalidInput, match=r"'\.\./x' cannot name an enhancer"):
        run(photos, out, folders={"../x": folder})
    with pytest.raises(InvalidInput, match="Two enhancers are named 'a'"):
        run(photos, out, enhancers={"a": "x"}, folders={"a": folder})
    with pytest.raises(InvalidInput, match="nowhere"):
        run(photos, out, enhancers={"a": str(tmp_path / "nowhere.pth")})
    with pytest.raises(InvalidInput, match="must not lie inside"):
        run(photos, photos / "out", folders={"hand": folder})
    (folder / "deep" / "b.png").unlink()
    write_image(folder / "a.bmp", picture(2, 20, 20))
    with pytest.raises(InvalidInput, match=r"a\.bmp' is 20x20, its photo 24x20; '.*' has no picture for '.*b\.tif'"):
        run(photos, out, folders={"hand": folder})
    write_image(photos / "a.jpg", picture(0))
    with pytest.raises(InvalidInput, match=r"would both be written as a\.png"):
        run(photos, out, folders={"hand": folder})
    (photos / "a.jpg").write_bytes(b"no picture")
    (photos / "a.png").unlink()
    with pytest.raises(InvalidInput, match=r"a\.jpg"):
        run(photos, out, folders={"hand": folder})
    assert not out.exists()


def test_foreign_pictures_are_never_taken_for_finished_ones(tmp_path: Path, photos: Path, folder: Path) -> None:
    write_image(tmp_path / "out" / "hand" / "a.png", picture(8))
    with pytest.raises(InvalidInput, match="hand' holds files that `goldeye enhance` did not make"):
        run(photos, tmp_path / "out", folders={"hand": folder})


def test_no_candidates_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no candidates"):
        read_candidates(tmp_path)
    (tmp_path / "candidates.yaml").write_text("format: 2\n")
    with pytest.raises(InvalidInput, match=r"candidates\.yaml' cannot be used"):
        read_candidates(tmp_path)


def test_pictures_made_elsewhere_may_carry_a_suffix(tmp_path: Path) -> None:
    """The official enhanced folders hold 01/NAME_01.png."""
    for name, seed in (("a", 0), ("a_01", 1)):
        write_image(tmp_path / "photos" / f"{name}.png", picture(seed))
        write_image(tmp_path / "x" / "01" / f"{name}_01.png", picture(seed + 2))
        write_image(tmp_path / "x" / "02" / f"{name}_hand.png", picture(seed + 4))
    run(tmp_path / "photos", tmp_path / "out", folders={"net": tmp_path / "x" / "01", "hand": tmp_path / "x" / "02"})
    for name, seed in (("a", 0), ("a_01", 1)):
        assert np.array_equal(read_image(tmp_path / "out" / "net" / f"{name}.png"), picture(seed + 2))
        assert np.array_equal(read_image(tmp_path / "out" / "hand" / f"{name}.png"), picture(seed + 4))
    (tmp_path / "x" / "01" / "a_01_01.png").unlink()
    write_image(tmp_path / "x" / "02" / "a_hand.bmp", picture(9))
    with pytest.raises(InvalidInput, match=r"01' has no picture for '.*'; '.*02' has 2 pictures for '.*a\.png'\."):
        run(
            tmp_path / "photos", tmp_path / "out", folders={"net": tmp_path / "x" / "01", "hand": tmp_path / "x" / "02"}
        )


def test_all_problems_are_named(tmp_path: Path) -> None:
    for number in range(20):
        write_image(tmp_path / "photos" / f"p{number}.png", picture(number))
        write_image(tmp_path / "hand" / f"p{number}.png", picture(number, 20, 20 + number))
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path / "photos", tmp_path / "out", folders={"hand": tmp_path / "hand"})
    assert [number for number in range(20) if f"p{number}.png' is" in str(caught.value)] == [
        number for number in range(20) if number != 4
    ]
    for number in (3, 7):
        (tmp_path / "photos" / f"p{number}.png").write_bytes(b"no picture")
    with pytest.raises(InvalidInput, match=r"p3\.png.*p7\.png"):
        run(tmp_path / "photos", tmp_path / "out", folders={"hand": tmp_path / "hand"})


def test_nothing_is_read_from_where_results_go(tmp_path: Path, photos: Path, folder: Path) -> None:
    run(photos, tmp_path / "out", folders={"hand": folder})
    with pytest.raises(InvalidInput, match=r"out/hand' must not lie inside the folder of candidates"):
        run(photos, tmp_path / "out", folders={"hand": tmp_path / "out" / "hand"}, overwrite=True)
    with pytest.raises(InvalidInput, match=r"out/original' must not lie inside the folder of candidates"):
        run(tmp_path / "out" / "original", tmp_path / "out", folders={"hand": folder}, overwrite=True)
    assert read_candidates(tmp_path / "out").slots == {"01": "hand"}


def test_what_made_the_pictures_is_recorded(tmp_path: Path, photos: Path) -> None:
    for name, seed in (("r", 1), ("s", 2)):
        weights(tmp_path / f"{name}.safetensors", "rcan-x1", RCAN, seed)
    both = tmp_path / "both.yaml"
    both.write_text("ensemble: [{model: r.safetensors}, {model: s.safetensors}]\n")
    run(photos, tmp_path / "out", enhancers={"both": str(both)}, precision="bf16", tile=64)
    [enhancer] = read_candidates(tmp_path / "out").enhancers
    assert (enhancer.architecture, enhancer.tile, enhancer.precision) == ("ensemble", 64, "bf16")
    assert enhancer.members == {
        str(tmp_path / f"{name}.safetensors"): sha256(tmp_path / f"{name}.safetensors") for name in "rs"
    }
    assert enhancer.weights_sha256 == load_model(both).sha256
    assert (enhancer.goldeye, enhancer.torch) == (goldeye.__version__, torch.__version__)
    with pytest.raises(InvalidInput, match=r"precision of enhancer both \(bf16 then, fp32 now\)"):
        run(photos, tmp_path / "out", enhancers={"both": str(both)}, tile=64)


def test_unchanged_files_are_hashed_once(
    tmp_path: Path, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(candidates_module, "sha256", lambda path: read.append(path.name) or sha256(path))
    run(photos, tmp_path / "out", folders={"hand": folder})
    assert sorted(read) == ["a.bmp", "a.png", "b.png", "b.tif"]
    run(photos, tmp_path / "out", folders={"hand": folder})
    assert len(read) == 4
    os.utime(photos / "a.png", ns=(1, 1))
    run(photos, tmp_path / "out", folders={"hand": folder})
    assert read[4:] == ["a.png"]


def test_a_run_that_goes_on_is_taken_as_it_was(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training run may write its next checkpoint while the photos are enhanced."""
    checkpoints = tmp_path / "run" / "checkpoints"
    weights(checkpoints / "one.safetensors", "rcan-x1", RCAN, 1)
    weights(checkpoints / "two.safetensors", "rcan-x1", RCAN, 2)
    (checkpoints / "latest").write_text("one\n")
    run(photos, tmp_path / "wanted", enhancers={"net": str(tmp_path / "run")})

    def goes_on(path: Path, picture: Picture) -> None:
        write_image(path, picture)
        (checkpoints / "latest").write_text("two\n")

    monkeypatch.setattr(enhance_module, "write_image", goes_on)
    run(photos, tmp_path / "out", enhancers={"net": str(tmp_path / "run")})
    assert files(tmp_path / "out") == files(tmp_path / "wanted")


def test_weights_that_change_meanwhile_make_nothing(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    enhancers = {"net": weights(path, "rcan-x1", RCAN)}

    def changes(target: Path, picture: Picture) -> None:
        write_image(target, picture)
        weights(path, "rcan-x1", RCAN, 1)

    monkeypatch.setattr(enhance_module, "write_image", changes)
    result = run(photos, tmp_path / "out", enhancers=enhancers)
    assert [entry["enhancer"] for entry in result.done] == ["original", "original"]
    assert "is not what it was when the work began" in result.failed[0]["error"]
    assert not (tmp_path / "out" / "net").exists()


def test_little_memory_fails_rather_than_changes_the_result(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upscaler itself would go on with smaller tiles."""
    import goldeye.upscale.engine as engine

    def scarce(upscaler: engine.Upscaler, network: torch.nn.Module, windows: torch.Tensor) -> torch.Tensor:
        if windows.shape[2] > 128:
            raise MemoryError
        return whole(upscaler, network, windows)

    whole = engine.Upscaler._checked
    write_image(photos / "large.png", picture(7, 300, 200))
    enhancers = {"net": weights(tmp_path / "net.safetensors", "rcan-x1", RCAN)}
    with monkeypatch.context() as patch:
        patch.setattr(engine.Upscaler, "_checked", scarce)
        result = run(photos, tmp_path / "out", enhancers=enhancers)
    assert names(result.failed) == [("net", "large.png")]
    assert "not enough memory for tiles of 512 pixels: give a smaller --tile" in result.failed[0]["error"]
    assert not run(photos, tmp_path / "out", enhancers=enhancers).failed


def test_alpha_is_dropped(tmp_path: Path) -> None:
    pixels = picture(0)
    write_image(tmp_path / "photos" / "a.png", pixels, alpha=np.zeros(pixels.shape[:2], np.uint8))
    write_image(tmp_path / "hand" / "a.png", pixels)
    run(tmp_path / "photos", tmp_path / "out", folders={"hand": tmp_path / "hand"})
    assert np.array_equal(read_image(tmp_path / "out" / "original" / "a.png"), pixels)


def test_two_processes_make_the_same_files(tmp_path: Path, photos: Path, folder: Path) -> None:
    good = (photos / "a.png").read_bytes()
    (photos / "broken.png").write_bytes(good[: len(good) // 2])
    write_image(folder / "broken.png", picture(0))
    enhancers = {
        "net": weights(tmp_path / "net.safetensors", "rcan-x1", RCAN),
        "larger": weights(tmp_path / "larger.safetensors", "rrdb", RRDB),
    }
    one = run(photos, tmp_path / "one", enhancers=enhancers, folders={"hand": folder}, tile=16)
    two = run(photos, tmp_path / "two", enhancers=enhancers, folders={"hand": folder}, tile=16, engine=LocalEngine(2))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert names(one.done) == names(two.done)
    assert names(one.failed) == names(two.failed) == [("original", "broken.png")]
    assert one.failed[0]["error"] == two.failed[0]["error"]


@pytest.mark.slow
def test_ray_makes_the_same_files(tmp_path: Path, photos: Path, folder: Path) -> None:
    enhancers = {"larger": weights(tmp_path / "larger.safetensors", "rrdb", RRDB)}
    run(photos, tmp_path / "one", enhancers=enhancers, folders={"hand": folder}, tile=16)
    run(photos, tmp_path / "ray", enhancers=enhancers, folders={"hand": folder}, tile=16, engine=RayEngine(2))
    assert files(tmp_path / "one") == files(tmp_path / "ray")


@pytest.mark.parametrize("architecture", ["rcan-x1", "elan-x1"])
def test_the_number_of_threads_changes_nothing(tmp_path: Path, architecture: str) -> None:
    """Workers have fewer than a process that works alone."""
    torch.manual_seed(0)
    module = build_network(architecture, **(RCAN if architecture == "rcan-x1" else ELAN))
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(upscale_picture(module.eval(), to_float(picture(0, 70, 90)), scale=1))
    torch.set_num_threads(before)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


GOLDEYE = [sys.executable, "-m", "goldeye"]
SCRIPT = Path(sys.executable).with_name("goldeye")


def test_the_command_works_in_processes(tmp_path: Path, photos: Path, folder: Path) -> None:
    """Through the console script, and with what it was killed in the middle of."""
    words = ["enhance", str(photos), "--folder", f"hand={folder}", "--json", "-o"]
    assert command([*words, str(tmp_path / "one")]) == 0
    unfinished = tmp_path / "two" / "hand" / ".a.00000000.1.tmp.png"
    unfinished.parent.mkdir(parents=True)
    start = [str(SCRIPT)] if SCRIPT.exists() else GOLDEYE
    run(photos, tmp_path / "two", folders={"hand": folder})
    (tmp_path / "two" / "hand" / "a.png").unlink()
    unfinished.write_bytes(b"half")
    done = subprocess.run(
        [*start, *words, str(tmp_path / "two"), "-j", "2"], capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert (len(document["done"]), len(document["skipped"]), document["failed"]) == (1, 3, [])
    assert done.stderr == ""
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_the_command_refuses_by_name(
    tmp_path: Path, photos: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["enhance", str(photos), "-o", str(tmp_path / "out"), "--folder", f"hand={folder}"]
    assert command([*words, "--engine", "rey"]) == 2
    assert "Unknown engine 'rey'. Did you mean 'ray'?" in capsys.readouterr().err
    net = weights(tmp_path / "net.safetensors", "rcan-x1", RCAN)
    assert command([*words, "--enhancer", net, "--precision", "fp16", "--device", "cpu"]) == 2
    assert "fp16 is not for a CPU" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_again_and_again_it_ends_the_same(tmp_path: Path, jobs: int) -> None:
    for number in range(6):
        write_image(tmp_path / "photos" / f"{number}.png", picture(number, 200, 300))
    net = weights(tmp_path / "net.safetensors", "rcan-x1", RCAN)
    words = ["enhance", str(tmp_path / "photos"), "--enhancer", f"net={net}", "--device", "cpu", "-o"]
    assert command([*words, str(tmp_path / "whole")]) == 0
    out = tmp_path / "killed"
    for seconds in itertools.count(2.0, 0.35):
        process = subprocess.Popen([*GOLDEYE, *words, str(out), "-j", str(jobs)], stdout=subprocess.DEVNULL)
        try:
            assert process.wait(seconds) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.2)
    assert files(out) == files(tmp_path / "whole")


LARGE = """
import sys, threading, time
from pathlib import Path
from goldeye.curate.enhance import enhance_photos
peak = 0
def watch():
    global peak
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = max(peak, next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
photos, out, net, hand = sys.argv[1:]
result = enhance_photos(Path(photos), Path(out), enhancers={"net": net}, folders={"hand": Path(hand)}, tile=256)
assert len(result.done) == 3, result
print(peak)
"""


@pytest.mark.slow
def test_large_photos_need_little_memory(tmp_path: Path) -> None:
    """12000 x 9000 pixels of 16 bits are 648 MB, their 8-bit version 324 MB.

    Pages of files do not count: the system takes them back when it wants to.
    """
    rows = np.random.default_rng(0).integers(0, 65536, (1, 12000, 3), dtype=np.uint16)
    large = np.ascontiguousarray(np.broadcast_to(rows, (9000, 12000, 3)))
    write_image(tmp_path / "photos" / "a.tif", large)
    write_image(tmp_path / "hand" / "a.png", large)
    del large
    net = tmp_path / "net.safetensors"
    config = {"num_feat": 4, "num_conv": 1, "scale": 1}
    save_weights(net, build_network("compact", **config), architecture="compact", config=config, scale=1)
    words = [str(tmp_path / "photos"), str(tmp_path / "out"), str(net), str(tmp_path / "hand")]
    done = subprocess.run([sys.executable, "-c", LARGE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 600e6
