"""AdaTarget's three stages: LocNet alone, with the pixel term, with the GAN."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.cli import run as goldeye
from goldeye.config import TrainConfig, load_recipe, to_yaml
from goldeye.dataset.groups import DatasetSettings, DatasetWriter, Enhancer
from goldeye.dataset.training import build_dataset
from goldeye.errors import Interrupted, InvalidInput
from goldeye.files import write_json
from goldeye.images import write_image
from goldeye.losses.adaptive_target import move
from goldeye.methods import METHODS
from goldeye.methods.adatarget import AdaTargetGanMethod, AdaTargetMethod
from goldeye.methods.base import Batch, Method, Trained
from goldeye.methods.locnet import LocNetMethod, draws, motions, undoing
from goldeye.networks import build_network
from goldeye.networks.weights import load_model
from goldeye.train.checkpoint import latest_step
from goldeye.train.engine import Engine
from goldeye.train.logging import read_metrics
from goldeye.train.loop import train
from goldeye.train.plan import dry_run
from training_data import noisy

STAGES = ("tiny/adatarget-locnet", "tiny/adatarget-pixel", "tiny/adatarget-gan", "tiny/adatarget-positive")
RRDB = "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}"
PATCHES = {"sr_size": 4, "gt_size": 6}  # a smaller LocNet than the paper's 7 and 9
PIXEL = [RRDB, f"locnet.settings={PATCHES}"]
SMALL = ["steps=6", "data.crop=28", "data.batch=2", "log_every=1", "checkpoint_every=3"]
GAN = [*PIXEL, "data.crop=56", "discriminator.settings={num_feat: 4}"]
MORE = {
    "tiny/adatarget-locnet": [f"generator.settings={PATCHES}"],
    "tiny/adatarget-pixel": PIXEL,
    "tiny/adatarget-gan": [*GAN, "losses.perceptual=null"],
    "tiny/adatarget-positive": [*GAN, "losses.perceptual=null"],
}
# The losses of four steps on one batch.
PINNED = {
    "tiny/adatarget-locnet": [0.03009457, 0.02937822, 0.02758408, 0.02561227],
    "tiny/adatarget-pixel": [0.4185863, 0.3983168, 0.3789554, 0.3556758],
    "tiny/adatarget-gan": [0.4961349, 0.4953961, 0.4945577, 0.4937334],
}


picture = partial(noisy, size=64, cells=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        write_image(folder / f"{number}.png", picture(number))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups with a positive each."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    settings = DatasetSettings(patch_size=64, enhancers=(Enhancer(name="e01", slot="01"),))
    writer = DatasetWriter(folder, settings)
    for name in ("a", "b"):
        seed = ord(name)
        writer.add(
            name, picture(seed), {"01": picture(seed + 9)}, source=f"{name}.png", source_sha256="", y=0, x=0, scores={}
        )
    writer.finish({"a.png": "train", "b.png": "train"})
    for name in ("a", "b"):
        document: dict[str, Any] = {
            "Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None},
            "Picture_2": {"Name": f"{name}_01.png", "File": "01", "Label": "Positive"},
            "Time_cost": {"Start": "2026-01-01 00:00:00", "End": "2026-01-01 00:00:20", "Total": 20},
        }
        for slot in "ABC":
            write_json(folder / "labels" / "0-2" / slot / f"{name}.json", document)
    return folder


def config_for(recipe: str, photos: Path, dataset: Path, *more: str) -> TrainConfig:
    path = dataset if recipe.endswith("positive") else photos
    return load_recipe(recipe, [*SMALL, *MORE[recipe], f"data.path={path}", *more])


def method_for(config: TrainConfig) -> Method:
    torch.manual_seed(0)
    return METHODS[config.method](config, Engine("cpu"))


def batch_of(config: TrainConfig, count: int = 2) -> Batch:
    data = build_dataset(config)
    batch: Batch = torch.utils.data.default_collate([data[number] for number in range(count)])
    return batch


def weights(run: Path) -> dict[str, Tensor]:
    return load_model(run).module.state_dict()


def training_state(run: Path) -> dict[str, Any]:
    path = run / "checkpoints" / f"step-{latest_step(run):08d}.pt"
    state: dict[str, Any] = torch.load(path, weights_only=True)["method"]
    return state


def same(one: Any, other: Any) -> bool:
    """Whether nested states are equal to the bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


