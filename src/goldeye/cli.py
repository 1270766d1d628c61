"""The command line: one function a command — parse, typed configuration, one call. Heavy imports happen inside."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldeye import __version__
from goldeye.cli_annotate import annotate_app
from goldeye.cli_benchmark import benchmark_app
from goldeye.cli_doctor import FIRST_STEPS, doctor
from goldeye.cli_maps import maps_app
from goldeye.cli_niqe import niqe_app
from goldeye.cli_output import Answer, Database, Device, Form, Json, Output, Quiet, Seed, print_document
from goldeye.cli_pack import pack
from goldeye.cli_recipes import recipes_app
from goldeye.cli_study import study_app
from goldeye.errors import GoldeyeError, Interrupted, InvalidInput, unknown_name
from goldeye.runtime import prepare_process

if TYPE_CHECKING:
    from goldeye.batch import BatchResult


# Typer carries its own copy of click since 0.16, and exports only this subclass of its usage errors.
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


app = typer.Typer(
    name="goldeye",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(no_args_is_help=True, help="Architectures and known weights.")
labels_app = typer.Typer(no_args_is_help=True, help="Votes, final labels and their tables.")
app.add_typer(recipes_app, name="recipes")
app.add_typer(annotate_app, name="annotate")
app.add_typer(labels_app, name="labels")
app.add_typer(maps_app, name="maps")
app.add_typer(models_app, name="models")
app.add_typer(niqe_app, name="niqe")
app.add_typer(study_app, name="study")
app.command("pack")(pack)
app.command("doctor")(doctor)
app.add_typer(benchmark_app, name="benchmark")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"goldeye {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Photos and people's judgement into a super-resolution model built to please people."""
    if context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS)


# --- pictures ---------------------------------------------------------------------------------------------------------


