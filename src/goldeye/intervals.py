"""Intervals of shares."""

from __future__ import annotations

import math

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson(successes: int, total: int) -> list[float] | None:
    """The 95 % score interval of a share of independent trials; None without any.

    E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
    With p = successes / total, n = total, z = 1.96: (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n).
    """
    if total == 0:
        return None
    share, square = successes / total, Z95**2
    middle = share + square / (2 * total)
    half = Z95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    scale = 1 + square / total
    low = 0.0 if successes == 0 else (middle - half) / scale  # exactly, not up to rounding
    high = 1.0 if successes == total else (middle + half) / scale
    return [low, high]
