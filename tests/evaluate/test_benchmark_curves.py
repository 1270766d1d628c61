"""`goldeye benchmark curves`: every checkpoint measured, LDL's stability by hand, and what outlives its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from evaluate.benchmark_world import World, write_tiny
from goldeye.cli import run as goldeye
from goldeye.errors import InvalidInput
from goldeye.evaluate.curves import learning_curves, mean_absolute_difference
from goldeye.evaluate.metrics import psnr
from goldeye.evaluate.settings import PatchEntry
from goldeye.images import read_image
from goldeye.networks.weights import load_model


class Runs(World):
    """With runs of random checkpoints."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.make("fast", {10: 1, 20: 2, 30: 3})
        self.config["metrics"] = ["psnr"]
        del self.config["models"]

    def make(self, name: str, checkpoints: dict[int, int]) -> Path:
        """A run with {step: seed} of its checkpoints."""
        run = self.folder / "runs" / name
        for step, seed in checkpoints.items():
            write_tiny(run / "checkpoints" / f"step-{step:08d}.safetensors", seed)
        (run / "config.yaml").write_text(f"name: {name}\n")
        return run

    def curves(self, *runs: str, **options: Any) -> dict[str, Any]:
        paths = [self.folder / "runs" / name for name in runs or ("fast",)]
        return learning_curves(paths, self.path, self.out, device="cpu", **options)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def values(document: dict[str, Any], run: str = "fast") -> dict[int, float]:
    """{step: mean PSNR}"""
    return {point["step"]: point["metrics"]["psnr"]["mean"] for point in document["points"] if point["run"] == run}


def result(runs: Runs, seed: int, name: str) -> Any:
    """What the checkpoint of that seed makes of an LR picture."""
    path = runs.folder / "check.safetensors"
    write_tiny(path, seed)
    return load_model(path).upscale(read_image(runs.folder / "lr" / f"{name}.png"))


def test_difference_by_hand() -> None:
    a = np.zeros((4, 4, 3), np.uint8)
    b = a.copy()
    b[0, 0] = 48  # one of 16 pixels
    assert mean_absolute_difference(a, b) == pytest.approx(3)
    patch = PatchEntry(name="corner", set="s", picture="p", y=0, x=0, size=2)
    assert mean_absolute_difference(a, b, patch) == pytest.approx(12)
    assert mean_absolute_difference(a.astype(np.uint16), b.astype(np.uint16) * 257) == pytest.approx(3)


def test_every_checkpoint_is_measured(runs: Runs) -> None:
    found = values(runs.curves())
    assert list(found) == [10, 20, 30]
    expected = [
        psnr(result(runs, 2, name), read_image(runs.folder / "hr" / f"{name}.png"), crop_border=4)
        for name in ("one", "two")
    ]
    assert found[20] == pytest.approx(np.mean(expected), abs=1e-6)
    assert {path.name for path in runs.out.iterdir()} >= {"curves.json", "curves.csv", "curves.svg", "curves.png"}
    assert runs.curves()["done"] == []


def test_stability_of_whole_pictures(runs: Runs) -> None:
    stability = runs.curves()["stability"]
    assert stability["period"] == 10
    (curve,) = stability["curves"]
    assert (curve["run"], curve["patch"], curve["steps"]) == ("fast", None, [10, 20])
    between = [mean_absolute_difference(result(runs, 1, name), result(runs, 2, name)) for name in ("one", "two")]
    assert curve["values"][0] == pytest.approx(np.mean(between), abs=1e-5)
    assert runs.curves(period=20)["stability"]["curves"][0]["steps"] == [10]
    assert runs.curves(period=7)["stability"]["curves"][0]["steps"] == []


def test_stability_of_patches(runs: Runs) -> None:
    patch = {"name": "square", "set": "Drawn", "picture": "two", "y": 8, "x": 12, "size": 16}
    runs.config["patches"] = [patch]
    (curve,) = runs.curves()["stability"]["curves"]
    a, b = (result(runs, seed, "two") for seed in (1, 2))
    assert curve["patch"] == "square"
    assert curve["values"][0] == pytest.approx(np.abs(a[8:24, 12:28].astype(float) - b[8:24, 12:28]).mean(), abs=1e-5)
    assert "square" in (runs.out / "curves.csv").read_text()


