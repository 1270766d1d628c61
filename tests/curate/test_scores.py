"""Scores of windows against a direct computation on each window alone, and hashes of pictures that are alike."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import correlate1d, zoom

from goldeye.curate.scores import MEASURES, WindowScores, hamming, perceptual_hash, score_windows
from goldeye.images import Picture, matlab_resize, to_float, to_uint8

ARRAYS = ("ys", "xs", "std", "high_frequency", "strongest")


def noise(seed: int, height: int, width: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture_of(kind: str, seed: int, height: int, width: int) -> Any:
    """Pictures with little and much to see, and those at the ends of the range."""
    grainy = noise(seed, height, width)
    return {
        "noise": grainy,
        "smooth": cv2.GaussianBlur(grainy, (0, 0), 2).reshape(grainy.shape),
        "flat": np.full_like(grainy, seed * 17 % 256),
        "black and white": np.where(grainy > 127, 255, 0).astype(np.uint8),
        "stripes": np.tile(np.uint8([[[0]], [[255]]]), (height, width, 3))[:height],
    }[kind]


def luma(picture: Any) -> Any:
    """BT.601, rounded; a level may differ from OpenCV's, whose weights have 15 bits."""
    return np.floor(picture @ np.array([0.299, 0.587, 0.114]) + 0.5)


def official_grey(picture: Any) -> Any:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def textbook_detail(grey: Any) -> Any:
    """The two finest levels of the Laplacian pyramid, added up, by the definition: filter, leave out; spread, filter.

    The planes are mirrored; one of odd length is spread by one more than it needs. Every step is rounded, half up.
    """
    weights = np.array([1, 4, 6, 4, 1])

    def filtered(plane: Any) -> Any:
        for axis in (0, 1):
            plane = correlate1d(plane, weights, axis=axis, mode="mirror")
        return plane

    def halved(plane: Any) -> Any:
        return (filtered(plane)[::2, ::2] + 128) // 256

    def doubled(plane: Any, shape: tuple[int, ...]) -> Any:
        spread = np.zeros((2 * plane.shape[0], 2 * plane.shape[1]), int)
        spread[::2, ::2] = plane
        return ((filtered(spread) + 32) // 64)[: shape[0], : shape[1]]

    whole = grey.astype(int)
    half = halved(whole)
    return whole - doubled(doubled(halved(half), half.shape), whole.shape)


def official_laplacian(grey: Any) -> Any:
    return cv2.Laplacian(grey, cv2.CV_8U)


def check_each_window(original: Any, versions: dict[str, Any], size: int, stride: int, **keywords: Any) -> None:
    scores = score_windows(original, versions, size, stride, **keywords)
    height, width = original.shape[:2]
    assert list(scores.ys) == list(range(0, height - size + 1, stride))
    assert list(scores.xs) == list(range(0, width - size + 1, stride))
    greys = [official_grey(picture) for picture in (original, *versions.values())]
    details = [textbook_detail(grey) for grey in greys]
    for row, y in enumerate(scores.ys):
        for column, x in enumerate(scores.xs):
            area = np.s_[y : y + size, x : x + size]
            if keywords.get("measure") == "laplacian":
                detail = max(official_laplacian(grey[area].copy()).var() for grey in greys)
            else:
                detail = max(level[area].std() for level in details)
            expected = {"std": max(grey[area].std() for grey in greys), "high_frequency": detail}
            for name, value in expected.items():
                assert getattr(scores, name)[row, column] == pytest.approx(value, rel=1e-6, abs=1e-6), (name, y, x)
            for slot, version in versions.items():
                difference = np.abs(original[area].astype(int) - version[area].astype(int)).mean()
                assert scores.difference[slot][row, column] == pytest.approx(difference, rel=1e-6)
    assert np.array_equal(scores.strongest, np.max(list(scores.difference.values()), axis=0))
    assert {scores.std.dtype, scores.high_frequency.dtype, scores.strongest.dtype} == {np.dtype(np.float32)}


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(2, 50), st.integers(2, 50)),
    st.tuples(st.integers(2, 24), st.integers(1, 30)),
    st.sampled_from(["noise", "smooth", "flat", "black and white", "stripes"]),
    st.sampled_from(MEASURES),
    st.sampled_from([1, 2]),
    st.sampled_from([4, 12, 256]),
    st.integers(0, 99),
)
def test_scores_equal_those_of_each_window_by_itself(
    sides: tuple[int, int], windows: tuple[int, int], kind: str, measure: str, threads: int, band: int, seed: int
) -> None:
    """Windows that overlap, touch and lie apart; bands that cut them anywhere."""
    size, stride = windows
    height, width = max(sides[0], size), max(sides[1], size)
    if height * width > 30 * stride**2:  # a direct computation takes its time
        stride = max(stride, 5)
    original, other = picture_of(kind, seed, height, width), noise(seed + 1, height, width) // 2
    with patch("goldeye.curate.scores._BAND", band):
        check_each_window(original, {"01": other, "02": original}, size, stride, measure=measure, threads=threads)


