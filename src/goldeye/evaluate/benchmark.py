"""`goldeye benchmark`: models x test sets, measured once, with tables and a page.

OUT/results.json, table.md, table.csv, table.tex      the figures
OUT/index.html, crops/                                the page
OUT/pictures/SET/{_gt,_lr,MODEL}/NAME.png             all pictures, each with what it was made from (.made.jsonl)
OUT/figures/SET/MODEL.json                            the figures of a model on a set, with what they depend on

Pictures and figures that depend on the same weights, data and settings as before are not made again, so a call that
was killed goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from goldeye import __version__
from goldeye.batch import BatchResult
from goldeye.devices import choose_device
from goldeye.errors import InvalidInput, unknown_name
from goldeye.evaluate.entrants import Entrant, Made, load_entrant, make_pictures
from goldeye.evaluate.made import MadePictures, key_of
from goldeye.evaluate.metrics import METRICS, definition, make_metric
from goldeye.evaluate.multi_gt import AGAINST, direction
from goldeye.evaluate.published import figures_for, find_published, shown_rows
from goldeye.evaluate.run import evaluate_folder, paired_difference
from goldeye.evaluate.settings import BenchmarkConfig, load_benchmark, located
from goldeye.evaluate.testset import GT, LR, PictureSet, load_set
from goldeye.files import sole_user, write_json

SCHEMA = "goldeye.benchmark/1"
_KEPT = {"key", "figures", "excluded", "notes"}
"""Of a metric's entry in OUT/figures."""


def run_benchmark(config: Path, output: Path, *, device: str = "auto", single_file: bool = False) -> dict[str, Any]:
    """Measure every model on every set, write the tables and the page to `output`; returns results.json's document.

    Its "done", "skipped" and "failed" tell what this call measured, what it found measured, and which pictures could
    not be made or, with "model" None, are damaged in the set itself. Raises InvalidInput, before any work, for whatever
    cannot be meant.
    """
    from goldeye.evaluate.page import write_page
    from goldeye.evaluate.report import write_tables

    settings = load_benchmark(config)
    if not settings.models:
        raise InvalidInput(f"In '{config}': there are no models to measure.", hint="List them under `models:`.")
    where = str(choose_device(device))
    bench = prepare(settings, output, base=config.parent, device=where)
    shown = {one.entry.name: one.entry.published or one.entry.name for one in bench.sets}
    rows = shown_rows(settings.published, shown, settings.all_metrics)
    beside = {
        entry.name: shown_rows([entry.published], shown, settings.all_metrics)
        for entry in settings.models
        if entry.published is not None
    }
    for name, found in beside.items():
        if len(found) > 1:
            raise InvalidInput(f"'{name}' needs one published row, TABLE/ROW, not a whole table.")

    with sole_user(output):
        result, measured = measure(bench)
        names = ("table.md", "table.csv", "table.tex", "index.html", "results.json")
        document = {
            "goldeye": __version__,
            "scale": settings.scale,
            "crop_border": settings.border,
            "models": [entrant.described() for entrant in bench.entrants],
            "sets": [one.described() for one in bench.sets],
            "tables": {name: list(metrics) for name, metrics in settings.metrics.items()},
            "metrics": {
                metric: {key: getattr(METRICS[metric], key) for key in ("name", "unit", "higher_is_better")}
                for metric in settings.all_metrics
            },
            "results": measured,
            "differences": differences(measured, settings),
            "published": [
                {
                    "name": row.name,
                    "source": row.source,
                    "key": row.key,
                    "beside": name,
                    "parameters": row.parameters,
                    "figures": figures_for(row, shown, settings.all_metrics),
                    "digits": dict(row.digits),
                    "note": row.note,
                }
                for name, of in [(None, rows), *beside.items()]
                for row in of
            ],
            "done": result.done,
            "skipped": result.skipped,
            "failed": result.failed,
            "written": [str(output / name) for name in names],
        }
        write_json(output / "results.json", {"schema": SCHEMA} | document)  # first: all else is made of it
        write_tables(output, document)
        write_page(output, document, bench, single_file=single_file)
    return document


