"""docs/reproduction.md: its figures, its completeness, and every command on the official folders in miniature."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import docs_pages
import miniature
from goldeye.cli import run as command
from goldeye.config import TrainConfig, load_recipe, recipe_names
from goldeye.dataset.training import build_dataset
from goldeye.evaluate.published import find_published, published_tables, shown_rows
from goldeye.evaluate.settings import load_benchmark
from goldeye.evaluate.testset import load_set
from goldeye.files import write_text
from goldeye.losses import perceptual
from goldeye.networks.weights import load_model
from goldeye.train.plan import dry_run
from test_docs import words_of

PAGE = docs_pages.ROOT / "docs" / "reproduction.md"
METRICS = {"PSNR": "psnr", "SSIM": "ssim", "LPIPS": "lpips", "DISTS": "dists", "FID": "fid"}
METRICS |= {"PSNR_Y": "psnr_y", "SSIM_Y": "ssim_y"}
TEST_SETS = ("Set5", "Set14", "Manga109", "General100", "Urban100", "DIV2K100")


# --- the page as data -------------------------------------------------------------------------------------------------


Row = dict[str, str]


def tables() -> Iterator[list[Row]]:
    """The page's tables, each as its rows by the names of the columns."""
    for text in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        head, _, *body = ([cell.strip() for cell in line.strip("|\n").split(" | ")] for line in text.splitlines())
        yield [dict(zip(head, cells, strict=True)) for cells in body]


def rows_with(*columns: str) -> list[Row]:
    return [row for table in tables() for row in table if set(columns) <= set(row)]


