"""`goldeye train --dry-run`: check what a run needs before its first step, and say what it would do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset, default_collate

from goldeye.batch import track
from goldeye.config import TrainConfig
from goldeye.dataset.sampling import Sample
from goldeye.dataset.training import build_dataset
from goldeye.errors import GoldeyeError
from goldeye.methods import METHODS, Method
from goldeye.train.engine import Engine
from goldeye.train.loop import refuse_foreign
from goldeye.train.validation import Validator
from goldeye.upscale.memory import LiveBytes, free_memory

T = TypeVar("T")
_SMALLER = "lower data.batch (accumulate makes up for it) or data.crop"


def dry_run(
    config: TrainConfig, device: str = "auto", *, run: Path | None = None, measure: bool = True
) -> dict[str, Any]:
    """{"ok", "problems": [sentence], "plan": {…}}: data set, networks and losses are built as training builds them.

    Every picture that training would read is decoded once; `run` is the folder that it would write. Unless `measure` is
    false, two steps are trained and thrown away: their time and memory are in the plan. On a CPU that is done with one
    sample, and what it takes multiplied.
    """
    problems: list[str] = []
    engine = Engine(device, config.precision, channels_last=config.channels_last, compile=config.compile)
    batch = config.data.batch * config.accumulate * engine.world
    plan: dict[str, Any] = {
        "method": config.method,
        "device": str(engine.device),
        "precision": config.precision,
        "processes": engine.world,
        "steps": config.steps,
        "batch": config.data.batch,
        "effective_batch": batch,
        "crop": config.data.crop,
        "scale": config.scale,
        "samples": config.steps * batch,
    }
    if run is not None:
        _note(problems, lambda: refuse_foreign(run))
    dataset = _note(problems, lambda: build_dataset(config))
    if dataset is not None:
        plan |= dataset.describe()
        plan["items"] = len(dataset)
        plan["epochs"] = round(plan["samples"] / plan["items"], 2)
        found = track(dataset.check(), "read", total=len(dataset.pictures()))
        problems += [problem for problem in found if problem is not None]
    if config.validation is not None:
        _note(problems, lambda: Validator(config, str(engine.device)))
    method = _note(problems, lambda: METHODS[config.method](config, engine))
    if method is not None:
        networks = {name: trained.network for name, trained in method.trained.items()}
        plan["parameters"] = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        plan["disk_bytes"] = needed = _disk_bytes(config, method)
        free = _free_disk(run or Path())
        if needed > free:
            problems.append(f"The checkpoints need {gib(needed)}, and '{run or Path()}' has {gib(free)} free.")
        if measure and dataset is not None and not engine.any(bool(problems)):
            measured = _note(problems, lambda: _measured(config, engine, method, dataset))
            plan |= measured or {}
            if measured and measured["memory_bytes"] > (free := free_memory(engine.device)):
                problems.append(
                    f"A step needs about {gib(measured['memory_bytes'])} of memory, and {engine.device} has "
                    f"{gib(free)} free: {_SMALLER}."
                )
    plan["config"] = config.model_dump(mode="json")
    return {"ok": not problems, "problems": problems, "plan": plan}


def _measured(config: TrainConfig, engine: Engine, method: Method, dataset: Dataset[Sample]) -> dict[str, Any]:
    """Time and memory of a step: the second of two, after what the first one allocates for good."""
    at_once = config.data.batch if engine.device.type == "cuda" else 1
    times = config.data.batch / at_once
    samples = [dataset[number] for number in range(2 * at_once)]
    for half in (samples[:at_once], samples[at_once:]):
        batch = engine.move(default_collate(half))
        begun = time.perf_counter()
        if engine.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(engine.device)
            method.step([batch])
            torch.cuda.synchronize(engine.device)
            memory = torch.cuda.max_memory_allocated(engine.device)
        else:
            with LiveBytes() as live:
                method.step([batch])
            memory = round(live.peak * times)
        seconds = (time.perf_counter() - begun) * times * config.accumulate
    if engine.device.type != "cuda":
        memory += _kept_bytes(method)
    return {
        "seconds_per_step": round(seconds, 3),
        "estimated_hours": round(seconds * config.steps / 3600, 2),
        "memory_bytes": memory,
        "measured_with": f"{at_once} of {config.data.batch} samples, the second of two steps, on {engine.device}",
    }


def _kept_bytes(method: Method) -> int:
    """What lies in memory between steps: weights, their gradients and Adam's two averages, and the averaged weights."""
    kept = sum(4 * 4 * p.numel() for trained in method.trained.values() for p in trained.network.parameters())
    return kept + (4 * sum(p.numel() for p in method.averaged.module.parameters()) if method.averaged else 0)


def _disk_bytes(config: TrainConfig, method: Method) -> int:
    """Of all the checkpoints that are kept, with one more while it is written: state, and weights for use."""
    one = sum(4 * 3 * p.numel() for trained in method.trained.values() for p in trained.network.parameters())
    weights = 4 * sum(p.numel() for p in method.inference_network().parameters())
    one += weights * (2 if method.averaged else 1)
    best = len(config.validation.metrics) if config.validation else 0
    return one * (config.keep_checkpoints + best + 1)


def _free_disk(run: Path) -> int:
    there = next(folder for folder in (run.absolute(), *run.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def gib(size: float) -> str:
    """Bytes, for people."""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"


def _note(problems: list[str], check: Callable[[], T]) -> T | None:
    """The result of `check`, or None with its sentence noted."""
    try:
        return check()
    except torch.OutOfMemoryError:
        problems.append(f"A step does not fit into the memory: {_SMALLER}.")
        return None
    except GoldeyeError as error:
        problems.append(f"{error.message} {error.hint}" if error.hint else error.message)
        return None
