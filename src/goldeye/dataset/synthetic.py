"""Training samples from photos: crop, augment, degrade."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from goldeye.config import DataConfig
from goldeye.dataset.pack import find_pack
from goldeye.dataset.pictures import Key, PictureCache, find_photos, require_size
from goldeye.dataset.sampling import (
    Sample,
    TrainingSet,
    draw_augmentation,
    draw_crop,
    sample_index,
    sample_rng,
    to_crop,
)
from goldeye.errors import InvalidInput


class PhotoDataset(TrainingSet):
    """Samples {"lr": (3, h, w), "gt": (3, H, W)} in [0, 1] from folders of photos or a pack, degraded on the fly.

    `lr` has the size of `gt` for the enhancers' presets (scale 1), else 1/scale of it. With unsharp masking it is made
    of the sharpened photo, and "gt_usm" (3, H, W) is the crop of that.
    """

    def __init__(self, config: DataConfig, *, scale: int, seed: int) -> None:
        if not config.paths:
            raise InvalidInput("No photos to train on: set data.path (--set data.path=FOLDER).")
        self._pack = find_pack(config)
        super().__init__(config, self._pack or PictureCache(), scale=scale, seed=seed)
        self.photos: Sequence[Key] = (
            find_photos(config.paths, config.meta_info) if self._pack is None else range(len(self._pack))
        )
        require_size(self._store, self.photos, config.crop)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, number: int) -> Sample:
        rng = sample_rng(self._seed, number)
        photo = self._store.read(self.photos[sample_index(self._seed, number, len(self))])
        window = draw_crop(rng, photo.shape[:2], self._config.crop)
        edit = draw_augmentation(rng, self._config.augment)
        drawn = self._lr.draw(rng)
        around = window.margins(photo.shape[:2], drawn.reach, self._scale)
        return self._from_region(to_crop(edit(window.cut(photo, around))), edit.margins(around), drawn)

    def pictures(self) -> list[Path]:
        if self._pack is not None:
            return self._pack.files()
        return [path for path in self.photos if isinstance(path, Path)]

    def describe(self) -> dict[str, Any]:
        where = (
            {"folders": [str(path) for path in self._config.paths], "left_out": {}}
            if self._pack is None
            else self._pack.describe()
        )
        return {"source": "photos", "items": len(self), **where, **self._described(self.photos)}