def in_code(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


@dataclass(frozen=True)
class Training:
    """A row of the page to train: what follows `goldeye train`."""

    recipe: str
    settings: tuple[str, ...]
    starts: tuple[str, ...]
    """The runs among the settings."""


@cache
def trainings() -> tuple[Training, ...]:
    """Every row with a recipe, each once: its data's settings, and what it starts from; and the blocks' trainings."""
    data = {row["data"]: tuple(in_code(row["settings"])) for row in rows_with("data", "settings")}
    found = []
    for row in rows_with("recipe", "data"):
        (recipe,) = in_code(row["recipe"])
        starts = [text if "=" in text else f"generator.init={text}" for text in in_code(row["starts from"])]
        runs = tuple(text.partition("=")[2] for text in starts)
        found.append(Training(recipe, (*data[row["data"]], *starts), runs))
    for words in command_lines("train"):
        if words[1] in recipe_names():
            settings = tuple(word for flag, word in pairwise(words) if flag == "--set")
            runs = tuple(text.partition("=")[2] for text in settings if text.partition("=")[0].endswith(".init"))
            found.append(Training(words[1], settings, runs))
    return tuple(dict.fromkeys(found))


def run_of(recipe: str) -> str:
    return f"runs/{recipe.replace('/', '-')}"


def runs_of_the_page() -> dict[str, tuple[str, list[str]]]:
    """Run folder -> its recipe, and the settings that change its network."""
    runs: dict[str, tuple[str, list[str]]] = {
        run_of(training.recipe): (training.recipe, []) for training in trainings()
    }
    for words in command_lines("train"):
        if "-o" in words:
            changed = [word for word in words if word.startswith("generator.settings")]
            runs[words[words.index("-o") + 1]] = (words[1], changed)
    return runs


def blocks_of_commands() -> Iterator[str]:
    for block in docs_pages.split(PAGE)[0]:
        if block.language == "indented":
            yield from docs_pages.shell_lines(block.text)


def command_lines(*names: str) -> list[list[str]]:
    """The words after `goldeye` of the page's commands of these names."""
    lines = (words_of(line) for line in blocks_of_commands() if line.startswith("goldeye "))
    return [words[1:] for words in lines if words[1] in names]


def our_rows() -> set[str]:
    """The published rows that the page trains, as `goldeye benchmark` names them."""
    return {row["row"] for row in rows_with("row", "recipe") if "/" in row["row"]}


# --- completeness and figures -----------------------------------------------------------------------------------------


def test_every_recipe_has_a_row_of_its_own() -> None:
    listed = {training.recipe for training in trainings()}
    assert listed == {name for name in recipe_names() if not name.startswith(("tiny/", "bundled/"))}


def test_every_row_starts_from_a_run_of_the_page() -> None:
    assert {start for training in trainings() for start in training.starts} <= set(runs_of_the_page())


def test_the_row_that_is_shown_whole_is_the_tables() -> None:
    """Its two trainings are rows, too: only the three runs with a name of their own (-o) are none."""
    in_tables = len({recipe for row in rows_with("recipe", "data") for recipe in in_code(row["recipe"])})
    assert len(trainings()) == in_tables + 3


def test_every_published_row_is_on_the_page() -> None:
    """As a row to train, or among those of other projects; and none that was not published."""
    ours = our_rows()
    others = {
        f"{row['table']}/{name}"
        for row in rows_with("table", "rows of others")
        for name in row["rows of others"].split(", ")
    }
    assert not ours & others
    assert ours | others == {row.key for table in published_tables() for row in find_published(table)}


def test_a_row_and_its_recipe_belong_to_the_same_table() -> None:
    """The recipe's own line of docs/methods.md names the paper's table of the row."""
    papers = {"hggt": "HGGT", "ldl": "LDL", "rgan": "RGAN", "edl": "EDL"}
    for row in rows_with("row", "recipe"):
        if "/" in row["row"] and row["row"] != "ldl.table1/ESRGAN":
            source = find_published(row["row"])[0].source.split(" and ")[0]  # such as "EDL, Table IX"
            table = load_recipe(in_code(row["recipe"])[0]).table
            assert papers[row["row"].partition(".")[0]] in table
            assert re.search(rf"\b{source.rpartition(' ')[2]}\b", table), row


def test_figures_are_the_published_ones() -> None:
    shown = set()
    for row in rows_with("row", "recipe"):
        columns = [name for name in row if set(name.split(" / ")) <= set(METRICS)]
        for column in columns:
            if re.match(r"[\d.]+", row[column]):
                (published,) = find_published(row["row"])
                (figures,) = published.figures.values()
                expected = [figures[METRICS[name]] for name in column.split(" / ")]
                assert [float(text) for text in row[column].split(" / ")] == expected, row["row"]
                shown.add(row["row"])
    assert shown == {
        key for key in our_rows() if not key.startswith("ldl.table1/")
    }  # whose figures the next test reads


def test_figures_of_ldl_table_1() -> None:
    rows = rows_with(*TEST_SETS)
    assert {row["Table 1"] for row in rows} == {key for key in our_rows() if key.startswith("ldl.table1/")}
    for row in rows:
        (published,) = find_published(row["Table 1"])
        for name in TEST_SETS:
            figures = published.figures[name]
            expected = [figures[metric] for metric in ("psnr_y", "ssim_y", "lpips", "dists", "fid")]
            assert [float(text) for text in row[name].split(" / ")] == expected, (row["Table 1"], name)


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    text = resources.files("goldeye.evaluate").joinpath("data/published.json").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_figures_of_hggt_tables_1_to_3(published: dict[str, Any]) -> None:
    votes, final = rows_with("Tables 1, 2")
    for row, key in ((votes, "table1_annotations"), (final, "table2_final")):
        for model, counts in published["hggt"][key].items():
            shown = [int(text.replace(",", "")) for text in row[model].split(" / ")]
            assert shown == [counts[label] for label in ("Positive", "Similar", "Negative")]
    (groups,) = rows_with("Table 3: positives in a group")
    shown = [int(groups[str(number)].replace(",", "")) for number in range(5)]
    assert shown == published["hggt"]["table3_positives_per_group"]


def test_figures_in_sentences(published: dict[str, Any]) -> None:
    """EDL's Tables II, V (MOS) and VI."""
    text = PAGE.read_text(encoding="utf-8")
    edl = published["edl"]
    assert f"results: {edl['table2_niqe_realsr']['RWSR-EDL']}." in text
    assert f"MOS: {edl['table5_ntire2020']['RWSR-EDL']['mos']} " in text
    for figure in ("RWSR-EDL", "ESRGAN"):
        assert f"{edl['table6_parameters'][figure]:,}" in text
        assert str(edl["table6_seconds_300x200_x4"][figure]) in text


# --- the commands on the folders in miniature -------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Starting weights are not looked at: networks keep the zeros they were made with, and VGG is built once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("kaiming_normal_", "kaiming_uniform_", "trunc_normal_", "normal_", "uniform_"):
            patch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor.detach().zero_())
        patch.setattr("goldeye.methods.gan.load_vgg19", cache(perceptual.load_vgg19))
        yield


