"""What every training set shares: sample numbers, crops with a margin, augmentation, and how an LR picture is made.

A sample depends on (seed, its number) alone, so that processes, workers and the batch size do not change the stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from goldeye.config import DataConfig
from goldeye.dataset.pictures import Checked, Key, Pictures
from goldeye.degrade import Pipeline, get_pipeline, ops
from goldeye.degrade.noise_bank import NoiseBank, add_noise
from goldeye.degrade.steps import Parameters
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.images import FloatPicture, Picture, read_image, to_float

Sample = dict[str, Tensor]
Pixels = TypeVar("Pixels", bound=npt.NDArray[Any])
"""(H, W, C) of any type."""


# Which sample ----------------------------------------------------------------------------------------------------


def sample_index(seed: int, number: int, count: int) -> int:
    """Which of `count` items sample `number` takes: every item once an epoch, in an order seeded by (seed, epoch)."""
    epoch, position = divmod(number, count)
    return int(_order(seed, epoch, count)[position])


@lru_cache(maxsize=2)  # a batch may hold the end of an epoch and the beginning of the next
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def sample_rng(seed: int, number: int) -> np.random.Generator:
    """The generator of sample `number`; nothing else decides what the sample looks like."""
    return np.random.default_rng([seed, 1, number])


# Crops -----------------------------------------------------------------------------------------------------------


class Margins(NamedTuple):
    """Pixels around a crop."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


