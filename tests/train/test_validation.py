"""Validation while training: right figures, the best checkpoint kept, the run itself unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from goldeye.config import load_recipe
from goldeye.errors import InvalidInput
from goldeye.evaluate.run import evaluate_folder
from goldeye.images import matlab_resize, read_image, write_image
from goldeye.networks.weights import load_model
from goldeye.train.checkpoint import best_step, forget_after, mark_best
from goldeye.train.logging import read_metrics, read_validation
from goldeye.train.loop import train
from goldeye.train.plan import dry_run
from goldeye.train.validation import Validator

SETTINGS = [
    "steps=6",
    "data.crop=16",
    "data.batch=2",
    "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}",
    "log_every=1",
    "checkpoint_every=2",
    "keep_checkpoints=1",
]


@pytest.fixture(scope="module")
def pairs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gt/ and lr/ of two pictures, the ground truth a few pixels larger than 4 x the LR."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(2):
        gt = read_image(photos / f"{number}.png")
        write_image(folder / "gt" / f"{number}.png", np.pad(gt, ((0, 3), (0, 1), (0, 0)), mode="edge"))
        write_image(folder / "lr" / f"{number}.png", matlab_resize(gt, gt.shape[0] // 4, gt.shape[1] // 4))
    return folder


def validation(pairs: Path, more: str = "") -> str:
    return f"validation={{sets: {{mine: {{gt: {pairs / 'gt'}, lr: {pairs / 'lr'}}}}}, every: 2{more}}}"


def test_figures_are_those_of_evaluate_and_the_best_is_kept(photos: Path, pairs: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, f"data.path={photos}", "optimizer.lr=5e-3", validation(pairs, ", metrics: [psnr, ssim_y]")]
    train(load_recipe("tiny/rrdb-pretrain", settings), tmp_path / "run", recipe="r", device="cpu")
    rows = read_validation(tmp_path / "run")
    assert [row["step"] for row in rows] == [2, 4, 6]
    # Another way to the same figures: the run's own weights over the folder.
    model = load_model(str(tmp_path / "run"))
    for path in (pairs / "lr").iterdir():
        sr = model.upscale(read_image(path))
        write_image(tmp_path / "sr" / path.name, sr)
        np.testing.assert_array_equal(
            read_image(tmp_path / "run" / "samples" / "mine" / path.stem / "step-00000006.png"), sr
        )
        gt = read_image(pairs / "gt" / path.name)[: sr.shape[0], : sr.shape[1]]
        write_image(tmp_path / "gt" / path.name, gt)
    expected = evaluate_folder(tmp_path / "sr", gt=tmp_path / "gt", metrics=("psnr", "ssim_y"))["metrics"]
    for metric, figures in expected.items():
        assert rows[-1]["validation"]["mine"][metric] == pytest.approx(figures["mean"], abs=1e-9)
        values = {row["step"]: row["validation"]["mine"][metric] for row in rows}
        assert best_step(tmp_path / "run", metric) == max(values, key=lambda step: values[step])
    names = {path.stem for path in (tmp_path / "run" / "checkpoints").glob("step-*.pt")}
    best = {best_step(tmp_path / "run", metric) for metric in expected}
    assert names == {f"step-{step:08d}" for step in best | {6}}


def test_validation_does_not_change_the_run(photos: Path, pairs: Path, tmp_path: Path) -> None:
    for name, more in (("with", [validation(pairs)]), ("without", [])):
        config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}", *more])
        train(config, tmp_path / name, recipe="r", device="cpu")
    a, b = (load_model(str(tmp_path / name)).module.state_dict() for name in ("with", "without"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert read_metrics(tmp_path / "with") == read_metrics(tmp_path / "without")


def test_lr_pictures_can_be_made(photos: Path, tmp_path: Path) -> None:
    made = f"validation={{sets: {{mine: {{gt: {photos}, degradation: hggt}}}}, every: 3, metrics: [psnr_y]}}"
    config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}", made])
    for name in ("one", "two"):
        train(config, tmp_path / name, recipe="r", device="cpu")
    assert read_validation(tmp_path / "one") == read_validation(tmp_path / "two")
    assert len(read_validation(tmp_path / "one")) == 2


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("{mine: {gt: GT, lr: nowhere}}", "nowhere"),
        ("{mine: {gt: GT, lr: GT}}", "scale 4 needs"),
        ("{mine: {gt: GT}}", "either lr or degradation"),
        ("{mine: {gt: GT, degradation: hggt-enhance-noise}}", "does not make LR pictures for scale 4"),
        ("{}", "at least 1"),
    ],
)
def test_sets_that_do_not_fit_are_refused_before_the_first_step(
    photos: Path, pairs: Path, sets: str, message: str
) -> None:
    setting = f"validation={{sets: {sets.replace('GT', str(pairs / 'gt'))}}}"
    assert any(message in problem for problem in problems_of(photos, setting))


def problems_of(photos: Path, setting: str) -> list[str]:
    try:
        config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}", setting])
    except InvalidInput as error:
        return [error.message]
    found: list[str] = dry_run(config, "cpu", measure=False)["problems"]
    return found


def test_unknown_metrics_are_refused(photos: Path, pairs: Path) -> None:
    config = load_recipe(
        "tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}", validation(pairs, ", metrics: [pnsr]")]
    )
    assert any("pnsr" in problem for problem in dry_run(config, "cpu")["problems"])


@pytest.mark.parametrize("step", [2, 6])  # in between, and the last one
def test_a_validation_that_a_kill_cut_short_is_made_when_the_run_goes_on(
    step: int, photos: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}", validation(pairs)])
    train(config, tmp_path / "straight", recipe="r", device="cpu")

    class Killed(BaseException):
        pass

    def killed(self: Validator, network: object, folder: object, at: int) -> Any:
        if at == step:
            raise Killed
        return whole(self, network, folder, at)

    whole: Any = Validator.run
    with monkeypatch.context() as patch:
        patch.setattr(Validator, "run", killed)
        with pytest.raises(Killed):
            train(config, tmp_path / "killed", recipe="r", device="cpu")
    train(config, tmp_path / "killed", recipe="r", device="cpu")
    assert read_validation(tmp_path / "killed") == read_validation(tmp_path / "straight")
    for metric in ("psnr_y", "ssim_y"):
        assert best_step(tmp_path / "killed", metric) == best_step(tmp_path / "straight", metric)


def test_other_sets_and_metrics_start_a_new_comparison(photos: Path, pairs: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, f"data.path={photos}"]
    first = load_recipe("tiny/rrdb-pretrain", [*settings, "steps=2", validation(pairs, ", metrics: [psnr]")])
    train(first, tmp_path / "run", recipe="r", device="cpu")
    other = f"validation={{sets: {{other: {{gt: {photos}, degradation: hggt}}}}, every: 2, metrics: [psnr, ssim_y]}}"
    train(load_recipe("tiny/rrdb-pretrain", [*settings, other]), tmp_path / "run", recipe="r", device="cpu")
    rows = read_validation(tmp_path / "run")
    assert [list(row["validation"]) for row in rows] == [["mine"], ["other"], ["other"]]
    assert best_step(tmp_path / "run", "psnr") in (4, 6)


# Going back ---------------------------------------------------------------------------------------------------------


def run_with(folder: Path, figures: dict[int, dict[str, dict[str, float | None]]], best: dict[str, int]) -> Path:
    """A run whose every validated step {step: {set: {metric: mean}}} has its checkpoint."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    for step in figures:
        for ending in ("pt", "safetensors"):
            (checkpoints / f"step-{step:08d}.{ending}").touch()
    rows = [{"step": step, "validation": sets} for step, sets in figures.items()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for metric, step in best.items():
        mark_best(folder, metric, step)
    return folder


def test_the_best_after_going_back_is_the_best_that_is_left(tmp_path: Path) -> None:
    # psnr: means over the sets 30, 32, 31, 33; the first of two equal ones. lpips: 0.3, 0.3, 0.2, 0.1, lower is better.
    figures: dict[int, dict[str, dict[str, float | None]]] = {
        2: {"a": {"psnr": 20.0, "lpips": 0.3, "ssim": None}, "b": {"psnr": 40.0, "lpips": None}},
        4: {"a": {"psnr": 34.0, "lpips": 0.3, "ssim": None}, "b": {"psnr": 30.0, "lpips": None}},
        6: {"a": {"psnr": 31.0, "lpips": 0.2, "ssim": None}, "b": {"psnr": 31.0, "lpips": None}},
        8: {"a": {"psnr": 33.0, "lpips": 0.1, "ssim": 0.9}, "b": {"psnr": 33.0, "lpips": None}},
    }
    run = run_with(tmp_path / "run", figures, {"psnr": 8, "lpips": 8, "ssim": 8, "psnr_y": 4})
    forget_after(run, 6)
    assert (best_step(run, "psnr"), best_step(run, "lpips"), best_step(run, "psnr_y")) == (4, 6, 4)
    assert not (run / "checkpoints" / "best-ssim").exists(), "no step before has a figure"
    forget_after(run, 6)
    assert (best_step(run, "psnr"), best_step(run, "lpips")) == (4, 6)
    forget_after(run, 5)
    assert (best_step(run, "psnr"), best_step(run, "lpips")) == (4, 2)
    forget_after(run, 1)
    assert not list((run / "checkpoints").glob("best-*"))


def test_what_has_no_weights_or_other_sets_is_not_named_best_again(tmp_path: Path) -> None:
    figures: dict[int, dict[str, dict[str, float | None]]] = {
        2: {"old": {"psnr": 50.0}},
        4: {"a": {"psnr": 35.0}},
        6: {"a": {"psnr": 30.0}},
        8: {"a": {"psnr": 40.0}},
    }
    run = run_with(tmp_path / "run", figures, {"psnr": 8})
    for ending in ("pt", "safetensors"):
        (run / "checkpoints" / f"step-00000004.{ending}").unlink()  # it was neither among the newest nor the best
    forget_after(run, 6)
    assert best_step(run, "psnr") == 6


def test_a_damaged_best_checkpoint_is_not_the_best_any_more(photos: Path, pairs: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "keep_checkpoints=2", f"data.path={photos}", validation(pairs, ", metrics: [psnr]")]
    config = load_recipe("tiny/rrdb-pretrain", settings)
    train(config, tmp_path / "run", recipe="r", device="cpu")
    checkpoints = tmp_path / "run" / "checkpoints"
    # As if the last step had been by far the best and the one before the worst.
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    made_up = {2: 80.0, 4: 0.0, 6: 90.0}
    rows = [json.loads(line) for line in lines]
    for row in rows:
        if "validation" in row:
            row["validation"]["mine"]["psnr"] = made_up[row["step"]]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mark_best(tmp_path / "run", "psnr", 6)
    for path in checkpoints.glob("step-00000002.*"):
        path.unlink()
    (checkpoints / "step-00000006.pt").write_bytes(b"damaged")
    longer = load_recipe("tiny/rrdb-pretrain", [*settings, "steps=7"])
    with pytest.warns(UserWarning, match="is damaged"):
        train(longer, tmp_path / "run", recipe="r", device="cpu")
    figures = {row["step"]: row["validation"]["mine"]["psnr"] for row in read_validation(tmp_path / "run")}
    assert (figures.pop(2), figures.pop(4)) == (80, 0)
    assert min(figures[6], figures[7]) > 0, "measured anew"
    assert max(figures[6], figures[7]) < 80
    # Better than step 4; step 2 was better, but its weights are gone.
    assert best_step(tmp_path / "run", "psnr") == max(figures, key=lambda step: figures[step])
    assert {int(path.stem.removeprefix("step-")) for path in checkpoints.glob("*.safetensors")} == {6, 7}
