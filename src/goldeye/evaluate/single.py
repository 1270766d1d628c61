"""Figures of a picture by itself: how sharp, how noisy. They describe; neither says that a picture is good."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from goldeye.evaluate.planes import RANGE, AnyPicture, Y, cropped, luma, require_size

DEFINITIONS: dict[str, dict[str, Any]] = {
    "sharpness": {
        "colour": Y,
        "range": RANGE,
        "window": "3x3",
        "formula": "standard deviation of the Laplacian [0 1 0; 1 -4 1; 0 1 0]; noise raises it, too",
    },
    "noise": {
        "colour": Y,
        "range": RANGE,
        "window": "3x3",
        "formula": "Immerkær 1996, standard deviation of white noise: sqrt(pi/2)/6 x mean |[1 -2 1; -2 4 -2; 1 -2 1]|; "
        "fine texture raises it, too",
    },
}


def sharpness(picture: AnyPicture, *, crop_border: int) -> float:
    """Standard deviation of the 3x3 Laplacian of the luma, in levels of 255.

    picture: (H, W, 3) RGB, at least 3x3 after the crop.
    """
    y = _luma(picture, crop_border, "The sharpness")
    return float((y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * y[1:-1, 1:-1]).std())


def noise(picture: AnyPicture, *, crop_border: int) -> float:
    """The standard deviation of white noise in the luma, in levels of 255, after Immerkær (1996).

    (H, W, 3) RGB of at least 3x3 after the crop. Planes and straight edges along the axes cancel out.
    """
    y = _luma(picture, crop_border, "The noise")
    rows = y[:-2] - 2 * y[1:-1] + y[2:]
    response = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return math.sqrt(math.pi / 2) / 6 * float(np.abs(response).mean())


def _luma(picture: AnyPicture, crop_border: int, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    inner = cropped(picture, crop_border)
    require_size(inner, name, 3)
    return luma(inner)
