from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from goldeye.errors import ImageError
from goldeye.images import from_tensor, luma_bt601, rgb_to_lab, to_float, to_tensor, to_uint8


def picture(dtype: type[np.unsignedinteger], seed: int = 0) -> npt.NDArray[np.unsignedinteger]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (5, 7, 3), dtype, endpoint=True)


def test_every_8_bit_value_survives_float_and_tensor() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert to_float(values).dtype == np.float32
    assert to_float(values).max() == 1
    np.testing.assert_array_equal(to_uint8(to_float(values)), values)
    np.testing.assert_array_equal(from_tensor(to_tensor(values)), values)
    np.testing.assert_array_equal(from_tensor(to_tensor(to_float(values))[0].double()), values)


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


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(wrong: float) -> None:
    values = np.zeros((2, 2, 3), np.float32)
    values[1, 1, 1] = wrong
    with pytest.raises(ImageError, match="NaN or infinite"):
        to_uint8(values)
    with pytest.raises(ImageError, match="NaN or infinite"):
        from_tensor(torch.from_numpy(values).permute(2, 0, 1))


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