@pytest.mark.parametrize("measure", MEASURES)
def test_windows_of_the_default_size(measure: str) -> None:
    check_each_window(noise(0, 560, 700), {"01": noise(1, 560, 700) // 3}, 512, 48, measure=measure)


@pytest.mark.parametrize("measure", MEASURES)
def test_bands_and_threads_change_nothing(measure: str) -> None:
    original, versions = noise(0, 301, 243), {"01": noise(1, 301, 243) // 2, "02": picture_of("smooth", 2, 301, 243)}

    def scores(band: int, threads: int) -> WindowScores:
        with patch("goldeye.curate.scores._BAND", band):
            return score_windows(original, versions, 64, 16, measure=measure, threads=threads)

    whole = scores(1024, 1)
    for band, threads in ((4, 1), (20, 2), (64, 1), (256, 2), (300, 3)):
        cut = scores(band, threads)
        for name in ARRAYS:
            assert np.array_equal(getattr(cut, name), getattr(whole, name)), (name, band)


@pytest.mark.parametrize("measure", MEASURES)
def test_views_and_maps_give_the_same(tmp_path: Path, measure: str) -> None:
    original, version = noise(0, 90, 70), noise(1, 90, 70)
    mapped: Any = np.memmap(tmp_path / "map", np.uint8, "w+", shape=(100, 80, 3))
    mapped[5:95, 7:77] = original
    turned = np.ascontiguousarray(version[::-1, ::-1])[::-1, ::-1]
    expected = score_windows(original, {"01": version}, 32, 8, measure=measure)
    found = score_windows(mapped[5:95, 7:77], {"01": turned}, 32, 8, measure=measure)
    for name in ARRAYS:
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("measure", MEASURES)
def test_memory_is_needed_for_some_rows(tmp_path: Path, measure: str) -> None:
    """Two pictures of 72 MB; the grey plane alone would have 24."""
    pictures: list[Any] = []
    for name in ("a", "b"):
        pictures.append(np.memmap(tmp_path / name, np.uint8, "w+", shape=(15_000, 1_600, 3)))
        pictures[-1][::5] = 200
    tracemalloc.start()
    try:
        score_windows(pictures[0], {"01": pictures[1]}, 512, 64, measure=measure)
        hashed = perceptual_hash(pictures[0])
        need = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert hashed == perceptual_hash(np.asarray(pictures[0]))
    assert need < 20


def test_sums_of_more_than_32_bits() -> None:
    """An 8-bit square times 9 million pixels; white but for one row, whose spread is known."""
    white = np.full((3000, 3000, 3), 255, np.uint8)
    white[7] = 0
    scores = score_windows(white, {"01": 255 - white}, 3000, 16)
    part = 1 / 3000
    assert scores.std[0, 0] == pytest.approx(255 * np.sqrt(part * (1 - part)), rel=1e-6)
    assert scores.difference["01"][0, 0] == pytest.approx(255, rel=1e-6)


def test_flat_pictures_score_exactly_nothing() -> None:
    for level in (0, 77, 255):
        flat = np.full((64, 80, 3), level, np.uint8)
        for measure in MEASURES:
            scores = score_windows(flat, {"01": flat.copy()}, 32, 16, measure=measure)
            assert not scores.std.any()
            assert not scores.high_frequency.any()
            assert not scores.strongest.any()


def test_grey_is_rounded_luma() -> None:
    picture = noise(0, 64, 64)
    assert np.abs(official_grey(picture) - luma(picture)).max() <= 1
    assert score_windows(picture, {"01": picture}, 64, 1).std[0, 0] == pytest.approx(luma(picture).std(), abs=0.01)


def test_differences_do_not_wrap_around() -> None:
    """10 - 11 is 255 in uint8."""
    dark, bright = np.full((32, 32, 3), 10, np.uint8), np.full((32, 32, 3), 11, np.uint8)
    for a, b in ((dark, bright), (bright, dark)):
        assert score_windows(a, {"01": b}, 32, 8).difference["01"][0, 0] == 1


def test_a_change_that_keeps_the_mean_is_a_difference() -> None:
    """The trap of the paper's script, which takes |mean(a - b)|: 0 for a checkerboard of ±10, whose |a - b| is 10."""
    original = noise(0, 64, 64).clip(20, 235).astype(np.uint8)
    checker = np.indices((64, 64)).sum(axis=0)[..., None] % 2 * 20 - 10
    version = (original.astype(int) + checker).astype(np.uint8)
    assert abs((version.astype(int) - original).mean()) < 1e-9
    assert np.array_equal(score_windows(original, {"01": version}, 32, 16).difference["01"], np.full((3, 3), 10))


def test_the_best_of_original_and_versions_counts() -> None:
    flat, grainy = np.full((40, 40, 3), 99, np.uint8), noise(3, 40, 40)
    alone = score_windows(grainy, {"01": grainy}, 32, 8)
    for original, versions in ((flat, {"01": flat, "02": grainy}), (grainy, {"01": flat})):
        scores = score_windows(original, versions, 32, 8)
        assert np.array_equal(scores.std, alone.std)
        assert np.array_equal(scores.high_frequency, alone.high_frequency)


def test_the_pyramid_keeps_detail_and_drops_what_is_smooth() -> None:
    """Detail has a mean and a sign: squares and sums of it are not those of its absolute value."""

    def detail(grey: Any) -> float:
        picture = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
        return float(score_windows(picture, {"01": picture}, 48, 1).high_frequency[8, 8])

    rows, columns = np.indices((64, 64))
    assert detail(np.full((64, 64), 77)) == 0
    assert detail(100 + columns) < 0.6  # rounding
    assert detail(100 + (rows + columns) % 2 * 20) == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize("measure", MEASURES)
def test_levels_of_8_bit_agree_with_unrounded_ones(measure: str) -> None:
    """The pyramid's rounding adds less than a tenth of a level at the default threshold of 6."""
    grey = cv2.GaussianBlur(np.random.default_rng(0).normal(128, 60, (96, 96)).clip(0, 255), (0, 0), 1.2)
    picture = np.repeat(np.rint(grey)[..., None], 3, axis=2).astype(np.uint8)
    if measure == "laplacian":
        shifted = np.pad(np.rint(grey), 1, mode="reflect")
        around = shifted[:-2, 1:-1] + shifted[2:, 1:-1] + shifted[1:-1, :-2] + shifted[1:-1, 2:]
        expected = (around - 4 * shifted[1:-1, 1:-1]).clip(0, 255).var()
    else:
        half = cv2.pyrDown(grey)
        expected = (grey - cv2.pyrUp(cv2.pyrUp(cv2.pyrDown(half)))).std()
        assert 4 < expected < 12
    found = score_windows(picture, {"01": picture}, 96, 1, measure=measure).high_frequency[0, 0]
    assert found == pytest.approx(expected, abs=0.1 if measure == "pyramid" else 1e-4)


def test_what_cannot_be_scored() -> None:
    picture = noise(0, 40, 50)
    for version in (noise(0, 40, 51), picture.astype(np.uint16)):
        with pytest.raises(ValueError, match="uint8 pictures of one size"):
            score_windows(picture, {"01": version}, 16, 4)
    for size, measure in ((41, "pyramid"), (1, "pyramid"), (16, "sobel")):
        with pytest.raises(ValueError, match="no windows"):
            score_windows(picture, {"01": picture}, size, 4, measure=measure)


# Hashes ----------------------------------------------------------------------------------------------------------


def photographs() -> dict[str, Picture]:
    data = pytest.importorskip("skimage.data")
    return {name: getattr(data, name)() for name in ("astronaut", "coffee", "chelsea")}


def jpeg(picture: Picture, quality: int) -> Picture:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def test_a_photo_made_anew_has_nearly_the_same_hash() -> None:
    for name, photo in photographs().items():
        height, width = photo.shape[:2]
        code = perceptual_hash(photo)
        assert 0 < code < 2**64
        assert code.bit_count() == 32  # half of them are above the median
        changed = {
            "again": photo.copy(),
            "jpeg": jpeg(photo, 40),
            "smaller": to_uint8(matlab_resize(to_float(photo), height // 2, width // 2)),
            "larger": to_uint8(matlab_resize(to_float(photo), height * 3 // 2, width * 3 // 2)),
            "darker": (photo * 0.7).astype(np.uint8),
            "sharper": cv2.addWeighted(photo, 1.5, cv2.GaussianBlur(photo, (0, 0), 2), -0.5, 0),
            "grainy": (photo + np.random.default_rng(0).normal(0, 8, photo.shape)).clip(0, 255).astype(np.uint8),
        }
        for change, picture in changed.items():
            distance = hamming(code, perceptual_hash(np.asarray(picture, np.uint8)))
            assert distance <= (0 if change == "again" else 4), (name, change, distance)


def test_other_photos_have_other_hashes() -> None:
    photos = [*photographs().values(), noise(0, 300, 400), noise(1, 300, 400)]
    photos += [np.ascontiguousarray(photos[0][:, ::-1]), np.ascontiguousarray(photos[1][::-1])]
    codes = [perceptual_hash(photo) for photo in photos]
    distances = [hamming(a, b) for number, a in enumerate(codes) for b in codes[:number]]
    assert min(distances) >= 16


def test_the_hash_is_the_dct_of_the_areas() -> None:
    """Where areas are whole pixels; and of 16 bits as of 8."""
    photo = noise(0, 96, 160)
    reduced = official_grey(photo).reshape(32, 3, 32, 5).mean(axis=(1, 3))
    points = np.arange(32)
    basis = np.cos(np.pi * np.outer(points, 2 * points + 1) / 64)
    coefficients = (basis @ reduced @ basis.T)[1:9, 1:9].ravel()
    bits = "".join("1" if value > np.median(coefficients) else "0" for value in coefficients)
    assert perceptual_hash(photo) == int(bits, 2)
    assert perceptual_hash(photo.astype(np.uint16) * 257) == int(bits, 2)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (31, 33), (1000, 5)])
def test_hashes_of_any_shape(shape: tuple[int, int]) -> None:
    assert perceptual_hash(np.full((*shape, 3), 200, np.uint8)) == 0  # nothing to tell
    small = np.uint8(zoom(np.random.default_rng(0).uniform(0, 255, (6, 6)), (shape[0] / 6, shape[1] / 6), order=1))
    if small.shape == shape and min(shape) > 4:
        assert perceptual_hash(np.repeat(small[..., None], 3, axis=2)).bit_count() > 16


def test_hamming() -> None:
    assert hamming(0b1011, 0b0010) == 2
    assert hamming(2**63, 0) == 1
    assert hamming(0, 2**64 - 1) == 64
