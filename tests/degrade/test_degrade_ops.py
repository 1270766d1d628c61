"""What the operations promise beside the golden numbers."""

from __future__ import annotations

import io
import math
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats

from goldeye.degrade import kernels, ops
from goldeye.images import FloatPicture

sigmas = st.floats(0.1, 4)
sizes = st.integers(1, 10).map(lambda m: 2 * m + 1)


def photo(height: int = 64, width: int = 80) -> FloatPicture:
    """Smooth waves of different colour and direction."""
    y, x = np.mgrid[:height, :width] / 9.0
    return np.stack([np.sin(x + y), np.cos(x - y), np.sin(2 * x)], axis=-1).astype(np.float32) * np.float32(0.4) + 0.5


@settings(deadline=None)
@given(sizes, sigmas, sigmas, st.floats(-4, 4), st.floats(0.5, 4))
def test_kernels_are_weights(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> None:
    for kernel in (
        kernels.isotropic_gaussian(size, sigma_x),
        kernels.anisotropic_gaussian(size, sigma_x, sigma_y, theta),
        kernels.generalized_gaussian(size, sigma_x, sigma_y, theta, beta),
        kernels.plateau(size, sigma_x, sigma_y, theta, beta),
        kernels.sinc(size, min(3.14, 0.5 + sigma_x)),
    ):
        assert kernel.shape == (size, size)
        assert kernel.dtype == np.float32
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)  # the centre stays where it is


def test_theta_turns_the_long_axis() -> None:
    wide = kernels.anisotropic_gaussian(9, 3.0, 0.5, 0.0)
    assert wide[4].sum() > 0.5 > wide[:, 4].sum()  # sigma_x lies along the columns
    np.testing.assert_allclose(kernels.anisotropic_gaussian(9, 3.0, 0.5, np.pi / 2), wide.T, atol=1e-6)


def test_kernel_sizes_are_odd() -> None:
    with pytest.raises(ValueError, match="odd"):
        kernels.sinc(8, 2.0)


@settings(deadline=None, max_examples=60)
@given(sizes, st.floats(0.1, 4), st.floats(0.1, 4), st.floats(-4, 4), st.integers(0, 4), st.integers(2, 70))
def test_each_way_to_blur_is_the_plain_sum(
    size: int, sigma_x: float, sigma_y: float, theta: float, which: int, width: int
) -> None:
    """Separable passes, direct filter and Fourier transform against scipy's double precision."""
    kernel = [
        kernels.isotropic_gaussian(size, sigma_x),
        kernels.anisotropic_gaussian(size, sigma_x, sigma_y, theta),
        kernels.plateau(size, sigma_x, sigma_y, theta, 1.5),
        kernels.sinc(size, 2.2),
        kernels.shifted(kernels.fspecial_gaussian(size, sigma_x), 4),
    ][which]
    picture = np.random.default_rng(size).random((40, width, 3), dtype=np.float32)
    plain = ndimage.correlate(picture.astype(np.float64), kernel.astype(np.float64)[..., None], mode="mirror")
    np.testing.assert_allclose(ops.blur(picture, kernel), plain, rtol=0, atol=2e-6)


def test_all_three_ways_to_blur_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def watch(module: Any, name: str) -> None:
        plain = getattr(module, name)

        def watched(*arguments: Any, **settings: Any) -> Any:
            taken.append(name)
            return plain(*arguments, **settings)

        monkeypatch.setattr(module, name, watched)

    for module, name in ((cv2, "sepFilter2D"), (cv2, "filter2D"), (ops, "_fourier_blur")):
        watch(module, name)
    ops.blur(photo(), kernels.isotropic_gaussian(21, 2))
    ops.blur(photo(), kernels.anisotropic_gaussian(7, 2, 0.5, 0.7))
    ops.blur(photo(), kernels.sinc(21, 2.0))
    assert taken == ["sepFilter2D", "filter2D", "_fourier_blur"]


def test_sharpening_is_the_dense_formula() -> None:
    """Against the 51x51 convolution in double precision, away from values that the threshold decides."""
    rough = np.random.default_rng(0).random((16, 20, 3), dtype=np.float32)
    source = ops.resize_to(rough, 64, 80, "nearest")
    line = cv2.getGaussianKernel(51, 0)
    dense = (line @ line.T)[..., None]
    residual = source - ndimage.correlate(source.astype(np.float64), dense, mode="mirror")
    mask = ndimage.correlate((np.abs(residual) * 255 > 10).astype(np.float64), dense, mode="mirror")
    expected = mask * np.clip(source + 0.5 * residual, 0, 1) + (1 - mask) * source
    np.testing.assert_allclose(ops.sharpen(source), expected, atol=2e-6)
    flat = np.full((32, 32, 3), 0.4, np.float32)
    np.testing.assert_array_equal(ops.sharpen(flat), flat)


def test_covariance_noise() -> None:
    covariance = (0.05**2 * np.array([[1, 0.6, 0.2], [0.6, 0.8, 0.1], [0.2, 0.1, 0.3]])).tolist()
    flat = np.full((200, 200, 3), 0.5, np.float32)
    noise = (ops.covariance_noise(flat, covariance, np.random.default_rng(0)) - flat).reshape(-1, 3)
    np.testing.assert_allclose(np.cov(noise.T), covariance, atol=0.05**2 * 0.03)
    assert np.abs(noise.mean(0)).max() < 5 * 0.05 / 200


