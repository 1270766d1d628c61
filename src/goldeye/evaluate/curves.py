"""`goldeye benchmark curves`: the metrics of every checkpoint of runs, and how stable their results are (LDL, Fig. 4).

A run keeps its last few checkpoints only. Figures of checkpoints that are gone since an earlier call into the same
folder are kept, as long as the run, the test set and the settings are the same: call it while a run trains.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goldeye.config import FREE_ON_RESUME, flatten, parse_yaml, validate
from goldeye.dataset.csv_files import csv_text
from goldeye.dataset.tables import Table, join
from goldeye.devices import choose_device
from goldeye.errors import InvalidInput, some, unknown_name
from goldeye.evaluate.benchmark import measure, prepare
from goldeye.evaluate.made import MadePictures, key_of
from goldeye.evaluate.metrics import METRICS
from goldeye.evaluate.report import shown
from goldeye.evaluate.settings import BenchmarkConfig, PatchEntry, folder_name, load_benchmark
from goldeye.evaluate.testset import PictureSet
from goldeye.files import atomic_path, sole_user, write_json, write_text
from goldeye.images import Picture, read_image
from goldeye.images.colour import as_float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = "goldeye.benchmark-curves/1"
STABILITY = (
    "mean absolute difference of the results of steps k and k + period, all pixels and channels of the patch, 0..255, "
    "of the pictures as written (LDL, Fig. 4)"
)


def learning_curves(
    runs: Sequence[Path],
    config: Path,
    output: Path,
    *,
    sets: Sequence[str] = (),
    period: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure every checkpoint of the runs on the sets of a benchmark's configuration (all, or `sets`), whose scale,
    metrics and patches count, and whose models do not; write curves.json, curves.csv, curves.svg and curves.png.

    `period` is the p of LDL's stability curve in steps; unless given, the distance most common between checkpoints.
    Returns curves.json's document. Raises InvalidInput before any work.
    """
    import matplotlib  # noqa: F401 - a missing library is told before any work

    if period is not None and period < 1:
        raise InvalidInput(f"The period must be at least 1 step, not {period}.")
    settings = load_benchmark(config)
    for name in sets:
        if name not in [entry.name for entry in settings.sets]:
            raise unknown_name("set", name, [entry.name for entry in settings.sets])
    checkpoints = {name: _checkpoints(run) for name, run in _titles(runs).items()}
    bench = prepare(
        _with_models(settings, checkpoints, sets, where=f"'{config}'"),
        output,
        base=config.parent,
        device=str(choose_device(device)),
    )
    _check_patches(settings, bench.sets)
    with sole_user(output):
        result, measured = measure(bench)
        facts = [settings.border, {metric: bench.definitions.get(metric) for metric in settings.all_metrics}]
        keys = {
            (title, one.entry.name): key_of([one.described()["sha256"], run_settings(run), _first_line(run), *facts])
            for title, run in _titles(runs).items()
            for one in bench.sets
        }
        weights = {entrant.name: entrant.identity["weights_sha256"] for entrant in bench.entrants}
        now = [
            {
                "run": title,
                "set": row["set"],
                "step": step,
                "key": keys[title, row["set"]],
                "weights_sha256": weights[row["model"]],
                "metrics": {
                    metric: {"mean": figures["mean"], "ci95": figures["ci95"]}
                    for metric, figures in row["metrics"].items()
                },
            }
            for row in measured
            for title, _, step in [_parted(row["model"])]
        ]
        newest = {title: max(steps) for title, steps in checkpoints.items()}
        points = sorted(
            [*now, *_kept(output / "curves.json", keys, newest, now)],
            key=lambda point: (point["run"], point["set"], point["step"]),
        )
        period = period or _usual_period(points)
        document = {
            "runs": [{"name": title, "path": str(run)} for title, run in _titles(runs).items()],
            "sets": [one.described() for one in bench.sets],
            "scale": settings.scale,
            "crop_border": settings.border,
            "metrics": {
                metric: {
                    "name": METRICS[metric].name,
                    "unit": METRICS[metric].unit,
                    "definition": bench.definitions.get(metric),
                }
                for metric in settings.all_metrics
            },
            "points": points,
            "stability": {
                "period": period,
                "definition": STABILITY,
                "curves": [] if period is None else list(_stability(points, bench.sets, settings.patches, period)),
            },
            "done": result.done,
            "skipped": result.skipped,
            "failed": result.failed,
        }
        names = ("curves.json", "curves.csv", "curves.svg", "curves.png")
        document["written"] = [str(output / name) for name in names]
        write_text(output / "curves.csv", csv_text(csv_rows(document)))
        for name in names[2:]:
            write_chart(output / name, document)
        write_json(output / "curves.json", {"schema": SCHEMA} | document)
    return document


