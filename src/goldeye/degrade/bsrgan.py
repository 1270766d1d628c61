"""The steps that only BSRGAN's pipeline has (Zhang et al., ICCV 2021); several depend on the scale that is left.

`Linear` ranges are [a, b] for a + b·s with that scale s: it is 2 instead of 4 after the pre-downsample.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from goldeye.config import Strict
from goldeye.degrade import kernels, ops
from goldeye.degrade.steps import (
    Modes,
    NoiseLevels,
    Parameters,
    Probability,
    Radii,
    Sample,
    choose,
    integer,
    noise_seed,
    uniform,
)
from goldeye.images.colour import FloatPicture

SMALLEST = 1e-3  # of a drawn σ: below it a kernel is one pixel anyway, and 0 would divide by zero


def _positive(values: tuple[float, float]) -> tuple[float, float]:
    if min(values) < 0 or max(values) == 0:
        raise ValueError(f"[a, b] of a + b·s must be 0 or more, and one of them more, not {list(values)}")
    return values


Linear = Annotated[tuple[float, float], AfterValidator(_positive)]


def at(linear: tuple[float, float], scale: int) -> float:
    return linear[0] + linear[1] * scale


class Halve(Strict):
    """With `probability`, and only when the scale is 4: a resize to half the size; the scale left is then 2."""

    step: Literal["halve"] = "halve"
    probability: Probability
    modes: Modes

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        if sample.scale != 4 or rng.random() >= self.probability:
            return []
        sample.scale = 2
        return [{"step": "halve", "mode": choose(rng, self.modes)}]


def halve(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    return np.clip(ops.resize_to(picture, picture.shape[0] // 2, picture.shape[1] // 2, drawn["mode"]), 0, 1)


class CovarianceBlur(Strict):
    """Blur with a Gaussian of size 2m+1, m uniform in `radius`: with probability `anisotropic` from a covariance matrix
    with two eigenvalues U(0, 1)·`eigenvalue` and an angle in [0, π], else with σ = U(0, 1)·`sigma`."""

    step: Literal["covariance_blur"] = "covariance_blur"
    anisotropic: Probability
    radius: Radii
    eigenvalue: Linear
    sigma: Linear

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        size = 2 * integer(rng, self.radius) + 1
        if rng.random() >= self.anisotropic:
            sigma = max(SMALLEST, uniform(rng, (0, at(self.sigma, sample.scale))))
            return [{"step": "blur", "kernel": "fspecial", "size": size, "sigma": sigma}]
        bounds = (0.0, at(self.eigenvalue, sample.scale))
        first, second = (max(SMALLEST**2, uniform(rng, bounds)) for _ in range(2))
        theta = uniform(rng, (0, np.pi))
        drawn = {"step": "blur", "kernel": "covariance", "size": size, "theta": theta}
        return [drawn | {"eigenvalue_1": first, "eigenvalue_2": second}]


class MiddleResize(Strict):
    """A resize by 1/U(1, `divisor`) in one of `modes`; with probability `shifted` instead a Gaussian of size 2m+1, m
    uniform in `radius`, and σ = U(`sigma_lowest`, `sigma`), shifted to the centres of the blocks of which it then keeps
    one pixel each."""

    step: Literal["middle_resize"] = "middle_resize"
    divisor: Linear
    modes: Modes
    shifted: Probability
    radius: Radii
    sigma_lowest: Annotated[float, Field(gt=0)]
    sigma: Linear

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        if rng.random() >= self.shifted:
            scale = 1 / uniform(rng, (1, at(self.divisor, sample.scale)))
            return [{"step": "middle_resize", "scale": scale, "mode": choose(rng, self.modes)}]
        size = 2 * integer(rng, self.radius) + 1
        sigma = uniform(rng, (self.sigma_lowest, at(self.sigma, sample.scale)))
        return [{"step": "shifted_downsample", "size": size, "sigma": sigma, "scale": sample.scale}]


def middle_resize(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    height, width = (max(1, int(side * drawn["scale"])) for side in picture.shape[:2])
    return np.clip(ops.resize_to(picture, height, width, drawn["mode"]), 0, 1)


def shifted_downsample(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    kernel = kernels.shifted(kernels.fspecial_gaussian(drawn["size"], drawn["sigma"]), drawn["scale"])
    return np.clip(ops.shifted_downsample(picture, kernel, drawn["scale"]), 0, 1)


class LevelNoise(Strict):
    """Gaussian noise with a standard deviation uniform over the integers of `level` (0..255): .4 of each channel on its
    own, .4 one grey map, .2 a random covariance of the channels.

    The covariance is the highest level squared times |UᵀDU|, with D = diag(U(0, 1)³) and U the left singular vectors
    of a matrix of U(0, 1) numbers.
    """

    step: Literal["level_noise"] = "level_noise"
    level: NoiseLevels

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        level, kind = integer(rng, self.level), rng.random()
        if 0.4 <= kind <= 0.6:
            axes = np.linalg.svd(rng.random((3, 3)))[0]
            covariance = (self.level[1] / 255) ** 2 * np.abs(axes.T @ np.diag(rng.random(3)) @ axes)
            drawn: Parameters = {"step": "noise", "kind": "covariance", "covariance": covariance.tolist()}
        else:
            drawn = {"step": "noise", "kind": "gaussian", "sigma": float(level), "grey": bool(kind < 0.4)}
        return [drawn | {"seed": noise_seed(rng)}]


APPLY = {"halve": halve, "middle_resize": middle_resize, "shifted_downsample": shifted_downsample}
