"""Checkpoints of a run: whole or absent, the newest good one found again.

checkpoints/step-00000100.pt holds all that training continues from (what a step draws depends on its number alone, as
samples do, so there is no state of randomness in it), step-00000100.safetensors the network that users get. `latest`
and `best-METRIC` (one line of text each) name a step; `latest` is written last, so what it names is complete.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from goldeye import __version__
from goldeye.config import TrainConfig
from goldeye.errors import InvalidInput
from goldeye.evaluate.metrics import metric_info
from goldeye.evaluate.multi_gt import mean
from goldeye.files import atomic_path, sha256, write_text
from goldeye.methods import Method
from goldeye.networks.weights import save_weights
from goldeye.train.logging import read_validation

FORMAT = 2


def _names(run: Path) -> list[str]:
    """Steps on disk, newest first."""
    return sorted((path.stem for path in (run / "checkpoints").glob("step-*.pt")), reverse=True)


def has_checkpoint(run: Path) -> bool:
    """Whether there is anything to continue from."""
    return bool(_names(run))


def latest_step(run: Path) -> int:
    """The step that `latest` names, 0 without a checkpoint."""
    return _named(run / "checkpoints" / "latest")


def _named(pointer: Path) -> int:
    name = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else "step-0"
    if not re.fullmatch(r"step-\d+", name):
        raise InvalidInput(f"'{pointer}' is damaged: it should name a step, such as step-00000100.")
    return int(name.removeprefix("step-"))


def latest_weights(run: Path) -> Path:
    """The weights of the newest checkpoint."""
    return run / "checkpoints" / f"step-{latest_step(run):08d}.safetensors"


def has_weights(run: Path, step: int) -> bool:
    """Whether the weights of a step are there (still)."""
    return (run / "checkpoints" / f"step-{step:08d}.safetensors").is_file()


def best_step(run: Path, metric: str) -> int:
    """The step whose validation was best by `metric`, 0 when there was none."""
    return _named(run / "checkpoints" / f"best-{metric}")


@dataclass(frozen=True)
class Position:
    """Where a run is: steps done, number of the next sample, the last steps in a row that were not finite, and how
    often it went back because of such."""

    step: int = 0
    sample: int = 0
    nonfinite: int = 0
    rollbacks: int = 0


def save_checkpoint(run: Path, position: Position, method: Method, config: TrainConfig, header: dict[str, str]) -> None:
    """Write the checkpoint of a step, then drop those beyond `keep_checkpoints` that are not the best by a metric.

    `header` is what the header of the weights says besides: the recipe, `data_sha256` (`data_hash`'s), and what the
    generator started from (`weights.origin`).
    """
    folder = run / "checkpoints"
    name = f"step-{position.step:08d}"
    data_sha256 = header["data_sha256"]
    state = {"format": FORMAT, "position": asdict(position), "data": data_sha256, "method": method.state()}
    with atomic_path(folder / f"{name}.pt") as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's word for a full disk
            raise OSError(None, f"The checkpoint could not be written ({error})", str(folder)) from error
    generator = config.generator
    save_weights(
        folder / f"{name}.safetensors",
        method.inference_network(),
        architecture=generator.architecture,
        config=generator.settings,
        scale=config.scale,
        extra={
            "step": str(position.step),
            "goldeye": __version__,
            "config_sha256": sha256(run / "config.yaml"),
            **header,
        },
    )
    write_text(folder / "latest", name + "\n")
    drop_old(run, config.keep_checkpoints)


def mark_best(run: Path, metric: str, step: int) -> None:
    """Let `best-METRIC` name the checkpoint of `step`."""
    write_text(run / "checkpoints" / f"best-{metric}", f"step-{step:08d}\n")


def drop_old(run: Path, keep: int) -> None:
    """Keep the newest `keep` checkpoints, and the best by each metric."""
    folder = run / "checkpoints"
    kept = {f"step-{_named(path):08d}" for path in folder.glob("best-*")} | set(_names(run)[:keep])
    for path in [*folder.glob("step-*.pt"), *folder.glob("step-*.safetensors")]:
        if path.stem not in kept:
            path.unlink()


def forget_after(run: Path, step: int) -> None:
    """Let nothing continue from a later checkpoint than that of `step`, and none of those be the best.

    Call it before metrics.jsonl is cut: its figures say which of those that are left is the best now.
    """
    for name in _names(run):
        if name > f"step-{step:08d}":
            (run / "checkpoints" / f"{name}.pt").unlink()
    rows = read_validation(run)
    for pointer in list((run / "checkpoints").glob("best-*")):
        if (lost := _named(pointer)) > step:
            metric = pointer.name.removeprefix("best-")
            sets = next((row["validation"].keys() for row in rows if row["step"] == lost), None)
            left = {
                row["step"]: mean(figures.get(metric) for figures in row["validation"].values())
                for row in rows
                if row["step"] <= step and row["validation"].keys() == sets and has_weights(run, row["step"])
            }
            sign = 1 if metric_info(metric).higher_is_better else -1
            known = {at: sign * value for at, value in left.items() if value is not None}
            if known:
                mark_best(run, metric, max(known, key=lambda at: known[at]))
            else:
                pointer.unlink()


def data_hash(pictures: list[Path]) -> str:
    """SHA-256 of the names and sizes in bytes of the training pictures: which data it was, without reading it all."""
    root = os.path.commonpath([path.parent for path in pictures])
    lines = [f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in sorted(pictures)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load_checkpoint(run: Path, method: Method, data_sha256: str, *, good: bool = False) -> Position:
    """Restore the newest readable checkpoint into `method`; step 0 when there is none, InvalidInput when none is whole.

    A `good` one was not written amid steps that were not finite. `data_sha256` is `data_hash`'s; others than the
    checkpoint's are told in a warning.
    """
    names, damaged = _names(run), 0
    for name in names:
        path = run / "checkpoints" / f"{name}.pt"
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
            warnings.warn(f"Checkpoint '{path}' is damaged; the one before it is used.", stacklevel=2)
            damaged += 1
            continue
        if state.get("format") != FORMAT:
            raise InvalidInput(
                f"'{path}' was written by another version of Goldeye.",
                hint="--fresh starts the run over; --set generator.init=RUN starts a new run from its weights.",
            )
        position = Position(**state["position"])
        if not (good and position.nonfinite):
            method.load_state(state["method"])
            if state["data"] != data_sha256:
                warnings.warn(
                    f"The training pictures are not those of '{run}' so far: it goes on with other samples.",
                    stacklevel=2,
                )
            return position
    if damaged == len(names) > 0:
        raise InvalidInput(f"No checkpoint of '{run}' can be read.", hint="--fresh starts the run over.")
    return Position()
