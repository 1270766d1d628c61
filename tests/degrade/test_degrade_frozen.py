"""Our own numbers, frozen while they agreed with the official ones: operations, drawn parameters, whole samples.

`python tests/degrade/test_degrade_frozen.py` writes them anew: only after the golden tests passed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goldeye.degrade import PRESETS, kernels, ops

FROZEN = Path(__file__).resolve().parents[1] / "frozen" / "degrade.json"


def picture() -> Any:
    y, x = np.mgrid[:48, :60] / 7.0
    waves = np.stack([np.sin(x + y), np.cos(x - 2 * y), np.sin(x * y / 5)], axis=-1)
    return (0.5 + 0.45 * waves).astype(np.float32)


def operations() -> dict[str, list[float]]:
    source = picture()
    kernel = kernels.anisotropic_gaussian(9, 0.6, 1.1, 0.7)
    wide = kernels.sinc(21, 1.9)
    moved = kernels.shifted(kernels.fspecial_gaussian(15, 1.8), 4)
    covariance = [[0.002, 0.001, 0.0], [0.001, 0.003, 0.0005], [0.0, 0.0005, 0.001]]
    results = {
        "isotropic": kernels.isotropic_gaussian(7, 0.8),
        "anisotropic": kernel,
        "generalized": kernels.generalized_gaussian(9, 1.2, 0.7, -0.4, 0.6),
        "plateau": kernels.plateau(9, 1.2, 0.7, -0.4, 1.5),
        "sinc": kernels.sinc(9, 1.7),
        "blur": ops.blur(source, kernel),
        "area": ops.resize_by(source, 0.87, "area"),
        "bilinear": ops.resize_by(source, 0.87, "bilinear"),
        "bicubic": ops.resize_by(source, 1.13, "bicubic"),
        "gaussian noise": ops.gaussian_noise(source, 9, False, np.random.Generator(np.random.SFC64(1))),
        "poisson noise": ops.poisson_noise(source, 0.7, False, np.random.Generator(np.random.SFC64(2))),
        "covariance": kernels.covariance_gaussian(15, 0.7, 6.0, 2.5),
        "fspecial": kernels.fspecial_gaussian(15, 1.8),
        "shifted": moved,
        "wide blur": ops.blur(source, wide),
        "shifted downsample": ops.shifted_downsample(source, moved, 4),
        "sharpen": ops.sharpen(source),
        "nearest": ops.resize_by(source, 0.87, "nearest"),
        "lanczos": ops.resize_to(source, 12, 15, "lanczos"),
        "opencv area": ops.resize_to(source, 31, 37, "opencv_area"),
        "covariance noise": ops.covariance_noise(source, covariance, np.random.Generator(np.random.SFC64(4))),
        "poisson gaussian noise": ops.poisson_gaussian_noise(source, 80, 3, np.random.Generator(np.random.SFC64(5))),
        "grey poisson noise": ops.poisson_noise(source, 0.7, True, np.random.Generator(np.random.SFC64(3))),
    }
    return {
        name: [float(v) for v in (*values.ravel()[[0, 20, -1]], values.mean(), values.std())]
        for name, values in results.items()
    }


def samples() -> dict[str, Any]:
    """Parameters of two samples of each preset, and mean and spread of the result (a codec's version may differ)."""
    frozen = {}
    for name, pipeline in PRESETS.items():
        for number in range(2):
            parameters = pipeline.draw(np.random.default_rng([0, number]))
            lr = pipeline.apply(picture(), parameters)
            statistics = [float(lr.mean()), float(lr.std())]
            frozen[f"{name} {number}"] = {"parameters": parameters, "mean and std": statistics}
    return frozen


def frozen(part: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FROZEN.read_text())[part] if FROZEN.exists() else {}
    return loaded


@pytest.mark.parametrize("name", list(frozen("operations")))
def test_operations_stay(name: str) -> None:
    np.testing.assert_allclose(operations()[name], frozen("operations")[name], rtol=1e-5, atol=2e-6)


def rounded(value: Any) -> Any:
    """Numbers to 10 digits: the last bits of a matrix product differ between processors."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


@pytest.mark.parametrize("name", list(frozen("samples")))
def test_samples_stay(name: str) -> None:
    ours, theirs = samples()[name], frozen("samples")[name]
    assert rounded(ours["parameters"]) == rounded(theirs["parameters"])
    np.testing.assert_allclose(ours["mean and std"], theirs["mean and std"], atol=0.002)


def test_everything_is_frozen() -> None:
    assert operations().keys() == frozen("operations").keys()
    assert samples().keys() == frozen("samples").keys()


if __name__ == "__main__":
    FROZEN.write_text(json.dumps({"operations": operations(), "samples": samples()}, indent=1) + "\n")
