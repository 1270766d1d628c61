"""Degradation pipelines: a readable list of steps that draw their parameters and apply them.

Drawing and applying are apart, so that what was drawn can be written down and replayed: the drawn parameters are plain
JSON and say everything, the seed of the noise too.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from goldeye.config import Strict
from goldeye.degrade import kernels, ops
from goldeye.images.colour import FloatPicture
from goldeye.images.resize import matlab_resize

Parameters = dict[str, Any]


def _ordered(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"a range goes from the smaller to the larger value, not {list(values)}")
    return values


def _sums_to_one(weights: dict[str, float]) -> dict[str, float]:
    if min(weights.values(), default=0) < 0 or not math.isclose(sum(weights.values()), 1):
        raise ValueError(f"probabilities must add up to 1, not {weights}")
    return weights


_Level = Annotated[float, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_Radius = Annotated[int, Field(ge=1)]
_Quality = Annotated[int, Field(ge=1, le=100)]

Probability = Annotated[float, Field(ge=0, le=1)]
Levels = Annotated[tuple[_Level, _Level], AfterValidator(_ordered)]
Sigmas = Annotated[tuple[_Positive, _Positive], AfterValidator(_ordered)]
Radii = Annotated[tuple[_Radius, _Radius], AfterValidator(_ordered)]
Qualities = Annotated[tuple[_Quality, _Quality], AfterValidator(_ordered)]
Scales = tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(ge=1)]]


class Blur(Strict):
    """Blur with a kernel of size 2m+1, m uniform in `radius`: a sinc with probability `sinc`, else one of `kinds`.

    Sigmas are uniform in `sigma`, the two of an anisotropic kernel independently, its angle in [-π, π]. The cut-off of
    the sinc is uniform in [π/3, π], from π/5 for sizes of 13 and more (Real-ESRGAN's rule).
    """

    step: Literal["blur"] = "blur"
    radius: Radii
    kinds: Annotated[dict[Literal["isotropic", "anisotropic"], float], AfterValidator(_sums_to_one)]
    sinc: Probability
    sigma: Sigmas

    def draw(self, rng: np.random.Generator, before: list[Parameters]) -> Parameters:
        size = 2 * _integer(rng, self.radius) + 1
        if rng.random() < self.sinc:
            lowest = math.pi / 3 if size < 13 else math.pi / 5
            return {"step": "blur", "kernel": "sinc", "size": size, "cutoff": _uniform(rng, (lowest, math.pi))}
        kind = _pick(rng, self.kinds)
        if kind == "isotropic":
            return {"step": "blur", "kernel": kind, "size": size, "sigma": _uniform(rng, self.sigma)}
        sigma_x, sigma_y = _uniform(rng, self.sigma), _uniform(rng, self.sigma)
        theta = _uniform(rng, (-math.pi, math.pi))
        return {"step": "blur", "kernel": kind, "size": size, "sigma_x": sigma_x, "sigma_y": sigma_y, "theta": theta}

    @staticmethod
    def apply(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
        if drawn["kernel"] == "sinc":
            kernel = kernels.sinc(drawn["size"], drawn["cutoff"])
        elif drawn["kernel"] == "isotropic":
            kernel = kernels.isotropic_gaussian(drawn["size"], drawn["sigma"])
        else:
            kernel = kernels.anisotropic_gaussian(drawn["size"], drawn["sigma_x"], drawn["sigma_y"], drawn["theta"])
        return ops.blur(picture, kernel)


class Resize(Strict):
    """Random resize: down to U(range[0], 1), up to U(1, range[1]) or not at all, in one of `modes` (uniform)."""

    step: Literal["resize"] = "resize"
    directions: Annotated[dict[Literal["down", "same", "up"], float], AfterValidator(_sums_to_one)]
    range: Scales
    modes: Annotated[tuple[ops.Mode, ...], Field(min_length=1)] = ("area", "bilinear", "bicubic")

    def draw(self, rng: np.random.Generator, before: list[Parameters]) -> Parameters:
        bounds = {"down": (self.range[0], 1.0), "same": (1.0, 1.0), "up": (1.0, self.range[1])}
        scale = _uniform(rng, bounds[_pick(rng, self.directions)])
        return {"step": "resize", "scale": scale, "mode": self.modes[rng.integers(len(self.modes))]}

    @staticmethod
    def apply(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
        return picture if drawn["scale"] == 1 else ops.resize_by(picture, drawn["scale"], drawn["mode"])


class Noise(Strict):
    """Gaussian noise of `sigma` (0..255) with probability `gaussian`, else Poisson noise times `poisson`.

    One grey map for all channels with probability `grey`.
    """

    step: Literal["noise"] = "noise"
    gaussian: Probability
    sigma: Levels
    poisson: Levels
    grey: Probability

    def draw(self, rng: np.random.Generator, before: list[Parameters]) -> Parameters:
        if rng.random() < self.gaussian:
            drawn = {"step": "noise", "kind": "gaussian", "sigma": _uniform(rng, self.sigma)}
        else:
            drawn = {"step": "noise", "kind": "poisson", "scale": _uniform(rng, self.poisson)}
        return {**drawn, "grey": bool(rng.random() < self.grey), "seed": int(rng.integers(2**32))}

    @staticmethod
    def apply(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
        rng = np.random.Generator(np.random.SFC64(drawn["seed"]))
        if drawn["kind"] == "gaussian":
            return ops.gaussian_noise(picture, drawn["sigma"], drawn["grey"], rng)
        return ops.poisson_noise(picture, drawn["scale"], drawn["grey"], rng)


class Jpeg(Strict):
    """JPEG compression with a quality uniform over the integers of `quality`."""

    step: Literal["jpeg"] = "jpeg"
    quality: Qualities

    def draw(self, rng: np.random.Generator, before: list[Parameters]) -> Parameters:
        return {"step": "jpeg", "quality": _integer(rng, self.quality)}

    @staticmethod
    def apply(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
        return ops.jpeg(picture, drawn["quality"])


class ResizeToOutput(Strict):
    """Resize to exactly the output's size, in the mode that the random resize before it drew (so does HGGT's code)."""

    step: Literal["resize_to_output"] = "resize_to_output"

    def draw(self, rng: np.random.Generator, before: list[Parameters]) -> Parameters:
        return {"step": "resize_to_output", "mode": next(d["mode"] for d in reversed(before) if d["step"] == "resize")}

    @staticmethod
    def apply(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
        return picture if picture.shape[:2] == size else ops.resize_to(picture, *size, drawn["mode"])


class Bicubic(Strict):
    """MATLAB's antialiased bicubic resize to the output's size: the classical LR picture."""

    step: Literal["bicubic"] = "bicubic"

    def draw(self, rng: np.random.Generator, before: list[Parameters]) -> Parameters:
        return {"step": "bicubic"}

    @staticmethod
    def apply(picture: FloatPicture, drawn: Parameters, size: tuple[int, int]) -> FloatPicture:
        return matlab_resize(picture, *size)


Step = Annotated[Blur | Resize | Noise | Jpeg | ResizeToOutput | Bicubic, Field(discriminator="step")]
_APPLY = {
    "blur": Blur.apply,
    "resize": Resize.apply,
    "noise": Noise.apply,
    "jpeg": Jpeg.apply,
    "resize_to_output": ResizeToOutput.apply,
    "bicubic": Bicubic.apply,
}


class Pipeline(Strict):
    """Steps in order, then rounding to 8 bit. With `keeps_size` the output has the GT's size (enhancer training)."""

    MIN_SIDE: ClassVar[int] = 16  # pixels of the GT: less than that leaves no picture

    summary: str = ""
    keeps_size: bool = False
    steps: tuple[Step, ...]

    @model_validator(mode="after")
    def _reaches_the_output_size(self) -> Self:
        names = [step.step for step in self.steps]
        if names.count("resize_to_output") + names.count("bicubic") != 1:
            raise ValueError("a pipeline has exactly one step 'resize_to_output' or 'bicubic'")
        if "resize_to_output" in names and "resize" not in names[: names.index("resize_to_output")]:
            raise ValueError("'resize_to_output' takes its mode from a step 'resize' before it")
        return self

    def draw(self, rng: np.random.Generator, scale: int = 4) -> Parameters:
        """Parameters of one sample, as JSON: {"scale", "steps": [{"step", …}, …]}; the scale is 1 with `keeps_size`."""
        drawn: list[Parameters] = []
        for step in self.steps:
            drawn.append(step.draw(rng, drawn))
        return {"scale": 1 if self.keeps_size else scale, "steps": drawn}

    def apply(self, gt: FloatPicture, parameters: Parameters) -> FloatPicture:
        """Degrade (H, W, 3) to (H // scale, W // scale, 3), values in 0, 1/255, …, 1; the same parameters, the same LR.

        ValueError when a side is shorter than MIN_SIDE.
        """
        if min(gt.shape[:2]) < self.MIN_SIDE:
            raise ValueError(f"a picture to degrade has at least {self.MIN_SIDE} pixels a side, not {gt.shape[:2]}")
        size = gt.shape[0] // parameters["scale"], gt.shape[1] // parameters["scale"]
        picture = gt
        for drawn in parameters["steps"]:
            picture = _APPLY[drawn["step"]](picture, drawn, size)
        return ops.round_to_8bit(picture)


def degrade_picture(
    gt: FloatPicture, pipeline: Pipeline, rng: np.random.Generator, scale: int = 4
) -> tuple[FloatPicture, Parameters]:
    """Draw and apply: the LR picture and the parameters that `Pipeline.apply` replays."""
    parameters = pipeline.draw(rng, scale)
    return pipeline.apply(gt, parameters), parameters


def _uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(rng.uniform(*bounds))


def _integer(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """Uniform over the integers of [low, high], both included."""
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _pick(rng: np.random.Generator, weights: dict[Any, float]) -> str:
    return str(list(weights)[rng.choice(len(weights), p=list(weights.values()))])
