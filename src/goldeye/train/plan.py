"""`goldeye train --dry-run`: check what a run needs before its first step, and say what it would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from goldeye.config import TrainConfig
from goldeye.errors import GoldeyeError
from goldeye.images import read_image
from goldeye.methods import METHODS
from goldeye.train.engine import Engine
from goldeye.train.loop import build_dataset

T = TypeVar("T")


def dry_run(config: TrainConfig, device: str = "auto") -> dict[str, Any]:
    """{"ok", "problems": [sentence], "plan": {…}}: data set, networks and losses are built as training builds them.

    Every picture that training would read is decoded once.
    """
    problems: list[str] = []
    plan: dict[str, Any] = {
        "method": config.method,
        "steps": config.steps,
        "batch": config.data.batch,
        "crop": config.data.crop,
        "scale": config.scale,
        "samples": config.steps * config.data.batch,
    }
    dataset = _note(problems, lambda: build_dataset(config))
    if dataset is not None:
        plan["items"] = len(dataset)
        plan["epochs"] = round(plan["samples"] / plan["items"], 2)
        for path in dataset.pictures():
            _note(problems, lambda path=path: read_image(path))  # type: ignore[misc]
    method = _note(problems, lambda: METHODS[config.method](config, Engine(device, config.precision)))
    if method is not None:
        plan["parameters"] = [sum(p.numel() for p in network.parameters()) for network in method.networks()]
    plan["config"] = config.model_dump(mode="json")
    return {"ok": not problems, "problems": problems, "plan": plan}


def _note(problems: list[str], check: Callable[[], T]) -> T | None:
    """The result of `check`, or None with its sentence noted."""
    try:
        return check()
    except GoldeyeError as error:
        problems.append(error.message)
        return None
