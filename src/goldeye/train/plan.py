"""`goldeye train --dry-run`: check what a run needs before its first step, and say what it would do."""

from __future__ import annotations

from typing import Any

from goldeye.config import TrainConfig
from goldeye.errors import GoldeyeError
from goldeye.images import read_image
from goldeye.losses.perceptual import load_vgg19
from goldeye.methods.base import build
from goldeye.train.loop import build_dataset


def dry_run(config: TrainConfig) -> dict[str, Any]:
    """{"ok", "problems": [sentence], "plan": {…}}; every picture that training would read is decoded once."""
    problems: list[str] = []
    plan: dict[str, Any] = {
        "method": config.method,
        "steps": config.steps,
        "batch": config.data.batch,
        "crop": config.data.crop,
        "scale": config.scale,
        "samples": config.steps * config.data.batch,
    }
    try:
        dataset = build_dataset(config)
        plan["items"] = len(dataset)
        plan["epochs"] = round(plan["samples"] / plan["items"], 2)
        for path in dataset.pictures():
            _note(problems, lambda path=path: read_image(path))
    except GoldeyeError as error:
        problems.append(error.message)
    for role in ("generator", "discriminator"):
        network = getattr(config, role)
        if network is not None:
            built = _note(problems, lambda network=network: build(network))
            if built is not None:
                plan[f"{role}_parameters"] = sum(p.numel() for p in built.parameters())
    perceptual = config.losses.perceptual
    if perceptual is not None:
        _note(problems, lambda: load_vgg19(perceptual.layers, perceptual.weights))
    plan["config"] = config.model_dump(mode="json")
    return {"ok": not problems, "problems": problems, "plan": plan}


def _note(problems: list[str], check: Any) -> Any:
    """The result of `check`, or None with its sentence noted."""
    try:
        return check()
    except GoldeyeError as error:
        problems.append(error.message)
        return None
