from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from goldeye.errors import ImageError
from goldeye.images import (
    from_tensor,
    luma_bt601,
    premultiply,
    rgb_to_lab,
    to_eight_bit,
    to_float,
    to_integers,
    to_tensor,
    to_uint8,
    unpremultiply,
)


def picture(dtype: type[np.unsignedinteger], seed: int = 0) -> npt.NDArray[np.unsignedinteger]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (5, 7, 3), dtype, endpoint=True)


def test_every_8_bit_value_survives_float_and_tensor() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert to_float(values).dtype == np.float32
    assert to_float(values).max() == 1
    np.testing.assert_array_equal(to_uint8(to_float(values)), values)
    np.testing.assert_array_equal(from_tensor(to_tensor(values)), values)
    np.testing.assert_array_equal(from_tensor(to_tensor(to_float(values))[0].double()), values)


def test_every_16_bit_value_survives_float_and_tensor() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(to_integers(to_float(values), np.uint16), values)
    for tensor in (to_tensor(values), to_tensor(values).double(), to_tensor(values)[0]):
        deep = from_tensor(tensor, np.uint16)
        assert deep.dtype == np.uint16
        assert deep.flags.c_contiguous
        np.testing.assert_array_equal(deep, values)


def test_16_bit_becomes_the_nearest_8_bit() -> None:
    values = np.arange(65536, dtype=np.uint16)
    expected = [int(value / 257 + 0.5) for value in range(65536)]
    assert to_eight_bit(values).dtype == np.uint8
    assert to_eight_bit(values).tolist() == expected
    assert to_uint8(to_float(values)).tolist() == expected
    small = picture(np.uint8)
    assert to_eight_bit(small) is small


def test_16_bit_is_scaled_by_its_own_maximum() -> None:
    deep = picture(np.uint16)
    np.testing.assert_allclose(to_float(deep), deep / 65535, atol=1e-7)
    assert to_tensor(deep).max() <= 1


def test_tensor_has_the_channels_first() -> None:
    pixels = picture(np.uint8)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 5, 7)
    assert tensor.dtype == torch.float32
    assert tensor[0, 2, 4, 6] == pixels[4, 6, 2] / np.float32(255)


def test_rounding_is_to_nearest_half_to_even_and_clipped() -> None:
    values = np.array([-0.2, 0.5 / 255, 1.5 / 255, 2.4 / 255, 1.3], np.float32).reshape(1, 5, 1).repeat(3, axis=2)
    expected = [0, 0, 2, 2, 255]
    assert to_uint8(values)[0, :, 0].tolist() == expected
    assert from_tensor(torch.from_numpy(values).permute(2, 0, 1))[0, :, 0].tolist() == expected
    deep = np.array([-0.2, 0.5 / 65535, 1.5 / 65535, 2.4 / 65535, 1.3], np.float64).reshape(1, 5, 1).repeat(3, axis=2)
    assert to_integers(deep, np.uint16)[0, :, 0].tolist() == [0, 0, 2, 2, 65535]  # type: ignore[arg-type]
    assert to_integers(values[0, :, 0].astype(np.float16), np.uint16).max() == 65535  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(-0.5, 1.5, width=32)),
    st.sampled_from([np.uint8, np.uint16]),
)
def test_tensors_and_arrays_round_alike(values: npt.NDArray[np.float32], dtype: type[np.uint8]) -> None:
    np.testing.assert_array_equal(
        from_tensor(torch.from_numpy(values), dtype), to_integers(values.transpose(1, 2, 0), dtype)
    )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(wrong: float) -> None:
    values = np.zeros((2, 2, 3), np.float32)
    values[1, 1, 1] = wrong
    with pytest.raises(ImageError, match="NaN or infinite"):
        to_uint8(values)
    with pytest.raises(ImageError, match="NaN or infinite"):
        from_tensor(torch.from_numpy(values).permute(2, 0, 1), np.uint16)
    with pytest.raises(ImageError, match="NaN or infinite"):
        to_integers(values, np.uint16)


@settings(deadline=None)
@given(st.data(), st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_colours_come_back_from_under_their_alpha(
    data: st.DataObject, dtype: type[np.uint8], size: tuple[int, int]
) -> None:
    pixels, alpha = data.draw(arrays.arrays(dtype, (*size, 3))), data.draw(arrays.arrays(dtype, size))
    weighted = premultiply(pixels, alpha)
    assert weighted.dtype == np.float32
    assert (weighted <= to_float(alpha)[..., None]).all()
    np.testing.assert_array_equal(premultiply(to_float(pixels), to_float(alpha)), weighted)
    back = unpremultiply(weighted, to_float(alpha))
    np.testing.assert_array_equal(to_integers(back, dtype), pixels * (alpha > 0)[..., None])


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, (2, 3, 3), elements=st.floats(-2, 2, width=32)),
    arrays.arrays(np.float32, (2, 3), elements=st.floats(-0.5, 1.5, width=32)),
)
@pytest.mark.filterwarnings("error")
def test_colours_stay_in_range_whatever_a_network_makes(
    pixels: npt.NDArray[np.float32], alpha: npt.NDArray[np.float32]
) -> None:
    before = pixels.copy()
    colours = unpremultiply(pixels, alpha)
    assert ((colours >= 0) & (colours <= 1)).all()
    assert not colours[alpha <= 0].any()
    np.testing.assert_array_equal(pixels, before)


def test_a_filter_takes_nothing_from_what_cannot_be_seen() -> None:
    pixels, alpha = np.zeros((1, 2, 3), np.uint8), np.array([[255, 0]], np.uint8)
    pixels[0, 0], pixels[0, 1] = (10, 20, 30), (255, 0, 255)
    mixed = premultiply(pixels, alpha).mean(axis=1, keepdims=True)
    assert to_uint8(unpremultiply(mixed, np.full((1, 1), 0.5, np.float32)))[0, 0].tolist() == [10, 20, 30]


def test_a_batch_is_not_one_picture() -> None:
    with pytest.raises(ValueError, match="batch of 2"):
        from_tensor(torch.zeros(2, 3, 4, 4))


def test_luma_has_studio_range() -> None:
    black_white = np.array([[[0, 0, 0], [1, 1, 1]]], np.float32)
    np.testing.assert_allclose(luma_bt601(black_white), [[16, 235]])


# Lindbloom's values for the primaries of sRGB under D65, CIE 1976.
@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_lab(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    np.testing.assert_allclose(rgb_to_lab(np.array([[rgb]], np.float32))[0, 0], lab, atol=0.02)