@pytest.mark.parametrize("sigma", [0, 5])
@pytest.mark.parametrize("peak", [50, 150])
def test_poisson_gaussian_noise(peak: float, sigma: float) -> None:
    """Mean x, variance x/peak + (σ/255)², and the skewness of the Poisson part."""
    flat = np.full((250, 250, 3), 0.3, np.float32)
    noise = ops.poisson_gaussian_noise(flat, peak, sigma, np.random.default_rng(1)).astype(np.float64) - 0.3
    variance = 0.3 / peak + (sigma / 255) ** 2
    assert abs(noise.mean()) < 5 * math.sqrt(variance / noise.size)
    assert noise.var() == pytest.approx(variance, rel=0.02)
    assert stats.skew(noise, axis=None) == pytest.approx(0.3 / peak**2 / variance**1.5, abs=0.03)


def test_nearest_and_lanczos() -> None:
    source = photo(32, 40)
    np.testing.assert_array_equal(ops.resize_to(source, 8, 10, "nearest"), source[::4, ::4])
    np.testing.assert_array_equal(ops.resize_by(source, 0.25, "nearest"), source[::4, ::4])
    enlarged = ops.resize_to(source, 64, 80, "lanczos")
    offsets = np.arange(-3, 5) - 0.75  # from an output pixel of even number to the eight pixels around it
    weights = np.sinc(offsets) * np.sinc(offsets / 4)
    weights /= weights.sum()
    rows = np.stack(
        [ndimage.correlate1d(source[..., c].astype(np.float64), weights, 0, origin=0) for c in range(3)], -1
    )
    both = ndimage.correlate1d(rows, weights, 1, origin=0)
    np.testing.assert_allclose(enlarged[12:-12:2, 12:-12:2], both[6:-6, 6:-6], atol=2e-3)


@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.3, 3), st.sampled_from(get_args(ops.Mode)))
def test_resizing_keeps_flat_pictures_flat(height: int, width: int, scale: float, mode: ops.Mode) -> None:
    flat = np.full((height, width, 3), 0.3, np.float32)
    by, to = ops.resize_by(flat, scale, mode), ops.resize_to(flat, 7, 50, mode)
    assert by.shape == (max(1, int(height * scale)), max(1, int(width * scale)), 3)
    assert to.shape == (7, 50, 3)
    near = 1e-3 if mode == "opencv_area" else 1e-6  # OpenCV leaves out pixels that an area hardly touches
    np.testing.assert_allclose(by, 0.3, atol=near)
    np.testing.assert_allclose(to, 0.3, atol=near)


@pytest.mark.parametrize("values", [1, 2, 64, 256])
@pytest.mark.parametrize("level", [1, 26, 128, 255])
def test_poisson_counts_have_the_poisson_distribution(values: int, level: int) -> None:
    """Chi-square against the exact probabilities over 200,000 draws, and the far tail is reached."""
    draws = 200_000
    counts = ops._poisson_counts(np.full(draws, level, np.uint8), values, np.random.default_rng(level))
    rate = level * values / 255
    support = np.arange(counts.max() + 1)
    expected = draws * stats.poisson.pmf(support, rate)
    common = expected > 8
    observed = np.bincount(counts, minlength=len(support))
    statistic = ((observed - expected)[common] ** 2 / expected[common]).sum()
    assert stats.chi2.sf(statistic, common.sum() - 1) > 1e-3
    assert counts.max() >= stats.poisson.ppf(1 - 3e-5, rate)


def test_poisson_leaves_black_alone_and_follows_its_seed() -> None:
    black = np.zeros((20, 20, 3), np.float32)
    np.testing.assert_array_equal(ops.poisson_noise(black, 3.0, False, np.random.default_rng(0)), black)
    first, again = (ops.poisson_noise(photo(), 0.5, False, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != ops.poisson_noise(photo(), 0.5, False, np.random.default_rng(8))).any()


@pytest.mark.parametrize("grey", [False, True])
def test_noise_is_clipped(grey: bool) -> None:
    for noisy in (
        ops.gaussian_noise(photo(), 200, grey, np.random.default_rng(0)),
        ops.poisson_noise(photo(), 20, grey, np.random.default_rng(0)),
    ):
        assert noisy.dtype == np.float32
        assert noisy.min() == 0
        assert noisy.max() == 1


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_is_the_real_codec(quality: int) -> None:
    """Pillow's libjpeg at the same quality and 4:2:0 gives the same pixels (the channel order is right, too)."""
    buffer = io.BytesIO()
    Image.fromarray(ops.to_levels(photo())).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(buffer)).astype(np.float32) / 255
    assert np.abs(ops.jpeg(photo(), quality) - expected).max() < 3 / 255
    assert np.abs(ops.jpeg(photo(), quality) - expected).mean() < 0.1 / 255


def test_lower_quality_is_worse() -> None:
    errors = [np.abs(ops.jpeg(photo(), quality) - photo()).mean() for quality in (95, 60, 20)]
    assert errors == sorted(errors)
    assert errors[2] > 2 * errors[0]


def test_rounding_to_8_bit() -> None:
    values = np.array([[[-1, 0.4 / 255, 0.6 / 255], [1.5 / 255, 2.5 / 255, 7]]], np.float32)
    assert ops.to_levels(values).ravel().tolist() == [0, 0, 1, 2, 2, 255]
    np.testing.assert_array_equal(ops.round_to_8bit(values) * 255, ops.to_levels(values))
