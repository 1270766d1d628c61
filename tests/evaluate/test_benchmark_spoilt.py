"""`goldeye benchmark` where something is wrong: somebody's own files in OUT, damaged pictures, names in the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluate.benchmark_world import World, drawn, means
from goldeye.cli import run as goldeye
from goldeye.degrade import degrade_folder
from goldeye.errors import InvalidInput
from goldeye.evaluate.made import MadePictures
from goldeye.images import read_image, write_image


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cut(path: Path) -> None:
    """A picture with a good header and half of its pixels."""
    noise = np.random.default_rng(0).integers(0, 256, read_image(path).shape, np.uint8)
    write_image(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def command(world: World, *more: str) -> int:
    return goldeye(["benchmark", str(world.path), "-o", str(world.out), "--device", "cpu", *more])


# Somebody's own files ---------------------------------------------------------------------------------------------


def test_pictures_in_the_way_stay(world: World) -> None:
    own = world.out / "pictures" / "drawn" / "bicubic"
    for name in ("holiday", "one"):
        write_image(own / f"{name}.png", drawn(3))
    before = contents(world.out)
    with pytest.raises(InvalidInput, match=r"pictures that no benchmark made.*holiday\.png, one\.png"):
        world.run()
    assert contents(world.out) == before


def test_results_in_the_output_stay(world: World) -> None:
    folder = world.out / "pictures" / "drawn" / "darker"
    for name in ("one", "two"):
        write_image(folder / f"{name}.png", drawn(3))
    world.config["models"][2]["results"] = "out/pictures/{set}/darker"
    before = contents(world.out)
    for name in ("Drawn", "drawn"):  # {set} is the name, and the folder is small
        world.config["sets"][0]["name"] = name
        with pytest.raises(InvalidInput):
            world.run()
    assert contents(world.out) == before


@pytest.mark.parametrize("key", ["hr", "lr"])
def test_sets_in_the_output_are_refused(world: World, key: str) -> None:
    world.run()
    before = contents(world.out)
    world.config["sets"][0][key] = f"out/pictures/drawn/{'_gt' if key == 'hr' else '_lr'}"
    with pytest.raises(InvalidInput, match="would get mixed up with those that are written to"):
        world.run()
    assert contents(world.out) == before


def test_results_of_an_earlier_benchmark_are_refused_as_its_input(world: World) -> None:
    world.run()
    world.config["models"][2]["results"] = "out/pictures/drawn/darker"
    with pytest.raises(InvalidInput, match="would get mixed up"):
        world.run()
    assert (world.out / "pictures" / "drawn" / "darker" / "one.png").is_file()


def test_other_files_stay(world: World) -> None:
    world.run()
    notes = world.out / "pictures" / "drawn" / "darker" / "notes.txt"
    notes.write_text("mine")
    write_image(world.folder / "darker" / "one.png", drawn(3))
    world.run()
    assert notes.read_text() == "mine"


def test_a_record_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    write_image(victim, drawn(0))
    folder = tmp_path / "made"
    folder.mkdir()
    rows = [{"name": name, "file": file, "key": "k"} for name, file in (("a", "../victim.png"), ("b", str(victim)))]
    (folder / ".made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert MadePictures(folder).start({"a": "other"}) == ["a"]
    assert victim.is_file()


def test_a_killed_copy_is_known_as_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.jpg"
    write_image(source, drawn(0))
    made = MadePictures(tmp_path / "made")
    made.start({"a": "1"})

    def killed(path: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("goldeye.evaluate.made.sha256", killed)
        with pytest.raises(KeyboardInterrupt):
            made.copy("a", "1", source)
    again = MadePictures(tmp_path / "made")
    again.require_own()
    assert again.rows == []
    assert again.start({"a": "1"}) == ["a"]
    assert not (tmp_path / "made" / "a.jpg").exists()


# Damaged pictures -----------------------------------------------------------------------------------------------------


def page_layers(world: World, name: str) -> list[str]:
    page = (world.out / "index.html").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    found = [one for one in data["sets"][0]["pictures"] if one["name"] == name]
    return [layer["title"] for one in found for layer in one["layers"]]


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]


def test_a_damaged_result(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    cut(world.folder / "darker" / "two.png")
    assert command(world) == 1
    (line,) = told(capsys)
    assert str(world.folder / "darker" / "two.png") in line
    assert "(darker)" in line
    document = json.loads((world.out / "results.json").read_text())
    darker = next(row for row in document["results"] if row["model"] == "darker")
    assert list(darker["metrics"]["psnr"]["per_image"]) == ["one"]
    assert [(each["name"], each["failed"]) for each in darker["excluded"]] == [("two", True)]
    assert page_layers(world, "one") == ["GT", "LR", "bicubic", "Lighter", "darker", "tiny"]
    assert page_layers(world, "two") == ["GT", "LR", "bicubic", "Lighter", "tiny"]
    write_image(world.folder / "darker" / "two.png", drawn(1) - np.uint8(20))
    assert command(world) == 0
    assert page_layers(world, "two") == ["GT", "LR", "bicubic", "Lighter", "darker", "tiny"]


def test_a_damaged_lr_picture(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    whole = means(world.run(), "psnr")
    cut(world.folder / "lr" / "one.png")
    world.config["metrics"].append("colour_shift")
    assert command(world) == 1
    (line,) = told(capsys)
    assert str(world.folder / "lr" / "one.png") in line
    document = json.loads((world.out / "results.json").read_text())
    names = {row["model"]: list(row["metrics"]["psnr"]["per_image"]) for row in document["results"]}
    assert names == {"bicubic": ["two"], "Lighter": ["one", "two"], "darker": ["one", "two"], "tiny": ["two"]}
    assert means(document, "psnr")["darker"] == whole["darker"]
    assert page_layers(world, "one") == ["GT", "Lighter", "darker"]
    cut(world.folder / "lr" / "two.png")
    document = world.run()
    assert means(document, "colour_shift") == dict.fromkeys(whole)
    assert means(document, "psnr") == whole | {"bicubic": None, "tiny": None}
    assert page_layers(world, "two") == ["GT", "Lighter", "darker"]


@pytest.mark.parametrize("degraded", [False, True])
def test_a_damaged_hr_picture(world: World, capsys: pytest.CaptureFixture[str], *, degraded: bool) -> None:
    if degraded:
        world.config["sets"][0] = {"name": "Drawn", "hr": "hr", "degradation": "hggt"}
    whole = world.run()
    cut(world.folder / "hr" / "one.png")
    assert command(world) == 1
    (line,) = told(capsys)
    assert str(world.folder / "hr" / "one.png") in line
    document = json.loads((world.out / "results.json").read_text())
    for before, after in zip(whole["results"], document["results"], strict=True):
        figures = {"two": before["metrics"]["psnr"]["per_image"]["two"]}
        assert after["metrics"]["psnr"]["per_image"] == figures  # the LR picture of "two" is the same, too
        assert [each["name"] for each in after["excluded"]] == ["one"]
    assert page_layers(world, "one") == []
    assert len(page_layers(world, "two")) == 6


def test_a_spoilt_degraded_picture_is_made_again(world: World) -> None:
    world.config["sets"] = [{"name": "Blind", "hr": "hr", "degradation": "hggt", "seed": 3}]
    first = world.run()
    write_image(world.out / "pictures" / "blind" / "_lr" / "one.png", np.zeros((12, 10, 3), np.uint8))
    assert means(world.run(), "psnr", "Blind") == means(first, "psnr", "Blind")
    degrade_folder(world.folder / "hr", world.folder / "expected", preset="hggt", seed=3)
    made = read_image(world.out / "pictures" / "blind" / "_lr" / "one.png")
    assert (made == read_image(world.folder / "expected" / "one.png")).all()
    assert sorted(path.name for path in (world.out / "pictures" / "blind").iterdir() if path.name[0] == "_") == [
        "_gt",
        "_lr",
    ]


# What else goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GT", "lr", "_Lr"])
def test_models_are_not_called_as_a_sets_pictures(world: World, name: str) -> None:
    world.config["models"][0]["name"] = name
    with pytest.raises(InvalidInput, match=f"a model cannot be called '{name}'"):
        world.run()
    assert not world.out.exists()


@pytest.mark.parametrize("text", ['{"psnr": [1]}', '{"psnr": {"key": 1}}', "[]", "{", '{"psnr": null}'])
def test_a_file_of_figures_that_is_none(world: World, text: str) -> None:
    first = world.run()
    (world.out / "figures" / "drawn" / "darker.json").write_text(text)
    document = world.run()
    assert document["results"] == first["results"]
    assert [item["model"] for item in document["done"]] == ["darker"]


def test_transparency_is_told(world: World) -> None:
    path = world.folder / "darker" / "one.png"
    pixels = np.dstack([read_image(path), np.full((48, 40), 128, np.uint8)])
    Image.fromarray(pixels).save(path)
    for _ in range(2):  # measured, and known already
        document = world.run()
        darker = next(row for row in document["results"] if row["model"] == "darker")
        assert darker["notes"] == ["Transparency is not compared, only the colours behind it: one."]
        for name in ("table.md", "index.html"):
            assert "darker on Drawn: Transparency is not compared" in (world.out / name).read_text()


def test_definitions_name_crop_files_and_targets(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.config["metrics"] = ["psnr", "colour_shift", "sharpness"]
    assert command(world) == 0
    text = (world.out / "table.md").read_text()
    shown = capsys.readouterr().out
    page = (world.out / "index.html").read_text()
    for words in ("border crop 4; against the picture of the same name.", "border crop 0; against the input"):
        assert words in text
        assert words in shown
        assert words in page
    header = next(line for line in text.splitlines() if line.startswith("| model"))
    assert "PSNR ↑ | colour shift ↓ | sharpness |" in header
    best = [line.rpartition("|")[0].rpartition("|")[2] for line in text.splitlines() if line.startswith("| tiny")]
    assert "**" not in best[0]


def test_fid_of_other_weights_is_measured_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"library": "torch-fidelity 1", "weights": [{"file": "inception.pth", "sha256": "a" * 64}]}
    for module in ("fid", "run"):
        monkeypatch.setattr(f"goldeye.evaluate.{module}.require_fid", lambda: None)
    monkeypatch.setattr("goldeye.evaluate.fid.fid_parts", lambda: dict(parts))
    monkeypatch.setattr("goldeye.evaluate.run.fid", lambda results, references, device: (1.5, parts))
    world.config |= {"metrics": ["fid"], "models": world.config["models"][:1]}
    assert means(world.run(), "fid") == {"bicubic": 1.5}
    assert world.run()["done"] == []
    assert "inception.pth (SHA-256 aaaaaaaaaaaaaaaa…)" in (world.out / "table.md").read_text()
    parts["weights"] = [{"file": "inception.pth", "sha256": "b" * 64}]
    assert [item["metrics"] for item in world.run()["done"]] == [["fid"]]