# Runs and checkpoints -------------------------------------------------------------------------------------------------


def _titles(runs: Sequence[Path]) -> dict[str, Path]:
    """{short name: run}: the folder's name, with its parents' where two are alike."""
    given = {run.resolve(): run for run in runs}
    counts = Counter(folder_name(path.name) for path in given)
    titles = {}
    for path, run in given.items():
        titles[path.name if counts[folder_name(path.name)] == 1 else "/".join(path.parts[-2:])] = run
    if len({folder_name(title) for title in titles}) < len(given):
        raise InvalidInput(f"The runs have names too alike: {some(map(str, runs))}.", hint="Give them one at a time.")
    return titles


def _checkpoints(run: Path) -> dict[int, Path]:
    """{step: weights}; InvalidInput where there are none."""
    found = {
        int(match[1]): path
        for path in (run / "checkpoints").glob("step-*.safetensors")
        if (match := re.fullmatch(r"step-(\d+)", path.stem))
    }
    if not found:
        raise InvalidInput(f"'{run}' has no checkpoints.", hint="Give the folder of a training run.")
    return dict(sorted(found.items()))


def _with_models(
    settings: BenchmarkConfig, checkpoints: Mapping[str, Mapping[int, Path]], sets: Sequence[str], where: str
) -> BenchmarkConfig:
    values = settings.model_dump(mode="json", exclude_unset=True, exclude={"models", "patches", "published"})
    values["sets"] = [entry for entry in values["sets"] if not sets or entry["name"] in sets]
    values["models"] = [
        {"name": f"{title}@{step}", "model": str(path.resolve())}
        for title, steps in checkpoints.items()
        for step, path in steps.items()
    ]
    return validate(BenchmarkConfig, values, where)


def _parted(name: str) -> tuple[str, str, int]:
    title, at, step = name.rpartition("@")
    return title, at, int(step)


def run_settings(run: Path) -> dict[str, Any]:
    """The settings of a run that stay when it is continued, by their dotted keys; none without its config.yaml."""
    config = run / "config.yaml"
    if not config.is_file():
        return {}
    settings = flatten(parse_yaml(config.read_text(encoding="utf-8"), str(config)))
    return {key: value for key, value in settings.items() if not FREE_ON_RESUME & {key, key.partition(".")[0]}}


def _first_line(run: Path) -> str | None:
    """The oldest line of a run's log: another one where it was trained anew."""
    log = run / "metrics.jsonl"
    if not log.is_file():
        return None
    with log.open(encoding="utf-8", errors="replace") as lines:
        return lines.readline()


