"""The training loop: config -> run folder, for enhancers and every SR method."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from goldeye.batch import bar
from goldeye.config import TrainConfig, differing_keys, parse_yaml, to_yaml, validate
from goldeye.dataset.multi_gt import MultiGTDataset
from goldeye.dataset.synthetic import PhotoDataset, Sample
from goldeye.degrade import get_pipeline
from goldeye.errors import Interrupted, InvalidInput, RunStopped
from goldeye.files import atomic_path, write_text
from goldeye.methods import METHODS, NonFiniteStep
from goldeye.train.checkpoint import (
    data_hash,
    has_checkpoint,
    latest_step,
    latest_weights,
    load_checkpoint,
    save_checkpoint,
)
from goldeye.train.engine import Engine
from goldeye.train.logging import RunLog, write_samples


@dataclass(frozen=True)
class TrainResult:
    """A run that has reached its last step. `started_at` is the step that this call began with."""

    run: Path
    weights: Path
    step: int
    started_at: int


def train(config: TrainConfig, run: Path, *, recipe: str, fresh: bool = False, device: str = "auto") -> TrainResult:
    """Train `config` in the folder `run`, continuing what is there; `fresh` starts over.

    Raises InvalidInput when `run` holds another configuration, Interrupted after Ctrl-C or SIGTERM (the step in
    progress finished and saved), RunStopped after `nonfinite_limit` non-finite steps in a row.
    """
    if fresh:
        _clear(run)
    _refuse_other_settings(config, run)
    if (done := latest_step(run)) >= config.steps:
        return TrainResult(run, latest_weights(run), done, done)
    engine = Engine(device, config.precision)
    dataset = build_dataset(config)
    data = data_hash(dataset.pictures())
    torch.manual_seed(config.seed)
    method = METHODS[config.method](config, engine)
    # Only now, so that a first attempt with a wrong path or setting leaves nothing behind.
    write_text(run / "config.yaml", to_yaml(config))
    start = load_checkpoint(run, method)
    if start >= config.steps:  # killed after the last state was written and before the weights were
        save_checkpoint(run, start, method, config, recipe, data)
        return TrainResult(run, latest_weights(run), start, start)
    loader = _loader(dataset, config, start)
    bad_steps = 0
    with RunLog(run, start) as log, _stop_signal() as stopped, bar(recipe, config.steps, start) as advance:
        for step, batch in enumerate(loader, start + 1):
            batch = engine.move(batch)
            try:
                values = method.step(batch)
                bad_steps = 0
            except NonFiniteStep:
                bad_steps += 1
                _keep_batch(run, step, batch)
                if bad_steps >= config.nonfinite_limit:
                    raise RunStopped(
                        f"Training stopped at step {step}: loss or gradient not finite {bad_steps} times in a row; "
                        f"the batches are in '{run / 'nonfinite'}'.",
                        hint="Start a new run from its last checkpoint with --set generator.init=RUN and a lower "
                        "optimizer.lr, or with precision=fp32.",
                    ) from None
                values = {}
            if values and (step % config.log_every == 0 or step in (1, config.steps)):
                log.write(step, method.generator_optimizer.param_groups[0]["lr"], values)
            last = step == config.steps or stopped.is_set()
            if step % config.checkpoint_every == 0 or last:
                save_checkpoint(run, step, method, config, recipe, data)
                write_samples(run, step, method.inference_network(), batch)
            advance()
            if stopped.is_set() and step < config.steps:
                raise Interrupted(
                    f"Stopped after step {step} of {config.steps}; the run is saved in '{run}'.", stopped.number
                )
    return TrainResult(run, latest_weights(run), config.steps, start)


def build_dataset(config: TrainConfig) -> PhotoDataset | MultiGTDataset:
    """The training samples that the recipe asks for."""
    if get_pipeline(config.data.degradation).keeps_size != (config.scale == 1):
        raise InvalidInput(f"Preset '{config.data.degradation}' does not make LR pictures for scale {config.scale}.")
    if config.data.source == "photos":
        return PhotoDataset(config.data, scale=config.scale, seed=config.seed)
    weighting = config.losses.negative.vote_weighting if config.losses.negative else True
    return MultiGTDataset(config.data, scale=config.scale, seed=config.seed, vote_weighting=weighting)


def _loader(dataset: Dataset[Sample], config: TrainConfig, start: int) -> DataLoader[Any]:
    """Batches of the samples from number start*batch on; a sample depends on its number alone."""
    numbers = range(start * config.data.batch, config.steps * config.data.batch)
    return DataLoader(
        dataset,
        batch_size=config.data.batch,
        sampler=numbers,
        num_workers=config.data.workers,
        # A fork of this process would carry locks of libvips, OpenCV and OpenMP without the threads that hold them.
        multiprocessing_context="spawn" if config.data.workers else None,
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    """OpenCV in a worker keeps to one thread, as torch does there: the workers are the parallelism."""
    import cv2

    cv2.setNumThreads(1)


OWN = ("config.yaml", "checkpoints", "tensorboard", "samples", "nonfinite", "metrics.jsonl")


def _clear(run: Path) -> None:
    """Remove what a run writes, and nothing else that may lie in its folder."""
    for name in OWN:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _refuse_other_settings(config: TrainConfig, run: Path) -> None:
    """A run that has a checkpoint goes on with the settings it was started with, or not at all."""
    path = run / "config.yaml"
    if not path.is_file() or not has_checkpoint(run):
        return
    earlier = validate(TrainConfig, parse_yaml(path.read_text(encoding="utf-8"), str(path)), where=f"'{path}'")
    keys = differing_keys(earlier, config)
    if keys:
        raise InvalidInput(
            f"Run '{run}' was started with other settings: {', '.join(keys)}.",
            hint="Use the same settings to continue it, another -o for a new run, or --fresh to start over.",
        )


def _keep_batch(run: Path, step: int, batch: dict[str, Tensor]) -> None:
    with atomic_path(run / "nonfinite" / f"step-{step:08d}.pt") as temporary:
        torch.save({name: value.cpu() for name, value in batch.items()}, temporary)


class _Stop(threading.Event):
    """Set by SIGINT or SIGTERM; `number` is the signal."""

    number: int = signal.SIGINT


@contextmanager
def _stop_signal() -> Iterator[_Stop]:
    """Turn the first SIGINT or SIGTERM into a flag, so that the step can finish; a second one ends at once."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        stop.number = number
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
