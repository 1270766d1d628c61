"""The least scores of a patch: numbers, quantiles over all windows of all photos, or what leaves so many groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from goldeye.curate.scores import WindowScores
    from goldeye.curate.select import SelectSettings

FILTERS = {"texture": "min_std", "high_frequency": "min_high_frequency", "difference": "min_difference"}
"""Each filter, in their order, with the setting that holds its threshold."""

Thresholds = dict[str, float]

# Scores are counted by their first 22 bits: of a float32 that is a step of 1/16384 of the value or less.
_SHIFT = 9
_LEAST = int(np.float32(2**-12).view(np.uint32)) >> _SHIFT  # anything less counts as 0
_MOST = int(np.float32(2**16).view(np.uint32)) >> _SHIFT  # no score is above 255²

ENOUGH = 1.02
"""Draws that give up to 2 % more groups than wanted are near enough."""

_STEPS = 24  # of the bisection: quantiles closer than 2^-24 are one


def parse_threshold(value: Any) -> Any:
    """30, "30" or "40%" → 30.0 or "40%"; ValueError for anything that is no such number."""
    text = str(value).strip()
    part = text.removesuffix("%")
    try:
        number = float(part)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf or (part != text and number > 100):
        raise ValueError(f"a number such as 30, or a quantile such as 40%, is wanted, not '{value}'")
    return number if part == text else f"{number:g}%"


def as_quantile(value: float | str) -> float | None:
    """0.4 for "40%", None for a number."""
    return float(value.removesuffix("%")) / 100 if isinstance(value, str) else None


def filter_scores(scores: WindowScores) -> dict[str, NDArray[np.float32]]:
    """{setting: the score that its threshold is for}, (rows, columns) each."""
    values = (scores.std, scores.high_frequency, scores.strongest)
    return dict(zip(FILTERS.values(), values, strict=True))


class ScoreCounts:
    """How many windows have which score; takes the same memory (22 MB at most) for any number of photos."""

    def __init__(self) -> None:
        self._counts = {key: np.zeros(_MOST - _LEAST + 1, np.int64) for key in FILTERS.values()}
        self._below: dict[str, NDArray[np.int64]] = {}

    def add(self, scores: WindowScores) -> None:
        """Count the windows of a photo."""
        self._below.clear()
        for key, values in filter_scores(scores).items():
            bits = np.ascontiguousarray(values, np.float32).ravel().view(np.uint32) >> _SHIFT
            bins, counts = np.unique(np.clip(bits, _LEAST, _MOST), return_counts=True)
            self._counts[key][bins - _LEAST] += counts

    def quantile(self, key: str, part: float) -> float:
        """The score that `part` of all windows do not reach, rounded down by less than 1/16384 of it; 0 for none."""
        if key not in self._below:
            self._below[key] = np.cumsum(self._counts[key])
        below = self._below[key]
        if not below[-1]:
            return 0.0
        rank = min(int(part * below[-1] + 1e-9), int(below[-1]) - 1)
        place = int(np.searchsorted(below, rank, side="right"))
        return 0.0 if place == 0 else float(np.uint32((place + _LEAST) << _SHIFT).view(np.float32))

    def common(self, floors: Mapping[str, float], part: float) -> Thresholds:
        """One quantile for the three scores, nowhere less than `floors`."""
        return {key: max(floor, self.quantile(key, part)) for key, floor in floors.items()}


def resolve(settings: SelectSettings, counts: ScoreCounts | None) -> Thresholds:
    """The thresholds as numbers; without quantiles nothing needs to be counted."""
    found = {}
    for key in FILTERS.values():
        value = getattr(settings, key)
        part = as_quantile(value)
        if part is not None:
            assert counts is not None
            value = counts.quantile(key, part)
        found[key] = float(value)
    return found


def raise_until(
    wanted: int, counts: ScoreCounts, floors: Thresholds, drawn: Callable[[Thresholds], int]
) -> tuple[float, Thresholds]:
    """The common quantile, and its thresholds, at which `drawn` gives about `wanted` groups, but no fewer.

    Found by bisection between `floors`, which give more than that, and what nothing passes.
    """
    low, high, best = 0.0, 1.0, floors
    numbers: dict[tuple[float, ...], int] = {}
    for _ in range(_STEPS):
        middle = (low + high) / 2
        thresholds = counts.common(floors, middle)
        key = tuple(thresholds.values())
        if key not in numbers:
            numbers[key] = drawn(thresholds)
        number = numbers[key]
        if number < wanted:
            high = middle
        else:
            low, best = middle, thresholds
            if number <= wanted * ENOUGH:
                break
    return low, best