def test_points_outlive_their_checkpoints(runs: Runs) -> None:
    before = runs.curves()
    (runs.folder / "runs" / "fast" / "checkpoints" / "step-00000010.safetensors").unlink()
    runs.make("fast", {40: 4})
    after = runs.curves()
    assert list(values(after)) == [10, 20, 30, 40]
    assert values(after)[10] == values(before)[10]
    assert after["stability"]["curves"][0]["steps"] == [10, 20, 30]
    (runs.folder / "runs" / "fast" / "config.yaml").write_text("another: run\n")
    assert list(values(runs.curves())) == [20, 30, 40]


def test_points_outlive_a_longer_run(runs: Runs) -> None:
    run = runs.folder / "runs" / "fast"
    for steps, seed, checkpoints in ((30, 0, {}), (60, 0, {60: 6}), (60, 1, {70: 7})):
        settings = {"steps": steps, "seed": seed, "optimizer": {"lr": 0.1}, "validation": {"every": steps}}
        runs.make("fast", checkpoints)
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        found = list(values(runs.curves()))
        if steps == 60 and seed == 0:
            assert found == [10, 20, 30, 60]  # it was continued
        elif seed == 1:
            assert found == [30, 60, 70]  # another run
        for step in (10, 20):
            (run / "checkpoints" / f"step-{step:08d}.safetensors").unlink(missing_ok=True)


@pytest.mark.parametrize("what", ["weights", "log"])
def test_points_of_an_earlier_training_do_not_stay(runs: Runs, what: str) -> None:
    run = runs.folder / "runs" / "fast"
    (run / "metrics.jsonl").write_text('{"step": 5, "loss": 0.5}\n{"step": 10, "loss": 0.4}\n')
    runs.curves()
    (run / "checkpoints" / "step-00000010.safetensors").unlink()
    (run / "metrics.jsonl").write_text('{"step": 5, "loss": 0.5}\n{"step": 40, "loss": 0.3}\n')
    runs.make("fast", {40: 4})
    assert list(values(runs.curves())) == [10, 20, 30, 40]
    if what == "weights":
        runs.make("fast", {20: 7})
    else:
        (run / "metrics.jsonl").write_text('{"step": 5, "loss": 0.7}\n')
    document = runs.curves()
    assert list(values(document)) == [20, 30, 40]
    assert document["stability"]["curves"][0]["steps"] == [20, 30]


def test_points_of_other_data_do_not_stay(runs: Runs) -> None:
    runs.curves()
    (runs.folder / "runs" / "fast" / "checkpoints" / "step-00000010.safetensors").unlink()
    runs.config["crop_border"] = 2
    assert list(values(runs.curves())) == [20, 30]


def test_runs_of_one_name_get_their_parents(runs: Runs) -> None:
    runs.make("a/same", {5: 1})
    runs.make("b/same", {5: 2})
    document = runs.curves("a/same", "b/same", "fast")
    assert [run["name"] for run in document["runs"]] == ["a/same", "b/same", "fast"]
    assert values(document, "a/same") != values(document, "b/same")


def broken(**change: Any) -> Callable[[Runs], None]:
    patch = {"name": "p", "set": "Drawn", "picture": "two", "y": 0, "x": 0, "size": 8}
    return lambda runs: runs.config.update(patches=[patch | change])


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (broken(picture="tow"), {}, "Unknown picture of the patch 'p' 'tow'. Did you mean 'two'?"),
        (broken(x=36), {}, "The patch 'p' lies outside of 'two', 40x48 pixels"),
        (broken(set="x"), {}, "the patch 'p' names a set 'x' that is not there"),
        (lambda runs: None, {"sets": ["Drown"]}, "Did you mean 'Drawn'?"),
        (lambda runs: None, {"period": 0}, "The period must be at least 1 step"),
        (lambda runs: (runs.folder / "runs" / "fast").rename(runs.folder / "x"), {}, "has no checkpoints"),
    ],
)
def test_refused(runs: Runs, change: Callable[[Runs], None], options: dict[str, Any], words: str) -> None:
    change(runs)
    with pytest.raises(InvalidInput) as refused:
        runs.curves(**options)
    assert words in refused.value.message
    assert not runs.out.exists()


def test_command(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "curves", str(runs.folder / "runs" / "fast"), "--config", str(runs.path), "-o", str(runs.out)]
    assert goldeye([*words, "--set", "Drawn", "--device", "cpu", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "goldeye.benchmark-curves/1"
    assert len(document["points"]) == 3
    assert goldeye([*words, "--device", "cpu"]) == 0
    assert "PSNR  stability" in capsys.readouterr().out
