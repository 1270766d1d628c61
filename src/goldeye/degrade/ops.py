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
from goldeye.images.resize import weight_matrix

# "area" and the modes without a prefix are torch's; OpenCV's area weighs pixels that it covers in part.
Mode = Literal["area", "bilinear", "bicubic", "nearest", "lanczos", "opencv_area"]
_OPENCV = {
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
    "lanczos": cv2.INTER_LANCZOS4,
    "opencv_area": cv2.INTER_AREA,
}


# Filters ---------------------------------------------------------------------------------------------------------


def blur(picture: FloatPicture, kernel: Kernel) -> FloatPicture:
    """Correlation with an odd kernel; the picture is mirrored at its border without repeating the edge pixel.

    Computed in the cheapest of three ways that agree to 1e-6: a few separable passes where the kernel has a low rank,
    directly where it is small, else by the Fourier transform.
    """
    kernel = _without_empty_border(kernel)
    size = len(kernel)
    if size == 1:
        return np.asarray(picture * kernel[0, 0], np.float32)
    columns, values, rows = np.linalg.svd(kernel.astype(np.float64))
    # What the terms beyond the first n can change: |uᵢ|₁ |vᵢ|₁ sᵢ ≤ size · sᵢ each.
    left_over = size * np.cumsum(values[::-1])[::-1]
    rank = int(np.count_nonzero(left_over > _NEGLIGIBLE))
    direct = size * size if size <= _DIRECT else 180  # costs of the ways, measured, in products a pixel
    if rank * (3 * size + 6) < direct:
        result: FloatPicture | None = None
        for column, value, row in zip(columns.T[:rank], values, rows, strict=False):
            weights = (row * math.sqrt(value)).astype(np.float32), (column * math.sqrt(value)).astype(np.float32)
            term = np.asarray(cv2.sepFilter2D(picture, -1, *weights, borderType=cv2.BORDER_REFLECT_101), np.float32)
            result = term if result is None else np.add(result, term, out=result)
        assert result is not None
        return result
    if size <= _DIRECT:
        return np.asarray(cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)
    return _fourier_blur(picture, kernel)


_NEGLIGIBLE = 5e-7  # of the sum of a kernel's weights, in pictures of [0, 1]
_DIRECT = 11  # up to this size OpenCV's direct filter is the fastest; beyond it takes ten times as long


def _without_empty_border(kernel: Kernel) -> Kernel:
    """The middle of the kernel, without the rings that hold a negligible weight."""
    total, weights = np.abs(kernel).sum(dtype=np.float64), np.abs(kernel)
    margin = 0
    while len(kernel) - 2 * margin > 1:
        inside = weights[margin + 1 : len(kernel) - margin - 1, margin + 1 : len(kernel) - margin - 1]
        if total - inside.sum(dtype=np.float64) > _NEGLIGIBLE / 4:
            break
        margin += 1
    return np.ascontiguousarray(kernel[margin : len(kernel) - margin, margin : len(kernel) - margin])


