"""Our own numbers, frozen while they agreed with the official ones.

`python tests/images/test_images_frozen.py` writes them anew: only after the golden tests passed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goldeye.images import luma_bt601, matlab_resize, matlab_resize_scale, rgb_to_lab

FROZEN = Path(__file__).resolve().parents[1] / "frozen" / "images.json"


def numbers() -> dict[str, list[float]]:
    y, x = np.mgrid[:37, :45]
    picture = np.stack([(x * y % 17) / 16, (x + 3 * y) % 23 / 22, (x * x + y) % 11 / 10], axis=-1).astype(np.float32)
    results: dict[str, Any] = {
        "resize to 9 x 12": matlab_resize(picture, 9, 12),
        "scale 1/4": matlab_resize_scale(picture, 0.25),
        "scale 2.5": matlab_resize_scale(picture, 2.5),
        "scale 1/3 without antialiasing": matlab_resize_scale(picture, 1 / 3, antialias=False),
        "luma": luma_bt601(picture),
        "lab": rgb_to_lab(picture),
    }
    return {
        name: [float(v) for v in (*values.ravel()[[0, 50, -1]], values.mean(), values.std())]
        for name, values in results.items()
    }


@pytest.mark.parametrize("name", list(json.loads(FROZEN.read_text())) if FROZEN.exists() else [])
def test_numbers_stay(name: str) -> None:
    np.testing.assert_allclose(numbers()[name], json.loads(FROZEN.read_text())[name], rtol=1e-5, atol=2e-6)


def test_every_number_is_frozen() -> None:
    assert set(numbers()) == set(json.loads(FROZEN.read_text()))


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(numbers(), indent=1) + "\n")