class Window(NamedTuple):
    """A square crop of a picture: its upper left corner and its side."""

    y: int
    x: int
    side: int

    def cut(self, picture: Pixels, around: Margins = Margins()) -> Pixels:  # noqa: B008 (a constant)
        """A view of the crop and what lies around it."""
        rows = slice(self.y - around.top, self.y + self.side + around.bottom)
        return cast("Pixels", picture[rows, self.x - around.left : self.x + self.side + around.right])

    def margins(self, size: tuple[int, int], reach: int, scale: int) -> Margins:
        """`reach` pixels to each side, rounded up to whole LR pixels; less where the picture ends."""
        wanted = -(-reach // scale) * scale
        rooms = (self.y, size[0] - self.y - self.side, self.x, size[1] - self.x - self.side)
        return Margins(*(min(wanted, room // scale * scale) for room in rooms))


def draw_crop(rng: np.random.Generator, size: tuple[int, int], side: int) -> Window:
    """A random window of a picture of `size` (height, width)."""
    y = int(rng.integers(size[0] - side + 1))
    return Window(y, int(rng.integers(size[1] - side + 1)), side)


def strip(picture: Pixels, around: Margins, scale: int = 1) -> Pixels:
    """A view without the margins, which count in pixels that are `scale` times smaller."""
    height, width = picture.shape[:2]
    top, bottom, left, right = (pixels // scale for pixels in around)
    return cast("Pixels", picture[top : height - bottom, left : width - right])


@dataclass(frozen=True)
class Augmentation:
    """One of the eight symmetries of the square, for (H, W, C) arrays."""

    flip_x: bool
    flip_y: bool
    transpose: bool

    def __call__(self, picture: Pixels) -> Pixels:
        """A view: mirrored, then perhaps with rows and columns exchanged."""
        turned = picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return cast("Pixels", turned.transpose(1, 0, 2) if self.transpose else turned)

    def margins(self, around: Margins) -> Margins:
        """Where the margins of a picture lie afterwards."""
        top, bottom, left, right = around
        if self.flip_y:
            top, bottom = bottom, top
        if self.flip_x:
            left, right = right, left
        return Margins(left, right, top, bottom) if self.transpose else Margins(top, bottom, left, right)


def draw_augmentation(rng: np.random.Generator, mode: str) -> Augmentation:
    """none, flip (left-right), or flip+rotate (the eight symmetries); all draw the same numbers."""
    flip_x, flip_y, transpose = (bool(drawn < 0.5) for drawn in rng.random(3))
    turned = mode == "flip+rotate"
    return Augmentation(flip_x and mode != "none", flip_y and turned, transpose and turned)


def to_crop(picture: Picture) -> FloatPicture:
    """Integers (H, W, 3) of any strides to float32 in [0, 1], in order."""
    return to_float(cast("Picture", np.ascontiguousarray(picture)))


def chw(picture: FloatPicture) -> Tensor:
    """(H, W, 3) -> float32 tensor (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


# The LR picture --------------------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """What was drawn for an LR picture, and how many GT pixels around the crop it looks at."""

    parameters: Parameters
    noise: Parameters | None
    reach: int


class LRMaker:
    """Makes the LR pictures of a training set: degradation, unsharp masking before it, noise of a bank after it."""

    def __init__(self, config: DataConfig, scale: int) -> None:
        pipeline = None if config.degradation is None else get_pipeline(config.degradation)
        self.usm = (pipeline is not None and pipeline.sharpen) if config.usm is None else config.usm
        # The samples carry the sharpened GT, so it is made here, once.
        self.pipeline: Pipeline | None = pipeline and pipeline.model_copy(update={"sharpen": False})
        if pipeline is not None:
            if pipeline.keeps_size != (scale == 1):
                raise InvalidInput(f"Preset '{config.degradation}' does not make LR pictures for scale {scale}.")
            pipeline.check_scale(scale)
        self.scale = scale
        self.bank = None if config.noise_bank is None else NoiseBank.open(config.noise_bank)
        if self.bank is not None and self.bank.record.patch < config.crop // scale:
            raise InvalidInput(
                f"The noise patches of '{config.noise_bank}' have {self.bank.record.patch} pixels a side, fewer than "
                f"an LR crop of {config.crop // scale}.",
                hint="Make a bank with a larger --patch, or take a smaller data.crop.",
            )

    @property
    def sharpening(self) -> int:
        """GT pixels around a crop that its sharpened form looks at."""
        return ops.SHARPEN_RADIUS if self.usm else 0

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Parameters of one LR picture."""
        parameters: Parameters = {"scale": self.scale, "steps": []}
        reach = 0
        if self.pipeline is not None:
            parameters = self.pipeline.draw(rng, self.scale)
            # The patches of a noise bank need not have room for margins.
            banked = any(step["step"] == "bank_noise" for step in parameters["steps"])
            reach = 0 if banked else self.pipeline.reach(parameters)
        noise = None if self.bank is None else self.bank.draw_parameters(rng)
        return Drawn(parameters, noise, reach + self.sharpening)

    def degrade(self, gt: FloatPicture, around: Margins, drawn: Drawn) -> FloatPicture:
        """GT (H, W, 3) with margins, sharpened where `usm` says so, to the LR picture of what lies inside them."""
        if self.pipeline is None:
            raise ValueError("pairs are not degraded")
        lr = self.pipeline.apply(gt, drawn.parameters)
        return self.add_noise(strip(lr, around, self.scale), drawn)

    def add_noise(self, lr: FloatPicture, drawn: Drawn) -> FloatPicture:
        """EDL Eq. 11, where there is a bank."""
        if self.bank is None or drawn.noise is None:
            return lr
        return add_noise(lr, self.bank.noise(drawn.noise, *lr.shape[:2]))

    def sharpen(self, gt: FloatPicture) -> FloatPicture:
        """The picture after unsharp masking where `usm` says so, else itself."""
        return ops.sharpen(gt) if self.usm else gt

    def describe(self, config: DataConfig) -> dict[str, Any]:
        """For the plan of a dry run."""
        return {
            "degradation": config.degradation,
            "usm": self.usm,
            "noise_bank": None if self.bank is None else {"path": str(self.bank.path), "patches": len(self.bank)},
        }


# The sets --------------------------------------------------------------------------------------------------------


class TrainingSet(Dataset[Sample], ABC):
    """Samples {"lr": (3, h, w), "gt": (3, H, W), …} in [0, 1]; with unsharp masking "gt_usm" (3, H, W), too.

    What lies around a crop is degraded and sharpened with it, as far as these look, where the picture has it.
    """

    def __init__(self, config: DataConfig, store: Pictures, *, scale: int, seed: int) -> None:
        self._config, self._scale, self._seed = config, scale, seed
        self._store = store
        self._lr = LRMaker(config, scale)

    @abstractmethod
    def __len__(self) -> int:
        """Items an epoch."""

    @abstractmethod
    def __getitem__(self, number: int) -> Sample:
        """Sample `number`, which goes on growing from epoch to epoch: it is no item's index."""

    @abstractmethod
    def pictures(self) -> list[Path]:
        """Every file that samples are made of: picture files, or those of a pack."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the samples are made of, as JSON, for the plan of a dry run."""

    def check(self) -> Iterator[str | None]:
        """For each file of `pictures`, which is read whole: a sentence on what is wrong with it, or None."""
        if isinstance(self._store, Checked):
            yield from self._store.check()
            return
        for path in self.pictures():
            try:
                read_image(path)
                yield None
            except GoldeyeError as error:
                yield error.message

    def _from_region(self, region: FloatPicture, around: Margins, drawn: Drawn) -> Sample:
        """LR and GT of a crop with its margins (H, W, 3)."""
        sharpened = self._lr.sharpen(region)
        sample = {"lr": chw(self._lr.degrade(sharpened, around, drawn)), "gt": chw(strip(region, around))}
        return sample | ({"gt_usm": chw(strip(sharpened, around))} if self._lr.usm else {})

    def _targets(self, gt: Picture, window: Window, edit: Augmentation) -> Sample:
        """The crop of a picture that is not degraded, and its sharpened form."""
        around = window.margins(gt.shape[:2], self._lr.sharpening, 1)
        region, inner = to_crop(edit(window.cut(gt, around))), edit.margins(around)
        sample = {"gt": chw(strip(region, inner))}
        return sample | ({"gt_usm": chw(strip(self._lr.sharpen(region), inner))} if self._lr.usm else {})

    def _described(self, keys: Sequence[Key]) -> dict[str, Any]:
        """What all sets say: [height, width] of the smallest and the largest picture, and how LR pictures are made."""
        sizes = sorted((self._store.size(key) for key in keys), key=lambda size: size[0] * size[1])
        return {"smallest": list(sizes[0]), "largest": list(sizes[-1]), **self._lr.describe(self._config)}
