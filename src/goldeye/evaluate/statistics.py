"""How sure a mean is, and what two evaluations of the same pictures say of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from goldeye.errors import InvalidInput, unknown_name
from goldeye.evaluate.metrics import metric_info
from goldeye.evaluate.multi_gt import mean

RESAMPLES = 2000


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

    a, b: documents of `evaluate_folder`. Returns "mean" and "ci95" (95 % interval) of A - B; "win_rate", the share of
    pictures where A is better (ties count half); their number "n"; a "verdict", "A higher" or "B higher" when the
    interval leaves out 0, else "no difference shown"; and "better", "A" or "B" then, as the metric's direction says, or
    None. InvalidInput for a metric that one lacks, and without common pictures.
    """
    for result in (a, b):
        if metric not in result["metrics"]:
            raise unknown_name("metric", metric, result["metrics"])
    up = metric_info(metric).higher_is_better
    of_a, of_b = a["metrics"][metric]["per_image"], b["metrics"][metric]["per_image"]
    both = [name for name in of_a if of_a[name] is not None and of_b.get(name) is not None]
    if not both:
        raise InvalidInput(f"The two evaluations have no picture with a figure for {metric} in common.")
    differences = [of_a[name] - of_b[name] for name in both]
    interval = bootstrap_interval(differences)
    higher = None
    if interval is not None and (interval[0] > 0 or interval[1] < 0):
        higher = "A" if interval[0] > 0 else "B"
    wins = sum(0.5 if value == 0 else float((value > 0) == up) for value in differences)
    return {
        "mean": mean(differences),
        "ci95": interval,
        "win_rate": wins / len(differences),
        "n": len(differences),
        "verdict": "no difference shown" if higher is None else f"{higher} higher",
        "better": None if higher is None else "A" if (higher == "A") == up else "B",
    }


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