def _kept(
    path: Path, keys: Mapping[tuple[str, str], str], newest: Mapping[str, int], now: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The points of an earlier call whose checkpoints are gone, of the same runs, sets and settings.

    A run that has other weights now at a step of both calls was trained anew: none of its points is kept.
    """
    weights = {(point["run"], point["set"], point["step"]): point["weights_sha256"] for point in now}
    try:
        points = json.loads(path.read_text(encoding="utf-8"))["points"]
        anew = {
            point["run"]
            for point in points
            if weights.get((point["run"], point["set"], point["step"]), point["weights_sha256"])
            != point["weights_sha256"]
        }
        return [
            point
            for point in points
            if (point["run"], point["set"], point["step"]) not in weights
            and point["run"] not in anew
            and keys.get((point["run"], point["set"])) == point["key"]
            and point["step"] <= newest[point["run"]]
        ]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


# Stability ------------------------------------------------------------------------------------------------------------


def _check_patches(settings: BenchmarkConfig, sets: Sequence[PictureSet]) -> None:
    for patch in settings.patches:
        for one in sets:
            if one.entry.name != patch.set:
                continue
            if patch.picture not in one.cases:
                raise unknown_name(f"picture of the patch '{patch.name}'", patch.picture, one.cases)
            height, width = one.cases[patch.picture].size
            if patch.y + patch.size > height or patch.x + patch.size > width:
                raise InvalidInput(
                    f"The patch '{patch.name}' lies outside of '{patch.picture}', {width}x{height} pixels."
                )


def _usual_period(points: Sequence[Mapping[str, Any]]) -> int | None:
    """The distance most common between neighbouring checkpoints, the smallest of equals; None without two."""
    steps: dict[tuple[str, str], list[int]] = {}
    for point in points:
        steps.setdefault((point["run"], point["set"]), []).append(point["step"])
    distances = Counter(after - before for of in steps.values() for before, after in pairwise(sorted(of)))
    return min(distances, key=lambda distance: (-distances[distance], distance), default=None)


def _stability(
    points: Sequence[Mapping[str, Any]], sets: Sequence[PictureSet], patches: Sequence[PatchEntry], period: int
) -> Iterator[dict[str, Any]]:
    """A curve for each run and patch; without patches of a set, for each run, the mean over its whole pictures."""
    for title in dict.fromkeys(point["run"] for point in points):
        for one in sets:
            steps = [point["step"] for point in points if (point["run"], point["set"]) == (title, one.entry.name)]
            pairs = [(step, step + period) for step in steps if step + period in steps]
            own = [patch for patch in patches if patch.set == one.entry.name]
            made = {step: MadePictures(one.folder / folder_name(f"{title}@{step}")) for step in steps}
            regions: list[PatchEntry | None] = [*own] or [None]
            for patch in regions:
                names = [patch.picture] if patch is not None else list(one.cases)
                values = {
                    k: _mean_difference([(made[k], made[later], name) for name in names], patch) for k, later in pairs
                }
                found = {k: value for k, value in values.items() if value is not None}
                yield {
                    "run": title,
                    "set": one.entry.name,
                    "patch": None if patch is None else patch.name,
                    "steps": list(found),
                    "values": list(found.values()),
                }


def _mean_difference(
    pictures: Sequence[tuple[MadePictures, MadePictures, str]], patch: PatchEntry | None
) -> float | None:
    """Mean over the pictures of the mean absolute difference; None where no pair is there."""
    values = [
        mean_absolute_difference(read_image(before.path(name)), read_image(after.path(name)), patch)
        for before, after, name in pictures
        if before.there(name) and after.there(name)
    ]
    return sum(values) / len(values) if values else None


def mean_absolute_difference(a: Picture, b: Picture, patch: PatchEntry | None = None) -> float:
    """Mean |a - b| of two pictures (H, W, 3), or of a patch of them, on the scale 0..255."""
    if patch is not None:
        window = (slice(patch.y, patch.y + patch.size), slice(patch.x, patch.x + patch.size))
        a, b = a[window], b[window]
    difference = np.abs(as_float(a).astype(np.float64) - as_float(b))
    return float(255 * difference.mean())


# Output ---------------------------------------------------------------------------------------------------------------


def csv_rows(document: Mapping[str, Any]) -> list[list[object]]:
    """A figure a line."""
    rows: list[list[object]] = [["run", "set", "patch", "step", "figure", "value", "low", "high"]]
    for point in document["points"]:
        for metric, figures in point["metrics"].items():
            low, high = figures["ci95"] or (None, None)
            rows.append([point["run"], point["set"], None, point["step"], metric, figures["mean"], low, high])
    for curve in document["stability"]["curves"]:
        for step, value in zip(curve["steps"], curve["values"], strict=True):
            rows.append([curve["run"], curve["set"], curve["patch"], step, "stability", value, None, None])
    return rows


def curves_text(document: Mapping[str, Any]) -> str:
    """A table for each set: a line a checkpoint."""
    metrics = document["metrics"]
    stable = {
        (curve["run"], curve["set"], step): value
        for curve in document["stability"]["curves"]
        if curve["patch"] is None
        for step, value in zip(curve["steps"], curve["values"], strict=True)
    }
    blocks: list[Table | str] = []
    for one in document["sets"]:
        rows = [
            [
                point["run"],
                str(point["step"]),
                *(shown(name, info["unit"], point["metrics"][name]["mean"]) for name, info in metrics.items()),
                *([] if not stable else [shown("", "dB", stable.get((point["run"], one["name"], point["step"])))]),
            ]
            for point in document["points"]
            if point["set"] == one["name"]
        ]
        header = ["run", "step", *(info["name"] for info in metrics.values()), *(["stability"] if stable else [])]
        blocks.append(Table(one["name"], header, rows))
    return join([*blocks, f"Chart: {document['written'][2]}"], "text")


def write_chart(path: Path, document: Mapping[str, Any]) -> None:
    """Draw a panel for each set and metric, and one for each set's stability, into a .svg or .png file."""
    import matplotlib
    from matplotlib.figure import Figure

    sets = [one["name"] for one in document["sets"]]
    curves = [curve for curve in document["stability"]["curves"] if curve["steps"]]
    columns = [*document["metrics"], *(["stability"] if curves else [])]
    style = matplotlib.rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "svg.hashsalt": "goldeye",  # equal figures give equal files
        }
    )
    with style:
        figure = Figure(figsize=(3.2 * len(columns), 2.7 * len(sets) + 0.4), layout="constrained", facecolor="white")
        panels = figure.subplots(len(sets), len(columns), squeeze=False)
        for line, name in zip(panels, sets, strict=True):
            for axes, column in zip(line, columns, strict=True):
                if column == "stability":
                    _draw_stability(axes, [curve for curve in curves if curve["set"] == name], document)
                else:
                    _draw_metric(
                        axes, [point for point in document["points"] if point["set"] == name], column, document
                    )
                axes.set_xlabel("step")
            line[0].set_title(name, loc="left", fontweight="bold")
        handles, labels = panels[0][0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False, handlelength=3)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=200, metadata={"Date": None} if path.suffix == ".svg" else {})


