"""PSNR and SSIM of a pair of pictures, equal to BasicSR's figures, which super-resolution papers print.

Tested against files that BasicSR made.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goldeye.evaluate.planes import (
    RANGE,
    RGB,
    AnyPicture,
    Y,
    cropped_pair,
    gaussian_taps,
    luma,
    require_size,
    valid_filter,
)
from goldeye.images.colour import as_float
from goldeye.runtime import available_cores

# Wang et al. 2004: 11x11 Gaussian window, σ 1.5, K1 0.01, K2 0.03.
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
_STRIP = 64  # rows of windows at a time: what they need stays in the cache
_THREADS = 4

_PSNR = {"range": RANGE, "formula": "10 log10(255² / mean squared error)"}
_SSIM = {
    "range": RANGE,
    "window": "Gaussian 11x11, sigma 1.5, windows wholly inside the cropped picture",
    "formula": "Wang et al. 2004 with K1 0.01, K2 0.03",
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "psnr": {"colour": RGB, **_PSNR},
    "ssim": {"colour": f"{RGB}, mean of the channels' SSIM", **_SSIM},
    "psnr_y": {"colour": Y, **_PSNR},
    "ssim_y": {"colour": Y, **_SSIM},
}


def psnr(a: AnyPicture, b: AnyPicture, *, crop_border: int, y: bool = False) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) RGB pictures, of their luma with `y`; inf when they are equal.

    `crop_border` pixels are left out on every side. InvalidInput when the sizes differ or nothing is left.
    """
    a, b = cropped_pair(a, b, crop_border)
    if y:
        error = float(np.square(luma(a) - luma(b)).mean())
    elif a.dtype == b.dtype == np.uint8:
        error = _squared_distance(a, b) / a.size
    else:
        difference = np.subtract(as_float(a), as_float(b), dtype=np.float64)
        error = 255**2 * float(np.square(difference).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def rms_error_y(a: AnyPicture, b: AnyPicture) -> float:
    """Root-mean-square difference of the studio-range luma of two (H, W, 3) pictures, in levels of 255."""
    return float(np.sqrt(np.square(luma(a) - luma(b)).mean()))


def ssim(a: AnyPicture, b: AnyPicture, *, crop_border: int, y: bool = False) -> float:
    """Structural similarity (Wang et al. 2004) of two (H, W, 3) RGB pictures: mean over the channels, or of the luma.

    `crop_border` pixels are left out on every side; what is left must hold the 11x11 window (else InvalidInput).
    Computed in float32, arranged so that the result is that of float64 within 1e-6.
    """
    a, b = cropped_pair(a, b, crop_border)
    require_size(a, "SSIM", WINDOW)
    height = a.shape[0] - WINDOW + 1
    reach = _STRIP + WINDOW - 1

    def strip(top: int) -> float:
        return _ssim_sum(a[top : top + reach], b[top : top + reach], y)

    with ThreadPoolExecutor(min(available_cores(), _THREADS)) as pool:
        total = math.fsum(pool.map(strip, range(0, height, _STRIP)))
    return float(total / (height * (a.shape[1] - WINDOW + 1) * (1 if y else 3)))


def _squared_distance(a: NDArray[Any], b: NDArray[Any]) -> int:
    """Σ (a - b)² of uint8 arrays, exact."""
    try:
        import cv2
    except ModuleNotFoundError:
        difference = np.subtract(a, b, dtype=np.int16)
        return int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
    return round(cv2.norm(a, b, cv2.NORM_L2SQR))  # it squares a root, which is off by one rounding


def _ssim_sum(a: AnyPicture, b: AnyPicture, y: bool) -> float:
    """Sum of the SSIM of all windows in a strip (rows, W, 3).

    With s = a + b and d = a - b, the formula's terms are differences and sums of what s² and d² give: four filtered
    planes, not five, and exactly the same number for (b, a). Variances do not change when 256 is taken from s, which
    keeps its square small enough for float32.
    """
    c1, c2 = 2 * (K1 * 255) ** 2, 2 * (K2 * 255) ** 2
    first, second = _planes(a, y), _planes(b, y)
    planes = np.empty((4, *first.shape), np.float32)
    np.add(first, second, out=planes[0])
    planes[0] -= 256
    np.subtract(first, second, out=planes[1])
    np.square(planes[:2], out=planes[2:])
    mean_s, mean_d, variance_s, variance_d = valid_filter(planes, gaussian_taps(WINDOW, SIGMA))
    variance_s -= mean_s * mean_s
    variance_d -= mean_d * mean_d
    mean_s += 256
    mean_s *= mean_s
    mean_d *= mean_d
    values = (mean_s - mean_d + c1) * (variance_s - variance_d + c2)
    values /= (mean_s + mean_d + c1) * (variance_s + variance_d + c2)
    return float(values.sum(dtype=np.float64))


def _planes(picture: AnyPicture, y: bool) -> NDArray[np.float32]:
    """(channels, H, W) in 0..255."""
    if y:
        return luma(picture)[np.newaxis].astype(np.float32)
    planes = np.moveaxis(picture, -1, 0)
    return planes.astype(np.float32) if picture.dtype == np.uint8 else np.asarray(as_float(planes) * np.float32(255))
