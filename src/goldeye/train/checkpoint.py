"""Checkpoints of a run: whole or absent, the newest good one found again.

checkpoints/step-00000100.pt holds all that training continues from (a step draws no random numbers, and a sample
depends on its number alone, so there is no state of randomness in it), step-00000100.safetensors the network that users
get, and `latest` (one line of text) names the step. `latest` is written last, so what it names is complete.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from goldeye import __version__
from goldeye.config import TrainConfig
from goldeye.errors import InvalidInput
from goldeye.files import atomic_path, sha256, write_text
from goldeye.methods import Method
from goldeye.networks import resolve_config
from goldeye.networks.weights import save_weights

FORMAT = 1


def _names(run: Path) -> list[str]:
    """Steps on disk, newest first."""
    return sorted((path.stem for path in (run / "checkpoints").glob("step-*.pt")), reverse=True)


def has_checkpoint(run: Path) -> bool:
    """Whether there is anything to continue from."""
    return bool(_names(run))


def latest_step(run: Path) -> int:
    """The step that `latest` names, 0 without a checkpoint."""
    pointer = run / "checkpoints" / "latest"
    name = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else "step-0"
    if not re.fullmatch(r"step-\d+", name):
        raise InvalidInput(f"'{pointer}' is damaged: it should name a step, such as step-00000100.")
    return int(name.removeprefix("step-"))


def latest_weights(run: Path) -> Path:
    """The weights of the newest checkpoint."""
    return run / "checkpoints" / f"step-{latest_step(run):08d}.safetensors"


def save_checkpoint(run: Path, step: int, method: Method, config: TrainConfig, recipe: str, data_sha256: str) -> None:
    """Write the checkpoint of `step` and drop those beyond `keep_checkpoints`; `data_sha256` is `data_hash`'s."""
    folder = run / "checkpoints"
    name = f"step-{step:08d}"
    state = {"format": FORMAT, "step": step, "method": method.state()}
    with atomic_path(folder / f"{name}.pt") as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's word for a full disk
            raise OSError(None, f"The checkpoint could not be written ({error})", str(folder)) from error
    generator = config.generator
    weights = folder / f"{name}.safetensors"
    save_weights(
        weights,
        method.inference_network(),
        architecture=generator.architecture,
        config=resolve_config(generator.architecture, generator.settings),
        scale=config.scale,
        extra={
            "recipe": recipe,
            "step": str(step),
            "goldeye": __version__,
            "config_sha256": sha256(run / "config.yaml"),
            "data_sha256": data_sha256,
        },
    )
    write_text(folder / "latest", name + "\n")
    for old in _names(run)[config.keep_checkpoints :]:
        (folder / f"{old}.pt").unlink()
        (folder / f"{old}.safetensors").unlink(missing_ok=True)


def data_hash(pictures: list[Path]) -> str:
    """SHA-256 of the names and sizes in bytes of the training pictures: which data it was, without reading it all."""
    root = os.path.commonpath([path.parent for path in pictures])
    lines = [f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in sorted(pictures)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load_checkpoint(run: Path, method: Method) -> int:
    """Restore the newest readable checkpoint into `method`; returns its step, 0 when there is none."""
    for name in _names(run):
        path = run / "checkpoints" / f"{name}.pt"
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
            continue  # cut short by a crash of the disk; the one before serves
        method.load_state(state["method"])
        return int(state["step"])
    return 0
