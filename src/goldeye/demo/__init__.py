"""`goldeye demo`: the whole loop on bundled photos, with scripted annotators, ending in report.html.

Each stage calls the functions behind the commands, writes its record to stages/NAME.json when it is whole, and is
skipped when that record is there; so a demo that was stopped continues.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from goldeye.annotate.run import dataset_app
from goldeye.annotate.server import person_link, running_server
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.batch import BatchResult, bar
from goldeye.config import Strict, load_recipe
from goldeye.curate.enhance import enhance_photos
from goldeye.curate.select import SelectSettings, select_patches
from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, finals, label_stats
from goldeye.dataset.tables import stats_text
from goldeye.degrade import degrade_folder
from goldeye.demo.annotators import RULE, ScriptedAnnotator, annotate_over_http
from goldeye.demo.photos import SPOIL, TEST, TRAIN, write_oversharpened, write_photos
from goldeye.demo.report import write_report
from goldeye.errors import Interrupted, InvalidInput, RunStopped
from goldeye.evaluate.metrics import low_frequency_delta_e, psnr
from goldeye.evaluate.run import evaluate_folder, paired_difference
from goldeye.files import write_json
from goldeye.images import find_images, matlab_resize, read_image, to_float, to_uint8, write_image
from goldeye.networks.known import bundled_enhancers
from goldeye.networks.weights import load_model
from goldeye.train.loop import train
from goldeye.upscale import upscale_files, upscale_picture

ENHANCERS = bundled_enhancers()
ANNOTATORS = ("scripted-1", "scripted-2", "scripted-3")
SR_RUNS = {"original": "tiny/compact-original", "posneg": "tiny/compact-posneg"}
START = "goldeye-x4-fidelity"  # what the recipes of SR_RUNS start from
METRICS = ["psnr", "ssim", "psnr_y", "ssim_y"]


class DemoSettings(Strict):
    """How large the demo is, and what it must reach; the defaults are `make demo`, tests use less."""

    seed: int = 0
    side: int | None = None
    patch_size: int = 128
    per_photo: int = 24
    sr_settings: tuple[str, ...] = ()
    least_gain_db: float = 0.5
    most_colour_shift: float = 1.0
    least_positive_groups: int = 8
    least_negative_groups: int = 3


@dataclass
class Demo:
    """Where a demo works, and what its stages have found so far (`records`, by stage)."""

    output: Path
    settings: DemoSettings
    device: str
    say: Callable[[str], None]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def stage(self, name: str, title: str, commands: list[str], work: Callable[[], dict[str, Any]]) -> None:
        """Do one stage, or take its record when it is finished; `commands` do the same by hand, from its folder."""
        path = self.output / "stages" / f"{name}.json"
        number = f"[{len(self.records) + 1}/{len(STAGES)}]"
        if path.is_file():
            self.say(f"{number} {title}: done before")
        else:
            self.say(f"{number} {title}")
            for later in path.parent.glob("*.json"):  # made from what this stage is about to make again
                if later.stem not in self.records:
                    later.unlink()
            started = time.perf_counter()
            result = work()
            seconds = round(time.perf_counter() - started, 1)
            write_json(
                path, {"stage": name, "title": title, "commands": commands, "seconds": seconds, "result": result}
            )
        self.records[name] = json.loads(path.read_text(encoding="utf-8"))


def run_demo(
    output: Path,
    *,
    settings: DemoSettings | None = None,
    fresh: bool = False,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> Path:
    """Run the demo in `output`, continuing what is finished there; returns the path of report.html.

    Raises InvalidInput when `output` holds something else or a demo with other settings, RunStopped when a stage does
    not reach what the settings ask for.
    """
    settings = settings or DemoSettings()
    _open_folder(output, settings, fresh)
    demo = Demo(output, settings, device, say)
    started = time.perf_counter()
    for stage in STAGES:
        stage(demo)
    report = write_report(output, demo.records, settings.model_dump(mode="json"))
    say(f"Finished in {time.perf_counter() - started:.0f} s.")
    return report


def _open_folder(output: Path, settings: DemoSettings, fresh: bool) -> None:
    marker = output / "demo.json"
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not marker.is_file())):
        raise InvalidInput(f"'{output}' is there and is not a demo's folder.", hint="Choose another -o.")
    if fresh and output.exists():
        shutil.rmtree(output)
    text = settings.model_dump(mode="json")
    if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) != text:
        raise InvalidInput(f"'{output}' holds a demo with other settings.", hint="Use --fresh to start over.")
    write_json(marker, text)


def _all_done(result: BatchResult) -> None:
    if result.failed:
        first = result.failed[0]
        raise RunStopped(f"{len(result.failed)} items failed; the first is '{first['input']}': {first['error']}")


# --- stages -----------------------------------------------------------------------------------------------------------


def photos(demo: Demo) -> None:
    """Bundled pictures, spoilt a little; the clean ones stay hidden."""

    def work() -> dict[str, Any]:
        write_photos(demo.output, seed=demo.settings.seed, side=demo.settings.side)
        spoil = {
            name: dict(zip(("blur_sigma", "noise_sigma", "jpeg"), values, strict=True))
            for name, values in SPOIL.items()
        }
        return {"train": list(TRAIN), "test": list(TEST), "spoil": spoil}

    demo.stage("photos", "Photos: bundled pictures, lightly blurred, noised and compressed", [], work)


def degrade(demo: Demo) -> None:
    """The enhancers' two degradations of the hidden clean pictures: what their gain is measured on."""
    source = demo.output / "clean"
    targets = {kind: demo.output / "degraded" / kind for kind in ("noise", "blur")}

    def work() -> dict[str, Any]:
        for kind, target in targets.items():
            _all_done(degrade_folder(source, target, preset=f"hggt-enhance-{kind}", scale=1, seed=demo.settings.seed))
        return {kind: str(target / "degradations.jsonl") for kind, target in targets.items()}

    commands = [
        f"goldeye degrade {source} -o {target} --preset hggt-enhance-{kind} --scale 1"
        for kind, target in targets.items()
    ]
    demo.stage("degrade", "Degrade the hidden clean pictures with the enhancers' two presets", commands, work)


