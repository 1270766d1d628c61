"""`goldeye evaluate`: metrics of a folder of results, with what they were compared with and how sure the means are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from goldeye.batch import track
from goldeye.dataset.groups import Dataset
from goldeye.errors import GoldeyeError, InvalidInput, some
from goldeye.evaluate.metrics import METRICS, Metric, MetricInfo, definition, make_metric, metric_info
from goldeye.evaluate.multi_gt import AGAINST, dataset_targets, mean
from goldeye.evaluate.planes import size_text
from goldeye.evaluate.statistics import bootstrap_interval, compare_evaluations, paired_difference
from goldeye.images import Picture, find_images, open_picture
from goldeye.runtime import available_cores

__all__ = ["bootstrap_interval", "compare_evaluations", "evaluate_folder", "evaluation_text", "paired_difference"]

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
    the metric says why. InvalidInput, before work starts, when nothing matches, for unknown metrics, and for those
    whose ground truth, input, weights or parameters are missing.
    """
    keys, lenient = _wanted(metrics)
    _check_request(keys, lenient, gt=gt, dataset=dataset, split=split, against=against)
    border = scale if crop_border is None else crop_border
    if border < 0:
        raise InvalidInput(f"The border to crop must be 0 or more, not {border}.")
    against = against or "positives"
    pairing = _pair(sr, suffix, gt=gt, dataset=dataset, split=split, against=against, lr=lr, lr_suffix=lr_suffix)

    ready: list[str] = []
    made: dict[str, Metric] = {}
    unavailable: list[dict[str, str]] = []
    for key in keys:
        try:
            _require_needs(METRICS[key], pairing, lr)
            if lenient:
                _require_here(METRICS[key])
            if key == "fid":
                _require_fid()
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
        pairing.names, _in_order(lambda name: _measure(pairing, name, made), pairing.names), strict=True
    ):
        if isinstance(outcome, _Figures):
            found[name] = outcome
        else:
            pairing.excluded.append({"name": name, "reason": outcome, "failed": True})

    summary = {
        key: _summary(made[key], found, pairing) if key in made else _set_summary(found, pairing, device)
        for key in ready
    }
    result: dict[str, Any] = {"images": len(found), "metrics": summary, "excluded": pairing.excluded}
    if unavailable:
        result["unavailable"] = unavailable
    if transparent := [name for name, figures in found.items() if figures.transparent]:
        result["notes"] = [f"Transparency is not compared, only the colours behind it: {some(transparent)}."]
    return result


# The request -----------------------------------------------------------------------------------------------------


def _wanted(metrics: Sequence[str] | str) -> tuple[list[str], bool]:
    """The metrics' keys without repeats, and whether those that cannot be measured may be left out."""
    words = metrics.split(",") if isinstance(metrics, str) else metrics
    words = [word.strip() for word in words if word.strip()]
    if not words:
        raise InvalidInput("Name at least one metric.", hint=f"Known: all, {', '.join(METRICS)}.")
    if "all" in words:
        return list(METRICS), True
    for word in words:
        metric_info(word)
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


def _require_needs(info: MetricInfo, pairing: _Pairing, lr: Path | None) -> None:
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


def _require_fid() -> None:
    import torch_fidelity  # noqa: F401

    from goldeye.evaluate.weights import require_weights

    require_weights("inception")


def _reason(error: GoldeyeError | ModuleNotFoundError) -> str:
    from goldeye.extras import missing_extra

    known = missing_extra(error) if isinstance(error, ModuleNotFoundError) else error
    return known.message + (f" {known.hint}" if known.hint else "")


# What belongs together -------------------------------------------------------------------------------------------


@dataclass
class _Pairing:
    """Pictures by name; `targets` is None where there is no ground truth, `names` are those that can be measured."""

    results: dict[str, Path]
    targets: dict[str, dict[str, Path]] | None
    inputs: dict[str, Path]
    compared_with: str
    names: list[str] = field(default_factory=list)
    excluded: list[dict[str, Any]] = field(default_factory=list)


def _pair(
    sr: Path,
    suffix: str,
    *,
    gt: Path | None,
    dataset: Path | None,
    split: str | None,
    against: str,
    lr: Path | None,
    lr_suffix: str,
) -> _Pairing:
    results, unnamed = _by_name(sr, suffix)
    targets: dict[str, dict[str, Path]] | None = None
    compared_with = "the picture of the same name"
    if gt is not None:
        targets = {name: {"gt": path} for name, path in _by_name(gt, "")[0].items()}
    elif dataset is not None:
        targets, compared_with = dataset_targets(Dataset.open(dataset, split), against), AGAINST[against]
    pairing = _Pairing(results, targets, {}, compared_with, excluded=[*unnamed])
    known: Mapping[str, Any] = results if targets is None else targets
    common = [name for name in known if name in results]
    if not common:
        against_what = f"No picture of '{sr}' has the name of one in '{gt or dataset}'."
        raise InvalidInput(
            f"No picture in '{sr}' has a name that ends in '{suffix}'." if targets is None else against_what,
            hint="Names are compared without their endings; --suffix gives what follows the name in the results.",
        )
    pairing.excluded += [
        {"name": name, "reason": "no ground truth of this name"} for name in results if name not in known
    ]
    pairing.excluded += [{"name": name, "reason": "no result of this name"} for name in known if name not in results]
    for name in common:
        if targets is not None and not targets[name]:
            pairing.excluded.append({"name": name, "reason": f"no {against.removesuffix('s')} candidate"})
        else:
            pairing.names.append(name)
    if lr is not None:
        pairing.inputs = _by_name(lr, lr_suffix)[0]
        if not any(name in pairing.inputs for name in common):
            raise InvalidInput(
                f"No picture of '{lr}' has the name of a result in '{sr}'.",
                hint="--lr-suffix gives what follows the name in the inputs.",
            )
    return pairing


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


