"""Training samples from photos: crop, augment, degrade. Also the pieces that every training set shares."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from goldeye.config import DataConfig
from goldeye.degrade import degrade_picture, get_pipeline
from goldeye.errors import InvalidInput
from goldeye.images import FloatPicture, Picture, find_images, image_size, read_image, to_float

Sample = dict[str, Tensor]
Edit = Callable[[Picture], Picture]
CACHE_BYTES = 512 * 2**20  # decoded pictures kept per process


class PictureCache:
    """Decoded pictures, the least recently used dropped once they fill `limit` bytes."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._pictures: OrderedDict[Path, Picture] = OrderedDict()
        self._limit, self._bytes = limit, 0

    def read(self, path: Path) -> Picture:
        """The picture at `path`, from memory if it is there."""
        if path in self._pictures:
            self._pictures.move_to_end(path)
            return self._pictures[path]
        picture = read_image(path)
        self._pictures[path] = picture
        self._bytes += picture.nbytes
        while self._bytes > self._limit and len(self._pictures) > 1:
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture


def sample_index(seed: int, number: int, count: int) -> int:
    """Which of `count` items sample `number` takes: every item once an epoch, in an order seeded by (seed, epoch)."""
    epoch, position = divmod(number, count)
    return int(np.random.default_rng([seed, 0, epoch]).permutation(count)[position])


def sample_rng(seed: int, number: int) -> np.random.Generator:
    """The generator of sample `number`; nothing else decides what the sample looks like."""
    return np.random.default_rng([seed, 1, number])


def draw_crop(rng: np.random.Generator, picture: Picture, size: int) -> tuple[slice, slice]:
    """A random size x size window of a picture."""
    height, width = picture.shape[:2]
    y = int(rng.integers(height - size + 1))
    x = int(rng.integers(width - size + 1))
    return slice(y, y + size), slice(x, x + size)


def draw_augmentation(rng: np.random.Generator, mode: str) -> Edit:
    """none, flip (left-right), or flip+rotate (the eight symmetries of the square), for (H, W, C) arrays."""
    flip_x, flip_y, transpose = rng.random(3) < 0.5

    def edit(picture: Picture) -> Picture:
        if mode == "none":
            return picture
        if flip_x:
            picture = picture[:, ::-1]
        if mode == "flip+rotate":
            if flip_y:
                picture = picture[::-1]
            if transpose:
                picture = picture.transpose(1, 0, 2)
        return picture

    return edit


def chw(picture: FloatPicture) -> Tensor:
    """(H, W, 3) -> float32 tensor (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def require_size(paths: list[Path], crop: int) -> None:
    """Refuse pictures smaller than the crop, by name, before training starts."""
    small = [(path, size) for path in paths if min(size := image_size(path)) < crop]
    if small:
        path, (height, width) = small[0]
        more = f" ({len(small) - 1} more are too small)" if len(small) > 1 else ""
        raise InvalidInput(f"'{path}' is {width}x{height}, smaller than the crop of {crop}{more}.")


class PhotoDataset(Dataset[Sample]):
    """Samples {"lr": (3, h, w), "gt": (3, H, W)} in [0, 1] from a folder of photos, degraded on the fly.

    `lr` has the size of `gt` for the enhancers' presets (scale 1), else 1/scale of it.
    """

    def __init__(self, config: DataConfig, *, scale: int, seed: int) -> None:
        if config.path is None:
            raise InvalidInput("No photos to train on: set data.path (--set data.path=FOLDER).")
        self.photos = find_images(config.path)
        require_size(self.photos, config.crop)
        self._config, self._scale, self._seed = config, scale, seed
        self._pipeline = get_pipeline(config.degradation)
        self._cache = PictureCache()

    def __len__(self) -> int:
        return len(self.photos)

    def pictures(self) -> list[Path]:
        """Every file that samples are made of."""
        return self.photos

    def __getitem__(self, number: int) -> Sample:
        rng = sample_rng(self._seed, number)
        photo = self._cache.read(self.photos[sample_index(self._seed, number, len(self))])
        window = draw_crop(rng, photo, self._config.crop)
        edit = draw_augmentation(rng, self._config.augment)
        gt = np.ascontiguousarray(to_float(edit(photo[window])))
        lr, _ = degrade_picture(gt, self._pipeline, rng, self._scale)
        return {"lr": chw(lr), "gt": chw(gt)}