class Bench:
    """A configuration whose sets, models and metrics were found and checked."""

    def __init__(self, settings: BenchmarkConfig, output: Path, base: Path, device: str) -> None:
        self.settings, self.output, self.device = settings, output, device
        self.niqe_params = None if settings.niqe_params is None else located(base, settings.niqe_params)
        self.sets: list[PictureSet] = []
        self.entrants: list[Entrant] = []
        self.definitions: dict[str, Any] = {}
        self.made: dict[tuple[str, str], Made] = {}  # by model and set, once measured


def prepare(settings: BenchmarkConfig, output: Path, *, base: Path, device: str) -> Bench:
    """Check everything that can be wrong before anything is written; paths are relative to `base`."""
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"The output '{output}' is a file; a folder is needed.")
    bench = Bench(settings, output, base, device)
    for metric in settings.all_metrics:
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
    for key in (*settings.published, *(entry.published for entry in settings.models if entry.published)):
        find_published(key)
    for entry in settings.sets:
        if entry.against is not None and entry.against not in AGAINST:
            raise unknown_name("target", entry.against, AGAINST)
        bench.sets.append(load_set(entry, output, scale=settings.scale, base=base))
    for metric in settings.all_metrics:
        info = METRICS[metric]
        lacking = [one.entry.name for one in bench.sets if info.needs == "input" and not one.has_lr]
        if lacking:
            raise InvalidInput(f"The metric {metric} needs LR pictures, which the set '{lacking[0]}' does not have.")
        if info.needs == "sets":
            bench.definitions[metric] = _check_fid(bench.sets)
        else:
            made = make_metric(metric, crop_border=settings.border, device=device, niqe_params=bench.niqe_params)
            bench.definitions[metric] = made.definition
    for model in settings.models:
        bench.entrants.append(load_entrant(model, bench.sets, scale=settings.scale, base=base, device=device))
    _refuse_others_pictures(bench, base)
    return bench


def _refuse_others_pictures(bench: Bench, base: Path) -> None:
    """The folders to write hold nothing but what was written there, and none of them is one to read."""
    folders = [
        one.folder / name
        for one in bench.sets
        for name in (GT, LR, *(entrant.folder for entrant in bench.entrants if entrant.enters(one)))
    ]
    given = [each for entry in bench.settings.sets for each in (entry.hr, entry.lr) if each is not None]
    given += [
        entrant.entry.results.replace("{set}", one.entry.name)
        for entrant in bench.entrants
        for one in bench.sets
        if entrant.entry.results is not None and entrant.enters(one)
    ]
    for text in given:
        source = located(base, text).resolve()
        for folder in (folder.resolve() for folder in folders):
            if source.is_relative_to(folder) or folder.is_relative_to(source):
                raise InvalidInput(
                    f"The pictures of '{text}' would get mixed up with those that are written to '{folder}'.",
                    hint="Choose another output folder.",
                )
    for folder in folders:
        MadePictures(folder).require_own()


def _check_fid(sets: Sequence[PictureSet]) -> dict[str, Any]:
    """FID's definition, what it compares aside; InvalidInput where it cannot be measured."""
    from goldeye.evaluate.fid import fid_parts, require_fid

    for one in sets:
        if len(one.cases) < 2:
            raise InvalidInput(f"FID needs at least two pictures, and the set '{one.entry.name}' has one.")
    require_fid()
    return definition("fid", fid_parts(), 0)


def measure(bench: Bench) -> tuple[BatchResult, list[dict[str, Any]]]:
    """Make and measure what is not there yet: what was done, and the figures of every model on every set."""
    result, measured = BatchResult(), []
    for one in bench.sets:
        result.failed += [{**failed, "model": None, "set": one.entry.name} for failed in one.place()]
    for one in bench.sets:
        for entrant in bench.entrants:
            if not entrant.enters(one):
                continue
            made = bench.made[entrant.name, one.entry.name] = make_pictures(entrant, one)
            figures, new = _figures(bench, entrant, one, made)
            item = {"model": entrant.name, "set": one.entry.name, "pictures": made.new, "metrics": new}
            (result.done if made.new or new else result.skipped).append(item)
            result.failed += [{**failed, "model": entrant.name, "set": one.entry.name} for failed in made.failed]
            measured.append(
                {"model": entrant.name, "set": one.entry.name, "metrics": figures["metrics"]}
                | {"excluded": [*one.excluded, *figures["excluded"]], "notes": figures["notes"]}
                | {"seconds": made.timing()}
            )
    return result, measured


