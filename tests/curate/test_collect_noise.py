"""`goldeye noise-bank`: the accepted windows against a brute-force count, and a bank that survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from goldeye.cli import run
from goldeye.curate.noise import collect_noise
from goldeye.degrade.noise_bank import BankRecord, NoiseBank
from goldeye.errors import InvalidInput
from goldeye.images import read_image, write_image

SIDE = 16


def textured(seed: int, rows: int, columns: int) -> Any:
    """Windows of strong texture; its variance is far above that of any planted noise."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (rows * SIDE, columns * SIDE, 3)).astype(np.uint8)


def plant(picture: Any, row: int, column: int, colour: tuple[int, int, int], sigma: float) -> None:
    """A flat colour with Gaussian noise of a known sigma in one window."""
    rng = np.random.default_rng([row, column, colour[0]])
    noise = rng.normal(0, sigma, (SIDE, SIDE, 3))
    window = np.clip(np.rint(noise + colour), 0, 255).astype(np.uint8)
    picture[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = window


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """250 windows in five pictures, of which six are planted noise, and a picture without a window."""
    folder = tmp_path / "photos"
    pictures = [textured(number, 5, 10) for number in range(5)]
    plant(pictures[0], 1, 2, (90, 90, 90), 1)
    plant(pictures[0], 4, 9, (100, 120, 140), 2)
    plant(pictures[2], 0, 0, (150, 140, 130), 3)
    plant(pictures[2], 3, 3, (110, 110, 110), 4)
    plant(pictures[3], 2, 7, (160, 160, 160), 2)
    plant(pictures[3], 2, 8, (120, 120, 120), 6)  # the sixth: 2 % of 250 windows are five
    for number, picture in enumerate(pictures):
        write_image(folder / f"{'sub/' * (number > 2)}photo {number}.png", picture)
    write_image(folder / "tiny.png", textured(9, 1, 1)[:9])
    return folder


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """An auxiliary set: "yes" and "also" have windows inside the CATI of `photos`, the others miss it narrowly."""
    folder = tmp_path / "others"
    planted: dict[str, list[tuple[int, int, tuple[int, int, int], float]]] = {
        "also": [(0, 0, (120, 120, 120), 2), (1, 1, (130, 130, 130), 3)],
        "flat": [(0, 0, (120, 120, 120), 0.0)],  # without any noise
        "loud": [(1, 0, (120, 120, 120), 8)],
        "none": [],
        "dark": [(0, 1, (40, 40, 40), 2)],
        "yes": [(2, 1, (140, 140, 140), 2.5), (2, 2, (240, 240, 240), 2.5)],
    }
    for number, (name, windows) in enumerate(planted.items()):
        picture = textured(100 + number, 3, 3)
        for window in windows:
            plant(picture, *window)
        write_image(folder / f"{name}.png", picture)
    return folder


def brute_force(folder: Path, stride: int = SIDE) -> list[tuple[str, int, int, int, int]]:
    """(name, y, x, N·Σg, N·Σg² − (Σg)²) of every window: N² times mean and variance in exact integers."""
    found = []
    for path in sorted(folder.rglob("*.png"), key=lambda path: path.relative_to(folder).as_posix()):
        grey = np.asarray(Image.open(path).convert("L")).tolist()
        for y in range(0, len(grey) - SIDE + 1, stride):
            for x in range(0, len(grey[0]) - SIDE + 1, stride):
                levels = [level for line in grey[y : y + SIDE] for level in line[x : x + SIDE]]
                total, squares, n = sum(levels), sum(level * level for level in levels), len(levels)
                found.append((path.relative_to(folder).as_posix(), y, x, n * total, n * squares - total * total))
    return found


def contents(bank: Path) -> dict[str, bytes]:
    return {path.relative_to(bank).as_posix(): path.read_bytes() for path in bank.rglob("*") if path.is_file()}


def table(bank: Path, name: str = "noise.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bank / name).read_text(encoding="utf-8").splitlines()]


def names(items: list[dict[str, Any]]) -> list[str]:
    return [Path(item["input"]).name for item in items]


@pytest.mark.parametrize("stride", [SIDE, 11])
def test_the_bank_is_the_brute_force_count(photos: Path, tmp_path: Path, stride: int) -> None:
    result, record = collect_noise(photos, tmp_path / "bank", patch=SIDE, stride=stride)
    windows = brute_force(photos, stride)
    count = -(-2 * len(windows) // 100)
    lowest = sorted(windows, key=lambda window: window[4])[:count]
    means, variances = [w[3] for w in lowest], [w[4] for w in lowest]
    square = SIDE**4
    assert record.cati is not None
    assert record.cati.variance == (min(variances) / square, max(variances) / square)
    assert record.cati.mean == (min(means) / square, max(means) / square)
    inside = [
        w for w in windows if min(variances) <= w[4] <= max(variances) and min(means) <= w[3] <= max(means)
    ]  # fmt: skip
    rows = table(tmp_path / "bank")
    assert [(row["source"], row["y"], row["x"]) for row in rows] == [w[:3] for w in inside]
    assert [(row["mean"], row["variance"]) for row in rows] == [(w[3] / square, w[4] / square) for w in inside]
    for row in rows:
        crop = read_image(photos / row["source"])[row["y"] : row["y"] + SIDE, row["x"] : row["x"] + SIDE]
        np.testing.assert_array_equal(read_image(tmp_path / "bank" / row["file"]), crop)
    counts = record.counts["target"]
    assert (counts.pictures, counts.too_small, counts.windows, counts.patches) == (6, 1, len(windows), len(rows))
    assert names(result.done) == [f"photo {n}.png" for n in range(5)] + ["tiny.png"]
    assert sum(item["patches"] for item in result.done) == len(rows)
    if stride == SIDE:
        planted = [("photo 0.png", 1, 2), ("photo 0.png", 4, 9), ("photo 2.png", 0, 0), ("photo 2.png", 3, 3)]
        planted.append(("sub/photo 3.png", 2, 7))
        assert [(row["source"], row["y"] // SIDE, row["x"] // SIDE) for row in rows] == planted


def test_bank_yaml_and_sources(photos: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    _, record = collect_noise(photos, bank, patch=SIDE)
    assert BankRecord.model_validate(yaml.safe_load((bank / "bank.yaml").read_text())) == record
    assert (record.rule, record.settings, record.patch, record.stride) == ("cati", {"share": 0.02}, 16, 16)
    sources = {row["source"]: row for row in table(bank, "sources.jsonl")}
    assert sorted(sources) == sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))
    assert (sources["photo 2.png"]["windows"], sources["photo 2.png"]["patches"]) == (50, 2)
    assert (sources["tiny.png"]["height"], sources["tiny.png"]["windows"]) == (9, 0)
    assert {path.name for path in bank.iterdir()} == {
        "bank.yaml",
        "noise.jsonl",
        "sources.jsonl",
        "patches",
        ".scan.jsonl",
    }
    assert len(NoiseBank.open(bank)) == 5


def test_an_auxiliary_set_yields_exactly_the_planted_pictures(photos: Path, others: Path, tmp_path: Path) -> None:
    _, alone = collect_noise(photos, tmp_path / "alone", patch=SIDE)
    _, record = collect_noise(photos, tmp_path / "bank", auxiliary=others, patch=SIDE)
    assert record.cati == alone.cati  # the auxiliary set has no say in it
    rows = [row for row in table(tmp_path / "bank") if row["set"] == "auxiliary"]
    assert [(row["source"], row["y"] // SIDE, row["x"] // SIDE) for row in rows] == [
        ("also.png", 0, 0),
        ("also.png", 1, 1),
        ("yes.png", 2, 1),
    ]
    giving = [row["source"] for row in table(tmp_path / "bank", "sources.jsonl") if row["patches"]]
    assert giving == ["photo 0.png", "photo 2.png", "sub/photo 3.png", "also.png", "yes.png"]
    assert record.counts["auxiliary"].giving == 2
    # An auxiliary set added later gives the same bank as one given at once.
    collect_noise(photos, tmp_path / "alone", auxiliary=others, patch=SIDE)
    assert contents(tmp_path / "alone") == contents(tmp_path / "bank")


def test_the_fixed_threshold(photos: Path, tmp_path: Path) -> None:
    square = SIDE**4
    windows = brute_force(photos)
    for given, variance, mean, expected in (
        ({}, 20.0, 0.0, 6),
        ({"max_variance": 5.5, "min_mean": 100.0}, 5.5, 100.0, 3),
    ):
        bank = tmp_path / f"bank-{variance}"
        _, record = collect_noise(photos, bank, patch=SIDE, rule="impressionism", **given)  # type: ignore[arg-type]
        inside = [w[:3] for w in windows if w[4] < variance * square and w[3] > mean * square]
        assert [(row["source"], row["y"], row["x"]) for row in table(bank)] == inside
        assert len(inside) == expected
        assert record.cati is None
        assert record.settings == {"max_variance": variance, "min_mean": mean}


def test_black_windows_are_no_noise_and_equal_ones_come_together(tmp_path: Path) -> None:
    picture = textured(1, 5, 10)
    picture[:SIDE] = 0
    for row in range(1, 4):
        for column in range(2):  # six equal windows where one would do
            picture[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = 100
    write_image(tmp_path / "photos" / "a.png", picture)
    _, record = collect_noise(tmp_path / "photos", tmp_path / "bank", patch=SIDE)
    assert record.cati is not None
    assert (record.cati.variance, record.cati.mean) == ((0, 0), (100, 100))
    assert record.counts["target"].patches == 6


KILL = """
import os, signal, sys
from pathlib import Path
from goldeye.curate import noise
name, number = sys.argv[1], int(sys.argv[2])
calls = 0
def dying(self, *rest):
    global calls
    if name in self.name:
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, *rest)
rename = Path.replace
Path.replace = dying
if name == "scan":
    def scanned(*rest):
        global calls
        calls += 1
        if calls == number:
            scan_file = Path(sys.argv[4]) / ".scan.jsonl"
            with scan_file.open("a") as file:
                file.write('{"set": "target", "source": "photo')
            os.kill(os.getpid(), signal.SIGKILL)
        return statistics(*rest)
    statistics, noise.window_statistics = noise.window_statistics, scanned
noise.collect_noise(Path(sys.argv[3]), Path(sys.argv[4]), auxiliary=Path(sys.argv[5]), patch=16)
"""


@pytest.mark.parametrize(("where", "number"), [("scan", 4), ("y0", 1), ("y48", 1), ("scan", 9), (".bank.", 1)])
def test_killed_and_resumed_the_bank_is_the_same(
    photos: Path, others: Path, tmp_path: Path, where: str, number: int
) -> None:
    bank = tmp_path / "bank"
    words = [where, str(number), str(photos), str(bank), str(others)]
    killed = subprocess.run(
        [sys.executable, "-c", KILL, *words], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (bank / "bank.yaml").exists()
    with pytest.raises(InvalidInput, match="not finished"):
        NoiseBank.open(bank)
    collect_noise(photos, bank, auxiliary=others, patch=SIDE)
    collect_noise(photos, tmp_path / "whole", auxiliary=others, patch=SIDE)
    assert contents(bank) == contents(tmp_path / "whole")


def test_a_finished_bank_is_left_as_it_is(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = tmp_path / "bank"
    collect_noise(photos, bank, patch=SIDE)
    before = contents(bank)
    monkeypatch.setattr("goldeye.curate.noise.read_image", None)  # nothing is decoded again
    result, _ = collect_noise(photos, bank, patch=SIDE)
    assert not result.done
    assert len(result.skipped) == 6
    assert contents(bank) == before


def test_changed_added_and_removed_pictures(photos: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    collect_noise(photos, bank, patch=SIDE)
    changed = read_image(photos / "photo 0.png").copy()
    plant(changed, 0, 5, (128, 128, 128), 1)
    plant(changed, 1, 2, (96, 96, 96), 1)  # other noise at the place of a patch
    write_image(photos / "photo 0.png", changed)
    (photos / "sub" / "photo 3.png").unlink()
    write_image(photos / "new.png", textured(77, 4, 4))
    result, _ = collect_noise(photos, bank, patch=SIDE)
    assert set(names(result.done)) >= {"new.png", "photo 0.png"}
    collect_noise(photos, tmp_path / "fresh", patch=SIDE)
    assert contents(bank) == contents(tmp_path / "fresh")


def test_a_bank_at_work_is_not_finished(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = tmp_path / "bank"
    collect_noise(photos, bank, patch=SIDE)
    write_image(photos / "new.png", textured(77, 4, 4))

    def stop(*rest: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.curate.noise.read_image", stop)
        with pytest.raises(KeyboardInterrupt):
            collect_noise(photos, bank, patch=SIDE)
    with pytest.raises(InvalidInput, match="not finished"):
        NoiseBank.open(bank)
    collect_noise(photos, bank, patch=SIDE)
    NoiseBank.open(bank)


def test_names_that_differ_in_their_ending_only(photos: Path, tmp_path: Path) -> None:
    twin = textured(55, 2, 2)
    plant(twin, 0, 0, (125, 125, 125), 2)
    write_image(photos / "twin.png", twin)
    plant(twin, 0, 0, (115, 115, 115), 2)
    write_image(photos / "twin.bmp", twin)
    collect_noise(photos, tmp_path / "bank", patch=SIDE)
    rows = {row["source"]: row["file"] for row in table(tmp_path / "bank") if row["source"].startswith("twin")}
    for source, file in rows.items():
        crop = read_image(photos / source)[:SIDE, :SIDE]
        np.testing.assert_array_equal(read_image(tmp_path / "bank" / file), crop)
    assert len(rows) == 2


def test_unreadable_pictures_are_named_and_tried_again(photos: Path, tmp_path: Path, capsys: Any) -> None:
    broken = photos / "photo 1.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:400])
    words = ["noise-bank", str(photos), "-o", str(tmp_path / "bank"), "--patch", "16", "--json"]
    assert run(words) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["schema"] == "goldeye.noise-bank/1"
    assert names(found["failed"]) == ["photo 1.png"]
    assert "truncated or damaged" in found["failed"][0]["error"]
    assert "photo 1.png" in printed.err
    assert len(found["done"]) == 5
    assert (found["rule"], found["counts"]["target"]["too_small"]) == ("cati", 1)
    broken.write_bytes(whole)
    assert run(words[:-1]) == 0
    assert "5 of 250 target windows, from 3 of 6 pictures (1 too small); variance" in capsys.readouterr().out
    collect_noise(photos, tmp_path / "fresh", patch=SIDE)
    assert contents(tmp_path / "bank") == contents(tmp_path / "fresh")


def test_sixteen_bit_pictures_count_as_eight_bit_ones(photos: Path, tmp_path: Path) -> None:
    for path in photos.rglob("*.png"):
        write_image(tmp_path / "deep" / path.relative_to(photos), read_image(path).astype(np.uint16) * 257)
    _, shallow = collect_noise(photos, tmp_path / "one", patch=SIDE)
    _, deep = collect_noise(tmp_path / "deep", tmp_path / "two", patch=SIDE)
    assert deep.cati == shallow.cati
    assert deep.counts == shallow.counts


def test_invalid_input(photos: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    with pytest.raises(InvalidInput, match="no window of 128 x 128"):
        collect_noise(photos, bank, patch=128)
    assert not bank.exists()
    collect_noise(photos, bank, patch=SIDE)
    with pytest.raises(InvalidInput, match=r"made differently: patch \(16 then, 32 now\), stride"):
        collect_noise(photos, bank, patch=32)
    with pytest.raises(InvalidInput, match="lie in the bank"):
        collect_noise(bank / "patches", bank, patch=SIDE)
    with pytest.raises(InvalidInput, match="share pictures"):
        collect_noise(photos, tmp_path / "new", auxiliary=photos / "sub", patch=SIDE)
    with pytest.raises(InvalidInput, match="did not make"):
        collect_noise(photos, photos / "sub", patch=SIDE)
    with pytest.raises(InvalidInput, match="is a file"):
        collect_noise(photos, photos / "tiny.png", patch=SIDE)
    with pytest.raises(InvalidInput, match="stride must be 1 or more"):
        collect_noise(photos, tmp_path / "new", patch=SIDE, stride=0)
    with pytest.raises(InvalidInput, match="rule 'impressionism' has no share"):
        collect_noise(photos, tmp_path / "new", patch=SIDE, rule="impressionism", share=0.1)
    with pytest.raises(InvalidInput, match="must be finite"):
        collect_noise(photos, tmp_path / "new", patch=SIDE, share=float("nan"))
    assert not (tmp_path / "new").exists()
    for path in photos.rglob("*.png"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InvalidInput, match="can be read") as caught:
        collect_noise(photos, tmp_path / "new", patch=SIDE, rule="impressionism")
    assert "truncated or damaged" in str(caught.value.hint)
    assert not (tmp_path / "new").exists()