# --- recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", STAGES)
def test_every_stage_takes_two_steps_at_its_tiny_size(recipe: str, photos: Path, dataset: Path, tmp_path: Path) -> None:
    path = dataset if recipe.endswith("positive") else photos
    config = load_recipe(recipe, [f"data.path={path}", "steps=2", "log_every=1", "data.batch=2"])
    train(config, tmp_path / "run", recipe=recipe)
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2]
    parts = {"locnet": {"matrix", "pixel"}, "adatarget": {"pixel"}}
    expected = parts.get(config.method, {"pixel", "perceptual", "adversarial", "d_real", "d_fake"})
    assert all(set(row) == {"step", "lr", "loss", *expected} for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert (tmp_path / "run" / "samples" / "step-00000002.png").is_file()


def test_a_dry_run_counts_locnet(photos: Path, dataset: Path) -> None:
    config = config_for("tiny/adatarget-gan", photos, dataset, "locnet.settings={}")
    found = dry_run(config, measure=False)
    assert found["ok"], found["problems"]
    parameters = found["plan"]["parameters"]
    assert set(parameters) == {"generator", "discriminator", "locnet"}
    assert parameters["locnet"] == 1_224_996


# --- steps ------------------------------------------------------------------------------------------------------------


def adatarget(config: TrainConfig) -> AdaTargetMethod | AdaTargetGanMethod:
    method = method_for(config)
    assert isinstance(method, (AdaTargetMethod, AdaTargetGanMethod))
    return method


def _wake(locnet: nn.Module) -> None:
    """At the start the last layer is zero and lets no gradient through."""
    with torch.no_grad():
        locnet.get_parameter("layer4.weight").normal_(std=0.01)


@pytest.mark.parametrize("recipe", STAGES[1:])
def test_each_term_reaches_the_generator_and_the_pixel_term_locnet(recipe: str, photos: Path, dataset: Path) -> None:
    perceptual = [] if recipe == STAGES[1] else ["losses.perceptual={layers: conv5_4, weights: random}"]
    config = config_for(recipe, photos, dataset, *perceptual)
    method, batch = adatarget(config), batch_of(config)
    _wake(method.mover.trained.network)
    names = {"pixel"} if recipe == STAGES[1] else {"pixel", "perceptual", "adversarial"}
    assert set(method.generator_terms(batch, method.generate(batch))) == names
    for name in names:
        for trained in method.trained.values():
            trained.begin()
        method.generator_terms(batch, method.generate(batch))[name].value.backward()  # type: ignore[no-untyped-call]
        reached = {
            part: any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in trained.network.parameters())
            for part, trained in method.trained.items()
        }
        assert reached.pop("generator"), name
        assert reached.pop("locnet") == (name == "pixel"), name
        assert not any(reached.values()), name  # the discriminator