@app.command()
def degrade(
    source: Annotated[Path, typer.Argument(help="A picture or a folder of pictures.")],
    output: Output,
    preset: Annotated[str, typer.Option(help="A preset of docs/degradation.md, such as hggt, or a YAML pipeline.")],
    scale: Annotated[int, typer.Option(min=1, help="How much smaller the LR is.")] = 4,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make LR pictures, and write down what was done to each."""
    from goldeye.degrade import degrade_folder

    _finish("degrade", degrade_folder(source, output, preset=preset, scale=scale, seed=seed), json_)


@app.command()
def upscale(
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, folders, and patterns such as 'photos/*.jpg'.")],
    output: Output,
    model: Annotated[str, typer.Option("-n", "--model", help="A weights file, a run folder or a model's name.")] = (
        "goldeye-x4"
    ),
    outscale: Annotated[
        float | None, typer.Option("-s", "--outscale", help="The model's, or any other factor.")
    ] = None,
    tile: Annotated[int, typer.Option("-t", "--tile", min=0, help="Side of a tile in pixels; 0 is automatic.")] = 0,
    tile_pad: Annotated[
        int | None, typer.Option(min=0, help="Pixels computed around a tile (default: fitting).")
    ] = None,
    suffix: Annotated[str, typer.Option(help="Added to the names.")] = "",
    ext: Annotated[str | None, typer.Option(help="png (default), jpg, webp, tif, bmp, or auto: as the input.")] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of jpg and webp.")] = 95,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Mean over eight flips and rotations (slow).")] = False,
    color_fix: Annotated[bool, typer.Option("--color-fix", help="Keep the input's low-frequency colours.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the network first (for many pictures).")] = False,
    strip_metadata: Annotated[bool, typer.Option("--strip-metadata", help="No EXIF, no profile: plain sRGB.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make finished pictures again.")] = False,
    device: Device = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Upscale pictures and folders."""
    prepare_process()
    from goldeye.devices import choose_device
    from goldeye.networks.weights import load_model, require_picture_network
    from goldeye.upscale import upscale_files

    if "/" in suffix or "\\" in suffix:
        raise InvalidInput(f"A suffix is part of a name and cannot hold '/': '{suffix}'.")
    where = choose_device(device)
    loaded = load_model(model, device=str(where))
    require_picture_network(loaded, str(where))
    result = upscale_files(
        inputs,
        output,
        model=loaded,
        outscale=outscale,
        tile=tile,
        tile_pad=tile_pad,
        suffix=suffix,
        ext=ext,
        quality=quality,
        precision=precision,
        ensemble=ensemble,
        color_fix=color_fix,
        compile=compile_,
        strip_metadata=strip_metadata,
        overwrite=overwrite,
    )
    _finish("upscale", result, json_)


# --- models -----------------------------------------------------------------------------------------------------------


@models_app.command("list")
def models_list(json_: Json = False) -> None:
    """The architectures, the models that come with Goldeye, and those of others that `-n NAME` fetches."""
    from goldeye.networks.describe import list_models, list_text

    rows = list_models()
    print_document("models", {"models": rows}, json_, lambda: list_text(rows))


@models_app.command("info")
def models_info(
    name: Annotated[str, typer.Argument(help="An architecture, a model's name, a weights file or a run folder.")],
    json_: Json = False,
) -> None:
    """Architecture, scale, exact parameter count, configuration, licence and source."""
    from goldeye.networks.describe import describe, description_text

    found = describe(name)
    print_document("models", found, json_, lambda: description_text(found))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A weights file, a run folder or a model's name.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A file in .onnx, .safetensors or .pth.")],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model as ONNX (any size; compared with torch first), safetensors or BasicSR's .pth."""
    prepare_process()
    from goldeye.networks.weights import load_model
    from goldeye.upscale.export import check_output, export_model, export_text

    check_output(output)
    written = export_model(load_model(model), output)
    print_document("export", {"model": model, **written}, json_, lambda: export_text(written))


# --- data constructions of the papers ---------------------------------------------------------------------------------


@app.command("noise-bank")
def noise_bank(
    source: Annotated[Path, typer.Argument(help="The target set: a folder of noisy photos.")],
    output: Output,
    auxiliary: Annotated[Path | None, typer.Option(help="Another set to take similar noise from (NGDC).")] = None,
    patch: Annotated[int, typer.Option(help="Side of a window in pixels.")] = 256,
    stride: Annotated[int | None, typer.Option(min=1, help="Between windows (default: the side).")] = None,
    rule: Annotated[str, typer.Option(help="cati, or the fixed threshold of impressionism.")] = "cati",
    share: Annotated[float | None, typer.Option(help="cati: share of flattest windows (default 0.02).")] = None,
    max_variance: Annotated[float | None, typer.Option(help="impressionism: variance below it (default 20).")] = None,
    min_mean: Annotated[float | None, typer.Option(help="impressionism: mean above it (default 0).")] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut noise patches out of the flat parts of photos (EDL)."""
    from goldeye.curate.noise import collect_noise

    result, record = collect_noise(
        source,
        output,
        auxiliary=auxiliary,
        rule=rule,
        patch=patch,
        stride=stride,
        share=share,
        max_variance=max_variance,
        min_mean=min_mean,
    )
    for item in result.failed:
        typer.echo(f"failed: {item['input']}: {item['error']}", err=True)
    items = {"done": result.done, "skipped": result.skipped, "failed": result.failed}
    document = {"bank": str(output), **record.model_dump(mode="json"), **items}
    print_document("noise-bank", document, json_, lambda: f"{output}: {record.text}; {len(result.failed)} failed")
    if result.failed:
        raise typer.Exit(1)


@app.command()
def pairs(
    source: Annotated[Path, typer.Argument(help="A picture or a folder of pictures.")],
    output: Output,
    clean: Annotated[int, typer.Option(min=1, help="How much smaller HR is than the source.")] = 2,
    scale: Annotated[int, typer.Option(min=1, help="How much smaller LR is than HR.")] = 4,
    noise_bank: Annotated[
        Path | None, typer.Option(help="Only the pictures that gave noise to this bank as its auxiliary set (NGDC).")
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make HR and LR pictures of noisy photos: bicubic down twice (EDL)."""
    from goldeye.curate.pairs import make_pairs

    _finish("pairs", make_pairs(source, output, clean=clean, scale=scale, noise_bank=noise_bank), json_)


@app.command()
def mobile(
    phone: Annotated[Path, typer.Argument(help="A folder of a phone's pictures.")],
    dslr: Annotated[Path, typer.Argument(help="The DSLR's pictures, registered with them and named alike.")],
    output: Output,
    targets: Annotated[str | None, typer.Option(help="Of T1,T2,T3,T4 (default: all that have their model).")] = None,
    perceptual: Annotated[str | None, typer.Option(help="The SR model of T2: a file, a run or a known name.")] = None,
    psnr: Annotated[str | None, typer.Option(help="The SR model of T3.")] = None,
    scale: Annotated[int, typer.Option(min=2, help="How much smaller LR is than HR.")] = 4,
    max_shift: Annotated[float, typer.Option(min=0, help="Pixels that the two may lie apart.")] = 2.0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse pairs with too little detail to check.")] = False,
    tile: Annotated[int, typer.Option("-t", "--tile", min=0, help="Side of a tile in pixels; 0 is automatic.")] = 0,
    device: Device = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make HR and LR of registered phone and DSLR pictures, in four ways (RGAN)."""
    prepare_process()
    from goldeye.curate.mobile import make_mobile
    from goldeye.devices import choose_device

    result, notes = make_mobile(
        phone,
        dslr,
        output,
        targets=None if targets is None else [name.strip() for name in targets.split(",")],
        perceptual=perceptual,
        psnr=psnr,
        scale=scale,
        max_shift=max_shift,
        strict=strict,
        tile=tile,
        device=str(choose_device(device)),
    )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    _finish("mobile", result, json_)


@app.command("testset")
def draw_testset(
    dataset: Annotated[Path, typer.Argument(help="A labelled dataset.")],
    output: Output,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many groups.")] = 100,
    at_most: Annotated[bool, typer.Option("--at-most", help="Take fewer where there are no more.")] = False,
    min_positives: Annotated[int, typer.Option(min=1, help="Least positives of a group.")] = 2,
    preset: Annotated[str, typer.Option(help="What makes the LR pictures, as in `goldeye degrade`.")] = "hggt",
    scale: Annotated[int, typer.Option(min=1, help="How much smaller the LR is.")] = 4,
    split: Annotated[
        str | None, typer.Option(help="train, test or all (default: test, where the dataset has splits).")
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a Test-N set of a labelled dataset: groups with several positives, and their LR pictures."""
    from goldeye.curate.testset import make_testset

    made = make_testset(
        dataset,
        output,
        count=count,
        at_most=at_most,
        min_positives=min_positives,
        preset=preset,
        scale=scale,
        seed=seed,
        split=split,
    )
    print_document(
        "testset", made, json_, lambda: f"{made['groups']} of {made['suitable']} groups: {made['gt']}, {made['lr']}"
    )


# --- training ---------------------------------------------------------------------------------------------------------


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="The name of a shipped recipe, or a YAML file.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, such as data.path=photos.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a dataset with splits (default: train).")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The run folder (default: runs/RECIPE).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, train nothing.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="--dry-run: try two steps for time and memory.")
    ] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of continuing the run.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all randomness (default: the recipe's).")] = None,
    device: Device = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train an enhancer or an SR model; continues the run it finds in the output folder."""
    from goldeye.config import load_recipe

    options = {"data.split": split, "seed": seed}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    config = load_recipe(recipe, [*(settings or []), *given])
    run = output or Path("runs") / recipe.removesuffix(".yaml").replace("/", "-")
    prepare_process()
    if dry_run:
        from goldeye.train.plan import dry_run as check

        plan = check(config, device, run=run, measure=measure)
        print_document("train", plan, json_, lambda: _plan_text(plan))
        raise typer.Exit(0 if plan["ok"] else 2)
    from goldeye.train.loop import train as run_training

    result = run_training(config, run, recipe=recipe, fresh=fresh, device=device)
    document = {"run": str(run), "weights": str(result.weights), "step": result.step, "started_at": result.started_at}
    text = (
        f"{run} is finished already ({result.step} steps)."
        if result.started_at == result.step
        else (f"{run}: {result.step} steps done; weights in {result.weights}")
    )
    print_document("train", document, json_, lambda: text)


def _plan_line(key: str, value: Any) -> str:
    from goldeye.train.plan import gib

    if key.endswith("_bytes"):
        return f"{key.removesuffix('_bytes')}: {gib(value)}"
    if key == "estimated_hours":
        return f"estimated time: {value:g} hours" + (f" ({value / 24:.0f} days)" if value > 48 else "")
    if key in ("smallest", "largest"):  # (rows, columns)
        value = f"{value[1]} x {value[0]} pixels"
    elif isinstance(value, dict):
        value = ", ".join(
            f"{name} {each:,}" if isinstance(each, int) else f"{name} {each}" for name, each in value.items()
        )
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    elif isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:,}"
    return f"{key.replace('_', ' ')}: {value}"


def _plan_text(plan: dict[str, Any]) -> str:
    shown = [(key, value) for key, value in plan["plan"].items() if key != "config" and value not in (None, {}, [])]
    lines = [_plan_line(key, value) for key, value in shown]
    verdict = ["ready to train"] if plan["ok"] else [f"problem: {problem}" for problem in plan["problems"]]
    return "\n".join(lines + verdict)


# --- curation and labels ----------------------------------------------------------------------------------------------


@app.command()
def enhance(
    photos: Annotated[Path, typer.Argument(help="A folder of photos.")],
    output: Output,
    enhancer: Annotated[list[str] | None, typer.Option(help="NAME=MODEL, or a run folder or weights file.")] = None,
    folder: Annotated[list[str] | None, typer.Option(help="NAME=DIR with results made elsewhere.")] = None,
    tile: Annotated[int, typer.Option("-t", "--tile", min=0, help="Side of a tile in pixels; 0 is 512.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make all candidates again.")] = False,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Pictures worked on at once.")] = 1,
    engine: Annotated[str, typer.Option(help="local (processes on this machine) or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster: HOST:PORT or auto.")] = None,
    device: Device = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Enhance photos with any number of enhancers, and take results made elsewhere.

    Without --enhancer and --folder: the four enhancers that come with Goldeye.
    """
    prepare_process()
    from goldeye.curate.candidates import read_ledger
    from goldeye.curate.engines import choose_engine
    from goldeye.curate.enhance import enhance_photos
    from goldeye.devices import choose_device
    from goldeye.networks.known import bundled_enhancers

    short = {model: name for name, model in bundled_enhancers().items()}
    if enhancer or folder:
        enhancers = {short.get(name, name): model for name, model in map(_named, enhancer or [])}
    else:
        enhancers = bundled_enhancers()
        earlier = read_ledger(output)
        if earlier is not None and (others := set(earlier.slots.values()) - set(enhancers)):
            raise InvalidInput(
                f"'{output}' has candidates of {', '.join(sorted(others))}, and none is named now.",
                hint="Name the enhancers again, or choose another -o for those that come with Goldeye.",
            )
    folders = {name: Path(path) for name, path in (_named(text) for text in folder or [])}
    if len(enhancers) + len(folders) < len(enhancer or []) + len(folder or []):
        raise InvalidInput("Two candidates have the same name; use NAME=… with different names.")
    where = str(choose_device(device))
    result = enhance_photos(
        photos,
        output,
        enhancers=enhancers,
        folders=folders,
        tile=tile,
        precision=precision,
        device=where,
        engine=choose_engine(engine, jobs=jobs, address=address, gpu=where.startswith("cuda")),
        overwrite=overwrite,
    )
    _finish("enhance", result, json_)


def _named(text: str) -> tuple[str, str]:
    """NAME=VALUE, or VALUE named after its last part."""
    name, equals, value = text.partition("=")
    return (name, value) if equals else (Path(text).stem, text)


@app.command()
def select(
    candidates: Annotated[Path, typer.Argument(help="The folder that `goldeye enhance` wrote.")],
    output: Output,
    preset: Annotated[str, typer.Option(help="default, or paper: thresholds of HGGT's script.")] = "default",
    patch_size: Annotated[int, typer.Option(min=16, help="Side of a patch in pixels.")] = 512,
    stride: Annotated[int, typer.Option(min=1, help="Step of the grid of windows in pixels.")] = 16,
    measure: Annotated[str | None, typer.Option(help="Of high frequencies: pyramid (default) or laplacian.")] = None,
    min_std: Annotated[
        str | None, typer.Option(metavar="NUMBER|%", help="Texture: least std of grey, of 255 (30), or a quantile.")
    ] = None,
    min_high_frequency: Annotated[
        str | None, typer.Option(metavar="NUMBER|%", help="Detail: least score of the measure (6; laplacian 30).")
    ] = None,
    min_difference: Annotated[
        str | None, typer.Option(metavar="NUMBER|%", help="Least mean |enhanced - original|, of 255 (2).")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Raise the thresholds until so many groups remain.")] = None,
    max_overlap: Annotated[float, typer.Option(min=0, max=1, help="Share of a patch's area.")] = 0.5,
    per_photo: Annotated[int | None, typer.Option(min=1, help="At most so many patches a photo.")] = None,
    duplicate_distance: Annotated[
        int, typer.Option(min=-1, max=64, help="Bits of 64 in which near-duplicates differ at most; -1: keep them.")
    ] = 8,
    test: Annotated[list[str] | None, typer.Option(help="A photo (its name) for the test split.")] = None,
    test_fraction: Annotated[float, typer.Option(min=0, max=1, help="Share of photos for the test split.")] = 0.0,
    shuffle: Annotated[bool, typer.Option(help="Mix the groups of all photos before they are put into ranges.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Groups in a range folder.")] = 500,
    preview: Annotated[bool, typer.Option("--preview", help="Write only OUTPUT/preview.html, to choose by.")] = False,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Processes.")] = 1,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster: HOST:PORT or auto.")] = None,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut patch groups worth labelling, in the official HGGT layout, split by photo."""
    from goldeye.config import validate
    from goldeye.curate.engines import choose_engine
    from goldeye.curate.select import PRESETS, SelectSettings, select_patches, select_text

    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    given = {
        "measure": measure,
        "min_std": min_std,
        "min_high_frequency": min_high_frequency,
        "min_difference": min_difference,
    }
    values = {
        "patch_size": patch_size,
        "stride": stride,
        "keep": keep,
        "max_overlap": max_overlap,
        "per_photo": per_photo,
        "duplicate_distance": duplicate_distance,
        "test": tuple(test or ()),
        "test_fraction": test_fraction,
        "shuffle": shuffle,
        "batch_size": batch_size,
        "seed": seed,
    }
    values |= PRESETS[preset] | {key: value for key, value in given.items() if value is not None}
    settings = validate(SelectSettings, values, where="the selection")
    workers = choose_engine(engine, jobs=jobs, address=address)
    summary = select_patches(candidates, output, settings, engine=workers, preview=preview)
    for item in summary["failed"]:
        typer.echo(f"failed: {item['input']}: {item['error']}", err=True)
    print_document("select", summary, json_, lambda: select_text(summary))
    if summary["failed"]:
        raise typer.Exit(1)


Labelled = Annotated[Path, typer.Argument(help="A dataset with votes.")]
MinVotes = Annotated[int, typer.Option(min=1, help="Votes a candidate needs for a final label.")]
Split = Annotated[str | None, typer.Option(help="Only the groups of one split: train or test.")]


@labels_app.command("stats")
def labels_stats(
    dataset: Labelled,
    database: Database = None,
    split: Split = None,
    min_votes: MinVotes = 1,
    form: Form = "text",
    json_: Json = False,
) -> None:
    """The paper's Tables 1-3 for a dataset: annotations, final labels, positives per group."""
    from goldeye.dataset.groups import Dataset
    from goldeye.dataset.labels import label_stats, read_votes
    from goldeye.dataset.tables import stats_text

    opened = Dataset.open(dataset, split)
    stats = label_stats(opened, read_votes(opened, database=database), min_votes=min_votes)
    print_document("labels", stats, json_ or form == "json", lambda: stats_text(stats, opened.enhancer_names, form))


@labels_app.command("agreement")
def labels_agreement(
    dataset: Labelled,
    database: Database = None,
    split: Split = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0: none.")] = 1000,
    worst: Annotated[int, typer.Option(min=0, help="How many groups with most disagreement to list.")] = 20,
    seed: Seed = 0,
    form: Form = "text",
    json_: Json = False,
) -> None:
    """How far annotators agree: raw, Fleiss' kappa, Krippendorff's alpha, by model and by annotator."""
    from goldeye.dataset.agreement import label_agreement
    from goldeye.dataset.groups import Dataset
    from goldeye.dataset.labels import read_votes
    from goldeye.dataset.tables import agreement_text

    opened = Dataset.open(dataset, split)
    votes = read_votes(opened, database=database)
    figures = label_agreement(opened, votes, bootstrap=bootstrap, seed=seed, worst=worst)
    print_document(
        "labels", figures, json_ or form == "json", lambda: agreement_text(figures, opened.enhancer_names, form)
    )


@labels_app.command("export")
def labels_export(
    dataset: Labelled,
    output: Output,
    format_: Annotated[
        str, typer.Option("--format", help="official, csv, parquet, positives, preferences or huggingface.")
    ],
    split: Split = None,
    min_votes: MinVotes = 1,
    database: Database = None,
    names: Annotated[bool, typer.Option("--names", help="csv, parquet: people's names, not pseudonyms.")] = False,
    with_pictures: Annotated[bool, typer.Option("--with-pictures", help="official: the pictures, too.")] = False,
    with_original: Annotated[
        bool, typer.Option("--with-original/--no-original", help="preferences: pairs with the original, too.")
    ] = True,
    json_: Json = False,
) -> None:
    """Write votes and labels in another form (docs/label-files.md)."""
    from goldeye.dataset.exchange import export_labels, export_text

    summary = export_labels(
        dataset,
        output,
        format_,
        split=split,
        min_votes=min_votes,
        database=database,
        names=names,
        with_pictures=with_pictures,
        with_original=with_original,
    )
    print_document("labels", summary, json_, lambda: export_text(summary))


@labels_app.command("import")
def labels_import(
    dataset: Annotated[Path, typer.Argument(help="The dataset that gets the votes.")],
    source: Annotated[Path, typer.Argument(help="A folder of official label files, a csv or a Parquet file.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="official, csv or parquet; guessed when not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other answers of the same people.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check.")] = False,
    database: Database = None,
    json_: Json = False,
) -> None:
    """Check votes made elsewhere, and take them as label files: all or none."""
    from goldeye.dataset.exchange import import_labels, import_text

    summary = import_labels(dataset, source, format_, overwrite=overwrite, dry_run=dry_run, database=database)
    print_document("labels", summary, json_, lambda: import_text(summary))


# --- evaluation -------------------------------------------------------------------------------------------------------


@app.command()
def evaluate(
    sr: Annotated[Path, typer.Argument(help="A folder of results.")],
    gt: Annotated[Path | None, typer.Option(help="A folder of ground truths.")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="A labelled dataset: the ground truths are its positives.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="With a dataset: positives (default), original or negatives.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train or test.")] = None,
    metrics: Annotated[
        str,
        typer.Option(
            help="Comma-separated: psnr, ssim, psnr_y, ssim_y, lpips, lpips-vgg, lpips-squeeze, dists, "
            "artifact_energy, colour_shift, niqe, sharpness, noise, fid; or all that can be measured here."
        ),
    ] = "psnr,ssim",
    scale: Annotated[
        int, typer.Option(min=1, help="The border crop; ground truths are cropped to a multiple of it where needed.")
    ] = 4,
    crop_border: Annotated[
        int | None, typer.Option(min=0, help="Pixels left out at each border (default: the scale).")
    ] = None,
    suffix: Annotated[str, typer.Option(help="Suffix of the results' names.")] = "",
    lr: Annotated[Path | None, typer.Option(help="A folder of the LR inputs (for colour_shift).")] = None,
    lr_suffix: Annotated[str, typer.Option(help="Suffix of the inputs' names.")] = "",
    niqe_params: Annotated[Path | None, typer.Option(help="NIQE's pristine parameters: .npz or .mat.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Another folder of results: paired differences.")] = None,
    compare_suffix: Annotated[str | None, typer.Option(help="Suffix of its names (default: --suffix).")] = None,
    device: Device = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Metrics per picture and their mean with a 95 % interval."""
    from goldeye.evaluate.run import compare_evaluations, evaluate_folder, evaluation_text, has_figures

    def evaluated(folder: Path, end: str) -> dict[str, Any]:
        return evaluate_folder(
            folder,
            gt=gt,
            dataset=dataset,
            split=split,
            against=against,
            metrics=metrics,
            scale=scale,
            crop_border=crop_border,
            suffix=end,
            lr=lr,
            lr_suffix=lr_suffix,
            niqe_params=niqe_params,
            device=device,
        )

    result = evaluated(sr, suffix)
    complete = has_figures(result)
    if compare is not None:
        other = evaluated(compare, suffix if compare_suffix is None else compare_suffix)
        result["compare"] = {
            "with": str(compare),
            "images": other["images"],
            "metrics": compare_evaluations(result, other),
            "excluded": other["excluded"],
        }
        complete = complete and has_figures(other)
    print_document("evaluate", result, json_, lambda: evaluation_text(result))
    left_out = result["excluded"] + result.get("compare", {}).get("excluded", [])
    if not complete or any(entry.get("failed") for entry in left_out):
        raise typer.Exit(1)


# --- the whole loop ---------------------------------------------------------------------------------------------------


@app.command()
def demo(
    output: Output = Path("demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of continuing.")] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole loop on bundled photos with scripted annotators; ends in report.html."""
    prepare_process()
    from goldeye.demo import DemoSettings, run_demo

    report = run_demo(
        output,
        settings=DemoSettings(seed=seed),
        fresh=fresh,
        device=device,
        say=lambda line: typer.echo(line, err=json_),
    )
    print_document("demo", {"report": str(report)}, json_, lambda: f"Report: {report}")


# --- output and errors ------------------------------------------------------------------------------------------------


def _finish(command: str, result: BatchResult, as_json: bool) -> None:
    """Print a batch result; exit 1 when some items failed."""
    for item in result.failed:
        typer.echo(f"failed: {item['input']}: {item['error']}", err=True)
    document = {"done": result.done, "skipped": result.skipped, "failed": result.failed}
    counts = ", ".join(f"{len(items)} {name}" for name, items in document.items())
    print_document(command, document, as_json, lambda: counts)
    if result.failed:
        raise typer.Exit(1)


def _fail(error: GoldeyeError | Interrupted, argv: list[str], code: int) -> int:
    words = [word for word in argv if not word.startswith("-")]
    if "--json" in argv and not Answer.given:
        document = {"code": error.code, "message": error.message, "hint": error.hint}
        typer.echo(json.dumps({"schema": f"goldeye.{words[0] if words else 'cli'}/1", "error": document}))
    else:
        typer.echo(f"goldeye: {error.message}" + (f"\n{error.hint}" if error.hint else ""), err=True)
    return code


@contextmanager
def _signals_stop() -> Iterator[None]:
    """Ctrl-C and SIGTERM unwind as Interrupted, so that nothing half-written stays."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted("Stopped; what was finished is kept.", number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(argv: list[str]) -> int:
    """Run the command line and return its exit status."""
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    command = typer.main.get_command(app)
    Answer.given = False
    try:
        with _signals_stop():
            code = command.main(args=argv, prog_name="goldeye", standalone_mode=False)
            return code if isinstance(code, int) else 0
    except Interrupted as error:
        return _fail(error, argv, 128 + error.signal)
    except GoldeyeError as error:
        if debug:
            logging.exception("goldeye %s", " ".join(argv))
        return _fail(error, argv, 2 if isinstance(error, InvalidInput) else 1)
    except UsageError as error:
        if argv in [[group.name] for group in app.registered_groups]:
            typer.echo(error.format_message())  # a group without a subcommand shows its help
            return 0
        return _fail(InvalidInput(error.format_message(), hint="`--help` lists what the command takes."), argv, 2)
    except ModuleNotFoundError as error:
        from goldeye.extras import missing_extra

        return _fail(missing_extra(error), argv, 2)
    except BrokenPipeError:
        # The reader (such as `head`) has gone; the rest of the output has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, UnicodeDecodeError) as error:
        if debug:
            logging.exception("goldeye %s", " ".join(argv))
        return _fail(_file_problem(error), argv, 2)


def _file_problem(error: OSError | UnicodeDecodeError) -> InvalidInput:
    """What the system says of a file that cannot be used, as one sentence."""
    if isinstance(error, UnicodeDecodeError):
        return InvalidInput(f"A file that should be UTF-8 text is not ({error.reason} at byte {error.start}).")
    where = f"'{error.filename}': " if error.filename else ""
    return InvalidInput(f"{where}{error.strerror or error}.")


def main() -> None:
    """Entry point of the console script."""
    warnings.formatwarning = lambda message, *_: f"goldeye: warning: {message}\n"
    sys.exit(run(sys.argv[1:]))
