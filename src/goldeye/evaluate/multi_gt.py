"""Evaluation against several ground truths a picture (HGGT §4.1; REFERENCE §5).

A metric is averaged over the targets of a picture first, then over the pictures: each picture weighs the same however
many positives it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, finals
from goldeye.errors import unknown_name
from goldeye.images import Picture, read_image

Metric = Callable[[Picture, Picture], float]
AGAINST = {
    "positives": "the positive candidates of each group, mean over them",
    "original": "the original patch of each group",
}


def dataset_targets(dataset: Dataset, against: str = "positives") -> dict[str, dict[str, Path]]:
    """{group id: {"original" or slot: picture}}: what each result is compared with; empty for a group without positive.

    `against` is "positives" or "original"; InvalidInput for another word, and for positives of a dataset without votes.
    """
    if against not in AGAINST:
        raise unknown_name("target", against, AGAINST)
    if against == "original":
        return {group.id: {"original": group.original} for group in dataset.groups}
    labels = finals(dataset)
    return {
        group.id: {
            slot: path
            for slot, path in group.candidates.items()
            if slot in (found := labels.get(group.id, {})) and found[slot].label is Label.POSITIVE
        }
        for group in dataset.groups
    }


def per_target(result: Picture, targets: Mapping[str, Path], metrics: Mapping[str, Metric]) -> dict[str, list[float]]:
    """{metric: its value against each target, in order}; GoldeyeError for an unreadable target or another size."""
    pictures = [read_image(path) for path in targets.values()]
    return {name: [metric(result, picture) for picture in pictures] for name, metric in metrics.items()}


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the finite values there are; None when there is none (equal pictures have an infinite PSNR)."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else None
