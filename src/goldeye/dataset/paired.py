"""Training samples from pairs: GT pictures and LR pictures that a camera or `goldeye pairs` made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from goldeye.config import DataConfig
from goldeye.dataset.pack import find_pack
from goldeye.dataset.pictures import Key, PictureCache, find_pairs, require_scale, require_size
from goldeye.dataset.sampling import (
    Sample,
    TrainingSet,
    Window,
    chw,
    draw_augmentation,
    draw_crop,
    sample_index,
    sample_rng,
    to_crop,
)
from goldeye.errors import InvalidInput


class PairedDataset(TrainingSet):
    """Samples {"lr": (3, h, w), "gt": (3, H, W)} in [0, 1]; the crop lies on the grid of the LR picture.

    The LR picture stays as it is, but for noise of a bank; with unsharp masking there is "gt_usm" (3, H, W), too.
    """

    def __init__(self, config: DataConfig, *, scale: int, seed: int) -> None:
        if not config.paths:
            raise InvalidInput("No pairs to train on: set data.path (GT) and data.lr_path (LR), or a pack of pairs.")
        self._pack = find_pack(config)
        if self._pack is None and not config.lr_paths:
            raise InvalidInput("The pairs' LR pictures are missing: set data.lr_path.")
        super().__init__(config, self._pack or PictureCache(), scale=scale, seed=seed)
        self.pairs: Sequence[tuple[Key, Key]] = (
            find_pairs(config.paths, config.lr_paths, config.meta_info)
            if self._pack is None
            else [(gt, gt + 1) for gt in range(0, len(self._pack), 2)]
        )
        require_scale(self._store, self.pairs, scale)
        require_size(self._store, [gt for gt, _ in self.pairs], config.crop)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> Sample:
        rng = sample_rng(self._seed, number)
        gt, lr = map(self._store.read, self.pairs[sample_index(self._seed, number, len(self))])
        low = draw_crop(rng, lr.shape[:2], self._config.crop // self._scale)
        edit = draw_augmentation(rng, self._config.augment)
        drawn = self._lr.draw(rng)
        small = self._lr.add_noise(to_crop(edit(low.cut(lr))), drawn)
        return {"lr": chw(small)} | self._targets(gt, Window(*(self._scale * value for value in low)), edit)

    def pictures(self) -> list[Path]:
        if self._pack is not None:
            return self._pack.files()
        return [path for pair in self.pairs for path in pair if isinstance(path, Path)]

    def describe(self) -> dict[str, Any]:
        where = (
            {
                "folders": [str(path) for path in self._config.paths],
                "lr_folders": [str(path) for path in self._config.lr_paths],
                "left_out": {},
            }
            if self._pack is None
            else self._pack.describe()
        )
        gts = [gt for gt, _ in self.pairs]
        return {"source": "pairs", "items": len(self), "scale": self._scale, **where, **self._described(gts)}
