"""`goldeye evaluate`: metrics of a folder of results, with what they were compared with and how sure the means are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from goldeye.batch import track
from goldeye.errors import GoldeyeError, InvalidInput, some
from goldeye.evaluate.fid import fid, require_fid
from goldeye.evaluate.metrics import METRICS, Metric, MetricInfo, definition, make_metric, metric_info
from goldeye.evaluate.multi_gt import crops_to, direction, mean
from goldeye.evaluate.pairing import Pairing, pair_pictures
from goldeye.evaluate.planes import size_text
from goldeye.evaluate.statistics import bootstrap_interval, compare_evaluations, paired_difference
from goldeye.evaluate.text import evaluation_text, has_figures
from goldeye.images import Picture, open_picture
from goldeye.runtime import available_cores

__all__ = [
    "bootstrap_interval",
    "compare_evaluations",
    "evaluate_folder",
    "evaluation_text",
    "has_figures",
    "paired_difference",
]

T = TypeVar("T")

INFINITE = "equal pictures have an infinite PSNR: null here, and left out of the mean"
_THREADS = 4
_LACKING = {
    "gt": "it compares with ground truth: name a folder (--gt) or a dataset (--dataset)",
    "sets": "it compares with ground truth: name a folder (--gt) or a dataset (--dataset)",
    "input": "it compares with the LR inputs: name their folder (--lr)",
}


def evaluate_folder(
    sr: Path,
    *,
    gt: Path | None = None,
    dataset: Path | None = None,
    split: str | None = None,
    against: str | None = None,
    metrics: Sequence[str] | str = ("psnr", "ssim"),
    scale: int = 4,
    crop_border: int | None = None,
    suffix: str = "",
    lr: Path | None = None,
    lr_suffix: str = "",
    niqe_params: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Compare each picture of `sr` with the ground truth of its name: the document that `evaluate --json` prints.

    The ground truth is the folder `gt`, or with a `dataset` what `against` says (positives, original or negatives of
    its groups); it is not needed when no metric compares with it. `lr` is the folder of inputs, for `colour_shift`. A
    result belongs to the ground truth and the input with the same relative path, endings and suffixes aside.
    `metrics` are keys of `METRICS`, or "all" that can be measured here: what cannot stands in "unavailable" with the
    reason, and no weights are fetched. `crop_border` is `scale` by default.

    Whatever cannot be compared stands in "excluded" with the reason, and with "failed": true where a picture of the
    right name could not be read or has another size. A figure that a picture does not have is null, and "reasons" of
    the metric says why; "infinite" names the equal pictures, which have no finite PSNR. A ground truth whose sides are
    no multiples of the scale may be up to scale - 1 pixels larger than the result (`crops_to`); "notes" names those.
    "expected" is the number of pictures there are to compare with, "without_result" how many of them have none.
    InvalidInput, before work starts, when nothing matches, for unknown metrics, and for those whose ground truth,
    input, weights or parameters are missing.
    """
    keys, lenient = _wanted(metrics)
    _check_request(keys, lenient, gt=gt, dataset=dataset, split=split, against=against)
    border = scale if crop_border is None else crop_border
    if border < 0:
        raise InvalidInput(f"The border to crop must be 0 or more, not {border}.")
    if scale < 1:
        raise InvalidInput(f"The scale must be 1 or more, not {scale}.")
    against = against or "positives"
    pairing = pair_pictures(
        sr, suffix, gt=gt, dataset=dataset, split=split, against=against, lr=lr, lr_suffix=lr_suffix
    )

    ready: list[str] = []
    made: dict[str, Metric] = {}
    unavailable: list[dict[str, str]] = []
    for key in keys:
        try:
            _require_needs(METRICS[key], pairing, lr)
            if lenient:
                _require_here(METRICS[key])
            if key == "fid":
                require_fid()
            else:
                made[key] = make_metric(key, crop_border=border, device=device, niqe_params=niqe_params)
        except (GoldeyeError, ModuleNotFoundError) as error:
            if not lenient:
                raise
            unavailable.append({"metric": key, "reason": _reason(error)})
        else:
            ready.append(key)

    found: dict[str, _Figures] = {}
    for name, outcome in zip(
        pairing.names, _in_order(lambda name: _measure(pairing, name, made, scale), pairing.names), strict=True
    ):
        if isinstance(outcome, _Figures):
            found[name] = outcome
        else:
            pairing.excluded.append({"name": name, "reason": outcome, "failed": True})

    summary = {
        key: _summary(made[key], found, pairing) if key in made else _set_summary(found, pairing, device)
        for key in ready
    }
    for key, figures in summary.items():
        figures["definition"]["higher_is_better"] = direction(key, against)
    result: dict[str, Any] = {"images": len(found), "metrics": summary, "excluded": pairing.excluded}
    result |= {"expected": pairing.expected, "without_result": pairing.without_result}
    if unavailable:
        result["unavailable"] = unavailable
    if notes := _notes(found):
        result["notes"] = notes
    return result


