"""`goldeye benchmark`: figures by hand and against the golden data, what is kept between calls, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.benchmark_world import World, drawn, means, write_tiny
from goldeye.cli import run as goldeye
from goldeye.degrade import degrade_folder
from goldeye.errors import InvalidInput
from goldeye.evaluate import benchmark as benchmark_module
from goldeye.evaluate import entrants
from goldeye.evaluate.metrics import psnr
from goldeye.evaluate.page import crop_window
from goldeye.evaluate.published import find_published, published_tables
from goldeye.evaluate.report import figures_of, tables_text, tex, tex_tables
from goldeye.evaluate.settings import folder_name
from goldeye.images import matlab_resize, read_image, to_float, to_uint8, write_image
from goldeye.networks.weights import load_model


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def texts(document: dict[str, Any]) -> dict[str, list[str]]:
    """{model: cells} of the first table."""
    return {row.name: [cell.text for cell in row.cells] for row in figures_of(document)[0].rows}


def test_figures_by_hand(world: World) -> None:
    document = world.run()
    # Results 10 levels too light and 20 too dark: 10 log10(255² / 100) and 10 log10(255² / 400).
    assert means(document, "psnr")["Lighter"] == pytest.approx(28.1308, abs=1e-4)
    assert means(document, "psnr")["darker"] == pytest.approx(22.1102, abs=1e-4)
    hr, lr = read_image(world.folder / "hr" / "one.png"), read_image(world.folder / "lr" / "one.png")
    large = to_uint8(matlab_resize(to_float(lr), 48, 40))
    bicubic = next(row for row in document["results"] if row["model"] == "bicubic")
    assert bicubic["metrics"]["psnr"]["per_image"]["one"] == pytest.approx(psnr(large, hr, crop_border=4), abs=1e-9)
    kept = world.out / "pictures" / "drawn" / "tiny" / "two.png"
    network = load_model(world.folder / "tiny.safetensors")
    assert (read_image(kept) == network.upscale(read_image(world.folder / "lr" / "two.png"))).all()


def test_parameters_times_and_definitions(world: World) -> None:
    document = world.run()
    models = {model["name"]: model for model in document["models"]}
    module = load_model(world.folder / "tiny.safetensors").module
    assert models["tiny"]["parameters"] == sum(parameter.numel() for parameter in module.parameters())
    assert models["bicubic"]["parameters"] is models["Lighter"]["parameters"] is None
    seconds = {row["model"]: row["seconds"] for row in document["results"]}
    assert seconds["Lighter"] is seconds["darker"] is None
    assert seconds["tiny"]["pictures"] == 2
    assert seconds["tiny"]["mean"] > 0
    assert seconds["tiny"]["on"][0].startswith("cpu")
    for row in document["results"]:
        for figures in row["metrics"].values():
            assert figures["definition"]["crop_border"] == 4
    assert json.loads((world.out / "results.json").read_text())["results"] == document["results"]


def test_paired_differences(world: World) -> None:
    found = world.run()["differences"]
    row = next(row for row in found if (row["a"], row["b"], row["metric"]) == ("Lighter", "darker", "psnr"))
    assert row["mean"] == pytest.approx(20 * math.log10(2), abs=1e-6)  # half the error
    assert (row["better"], row["win_rate"], row["n"]) == ("Lighter", 1, 2)
    assert row["ci95"] == pytest.approx([row["mean"]] * 2)
    assert len(found) == 2 * 6  # metrics x pairs of four models


def test_equal_pictures_have_no_mean(world: World) -> None:
    world.config["models"] = [{"name": "GT itself", "results": "hr"}, {"name": "darker", "results": "darker"}]
    document = world.run()
    assert means(document, "psnr")["GT itself"] is None
    assert texts(document)["GT itself"] == ["–", "1.0000"]
    assert "infinite" in (world.out / "table.md").read_text()


def test_pictures_without_a_figure_are_told(world: World) -> None:
    world.config["crop_border"] = 16  # SSIM's window needs 11 pixels, and 8 are left
    document = world.run()
    assert means(document, "ssim") == dict.fromkeys(means(document, "psnr"))
    note = "SSIM on Drawn: 2 without a figure, the first because: SSIM needs 11x11 pixels"
    assert (world.out / "table.md").read_text().count(note) == 1


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """After a call of it, enlarging or measuring anything fails the test."""

    def forbid() -> None:
        def refuse(*args: object, **options: object) -> None:
            pytest.fail("work was done again")

        monkeypatch.setattr(entrants.Entrant, "enlarge", refuse)
        monkeypatch.setattr(benchmark_module, "evaluate_folder", refuse)

    return forbid


def test_a_second_call_computes_nothing(world: World, no_work: Callable[[], None]) -> None:
    first = world.run()
    assert (len(first["done"]), first["skipped"]) == (4, [])
    files = {name: (world.out / name).read_bytes() for name in ("table.md", "table.csv", "table.tex", "index.html")}
    no_work()
    second = world.run()
    assert (second["done"], len(second["skipped"])) == ([], 4)
    assert second["results"] == first["results"]
    assert {name: (world.out / name).read_bytes() for name in files} == files


def changed(document: dict[str, Any]) -> dict[str, int]:
    """{model: pictures made anew} of what was measured again."""
    return {item["model"]: item["pictures"] for item in document["done"]}


def test_what_changes_is_noticed(world: World) -> None:
    before = means(world.run(), "psnr")
    write_tiny(world.folder / "tiny.safetensors", 1)
    document = world.run()
    assert changed(document) == {"tiny": 2}
    assert means(document, "psnr")["tiny"] != before["tiny"]

    write_image(world.folder / "darker" / "two.png", drawn(1) - np.uint8(10))
    assert changed(world.run()) == {"darker": 1}

    write_image(world.folder / "lr" / "one.png", np.full((12, 10, 3), 7, np.uint8))
    assert changed(world.run()) == {"bicubic": 1, "tiny": 1, "Lighter": 0, "darker": 0}

    write_image(world.folder / "hr" / "one.png", drawn(5))
    assert changed(world.run()) == dict.fromkeys(before, 0)

    world.config["crop_border"] = 2
    assert changed(world.run()) == dict.fromkeys(before, 0)

    world.config["models"][3]["ensemble"] = True
    assert changed(world.run()) == {"tiny": 2}
    assert changed(world.run()) == {}


def test_one_more_metric_measures_that_alone(world: World) -> None:
    world.run()
    world.config["metrics"].append("psnr_y")
    document = world.run()
    assert [item["metrics"] for item in document["done"]] == [["psnr_y"]] * 4
    assert changed(document) == {"bicubic": 0, "Lighter": 0, "darker": 0, "tiny": 0}


def test_a_spoilt_result_is_made_again(world: World) -> None:
    first = world.run()
    spoilt = world.out / "pictures" / "drawn" / "bicubic" / "one.png"
    write_image(spoilt, np.zeros((48, 40, 3), np.uint8))
    second = world.run()
    assert changed(second) == {"bicubic": 1}
    assert means(second, "psnr") == means(first, "psnr")


def test_a_stopped_call_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = means(World(world.folder / "whole").run(), "psnr")
    world.config["models"] = world.config["models"][:1]
    work, calls = entrants._bicubic, []

    def stops(picture: Any, scale: int) -> Any:
        calls.append(picture.shape)
        if len(calls) == 3:  # the warm-up, the first picture, and now the second
            raise KeyboardInterrupt
        return work(picture, scale)

    monkeypatch.setattr(entrants, "_bicubic", stops)
    with pytest.raises(KeyboardInterrupt):
        world.run()
    with (world.out / "pictures" / "drawn" / "bicubic" / ".made.jsonl").open("a") as record:
        record.write('{"name": "two", "fi')  # a line torn by the kill
    document = world.run()
    assert changed(document) == {"bicubic": 1}
    assert means(document, "psnr")["bicubic"] == whole["bicubic"]


def test_pictures_that_left_the_set_are_not_measured(world: World) -> None:
    world.run()
    for folder, name in (("hr", "two"), ("lr", "two"), ("darker", "two"), ("lighter", "two_up")):
        (world.folder / folder / f"{name}.png").unlink()
    document = world.run()
    assert all(list(row["metrics"]["psnr"]["per_image"]) == ["one"] for row in document["results"])


def test_a_picture_that_fails_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.config["models"] = world.config["models"][:2]
    work = entrants._bicubic

    def fails(picture: Any, scale: int) -> Any:
        if (picture == read_image(world.folder / "lr" / "two.png")).all():
            raise RuntimeError("out of memory")
        return work(picture, scale)

    monkeypatch.setattr(entrants, "_bicubic", fails)
    document = world.run()
    assert [(item["model"], item["name"], item["error"]) for item in document["failed"]] == [
        ("bicubic", "two", "out of memory")
    ]
    bicubic = document["results"][0]
    assert list(bicubic["metrics"]["psnr"]["per_image"]) == ["one"]
    assert bicubic["excluded"] == [{"name": "two", "reason": "out of memory", "failed": True}]
    assert "1 picture left out" in (world.out / "table.md").read_text()


# Sets -----------------------------------------------------------------------------------------------------------------


def test_a_degraded_set_is_what_degrade_makes(world: World) -> None:
    world.config["sets"] = [{"name": "Blind", "hr": "hr", "degradation": "hggt", "seed": 3}]
    world.config["models"] = world.config["models"][:1]
    document = world.run()
    degrade_folder(world.folder / "hr", world.folder / "expected", preset="hggt", seed=3)
    for name in ("one", "two"):
        lr = read_image(world.out / "pictures" / "blind" / "_lr" / f"{name}.png")
        assert (lr == read_image(world.folder / "expected" / f"{name}.png")).all()
    world.config["sets"][0]["seed"] = 4
    assert means(world.run(), "psnr", "Blind") != means(document, "psnr", "Blind")
    write_image(world.folder / "hr" / "one.png", drawn(7))
    degrade_folder(world.folder / "hr", world.folder / "again", preset="hggt", seed=4)
    world.run()
    lr = read_image(world.out / "pictures" / "blind" / "_lr" / "one.png")
    assert (lr == read_image(world.folder / "again" / "one.png")).all()


def test_hr_is_cropped_to_its_lr(world: World) -> None:
    before = means(world.run(), "psnr")
    for name in ("one", "two"):
        path = world.folder / "hr" / f"{name}.png"
        write_image(path, np.pad(read_image(path), ((0, 3), (0, 1), (0, 0))).astype(np.uint8))
    assert means(world.run(), "psnr") == before


def test_names_of_lr_with_their_scale(world: World) -> None:
    before = means(world.run(), "psnr")
    for path in (world.folder / "lr").iterdir():
        path.rename(path.with_name(f"{path.stem}x4.png"))
    assert means(world.run(), "psnr") == before


def test_a_dataset_has_the_golden_means(golden: Path, tmp_path: Path) -> None:
    expected = json.loads((golden / "hggt_mini" / "expected_multigt.json").read_text())["rgb_crop4"]
    results = golden / "hggt_mini" / "Test" / "SR"
    names = {path.stem.removesuffix("_sr") for path in results.iterdir()}

    def others(folder: str, files: list[str]) -> list[str]:
        return [file for file in files if "." in file and re.sub(r"(_\d\d)?\.\w+$", "", file) not in names]

    shutil.copytree(golden / "hggt_mini" / "Train", tmp_path / "data", ignore=others)
    config = tmp_path / "bench.yaml"
    config.write_text(
        f"models: [{{name: SR, results: {results}, suffix: _sr}}]\n"
        f"sets: [{{name: mini, dataset: data}}]\nmetrics: [psnr, ssim]\n"
    )
    document = benchmark_module.run_benchmark(config, tmp_path / "out", device="cpu")
    for index, metric in enumerate(("psnr", "ssim")):
        assert means(document, metric, "mini")["SR"] == pytest.approx(expected["total_psnr_ssim"][index], abs=2e-4)
    assert document["sets"][0]["pictures"] == 7
    # The figures compare with the positives, of which the original is none.
    page = (tmp_path / "out" / "index.html").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    for shown in data["sets"][0]["pictures"]:
        kinds = [layer["kind"] for layer in shown["layers"]]
        assert kinds == ["gt"] * kinds.count("gt") + ["reference", "model"]
        titles = [layer["title"] for layer in shown["layers"]]
        assert all(re.fullmatch(r"positive \d\d", title) for title in titles[: kinds.count("gt")])
        assert titles[-2:] == ["original", "SR"]
        assert all((tmp_path / "out" / unquote(layer["source"])).is_file() for layer in shown["layers"])
    assert "against the positive candidates of each group" in (tmp_path / "out" / "table.md").read_text()


def test_several_sets_and_a_model_on_one_of_them(world: World) -> None:
    world.config["sets"].append({"name": "Other", "hr": "hr", "degradation": "bicubic"})
    world.config["models"][1] |= {"sets": ["Drawn"]}
    world.config["models"][2] |= {"results": "of/{set}"}
    for name in ("Drawn", "Other"):
        shutil.copytree(world.folder / "darker", world.folder / "of" / name)
    document = world.run()
    table = texts(document)
    assert table["Lighter"][2:] == ["–", "–"]
    assert table["darker"][0] == table["darker"][2] == "22.11"
    assert table["bicubic"][:2] == table["bicubic"][2:]


def test_no_end_is_marked_against_negatives(world: World) -> None:
    """Beside a set where it is: tables, page and verdicts, each set on its own."""
    world.add_negatives("Far")
    world.config["metrics"] = ["psnr", "artifact_energy", "colour_shift"]
    document = world.run()
    columns = figures_of(document)[0].columns
    assert [column.words[-1] for column in columns if column.set == "Drawn"] == ["↑", "↓", "↓"]
    assert [column.words for column in columns if column.set == "Far"] == ["PSNR", "artifact energy", "colour shift ↓"]
    ranks = np.array([[cell.rank for cell in row.cells] for row in figures_of(document)[0].rows])
    assert list(ranks.max(axis=0)) == [2, 2, 2, 0, 0, 2]
    markdown, latex = ((world.out / f"table.{end}").read_text() for end in ("md", "tex"))
    assert "| Far PSNR | Far artifact energy | Far colour shift ↓ |" in markdown
    assert "Against negatives (Far) no end of a figure is better" in markdown
    assert latex.count(r"\uparrow") == 1
    far = [row for row in document["differences"] if row["set"] == "Far"]
    assert {row["better"] for row in far if row["metric"] != "colour_shift"} == {None}
    page = (world.out / "index.html").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert [one["higher_is_better"]["psnr"] for one in data["sets"]] == [True, None]
    assert [one["higher_is_better"]["colour_shift"] for one in data["sets"]] == [False, False]
    definition = document["results"][-1]["metrics"]["psnr"]["definition"]
    assert (document["results"][-1]["set"], definition["higher_is_better"]) == ("Far", None)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_best_and_second(world: World) -> None:
    document = world.run()
    assert "| Lighter | – | – | **28.13** |" in (world.out / "table.md").read_text()
    latex = (world.out / "table.tex").read_text()
    assert r"\textbf{28.13}" in latex
    ranks = {row.name: row.cells[0].rank for row in figures_of(document)[0].rows}
    order = sorted(means(document, "psnr").items(), key=lambda item: -(item[1] or 0))
    assert [ranks[name] for name, _ in order] == [1, 2, 0, 0]
    rows = list(csv.DictReader(io.StringIO((world.out / "table.csv").read_text())))
    assert {row["model"]: float(row["value"]) for row in rows if row["metric"] == "psnr"} == pytest.approx(
        means(document, "psnr")
    )


def test_equal_figures_share_the_mark() -> None:
    from goldeye.evaluate.report import _ranks

    assert _ranks({"a": "1.00", "b": "2.00", "c": "2.00", "d": "–"}, higher=True) == {"a": 2, "b": 1, "c": 1}
    assert _ranks({"a": "1.00", "b": "2.00", "c": "2.00", "d": "–"}, higher=False) == {"a": 1, "b": 2, "c": 2}
    assert _ranks({"a": "1.00", "b": "2.00"}, higher=True) == {"a": 0, "b": 1}
    assert _ranks({"a": "1.00", "d": "–"}, higher=True) == {"a": 0}


def test_tables_of_several_lists(world: World) -> None:
    world.config["metrics"] = {"colour": ["psnr"], "luma": ["psnr_y", "ssim_y"]}
    document = world.run()
    assert [table.name for table in figures_of(document)] == ["colour", "luma"]
    assert tex_tables(document).count(r"\begin{tabular}") == 2
    assert [line.split()[0] for line in tables_text(document).splitlines() if line in ("colour", "luma")] == [
        "colour",
        "luma",
    ]


def test_latex_is_escaped() -> None:
    assert tex("a_b & 50% {x} \\ ~") == r"a\_b \& 50\% \{x\} \textbackslash{} \textasciitilde{}"


# Published figures ----------------------------------------------------------------------------------------------------


def test_published_rows_and_columns(world: World) -> None:
    world.config["sets"][0]["published"] = "Set5"
    world.config["metrics"] = ["psnr", "psnr_y"]
    world.config["published"] = ["ldl.table1/ESRGAN", "ldl.table1/SRGAN"]
    world.config["models"][0]["published"] = "ldl.table1/SwinIR+LDL"
    document = world.run()
    table = figures_of(document)[0]
    assert [(column.metric, column.paper) for column in table.columns] == [
        ("psnr", False),  # LDL's figures are of the Y channel: none stand here
        ("psnr_y", False),
        ("psnr_y", True),
    ]
    rows = {row.name: row for row in table.rows}
    assert rows["ESRGAN"].paper == "LDL, Table 1"
    assert [cell.text for cell in rows["ESRGAN"].cells] == ["–", "30.438", "–"]
    assert rows["SRGAN"].cells[1].text == "29.920"  # as printed: JSON has no last zero
    assert [cell.text for cell in rows["bicubic"].cells][2] == "31.028"
    assert {cell.rank for cell in rows["ESRGAN"].cells} == {0}
    markdown = (world.out / "table.md").read_text()
    assert "| ESRGAN (paper: LDL, Table 1) |" in markdown
    assert "PSNR-Y (paper)" in markdown


def test_every_published_table_is_found() -> None:
    rows = {table: find_published(table) for table in published_tables()}
    assert sum(map(len, rows.values())) == 72
    assert find_published("edl.table1/RWSR-EDL")[0].figures == {
        "RealSR": {"psnr": 27.803, "ssim": 0.8112, "lpips": 0.247, "niqe": 2.419}
    }
    assert find_published("edl.table1/RWSR-EDL")[0].parameters == 16_729_694
    assert find_published("hggt.table4/LDL, positive")[0].figures["Test-100"]["psnr"] == 22.019
    assert find_published("ldl.table2/row 1: no artifact term")[0].figures == {
        "DIV2K100": {"lpips": 0.1154, "psnr_y": 28.175}
    }


# Refusals -------------------------------------------------------------------------------------------------------------


def put(*keys: Any, value: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        place = world.config
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def without(folder: str, name: str) -> Callable[[World], None]:
    return lambda world: (world.folder / folder / name).unlink()


def picture(path: str, height: int, width: int) -> Callable[[World], None]:
    return lambda world: write_image(world.folder / path, np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("models", value=[]), "no models"),
        (put("sets", value=[]), "sets"),
        (put("models", 3, "model", value="nowhere.pth"), "No file of weights and no run folder 'nowhere.pth'"),
        (put("models", 3, "model", value="rrdb"), "is an architecture"),
        (put("models", 3, "modell", value="x"), "Unknown setting 'models.3.modell'"),
        (put("models", 3, "bicubic", value=True), "'tiny' needs exactly one of model, results and bicubic"),
        (put("models", 0, "tile", value=32), "'bicubic' has tile, which is for a model"),
        (put("models", 0, "name", value="tiny"), "the names 'tiny' and 'tiny' are too alike"),
        (put("models", 0, "name", value="TINY"), "the names 'TINY' and 'tiny' are too alike"),
        (put("models", 2, "results", value="gone"), "There is no folder"),
        (put("models", 1, "suffix", value="_sr"), "lacks 2 of the 2 pictures of 'Drawn': one, two"),
        (without("darker", "two.png"), "(darker) lacks 1 of the 2 pictures of 'Drawn': two"),
        (picture("darker/one.png", 40, 48), "(darker) has 48x40 pixels, its GT 40x48"),
        (put("models", 0, "published", value="ldl.table1"), "no published figure for these sets"),
        (put("models", 0, "sets", value=["Drown"]), "names a set 'Drown' that is not there"),
        (put("scale", value=2), "In the set 'Drawn'"),
        (put("sets", 0, "hr", value="gone"), "In the set 'Drawn': there is no folder"),
        (put("sets", 0, "lr", value="gone"), "In the set 'Drawn': there is no folder"),
        (without("lr", "two.png"), "'lr' lacks 1 of 2 pictures: two"),
        (picture("lr/one.png", 12, 12), "which times 4 is not the size of"),
        (put("sets", 0, "degradation", value="hggt"), "has lr and degradation; one is enough"),
        (put("sets", 0, value={"name": "x", "hr": "hr", "degradation": "hgt"}), "Did you mean 'hggt'?"),
        (put("sets", 0, value={"name": "x", "hr": "hr"}), "The set 'x' has no LR pictures for 'bicubic'"),
        (put("sets", 0, value={"name": "x", "dataset": "hr"}), "In the set 'x'"),
        (put("metrics", value=["pnsr"]), "Did you mean 'psnr'?"),
        (put("metrics", value=[]), "metrics"),
        (put("page", value={"sort": "lpips"}), "page.sort 'lpips' is none of the metrics"),
        (put("published", value=["ldl.table9"]), "Did you mean 'ldl.table"),
        (put("published", value=["ldl.table1/ESRGANN"]), "Did you mean 'ESRGAN'?"),
        (put("published", value=["ldl.table1"]), "no published figure for these sets and metrics"),
    ],
)
def test_refused_before_any_work(world: World, change: Callable[[World], None], words: str) -> None:
    change(world)
    with pytest.raises(InvalidInput) as refused:
        world.run()
    sentence = refused.value.message + (refused.value.hint or "")
    assert words in sentence
    assert "\n" not in sentence
    assert not world.out.exists()


def test_a_model_of_another_scale(world: World) -> None:
    for name in ("one", "two"):
        write_image(world.folder / "lr" / f"{name}.png", np.zeros((24, 20, 3), np.uint8))
    world.config["scale"] = 2
    with pytest.raises(InvalidInput, match="'tiny' enlarges 4 times, and the benchmark has the scale 2"):
        world.run()


# The page's data ------------------------------------------------------------------------------------------------------


def test_crop_is_where_the_pictures_differ() -> None:
    a = np.full((40, 60, 3), 100, np.uint8)
    b = a.copy()
    b[21:29, 41:51] = 200
    assert crop_window([a, b], 12) == (17, 39, 12)  # the first of the windows that hold all of it
    assert crop_window([a, b], 12, step=4) == (20, 40, 12)
    assert crop_window([a, a], 100) == (0, 0, 40)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 5))
def test_crop_is_the_best_of_all(seed: int, side: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(6, 24, 2)
    pictures = [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(3)]
    top, left, found = crop_window(pictures, side, step=step)
    assert found <= min(side, height, width)
    assert top % step == left % step == 0
    assert top + found <= height
    assert left + found <= width
    luma = np.stack([picture @ np.array([65.481, 128.553, 24.966]) / 255 for picture in pictures]).std(axis=0)
    sums = {
        (y, x): luma[y : y + found, x : x + found].sum()
        for y in range(0, height - found + 1, step)
        for x in range(0, width - found + 1, step)
    }
    assert sums[top, left] == pytest.approx(max(sums.values()), rel=1e-5)


@given(st.text(max_size=30))
def test_folder_names_are_safe(name: str) -> None:
    found = folder_name(name)
    assert re.fullmatch(r"[a-z0-9+-][a-z0-9._+-]*", found)
    assert folder_name(found) == found


def test_names_cannot_break_the_page(world: World) -> None:
    world.config["models"][0]["name"] = "</script><b>bad"
    world.run()
    page = (world.out / "index.html").read_text()
    assert "</script><b>" not in page
    assert page.count("</script>") == 2


def test_single_file_needs_nothing_else(world: World) -> None:
    world.run(single_file=True)
    page = (world.out / "index.html").read_text()
    assert not (world.out / "crops").exists()
    addresses = re.findall(r'"(?:crop|source|thumbnail)": ?"([^"]*)"', page)
    assert len(addresses) == 2 * (1 + 2 * 6)  # of a picture: a thumbnail, two of each of GT, LR and four models
    assert all(address.startswith("data:image/") for address in addresses)


# The command ----------------------------------------------------------------------------------------------------------


def test_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert goldeye(["benchmark", str(world.path), "-o", str(world.out), "--device", "cpu", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "goldeye.benchmark/1"
    assert document["failed"] == []
    assert goldeye(["benchmark", "-o", str(world.out), str(world.path), "--device", "cpu"]) == 0
    assert "0 measured, 4 known already, 0 pictures failed" in capsys.readouterr().out
    assert goldeye(["benchmark", str(world.folder / "none.yaml"), "-o", str(world.out), "--json"]) == 2
    assert "There is no configuration" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_command_exits_1_where_a_picture_fails(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(picture: Any, scale: int) -> Any:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(entrants, "_bicubic", fails)
    assert goldeye(["benchmark", str(world.path), "-o", str(world.out), "--device", "cpu"]) == 1
    assert "failed: " in capsys.readouterr().err