# Measuring -------------------------------------------------------------------------------------------------------


@dataclass
class _Figures:
    """The figures of one picture: a value a metric (inf for PSNR of equal pictures), or why there is none."""

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    transparent: bool = False


def _in_order(work: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    """work(name) of each, some at a time: while one picture is measured, the next ones are decoded."""
    pool = ThreadPoolExecutor(min(max(available_cores(), 2), _THREADS))
    try:
        yield from track(pool.map(work, names), "evaluate", len(names))
    finally:
        pool.shutdown(cancel_futures=True)


def _measure(pairing: _Pairing, name: str, metrics: Mapping[str, Metric]) -> _Figures | str:
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
    for target in targets:
        if target.shape != picture.shape:
            return f"The pictures differ in size: {size_text(picture)} and {size_text(target)}."
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


def _summary(metric: Metric, found: Mapping[str, _Figures], pairing: _Pairing) -> dict[str, Any]:
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
    if any(math.isinf(figures.values.get(metric.key, 0)) for figures in found.values()):
        summary["note"] = INFINITE
    return summary


def _set_summary(found: Mapping[str, _Figures], pairing: _Pairing, device: str) -> dict[str, Any]:
    """FID of all results that could be read against all their targets."""
    from goldeye.evaluate.fid import fid

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


# For people ------------------------------------------------------------------------------------------------------


def evaluation_text(result: Mapping[str, Any]) -> str:
    """An evaluation as text: a line a metric, then the definitions and what was left out."""
    lines = [f"{result['images']} pictures compared, {len(result['excluded'])} left out."]
    figures = result["metrics"].values()
    width = max([8, *(len(each["definition"]["name"]) + 2 for each in figures)])
    for each in figures:
        name, unit = each["definition"]["name"], _unit(each["definition"])
        shown = "none" if each["mean"] is None else _number(each["mean"]) + unit
        if each["ci95"] is not None:
            shown += f"  (95 % interval {_number(each['ci95'][0])} to {_number(each['ci95'][1])})"
        lines.append(f"  {name:<{width}}{shown}" + (f"  [{each['note']}]" if "note" in each else ""))
    if "compare" in result:
        lines += _compared_text(result["compare"], result["metrics"], width)
    lines += [_definition_text(each["definition"]) for each in figures]
    lines += [
        f"no {each['definition']['name']}: {name}: {reason}"
        for each in figures
        for name, reason in each.get("reasons", {}).items()
    ]
    lines += [f"not measured: {row['metric']}: {row['reason']}" for row in result.get("unavailable", [])]
    lines += [f"note: {note}" for note in result.get("notes", [])]
    lines += [f"left out: {entry['name']}: {entry['reason']}" for entry in result["excluded"]]
    return "\n".join(lines)


def _compared_text(compare: Mapping[str, Any], metrics: Mapping[str, Any], width: int) -> list[str]:
    lines = [f"Compared with {compare['with']} (A is this folder, B the other), picture by picture:"]
    for key, each in compare["metrics"].items():
        definition = metrics[key]["definition"]
        if "mean" not in each:
            lines.append(f"  {definition['name']:<{width}}{each['note']}")
            continue
        shown = f"{'+' if each['mean'] > 0 else ''}{_number(each['mean'])}{_unit(definition)}"
        if each["ci95"] is not None:
            shown += f"  (95 % interval {_number(each['ci95'][0])} to {_number(each['ci95'][1])})"
        better = "no difference shown" if each["better"] is None else f"{each['better']} is better"
        shown += f", A better on {each['win_rate']:.0%} of {each['n']}: {better}"
        lines.append(f"  {definition['name']:<{width}}{shown}")
    return lines


def _definition_text(definition: Mapping[str, Any]) -> str:
    parts = [definition[key] for key in ("colour", "range", "window", "formula", "backbone") if key in definition]
    files = [*definition.get("weights", []), *([definition["parameters"]] if "parameters" in definition else [])]
    parts += [
        f"{file['file']} (SHA-256 {file['sha256'][:16]}…)" + (f", {file['source']}" if "source" in file else "")
        for file in files
    ]
    parts += [definition["library"], f"border crop {definition['crop_border']}"]
    parts += [f"against {definition['against']}"] if "against" in definition else []
    return f"{definition['name']}: {'; '.join(parts)}."


def _unit(definition: Mapping[str, Any]) -> str:
    return "" if definition["unit"] == "1" else f" {definition['unit']}"


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"