# The request -----------------------------------------------------------------------------------------------------


def _wanted(metrics: Sequence[str] | str) -> tuple[list[str], bool]:
    """The metrics' keys without repeats, and whether those that cannot be measured may be left out."""
    words = metrics.split(",") if isinstance(metrics, str) else metrics
    words = [word.strip() for word in words if word.strip()]
    if not words:
        raise InvalidInput("Name at least one metric.", hint=f"Known: all, {', '.join(METRICS)}.")
    for word in words:
        if word != "all":
            metric_info(word)
    if "all" in words:
        return list(METRICS), True
    return list(dict.fromkeys(words)), False


def _check_request(
    keys: Sequence[str],
    lenient: bool,
    *,
    gt: Path | None,
    dataset: Path | None,
    split: str | None,
    against: str | None,
) -> None:
    compares = not lenient and any(METRICS[key].needs in ("gt", "sets") for key in keys)
    if (gt is not None and dataset is not None) or (compares and gt is None and dataset is None):
        raise InvalidInput("Name either a folder of ground truth or a dataset to compare with.")
    if dataset is None and (split or against):
        raise InvalidInput(
            "A split and what to compare against are parts of a dataset, not of a folder of ground truth."
        )


def _require_needs(info: MetricInfo, pairing: Pairing, lr: Path | None) -> None:
    missing = lr is None if info.needs == "input" else pairing.targets is None
    if info.needs != "none" and missing:
        raise InvalidInput(f"{info.name} cannot be measured: {_LACKING[info.needs]}.")


def _require_here(info: MetricInfo) -> None:
    """Half a gigabyte is not fetched for somebody who asked for no metric by name."""
    from goldeye.evaluate.weights import WEIGHT_FILES

    for weights in (WEIGHT_FILES[name] for name in info.weights):
        if not weights.path.is_file():
            raise InvalidInput(
                f"The weights '{weights.file}' are not here; they belong at '{weights.path}'.",
                hint="Naming the metric fetches them.",
            )


def _reason(error: GoldeyeError | ModuleNotFoundError) -> str:
    from goldeye.extras import missing_extra

    known = missing_extra(error) if isinstance(error, ModuleNotFoundError) else error
    return known.message + (f" {known.hint}" if known.hint else "")


# Measuring -------------------------------------------------------------------------------------------------------


@dataclass
class _Figures:
    """The figures of one picture: a value a metric (inf for PSNR of equal pictures), or why there is none."""

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    transparent: bool = False
    cropped: bool = False
    """Whether its ground truth was larger than the result."""


