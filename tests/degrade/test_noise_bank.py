"""Statistics, the CATI by hand, and drawing noise from a bank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goldeye.curate.noise import collect_noise
from goldeye.degrade.noise_bank import (
    APPLY,
    BankNoise,
    Cati,
    NoiseBank,
    Threshold,
    add_noise,
    grey_levels,
    window_statistics,
)
from goldeye.degrade.steps import Sample
from goldeye.errors import InvalidInput
from goldeye.images import read_image, to_float, write_image

SIDE = 12


@pytest.fixture
def bank(tmp_path: Path) -> NoiseBank:
    """Four noise patches of 12 x 12 pixels."""
    rng = np.random.default_rng(5)
    picture = np.clip(rng.normal((100, 120, 140), 3, (SIDE * 2, SIDE * 2, 3)), 0, 255)
    write_image(tmp_path / "photos" / "a.png", picture.astype(np.uint8))
    collect_noise(tmp_path / "photos", tmp_path / "bank", patch=SIDE, share=1)
    return NoiseBank.open(tmp_path / "bank")


def test_grey_is_pillows() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    np.testing.assert_array_equal(grey_levels(picture), np.asarray(Image.fromarray(picture).convert("L")))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 15), st.integers(0, 9))
def test_window_statistics_are_numpys(height: int, width: int, patch: int, stride: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    mean, variance = window_statistics(picture, patch, stride)
    grey = grey_levels(picture).astype(np.float64)
    windows = [
        [grey[y : y + patch, x : x + patch] for x in range(0, width - patch + 1, stride)]
        for y in range(0, height - patch + 1, stride)
    ]
    assert mean.size == variance.size == sum(map(len, windows))
    if mean.size:
        np.testing.assert_allclose(mean, [[w.mean() for w in line] for line in windows], atol=1e-9)
        np.testing.assert_allclose(variance, [[w.var() for w in line] for line in windows], atol=1e-8)


def test_the_largest_window_does_not_overflow() -> None:
    picture = np.zeros((2048, 2048, 3), np.uint8)
    picture[:1024] = 255
    mean, variance = window_statistics(picture, 2048, 2048)
    assert (mean.item(), variance.item()) == (127.5, 127.5**2)
    assert window_statistics(np.full_like(picture, 255), 2048, 2048)[1].item() == 0


def test_cati_by_hand() -> None:
    variance = np.array([9.0, 1, 50, 3, 2, 0, 3, 70, 80, 90])
    mean = np.array([10.0, 20, 30, 40, 15, 0, 60, 70, 80, 90])  # the sixth is black
    # 25 % of nine windows: ceil(2.25) = 3, and the second window with variance 3 equals the last of them.
    cati = Cati.of(mean, variance, 0.25)
    assert (cati.variance, cati.mean) == ((1, 3), (15, 60))
    assert Cati.of(mean, variance, 0.01).mean == (20, 20)
    inside = cati.accepts(np.array([15.0, 60, 14.9, 60.1, 30, 30]), np.array([1.0, 3, 2, 2, 0.9, 3.1]))
    assert inside.tolist() == [True, True, False, False, False, False]
    fixed = Threshold(max_variance=20, min_mean=50)
    assert fixed.accepts(np.array([51.0, 50, 60]), np.array([19.9, 1, 20])).tolist() == [True, False, False]


def test_noise_by_hand(bank: NoiseBank) -> None:
    """A crop of the patch, less its own mean in each channel."""
    patch = to_float(read_image(bank.path / bank.patches[2].file)).astype(np.float64)
    noise = bank.noise({"patch": 2, "y": 0.95, "x": 0.5}, 4, 6)  # places 0..8 and 0..6
    crop = patch[8:12, 3:9]
    np.testing.assert_allclose(noise, crop - crop.mean(axis=(0, 1)), atol=1e-7)
    assert noise.dtype == np.float32
    assert noise.std() > 1 / 255
    np.testing.assert_allclose(bank.noise({"patch": 2, "y": 0.3, "x": 0}, SIDE, SIDE).mean(axis=(0, 1)), 0, atol=1e-7)


def test_mean_subtraction_in_numbers(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0] = 51
    picture[::2, :, 1] = 102  # half of the rows, mean 51
    picture[..., 2] = np.arange(8) * 10  # mean 35
    write_image(tmp_path / "photos" / "a.png", picture)
    collect_noise(tmp_path / "photos", tmp_path / "bank", patch=8)
    noise = NoiseBank.open(tmp_path / "bank").draw(np.random.default_rng(0), 8, 8)
    np.testing.assert_allclose(noise[..., 0], 0, atol=1e-7)
    np.testing.assert_allclose(noise[:2, 0, 1], [0.2, -0.2], atol=1e-7)
    np.testing.assert_allclose(noise[0, :, 2] * 255, [-35, -25, -15, -5, 5, 15, 25, 35], atol=1e-5)


def test_the_sum_is_clamped() -> None:
    picture = np.full((1, 3, 3), [[[0.0], [0.5], [1.0]]], np.float32)
    noise = np.full((1, 3, 3), [[[-0.25], [0.125], [0.25]]], np.float32)
    noisy = add_noise(picture, noise)
    np.testing.assert_array_equal(noisy[0, :, 0], [0, 0.625, 1])
    assert noisy.dtype == np.float32
    with pytest.raises(ValueError, match="does not fit"):
        add_noise(picture, noise[:, :2])


def test_drawing_replays_exactly_and_reaches_every_place(bank: NoiseBank) -> None:
    rng = np.random.default_rng(3)
    seen: set[tuple[int, int]] = set()
    for _ in range(300):
        drawn = bank.draw_parameters(rng)
        assert set(drawn) == {"patch", "y", "x"}
        again = NoiseBank.open(bank.path) if len(seen) < 5 else bank
        replayed = again.noise(json.loads(json.dumps(drawn)), 10, SIDE)
        np.testing.assert_array_equal(bank.noise(drawn, 10, SIDE), replayed)
        seen.add((drawn["patch"], int(drawn["y"] * 3)))
    assert len(seen) == 4 * 3
    one, two = (bank.draw(np.random.default_rng(8), 5, 5) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_crop_larger_than_the_patches_is_refused(bank: NoiseBank) -> None:
    with pytest.raises(InvalidInput, match="12 pixels a side, too few for 13 x 12"):
        bank.draw(np.random.default_rng(0), 12, 13)


def test_the_pipeline_step(bank: NoiseBank, tmp_path: Path) -> None:
    step = BankNoise(bank=str(bank.path))
    (drawn,) = json.loads(json.dumps(step.draw(np.random.default_rng(4), Sample(4))))
    expected = bank.draw_parameters(np.random.default_rng(4))
    assert {key: drawn[key] for key in expected} == expected
    picture = np.full((7, 9, 3), 0.5, np.float32)
    noisy = APPLY[drawn["step"]](picture, drawn, (7, 9))
    np.testing.assert_array_equal(noisy, add_noise(picture, bank.noise(drawn, 7, 9)))
    with pytest.raises(InvalidInput, match="not the one that these parameters were drawn from"):
        APPLY["bank_noise"](picture, drawn | {"table": "0" * 16}, (7, 9))


def test_what_is_no_bank(bank: NoiseBank, tmp_path: Path) -> None:
    def refused(folder: Path, message: str) -> Any:
        with pytest.raises(InvalidInput, match=message):
            NoiseBank.open(folder)

    refused(tmp_path / "nowhere", "is no noise bank")
    table = bank.path / "noise.jsonl"
    text = table.read_text()
    table.write_text(text.replace('"y": 0', '"y": 1', 1))
    refused(bank.path, "noise.jsonl is not the one")
    table.write_text(text)
    NoiseBank.open(bank.path)
    (bank.path / "bank.yaml").write_text((bank.path / "bank.yaml").read_text().replace("patch:", "pach:"))
    refused(bank.path, "'patch' is missing")
    (bank.path / "bank.yaml").unlink()
    refused(bank.path, "not finished")
    collect_noise(tmp_path / "photos", tmp_path / "empty", patch=SIDE, rule="impressionism", max_variance=0)
    refused(tmp_path / "empty", "is empty")


def test_a_users_pipeline_draws_from_the_bank_and_replays(bank: NoiseBank, tmp_path: Path) -> None:
    from goldeye.degrade import degrade_picture, get_pipeline

    path = tmp_path / "mine.yaml"
    path.write_text(f"steps:\n  - {{step: bicubic}}\n  - {{step: bank_noise, bank: '{bank.path}'}}\n")
    pipeline = get_pipeline(str(path))
    gt = np.random.default_rng(2).random((32, 40, 3), dtype=np.float32)
    noisy, drawn = degrade_picture(gt, pipeline, np.random.default_rng(7), 4)
    clean, _ = degrade_picture(gt, get_pipeline("bicubic"), np.random.default_rng(7), 4)
    assert noisy.shape == clean.shape == (8, 10, 3)
    assert 0.5 / 255 < np.abs(noisy - clean).mean() < 10 / 255
    np.testing.assert_array_equal(pipeline.apply(gt, json.loads(json.dumps(drawn))), noisy)