def measure_enhancers(demo: Demo) -> None:
    """The four enhancers that come with Goldeye: two networks x two degradations (HGGT §3.2)."""

    def work() -> dict[str, Any]:
        result = {}
        for name, model in ENHANCERS.items():
            result[name] = measured = _enhancer_gain(demo, model, name.split("-")[1])
            demo.say(f"      {name}: {measured['gain_db']:+.2f} dB on held-back crops")
            if measured["gain_db"] < demo.settings.least_gain_db:
                raise RunStopped(
                    f"Enhancer {name} gains {measured['gain_db']:.2f} dB, less than {demo.settings.least_gain_db}."
                )
            if measured["colour_shift"] >= demo.settings.most_colour_shift:
                raise RunStopped(f"Enhancer {name} shifts colour by {measured['colour_shift']:.2f} Delta E.")
        return result

    degraded, enhanced, clean = (demo.output / name for name in ("degraded", "enhanced", "clean"))
    commands = [
        line
        for name, model in ENHANCERS.items()
        for line in (
            f"goldeye upscale {degraded / name.split('-')[1]} -o {enhanced / name} -n {model}",
            f"goldeye evaluate {enhanced / name} --gt {clean} --crop-border 0",
        )
    ]
    demo.stage("enhancers", "Measure the four bundled enhancers (2 RCAN-like, 2 ELAN-like)", commands, work)


def _enhancer_gain(demo: Demo, enhancer: str, kind: str) -> dict[str, Any]:
    """Mean PSNR over crops of the held-back photos' clean pictures, before and after, and the colour shift."""
    model = load_model(enhancer)
    size = demo.settings.patch_size
    before, after, shifts = [], [], []
    for name in TEST:
        clean, degraded = (read_image(demo.output / folder / f"{name}.png") for folder in ("clean", f"degraded/{kind}"))
        enhanced = upscale_picture(model.module, degraded, scale=1)
        for y in range(0, clean.shape[0] - size + 1, size):
            for x in range(0, clean.shape[1] - size + 1, size):
                crop = (slice(y, y + size), slice(x, x + size))
                before.append(psnr(degraded[crop], clean[crop], crop_border=0))
                after.append(psnr(enhanced[crop], clean[crop], crop_border=0))
                shifts.append(low_frequency_delta_e(enhanced[crop], degraded[crop]))
    return {
        "crops": len(before),
        "psnr_before": float(np.mean(before)),
        "psnr_after": float(np.mean(after)),
        "gain_db": float(np.mean(after) - np.mean(before)),
        "colour_shift": float(np.mean(shifts)),
    }


def enhance(demo: Demo) -> None:
    """The four enhancers' candidates, and a fifth that was made elsewhere and is deliberately bad."""
    photos, sharpened, candidates = (demo.output / name for name in ("photos", "sharpened", "candidates"))

    def work() -> dict[str, Any]:
        write_oversharpened(photos, sharpened)
        result = enhance_photos(
            photos, candidates, enhancers=ENHANCERS, folders={"sharpened": sharpened}, device=demo.device
        )
        _all_done(result)
        return {"candidates": [*ENHANCERS, "sharpened"], "pictures": len(result.done) + len(result.skipped)}

    options = " ".join(f"--enhancer {name}={path}" for name, path in ENHANCERS.items())
    commands = [f"goldeye enhance {photos} -o {candidates} {options} --folder sharpened={sharpened} --precision fp32"]
    demo.stage("enhance", "Enhance the photos; a fifth candidate comes in as a folder", commands, work)


