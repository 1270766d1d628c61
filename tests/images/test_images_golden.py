"""Agreement with the official implementations' resize and colour conversion (shared/golden)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from goldeye.images import luma_bt601, matlab_resize_scale, to_float

RESIZED = [
    *(f"{size}_d{factor}" for size in ("even", "odd") for factor in (2, 3, 4)),
    *(f"{size}_small_u{factor}" for size in ("even", "odd") for factor in (2, 3, 4)),
    "odd_d4_noaa",
]


@pytest.mark.parametrize("name", RESIZED)
def test_matlab_resize(golden: Path, name: str) -> None:
    with np.load(golden / "degradation" / "imresize.npz") as data:
        size, *rest = name.split("_")
        source = data[f"{size}_small" if rest[0] == "small" else f"{size}_input"]
        code = rest[1] if rest[0] == "small" else rest[0]
        scale = float(code[1]) if code[0] == "u" else 1 / float(code[1])
        resized = matlab_resize_scale(source, scale, antialias="noaa" not in rest)
        assert resized.shape == data[name].shape
        np.testing.assert_allclose(resized, data[name], rtol=0, atol=2e-6)


def test_luma(golden: Path) -> None:
    with np.load(golden / "metrics" / "ycbcr.npz") as data:
        luma = luma_bt601(to_float(data["rgb_uint8"]))
        np.testing.assert_allclose(luma / 255, data["y_from_float"], rtol=0, atol=2e-6)
        np.testing.assert_allclose(luma / 255, data["y_pt"][0, 0], rtol=0, atol=2e-6)
        np.testing.assert_array_equal(np.rint(luma), data["y_from_uint8"])