@pytest.fixture(scope="module")
def folder(quick: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The official folders, what the page's commands make of them, and the runs that its rows start from."""
    root = tmp_path_factory.mktemp("data")
    miniature.build_miniature(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        preparing = [line for line in blocks_of_commands() if re.match(r"mkdir |cp |for ", line)]
        subprocess.run(["bash", "-e", "-c", "\n".join(preparing)], check=True)
        for run in ("runs/rgan-r", "runs/rgan-rcan-pretrain"):
            miniature.small_run(Path(run))
        for words in command_lines("pairs", "noise-bank", "mobile"):
            assert command([*words, "-q"]) == 0, words
        shutil.rmtree("runs")
        files: dict[str, Path] = {}
        for run in sorted({start for training in trainings() for start in training.starts}):
            recipe, settings = runs_of_the_page()[run]
            miniature.full_size_run(Path(run), load_recipe(recipe, settings), files)
        yield root
    shutil.rmtree(root)


def kinds() -> list[Any]:
    """The trainings; one whose method and networks another has, too, is slow (its data is not)."""
    found, seen = [], set()
    for training in trainings():
        config = load_recipe(training.recipe, list(training.settings))
        networks = (config.generator.architecture, str(config.generator.settings), str(config.discriminator))
        kind = (config.method, *networks, config.weights)
        marks = [pytest.mark.slow] if kind in seen else []
        seen.add(kind)
        found.append(pytest.param(training, marks=marks, id=training.recipe))
    return found


@pytest.fixture
def config(training: Training, folder: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """The training's configuration, in the folder of the data; VGG's weights would come from the network."""
    monkeypatch.chdir(folder)
    settings = list(training.settings)
    if load_recipe(training.recipe).losses.perceptual is not None:
        settings.append("losses.perceptual.weights=random")
    return load_recipe(training.recipe, settings)


@pytest.mark.parametrize("training", kinds())
def test_dry_run(training: Training, config: TrainConfig) -> None:
    plan = dry_run(config, "cpu", measure=False)
    assert plan["ok"], plan["problems"]


@pytest.mark.parametrize("training", trainings(), ids=lambda training: training.recipe)
def test_data_of_every_row(training: Training, config: TrainConfig) -> None:
    dataset = build_dataset(config)
    assert [problem for problem in dataset.check() if problem is not None] == []
    crop = config.data.crop
    sample = dataset[0]
    assert sample["gt"].shape == (3, crop, crop)
    assert sample["lr"].shape == (3, crop // config.scale, crop // config.scale)


def test_a_missing_folder_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run would notice: the same row elsewhere, and without its starting weights."""
    monkeypatch.chdir(folder / "DIV2K")
    settings = ["data.path=DIV2K/DIV2K_train_HR", "generator.init=runs/ldl-srresnet-pretrain"]
    plan = dry_run(load_recipe("ldl/srresnet-gan", [*settings, "losses.perceptual=null"]), "cpu", measure=False)
    assert not plan["ok"]
    assert [word for word in ("DIV2K_train_HR", "ldl-srresnet-pretrain") if word in " ".join(plan["problems"])] == [
        "DIV2K_train_HR",
        "ldl-srresnet-pretrain",
    ]


def test_the_released_labels_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    (words,) = command_lines("labels")
    assert command([*words, "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["groups"], stats["annotators"]) == (3, 3)
    # By hand from miniature.VOTES: P, N, S, P; P, P, P, S; S, S, S, S.
    assert stats["final"]["total"] == {"Positive": 5, "Similar": 6, "Negative": 1}


# --- benchmarks -------------------------------------------------------------------------------------------------------


FILES = {
    block.title: block.text
    for block in docs_pages.split(PAGE)[0]
    if block.title is not None and block.language == "yaml"
}
BENCHMARKS = [name for name in FILES if "fusion" not in name]


@pytest.fixture(scope="module")
def files(folder: Path) -> Path:
    """The page's YAML files in their places."""
    for name, text in FILES.items():
        write_text(folder / name, text)
    return folder


def test_the_commands_name_every_file() -> None:
    lines = command_lines("benchmark")
    assert {word for words in lines for word in words if word.endswith(".yaml")} == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_finds_its_sets_runs_and_published_rows(name: str, files: Path) -> None:
    config = load_benchmark(files / name)
    base = (files / name).parent
    for entry in config.sets:
        found = load_set(entry, files / "out", scale=config.scale, base=base)
        assert found.cases
        assert found.has_lr
    for model in config.models:
        path = model.model or ""
        assert path == "rgan-fusion.yaml" or path.removeprefix("../") in runs_of_the_page(), path
    names = {entry.name: entry.published or entry.name for entry in config.sets}
    for key in (*config.published, *(model.published for model in config.models if model.published)):
        assert shown_rows([key], names, config.all_metrics)


def test_every_row_with_figures_is_measured_by_a_benchmark() -> None:
    """Its run is in a file that names the row's table. (RGAN's row 3 is the fusion's.)"""
    for row in rows_with("row", "recipe"):
        if "/" in row["row"] and in_code(row["recipe"]) not in (["rgan/r"], ["rgan/s"]):
            table, run = row["row"].partition("/")[0], run_of(in_code(row["recipe"])[0])
            assert [name for name, text in FILES.items() if table in text and f"../{run}," in text.replace("}", ",")], (
                row
            )


def test_the_fusion_is_a_model(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert load_model("bench/rgan-fusion.yaml").architecture == "fusion"


def test_ldl_trains_on_what_its_table_says(published: dict[str, Any]) -> None:
    data = {row["row"]: row["data"].replace("-OST", "+OST") for row in rows_with("row", "data")}
    for name, training_set in published["ldl"]["table1"]["training_set"].items():
        assert data.get(f"ldl.table1/{name}", training_set) == training_set
