"""`goldeye mobile`: RGAN's T1 to T4, and the check that a phone's and a DSLR's picture lie on each other."""

from __future__ import annotations

import json
import os
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
from scipy import ndimage

from goldeye.cli import run
from goldeye.curate.mobile import MAX_SHIFT, make_mobile
from goldeye.curate.registration import Registration, register
from goldeye.errors import InvalidInput
from goldeye.files import sha256, sole_user
from goldeye.images import Picture, matlab_resize, read_image, to_float, to_uint8, write_image
from goldeye.networks import build_network
from goldeye.networks.weights import save_weights

SIDE = 100  # of DPED's patches
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def scene(seed: int, height: int = 160, width: int = 160) -> np.ndarray:
    """Something like a photo, (H, W, 3) in [0, 1]: coarse forms, edges and texture in colour."""
    rng = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(rng.normal(size=(height, width)), sigma) for sigma in (1, 3, 12)]
    forms = sum(layer / layer.std() * share for layer, share in zip(layers, (0.5, 1, 1.5), strict=True))
    edges = np.where(layers[2] > 0, 1.0, 0.0) + np.where(layers[1] > 1.2 * layers[1].std(), 0.7, 0.0)
    luma = forms / 3 + edges
    colours = 1 + 0.3 * ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (12, 12, 0)) / 0.02
    picture = luma[..., None] * colours
    low, high = np.percentile(picture, [1, 99])
    clipped: np.ndarray = np.clip((picture - low) / (high - low), 0, 1)
    return clipped


def eight_bit(values: np.ndarray) -> Picture:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def cut(values: np.ndarray, y: int = 0, x: int = 0, side: int = SIDE) -> np.ndarray:
    """A patch `y` below and `x` to the right of the middle one."""
    top, left = (values.shape[0] - side) // 2 + y, (values.shape[1] - side) // 2 + x
    return values[top : top + side, left : left + side]


