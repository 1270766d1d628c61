"""Resizing as MATLAB's `imresize` does it: what "bicubic" means in super-resolution papers."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import sparse

from goldeye.images.colour import FloatPicture, Picture, as_float, to_integers

_BAND = 2**21  # values of a band that `resize_into` computes at a time


def matlab_resize(picture: FloatPicture, height: int, width: int, *, antialias: bool = True) -> FloatPicture:
    """Bicubic resize of (H, W, 3) to exactly (height, width, 3); values may leave [0, 1] a little.

    Each axis has its own scale, out / in, as in MATLAB's `imresize(A, [height width])`.
    """
    rows, columns = picture.shape[:2]
    return resample(
        picture,
        _bicubic(rows, height, height / rows, antialias),
        _bicubic(columns, width, width / columns, antialias),
    )


def resize_rows(picture: Picture | FloatPicture, height: int, width: int, top: int, bottom: int) -> FloatPicture:
    """Rows top..bottom (half-open) of `matlab_resize` of a picture (H, W, C), integer or float: (rows, width, C).

    They come from the input rows that they depend on alone, and are the whole result's bit for bit.
    """
    rows, columns = picture.shape[:2]
    weights = _bicubic(rows, height, height / rows, True)[top:bottom]
    first, end = int(weights.indices.min()), int(weights.indices.max()) + 1
    part = as_float(picture[first:end])
    return resample(part, weights[:, first:end], _bicubic(columns, width, width / columns, True))


def resize_into(picture: Picture | FloatPicture, out: Picture) -> None:
    """Fill `out` (H', W', C), uint8 or uint16, with the picture (H, W, C) resized: memory for a band of rows only."""
    height, width, channels = out.shape
    widest = max(width, picture.shape[1] * math.ceil(picture.shape[0] / height))
    band = max(1, _BAND // (widest * channels))
    for top in range(0, height, band):
        bottom = min(top + band, height)
        out[top:bottom] = to_integers(resize_rows(picture, height, width, top, bottom), out.dtype)


def matlab_resize_scale(picture: FloatPicture, scale: float, *, antialias: bool = True) -> FloatPicture:
    """Bicubic resize of (H, W, 3) by `scale` to (ceil(H·scale), ceil(W·scale), 3), as MATLAB's `imresize(A, scale)`.

    An odd size keeps `scale` as its scale although the rounded size has another ratio.
    """
    rows, columns = picture.shape[:2]
    return resample(
        picture,
        _bicubic(rows, math.ceil(rows * scale), scale, antialias),
        _bicubic(columns, math.ceil(columns * scale), scale, antialias),
    )


def resample(picture: FloatPicture, rows: sparse.csr_array, columns: sparse.csr_array) -> FloatPicture:
    """Separable resampling of (H, W, C) by two weight matrices (H', H) and (W', W): (H', W', C)."""
    height, width, channels = picture.shape
    picture = (rows @ picture.reshape(height, -1)).reshape(-1, width, channels)
    turned = np.ascontiguousarray(picture.transpose(1, 0, 2))
    turned = (columns @ turned.reshape(width, -1)).reshape(-1, len(picture), channels)
    return np.ascontiguousarray(turned.transpose(1, 0, 2))


def weight_matrix(indices: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], size: int) -> sparse.csr_array:
    """A float32 matrix (out, size): row i has `weights[i, t]` at column `indices[i, t]` (repeats are summed)."""
    out, taps = indices.shape
    starts = np.arange(0, out * taps + 1, taps)
    matrix = sparse.csr_array((weights.ravel(), indices.ravel(), starts), shape=(out, size))
    matrix.sum_duplicates()
    return matrix.astype(np.float32)


@lru_cache(maxsize=256)
def _bicubic(size: int, out: int, scale: float, antialias: bool) -> sparse.csr_array:
    """The weights of one axis: Keys' cubic with a = -1/2, stretched by 1/scale when it shrinks, mirrored edges."""
    stretch = min(scale, 1.0) if antialias else 1.0
    support = 4 / stretch
    # Centres of the output pixels in input coordinates, the first pixel being 0.
    centres = (np.arange(out) + 0.5) / scale - 0.5
    first = np.floor(centres - support / 2).astype(np.int64)
    indices = first[:, None] + np.arange(math.ceil(support) + 2)
    weights = keys_cubic((centres[:, None] - indices) * stretch, -0.5)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = indices % (2 * size)
    mirrored = np.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
    return weight_matrix(mirrored, weights, size)


def keys_cubic(distance: npt.NDArray[np.float64], a: float) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel (1981, Eq. 4) at `distance` pixels: a = -1/2 in MATLAB, -3/4 in torch."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
