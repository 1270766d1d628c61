"""Evaluation against several ground truths a picture (HGGT §4.1; REFERENCE §5).

A metric is averaged over the targets of a picture first, then over the pictures: each picture weighs the same however
many positives it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, finals
from goldeye.errors import unknown_name
from goldeye.evaluate.metrics import metric_info

AGAINST = {
    "positives": "the positive candidates of each group, mean over them",
    "original": "the original patch of each group",
    "negatives": "the negative candidates of each group, mean over them",
}


def dataset_targets(dataset: Dataset, against: str = "positives") -> dict[str, dict[str, Path]]:
    """{group id: {"original" or slot: picture}}: what each result is compared with; empty for a group without any.

    `against` is a key of `AGAINST`; InvalidInput for another word, and for candidates of a dataset without votes.
    """
    if against not in AGAINST:
        raise unknown_name("target", against, AGAINST)
    if against == "original":
        return {group.id: {"original": group.original} for group in dataset.groups}
    wanted = Label.POSITIVE if against == "positives" else Label.NEGATIVE
    labels = finals(dataset)
    return {
        group.id: {
            slot: path
            for slot, path in group.candidates.items()
            if slot in (found := labels.get(group.id, {})) and found[slot].label is wanted
        }
        for group in dataset.groups
    }


def direction(metric: str, against: str | None) -> bool | None:
    """Whether higher is better, or lower (False), or neither (None), compared with `against` (a key of `AGAINST`).

    A result wants to be near its ground truth, positives or original. From negatives it may be far for any reason: a
    ruined picture is the farthest, so that neither end is better.
    """
    info = metric_info(metric)
    return None if against == "negatives" and info.needs in ("gt", "sets") else info.higher_is_better


def crops_to(gt: tuple[int, int], result: tuple[int, int], scale: int) -> bool:
    """Whether a ground truth may be cropped at the bottom and the right to a result's size; both (height, width).

    It may when the two are equal, and when the result has the ground truth's sides rounded down to multiples of the
    scale: a photo of 481x321 gives an LR picture of 120x80 and, at scale 4, a result of 480x320.
    """
    return result in (gt, (gt[0] // scale * scale, gt[1] // scale * scale))


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the finite values there are; None when there is none (equal pictures have an infinite PSNR)."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else None
