"""Steps that are not finite: left out one by one, then the run goes back or stops."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from goldeye.config import load_recipe
from goldeye.errors import RunStopped
from goldeye.methods import METHODS
from goldeye.networks.weights import load_model
from goldeye.train.checkpoint import Position, load_checkpoint
from goldeye.train.engine import Engine
from goldeye.train.logging import read_metrics
from goldeye.train.loop import train
from goldeye.train.plan import dry_run

SETTINGS = [
    "steps=8",
    "data.crop=16",
    "data.batch=2",
    "generator.settings={num_feat: 8, num_block: 1, num_grow_ch: 4}",
    "log_every=1",
    "checkpoint_every=2",
    "nonfinite={limit: 2, action: rollback, factor: 0.5, rollbacks: 2}",
]


class Poison:
    """Makes chosen batches of a run NaN, by the order in which they are drawn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
        self.seen = 0
        move = Engine.move

        def poisoned(engine: Engine, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            self.seen += 1
            batch = move(engine, batch)
            return batch | {"lr": torch.full_like(batch["lr"], torch.nan)} if self.seen in bad else batch

        monkeypatch.setattr(Engine, "move", poisoned)


def run(photos: Path, folder: Path, *more: str) -> Any:
    config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}", *more])
    return train(config, folder, recipe="r", device="cpu")


def test_a_single_bad_batch_costs_one_step(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison(monkeypatch, {3, 5})
    assert run(photos, tmp_path).step == 8
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 4, 6, 7, 8]
    assert sorted(path.name for path in (tmp_path / "nonfinite").iterdir()) == ["step-00000003.pt", "step-00000005.pt"]
    batch = torch.load(tmp_path / "nonfinite" / "step-00000003.pt", weights_only=True)
    assert batch["lr"].isnan().all()
    assert batch["gt"].isfinite().all()


def test_a_run_goes_back_with_half_the_rate_and_new_samples(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 5 and 6 are bad: back to the checkpoint of step 4, which then goes on with samples 13 and up."""
    poison = Poison(monkeypatch, {5, 6})
    with pytest.warns(UserWarning, match=r"At step 6: .* Back to step 4, with 0\.5 of the rate"):
        result = run(photos, tmp_path)
    assert result.step == 8
    assert poison.seen == 10
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 9))
    rate = rows[0]["lr"]
    assert [row["lr"] for row in rows] == [rate] * 4 + [rate / 2] * 4
    config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}"])
    with pytest.warns(UserWarning, match="not those of"):
        position = load_checkpoint(tmp_path, METHODS["pixel"](config, Engine("cpu")), "another")
    assert position == Position(step=8, sample=20, rollbacks=1)


@pytest.mark.parametrize("stop", ["steps=5", "steps=6"])  # between the bad steps, after going back
def test_stopped_around_going_back_it_ends_like_an_unbroken_run(
    stop: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("ignore")
        Poison(patch, {5, 6})
        run(photos, tmp_path / "straight")
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("ignore")
        Poison(patch, {5, 6})
        run(photos, tmp_path / "parts", stop)
        run(photos, tmp_path / "parts")
    a, b = (load_model(str(tmp_path / name)).module.state_dict() for name in ("straight", "parts"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_that_goes_back_too_often_stops(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison(monkeypatch, set(range(3, 100)))
    with (
        pytest.warns(UserWarning, match="Back to step 2"),
        pytest.raises(RunStopped, match=r"stopped at step 4: .*after going back 2 times") as caught,
    ):
        run(photos, tmp_path)
    assert "optimizer.lr" in (caught.value.hint or "")


def test_bad_from_the_start_goes_back_to_the_start(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {1, 2})
    with pytest.warns(UserWarning, match="Back to step 0"):
        assert run(photos, tmp_path).step == 8
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, 9))


def test_weights_that_are_not_finite_are_never_saved(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goldeye.methods.base.Method.is_finite", lambda self: False)
    with pytest.raises(RunStopped, match="stopped at step 2: a weight is not finite"):
        run(photos, tmp_path, "nonfinite.action=stop")
    assert not (tmp_path / "checkpoints").exists()


def test_one_bad_batch_of_several_spoils_the_update(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {3})
    run(photos, tmp_path, "accumulate=2", "steps=3")
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3]
    kept = sorted(path.name for path in (tmp_path / "nonfinite").iterdir())
    assert kept == ["step-00000002-0.pt", "step-00000002-1.pt"]


def test_a_limit_that_is_lowered_holds_for_what_was_before(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Poison(patch, {3, 4, 5, 6})
        with pytest.warns(UserWarning, match="Back to step"):
            run(photos, tmp_path, "steps=5")
    Poison(monkeypatch, set(range(1, 100)))
    with pytest.raises(RunStopped, match="after going back 2 times"):
        run(photos, tmp_path, "nonfinite.rollbacks=1")


def test_memory_that_does_not_suffice_is_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, batches: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate …")

    monkeypatch.setattr(METHODS["pixel"], "step", fail)
    with pytest.raises(RunStopped, match="does not fit into the memory") as caught:
        run(photos, tmp_path)
    assert "data.batch" in (caught.value.hint or "")
    config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}"])
    assert any("lower data.batch" in problem for problem in dry_run(config, "cpu")["problems"])


def test_pictures_out_of_all_bounds_are_not_learnt_from(photos: Path, tmp_path: Path) -> None:
    """Every number is finite, and still nothing is left of the run: the negative term has no lower bound."""
    config = load_recipe("tiny/rrdb-pretrain", [*SETTINGS, f"data.path={photos}", "nonfinite.action=stop"])
    torch.manual_seed(0)
    method = METHODS["pixel"](config, Engine("cpu"))
    batch = {"lr": torch.rand(2, 3, 4, 4), "gt": torch.rand(2, 3, 16, 16)}
    assert not method.step([batch])["nonfinite"]
    with torch.no_grad():
        method.generator.network.get_parameter("conv_last.bias").fill_(10.4)
    assert not method.step([batch])["nonfinite"]  # about 10 off, less half a picture
    with torch.no_grad():
        method.generator.network.get_parameter("conv_last.bias").fill_(12)
    before = {key: value.clone() for key, value in method.generator.network.state_dict().items()}
    values = method.step([batch])
    assert values["nonfinite"]
    assert values["loss"].isfinite()
    assert all(torch.equal(value, before[key]) for key, value in method.generator.network.state_dict().items())
