from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.images import matlab_resize, matlab_resize_scale, resize_into, resize_rows, to_float, to_integers

sides = st.integers(1, 40)


def noise(height: int, width: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng([height, width]).random((height, width, 3), dtype=np.float32)


@settings(deadline=None)
@given(sides, sides, sides, sides, st.booleans())
def test_any_size_to_any_size(height: int, width: int, new_height: int, new_width: int, antialias: bool) -> None:
    resized = matlab_resize(noise(height, width), new_height, new_width, antialias=antialias)
    assert resized.shape == (new_height, new_width, 3)
    assert resized.dtype == np.float32
    flat = matlab_resize(np.full((height, width, 3), 0.7, np.float32), new_height, new_width, antialias=antialias)
    np.testing.assert_allclose(flat, 0.7, atol=1e-6)


@settings(deadline=None)
@given(sides, sides, st.floats(0.1, 5))
def test_a_scale_rounds_sizes_up(height: int, width: int, scale: float) -> None:
    resized = matlab_resize_scale(noise(height, width), scale)
    assert resized.shape[:2] == (math.ceil(height * scale), math.ceil(width * scale))


@settings(deadline=None)
@given(sides, sides, sides, sides, st.data(), st.sampled_from([np.uint8, np.uint16, np.float32]), st.integers(1, 5))
def test_some_rows_are_those_of_the_whole(
    height: int, width: int, out: int, new_width: int, data: st.DataObject, dtype: type[np.uint8], channels: int
) -> None:
    top = data.draw(st.integers(0, out - 1))
    bottom = data.draw(st.integers(top + 1, out))
    values = np.random.default_rng([height, width]).random((height, width, channels), dtype=np.float32)
    picture = values if dtype == np.float32 else to_integers(values, dtype)
    whole = matlab_resize(values if dtype == np.float32 else to_float(picture), out, new_width)  # type: ignore[arg-type]
    np.testing.assert_array_equal(resize_rows(picture, out, new_width, top, bottom), whole[top:bottom])


def test_rows_need_only_what_they_depend_on() -> None:
    picture = noise(4000, 20)
    picture[200:] = np.nan
    assert np.isfinite(resize_rows(picture, 8000, 20, 0, 390)).all()
    assert np.isfinite(resize_rows(picture, 400, 20, 0, 18)).all()


@settings(deadline=None)
@given(sides, sides, sides, sides, st.sampled_from([np.uint8, np.uint16]), st.integers(1, 4), st.integers(1, 2000))
def test_a_picture_resized_in_bands(
    height: int, width: int, out: int, new_width: int, dtype: type[np.uint8], channels: int, band: int
) -> None:
    values = np.random.default_rng([height, width]).random((height, width, channels), dtype=np.float32)
    picture = to_integers(values, dtype)
    filled = np.full((out, new_width, channels), 77, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("goldeye.images.resize._BAND", band)
        resize_into(picture, filled)
    np.testing.assert_array_equal(filled, to_integers(matlab_resize(to_float(picture), out, new_width), dtype))


def test_the_same_size_is_the_same_picture() -> None:
    np.testing.assert_allclose(matlab_resize(noise(9, 12), 9, 12), noise(9, 12), atol=1e-6)


def test_mirroring_and_turning_commute_with_resizing() -> None:
    source = noise(33, 20)
    resized = matlab_resize(source, 11, 10)
    np.testing.assert_allclose(matlab_resize(source[::-1, ::-1], 11, 10), resized[::-1, ::-1], atol=1e-6)
    turned = matlab_resize(source.transpose(1, 0, 2), 10, 11)
    np.testing.assert_allclose(turned, resized.transpose(1, 0, 2), atol=1e-6)


def test_antialiasing_removes_what_the_small_picture_cannot_hold() -> None:
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[::2] = 1
    assert np.ptp(matlab_resize(stripes, 16, 16)[4:-4]) < 0.01
    assert matlab_resize(stripes, 16, 16, antialias=False)[4:-4].mean() == pytest.approx(0.5, abs=0.01)
    wide = np.zeros((60, 60, 3), np.float32)
    wide[::3] = 1  # without antialiasing every fourth of these rows is another phase: stripes stay
    assert np.ptp(matlab_resize(wide, 15, 15, antialias=False)[4:-4]) > 0.3