def _fourier_blur(picture: FloatPicture, kernel: Kernel) -> FloatPicture:
    """The correlation theorem on the mirrored picture, a channel at a time."""
    rows, columns = picture.shape[:2]
    margin = len(kernel) // 2
    height, width = (cv2.getOptimalDFTSize(side + 2 * margin) for side in (rows, columns))
    canvas = np.zeros((height, width), np.float32)
    canvas[: len(kernel), : len(kernel)] = kernel
    spectrum = cv2.dft(canvas)
    # Padding up to the whole transform: what lies beyond the margin reaches no pixel that is kept.
    fill = height - rows - margin, width - columns - margin
    padded = cv2.copyMakeBorder(picture, margin, fill[0], margin, fill[1], cv2.BORDER_REFLECT_101)
    result, plane = np.empty_like(picture), np.empty((height, width), np.float32)
    for channel in range(picture.shape[2]):
        cv2.extractChannel(padded, channel, dst=plane)
        cv2.dft(plane, dst=plane)
        cv2.mulSpectrums(plane, spectrum, 0, plane, conjB=True)
        cv2.dft(plane, dst=plane, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
        result[..., channel] = plane[:rows, :columns]
    return result


def shifted_downsample(picture: FloatPicture, kernel: Kernel, scale: int) -> FloatPicture:
    """Convolution with a shifted kernel, then every scale-th pixel from the first one on (BSRGAN)."""
    return np.ascontiguousarray(blur(picture, kernel[::-1, ::-1])[::scale, ::scale])


SHARPEN_RADIUS = 25  # of the Gaussian that `sharpen` takes by default


def sharpen(picture: FloatPicture, weight: float = 0.5, radius: int = 50, threshold: float = 10) -> FloatPicture:
    """Unsharp masking as Real-ESRGAN sharpens its targets: where |x - blurred x| · 255 exceeds the threshold (a mask
    that is itself blurred), x moves by `weight` times that difference and is clipped to [0, 1].

    The Gaussian has radius + 1 taps when the radius is even, and OpenCV's σ for that size.
    """
    size = radius + 1 - radius % 2
    blurred = _gaussian(picture, size)
    _, mask = cv2.threshold(cv2.absdiff(picture, blurred), threshold / 255, 1, cv2.THRESH_BINARY)
    if not mask.any():
        return picture
    change = np.asarray(cv2.addWeighted(picture, 1 + weight, blurred, -weight, 0), np.float32)
    np.clip(change, 0, 1, out=change)
    change -= picture
    change *= _gaussian(np.asarray(mask, np.float32), size)
    change += picture
    return change


def _gaussian(picture: FloatPicture, size: int) -> FloatPicture:
    return np.asarray(cv2.GaussianBlur(picture, (size, size), 0, borderType=cv2.BORDER_REFLECT_101), np.float32)


# Resize ----------------------------------------------------------------------------------------------------------


def resize_by(picture: FloatPicture, scale: float, mode: Mode) -> FloatPicture:
    """Resize to (floor(H·scale), floor(W·scale)) as `F.interpolate(scale_factor=scale)` does, without antialiasing.

    Pixel positions follow `scale` itself, not the ratio of the rounded sizes ("area" knows sizes only).
    """
    height, width = (max(1, math.floor(size * scale)) for size in picture.shape[:2])
    if mode == "area" or min(picture.shape[:2]) * scale < 1:
        return resize_to(picture, height, width, mode)
    # OpenCV takes the positions from fx and fy only when it rounds the size itself; that is never less than the floor.
    resized = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=_OPENCV[mode])
    return np.ascontiguousarray(resized[:height, :width])


def resize_to(picture: FloatPicture, height: int, width: int, mode: Mode) -> FloatPicture:
    """Resize to (height, width) without antialiasing.

    "area" (adaptive average pooling), "bilinear", "bicubic" and "nearest" are those of `F.interpolate(size=…)`;
    "lanczos" (8 taps) and "opencv_area" are OpenCV's.
    """
    if picture.shape[:2] == (height, width):
        return picture
    if mode != "area":
        return np.asarray(cv2.resize(picture, (width, height), interpolation=_OPENCV[mode]), np.float32)
    rows, columns = _area(picture.shape[0], height), _area(picture.shape[1], width)
    turned = cv2.transpose((rows @ picture.reshape(len(picture), -1)).reshape(height, -1, 3))
    resized = (columns @ turned.reshape(len(turned), -1)).reshape(width, height, 3)
    return np.asarray(cv2.transpose(resized), np.float32)


@lru_cache(maxsize=512)
def _area(size: int, out: int) -> sparse.csr_array:
    """Adaptive average pooling: the mean of the input pixels that an output pixel touches, each counted whole."""
    i = np.arange(out)
    first, last = i * size // out, -(-(i + 1) * size // out)
    indices = first[:, None] + np.arange((last - first).max())
    inside = indices < last[:, None]
    weights = inside / (last - first)[:, None]
    return weight_matrix(np.where(inside, indices, first[:, None]), weights, size)


# Noise -----------------------------------------------------------------------------------------------------------


def gaussian_noise(picture: FloatPicture, sigma: float, grey: bool, rng: np.random.Generator) -> FloatPicture:
    """Add N(0, (sigma/255)²), clipped to [0, 1]; `grey` adds one map to all three channels."""
    shape = (*picture.shape[:2], 1 if grey else 3)
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise *= np.float32(sigma / 255)
    noisy = picture + noise
    return np.clip(noisy, 0, 1, out=noisy)


def covariance_noise(picture: FloatPicture, covariance: list[list[float]], rng: np.random.Generator) -> FloatPicture:
    """Add N(0, covariance), clipped to [0, 1]; covariance: (3, 3) over the channels, in units of [0, 1] (BSRGAN)."""
    variances, axes = np.linalg.eigh(np.array(covariance))
    root = (axes * np.sqrt(np.maximum(variances, 0))).T.astype(np.float32)
    noisy: FloatPicture = picture + rng.standard_normal(picture.shape, dtype=np.float32) @ root
    return np.clip(noisy, 0, 1, out=noisy)


def poisson_gaussian_noise(picture: FloatPicture, peak: float, sigma: float, rng: np.random.Generator) -> FloatPicture:
    """P(x · peak) / peak + N(0, (sigma/255)²), clipped to [0, 1]: RGAN's Eq. 2 with α = 1; sigma 0 is Poisson alone."""
    noisy: FloatPicture = rng.poisson(np.clip(picture, 0, 1) * peak).astype(np.float32) / np.float32(peak)
    if sigma > 0:
        noisy += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(sigma / 255)
    return np.clip(noisy, 0, 1)