def _in_order(work: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    """work(name) of each, some at a time: while one picture is measured, the next ones are decoded."""
    pool = ThreadPoolExecutor(min(max(available_cores(), 2), _THREADS))
    try:
        yield from track(pool.map(work, names), "evaluate", len(names))
    finally:
        pool.shutdown(cancel_futures=True)


def _measure(pairing: Pairing, name: str, metrics: Mapping[str, Metric], scale: int) -> _Figures | str:
    """The figures of a picture, or why it cannot be compared at all."""
    found = _Figures()

    def read(path: Path) -> Picture:
        loaded = open_picture(path, srgb=True)
        if loaded.alpha is not None and int(loaded.alpha.min()) < (255 if loaded.alpha.dtype.itemsize == 1 else 65535):
            found.transparent = True
        return loaded.pixels

    needs = {metric.info.needs for metric in metrics.values()}
    try:
        picture = read(pairing.results[name])
        targets = [read(path) for path in pairing.targets[name].values()] if pairing.targets and "gt" in needs else []
        lr = read(pairing.inputs[name]) if "input" in needs and name in pairing.inputs else None
    except GoldeyeError as error:
        return error.message
    height, width = picture.shape[:2]
    for target in targets:
        if not crops_to((target.shape[0], target.shape[1]), (height, width), scale):
            return f"The pictures differ in size: {size_text(picture)} and {size_text(target)}."
        found.cropped |= target.shape != picture.shape
    targets = [target[:height, :width] for target in targets]
    for key, metric in metrics.items():
        try:
            if metric.info.needs == "gt":
                # One equal target makes the mean over the targets infinite, too.
                found.values[key] = math.fsum(metric(picture, target) for target in targets) / len(targets)
            elif metric.info.needs == "input" and lr is None:
                found.reasons[key] = "no input of this name"
            else:
                found.values[key] = metric(picture, lr)
        except InvalidInput as error:
            found.reasons[key] = error.message
    return found


def _notes(found: Mapping[str, _Figures]) -> list[str]:
    notes = []
    if cropped := [name for name, figures in found.items() if figures.cropped]:
        notes.append(f"The ground truth was cropped at the bottom and the right to the result's size: {some(cropped)}.")
    if transparent := [name for name, figures in found.items() if figures.transparent]:
        notes.append(f"Transparency is not compared, only the colours behind it: {some(transparent)}.")
    return notes


def _summary(metric: Metric, found: Mapping[str, _Figures], pairing: Pairing) -> dict[str, Any]:
    per_image: dict[str, float | None] = {}
    for name, figures in found.items():
        value = figures.values.get(metric.key)
        per_image[name] = value if value is not None and math.isfinite(value) else None
    values = [value for value in per_image.values() if value is not None]
    compared = {"against": pairing.compared_with} if metric.info.needs == "gt" else {}
    compared |= {"against": "the input of the same name"} if metric.info.needs == "input" else {}
    summary: dict[str, Any] = {
        "mean": mean(values),
        "ci95": bootstrap_interval(values),
        "per_image": per_image,
        "definition": metric.definition | compared,
    }
    reasons = {name: figures.reasons[metric.key] for name, figures in found.items() if metric.key in figures.reasons}
    if reasons:
        summary["reasons"] = reasons
    if infinite := [name for name, figures in found.items() if math.isinf(figures.values.get(metric.key, 0))]:
        summary |= {"infinite": infinite, "note": INFINITE}
    return summary


def _set_summary(found: Mapping[str, _Figures], pairing: Pairing, device: str) -> dict[str, Any]:
    """FID of all results that could be read against all their targets."""
    targets = pairing.targets or {}
    summary: dict[str, Any] = {"mean": None, "ci95": None, "per_image": {}, "definition": {}}
    parts: dict[str, Any] = {}
    try:
        references = [path for name in found for path in targets[name].values()]
        summary["mean"], parts = fid([pairing.results[name] for name in found], references, device=device)
    except InvalidInput as error:
        summary["note"] = error.message
    summary["definition"] = definition("fid", parts, 0) | {"against": pairing.compared_with}
    return summary
