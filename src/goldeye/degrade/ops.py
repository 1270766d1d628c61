"""Degradation operations: pure functions of a float RGB picture (H, W, 3) in [0, 1], parameters and a generator.

They compute what the official HGGT and Real-ESRGAN code computes on torch, per sample and on the CPU; only JPEG is the
real codec instead of a differentiable imitation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import pdtr

from goldeye.degrade.kernels import Kernel
from goldeye.images.colour import FloatPicture
from goldeye.images.resize import keys_cubic, resample, weight_matrix

Mode = Literal["area", "bilinear", "bicubic"]


def blur(picture: FloatPicture, kernel: Kernel) -> FloatPicture:
    """Correlation with an odd kernel; the picture is mirrored at its border without repeating the edge pixel."""
    return np.asarray(cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


# Resize ----------------------------------------------------------------------------------------------------------


def resize_by(picture: FloatPicture, scale: float, mode: Mode) -> FloatPicture:
    """Resize to (floor(H·scale), floor(W·scale)) as `F.interpolate(scale_factor=scale)` does, without antialiasing.

    Pixel positions follow `scale` itself, not the ratio of the rounded sizes ("area" knows sizes only).
    """
    height, width = (max(1, math.floor(size * scale)) for size in picture.shape[:2])
    rows = _WEIGHTS[mode](picture.shape[0], height, 1 / scale)
    return resample(picture, rows, _WEIGHTS[mode](picture.shape[1], width, 1 / scale))


def resize_to(picture: FloatPicture, height: int, width: int, mode: Mode) -> FloatPicture:
    """Resize to (height, width) as `F.interpolate(size=(height, width))` does, without antialiasing."""
    rows = _WEIGHTS[mode](picture.shape[0], height, picture.shape[0] / height)
    return resample(picture, rows, _WEIGHTS[mode](picture.shape[1], width, picture.shape[1] / width))


@lru_cache(maxsize=128)
def _area(size: int, out: int, step: float) -> sparse.csr_array:
    """Adaptive average pooling: the mean of the input pixels that an output pixel touches, each counted whole."""
    i = np.arange(out)
    first, last = i * size // out, -(-(i + 1) * size // out)
    indices = first[:, None] + np.arange((last - first).max())
    inside = indices < last[:, None]
    weights = inside / (last - first)[:, None]
    return weight_matrix(np.where(inside, indices, first[:, None]), weights, size)


@lru_cache(maxsize=128)
def _bilinear(size: int, out: int, step: float) -> sparse.csr_array:
    centres = np.maximum((np.arange(out) + 0.5) * step - 0.5, 0)
    first = np.floor(centres).astype(np.int64)
    weights = np.stack([first + 1 - centres, centres - first], axis=1)
    return weight_matrix(np.minimum(first[:, None] + np.arange(2), size - 1), weights, size)


@lru_cache(maxsize=128)
def _bicubic(size: int, out: int, step: float) -> sparse.csr_array:
    centres = (np.arange(out) + 0.5) * step - 0.5
    indices = np.floor(centres).astype(np.int64)[:, None] + np.arange(-1, 3)
    weights = keys_cubic(centres[:, None] - indices, -0.75)
    return weight_matrix(np.clip(indices, 0, size - 1), weights, size)


# One axis each: (input size, output size, input pixels per output pixel) to a weight matrix.
_WEIGHTS = {"area": _area, "bilinear": _bilinear, "bicubic": _bicubic}


# Noise -----------------------------------------------------------------------------------------------------------


def gaussian_noise(picture: FloatPicture, sigma: float, grey: bool, rng: np.random.Generator) -> FloatPicture:
    """Add N(0, (sigma/255)²), clipped to [0, 1]; `grey` adds one map to all three channels."""
    shape = (*picture.shape[:2], 1 if grey else 3)
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma / 255)
    return np.clip(picture + noise, 0, 1)


def poisson_noise(picture: FloatPicture, scale: float, grey: bool, rng: np.random.Generator) -> FloatPicture:
    """Add scale · (P(x·v)/v − x), clipped to [0, 1], where P draws Poisson counts and x is the picture in 8 bit.

    v = 2^ceil(log2 n) for the n distinct values of x, as in the official code: the variance is scale²·x/v. `grey`
    takes the luma for x and adds one map to all three channels.
    """
    levels = to_levels(to_grey(picture) if grey else picture)
    values = 1 << (distinct_values(levels) - 1).bit_length()
    counts = _poisson_counts(levels, values, rng)
    noise = counts.astype(np.float32) * np.float32(scale / values) - levels * np.float32(scale / 255)
    return np.clip(picture + (noise[..., None] if grey else noise), 0, 1)


def to_grey(picture: FloatPicture) -> FloatPicture:
    """(H, W, 3) to the luma (H, W) of BT.601 with full range, in the weights of torchvision."""
    return picture @ np.array([0.2989, 0.587, 0.114], np.float32)


def distinct_values(levels: npt.NDArray[np.uint8]) -> int:
    """How many different values there are, over all pixels and channels."""
    return int(np.count_nonzero(cv2.calcHist([levels.reshape(-1, 1)], [0], None, [256], [0, 256])))


_BITS = 12  # of the uniform number that choose a bin of the table


def _poisson_counts(levels: npt.NDArray[np.uint8], values: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Poisson counts with the rate levels·values/255 of each pixel, by inversion of 32-bit uniform numbers.

    An 8-bit picture has at most 256 rates, so a table over the uniform's upper bits gives most counts; where a bin of
    the table holds more than one count, the distribution function decides. The draw is exact to 2⁻³².
    """
    line, table = _poisson_tables(values)
    uniform = rng.integers(0, 2**32, levels.size, dtype=np.uint32)
    level = levels.ravel()
    counts = table.take((level.astype(np.uint32) << np.uint32(_BITS)) | (uniform >> np.uint32(32 - _BITS)))
    undecided = np.flatnonzero(counts < 0)
    counts[undecided] = _inverse(line, level[undecided], uniform[undecided] * 2.0**-32)
    return counts.reshape(levels.shape)


