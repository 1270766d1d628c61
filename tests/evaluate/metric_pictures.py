"""Pictures that the metrics' tests draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter


def flat(value: int, height: int = 16, width: int = 20) -> Any:
    return np.full((height, width, 3), value, np.uint8)


def textured(seed: int = 0, height: int = 200, width: int = 300, blur: float = 0.7) -> Any:
    """Texture of two sizes, with values away from 0 and 255."""
    rng = np.random.default_rng(seed)
    values = sum(
        gaussian_filter(rng.normal(0, 1, (height, width, 3)), (sigma, sigma, 0)) * sigma * 22 for sigma in (blur, 6.0)
    )
    return np.clip(np.rint(128 + values), 0, 255).astype(np.uint8)


def noisy(picture: Any, amount: float, seed: int = 1) -> Any:
    noise = np.random.default_rng(seed).normal(0, amount, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def blurred(picture: Any, sigma: float) -> Any:
    return np.rint(gaussian_filter(picture.astype(np.float64), (sigma, sigma, 0))).astype(np.uint8)