def select(demo: Demo) -> None:
    """Patch groups worth labelling, split by photo."""
    candidates, dataset = demo.output / "candidates", demo.output / "dataset"
    settings = SelectSettings(
        patch_size=demo.settings.patch_size,
        min_std=15,
        per_photo=demo.settings.per_photo,
        test=TEST,
        seed=demo.settings.seed,
    )

    def work() -> dict[str, Any]:
        if (dataset / "dataset.yaml").is_file():  # stopped between the dataset's last file and this stage's record
            shutil.rmtree(dataset)
        return dict(select_patches(candidates, dataset, settings))

    tests = " ".join(f"--test {name}" for name in TEST)
    commands = [
        f"goldeye select {candidates} -o {dataset} --patch-size {settings.patch_size} --min-std {settings.min_std:g} "
        f"--per-photo {settings.per_photo} {tests} --seed {settings.seed}"
    ]
    demo.stage("select", "Select patch groups by texture, detail and difference", commands, work)


def annotate(demo: Demo) -> None:
    """Start the annotation server, let three scripted annotators label every group over HTTP, stop it."""
    path = demo.output / "dataset"

    def work() -> dict[str, Any]:
        dataset = Dataset.open(path)
        clean = {photo.stem: read_image(photo) for photo in find_images(demo.output / "clean")}
        store = Store(dataset.votes_url)
        lock, stop = threading.Lock(), threading.Event()
        done = sum(store.progress().by_group.values())
        try:
            app = dataset_app(dataset, store, settings=AnnotationSettings(votes=len(ANNOTATORS)))
            with running_server(app) as url, bar("annotate", len(dataset.groups) * len(ANNOTATORS), done) as advance:

                def count() -> None:
                    if stop.is_set():
                        raise Interrupted("Annotation was stopped.", signal.SIGINT)
                    with lock:
                        advance()

                def label(name: str) -> int:
                    link = person_link(url, store.invite(name, renew=True))
                    return annotate_over_http(link, ScriptedAnnotator(name, clean, demo.settings.seed), count)

                with ThreadPoolExecutor(len(ANNOTATORS)) as pool:
                    try:
                        list(pool.map(label, ANNOTATORS))
                    finally:
                        stop.set()  # after Ctrl-C the annotators end with the group they are at
        finally:
            store.close()
        return {
            "rule": RULE,
            "annotators": list(ANNOTATORS),
            "groups": len(dataset.groups),
            "database": dataset.votes_url,
        }

    commands = [f"goldeye annotate invite {path} YOUR-NAME", f"goldeye annotate {path}"]
    demo.stage("annotate", "Annotate: three scripted annotators label over HTTP", commands, work)


def labels(demo: Demo) -> None:
    """Final labels and the paper's three tables."""
    path = demo.output / "dataset"

    def work() -> dict[str, Any]:
        dataset = Dataset.open(path)
        stats = label_stats(dataset)
        write_json(demo.output / "labels.json", stats)
        counts = {
            label: sum(any(final.label is label for final in group.values()) for group in finals(dataset).values())
            for label in (Label.POSITIVE, Label.NEGATIVE)
        }
        for label, least in (
            (Label.POSITIVE, demo.settings.least_positive_groups),
            (Label.NEGATIVE, demo.settings.least_negative_groups),
        ):
            if counts[label] < least:
                raise RunStopped(f"Only {counts[label]} groups have a {label} candidate; the demo needs {least}.")
        return {
            "file": "labels.json",
            "text": stats_text(stats, dataset.enhancer_names),
            "groups_with_positive": counts[Label.POSITIVE],
            "groups_with_negative": counts[Label.NEGATIVE],
        }

    demo.stage("labels", "Final labels and the paper's tables", [f"goldeye labels stats {path}"], work)


