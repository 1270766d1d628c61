"""Photos to candidates: with networks and folders, resumed, refused and failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import goldeye.curate.enhance as enhance_module
from goldeye.batch import BatchResult
from goldeye.curate.enhance import enhance_photos, read_candidates
from goldeye.errors import InvalidInput
from goldeye.files import sha256
from goldeye.images import Picture, matlab_resize, read_image, to_float, to_uint8, write_image
from goldeye.networks import build_network
from goldeye.networks.weights import load_model, save_weights
from goldeye.upscale.run import upscale_picture

RCAN = {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}
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
    with pytest.raises(InvalidInput, match=r"tile of enhancer net \(8 then, 0 now\)"):
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
