"""`goldeye evaluate`: metrics of a folder of results, with what they were compared with and how sure the means are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from goldeye.batch import track
from goldeye.dataset.groups import Dataset
from goldeye.errors import GoldeyeError, InvalidInput, unknown_name
from goldeye.evaluate import metrics as formulas
from goldeye.evaluate.multi_gt import AGAINST, Metric, dataset_targets, mean, per_target
from goldeye.images import find_images, read_image

METRICS = ("psnr", "ssim", "psnr_y", "ssim_y")
RESAMPLES = 2000
INFINITE = "equal pictures have an infinite PSNR: null here, and left out of the mean"


def evaluate_folder(
    sr: Path,
    *,
    gt: Path | None = None,
    dataset: Path | None = None,
    split: str | None = None,
    against: str | None = None,
    metrics: Sequence[str] = ("psnr", "ssim"),
    scale: int = 4,
    crop_border: int | None = None,
    suffix: str = "",
) -> dict[str, Any]:
    """Compare each picture of `sr` with the ground truth of its name and return DESIGN §1's JSON form.

    The ground truth is the folder `gt`, or with a `dataset` the positives (or the originals) of its groups. A result
    belongs to the ground truth with the same relative path, endings and `suffix` aside. `crop_border` is `scale` by
    default. Whatever cannot be compared stands in `excluded` with the reason, and with "failed": true where a picture
    of the right name could not be read or compared.
    Raises InvalidInput when nothing matches and for unknown metrics.
    """
    if (gt is None) == (dataset is None):
        raise InvalidInput("Name either a folder of ground truth or a dataset to compare with.")
    if dataset is None and (split or against):
        raise InvalidInput(
            "A split and what to compare against are parts of a dataset, not of a folder of ground truth."
        )
    against = against or "positives"
    if not metrics:
        raise InvalidInput("Name at least one metric.", hint=f"Known: {', '.join(METRICS)}.")
    for name in metrics:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
    border = scale if crop_border is None else crop_border
    if border < 0:
        raise InvalidInput(f"The border to crop must be 0 or more, not {border}.")

    results, unnamed = _by_name(sr, suffix)
    excluded: list[dict[str, Any]] = [*unnamed]
    if gt is not None:
        targets = {name: {"gt": path} for name, path in _by_name(gt, "")[0].items()}
        compared_with = "the picture of the same name"
    else:
        assert dataset is not None
        targets = dataset_targets(Dataset.open(dataset, split), against)
        compared_with = AGAINST[against]
    common = [name for name in targets if name in results]
    if not common:
        raise InvalidInput(
            f"No picture of '{sr}' has the name of one in '{gt or dataset}'.",
            hint="Names are compared without their endings; --suffix gives what follows the name in the results.",
        )
    excluded += [{"name": name, "reason": "no ground truth of this name"} for name in results if name not in targets]
    excluded += [{"name": name, "reason": "no result of this name"} for name in targets if name not in results]

    functions = {name: _metric(name, border) for name in metrics}
    values: dict[str, dict[str, float | None]] = {name: {} for name in metrics}
    infinite: set[str] = set()
    for name in track(common, "evaluate"):
        if not targets[name]:
            excluded.append({"name": name, "reason": "no positive candidate"})
            continue
        try:
            found = per_target(read_image(results[name]), targets[name], functions)
        except GoldeyeError as error:
            excluded.append({"name": name, "reason": error.message, "failed": True})
            continue
        for metric, each in found.items():
            # One equal target makes the mean over the targets infinite too.
            values[metric][name] = mean(each) if all(map(math.isfinite, each)) else None
            infinite |= {metric} if values[metric][name] is None else set()

    summary: dict[str, dict[str, Any]] = {}
    for metric, per_image in values.items():
        figures = [value for value in per_image.values() if value is not None]
        summary[metric] = {
            "mean": mean(figures),
            "ci95": bootstrap_interval(figures),
            "per_image": per_image,
            "definition": formulas.DEFINITIONS[metric] | {"crop_border": border, "against": compared_with},
        }
        if metric in infinite:
            summary[metric]["note"] = INFINITE
    return {"images": len(values[metrics[0]]), "metrics": summary, "excluded": excluded}


def _by_name(folder: Path, suffix: str) -> tuple[dict[str, Path], list[dict[str, str]]]:
    """{relative path without ending and suffix: picture}, and what lacks the suffix."""
    found: dict[str, Path] = {}
    excluded = []
    for path in find_images(folder):
        relative = path.relative_to(folder) if folder.is_dir() else Path(path.name)
        name = relative.with_suffix("").as_posix()
        if not name.endswith(suffix):
            excluded.append({"name": name, "reason": f"its name does not end in '{suffix}'"})
            continue
        name = name.removesuffix(suffix)
        if name in found:
            raise InvalidInput(f"'{found[name]}' and '{path}' have the same name.")
        found[name] = path
    return found, excluded


def _metric(name: str, border: int) -> Metric:
    function = formulas.psnr if name.startswith("psnr") else formulas.ssim
    return partial(function, crop_border=border, y=name.endswith("_y"))


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
    """How much higher A's `metric` is than B's, over the pictures that both evaluations hold.

    Returns mean and 95 % interval of A - B, the share of pictures where A is higher (ties count half), their number,
    and a verdict: "A higher" or "B higher" when the interval leaves out 0, else "no difference shown".
    """
    for result in (a, b):
        if metric not in result["metrics"]:
            raise unknown_name("metric", metric, result["metrics"])
    of_a, of_b = a["metrics"][metric]["per_image"], b["metrics"][metric]["per_image"]
    both = [name for name in of_a if of_a[name] is not None and of_b.get(name) is not None]
    if not both:
        raise InvalidInput(f"The two evaluations have no picture with a figure for {metric} in common.")
    differences = [of_a[name] - of_b[name] for name in both]
    interval = bootstrap_interval(differences)
    verdict = "no difference shown"
    if interval is not None and interval[0] > 0:
        verdict = "A higher"
    elif interval is not None and interval[1] < 0:
        verdict = "B higher"
    wins = sum(1.0 if value > 0 else 0.5 if value == 0 else 0.0 for value in differences)
    return {
        "mean": mean(differences),
        "ci95": interval,
        "win_rate": wins / len(differences),
        "n": len(differences),
        "verdict": verdict,
    }


def evaluation_text(result: Mapping[str, Any]) -> str:
    """An evaluation as text: a line a metric, then the definitions and what was left out."""
    lines = [f"{result['images']} pictures compared, {len(result['excluded'])} left out."]
    for figures in result["metrics"].values():
        definition, interval = figures["definition"], figures["ci95"]
        shown = "none" if figures["mean"] is None else f"{figures['mean']:.4f}"
        if definition["unit"] == "dB":
            shown += " dB"
        if interval is not None:
            shown += f"  (95 % interval {interval[0]:.4f} to {interval[1]:.4f})"
        lines.append(f"  {definition['name']:<8}{shown}" + (f"  [{figures['note']}]" if "note" in figures else ""))
    for figures in result["metrics"].values():
        definition = figures["definition"]
        parts = [definition[key] for key in ("colour", "range", "window", "formula") if key in definition]
        border = f"border crop {definition['crop_border']}"
        lines.append(f"{definition['name']}: {'; '.join([*parts, border, 'against ' + definition['against']])}.")
    lines += [f"left out: {entry['name']}: {entry['reason']}" for entry in result["excluded"]]
    return "\n".join(lines)