@lru_cache(maxsize=9)
def _poisson_tables(values: int) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int16]]:
    """For the rates 0, values/255, …, values: level + P(count ≤ k) as one line of 256 rows, and as (256, 2^_BITS) the
    count in each of 2^_BITS equal bins of the uniform, −1 where the bin holds several."""
    levels = np.arange(256)[:, None]
    cumulative = pdtr(np.arange(math.ceil(values + 10 * math.sqrt(values) + 20)), levels * values / 255)
    cumulative[:, -1] = 1  # the tail beyond is far below 2⁻³²
    line = (levels + cumulative).ravel()
    starts = np.arange(2**_BITS) * 2.0**-_BITS
    lowest, highest = _inverse(line, levels, starts), _inverse(line, levels, starts + 2.0**-_BITS - 2.0**-32)
    return line, np.where(lowest == highest, lowest, -1).astype(np.int16)


def _inverse(
    line: npt.NDArray[np.floating], level: npt.NDArray[np.integer], uniform: npt.NDArray[np.floating]
) -> npt.NDArray[np.int64]:
    """The count k with P(count < k) ≤ uniform < P(count ≤ k) at each level: a search in its row of the line."""
    return np.searchsorted(line, level + uniform, side="right") - level.astype(np.int64) * (len(line) // 256)


# 8 bit -----------------------------------------------------------------------------------------------------------


def jpeg(picture: FloatPicture, quality: int) -> FloatPicture:
    """Through the real codec (libjpeg, baseline, 4:2:0) at quality 1..100; the picture is rounded to 8 bit first."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(to_levels(picture), cv2.COLOR_RGB2BGR), settings)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.float32) / np.float32(255)


def round_to_8bit(picture: FloatPicture) -> FloatPicture:
    """Clip to [0, 1] and round to multiples of 1/255."""
    return to_levels(picture).astype(np.float32) / np.float32(255)


def to_levels(picture: FloatPicture) -> npt.NDArray[np.uint8]:
    """[0, 1] to 0..255, clipped and rounded (half to even)."""
    levels: FloatPicture = np.rint(np.clip(picture * np.float32(255), 0, 255))
    return levels.astype(np.uint8)
