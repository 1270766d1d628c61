"""Training samples from labelled patch groups: one LR, several ground truths, some of them warnings (HGGT §4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from goldeye.config import DataConfig
from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, finals
from goldeye.dataset.synthetic import (
    PictureCache,
    Sample,
    chw,
    draw_augmentation,
    draw_crop,
    require_size,
    sample_index,
    sample_rng,
)
from goldeye.degrade import degrade_picture, get_pipeline
from goldeye.errors import InvalidInput
from goldeye.images import FloatPicture, to_float


@dataclass(frozen=True)
class Rated:
    """A candidate with a final label; `share` of the dataset's k voters a group gave it (3 in the paper)."""

    path: Path
    share: float


@dataclass(frozen=True)
class LabelledGroup:
    """A group as training sees it."""

    id: str
    original: Path
    positives: tuple[Rated, ...]
    negatives: tuple[Rated, ...]


def labelled_groups(dataset: Dataset, target: str, split: str | None, *, min_votes: int = 1) -> list[LabelledGroup]:
    """The groups that `target` trains on: all (original), those with a positive, or with a positive or negative.

    A candidate with fewer than `min_votes` votes has no label.
    """
    if split is None and any(group.split is not None for group in dataset.groups):
        split = "train"  # the test photos' groups are for tests
    groups = dataset.select(split) if split else dataset.groups
    if target == "original":
        return [LabelledGroup(group.id, group.original, (), ()) for group in groups]
    labels = finals(dataset, min_votes=min_votes)
    votes = max((final.votes for group in labels.values() for final in group.values()), default=0)
    found = []
    for group in groups:
        final = labels.get(group.id, {})
        rated = {
            label: tuple(
                Rated(group.candidates[slot], f.agreeing / votes) for slot, f in final.items() if f.label is label
            )
            for label in (Label.POSITIVE, Label.NEGATIVE)
        }
        if rated[Label.POSITIVE] or (target == "positive+negative" and rated[Label.NEGATIVE]):
            found.append(LabelledGroup(group.id, group.original, rated[Label.POSITIVE], rated[Label.NEGATIVE]))
    if not found:
        enough = f" from {min_votes} votes or more" if min_votes > 1 else ""
        raise InvalidInput(f"No group of '{dataset.path}' has the labels{enough} that target '{target}' needs.")
    return found


class MultiGTDataset(TorchDataset[Sample]):
    """Samples from patch groups; the LR is always made from the original (HGGT §4).

    "lr": (3, h, w), "gt": (3, H, W): a random positive, or the original (target original, or a group without
    positives). With target positive+negative also "original", "negative", "positive": (3, H, W), "negative_weight",
    "positive_weight": (), "has_negative", "has_positive": () bool — the arguments of `indication_map`; the negative
    and the map's positive are drawn independently of the target, and stand-ins fill absent ones.
    """

    def __init__(self, config: DataConfig, *, scale: int, seed: int, vote_weighting: bool = True) -> None:
        if config.path is None:
            raise InvalidInput("No dataset to train on: set data.path (--set data.path=DATASET).")
        dataset = Dataset.open(config.path)
        dataset.check()
        self.groups = labelled_groups(dataset, config.target, config.split, min_votes=config.min_votes)
        require_size([group.original for group in self.groups], config.crop)
        self._config, self._scale, self._seed = config, scale, seed
        self._vote_weighting = vote_weighting
        self._pipeline = get_pipeline(config.degradation)
        self._cache = PictureCache()

    def __len__(self) -> int:
        return len(self.groups)

    def pictures(self) -> list[Path]:
        """Every file that samples are made of."""
        rated = [one.path for group in self.groups for one in (*group.positives, *group.negatives)]
        return [group.original for group in self.groups] + rated

    def __getitem__(self, number: int) -> Sample:
        rng = sample_rng(self._seed, number)
        group = self.groups[sample_index(self._seed, number, len(self))]
        window = draw_crop(rng, self._cache.read(group.original), self._config.crop)
        edit = draw_augmentation(rng, self._config.augment)

        def read(path: Path) -> FloatPicture:
            return np.ascontiguousarray(to_float(edit(self._cache.read(path)[window])))

        def draw(rated: tuple[Rated, ...]) -> Rated:
            return rated[int(rng.integers(len(rated)))] if rated else Rated(group.original, 1.0)

        target, negative, positive = draw(group.positives), draw(group.negatives), draw(group.positives)
        original = read(group.original)
        lr, _ = degrade_picture(original, self._pipeline, rng, self._scale)
        sample = {"lr": chw(lr), "gt": chw(read(target.path))}
        if self._config.target == "positive+negative":
            sample |= {
                "original": chw(original),
                "negative": chw(read(negative.path)),
                "positive": chw(read(positive.path)),
                "negative_weight": torch.tensor(self._weight(negative), dtype=torch.float32),
                "positive_weight": torch.tensor(self._weight(positive), dtype=torch.float32),
                "has_negative": torch.tensor(bool(group.negatives)),
                "has_positive": torch.tensor(bool(group.positives)),
            }
        return sample

    def _weight(self, rated: Rated) -> float:
        return rated.share if self._vote_weighting else 1.0
