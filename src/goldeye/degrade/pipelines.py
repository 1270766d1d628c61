"""Degradation pipelines: a readable list of steps that draw their parameters and apply them."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from goldeye.config import Strict
from goldeye.degrade import bsrgan, noise_bank, ops, steps
from goldeye.degrade.steps import Parameters, Sample
from goldeye.errors import InvalidInput
from goldeye.images.colour import FloatPicture

_Plain = (
    steps.Blur
    | steps.Sinc
    | steps.Resize
    | steps.ResizeToOutput
    | steps.Bicubic
    | steps.Noise
    | steps.SensorNoise
    | steps.Jpeg
    | bsrgan.Halve
    | bsrgan.CovarianceBlur
    | bsrgan.MiddleResize
    | bsrgan.LevelNoise
    | noise_bank.BankNoise
)
PlainStep = Annotated[_Plain, Field(discriminator="step")]


class RandomOrder(Strict):
    """Groups of steps in an order that is drawn uniformly; those whose numbers (from 0) stand in `keep` trade places
    so that they follow each other as listed."""

    step: Literal["random_order"] = "random_order"
    groups: Annotated[tuple[tuple[PlainStep, ...], ...], Field(min_length=2)]
    keep: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _keeps_groups_that_exist(self) -> Self:
        if not set(self.keep) <= set(range(len(self.groups))):
            raise ValueError(f"'keep' takes numbers of groups, 0 to {len(self.groups) - 1}, not {list(self.keep)}")
        return self

    def draw(self, rng: np.random.Generator, sample: Sample) -> list[Parameters]:
        order = rng.permutation(len(self.groups)).tolist()
        places = sorted(order.index(number) for number in self.keep)
        for place, number in zip(places, self.keep, strict=True):
            order[place] = number
        before = len(sample.drawn)
        for number in order:
            for step in self.groups[number]:
                drawn = step.draw(rng, sample)
                sample.drawn = [*sample.drawn, *drawn]
        sample.drawn, drawn = sample.drawn[:before], sample.drawn[before:]
        return drawn


Step = Annotated[_Plain | RandomOrder, Field(discriminator="step")]
_APPLY = steps.APPLY | bsrgan.APPLY | noise_bank.APPLY


class Share(Strict):
    """One pipeline of a mixture, drawn with probability `share`."""

    share: Annotated[float, Field(gt=0, le=1)]
    pipeline: Pipeline


class Pipeline(Strict):
    """Steps in order, then rounding to 8 bit; or a mixture of pipelines, one of which is drawn for each sample.

    With `keeps_size` the output has the GT's size (enhancer training); with `sharpen` the LR picture is made from the
    GT after unsharp masking (Real-ESRGAN); `scales` names the only scales that the pipeline is defined for.
    """

    MIN_SIDE: ClassVar[int] = 16  # pixels of the GT: less than that leaves no picture

    summary: str = ""
    keeps_size: bool = False
    sharpen: bool = False
    scales: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    steps: tuple[Step, ...] = ()
    mixture: tuple[Share, ...] = ()

    @model_validator(mode="after")
    def _mixes_what_goes_together(self) -> Self:
        if not self.mixture:
            return self
        if self.steps:
            raise ValueError("a pipeline has 'steps' or a 'mixture', not both")
        if not math.isclose(sum(part.share for part in self.mixture), 1, abs_tol=1e-6):
            raise ValueError("the shares of a 'mixture' sum to 1")
        for key in ("keeps_size", "scales"):
            if any(getattr(part.pipeline, key) != getattr(self, key) for part in self.mixture):
                raise ValueError(f"all pipelines of a 'mixture', and the mixture itself, have the same '{key}'")
        if any(part.pipeline.sharpen for part in self.mixture):
            raise ValueError("'sharpen' stands at the mixture, not at its pipelines")
        return self

    @model_validator(mode="after")
    def _reaches_the_output_size(self) -> Self:
        if self.mixture:
            return self
        ends = 0
        resized = False
        for step in self.steps:
            for group in step.groups if isinstance(step, RandomOrder) else [(step,)]:
                known = resized  # a group cannot rely on another one: it may come first
                for plain in group:
                    ends += isinstance(plain, (steps.ResizeToOutput, steps.Bicubic))
                    if isinstance(plain, steps.ResizeToOutput) and plain.modes is None and not known:
                        raise ValueError("'resize_to_output' without modes takes that of a step 'resize' before it")
                    known = known or isinstance(plain, steps.Resize)
            resized = resized or (not isinstance(step, RandomOrder) and known)
        if ends != 1:
            raise ValueError("a pipeline has exactly one step 'resize_to_output' or 'bicubic'")
        return self

    def check_scale(self, scale: int) -> None:
        """InvalidInput in one sentence for a scale that the pipeline is not defined for."""
        if scale < 1:
            raise InvalidInput(f"The scale must be 1 or more, not {scale}.")
        if self.scales is not None and not self.keeps_size and scale not in self.scales:
            known = " or ".join(map(str, self.scales))
            raise InvalidInput(f"This degradation ({self.summary}) is defined for scale {known}, not {scale}.")

    def draw(self, rng: np.random.Generator, scale: int = 4) -> Parameters:
        """Parameters of one sample, as JSON: {"scale", "steps": [{"step", …}, …]}; the scale is 1 with `keeps_size`."""
        self.check_scale(scale)
        if self.mixture:
            shares = np.array([part.share for part in self.mixture])
            found = self.mixture[rng.choice(len(shares), p=shares / shares.sum())].pipeline.draw(rng, scale)
            return found | {"steps": [{"step": "sharpen"}, *found["steps"]]} if self.sharpen else found
        sample = Sample(1 if self.keeps_size else scale, [{"step": "sharpen"}] if self.sharpen else [])
        for step in self.steps:
            drawn = step.draw(rng, sample)
            sample.drawn = [*sample.drawn, *drawn]
        return {"scale": 1 if self.keeps_size else scale, "steps": sample.drawn}

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

    def reach(self, parameters: Parameters) -> int:
        """GT pixels beyond a window that may show in the window's LR picture: radii of kernels and of interpolation.

        What is closer to a picture's border than that has seen mirrored pixels. Each radius counts at the size that the
        picture has when its turn comes. Blocks of JPEG and the second Gaussian of the sharpening are left out.
        """
        scale = float(parameters["scale"])
        total, pixel = 0.0, 1.0  # so many GT pixels a side has a pixel of the picture at hand
        for drawn in parameters["steps"]:
            step = drawn["step"]
            if step == "sharpen":
                total += ops.SHARPEN_RADIUS * pixel
            elif step in ("blur", "shifted_downsample"):
                total += drawn["size"] // 2 * pixel
            elif step == "bicubic":
                total += 2 * max(scale, pixel)
            elif "mode" in drawn:
                total += _TAPS[drawn["mode"]] / 2 * pixel
            if step in ("resize_to_output", "bicubic"):
                pixel = scale
            elif step == "halve":
                pixel *= 2
            elif step == "shifted_downsample":
                pixel *= drawn["scale"]
            elif step in ("resize", "middle_resize"):
                pixel = (scale if drawn.get("relative_to") == "output" else pixel) / drawn["scale"]
        return math.ceil(total)


_TAPS: dict[ops.Mode, int] = {
    "nearest": 1,
    "area": 2,
    "bilinear": 2,
    "opencv_area": 2,
    "bicubic": 4,
    "lanczos": 8,
}


def degrade_picture(
    gt: FloatPicture, pipeline: Pipeline, rng: np.random.Generator, scale: int = 4
) -> tuple[FloatPicture, Parameters]:
    """Draw and apply: the LR picture and the parameters that `Pipeline.apply` replays."""
    parameters = pipeline.draw(rng, scale)
    return pipeline.apply(gt, parameters), parameters
