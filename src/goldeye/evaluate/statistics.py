"""How sure a mean is, and what two evaluations of the same pictures say of each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from goldeye.errors import InvalidInput, unknown_name
from goldeye.evaluate.metrics import metric_info
from goldeye.evaluate.multi_gt import mean

RESAMPLES = 2000
_HUGE = 1e9  # stands for an infinite difference, since percentiles need finite numbers


def bootstrap_interval(values: Sequence[float]) -> list[float] | None:
    """95 % interval of the mean: percentile bootstrap over the images, 2000 resamples, seed 0; None below 2 images."""
    if len(values) < 2:
        return None
    rng = np.random.default_rng(0)
    array = np.asarray(values, np.float64)
    means = [array[rng.integers(len(array), size=len(array))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(high)]


def paired_difference(a: Mapping[str, Any], b: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """How A differs from B in a metric, over the pictures that both evaluations have a figure for.

    a, b: documents of `evaluate_folder`, whose definitions say which way is better, if any (against negatives: none).
    Returns "n", the number of pictures; "infinite", how many of them have an infinite figure (PSNR of equal pictures)
    in A or B; "mean" and "ci95" (95 % interval) of A - B over the others, or None; "win_rate", the share of the n where
    A is better (ties count half; higher, for a metric without a direction); a "verdict", "A higher" or "B higher" when
    the interval leaves out 0, else "no difference shown"; and "better", "A" or "B" then, as the metric's direction
    says, or None. For the verdict an infinite difference counts as one that outweighs all finite ones. InvalidInput for
    a metric that one lacks, and without common pictures.
    """
    for result in (a, b):
        if metric not in result["metrics"]:
            raise unknown_name("metric", metric, result["metrics"])
    up = a["metrics"][metric].get("definition", {}).get("higher_is_better", metric_info(metric).higher_is_better)
    of_a, of_b = (_values(result["metrics"][metric]) for result in (a, b))
    both = [name for name in of_a if name in of_b]
    if not both:
        raise InvalidInput(f"The two evaluations have no picture with a figure for {metric} in common.")
    # Two infinite figures are equal; their difference would be no number.
    differences = [0.0 if of_a[name] == of_b[name] else of_a[name] - of_b[name] for name in both]
    finite = [of_a[name] - of_b[name] for name in both if math.isfinite(of_a[name]) and math.isfinite(of_b[name])]
    interval = bootstrap_interval(finite)
    higher = _higher(interval if len(finite) == len(both) else _with_infinite(differences))
    wins = sum(0.5 if value == 0 else float((value > 0) == (up is not False)) for value in differences)
    return {
        "mean": mean(finite),
        "ci95": interval,
        "win_rate": wins / len(both),
        "n": len(both),
        "infinite": len(both) - len(finite),
        "verdict": "no difference shown" if higher is None else f"{higher} higher",
        "better": None if higher is None or up is None else "A" if (higher == "A") == up else "B",
    }


def _values(figures: Mapping[str, Any]) -> dict[str, float]:
    """The figures that there are, the infinite ones among them."""
    infinite = dict.fromkeys(figures.get("infinite", ()), math.inf)
    return {name: value for name, value in figures["per_image"].items() if value is not None} | infinite


def _with_infinite(differences: Sequence[float]) -> list[float] | None:
    return bootstrap_interval([max(-_HUGE, min(_HUGE, value)) for value in differences])


def _higher(interval: Sequence[float] | None) -> str | None:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return None
    return "A" if interval[0] > 0 else "B"


def compare_evaluations(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{metric: `paired_difference` and "other", B's own mean} for every metric of both.

    Where there is nothing to pair (FID, or no common figure) only "other" and a "note" are there.
    """
    found: dict[str, dict[str, Any]] = {}
    for metric in a["metrics"]:
        if metric not in b["metrics"]:
            continue
        other = {"other": b["metrics"][metric]["mean"]}
        try:
            found[metric] = paired_difference(a, b, metric) | other
        except InvalidInput:
            found[metric] = other | {"note": "there are no pictures with a figure in both"}
    return found
