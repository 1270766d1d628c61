"""Metrics on named sets while training, and the pictures to look at."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from goldeye.config import TrainConfig, ValidationSet
from goldeye.degrade import degrade_picture, get_pipeline
from goldeye.errors import InvalidInput
from goldeye.evaluate.metrics import METRICS, Metric, make_metric
from goldeye.evaluate.multi_gt import mean
from goldeye.images import Picture, find_images, image_size, read_image, to_float, to_uint8, write_image
from goldeye.images.match import match_pictures
from goldeye.networks.weights import COMMUNITY, LoadedModel


@dataclass(frozen=True)
class Pair:
    """A picture of a validation set: its ground truth and its LR, a file or an array."""

    gt: Path
    lr: Path | Picture


class Validator:
    """The sets of a recipe, read and checked once; `run` measures a network on them."""

    def __init__(self, config: TrainConfig, device: str) -> None:
        assert config.validation is not None
        self._config, self._scale = config.validation, config.scale
        self._architecture = config.generator.architecture
        for name in self._config.metrics:
            if name in METRICS and METRICS[name].needs != "gt":
                raise InvalidInput(
                    f"Metric '{name}' does not compare with ground truth, so validation has no use for it."
                )
        self._metrics: dict[str, Metric] = {
            name: make_metric(name, crop_border=config.scale, device=device) for name in self._config.metrics
        }
        self._sets = {name: _pairs(one, config.scale, config.seed) for name, one in self._config.sets.items()}

    def run(
        self, network: nn.Module, folder: Path, step: int
    ) -> tuple[dict[str, dict[str, float | None]], dict[str, Picture]]:
        """{set: {metric: mean over its pictures}} and the first results of each set by name.

        The pictures are written to `folder`/SET/NAME/step-N.png.
        """
        # A copy: what runs it may lay it out anew, and batch norm must not see these pictures.
        module = copy.deepcopy(network).eval()
        model = LoadedModel(module, self._architecture, {}, self._scale, {}, folder)
        if self._architecture == COMMUNITY:
            module.requires_grad_(False)
        figures: dict[str, dict[str, float | None]] = {}
        shown: dict[str, Picture] = {}
        for name, pairs in self._sets.items():
            values: dict[str, list[float]] = {metric: [] for metric in self._metrics}
            for number, (stem, pair) in enumerate(pairs.items()):
                lr = read_image(pair.lr) if isinstance(pair.lr, Path) else pair.lr
                gt = read_image(pair.gt)
                gt = gt[: lr.shape[0] * self._scale, : lr.shape[1] * self._scale]
                sr = model.upscale(lr)
                for metric, function in self._metrics.items():
                    values[metric].append(function(sr, gt))
                if number < self._config.pictures:
                    shown[f"{name}/{stem}"] = sr
                    write_image(folder / name / stem / f"step-{step:08d}.png", sr)
            figures[name] = {metric: mean(each) for metric, each in values.items()}
        return figures, shown

    def better(self, figures: Mapping[str, Mapping[str, float | None]], best: Mapping[str, float]) -> dict[str, float]:
        """{metric: mean over the sets} of the metrics that are better than in `best`; none of figures of other sets."""
        found: dict[str, float] = {}
        if figures.keys() != self._sets.keys():
            return found
        for metric in self._metrics:
            value = mean(metrics.get(metric) for metrics in figures.values())
            sign = 1 if METRICS[metric].higher_is_better else -1
            if value is not None and sign * value > sign * best.get(metric, -sign * math.inf):
                found[metric] = value
        return found


def _pairs(one: ValidationSet, scale: int, seed: int) -> dict[str, Pair]:
    """{name: pair} of a validation set; InvalidInput naming the picture that does not fit."""
    if one.lr is not None:
        found = match_pictures({"gt": one.gt, "lr": one.lr}, {})
        pairs = {name: Pair(paths["gt"], paths["lr"]) for name, paths in found.items()}
        for pair in pairs.values():
            assert isinstance(pair.lr, Path)
            (height, width), (rows, columns) = image_size(pair.gt), image_size(pair.lr)
            if (height // scale, width // scale) != (rows, columns):
                raise InvalidInput(
                    f"'{pair.lr}' is {columns}x{rows}, but '{pair.gt}' is {width}x{height}: scale {scale} needs "
                    f"{width // scale}x{height // scale}."
                )
        return pairs
    assert one.degradation is not None, "checked by ValidationSet"
    pipeline = get_pipeline(one.degradation)
    if pipeline.keeps_size != (scale == 1):
        raise InvalidInput(f"Preset '{one.degradation}' does not make LR pictures for scale {scale}.")
    pairs = {}
    for number, path in enumerate(find_images(one.gt)):
        gt = read_image(path)
        gt = gt[: gt.shape[0] // scale * scale, : gt.shape[1] // scale * scale]
        lr, _ = degrade_picture(to_float(gt), pipeline, np.random.default_rng([seed, 2, number]), scale)
        name = path.relative_to(one.gt).with_suffix("").as_posix() if one.gt.is_dir() else path.stem
        pairs[name] = Pair(path, to_uint8(lr))
    return pairs
