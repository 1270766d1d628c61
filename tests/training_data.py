"""What the tests of training train on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VOTES = {
    # original pictures differ per group; slot 01, 02, 03; three voters each
    "both": ("PPP", "NNS", "SSS"),
    "positive": ("PPS", "PSS", "SSS"),
    "negative": ("SSS", "NNN", "SPN"),
    "similar": ("SSS", "SSP", "PSN"),
}


def noisy(seed: int, size: int = 40, cells: int = 5) -> npt.NDArray[np.uint8]:
    """`cells` x `cells` patches of colour with texture, uint8 (size, size, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (cells, cells, 3)).repeat(size // cells, axis=0).repeat(size // cells, axis=1)
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)
