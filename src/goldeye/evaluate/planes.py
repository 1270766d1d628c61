"""What the metrics share: border crops, luma, and a fast separable filter."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goldeye.errors import InvalidInput
from goldeye.images import FloatPicture, Picture, luma_bt601
from goldeye.images.colour import as_float

Values = NDArray[np.float64]
AnyPicture = Picture | FloatPicture

RGB = "sRGB, all three channels"
Y = "Y of YCbCr, BT.601 studio range (16..235), not rounded"
RANGE = "0..255"

_TILE_ROWS, _TILE_COLUMNS, _TILE_WIDTH = 32, 128, 32  # so small that the BLAS takes one thread and the cache holds them


def cropped_pair(a: AnyPicture, b: AnyPicture, border: int) -> tuple[AnyPicture, AnyPicture]:
    """Both pictures without `border` pixels on every side; InvalidInput when sizes differ or nothing is left."""
    if a.shape != b.shape:
        raise InvalidInput(f"The pictures differ in size: {size_text(a)} and {size_text(b)}.")
    return cropped(a, border), cropped(b, border)


def cropped(picture: AnyPicture, border: int) -> AnyPicture:
    """The picture (H, W, 3) without `border` pixels on every side; InvalidInput when nothing is left."""
    if border < 0 or min(picture.shape[:2]) <= 2 * border:
        raise InvalidInput(f"A crop of {border} pixels leaves nothing of a picture of {size_text(picture)}.")
    inner = slice(border, -border or None)
    return picture[inner, inner]


def size_text(picture: AnyPicture) -> str:
    """Width x height."""
    return f"{picture.shape[1]}x{picture.shape[0]}"


def require_size(picture: AnyPicture, name: str, side: int) -> None:
    """InvalidInput when a side of the cropped picture is below `side`."""
    if min(picture.shape[:2]) < side:
        raise InvalidInput(f"{name} needs {side}x{side} pixels; the cropped picture has {size_text(picture)}.")


def luma(picture: AnyPicture) -> Values:
    """Y of YCbCr, BT.601 studio range, not rounded: (H, W, 3) → (H, W) in 16..235."""
    return np.asarray(luma_bt601(as_float(picture)), np.float64)


def valid_filter(planes: NDArray[Any], taps: tuple[float, ...], *, step: int = 1) -> NDArray[Any]:
    """Weighted mean of each window wholly inside, by the same `taps` along both axes, at every `step`-th place.

    planes: (…, H, W), float32 or float64 → (…, H', W') of the same type, H' = (H - len(taps)) // step + 1. By OpenCV
    where it is installed, by the BLAS otherwise; both are several times as fast as numpy's own sums.
    """
    try:
        import cv2
    except ModuleNotFoundError:
        return _filter_by_blas(planes, taps, step)
    half, weights = (len(taps) - 1) // 2, np.array(taps)
    result = np.empty(planes.shape, planes.dtype)
    height, width = planes.shape[-2:]
    for source, target in zip(planes.reshape(-1, height, width), result.reshape(-1, height, width), strict=True):
        cv2.sepFilter2D(source, -1, weights, weights, dst=target, anchor=(half, half))
    bottom, right = (side - len(taps) + half + 1 for side in (height, width))
    return result[..., half:bottom:step, half:right:step]


def _filter_by_blas(planes: NDArray[Any], taps: tuple[float, ...], step: int) -> NDArray[Any]:
    """Each axis is a product with a band matrix, tile by tile."""
    height, width = ((side - len(taps)) // step + 1 for side in planes.shape[-2:])
    across = np.empty((*planes.shape[:-2], height, planes.shape[-1]), planes.dtype)
    result = np.empty((*planes.shape[:-2], height, width), planes.dtype)
    for top in range(0, height, _TILE_ROWS):
        rows = _band(taps, min(_TILE_ROWS, height - top), step, planes.dtype.char)
        strip = planes[..., top * step : top * step + rows.shape[1], :]
        here = across[..., top : top + len(rows), :]
        for left in range(0, planes.shape[-1], _TILE_COLUMNS):
            part = np.s_[..., left : left + _TILE_COLUMNS]
            np.matmul(rows, strip[part], out=here[part])
        for left in range(0, width, _TILE_WIDTH):
            columns = _band(taps, min(_TILE_WIDTH, width - left), step, planes.dtype.char).T
            tile = here[..., left * step : left * step + len(columns)]
            np.matmul(tile, columns, out=result[..., top : top + len(rows), left : left + columns.shape[1]])
    return result


@lru_cache(maxsize=64)
def _band(taps: tuple[float, ...], count: int, step: int, dtype: str) -> NDArray[Any]:
    """(count, (count - 1) step + len(taps)): row i holds the taps from column i step on."""
    matrix = np.zeros((count, (count - 1) * step + len(taps)), dtype)
    for row in range(count):
        matrix[row, row * step : row * step + len(taps)] = taps
    return matrix


def gaussian_taps(size: int, sigma: float) -> tuple[float, ...]:
    """A Gaussian of `size` taps that sum to 1."""
    weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())
