"""The steps of a degradation pipeline: each draws its parameters, and applies drawn ones.

Drawing and applying are apart, so that what was drawn can be written down and replayed: the drawn parameters are plain
JSON and say everything, the seed of the noise too. A step may draw nothing (it is left out this time) or several
parameters; `APPLY` tells by the name under "step" what to do with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from goldeye.config import Strict
from goldeye.degrade import kernels, ops
from goldeye.images.colour import FloatPicture
from goldeye.images.resize import matlab_resize

Parameters = dict[str, Any]


@dataclass
class Sample:
    """What is known while a sample is drawn: the scale that is still to be reached, and what was drawn before."""

    scale: int
    drawn: list[Parameters] = field(default_factory=list)


def _ordered(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"a range goes from the smaller to the larger value, not {list(values)}")
    return values


def _around_one(values: tuple[float, float]) -> tuple[float, float]:
    if not values[0] <= 1 <= values[1]:
        raise ValueError(f"a range of β holds 1, where its two halves meet, not {list(values)}")
    return values


def _sums_to_one(weights: dict[str, float]) -> dict[str, float]:
    if min(weights.values(), default=0) < 0 or not math.isclose(sum(weights.values()), 1):
        raise ValueError(f"probabilities must add up to 1, not {weights}")
    return weights


_Level = Annotated[float, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_Radius = Annotated[int, Field(ge=1)]
_Integer = Annotated[int, Field(ge=0)]
_Quality = Annotated[int, Field(ge=1, le=100)]

Probability = Annotated[float, Field(ge=0, le=1)]
Levels = Annotated[tuple[_Level, _Level], AfterValidator(_ordered)]
Sigmas = Annotated[tuple[_Positive, _Positive], AfterValidator(_ordered)]
Betas = Annotated[tuple[_Positive, _Positive], AfterValidator(_around_one)]
Radii = Annotated[tuple[_Radius, _Radius], AfterValidator(_ordered)]
NoiseLevels = Annotated[tuple[_Integer, _Integer], AfterValidator(_ordered)]
Qualities = Annotated[tuple[_Quality, _Quality], AfterValidator(_ordered)]
Scales = tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1)]]
Modes = Annotated[tuple[ops.Mode, ...], Field(min_length=1)]
TORCH_MODES: tuple[ops.Mode, ...] = ("area", "bilinear", "bicubic")

KernelKind = Literal[
    "isotropic",
    "anisotropic",
    "generalized_isotropic",
    "generalized_anisotropic",
    "plateau_isotropic",
    "plateau_anisotropic",
]


class Blur(Strict):
    """With `probability`, blur with a kernel of size 2m+1, m uniform in `radius`: a sinc with probability `sinc`, else
    one of `kinds`.

    Sigmas are uniform in `sigma`, the two of an anisotropic kernel independently, its angle in [-π, π]. The cut-off of
    the sinc is uniform in [π/3, π], from π/5 for sizes of 13 and more (Real-ESRGAN's rule). β of the generalized and
    the plateau kernels is half the time uniform below 1 and half the time above.
    """

    step: Literal["blur"] = "blur"
    probability: Probability = 1
    radius: Radii
    kinds: Annotated[dict[KernelKind, float], AfterValidator(_sums_to_one)]
    sinc: Probability
    sigma: Sigmas
    generalized_beta: Betas = (0.5, 4)
    plateau_beta: Betas = (1, 2)

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        if self.probability < 1 and rng.random() >= self.probability:
            return []
        size = 2 * integer(rng, self.radius) + 1
        if rng.random() < self.sinc:
            lowest = math.pi / 3 if size < 13 else math.pi / 5
            return [{"step": "blur", "kernel": "sinc", "size": size, "cutoff": uniform(rng, (lowest, math.pi))}]
        family, _, shape = pick(rng, self.kinds).rpartition("_")
        if family == "" and shape == "isotropic":
            return [{"step": "blur", "kernel": shape, "size": size, "sigma": uniform(rng, self.sigma)}]
        sigma_x = sigma_y = uniform(rng, self.sigma)
        theta = 0.0
        if shape == "anisotropic":
            sigma_y, theta = uniform(rng, self.sigma), uniform(rng, (-math.pi, math.pi))
        drawn = {"step": "blur", "kernel": family or shape, "size": size}
        drawn |= {"sigma_x": sigma_x, "sigma_y": sigma_y, "theta": theta}
        if family:
            low, high = self.generalized_beta if family == "generalized" else self.plateau_beta
            drawn["beta"] = uniform(rng, (low, 1) if rng.random() < 0.5 else (1, high))
        return [drawn]


class Sinc(Strict):
    """With `probability`, a sinc filter of size 2m+1, m uniform in `radius`, and a cut-off uniform in [π/3, π]: the
    ringing of a last sharpening (Real-ESRGAN's final filter)."""

    step: Literal["sinc"] = "sinc"
    probability: Probability = 1
    radius: Radii

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        if rng.random() >= self.probability:
            return []
        size = 2 * integer(rng, self.radius) + 1
        cutoff = uniform(rng, (math.pi / 3, math.pi))
        return [{"step": "blur", "kernel": "sinc", "size": size, "cutoff": cutoff}]


def _blur(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    numbers = {key: value for key, value in drawn.items() if key not in ("step", "kernel")}
    return ops.blur(picture, _KERNELS[drawn["kernel"]](**numbers))


_KERNELS: dict[str, Callable[..., kernels.Kernel]] = {
    "sinc": kernels.sinc,
    "isotropic": kernels.isotropic_gaussian,
    "anisotropic": kernels.anisotropic_gaussian,
    "generalized": kernels.generalized_gaussian,
    "plateau": kernels.plateau,
    "covariance": kernels.covariance_gaussian,
    "fspecial": kernels.fspecial_gaussian,
}


class Resize(Strict):
    """Random resize: down to U(range[0], 1), up to U(1, range[1]) or not at all, in one of `modes` (uniform).

    The factor counts from the size of the picture at hand, or from the output's size (Real-ESRGAN's second stage).
    """

    step: Literal["resize"] = "resize"
    directions: Annotated[dict[Literal["down", "same", "up"], float], AfterValidator(_sums_to_one)]
    range: Scales
    modes: Modes = TORCH_MODES
    relative_to: Literal["input", "output"] = "input"

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        bounds = {"down": (self.range[0], 1.0), "same": (1.0, 1.0), "up": (1.0, self.range[1])}
        scale = uniform(rng, bounds[pick(rng, self.directions)])
        drawn = {"step": "resize", "scale": scale, "mode": choose(rng, self.modes)}
        return [drawn | ({} if self.relative_to == "input" else {"relative_to": "output"})]


def _resize(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    if drawn.get("relative_to") == "output":
        height, width = (max(1, int(side * drawn["scale"])) for side in size)
        return ops.resize_to(picture, height, width, drawn["mode"])
    return picture if drawn["scale"] == 1 else ops.resize_by(picture, drawn["scale"], drawn["mode"])


class ResizeToOutput(Strict):
    """Resize to exactly the output's size: in one of `modes`, or in the mode that the random resize before it drew (so
    does HGGT's code). `clip` cuts an overshoot to [0, 1]."""

    step: Literal["resize_to_output"] = "resize_to_output"
    modes: Modes | None = None
    clip: bool = False

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        if self.modes is None:
            mode = next(drawn["mode"] for drawn in reversed(sample.drawn) if drawn["step"] == "resize")
        else:
            mode = choose(rng, self.modes)
        return [{"step": "resize_to_output", "mode": mode} | ({"clip": True} if self.clip else {})]


def _resize_to_output(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    picture = ops.resize_to(picture, *size, drawn["mode"])
    return np.clip(picture, 0, 1) if drawn.get("clip") else picture


class Bicubic(Strict):
    """MATLAB's antialiased bicubic resize to the output's size: the classical LR picture."""

    step: Literal["bicubic"] = "bicubic"

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        return [{"step": "bicubic"}]


def _bicubic(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    return matlab_resize(picture, *size)


class Noise(Strict):
    """Gaussian noise of `sigma` (0..255) with probability `gaussian`, else Poisson noise times `poisson`.

    One grey map for all channels with probability `grey`.
    """

    step: Literal["noise"] = "noise"
    gaussian: Probability
    sigma: Levels
    poisson: Levels
    grey: Probability

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        if rng.random() < self.gaussian:
            drawn = {"step": "noise", "kind": "gaussian", "sigma": uniform(rng, self.sigma)}
        else:
            drawn = {"step": "noise", "kind": "poisson", "scale": uniform(rng, self.poisson)}
        return [{**drawn, "grey": bool(rng.random() < self.grey), "seed": noise_seed(rng)}]


class SensorNoise(Strict):
    """One of `kinds`: Gaussian noise of `sigma` (0..255); Poisson noise with a `peak` (the count of a white pixel);
    Poisson noise with that peak and Gaussian noise of `mixed_sigma` on top (RGAN)."""

    step: Literal["sensor_noise"] = "sensor_noise"
    kinds: Annotated[dict[Literal["gaussian", "poisson", "poisson_gaussian"], float], AfterValidator(_sums_to_one)]
    sigma: Levels
    peak: Sigmas
    mixed_sigma: Levels

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        kind = pick(rng, self.kinds)
        if kind == "gaussian":
            drawn = {"step": "noise", "kind": kind, "sigma": uniform(rng, self.sigma), "grey": False}
        else:
            sigma = uniform(rng, self.mixed_sigma) if kind == "poisson_gaussian" else 0.0
            drawn = {"step": "noise", "kind": "poisson_gaussian", "peak": uniform(rng, self.peak), "sigma": sigma}
        return [drawn | {"seed": noise_seed(rng)}]


def _noise(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    rng = np.random.Generator(np.random.SFC64(drawn["seed"]))
    if drawn["kind"] == "gaussian":
        return ops.gaussian_noise(picture, drawn["sigma"], drawn["grey"], rng)
    if drawn["kind"] == "poisson":
        return ops.poisson_noise(picture, drawn["scale"], drawn["grey"], rng)
    if drawn["kind"] == "covariance":
        return ops.covariance_noise(picture, drawn["covariance"], rng)
    return ops.poisson_gaussian_noise(picture, drawn["peak"], drawn["sigma"], rng)


class Jpeg(Strict):
    """With `probability`, JPEG compression with a quality uniform over the integers of `quality`."""

    step: Literal["jpeg"] = "jpeg"
    probability: Probability = 1
    quality: Qualities

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        if self.probability < 1 and rng.random() >= self.probability:
            return []
        return [{"step": "jpeg", "quality": integer(rng, self.quality)}]


def _jpeg(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    return ops.jpeg(picture, drawn["quality"])


def _sharpen(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
    return ops.sharpen(picture)


# What a drawn step does: picture, its parameters, (height, width) of the output.
APPLY = {
    "sharpen": _sharpen,
    "blur": _blur,
    "resize": _resize,
    "resize_to_output": _resize_to_output,
    "bicubic": _bicubic,
    "noise": _noise,
    "jpeg": _jpeg,
}


# Drawing ---------------------------------------------------------------------------------------------------------


def uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(rng.uniform(*bounds))


def integer(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """Uniform over the integers of [low, high], both included."""
    return int(rng.integers(bounds[0], bounds[1] + 1))


def choose(rng: np.random.Generator, modes: tuple[ops.Mode, ...]) -> ops.Mode:
    return modes[rng.integers(len(modes))]


def pick(rng: np.random.Generator, weights: dict[Any, float]) -> str:
    return str(list(weights)[rng.choice(len(weights), p=list(weights.values()))])


def noise_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))
