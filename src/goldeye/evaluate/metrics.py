"""Full-reference metrics of a pair of pictures, each exactly as its definition below says.

PSNR and SSIM equal BasicSR's figures, which super-resolution papers print (shared/golden metrics/psnr_ssim.json).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goldeye.errors import InvalidInput
from goldeye.images import FloatPicture, Picture, luma_bt601, rgb_to_lab
from goldeye.images.colour import as_float

Values = NDArray[np.float64]
AnyPicture = Picture | FloatPicture

# Wang et al. 2004: 11x11 Gaussian window, σ 1.5, K1 0.01, K2 0.03.
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
DELTA_E_SIGMA = 8.0

_RGB = "sRGB, all three channels"
_Y = "Y of YCbCr, BT.601 studio range (16..235), not rounded"
_PSNR = {"range": "0..255", "formula": "10 log10(255² / mean squared error)", "unit": "dB"}
_SSIM = {
    "range": "0..255",
    "window": "Gaussian 11x11, sigma 1.5, windows wholly inside the cropped picture",
    "formula": "Wang et al. 2004 with K1 0.01, K2 0.03",
    "unit": "1",
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "psnr": {"name": "PSNR", "colour": _RGB, "higher_is_better": True, **_PSNR},
    "ssim": {"name": "SSIM", "colour": f"{_RGB}, mean of the channels' SSIM", "higher_is_better": True, **_SSIM},
    "psnr_y": {"name": "PSNR-Y", "colour": _Y, "higher_is_better": True, **_PSNR},
    "ssim_y": {"name": "SSIM-Y", "colour": _Y, "higher_is_better": True, **_SSIM},
    "low_frequency_delta_e": {
        "name": "low-frequency ΔE",
        "colour": "CIELAB (D65), ΔE 1976",
        "higher_is_better": False,
        "range": "0 = same colours",
        "window": f"both pictures blurred first, Gaussian sigma {DELTA_E_SIGMA:g} px in sRGB",
        "formula": "mean Euclidean distance in CIELAB",
        "unit": "ΔE",
    },
}


def psnr(a: AnyPicture, b: AnyPicture, *, crop_border: int, y: bool = False) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) RGB pictures, of their luma with `y`; inf when they are equal.

    `crop_border` pixels are left out on every side. InvalidInput when the sizes differ or nothing is left.
    """
    a, b = _cropped(a, b, crop_border)
    if not y and a.dtype == b.dtype == np.uint8:
        difference = np.subtract(a, b, dtype=np.int16).ravel()
        error = float(np.square(difference, dtype=np.int32).mean())
    else:
        error = float(np.square(_planes(a, y) - _planes(b, y)).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: AnyPicture, b: AnyPicture, *, crop_border: int, y: bool = False) -> float:
    """Structural similarity (Wang et al. 2004) of two (H, W, 3) RGB pictures: mean over the channels, or of the luma.

    `crop_border` pixels are left out on every side; what is left must hold the 11x11 window (else InvalidInput).
    """
    a, b = _cropped(a, b, crop_border)
    if min(a.shape[:2]) < WINDOW:
        raise InvalidInput(f"SSIM needs {WINDOW}x{WINDOW} pixels; the cropped picture has {_size(a)}.")
    return float(np.mean([_ssim_plane(*planes) for planes in zip(_planes(a, y), _planes(b, y), strict=True)]))


def low_frequency_delta_e(a: AnyPicture, b: AnyPicture) -> float:
    """Mean CIELAB distance (ΔE 1976) of two RGB pictures after a Gaussian blur (σ 8 px): a shift of colour or exposure.

    Detail and noise average out in the blur, so that sharpening alone hardly shows.
    """
    from scipy.ndimage import gaussian_filter

    a, b = _cropped(a, b, 0)
    smooth = [gaussian_filter(as_float(picture), (DELTA_E_SIGMA, DELTA_E_SIGMA, 0)) for picture in (a, b)]
    distance = rgb_to_lab(smooth[0]).astype(np.float64) - rgb_to_lab(smooth[1])
    return float(np.sqrt(np.square(distance).sum(axis=-1)).mean())


def _cropped(a: AnyPicture, b: AnyPicture, border: int) -> tuple[AnyPicture, AnyPicture]:
    if a.shape != b.shape:
        raise InvalidInput(f"The pictures differ in size: {_size(a)} and {_size(b)}.")
    if border < 0 or min(a.shape[:2]) <= 2 * border:
        raise InvalidInput(f"A crop of {border} pixels leaves nothing of a picture of {_size(a)}.")
    inner = slice(border, -border or None)
    return a[inner, inner], b[inner, inner]


def _size(picture: AnyPicture) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _planes(picture: AnyPicture, y: bool) -> Values:
    """(channels, H, W) float64 in 0..255."""
    if y:
        return np.asarray(luma_bt601(as_float(picture)), np.float64)[np.newaxis]
    if picture.dtype == np.uint8:
        return np.moveaxis(picture, -1, 0).astype(np.float64)
    return np.moveaxis(as_float(picture), -1, 0).astype(np.float64) * 255


def _ssim_plane(a: Values, b: Values) -> float:
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    mean_a, mean_b = _windowed(a), _windowed(b)
    product = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    variances = _windowed(a * a + b * b) - squares  # σa² + σb²: the formula needs only their sum
    covariance = _windowed(a * b) - product
    values = ((2 * product + c1) * (2 * covariance + c2)) / ((squares + c1) * (variances + c2))
    return float(values.mean())


def _windowed(plane: Values) -> Values:
    """Gaussian-weighted mean of every window wholly inside: (H, W) → (H - 10, W - 10), one axis after the other."""
    half = WINDOW // 2
    weights = np.exp(-((np.arange(WINDOW) - half) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    height, width = plane.shape[0] - 2 * half, plane.shape[1] - 2 * half
    result = np.empty((height, width))
    # Strips of 32 rows stay in the cache; the window is symmetric, so that opposite pixels share a product.
    for top in range(0, height, 32):
        count = min(32, height - top)
        strip = plane[top : top + count + 2 * half]
        rows = weights[half] * strip[half : half + count]
        for k in range(half):
            rows += weights[k] * (strip[k : k + count] + strip[2 * half - k : 2 * half - k + count])
        columns = weights[half] * rows[:, half : half + width]
        for k in range(half):
            columns += weights[k] * (rows[:, k : k + width] + rows[:, 2 * half - k : 2 * half - k + width])
        result[top : top + count] = columns
    return result