def phone_like(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Softer, noisier, darker and of other colours."""
    soft = ndimage.gaussian_filter(values, (0.8, 0.8, 0))
    colours = np.clip(soft, 0, 1) ** 1.3 @ np.array([[0.8, 0.1, 0], [0.05, 0.7, 0.1], [0, 0.1, 0.95]]) * 0.8 + 0.05
    noisy: np.ndarray = colours + rng.normal(0, 0.03, values.shape)
    return noisy


CHANGES: dict[str, Change] = {
    "same": lambda v, rng: v,
    "gamma": lambda v, rng: v**2.2,
    "contrast": lambda v, rng: 0.4 * v + 0.1,
    "exposure": lambda v, rng: 1.8 * v,
    "colour": lambda v, rng: v[..., [1, 2, 0]] * [0.6, 1.0, 0.8],
    "noise": lambda v, rng: v + rng.normal(0, 0.08, v.shape),
    "blur": lambda v, rng: ndimage.gaussian_filter(v, (2, 2, 0)),
    "phone": phone_like,
}


# The check -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_pictures_that_lie_on_each_other_pass_whatever_the_camera_did(change: str) -> None:
    for seed in range(4):
        dslr = scene(seed)
        phone = CHANGES[change](dslr, np.random.default_rng(seed))
        found = register(eight_bit(cut(phone)), eight_bit(cut(dslr)))
        assert found.verdict == "measured"
        assert found.distance < 0.5, (seed, found)


@pytest.mark.parametrize("change", ["same", "colour", "noise", "blur", "phone"])
@pytest.mark.parametrize("shift", [(8, 0), (-8, 0), (0, 8), (0, -8), (6, 5), (-5, 6), (5, -6), (-6, -5)])
def test_eight_pixels_are_found_in_every_direction(change: str, shift: tuple[int, int]) -> None:
    for seed in range(2):
        dslr = scene(seed)
        phone = CHANGES[change](dslr, np.random.default_rng(seed))
        # What is cut further up lies further down.
        found = register(eight_bit(cut(phone)), eight_bit(cut(dslr, -shift[0], -shift[1])))
        assert found.shift is not None
        assert np.abs(np.subtract(found.shift, shift)).max() < 0.5
        assert found.distance > MAX_SHIFT


@pytest.mark.parametrize("shift", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_one_pixel_is_measured_and_within_the_default(shift: tuple[int, int]) -> None:
    dslr = scene(3)
    phone = phone_like(dslr, np.random.default_rng(0))
    found = register(eight_bit(cut(phone)), eight_bit(cut(dslr, -shift[0], -shift[1])))
    assert found.shift is not None
    assert np.abs(np.subtract(found.shift, shift)).max() < 0.3
    assert found.distance < MAX_SHIFT


def test_parts_of_a_pixel_are_measured() -> None:
    fine = scene(5, 640, 640)  # four times finer than what is compared
    for y, x in ((2, 0), (1, -3), (6, 9)):
        parts = [
            to_float(eight_bit(fine))[top : top + 400, left : left + 400].reshape(100, 4, 100, 4, 3).mean((1, 3))
            for top, left in ((100, 100), (100 - y, 100 - x))
        ]
        found = register(eight_bit(parts[0]), eight_bit(parts[1]))
        assert found.shift == pytest.approx((y / 4, x / 4), abs=0.1)


def test_flat_pictures_are_said_to_be_flat() -> None:
    rng = np.random.default_rng(0)
    sky = np.full((SIDE, SIDE, 3), 0.7) + np.linspace(0, 0.1, SIDE)[:, None, None]
    assert register(eight_bit(sky + rng.normal(0, 0.03, sky.shape)), eight_bit(sky)).verdict == "flat"
    black = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert register(black, black) == Registration("flat")
    assert register(eight_bit(cut(scene(1))), black).verdict == "flat"


def test_different_pictures_are_told_apart() -> None:
    for seed in range(6):
        found = register(eight_bit(cut(scene(seed))), eight_bit(cut(scene(seed + 10))))
        assert found.verdict == "different"


def test_along_an_edge_and_over_stripes_the_smallest_shift_counts() -> None:
    """Where other places fit as well, nobody can say that the pair does not line up."""
    rng = np.random.default_rng(1)
    edge = np.where(np.arange(160) > 80, 0.8, 0.2)[None, :, None] * np.ones((160, 1, 3))
    stripes = 0.5 + 0.3 * np.sign(np.sin(np.arange(160) * 2 * np.pi / 10))[:, None, None] * np.ones((1, 160, 3))
    for picture in (edge, stripes):
        noisy = [eight_bit(cut(picture) + rng.normal(0, 0.01, (SIDE, SIDE, 3))) for _ in range(2)]
        found = register(*noisy)
        assert found.verdict == "measured"
        assert found.distance < 1
    # Across the edge it is seen all the same.
    found = register(eight_bit(cut(edge)), eight_bit(cut(edge, 0, 8)))
    assert found.distance == pytest.approx(8, abs=0.5)


def test_a_large_picture_that_is_turned_does_not_pass() -> None:
    """Its middle lies right; the windows at its corners do not."""
    dslr = scene(7, 768, 768)
    turned = np.stack([ndimage.rotate(dslr[..., c], 1.5, reshape=False, order=1, mode="nearest") for c in range(3)], -1)
    assert register(eight_bit(cut(turned)), eight_bit(cut(dslr))).distance < MAX_SHIFT
    assert register(eight_bit(turned), eight_bit(dslr)).distance > 3
    assert register(eight_bit(dslr), eight_bit(dslr)).distance == 0


def test_unequal_sizes_are_no_pair() -> None:
    with pytest.raises(ValueError, match="equal size"):
        register(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4, 3), np.uint8))


# The pictures --------------------------------------------------------------------------------------------------------


def write_pair(root: Path, name: str, seed: int, shift: tuple[int, int] = (0, 0), side: int = SIDE) -> None:
    dslr = scene(seed)
    phone = phone_like(dslr, np.random.default_rng(seed))
    write_image(root / "phone" / f"{name}.png", eight_bit(cut(phone, side=side)))
    write_image(root / "dslr" / f"{name}.png", eight_bit(cut(dslr, -shift[0], -shift[1], side)))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three pairs, one of them in a folder, and one of a size that is no multiple of four."""
    write_pair(tmp_path, "a", 1)
    write_pair(tmp_path, "deep/b ü", 2)
    write_pair(tmp_path, "odd", 3, side=90)
    return tmp_path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two small networks of scale 4 and one of scale 2."""
    folder = tmp_path_factory.mktemp("models")
    config = {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}
    for name, scale, seed in (("perceptual", 4, 0), ("psnr", 4, 1), ("double", 2, 2)):
        torch.manual_seed(seed)
        architecture = "rrdb" if scale == 4 else "rrdb-x2"
        module = build_network(architecture, **config)
        path = folder / f"{name}.safetensors"
        save_weights(path, module, architecture=architecture, config=config, scale=scale)
    return {path.stem: str(path) for path in folder.iterdir()}


def make(root: Path, **options: Any) -> Any:
    return make_mobile(root / "phone", root / "dslr", root / "out", **options)


def contents(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def record(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "mobile.jsonl").read_text().splitlines()]


def test_the_four_targets_are_the_papers(pairs: Path, models: dict[str, str]) -> None:
    result, notes = make(pairs, perceptual=models["perceptual"], psnr=models["psnr"])
    assert (len(result.done), result.skipped, result.failed, notes) == (12, [], [], [])
    out = pairs / "out"
    for name in ("a", "deep/b ü", "odd"):
        phone, dslr = (read_image(pairs / folder / f"{name}.png") for folder in ("phone", "dslr"))
        hr, lr = (
            {target: read_image(out / target / kind / f"{name}.png") for target in ("T1", "T2", "T3", "T4")}
            for kind in ("HR", "LR")
        )
        side = len(phone)
        for target in ("T1", "T2", "T3"):
            np.testing.assert_array_equal(lr[target], phone)
            assert hr[target].shape == (4 * side, 4 * side, 3)
        np.testing.assert_array_equal(hr["T1"], to_uint8(matlab_resize(to_float(dslr), 4 * side, 4 * side)))
        whole = side // 4 * 4
        np.testing.assert_array_equal(hr["T4"], dslr[:whole, :whole])
        small = to_uint8(matlab_resize(to_float(phone[:whole, :whole]), side // 4, side // 4))
        np.testing.assert_array_equal(lr["T4"], small)


def test_t2_and_t3_are_what_goldeye_upscale_makes(pairs: Path, models: dict[str, str], tmp_path: Path) -> None:
    make(pairs, perceptual=models["perceptual"], psnr=models["psnr"])
    for target, model in (("T2", models["perceptual"]), ("T3", models["psnr"])):
        up = tmp_path / f"up-{target}"
        assert run(["upscale", str(pairs / "dslr"), "-o", str(up), "-n", model, "--device", "cpu", "-q"]) == 0
        for name in ("a.png", "deep/b ü.png", "odd.png"):
            mine = read_image(pairs / "out" / target / "HR" / name)
            np.testing.assert_array_equal(mine, read_image(up / name))
    two, three = (read_image(pairs / "out" / target / "HR" / "a.png") for target in ("T2", "T3"))
    assert not np.array_equal(two, three)


def test_the_record_says_what_was_made_of_what(pairs: Path, models: dict[str, str]) -> None:
    make(pairs, targets=["T2", "T1"], perceptual=models["perceptual"])
    rows = {(row["target"], row["output"]): row for row in record(pairs / "out")}
    assert len(rows) == 6
    row = rows["T2", "deep/b ü.png"]
    assert row["phone"] == str(pairs / "phone" / "deep" / "b ü.png")
    assert row["phone_sha256"] == sha256(pairs / "phone" / "deep" / "b ü.png")
    assert row["dslr_sha256"] == sha256(pairs / "dslr" / "deep" / "b ü.png")
    assert (row["model"], row["model_sha256"]) == (models["perceptual"], sha256(Path(models["perceptual"])))
    assert (row["scale"], row["height"], row["width"], row["registration"]) == (4, 400, 400, "measured")
    assert np.hypot(*row["shift"]) < 0.5
    assert 0.5 < row["similarity"] <= 1
    assert rows["T1", "odd.png"]["model_sha256"] is None
    assert rows["T1", "odd.png"]["height"] == 360


def test_sixteen_bits_and_grey_become_eight_bit_colour(tmp_path: Path) -> None:
    dslr = eight_bit(cut(scene(1)))
    write_image(tmp_path / "phone" / "a.png", dslr.astype(np.uint16) * 257)
    write_image(tmp_path / "dslr" / "a.tif", dslr, grey=True)
    result, _ = make(tmp_path, targets=["T4"])
    assert len(result.done) == 1
    lr = read_image(tmp_path / "out" / "T4" / "LR" / "a.png")
    assert lr.dtype == np.uint8
    np.testing.assert_array_equal(lr, to_uint8(matlab_resize(to_float(dslr), 25, 25)))
    hr = read_image(tmp_path / "out" / "T4" / "HR" / "a.png")
    assert np.array_equal(hr[..., 0], hr[..., 2])


def test_targets_without_a_model_are_left_out_and_said(pairs: Path, models: dict[str, str]) -> None:
    result, notes = make(pairs, psnr=models["psnr"])
    assert {item["target"] for item in result.done} == {"T1", "T3", "T4"}
    assert notes == ["Left out for want of a model: T2 (--perceptual MODEL)."]
    for lacking in ("T2", "T3"):
        with pytest.raises(InvalidInput, match=f"target {lacking} needs --p"):
            make(pairs, targets=["T1", lacking])


def test_pairs_that_do_not_line_up_are_named_with_their_shift(pairs: Path, capsys: Any) -> None:
    write_pair(pairs, "left", 4, (0, -8))
    write_pair(pairs, "below", 5, (8, 0))
    write_pair(pairs, "one", 6, (1, 0))
    write_pair(pairs, "other", 7)
    write_image(pairs / "dslr" / "other.png", eight_bit(cut(scene(20))))
    argv = ["mobile", str(pairs / "phone"), str(pairs / "dslr"), "-o", str(pairs / "out"), "--targets", "T1", "--json"]
    assert run(argv) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["schema"] == "goldeye.mobile/1"
    assert [Path(item["input"]).stem for item in found["done"]] == ["a", "b ü", "odd", "one"]
    failed = {Path(item["input"]).stem: item for item in found["failed"]}
    assert set(failed) == {"left", "below", "other"}
    assert failed["left"]["shift"] == pytest.approx([0, -8], abs=0.5)
    assert failed["below"]["shift"] == pytest.approx([8, 0], abs=0.5)
    assert "do not line up" in failed["left"]["error"]
    assert "-8.0 to the right" in failed["left"]["error"]
    assert failed["other"]["shift"] is None
    assert "different things" in failed["other"]["error"]
    assert "left.png" in printed.err
    assert not (pairs / "out" / "T1" / "HR" / "left.png").exists()
    assert run([*argv, "--max-shift", "9"]) == 1
    assert len(json.loads(capsys.readouterr().out)["done"]) == 2


def test_a_pair_refused_later_leaves_nothing_of_itself(pairs: Path) -> None:
    write_pair(pairs, "left", 4, (0, -8))
    make(pairs, max_shift=10)
    before = contents(pairs / "out")
    assert "T1/HR/left.png" in before
    result, _ = make(pairs)
    assert len(result.failed) == 1
    after = contents(pairs / "out")
    assert {name for name in before if name not in after} == {f"T{t}/{k}/left.png" for t in "14" for k in ("HR", "LR")}
    assert "left.png" not in {row["output"] for row in record(pairs / "out")}


def test_flat_pairs_are_kept_with_a_note_or_refused(pairs: Path) -> None:
    for folder in ("phone", "dslr"):
        write_image(pairs / folder / "sky.png", np.full((SIDE, SIDE, 3), 180, np.uint8))
    result, notes = make(pairs, targets=["T1"])
    assert not result.failed
    assert notes == ["Pairs with too little detail to say whether they line up: 1; --strict refuses them."]
    row = next(row for row in record(pairs / "out") if row["output"] == "sky.png")
    assert (row["registration"], row["shift"], row["similarity"]) == ("flat", None, None)
    result, notes = make(pairs, targets=["T1"], strict=True)
    assert [Path(item["input"]).name for item in result.failed] == ["sky.png"]
    assert "too little detail" in result.failed[0]["error"]
    assert notes == []
    assert not (pairs / "out" / "T1" / "HR" / "sky.png").exists()


def test_what_is_no_pair_is_named_and_the_rest_is_done(pairs: Path) -> None:
    write_image(pairs / "phone" / "alone.png", eight_bit(cut(scene(1))))
    write_image(pairs / "dslr" / "deep" / "lonely.png", eight_bit(cut(scene(1))))
    write_pair(pairs, "size", 4)
    write_image(pairs / "dslr" / "size.png", eight_bit(cut(scene(4), side=96)))
    write_pair(pairs, "twice", 5)
    write_image(pairs / "phone" / "twice.jpg", eight_bit(cut(scene(5))))
    write_pair(pairs, "broken", 6)
    whole = (pairs / "phone" / "broken.png").read_bytes()
    (pairs / "phone" / "broken.png").write_bytes(whole[:300])
    write_pair(pairs, "tiny", 7, side=3)
    result, _ = make(pairs)
    errors = {Path(item["input"]).name: item["error"] for item in result.failed}
    assert "no picture 'alone'" in errors["alone.png"]
    assert "no picture 'deep/lonely'" in errors["lonely.png"]
    assert "100 x 100 pixels" in errors["size.png"]
    assert "96 x 96" in errors["size.png"]
    assert "same name" in errors["twice.jpg"]
    assert "truncated or damaged" in errors["broken.png"]
    assert "too small: 3 x 3 pixels, of at least 4" in errors["tiny.png"]  # for T4; T1 is made
    assert len(errors) == 6
    assert {(item["target"], Path(item["input"]).stem) for item in result.done} == {
        *((target, name) for target in ("T1", "T4") for name in ("a", "b ü", "odd")),
        ("T1", "tiny"),
    }


def test_finished_pairs_are_skipped_and_changed_ones_made_anew(pairs: Path, models: dict[str, str]) -> None:
    make(pairs, perceptual=models["perceptual"])
    before = contents(pairs / "out")
    result, _ = make(pairs, perceptual=models["perceptual"])
    assert (len(result.done), len(result.skipped)) == (0, 9)
    assert contents(pairs / "out") == before
    (pairs / "out" / "T1" / "LR" / "a.png").unlink()
    write_pair(pairs, "odd", 8)
    result, _ = make(pairs, perceptual=models["perceptual"])
    made = [(item["target"], Path(item["input"]).stem) for item in result.done]
    assert made == [("T1", "a"), ("T1", "odd"), ("T2", "odd"), ("T4", "odd")]
    result, _ = make(pairs, perceptual=models["psnr"])
    assert {item["target"] for item in result.done} == {"T2"}
    assert len(make(pairs, targets=["T1"], scale=2)[0].done) == 3


def test_one_command_at_a_time_writes_into_a_folder(pairs: Path) -> None:
    pytest.importorskip("fcntl")
    with (
        sole_user(pairs / "out"),
        pytest.raises(InvalidInput, match="Another goldeye command is writing into"),
    ):
        make(pairs, targets=["T1"])
    assert make(pairs, targets=["T1"])[0].done


def test_an_interrupted_run_continues(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_at(path: Path, *rest: Any) -> None:
        if path.parts[-4:] == ("T4", "LR", "deep", "b ü.png"):
            raise KeyboardInterrupt
        write_image(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.curate.mobile.write_image", stop_at)
        with pytest.raises(KeyboardInterrupt):
            make(pairs)
    with (pairs / "out" / "mobile.jsonl").open("ab") as file:
        file.write(b'{"target": "T4", "output": "de')
    result, _ = make(pairs)
    assert [item["target"] for item in result.skipped] == ["T1", "T4", "T1"]
    (pairs / "out").rename(pairs / "continued")
    make(pairs)
    assert contents(pairs / "continued") == contents(pairs / "out")


@pytest.mark.slow
def test_a_killed_run_continues(tmp_path: Path) -> None:
    for number in range(60):
        write_pair(tmp_path, f"{number:02d}", number)
    command = [sys.executable, "-m", "goldeye", "mobile", "phone", "dslr", "-o", "out", "-q"]
    started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "out").rglob("*.png"))) < 20 and started.poll() is None:
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "out").rename(tmp_path / "continued")
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    mine = {name: data for name, data in contents(tmp_path / "continued").items() if ".tmp." not in name}
    assert mine == contents(tmp_path / "out")


def test_invalid_input(pairs: Path, models: dict[str, str], capsys: Any) -> None:
    phone, dslr, out = pairs / "phone", pairs / "dslr", pairs / "out"
    for message, options in (
        ("Unknown target 'T5'", {"targets": ["T5"]}),
        ("at least one target", {"targets": []}),
        ("its target T3 is not asked for", {"targets": ["T1"], "psnr": models["psnr"]}),
        ("makes pictures x2, and x4 is asked for", {"perceptual": models["double"]}),
        ("scale must be 2", {"scale": 1}),
        ("largest shift", {"max_shift": -1}),
        ("largest shift", {"max_shift": float("nan")}),
        ("nosuch", {"psnr": "nosuch.pth"}),
    ):
        with pytest.raises(InvalidInput, match=message):
            make(pairs, **options)
    for message, folders in (
        ("not a folder", (phone / "a.png", dslr, out)),
        ("not a folder", (phone, pairs / "nothing", out)),
        ("folders of their own", (phone, phone, out)),
        ("folders of their own", (pairs, phone, out)),
        ("a folder of its own", (phone, dslr, phone)),
        ("a folder of its own", (phone, dslr, dslr / "deep" / "new")),
        ("is a file", (phone, dslr, phone / "a.png")),
        ("has the name of one", (phone / "deep", dslr, out)),
    ):
        with pytest.raises(InvalidInput, match=message):
            make_mobile(*folders)
    assert not out.exists()
    make(pairs, targets=["T1"])
    with pytest.raises(InvalidInput, match="a folder of its own"):
        make_mobile(phone, out / "T1" / "HR", out)
    assert run(["mobile", str(phone), str(dslr), "-o", str(out), "--targets", "T2"]) == 2
    assert capsys.readouterr().err == "goldeye: The target T2 needs --perceptual MODEL.\n"


def test_the_command_prints_counts_and_notes(pairs: Path, capsys: Any) -> None:
    assert run(["mobile", str(pairs / "phone"), str(pairs / "dslr"), "-o", str(pairs / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out == "6 done, 0 skipped, 0 failed\n"
    assert printed.err == "note: Left out for want of a model: T2 (--perceptual MODEL) and T3 (--psnr MODEL).\n"
