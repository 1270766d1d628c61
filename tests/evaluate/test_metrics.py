"""PSNR, SSIM and the registry: BasicSR's figures, values worked by hand, and properties."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from goldeye.errors import InvalidInput
from goldeye.evaluate.colour import low_frequency_delta_e
from goldeye.evaluate.metrics import METRICS, make_metric, psnr, ssim
from goldeye.evaluate.planes import _filter_by_blas, valid_filter
from goldeye.evaluate.psnr_ssim import rms_error_y
from goldeye.images import read_image

FROZEN = Path(__file__).resolve().parents[1] / "frozen" / "metrics.json"
pictures = arrays(np.uint8, st.tuples(st.integers(11, 24), st.integers(11, 24), st.just(3)))


def flat(value: int, height: int = 16, width: int = 20) -> Any:
    return np.full((height, width, 3), value, np.uint8)


def noisy(picture: Any, amount: float, seed: int = 1) -> Any:
    noise = np.random.default_rng(seed).normal(0, amount, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def soft(seed: int = 0, height: int = 48, width: int = 64) -> Any:
    """A smooth random picture with values away from 0 and 255."""
    values = gaussian_filter(np.random.default_rng(seed).normal(0, 1, (height, width, 3)), (3, 3, 0))
    return np.rint(128 + 50 * values / np.abs(values).max()).astype(np.uint8)


def test_golden_figures(golden: Path) -> None:
    tolerance = next(
        entry["tolerance"]
        for entry in json.loads((golden / "index.json").read_text())["files"]
        if entry["file"] == "metrics/psnr_ssim.json"
    )
    entries = json.loads((golden / "metrics" / "psnr_ssim.json").read_text())
    assert len(entries) >= 20
    for entry in entries:
        gt, sr = (read_image(golden / "metrics" / entry[key]) for key in ("gt", "sr"))
        options = {"crop_border": entry["crop_border"], "y": entry["y_channel"]}
        # Closer than the stated tolerance: the only difference is the order of sums.
        assert psnr(sr, gt, **options) == pytest.approx(float(entry["psnr"]), abs=tolerance["psnr"] / 10)
        assert ssim(sr, gt, **options) == pytest.approx(entry["ssim"], abs=tolerance["ssim"] / 10)


def test_frozen_figures() -> None:
    """Numbers of a state that agreed with the golden figures."""
    a = np.random.default_rng(7).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    b = noisy(a, 20)
    for name, value in json.loads(FROZEN.read_text()).items():
        metric, border = name.split("/")
        if metric == "low_frequency_delta_e":
            found = low_frequency_delta_e(a, b)
        else:
            found = (psnr if "psnr" in metric else ssim)(a, b, crop_border=int(border), y=metric.endswith("_y"))
        # SSIM is computed in float32.
        assert found == pytest.approx(value, abs=1e-7 if "ssim" in metric else 1e-9), name


def test_psnr_by_hand() -> None:
    assert psnr(flat(100), flat(101), crop_border=0) == pytest.approx(20 * math.log10(255))
    assert psnr(flat(0), flat(255), crop_border=0) == 0
    one = flat(0, 10, 10)
    one[5, 5, 1] = 30  # one of 300 values: MSE 900 / 300 = 3
    assert psnr(one, flat(0, 10, 10), crop_border=0) == pytest.approx(10 * math.log10(255**2 / 3))


def test_luma_is_of_studio_range() -> None:
    # White and black are 219 apart there, which costs 1.32 dB against full range (REFERENCE §7).
    assert psnr(flat(0), flat(255), crop_border=0, y=True) == pytest.approx(20 * math.log10(255 / 219))
    red = flat(0)
    red[..., 0] = 255
    assert psnr(red, flat(0), crop_border=0, y=True) == pytest.approx(20 * math.log10(255 / 65.481))


def test_ssim_of_flat_pictures_by_hand() -> None:
    # No variance: the formula is (2ab + C1) / (a² + b² + C1).
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(flat(100), flat(120), crop_border=0) == pytest.approx(expected, abs=1e-6)


def test_ssim_is_the_mean_over_the_channels() -> None:
    a, b = soft(0), soft(0)
    b[..., 2] = soft(5)[..., 2]
    channels = [np.repeat(p[..., 2:], 3, axis=2) for p in (a, b)]
    assert ssim(a, b, crop_border=0) == pytest.approx((2 + ssim(*channels, crop_border=0)) / 3, abs=1e-7)


def test_crop_leaves_out_the_border_on_every_side() -> None:
    a = soft()
    b = a.copy()
    b[:4], b[-4:], b[:, :4], b[:, -4:] = 0, 255, 9, 200
    assert math.isinf(psnr(a, b, crop_border=4))
    assert ssim(a, b, crop_border=4) == pytest.approx(1, abs=1e-7)
    assert psnr(a, b, crop_border=3) < 30
    assert psnr(a[4:-4, 4:-4], b[4:-4, 4:-4] // 2, crop_border=0) == psnr(a, b // 2, crop_border=4)


@settings(max_examples=30, deadline=None)
@given(pictures, st.booleans())
def test_a_picture_equals_itself(picture: Any, y: bool) -> None:
    assert math.isinf(psnr(picture, picture, crop_border=0, y=y))
    assert ssim(picture, picture, crop_border=0, y=y) == pytest.approx(1, abs=1e-6)
    assert low_frequency_delta_e(picture, picture) == 0


@settings(max_examples=30, deadline=None)
@given(pictures, st.integers(0, 2**32 - 1), st.booleans())
def test_metrics_are_symmetric_and_bounded(a: Any, seed: int, y: bool) -> None:
    b = np.random.default_rng(seed).integers(0, 256, a.shape, dtype=np.uint8)
    assert psnr(a, b, crop_border=0, y=y) == psnr(b, a, crop_border=0, y=y)
    assert ssim(a, b, crop_border=0, y=y) == ssim(b, a, crop_border=0, y=y)
    assert -1 <= ssim(a, b, crop_border=0, y=y) <= 1
    flipped = ssim(a[:, ::-1], b[:, ::-1], crop_border=0, y=y)
    assert ssim(a, b, crop_border=0, y=y) == pytest.approx(flipped, abs=1e-6)


def test_more_noise_is_worse() -> None:
    a = soft()
    figures = [(psnr(a, b, crop_border=4), ssim(a, b, crop_border=4)) for b in (noisy(a, s) for s in (2, 5, 10, 20))]
    assert figures == sorted(figures, reverse=True)


def test_sixteen_bit_and_float_pictures_mean_the_same() -> None:
    a, b = soft(0), soft(1)
    for y in (False, True):
        eight = psnr(a, b, crop_border=4, y=y), ssim(a, b, crop_border=4, y=y)
        deep = [p.astype(np.uint16) * 257 for p in (a, b)]
        unit = [(p / 255).astype(np.float32) for p in (a, b)]
        for pair in (deep, unit):
            assert psnr(*pair, crop_border=4, y=y) == pytest.approx(eight[0], abs=1e-4)
            assert ssim(*pair, crop_border=4, y=y) == pytest.approx(eight[1], abs=1e-6)


def test_unusable_pairs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="differ in size: 20x16 and 16x16"):
        psnr(flat(0), flat(0, 16, 16), crop_border=0)
    with pytest.raises(InvalidInput, match="leaves nothing of a picture of 20x16"):
        psnr(flat(0), flat(0), crop_border=8)
    with pytest.raises(InvalidInput, match="leaves nothing"):
        psnr(flat(0), flat(0), crop_border=-1)
    with pytest.raises(InvalidInput, match="11x11 pixels; the cropped picture has 14x10"):
        ssim(flat(0), flat(0), crop_border=3)
    assert ssim(flat(0, 11, 11), flat(0, 11, 11), crop_border=0) == pytest.approx(1, abs=1e-7)


def test_psnr_is_exact_with_and_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (301, 203, 3), dtype=np.uint8) for _ in range(2))
    error = np.square(a[5:-5, 5:-5].astype(np.float64) - b[5:-5, 5:-5]).mean()
    expected = 10 * math.log10(255**2 / error)
    assert psnr(a, b, crop_border=5) == expected
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert psnr(a, b, crop_border=5) == expected


def test_rms_error_by_hand() -> None:
    assert rms_error_y(flat(0), flat(255)) == pytest.approx(219)
    assert rms_error_y(flat(7), flat(7)) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 90), st.integers(8, 200), st.sampled_from([1, 2]), st.sampled_from([7, 8]), st.integers(0, 99))
def test_the_filter_is_a_weighted_mean_of_each_window(
    height: int, width: int, step: int, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plane, taps = rng.normal(0, 1, (2, height, width)), tuple(rng.random(count).tolist())
    windows = np.lib.stride_tricks.sliding_window_view(plane, (count, count), axis=(1, 2))
    expected = np.einsum("nyxij,i,j->nyx", windows[:, ::step, ::step], taps, taps)
    np.testing.assert_allclose(valid_filter(plane, taps, step=step), expected, atol=1e-10)
    np.testing.assert_allclose(_filter_by_blas(plane, taps, step), expected, atol=1e-10)


def test_figures_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = soft(0), soft(1)
    found = [ssim(a, b, crop_border=3, y=y) for y in (False, True)]
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert [ssim(a, b, crop_border=3, y=y) for y in (False, True)] == pytest.approx(found, abs=1e-7)


def test_every_metric_is_defined() -> None:
    for key in ("psnr", "ssim_y", "artifact_energy", "colour_shift", "sharpness", "noise"):
        metric = make_metric(key, crop_border=4)
        assert {"name", "unit", "higher_is_better", "colour", "range", "formula", "library"} <= metric.definition.keys()
        assert metric.definition["crop_border"] == (0 if key == "colour_shift" else 4)
        assert metric.definition["library"].startswith("goldeye ")
        json.dumps(metric.definition, allow_nan=False)
    a, b = soft(0), soft(1)
    assert make_metric("psnr_y", crop_border=3)(a, b) == psnr(a, b, crop_border=3, y=True)
    assert make_metric("ssim", crop_border=3)(a, b) == ssim(a, b, crop_border=3)


def test_what_describes_a_picture_has_no_direction() -> None:
    assert {key for key, info in METRICS.items() if info.higher_is_better is None} == {"sharpness", "noise"}
    assert make_metric("sharpness", crop_border=4).definition["higher_is_better"] is None
    # Training keeps the best by metrics that compare with ground truth; each of them needs a direction.
    assert all(info.higher_is_better is not None for info in METRICS.values() if info.needs == "gt")


def test_unusable_metrics_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"Unknown metric 'lpips-alexx'\. Did you mean"):
        make_metric("lpips-alexx", crop_border=4)
    with pytest.raises(InvalidInput, match="FID compares sets"):
        make_metric("fid", crop_border=4)
    with pytest.raises(InvalidInput, match="PSNR compares two pictures"):
        make_metric("psnr", crop_border=4)(soft())
    assert {info.needs for info in METRICS.values()} == {"gt", "none", "input", "sets"}
