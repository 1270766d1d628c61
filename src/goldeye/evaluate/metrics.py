"""Every metric by name: what it needs, which way is better, if either, and exactly what its figure means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from goldeye.errors import InvalidInput, unknown_name
from goldeye.evaluate import artifacts, colour, psnr_ssim, single
from goldeye.evaluate.colour import low_frequency_delta_e
from goldeye.evaluate.planes import AnyPicture
from goldeye.evaluate.psnr_ssim import psnr, ssim

__all__ = ["METRICS", "Metric", "MetricInfo", "Needs", "low_frequency_delta_e", "make_metric", "psnr", "ssim"]

Needs = Literal["gt", "none", "input", "sets"]
"""What a result is compared with: its ground truth, nothing, its LR input, or a set of pictures with another set."""


@dataclass(frozen=True)
class MetricInfo:
    """What is known of a metric before it is made."""

    name: str
    unit: str
    higher_is_better: bool | None
    """None for a figure that describes a picture: neither more nor less of it is better."""
    needs: Needs
    weights: tuple[str, ...] = ()
    """Keys of `goldeye.evaluate.weights.WEIGHT_FILES`."""


METRICS: dict[str, MetricInfo] = {
    "psnr": MetricInfo("PSNR", "dB", True, "gt"),
    "ssim": MetricInfo("SSIM", "1", True, "gt"),
    "psnr_y": MetricInfo("PSNR-Y", "dB", True, "gt"),
    "ssim_y": MetricInfo("SSIM-Y", "1", True, "gt"),
    "lpips": MetricInfo("LPIPS (alex)", "1", False, "gt", ("lpips-alex", "alexnet")),
    "lpips-vgg": MetricInfo("LPIPS (vgg)", "1", False, "gt", ("lpips-vgg", "vgg16")),
    "lpips-squeeze": MetricInfo("LPIPS (squeeze)", "1", False, "gt", ("lpips-squeeze", "squeezenet1_1")),
    "dists": MetricInfo("DISTS", "1", False, "gt", ("dists", "vgg16")),
    "artifact_energy": MetricInfo("artifact energy", "1", False, "gt"),
    "colour_shift": MetricInfo("colour shift", "ΔE", False, "input"),
    "niqe": MetricInfo("NIQE", "1", False, "none"),
    "sharpness": MetricInfo("sharpness", "levels of 255", None, "none"),
    "noise": MetricInfo("noise", "levels of 255", None, "none"),
    "fid": MetricInfo("FID", "1", False, "sets", ("inception",)),
}


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric ready to measure: call it with a result and, as `info.needs` says, its ground truth or LR input.

    Pictures are (H, W, 3) RGB, uint8, uint16, or float32 in [0, 1]. PSNR of equal pictures is inf. InvalidInput, one
    sentence, for a picture that has no such figure: too small, flat, another size.
    """

    key: str
    info: MetricInfo
    definition: dict[str, Any]
    """For JSON: colour space, crop, range, window, formula, library and version, weights with their hash."""
    measure: Callable[..., float] = field(repr=False)

    def __call__(self, sr: AnyPicture, other: AnyPicture | None = None) -> float:
        if self.info.needs == "none":
            return self.measure(sr)
        if other is None:
            raise InvalidInput(f"{self.info.name} compares two pictures.")
        return self.measure(sr, other)


def make_metric(key: str, *, crop_border: int, device: str = "auto", niqe_params: Path | None = None) -> Metric:
    """The metric of a name in `METRICS` but "fid", whose pictures are cropped by `crop_border` pixels on every side.

    `device` is for those with a network, `niqe_params` a file of pristine parameters. InvalidInput for an unknown name,
    for weights that are missing or wrong, and for NIQE without parameters.
    """
    info = metric_info(key)
    if info.needs == "sets":
        raise InvalidInput(f"{info.name} compares sets of pictures, not pictures.")
    if key.startswith(("psnr", "ssim")):
        function = psnr if key.startswith("psnr") else ssim
        parts = psnr_ssim.DEFINITIONS[key]
        measure: Callable[..., float] = partial(function, crop_border=crop_border, y=key.endswith("_y"))
    elif key in single.DEFINITIONS:
        parts = single.DEFINITIONS[key]
        measure = partial(single.sharpness if key == "sharpness" else single.noise, crop_border=crop_border)
    elif key == "artifact_energy":
        parts, measure = artifacts.DEFINITION, partial(artifacts.artifact_energy, crop_border=crop_border)
    elif key == "colour_shift":
        # The input's pixels have no border of their own, and a blur of 8 px needs no crop.
        parts, measure, crop_border = colour.DEFINITION, colour.colour_shift, 0
    elif key == "niqe":
        from goldeye.evaluate import niqe

        parameters = niqe.load_parameters(niqe_params)
        parts = niqe.niqe_parts(parameters)
        measure = partial(niqe.niqe, parameters=parameters, crop_border=crop_border)
    else:
        from goldeye.evaluate import perceptual

        if key == "dists":
            measure, parts = perceptual.dists(crop_border=crop_border, device=device)
        else:
            net = key.partition("-")[2] or "alex"
            measure, parts = perceptual.lpips(net, crop_border=crop_border, device=device)
    return Metric(key, info, definition(key, parts, crop_border), measure)


def metric_info(key: str) -> MetricInfo:
    """The entry of `METRICS`; InvalidInput, with the nearest name, for an unknown one."""
    if key not in METRICS:
        raise unknown_name("metric", key, METRICS)
    return METRICS[key]


def definition(key: str, parts: dict[str, Any], crop_border: int) -> dict[str, Any]:
    """A figure's definition for JSON: name, unit, direction, crop, then the metric's own parts."""
    from goldeye import __version__

    info = METRICS[key]
    common = {"name": info.name, "unit": info.unit, "higher_is_better": info.higher_is_better}
    return common | {"crop_border": crop_border, "library": f"goldeye {__version__}"} | parts