def poisson_noise(picture: FloatPicture, scale: float, grey: bool, rng: np.random.Generator) -> FloatPicture:
    """Add scale · (P(x·v)/v − x), clipped to [0, 1], where P draws Poisson counts and x is the picture in 8 bit.

    v = 2^ceil(log2 n) for the n distinct values of x, as in the official code: the variance is scale²·x/v. `grey`
    takes the luma for x and adds one map to all three channels.
    """
    levels = to_levels(to_grey(picture) if grey else picture)
    values = 1 << (distinct_values(levels) - 1).bit_length()
    counts = _poisson_counts(levels, values, rng)
    noise = counts.astype(np.float32)
    noise *= np.float32(scale / values)
    noise -= levels * np.float32(scale / 255)
    noisy = picture + (noise[..., None] if grey else noise)
    return np.clip(noisy, 0, 1, out=noisy)


def to_grey(picture: FloatPicture) -> FloatPicture:
    """(H, W, 3) to the luma (H, W) of BT.601 with full range, in the weights of torchvision."""
    return picture @ np.array([0.2989, 0.587, 0.114], np.float32)


def distinct_values(levels: npt.NDArray[np.uint8]) -> int:
    """How many different values there are, over all pixels and channels."""
    rows = levels.reshape(len(levels), -1)  # one channel and long rows: OpenCV's fast case
    return int(np.count_nonzero(cv2.calcHist([rows], [0], None, [256], [0, 256])))


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
    lowest = -1 - counts[undecided].astype(np.int64)
    counts[undecided] = _climb(line, level[undecided], uniform[undecided] * 2.0**-32, lowest)
    return counts.reshape(levels.shape)


@lru_cache(maxsize=9)
def _poisson_tables(values: int) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int16]]:
    """For the rates 0, values/255, …, values: level + P(count ≤ k) as one line of 256 rows, and as (256, 2^_BITS) the
    count in each of 2^_BITS equal bins of the uniform, −1 − the lowest where the bin holds several."""
    levels = np.arange(256)[:, None]
    cumulative = pdtr(np.arange(math.ceil(values + 10 * math.sqrt(values) + 20)), levels * values / 255)
    cumulative[:, -1] = 1  # the tail beyond is far below 2⁻³²
    line = (levels + cumulative).ravel()
    starts = np.arange(2**_BITS) * 2.0**-_BITS
    lowest, highest = _inverse(line, levels, starts), _inverse(line, levels, starts + 2.0**-_BITS - 2.0**-32)
    return line, np.where(lowest == highest, lowest, -1 - lowest).astype(np.int16)


def _inverse(
    line: npt.NDArray[np.floating], level: npt.NDArray[np.integer], uniform: npt.NDArray[np.floating]
) -> npt.NDArray[np.int64]:
    """The count k with P(count < k) ≤ uniform < P(count ≤ k) at each level: a search in its row of the line."""
    return np.searchsorted(line, level + uniform, side="right") - level.astype(np.int64) * (len(line) // 256)


def _climb(
    line: npt.NDArray[np.floating],
    level: npt.NDArray[np.integer],
    uniform: npt.NDArray[np.floating],
    lowest: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """`_inverse`, knowing a count that is not too high: most are at most one step away."""
    start = level.astype(np.int64) * (len(line) // 256)
    place, goal = start + lowest, level + uniform
    climbing = np.flatnonzero(line[place] <= goal)
    while len(climbing):
        place[climbing] += 1
        climbing = climbing[line[place[climbing]] <= goal[climbing]]
    return place - start


# 8 bit -----------------------------------------------------------------------------------------------------------


def jpeg(picture: FloatPicture, quality: int) -> FloatPicture:
    """Through the real codec (libjpeg, baseline, 4:2:0) at quality 1..100; the picture is rounded to 8 bit first."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(to_levels(picture), cv2.COLOR_RGB2BGR), settings)
    return _from_levels(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)))


def round_to_8bit(picture: FloatPicture) -> FloatPicture:
    """Clip to [0, 1] and round to multiples of 1/255."""
    return _from_levels(to_levels(picture))


def to_levels(picture: FloatPicture) -> npt.NDArray[np.uint8]:
    """[0, 1] to 0..255, clipped and rounded (half to even)."""
    levels: FloatPicture = picture * np.float32(255)
    np.clip(levels, 0, 255, out=levels)
    return np.rint(levels, out=levels).astype(np.uint8)


def _from_levels(levels: npt.NDArray[np.integer]) -> FloatPicture:
    picture = levels.astype(np.float32)
    picture /= np.float32(255)
    return picture
