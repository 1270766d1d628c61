"""Shifts of colour or exposure: what is left of a difference when both pictures are blurred."""

from __future__ import annotations

from typing import Any

import numpy as np

from goldeye.evaluate.planes import AnyPicture, cropped_pair
from goldeye.images import matlab_resize, rgb_to_lab
from goldeye.images.colour import as_float

DELTA_E_SIGMA = 8.0

DEFINITION: dict[str, Any] = {
    "colour": "CIELAB (D65), ΔE 1976",
    "range": "0 = same colours",
    "window": f"both pictures blurred first, Gaussian sigma {DELTA_E_SIGMA:g} px in sRGB",
    "formula": "mean Euclidean distance in CIELAB; the input is first resized to the result's size (MATLAB bicubic)",
}


def colour_shift(sr: AnyPicture, lr: AnyPicture) -> float:
    """Mean low-frequency ΔE between a result and its input, both (H, W, 3) RGB of any two sizes.

    The input is resized to the result's size by MATLAB's bicubic, antialiased where it shrinks.
    """
    height, width = sr.shape[:2]
    resized = as_float(lr)
    if lr.shape != sr.shape:
        resized = np.clip(matlab_resize(resized, height, width), 0, 1)
    return low_frequency_delta_e(sr, resized)


def low_frequency_delta_e(a: AnyPicture, b: AnyPicture) -> float:
    """Mean CIELAB distance (ΔE 1976) of two RGB pictures after a Gaussian blur (σ 8 px): a shift of colour or exposure.

    Detail and noise average out in the blur, so that sharpening alone hardly shows.
    """
    from scipy.ndimage import gaussian_filter

    a, b = cropped_pair(a, b, 0)
    smooth = [gaussian_filter(as_float(picture), (DELTA_E_SIGMA, DELTA_E_SIGMA, 0)) for picture in (a, b)]
    distance = rgb_to_lab(smooth[0]) - rgb_to_lab(smooth[1])
    return float(np.sqrt(np.square(distance).sum(axis=-1)).mean())
