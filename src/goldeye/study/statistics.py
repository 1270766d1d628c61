"""The formulas of a study: Bradley-Terry scores, a bootstrap over people and pictures.

Sources: D. R. Hunter, MM Algorithms for Generalized Bradley-Terry Models, 2004; A. B. Owen, The Pigeonhole Bootstrap,
2007.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PRIOR = 0.5  # wins that each of two methods gets against the other where the votes alone give no finite scores
_DRAWN = 2**22  # how many numbers of a resampling are held at once
_DEFINED = 0.9  # share of resamples in which a figure must be defined for an interval


def sign_test(successes: int, total: int) -> float | None:
    """Exact two-sided binomial test of a share against one half; None without votes."""
    return float(stats.binomtest(successes, total).pvalue) if total else None


def resample(cells: Floats, times: int, seed: int) -> Floats:
    """Sums over people and pictures drawn with replacement, each on its own: (P, I, C) -> (times, C).

    `cells[p, i]` is what person p adds to the C sums on picture i. A cell counts as often as its person was drawn times
    as often as its picture was: votes of one person stay together, and so do votes on one picture (Owen 2007). Without
    any difference between people and between pictures this varies up to three times as much as the sums themselves do,
    so that intervals from it err to the wide side.
    """
    people, pictures, columns = cells.shape
    rng = np.random.default_rng(seed)
    result = np.empty((times, columns))
    step = max(1, _DRAWN // max(people, pictures))
    for start in range(0, times, step):
        size = min(step, times - start)
        by_person = rng.multinomial(people, np.full(people, 1 / people), size=size).astype(np.float64)
        by_picture = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=size)
        for column in range(columns):
            sums = (by_person @ cells[:, :, column]) * by_picture
            result[start : start + size, column] = sums.sum(axis=1)
    return result


def interval(samples: Floats) -> list[float] | None:
    """Percentiles 2.5 and 97.5 of resampled figures; None where they are mostly undefined or do not vary at all."""
    defined = samples[np.isfinite(samples)]
    if len(defined) < max(1, _DEFINED * len(samples)) or np.ptp(defined) < 1e-9:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return [float(low), float(high)]


def bradley_terry(wins: Floats, *, tolerance: float = 1e-9, most: int = 10_000) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Scores b with P(i preferred to j) = 1 / (1 + exp(b_j - b_i)), centred at 0: wins (…, M, M) -> (…, M).

    `wins[i, j]` counts how often i was preferred to j. Where the votes alone give no finite scores (some methods, taken
    together, never lost to the others), every two methods get PRIOR wins against each other; the second array (…) says
    where. MM steps: p_i <- W_i / Σ_j n_ij / (p_i + p_j), with W_i the wins of i and n_ij the votes on i and j.
    """
    methods = wins.shape[-1]
    needed = ~_connected(wins)
    wins = wins + np.where(needed, PRIOR, 0.0)[..., None, None] * (1 - np.eye(methods))
    votes = wins + wins.swapaxes(-1, -2)
    won = wins.sum(axis=-1)
    scores = np.zeros(won.shape)
    for _ in range(most):
        strength = np.exp(scores)
        expected = (votes / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1)
        better = np.log(won / expected)
        better -= better.mean(axis=-1, keepdims=True)
        change = np.abs(better - scores).max(initial=0)
        scores = better
        if change < tolerance:
            break
    return scores, needed


def _connected(wins: Floats) -> npt.NDArray[np.bool_]:
    """Whether a chain of wins leads from every method to every other one (Hunter's Assumption 1): (…, M, M) -> (…)."""
    methods = wins.shape[-1]
    reaches = (wins > 0) | np.eye(methods, dtype=np.bool_)
    for _ in range(int(np.ceil(np.log2(max(methods, 2))))):
        reaches = np.matmul(reaches, reaches)
    return np.asarray(reaches.all(axis=(-2, -1)))
