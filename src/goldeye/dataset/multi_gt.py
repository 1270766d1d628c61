"""Training samples from labelled patch groups: one LR, several ground truths, some of them warnings (HGGT §4)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from goldeye.config import DataConfig
from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, finals
from goldeye.dataset.pack import PackedDataset, find_pack
from goldeye.dataset.pictures import PictureCache, require_size
from goldeye.dataset.sampling import (
    Augmentation,
    Sample,
    TrainingSet,
    Window,
    chw,
    draw_augmentation,
    draw_crop,
    sample_index,
    sample_rng,
    strip,
    to_crop,
)
from goldeye.errors import InvalidInput


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


@dataclass(frozen=True)
class Choice:
    """The groups to train on, why others were left out (reason → number), and how many votes those here have.

    `votes` goes by the votes of a group's candidate that has most of them; empty for a target without labels.
    """

    groups: list[LabelledGroup]
    left_out: dict[str, int]
    votes: dict[int, int]


def labelled_groups(dataset: Dataset, target: str, split: str | None, *, min_votes: int = 1) -> list[LabelledGroup]:
    """The groups of `choose_groups`."""
    return choose_groups(dataset, target, split, min_votes=min_votes).groups


def choose_groups(dataset: Dataset, target: str, split: str | None, *, min_votes: int = 1) -> Choice:
    """The groups that `target` trains on: all (original), those with a positive, or with a positive or negative.

    A candidate with fewer than `min_votes` votes has no label.
    """
    if split is None and any(group.split is not None for group in dataset.groups):
        split = "train"  # the test photos' groups are for tests
    groups = dataset.select(split) if split else dataset.groups
    left_out = Counter({"of another split": len(dataset.groups) - len(groups)})
    if target == "original":
        return Choice([LabelledGroup(group.id, group.original, (), ()) for group in groups], dict(+left_out), {})
    labels = finals(dataset)
    votes = max((final.votes for group in labels.values() for final in group.values()), default=0)
    found: list[LabelledGroup] = []
    counted: Counter[int] = Counter()
    for group in groups:
        final = {slot: one for slot, one in labels.get(group.id, {}).items() if one.votes >= min_votes}
        rated = {
            label: tuple(
                Rated(group.candidates[slot], f.agreeing / votes) for slot, f in final.items() if f.label is label
            )
            for label in (Label.POSITIVE, Label.NEGATIVE)
        }
        if rated[Label.POSITIVE] or (target == "positive+negative" and rated[Label.NEGATIVE]):
            found.append(LabelledGroup(group.id, group.original, rated[Label.POSITIVE], rated[Label.NEGATIVE]))
            counted[max(one.votes for one in final.values())] += 1
        elif not final:
            left_out["without votes" if min_votes == 1 else f"without {min_votes} votes"] += 1
        else:
            left_out["without a positive" if target == "positive" else "without a positive or negative"] += 1
    if not found:
        enough = f" from {min_votes} votes or more" if min_votes > 1 else ""
        raise InvalidInput(f"No group of '{dataset.path}' has the labels{enough} that target '{target}' needs.")
    return Choice(found, dict(+left_out), dict(sorted(counted.items())))


class MultiGTDataset(TrainingSet):
    """Samples from patch groups; the LR is always made from the original (HGGT §4).

    "lr": (3, h, w), "gt": (3, H, W): a random positive, or the original (target original, or a group without
    positives). With target positive+negative also "original", "negative", "positive": (3, H, W), "negative_weight",
    "positive_weight": (), "has_negative", "has_positive": () bool — the arguments of `indication_map`; the negative
    and the map's positive are drawn independently of the target, and stand-ins fill absent ones. With unsharp masking
    the LR is made from the sharpened original, and "gt_usm" is the sharpened target.
    """

    def __init__(self, config: DataConfig, *, scale: int, seed: int, vote_weighting: bool = True) -> None:
        if not config.paths:
            raise InvalidInput("No dataset to train on: set data.path (--set data.path=DATASET).")
        pack = find_pack(config)
        packed = None if pack is None else PackedDataset(pack)
        super().__init__(config, packed or PictureCache(), scale=scale, seed=seed)
        dataset = Dataset.open(config.paths[0]) if packed is None else packed.dataset
        if packed is None:
            dataset.check()  # sizes, of which a pack is asked below
        self.choice = choose_groups(dataset, config.target, config.split, min_votes=config.min_votes)
        self.groups = self.choice.groups
        self._packed, self._path = packed, dataset.path
        if packed is not None:
            packed.require(self._used())
            self._require_equal_sizes()
        require_size(self._store, [group.original for group in self.groups], config.crop)
        self._vote_weighting = vote_weighting

    def __len__(self) -> int:
        return len(self.groups)

    def _require_equal_sizes(self) -> None:
        for group in self.groups:
            pictures = [group.original, *(one.path for one in (*group.positives, *group.negatives))]
            if len({self._store.size(path) for path in pictures}) > 1:
                raise InvalidInput(f"The pictures of group '{group.id}' differ in size in the pack of '{self._path}'.")

    def _used(self) -> list[Path]:
        """Every picture that samples are made of."""
        rated = [one.path for group in self.groups for one in (*group.positives, *group.negatives)]
        return [group.original for group in self.groups] + rated

    def pictures(self) -> list[Path]:
        return self._used() if self._packed is None else self._packed.pack.files()

    def describe(self) -> dict[str, Any]:
        originals = [group.original for group in self.groups]
        positives = Counter(len(group.positives) for group in self.groups)
        return {
            "source": "dataset",
            "items": len(self),
            "folders": [str(self._path)],
            "pack": None if self._packed is None else str(self._packed.pack.path),
            "target": self._config.target,
            "left_out": self.choice.left_out,
            "groups_by_votes": {str(votes): count for votes, count in self.choice.votes.items()},
            "groups_by_positives": {str(number): count for number, count in sorted(positives.items())},
            "groups_with_negatives": sum(bool(group.negatives) for group in self.groups),
            **self._described(originals),
        }

    def __getitem__(self, number: int) -> Sample:
        rng = sample_rng(self._seed, number)
        group = self.groups[sample_index(self._seed, number, len(self))]
        photo = self._store.read(group.original)
        window = draw_crop(rng, photo.shape[:2], self._config.crop)
        edit = draw_augmentation(rng, self._config.augment)

        def draw(rated: tuple[Rated, ...]) -> Rated:
            return rated[int(rng.integers(len(rated)))] if rated else Rated(group.original, 1.0)

        target, negative, positive = draw(group.positives), draw(group.negatives), draw(group.positives)
        drawn = self._lr.draw(rng)
        around = window.margins(photo.shape[:2], drawn.reach, self._scale)
        region = to_crop(edit(window.cut(photo, around)))
        sample = self._from_region(region, edit.margins(around), drawn)
        if target.path != group.original:
            sample |= self._targets(self._store.read(target.path), window, edit)
        if self._config.target == "positive+negative":
            sample |= {
                "original": chw(strip(region, edit.margins(around))),
                "negative": self._crop(negative.path, window, edit),
                "positive": self._crop(positive.path, window, edit),
                "negative_weight": torch.tensor(self._weight(negative), dtype=torch.float32),
                "positive_weight": torch.tensor(self._weight(positive), dtype=torch.float32),
                "has_negative": torch.tensor(bool(group.negatives)),
                "has_positive": torch.tensor(bool(group.positives)),
            }
        return sample

    def _crop(self, path: Path, window: Window, edit: Augmentation) -> torch.Tensor:
        return chw(to_crop(edit(window.cut(self._store.read(path)))))

    def _weight(self, rated: Rated) -> float:
        return rated.share if self._vote_weighting else 1.0