def test_only_the_pixel_term_sees_the_moved_picture(photos: Path, dataset: Path) -> None:
    """At the start LocNet moves nothing; after a change of its bias only that term is another."""
    settings = ["losses.perceptual={layers: conv5_4, weights: random}"]
    config = config_for("tiny/adatarget-gan", photos, dataset, *settings)
    method, batch = adatarget(config), batch_of(config)
    output = method.generate(batch)
    before = method.generator_terms(batch, output)
    target = batch.get("gt_usm", batch["gt"])
    torch.testing.assert_close(before["pixel"].value, F.mse_loss(output.sr, target))
    shift = torch.tensor([1.0, 0, 2 / 4, 0, 1, 0])
    method.mover.trained.network.get_parameter("layer4.bias").data.copy_(shift)
    after = method.generator_terms(batch, output)
    count = len(output.sr) * (output.sr.shape[2] // 4) ** 2
    moved = move(output.sr, shift.view(1, 2, 3).expand(count, 2, 3), sr_size=4)
    torch.testing.assert_close(after["pixel"].value, F.mse_loss(moved, target))
    assert after["pixel"].value != before["pixel"].value
    assert after["perceptual"].value == before["perceptual"].value


def test_a_step_updates_both_networks_each_clipped_on_its_own(
    photos: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of gradients of norms 30 (generator) and 0.01 (LocNet) the first comes down to 0.1, the second stays."""
    config = config_for("tiny/adatarget-gan", photos, dataset)
    method, batch = adatarget(config), batch_of(config)
    norms: dict[str, list[Tensor]] = {}
    named = {id(trained.optimizer): name for name, trained in method.trained.items()}
    step = method.engine.step

    def watched(optimizer: torch.optim.Optimizer, skip: Tensor) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.setdefault(named[id(optimizer)], []).append(torch.nn.utils.get_total_norm(gradients))
        step(optimizer, skip)

    def scaled(trained: Trained, norm: float) -> Any:
        update = trained.update

        def run(loss: Tensor) -> Tensor:
            gradients = [p.grad for p in trained.network.parameters() if p.grad is not None]
            factor = norm / torch.nn.utils.get_total_norm(gradients)
            for gradient in gradients:
                gradient.mul_(factor)
            return update(loss)

        return run

    monkeypatch.setattr(method.engine, "step", watched)
    for name, norm in (("generator", 30.0), ("locnet", 0.01), ("discriminator", 30.0)):
        monkeypatch.setattr(method.trained[name], "update", scaled(method.trained[name], norm))
    before = {name: trained.state()["network"] for name, trained in method.trained.items()}
    before = {name: {key: value.clone() for key, value in state.items()} for name, state in before.items()}
    method.step([batch])
    found = {name: values[0].item() for name, values in norms.items()}
    assert found == pytest.approx({"generator": 0.1, "locnet": 0.01, "discriminator": 30}, rel=1e-4)
    for name, trained in method.trained.items():
        assert any(not torch.equal(p, before[name][key]) for key, p in trained.network.named_parameters()), name


def test_a_step_that_is_not_finite_changes_locnet_in_nothing(photos: Path, dataset: Path) -> None:
    config = config_for("tiny/adatarget-pixel", photos, dataset)
    method, batch = adatarget(config), batch_of(config)
    before = {key: value.clone() for key, value in method.mover.trained.network.state_dict().items()}
    values = method.step([batch | {"lr": torch.full_like(batch["lr"], torch.nan)}])
    assert values["nonfinite"]
    assert same(before, dict(method.mover.trained.network.state_dict()))  # batch norm's statistics, too
    assert not method.step([batch])["nonfinite"]
    assert not same(before, dict(method.mover.trained.network.state_dict()))


@pytest.mark.parametrize("recipe", STAGES[:3])
def test_steps_are_pinned(recipe: str, photos: Path, dataset: Path) -> None:
    """So that a change of a term, of what it sees, of the draws or of the order of updates shows."""
    config = config_for(recipe, photos, dataset)
    method, batch = method_for(config), batch_of(config)
    found = [method.step([batch])["loss"].item() for _ in range(4)]
    assert found == pytest.approx(PINNED[recipe], rel=2e-3)


def test_bf16_keeps_locnet_in_float32(photos: Path, dataset: Path) -> None:
    config = config_for("tiny/adatarget-pixel", photos, dataset, "precision=bf16")
    torch.manual_seed(0)
    method = METHODS[config.method](config, Engine("cpu", "bf16"))
    assert isinstance(method, AdaTargetMethod)
    seen: list[torch.dtype] = []
    method.mover.trained.network.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    assert method.step([batch_of(config)])["loss"].isfinite()
    assert seen == [torch.float32]


# --- LocNet alone -----------------------------------------------------------------------------------------------------


def test_motions_by_hand() -> None:
    """The largest turn to the left with the largest shift, none of either, and what undoes them."""
    drawn = torch.tensor([[1.0, 1.0, 0.0], [0.5, 0.5, 0.5]])
    cos, sin = math.cos(math.radians(10)), math.sin(math.radians(10))
    there, back = motions(drawn, 9), undoing(drawn, 7)
    torch.testing.assert_close(there[0], torch.tensor([[cos, -sin, 2 / 9], [sin, cos, -2 / 9]]))
    expected = torch.tensor([[cos, sin, -2 / 7 * (cos - sin)], [-sin, cos, 2 / 7 * (cos + sin)]])
    torch.testing.assert_close(back[0], expected)
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    assert torch.equal(there[1], identity)
    assert torch.equal(back[1], identity)


@given(st.integers(0, 2**31))
def test_what_is_wanted_undoes_the_motion(seed: int) -> None:
    """In pixels around the middle: p -> R S p + t is the identity, whatever was drawn."""
    drawn = torch.rand(5, 3, generator=torch.Generator().manual_seed(seed))
    there, back = motions(drawn, 9), undoing(drawn, 7)
    turn, shift = there[:, :, :2], there[:, :, 2:] * 9 / 2
    back_turn, back_shift = back[:, :, :2], back[:, :, 2:] * 7 / 2
    torch.testing.assert_close(turn @ back_turn, torch.eye(2).expand(5, 2, 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(turn @ back_shift + shift, torch.zeros(5, 2, 1), rtol=0, atol=1e-5)
    assert shift.abs().max() <= 1
    assert turn[:, 0, 0].min() >= math.cos(math.radians(10)) - 1e-6


def test_draws_depend_on_the_picture_alone_and_look_uniform() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(40, 3, 14, 14)
    drawn = draws(pictures, 100)
    assert torch.equal(draws(pictures[7:9], 100), drawn[7:9])  # not on the batch
    assert torch.equal(draws(pictures.contiguous(memory_format=torch.channels_last), 100), drawn)  # nor on its layout
    nearly = pictures.clone()
    nearly[0, 2, 13, 13] += 1e-6
    assert (draws(nearly, 100)[0] != drawn[0]).float().mean() > 0.99
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.flatten(0, 1).unbind(1):
        counts = torch.histc(column, bins=10, min=0, max=1)
        # 400 expected in each of ten bins: chi-square with 9 degrees of freedom is below 27.9 in 99.9 % of cases.
        assert ((counts - 400).square() / 400).sum() < 27.9
    columns = [*drawn.flatten(0, 1).unbind(1), drawn[:, 1:, 0].flatten(), drawn[:, :-1, 0].flatten()]
    pairs = [(0, 1), (0, 2), (1, 2), (3, 4)]
    assert all(abs(np.corrcoef(columns[a], columns[b])[0, 1]) < 0.06 for a, b in pairs)
    flat = draws(torch.tensor([0.0, 1.0, 0.5]).view(3, 1, 1, 1).expand(3, 3, 14, 14), 50)
    assert len(torch.unique(flat)) == flat.numel()


def test_a_locnet_that_knows_the_answer_has_no_loss(photos: Path, dataset: Path) -> None:
    method = method_for(config_for("tiny/adatarget-locnet", photos, dataset, "generator.settings={}"))
    assert isinstance(method, LocNetMethod)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    plane = (0.1 + 0.01 * x + 0.02 * y).expand(2, 3, 28, 28)
    batch = {"gt": plane, "lr": plane}
    output = method.generate(batch)
    assert output.sr.shape == plane.shape
    assert 0.005 < (output.sr - plane).abs().mean() < 0.02  # about half a pixel of the slope
    terms = method.generator_terms(batch, output)
    wanted = undoing(draws(plane, 16).flatten(0, 1), 7)
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(terms["matrix"].value, (identity - wanted).square().mean())
    assert (terms["matrix"].weight, terms["pixel"].weight) == (1, 0.01)
    assert terms["pixel"].value.item() == pytest.approx(F.mse_loss(output.sr, plane).item(), rel=1e-3)

    method.generator.network.forward = lambda patches: wanted
    terms = method.generator_terms(batch, output)
    assert terms["matrix"].value == 0
    put_back = move(output.sr, wanted)
    inner = (put_back - plane).view(2, 3, 4, 7, 4, 7)[:, :, 1:-1, 2:-2, 1:-1, 2:-2]
    assert inner.abs().max() < 1e-5  # where nothing from outside the patch or the picture is needed


def test_locnet_learns_on_a_cpu(photos: Path, dataset: Path, tmp_path: Path) -> None:
    settings = ["steps=120", "data.batch=4", "optimizer={lr: 0.002, clip: 0.1}", "checkpoint_every=120"]
    train(config_for("tiny/adatarget-locnet", photos, dataset, *settings), tmp_path / "run", recipe="r")
    losses = [row["loss"] for row in read_metrics(tmp_path / "run")]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", STAGES[:3])
def test_a_stopped_run_ends_like_an_unbroken_one(
    recipe: str, photos: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(recipe, photos, dataset)
    train(config, tmp_path / "straight", recipe=recipe)
    method = METHODS[config.method]
    original, calls = method.step, [0]

    def stop_in_step_four(self: Method, batches: Any) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batches)

    monkeypatch.setattr(method, "step", stop_in_step_four)
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train(config, tmp_path / "stopped", recipe=recipe)
    monkeypatch.undo()
    assert train(config, tmp_path / "stopped", recipe=recipe).started_at == 4
    one, other = training_state(tmp_path / "straight"), training_state(tmp_path / "stopped")
    assert same(one, other)
    assert recipe == STAGES[0] or {"generator", "locnet"} <= set(one)
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("straight", "stopped")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("recipe", STAGES[:3])
def test_broken_off_between_checkpoints_it_ends_the_same(
    recipe: str, photos: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash in step 5: the run goes on from the checkpoint of step 3, with nothing of steps 4 and 5."""
    config = config_for(recipe, photos, dataset)
    method = METHODS[config.method]
    original, calls = method.step, [0]

    def fail_in_step_five(self: Method, batches: Any) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == 5:
            raise MemoryError
        return original(self, batches)

    monkeypatch.setattr(method, "step", fail_in_step_five)
    with pytest.raises(MemoryError):
        train(config, tmp_path / "broken", recipe=recipe)
    monkeypatch.undo()
    assert train(config, tmp_path / "broken", recipe=recipe).started_at == 3
    train(config, tmp_path / "straight", recipe=recipe)
    assert same(training_state(tmp_path / "broken"), training_state(tmp_path / "straight"))


@pytest.mark.slow
def test_killed_and_started_again_ends_the_same(photos: Path, dataset: Path, tmp_path: Path) -> None:
    """kill -9 between checkpoints."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(config_for("tiny/adatarget-pixel", photos, dataset, "steps=40", "checkpoint_every=8")))
    code = (
        "import sys, torch; from pathlib import Path; torch.set_num_threads(1)\n"
        "from goldeye.config import load_recipe; from goldeye.train.loop import train\n"
        "train(load_recipe(sys.argv[1]), Path(sys.argv[2]), recipe='r')\n"
    )
    command = [sys.executable, "-c", code, str(recipe)]
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    pointer, deadline = tmp_path / "killed" / "checkpoints" / "latest", time.monotonic() + 60
    while not pointer.is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert 0 < latest_step(tmp_path / "killed") < 40
    for name in ("killed", "straight"):
        subprocess.run([*command, str(tmp_path / name)], check=True)
    assert same(training_state(tmp_path / "killed"), training_state(tmp_path / "straight"))


def test_the_three_stages_follow_each_other(
    photos: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the commands; each stage starts from the LocNet of the one before, bit for bit."""
    starts: list[str] = []
    runs: list[Path] = []
    for recipe in STAGES[:3]:
        config = config_for(recipe, photos, dataset, *starts, "steps=2")
        if runs:
            method = adatarget(config)
            before = training_state(runs[-1])["generator" if len(runs) == 1 else "locnet"]["network"]
            assert same(dict(method.mover.trained.network.state_dict()), before)
        path = tmp_path / f"{len(runs)}.yaml"
        path.write_text(to_yaml(config))
        run = tmp_path / f"run{len(runs)}"
        assert goldeye(["train", str(path), "-o", str(run), "-q"]) == 0
        capsys.readouterr()
        assert goldeye(["models", "info", str(run), "--json"]) == 0
        info = json.loads(capsys.readouterr().out)
        assert info["architecture"] == ("locnet" if not runs else "rrdb")
        if not runs:
            assert info["config"] == PATCHES
            assert info["parameters"] == sum(p.numel() for p in build_network("locnet", **PATCHES).parameters())
        runs.append(run)
        starts = [f"locnet.init={run}"] + ([f"generator.init={run}"] if len(runs) > 1 else [])
    assert goldeye(["upscale", str(photos / "0.png"), "-n", str(runs[0]), "-o", str(tmp_path / "out")]) == 2
    assert "does not make RGB pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        (
            "tiny/adatarget-pixel",
            ["data.crop=44", "locnet.settings={sr_size: 7, gt_size: 9}"],
            r"patches of 7 x 7, of which 44 x 44 is no multiple",
        ),
        ("tiny/adatarget-locnet", ["data.crop=30"], "patches of 4 x 4, of which 30 x 30 is no"),
        (
            "tiny/adatarget-pixel",
            ["locnet={architecture: rrdb, settings: {num_feat: 4, num_block: 1}}"],
            "'locnet', not by 'rrdb'",
        ),
        (
            "tiny/adatarget-locnet",
            ["generator={architecture: rrdb-x1, settings: {num_feat: 4}}"],
            "'locnet', not by 'rrdb-x1'",
        ),
        ("tiny/adatarget-pixel", ["locnet.settings={sr_size: 4, gt_size: 7}"], "no border of whole pixels"),
        ("tiny/adatarget-pixel", ["locnet.settings={sr_size: 4, gt_size: 2}"], "no border of whole pixels"),
        ("tiny/adatarget-locnet", ["scale=4", "data.degradation=hggt"], "set scale to 1, not 4"),
        ("tiny/adatarget-pixel", ["locnet.init=nowhere"], "nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(
    recipe: str, settings: list[str], message: str, photos: Path, dataset: Path, tmp_path: Path
) -> None:
    config = config_for(recipe, photos, dataset, *settings)
    with pytest.raises(InvalidInput, match=message):
        train(config, tmp_path / "run", recipe=recipe)
    assert not (tmp_path / "run").exists()


def test_locnet_is_not_validated_on_pictures(photos: Path, dataset: Path) -> None:
    settings = [f"validation.sets.photos={{gt: {photos}, degradation: hggt-enhance-blur}}"]
    config = config_for("tiny/adatarget-locnet", photos, dataset, *settings)
    with pytest.raises(InvalidInput, match="leave out validation"):
        method_for(config)


def test_a_run_that_cannot_give_a_locnet_is_named(photos: Path, dataset: Path, tmp_path: Path) -> None:
    pixel = config_for("tiny/adatarget-pixel", photos, dataset, "steps=1")
    train(pixel, tmp_path / "run", recipe="r")
    other = f"locnet={{architecture: locnet, settings: {{sr_size: 4, gt_size: 8}}, init: {tmp_path / 'run'}}}"
    with pytest.raises(InvalidInput, match="does not fit the recipe's"):
        method_for(config_for("tiny/adatarget-pixel", photos, dataset, other))
    path = tmp_path / "run" / "checkpoints" / "step-00000001.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InvalidInput, match="cannot be read, and LocNet is in it"):
        method_for(config_for("tiny/adatarget-pixel", photos, dataset, f"locnet.init={tmp_path / 'run'}"))