def _figures(bench: Bench, entrant: Entrant, one: PictureSet, made: Made) -> tuple[dict[str, Any], list[str]]:
    """{"metrics", "excluded", "notes"} of a model on a set, and the metrics that were measured now, not earlier."""
    path = bench.output / "figures" / one.folder.name / f"{entrant.folder}.json"
    names = {row["name"]: row["sha256"] for row in made.pictures.rows}
    data = key_of(
        {
            "pictures": {name: [names.get(name), *one.data_key(name)] for name in one.cases},
            "border": bench.settings.border,
            "against": one.against if one.dataset is not None else None,
            "goldeye": __version__,
        }
    )
    kept = _read(path)
    found: dict[str, Any] = {}
    todo = []
    for metric in bench.settings.all_metrics:
        meaning = bench.definitions[metric] | {"higher_is_better": direction(metric, one.against)}
        key = key_of([data, meaning])
        if not names:
            found[metric] = _no_figures(meaning, "no picture could be made")
        elif METRICS[metric].needs == "input" and (one.lr is None or not one.lr.rows):
            found[metric] = _no_figures(meaning, "no LR picture could be read")
        elif kept.get(metric, {}).get("key") == key:
            found[metric] = kept[metric]
        else:
            todo.append((metric, key))
    if todo:
        evaluated = evaluate_folder(
            made.pictures.folder,
            metrics=[metric for metric, _ in todo],
            scale=bench.settings.scale,
            crop_border=bench.settings.border,
            lr=one.lr.folder if one.lr is not None and one.lr.rows else None,
            niqe_params=bench.niqe_params,
            device=bench.device,
            **_compared_with(one),
        )
        excluded = [entry for entry in evaluated["excluded"] if entry["name"] in names]
        for metric, key in todo:
            found[metric] = {"key": key, "figures": evaluated["metrics"][metric], "excluded": excluded}
            found[metric]["notes"] = evaluated.get("notes", [])
        write_json(path, {**{name: entry for name, entry in kept.items() if name in METRICS}, **found})
    entries = [found[metric] for metric in bench.settings.all_metrics]
    others = {json.dumps(each): each for entry in entries for each in entry["excluded"]}
    return {
        "metrics": {metric: found[metric]["figures"] for metric in bench.settings.all_metrics},
        "excluded": [*made.excluded, *others.values()],
        "notes": list(dict.fromkeys(note for entry in entries for note in entry["notes"])),
    }, [metric for metric, _ in todo]


def _no_figures(definition: Mapping[str, Any], why: str) -> dict[str, Any]:
    figures = {"mean": None, "ci95": None, "per_image": {}, "definition": definition, "note": why}
    return {"figures": figures, "excluded": [], "notes": []}


def _compared_with(one: PictureSet) -> dict[str, Any]:
    if one.dataset is None:
        return {"gt": one.gt.folder}
    return {"dataset": one.dataset, "split": one.entry.split, "against": one.against}


def _read(path: Path) -> dict[str, Any]:
    """The figures by metric that an earlier call kept; whatever is none is passed over."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, dict) and entry.keys() >= _KEPT}


def differences(measured: Sequence[Mapping[str, Any]], settings: BenchmarkConfig) -> list[dict[str, Any]]:
    """For every set, metric and two models the paired difference of their figures (`paired_difference`), A - B."""
    found = []
    for entry in settings.sets:
        of = [row for row in measured if row["set"] == entry.name]
        for metric in settings.all_metrics:
            for a, b in combinations(of, 2):
                try:
                    difference = paired_difference(a, b, metric)
                except InvalidInput:  # no picture has a figure of both
                    continue
                names = {"A": a["model"], "B": b["model"], None: None}
                row = {"set": entry.name, "metric": metric, "a": a["model"], "b": b["model"], **difference}
                found.append(row | {"better": names[difference["better"]]})
    return found