def train_sr(demo: Demo) -> None:
    """Two GAN runs from the bundled generator: original patches, and positives + negatives (Eq. 5)."""
    runs = demo.output / "runs"
    settings = [
        f"data.path={demo.output / 'dataset'}",
        "data.split=train",
        f"seed={demo.settings.seed}",
        *demo.settings.sr_settings,
    ]

    def work() -> dict[str, Any]:
        for name, recipe in SR_RUNS.items():
            train(load_recipe(recipe, settings), runs / name, recipe=recipe, device=demo.device)
        return {name: str(runs / name / "metrics.jsonl") for name in SR_RUNS}

    commands = [f"goldeye train {recipe} {_set(settings)} -o {runs / name}" for name, recipe in SR_RUNS.items()]
    demo.stage(
        "train", "Train SR from the bundled generator: GAN on originals, and on positives + negatives", commands, work
    )


def evaluate(demo: Demo) -> None:
    """Both runs, their start and bicubic on the held-back patches, against positives, originals and clean copies."""
    dataset_path, testset, results = (demo.output / name for name in ("dataset", "testset", "sr"))
    models = {"start": START} | {name: str(demo.output / "runs" / name) for name in SR_RUNS}
    commands = [
        f"goldeye degrade {testset / 'original'} -o {testset / 'lr'} --preset hggt --seed {demo.settings.seed}",
        *(f"goldeye upscale {testset / 'lr'} -o {results / name} -n {model}" for name, model in models.items()),
        *(f"goldeye evaluate {results / name} --dataset {dataset_path} --split test" for name in models),
        *(f"goldeye evaluate {results / name} --gt {testset / 'clean'}" for name in models),
    ]

    def work() -> dict[str, Any]:
        dataset = Dataset.open(dataset_path, "test")
        size = demo.settings.patch_size
        for group in dataset.groups:
            assert group.source is not None
            assert group.y is not None
            assert group.x is not None
            clean = read_image(demo.output / "clean" / group.source)
            write_image(
                testset / "clean" / f"{group.id}.png", clean[group.y : group.y + size, group.x : group.x + size]
            )
            write_image(testset / "original" / f"{group.id}.png", read_image(group.original))
        _all_done(degrade_folder(testset / "original", testset / "lr", preset="hggt", scale=4, seed=demo.settings.seed))
        for name, model in models.items():
            _all_done(upscale_files([testset / "lr"], results / name, model=load_model(model), overwrite=True))
        for path in find_images(testset / "lr"):
            enlarged = matlab_resize(to_float(read_image(path)), size, size)
            write_image(results / "bicubic" / path.name, to_uint8(enlarged))
        return _evaluations(demo, dataset_path, testset, results)

    demo.stage("evaluate", "Evaluate on the held-back photos", commands, work)


def _evaluations(demo: Demo, dataset: Path, testset: Path, results: Path) -> dict[str, Any]:
    """Write evaluation/METHOD-TARGET.json for each pair; return the tables' numbers and the verdicts."""
    documents: dict[str, dict[str, dict[str, Any]]] = {}
    for target in ("positives", "original", "clean"):
        for name in ("bicubic", "start", *SR_RUNS):
            where: dict[str, Any] = (
                {"gt": testset / "clean"}
                if target == "clean"
                else {"dataset": dataset, "split": "test", "against": target}
            )
            document = evaluate_folder(results / name, metrics=METRICS, scale=4, **where)
            write_json(demo.output / "evaluation" / f"{name}-{target}.json", document)
            documents.setdefault(target, {})[name] = document
    return {
        "means": {
            target: {
                name: {
                    metric: {key: values[key] for key in ("mean", "ci95")}
                    for metric, values in document["metrics"].items()
                }
                for name, document in rows.items()
            }
            for target, rows in documents.items()
        },
        "images": {target: rows["posneg"]["images"] for target, rows in documents.items()},
        "definitions": {m: v["definition"] for m, v in documents["clean"]["posneg"]["metrics"].items()},
        "differences": {
            target: {metric: paired_difference(rows["posneg"], rows["original"], metric) for metric in METRICS}
            for target, rows in documents.items()
        },
    }


def upscale(demo: Demo) -> None:
    """One whole photo with the positive + negative run."""
    photo = demo.output / "photos" / f"{TEST[0]}.png"
    target, run = demo.output / "upscaled", demo.output / "runs" / "posneg"

    def work() -> dict[str, Any]:
        _all_done(upscale_files([photo], target, model=load_model(str(run)), overwrite=True))
        return {"input": str(photo), "output": str(target / photo.name)}

    demo.stage("upscale", "Upscale a photo x4", [f"goldeye upscale {photo} -o {target} -n {run}"], work)


def _set(settings: list[str]) -> str:
    return " ".join(f"--set {setting}" for setting in settings)


STAGES: tuple[Callable[[Demo], None], ...] = (
    photos,
    degrade,
    measure_enhancers,
    enhance,
    select,
    annotate,
    labels,
    train_sr,
    evaluate,
    upscale,
)
