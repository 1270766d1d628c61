"""EDL: which term sees which output (Eq. 8), its steps and its runs."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from goldeye.cli import run as command
from goldeye.config import load_recipe
from goldeye.errors import Interrupted, InvalidInput
from goldeye.images import image_size, read_image, write_image
from goldeye.images.colour import to_tensor
from goldeye.methods.base import Batch, Method
from goldeye.methods.edl import EdlMethod
from goldeye.methods.gan import GanMethod
from goldeye.networks import build_network
from goldeye.networks.edl import EDL
from goldeye.networks.weights import load_model
from goldeye.train.engine import Engine
from goldeye.train.logging import read_metrics
from goldeye.train.loop import train

SMALL = (
    "steps=6",
    "data.crop=32",
    "data.batch=2",
    "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}",
    "discriminator.settings={num_feat: 4}",
    "losses.perceptual={layers: conv5_4, weights: random}",
    "log_every=1",
    "checkpoint_every=3",
)
NO_VGG = "losses.perceptual=null"
PICTURE = 64


def method_for(*settings: str, seed: int = 0) -> EdlMethod:
    torch.manual_seed(seed)
    return EdlMethod(load_recipe("tiny/edl", [*SMALL, *settings]), Engine("cpu"))


def batch_of(seed: int = 0, count: int = 2) -> Batch:
    """LR (count, 3, 8, 8) and GT (count, 3, 32, 32), the same on every machine."""
    rng = np.random.default_rng(seed)
    gt = rng.uniform(0, 1, (count, 3, 8, 8)).astype(np.float32)
    fine = gt.repeat(4, axis=2).repeat(4, axis=3) * rng.uniform(0.8, 1, (count, 3, 32, 32)).astype(np.float32)
    return {"lr": torch.from_numpy(gt), "gt": torch.from_numpy(fine)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        rng = np.random.default_rng(number)
        coarse = rng.uniform(0, 255, (8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
        noisy = np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)
        write_image(folder / f"{number}.png", noisy)
    return folder


# --- Eq. 8 by hand ----------------------------------------------------------------------------------------------------


class Identity(nn.Module):
    """In place of VGG19: its one feature is the picture."""

    layers = {"picture": 1.0}  # noqa: RUF012 (as VGG19Features has it)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"picture": x}


@torch.no_grad()
def flat(network: EDL) -> None:
    """I_G = (ln 2, 0, 0) everywhere, x = I_G, y = I_G + 1, M = softmax(I_G) = (1/2, 1/4, 1/4)."""
    for parameter in network.parameters():
        parameter.zero_()
    bias = network.conv_last.bias
    assert bias is not None
    bias[0] = math.log(2)
    last = network.get_submodule("branch2.2.block.2")
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.bias.fill_(1)


def test_each_term_looks_at_its_own_output(monkeypatch: pytest.MonkeyPatch) -> None:
    method = method_for("losses.adversarial.kind=vanilla")
    network = method.generator.network
    assert isinstance(network, EDL)
    flat(network)
    monkeypatch.setattr(method, "_vgg", Identity())
    monkeypatch.setattr(method.discriminator, "run", lambda x: x.mean(dim=(1, 2, 3)))
    seen: list[Tensor] = []

    def note(batches: Sequence[Batch], fakes: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        seen.extend(fakes)
        return {}, torch.tensor(False)

    monkeypatch.setattr(method, "discriminator_step", note)
    batch = {"lr": torch.zeros(1, 3, 8, 8), "gt": torch.zeros(1, 3, 32, 32)}
    ln2 = math.log(2)
    terms = method.generator_terms(batch, method.generate(batch))
    found = {name: (float(term.value.detach()), term.weight) for name, term in terms.items()}
    # out1 = M x = (ln2 / 2, 0, 0); out2 = (1 - M) y = ((ln2 + 1) / 2, 3/4, 3/4); out1 + out2 = (ln2 + 1/2, 3/4, 3/4)
    assert found["pixel"] == (pytest.approx(((ln2 + 1) / 2 + 1.5) / 3), 0.01)
    assert found["perceptual"] == (pytest.approx((ln2 + 0.5 + 1.5) / 3), 1)
    assert found["adversarial"] == (pytest.approx(math.log(1 + math.exp(-ln2 / 6))), 0.005)
    values = method.step([batch])
    whole = 0.01 * ((ln2 + 1) / 2 + 1.5) / 3 + (ln2 + 2) / 3 + 0.005 * math.log(1 + math.exp(-ln2 / 6))
    assert float(values["loss"]) == pytest.approx(whole)
    (fake,) = seen
    assert fake[0, :, 5, 7].tolist() == pytest.approx([ln2 + 0.5, 0.75, 0.75])


def reached(method: GanMethod, term: str) -> set[str]:
    """The parts of the network that get a gradient from a term alone."""
    batch = batch_of()
    network = method.generator.network
    network.zero_grad(set_to_none=True)
    terms = method.generator_terms(batch, method.generate(batch))
    terms[term].value.backward()  # type: ignore[no-untyped-call]
    return {
        name.split(".")[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }


ENDS = {"branch1", "branch2", "sm", "tail_conv1", "tail_conv2"}


@pytest.mark.parametrize(
    ("term", "ends"),
    [
        ("adversarial", {"branch1", "sm", "tail_conv1"}),
        ("pixel", {"branch2", "sm", "tail_conv2"}),
        ("perceptual", ENDS),
    ],
)
@pytest.mark.parametrize(
    ("setting", "has"),
    [
        ("generator.architecture=edl", {"branch1", "branch2", "sm"}),
        ("generator.architecture=edl-code", ENDS),
        ("generator.settings.branching=dual", {"branch1", "branch2"}),
    ],
)
def test_a_term_teaches_its_own_branch(term: str, ends: set[str], setting: str, has: set[str]) -> None:
    """Through the mask, every term reaches `sm`; every term reaches the trunk."""
    found = reached(method_for(setting), term)
    assert found & ENDS == ends & has
    assert {"conv_first", "body", "conv_last"} <= found


@pytest.mark.parametrize("term", ["pixel", "perceptual", "adversarial"])
def test_the_weighted_sum_puts_every_term_on_the_fused_picture(term: str) -> None:
    torch.manual_seed(0)
    method = GanMethod(load_recipe("tiny/edl", [*SMALL, "method=gan"]), Engine("cpu"))
    assert {"branch1", "branch2", "sm"} <= reached(method, term)


def test_a_step_teaches_generator_and_discriminator() -> None:
    method = method_for()
    before = {name: p.detach().clone() for name, p in method.generator.network.named_parameters()}
    judge = [p.detach().clone() for p in method.discriminator.network.parameters()]
    values = method.step([batch_of()])
    assert set(values) == {"pixel", "perceptual", "adversarial", "loss", "d_real", "d_fake", "nonfinite"}
    changed = {n.split(".")[0] for n, p in method.generator.network.named_parameters() if not torch.equal(p, before[n])}
    assert {"branch1", "branch2", "sm", "body"} <= changed
    after = method.discriminator.network.parameters()
    assert all(not torch.equal(a, b) for a, b in zip(judge, after, strict=True))


def test_weight_zero_leaves_the_adversarial_term_out() -> None:
    """Table X, pixel + perceptual: the same update as without a discriminator."""
    watched, plain = method_for("losses.adversarial.weight=0"), method_for("losses.adversarial.weight=0")
    batch = batch_of()
    for method in (watched, plain):
        method.generator.begin()
    terms = watched.generator_terms(batch, watched.generate(batch))
    torch.stack([term.weight * term.value for term in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    terms = plain.generator_terms(batch, plain.generate(batch))
    del terms["adversarial"]
    torch.stack([term.weight * term.value for term in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    pairs = zip(watched.generator.network.parameters(), plain.generator.network.parameters(), strict=True)
    for a, b in pairs:
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


PINNED = {
    "pixel": [0.00413386524, 0.0037792779, 0.00381283625, 0.00387957692],
    "perceptual": [0.113781646, 0.118003912, 0.110040538, 0.119813681],
    "adversarial": [0.00290754857, 0.00324380863, 0.00327918073, 0.003000353],
    "d_real": [0.404058397, 0.343680263, 0.355630934, 0.36256963],
    "d_fake": [0.401052326, 0.342685461, 0.347947836, 0.360166043],
}


def test_steps_are_pinned() -> None:
    """A few steps, so that a change of what a term sees or of the order of updates shows."""
    method = method_for()
    rows = [method.step([batch_of(seed)]) for seed in range(4)]
    for name, expected in PINNED.items():
        assert [float(row[name]) for row in rows] == pytest.approx(expected, rel=2e-3), name


# --- the network's rows of Table VII ----------------------------------------------------------------------------------

SIZES = {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}


@pytest.mark.parametrize(
    ("branching", "parameters"),
    [
        ("single", 16_697_987 + 3 * 3_523),
        ("dual", 16_697_987 + 6 * 3_523),
        ("exclusionary", 16_729_694),
    ],
)
def test_full_networks_have_the_branches_they_say(branching: str, parameters: int) -> None:
    with torch.device("meta"):
        network = build_network("edl", branching=branching)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("structure", ["paper", "code"])
def test_without_a_mask_the_branches_are_added(structure: str) -> None:
    torch.manual_seed(0)
    whole = build_network("edl", structure=structure, **SIZES)
    assert isinstance(whole, EDL)
    state, x = whole.state_dict(), torch.rand(1, 3, 8, 8)
    made: dict[str, EDL] = {}
    for branching in ("dual", "single"):
        network = build_network("edl", structure=structure, branching=branching, **SIZES)
        assert isinstance(network, EDL)
        network.load_state_dict({key: state[key] for key in network.state_dict()})
        assert all(name in dict(network.named_children()) for name in network.full_precision)
        with pytest.raises(InvalidInput, match=f"no mask: its branching is '{branching}'"):
            network.branches_and_mask(x)
        made[branching] = network
    dual, single = made["dual"], made["single"]
    with torch.no_grad():
        fused, out1, out2 = dual.branches(x)
        assert torch.equal(out1, single(x))
        assert torch.equal(dual(x), fused)
        assert torch.equal(fused, out1 + out2)
        assert not torch.equal(fused, whole(x))
    with pytest.raises(InvalidInput, match="single branch"):
        single.branches(x)
    with pytest.raises(InvalidInput, match="branching of EDL"):
        build_network("edl", branching="triple")


@pytest.mark.parametrize("setting", ["generator={architecture: rrdb}", "generator.settings.branching=single"])
def test_other_networks_are_refused(setting: str) -> None:
    with pytest.raises(InvalidInput, match="trains a network with two outputs"):
        method_for(setting)


# --- runs -------------------------------------------------------------------------------------------------------------


def weights(run: Path) -> dict[str, Tensor]:
    return load_model(str(run)).module.state_dict()


def test_a_stopped_run_ends_like_an_unbroken_one(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_recipe("tiny/edl", [*SMALL, NO_VGG, f"data.path={photos}"])
    train(config, tmp_path / "straight", recipe="r")
    whole = EdlMethod.step
    count = 0

    def stop_in_step_four(self: Method, batches: Sequence[Batch]) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        if count == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, batches)  # type: ignore[arg-type]

    monkeypatch.setattr(EdlMethod, "step", stop_in_step_four)
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train(config, tmp_path / "stopped", recipe="r")
    monkeypatch.undo()
    assert train(config, tmp_path / "stopped", recipe="r").started_at == 4
    one, other = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert read_metrics(tmp_path / "straight") == read_metrics(tmp_path / "stopped")
    assert len(read_metrics(tmp_path / "straight")) == 6


@pytest.mark.parametrize("branching", ["exclusionary", "dual"])
def test_a_run_of_the_command_upscales(branching: str, photos: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    settings = [*SMALL, NO_VGG, "steps=2", f"data.path={photos}", f"generator.settings.branching={branching}"]
    arguments: list[Any] = [part for setting in settings for part in ("--set", setting)]
    assert command(["train", "tiny/edl", "-o", str(run), "-q", "--device", "cpu", *arguments]) == 0
    for precision in ("fp32", "bf16"):
        arguments = ["upscale", str(photos), "-o", str(out / precision), "-n", str(run), "--device", "cpu", "-q"]
        assert command([*arguments, "--precision", precision]) == 0
        assert [image_size(out / precision / f"{n}.png")[:2] for n in range(3)] == [(4 * PICTURE, 4 * PICTURE)] * 3
    network = load_model(str(run)).module
    assert isinstance(network, EDL)
    assert network.branching == branching
    with torch.no_grad():
        fused = network.branches(to_tensor(read_image(photos / "0.png")))[0]
    made = to_tensor(read_image(out / "fp32" / "0.png"))
    assert (made - fused.clamp(0, 1)).abs().max() < 0.51 / 255
