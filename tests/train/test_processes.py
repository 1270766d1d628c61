"""Several processes, and several batches an update: the same samples and the same update as one larger batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from goldeye.config import load_recipe, to_yaml
from goldeye.losses.adversarial import discriminator_loss, generator_loss
from goldeye.networks.weights import load_model
from goldeye.train.loading import StepSampler
from goldeye.train.logging import read_metrics
from goldeye.train.loop import train

# Rates and steps small enough that Adam, which divides by the size of the gradient, cannot make a rounding visible.
SETTINGS = [
    "steps=3",
    "data.crop=16",
    "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}",
    "discriminator.settings={num_feat: 4}",
    "losses.perceptual=null",
    "log_every=1",
    "optimizer.lr=1e-4",
]
PROGRAM = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from goldeye.config import load_recipe
from goldeye.losses.adversarial import discriminator_loss, generator_loss
from goldeye.train.engine import Engine
from goldeye.train.loop import train

engine = Engine("cpu")
real = torch.tensor({real})[engine.rank * 2 :][:2].requires_grad_()
fake = torch.tensor({fake})[engine.rank * 2 :][:2].requires_grad_()
generator_loss("ragan", fake, real, mean=engine.mean).backward()
found = {{"generator": fake.grad.tolist()}}
fake.grad = None
sum(discriminator_loss("ragan", real, fake, mean=engine.mean)).backward()
found |= {{"real": real.grad.tolist(), "fake": fake.grad.tolist()}}
found["agrees"] = [engine.agrees(5), engine.agrees(engine.rank), engine.any(engine.rank == 1)]
Path(f"{folder}/rank{{engine.rank}}.json").write_text(json.dumps(found))
for recipe in sys.argv[1:]:
    train(load_recipe(recipe), Path(recipe).with_suffix(""), recipe="r", device="cpu")
"""


def test_samples_are_shared_out_over_processes_and_batches() -> None:
    one = list(StepSampler(8, 3, 4))
    assert one == [[8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19]]
    two = [list(StepSampler(8, 3, 2, rank=rank, world=2)) for rank in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one
    halves = list(StepSampler(8, 6, 2))
    assert [a + b for a, b in zip(halves[::2], halves[1::2], strict=True)] == one


def assert_close_runs(one: Path, other: Path, terms: set[str] | None = None) -> None:
    a, b = (load_model(str(run)).module.state_dict() for run in (one, other))
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=0, atol=1e-6)
    for row, again in zip(read_metrics(one), read_metrics(other), strict=True):
        kept = {name: value for name, value in row.items() if terms is None or name in terms}
        assert {name: again[name] for name in kept} == pytest.approx(kept, rel=1e-4, abs=1e-7)


REAL, FAKE = [0.3, -1.2, 2.0, 0.7], [-0.4, 1.5, 0.2, -2.0]


def assert_ragan_gradients(folder: Path) -> None:
    """d(loss)/d(logit), averaged over two processes, is that of one with all logits: also through the mean logit."""
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
    real, fake = (torch.tensor(values, requires_grad=True) for values in (REAL, FAKE))
    generator_loss("ragan", fake, real).backward()  # type: ignore[no-untyped-call]
    expected = {"generator": fake.grad}
    fake.grad = None
    torch.stack(discriminator_loss("ragan", real, fake)).sum().backward()  # type: ignore[no-untyped-call]
    expected |= {"real": real.grad, "fake": fake.grad}
    for name, gradient in expected.items():
        found = torch.tensor(ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-7)
    assert [found["agrees"] for found in ranks] == [[True, False, True]] * 2


def test_two_processes_are_one_with_twice_the_batch(labelled: Path, tmp_path: Path) -> None:
    """U-Net SN and negatives. ragan takes the mean logit over both processes, with its gradient."""
    settings = [*SETTINGS, f"data.path={labelled}"]
    kinds = {gan: [*settings, f"losses.adversarial.kind={gan}"] for gan in ("vanilla", "ragan")}
    for gan, more in kinds.items():
        (tmp_path / f"{gan}.yaml").write_text(to_yaml(load_recipe("tiny/rrdb-posneg", [*more, "data.batch=2"])))
    (tmp_path / "program.py").write_text(PROGRAM.format(real=REAL, fake=FAKE, folder=tmp_path))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, str(tmp_path / "program.py"), *(str(tmp_path / f"{gan}.yaml") for gan in kinds)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr[-3000:]
    assert_ragan_gradients(tmp_path)
    for gan, more in kinds.items():
        whole = load_recipe("tiny/rrdb-posneg", [*more, "data.batch=4"])
        train(whole, tmp_path / f"{gan}-whole", recipe="r", device="cpu")
        assert_close_runs(tmp_path / f"{gan}-whole", tmp_path / gan)
        # A run may go on with another number of processes: it counts samples.
        longer = load_recipe("tiny/rrdb-posneg", [*more, "data.batch=2", "steps=4"])
        assert train(longer, tmp_path / gan, recipe="r", device="cpu").started_at == 3


def test_accumulated_batches_are_one_batch(labelled: Path, tmp_path: Path) -> None:
    """For the terms that are means over samples; spectral norm and ragan see each batch by itself."""
    settings = [*SETTINGS, f"data.path={labelled}", "losses.adversarial.weight=0"]
    settings += ["losses.perceptual={layers: conv5_4, weights: random}"]
    for name, batches in (("whole", ["data.batch=4"]), ("parts", ["data.batch=2", "accumulate=2"])):
        train(load_recipe("tiny/rrdb-posneg", [*settings, *batches]), tmp_path / name, recipe="r", device="cpu")
    assert_close_runs(tmp_path / "whole", tmp_path / "parts", {"pixel", "perceptual", "negative", "loss"})
