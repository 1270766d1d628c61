"""Which windows of a photo pass, and which of those are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from goldeye.curate.thresholds import FILTERS, filter_scores

if TYPE_CHECKING:
    from goldeye.curate.scores import WindowScores
    from goldeye.curate.select import SelectSettings

Window = tuple[int, int]
"""(row, column) of the grid."""


@dataclass(frozen=True)
class Drawn:
    """What became of the windows of a photo."""

    chosen: list[Window]
    windows: int
    rejected: dict[str, int]
    """{filter: windows that it was the first to remove}, and those that pass but were "not_drawn"."""
    best: dict[str, float]
    """{setting: the largest score of a window}."""


def draw_photo(scores: WindowScores, thresholds: Mapping[str, float], settings: SelectSettings, name: str) -> Drawn:
    """Filter a photo's windows and draw some; seed and `name` decide which, whatever other photos there are.

    A window passes by texture and high frequency if the original or any version does, and by difference if at least one
    version differs enough from the original.
    """
    passing = np.ones(scores.std.shape, bool)
    values = filter_scores(scores)
    rejected = {}
    for filter_, key in FILTERS.items():
        enough = values[key] >= thresholds[key]
        rejected[filter_] = int((passing & ~enough).sum())
        passing &= enough
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    chosen = draw_windows(scores.ys, scores.xs, passing, settings, np.random.default_rng([settings.seed, number]))
    rejected["not_drawn"] = int(passing.sum()) - len(chosen)
    return Drawn(chosen, passing.size, rejected, {key: float(scores.max()) for key, scores in values.items()})


def draw_windows(
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    passing: NDArray[np.bool_],
    settings: SelectSettings,
    rng: np.random.Generator,
) -> list[Window]:
    """Draw windows at random among the passing ones until no more fits.

    Two of them share less than `max_overlap` of a patch's area. The order in which windows are tried is that of the
    whole grid, so that other thresholds change no more than they must.
    """
    order = rng.permutation(passing.size)
    rows, columns = np.divmod(order[passing.ravel()[order]], passing.shape[1])
    size = settings.patch_size
    chosen: list[Window] = []
    while len(rows) and (settings.per_photo is None or len(chosen) < settings.per_photo):
        row, column = int(rows[0]), int(columns[0])
        chosen.append((row, column))
        shared = np.clip(size - np.abs(ys[rows] - ys[row]), 0, None) * np.clip(
            size - np.abs(xs[columns] - xs[column]), 0, None
        )
        free = (shared < settings.max_overlap * size**2) | (shared == 0)
        free[0] = False
        rows, columns = rows[free], columns[free]
    return chosen