def _draw_metric(axes: Axes, points: Sequence[Mapping[str, Any]], metric: str, document: Mapping[str, Any]) -> None:
    for run, colour, style in _looks(document):
        own = [
            (p["step"], p["metrics"][metric])
            for p in points
            if p["run"] == run and p["metrics"][metric]["mean"] is not None
        ]
        axes.plot(
            [step for step, _ in own],
            [figures["mean"] for _, figures in own],
            marker="o",
            markersize=3,
            color=colour,
            linestyle=style,
            label=run,
        )
    info = document["metrics"][metric]
    axes.set_ylabel(f"{info['name']}{' (dB)' if info['unit'] == 'dB' else ''}")


def _draw_stability(axes: Axes, curves: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> None:
    """As LDL's Fig. 4: a colour a patch and a kind of line a run; without patches a colour a run."""
    from goldeye.study.chart import COLOURS

    patches = [patch for patch in dict.fromkeys(curve["patch"] for curve in curves) if patch is not None]
    for run, colour, style in _looks(document):
        for curve in curves:
            if curve["run"] == run:
                own = colour if curve["patch"] is None else COLOURS[patches.index(curve["patch"]) % len(COLOURS)]
                label = None if curve["patch"] is None else f"{curve['patch']}, {run}"
                axes.plot(
                    curve["steps"], curve["values"], marker="o", markersize=3, color=own, linestyle=style, label=label
                )
    if patches:
        axes.legend(frameon=False, fontsize=7, handlelength=3.5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"difference to {document['stability']['period']} steps later")


def _looks(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(run, colour, kind of line)"""
    from goldeye.study.chart import COLOURS

    styles = ("-", "--", ":", "-.")
    for place, run in enumerate(document["runs"]):
        yield run["name"], COLOURS[place % len(COLOURS)], styles[place % len(styles)]
