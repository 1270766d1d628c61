"""The training loop: config -> run folder, for enhancers and every SR method."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from goldeye.batch import bar
from goldeye.config import TrainConfig, differing_keys, parse_yaml, to_yaml, validate
from goldeye.dataset.training import build_dataset
from goldeye.errors import Interrupted, InvalidInput, RunStopped
from goldeye.files import write_text
from goldeye.methods import METHODS, Method
from goldeye.networks.weights import origin
from goldeye.train.checkpoint import (
    Position,
    data_hash,
    drop_old,
    forget_after,
    has_checkpoint,
    has_weights,
    latest_step,
    latest_weights,
    load_checkpoint,
    mark_best,
    save_checkpoint,
)
from goldeye.train.engine import Engine
from goldeye.train.guard import TooManyNonFinite, Watch
from goldeye.train.loading import loader
from goldeye.train.logging import SAMPLES, RunLog, read_validation, write_samples
from goldeye.train.stopping import interrupts_held, stop_signal
from goldeye.train.validation import Validator


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
    progress finished and saved), RunStopped after `nonfinite.limit` non-finite steps in a row.
    """
    if run.exists() and not run.is_dir():
        raise InvalidInput(f"'{run}' is a file, and a run is a folder: choose another -o.")
    refuse_foreign(run)
    engine = Engine(device, config.precision, channels_last=config.channels_last, compile=config.compile)
    if fresh and engine.is_main:
        _clear(run)
    engine.barrier()
    _refuse_other_settings(config, run)
    done = latest_step(run)
    if done >= config.steps and not _owes_validation(config, run, done):
        return TrainResult(run, latest_weights(run), done, done)
    trainer = _Trainer(config, run, recipe, engine)
    # Only now, so that a first attempt with a wrong path or setting leaves nothing behind.
    if engine.is_main:
        write_text(run / "config.yaml", to_yaml(config))
    engine.barrier()
    started_at = trainer.restore()
    while (found := trainer.go()) is not None:
        trainer.go_back(found)
    return TrainResult(run, latest_weights(run), trainer.position.step, started_at)


class _Trainer:
    """A run in this process: its data, its method, and where it is."""

    def __init__(self, config: TrainConfig, run: Path, recipe: str, engine: Engine) -> None:
        self._config, self._run, self._recipe, self._engine = config, run, recipe, engine
        self._dataset = build_dataset(config)
        self._data = data_hash(self._dataset.pictures())
        self._validator = Validator(config, str(engine.device)) if config.validation else None
        self._method = self._new_method()
        started = {} if config.generator.init is None else origin(config.generator.init)
        self._header = {"recipe": recipe, "data_sha256": self._data} | started
        self.position = Position()

    def _new_method(self) -> Method:
        torch.manual_seed(self._config.seed)
        return METHODS[self._config.method](self._config, self._engine)

    def restore(self) -> int:
        """Put the newest whole checkpoint's state back, and do what a run that was killed there left undone; returns
        its step."""
        engine = self._engine
        self.position = load_checkpoint(self._run, self._method, self._data)
        step = self.position.step
        if not engine.agrees(step):
            raise InvalidInput(f"The processes find '{self._run}' at different steps: they need one shared folder.")
        if engine.is_main and has_checkpoint(self._run):
            forget_after(self._run, step)
            if latest_step(self._run) != step:  # killed after the state was written, before the weights were
                self._save()
            if _owes_validation(self._config, self._run, step):
                with RunLog(self._run, step) as log:
                    self._validate(log)
        engine.barrier()
        return step

    def go(self) -> TooManyNonFinite | None:
        """Train from `position` to the last step; what made that impossible, where something did."""
        config, engine, method = self._config, self._engine, self._method
        start = self.position
        size = config.data.batch * config.accumulate * engine.world  # samples in a step
        with (
            _log(engine, self._run, start.step) as log,
            stop_signal() as stopped,
            bar(self._recipe, config.steps, start.step) as advance,
        ):
            with interrupts_held():
                count = (config.steps - start.step) * config.accumulate
                batches = iter(loader(self._dataset, config, engine, start.sample, count))
            watch = Watch(self._run, config.nonfinite.limit, log, start.nonfinite, engine)
            try:
                for step in range(start.step + 1, config.steps + 1):
                    # What a network draws (stochastic depth) is another thing at every step, and the same again.
                    torch.manual_seed(_step_seed(config.seed, self.position.sample, engine.rank))
                    parts = [engine.move(next(batches)) for _ in range(config.accumulate)]
                    values = method.step(parts)
                    self.position = replace(start, step=step, sample=start.sample + (step - start.step) * size)
                    logged = step % config.log_every == 0 or step in (1, config.steps)
                    if logged and engine.world > 1:
                        values = {name: engine.mean(value.float()) for name, value in values.items()}
                    rate = method.generator.optimizer.param_groups[0]["lr"]
                    watch.add(step, rate, parts, engine.fetch(values if logged else {"nonfinite": values["nonfinite"]}))
                    watch.look(behind=engine.lag)
                    stop = engine.any(stopped.is_set())
                    if step % config.checkpoint_every == 0 or stop or _validates(config, step) or step == config.steps:
                        watch.look(behind=0)
                        self.position = replace(self.position, nonfinite=watch.in_a_row)
                        self._checkpoint(log, parts[0])
                    advance(1, watch.note)
                    if stop and step < config.steps:
                        raise Interrupted(
                            f"Stopped after step {step} of {config.steps}; the run is saved in '{self._run}'.",
                            stopped.number,
                        )
            except TooManyNonFinite as found:
                return found.with_traceback(None)  # else it would keep this call's batches and networks
            except torch.OutOfMemoryError as error:
                raise RunStopped(
                    f"A step does not fit into the memory of {engine.device}.",
                    hint="Lower data.batch (accumulate makes up for it) or data.crop; --dry-run measures a step.",
                ) from error
        return None

    def _checkpoint(self, log: RunLog | None, batch: dict[str, Tensor]) -> None:
        if not self._method.is_finite():
            raise TooManyNonFinite(self.position.step, "a weight is not finite")
        if log is not None:
            self._save()
            few = {name: value[:SAMPLES] for name, value in batch.items()}
            write_samples(self._run, self.position.step, self._method.pictures(few))
            if _validates(self._config, self.position.step):
                self._validate(log)
        self._engine.barrier()

    def _validate(self, log: RunLog) -> None:
        """Measure, log, and mark the checkpoint where it is the best so far by a metric."""
        assert self._validator is not None
        step = self.position.step
        best: dict[str, float] = {}
        for row in read_validation(self._run):
            if has_weights(self._run, row["step"]):  # what was lost cannot be the best
                best |= self._validator.better(row["validation"], best)
        figures, pictures = self._validator.run(self._method.inference_network(), self._run / "samples", step)
        log.write_validation(step, figures, pictures)
        for metric in self._validator.better(figures, best):
            mark_best(self._run, metric, step)
        drop_old(self._run, self._config.keep_checkpoints)

    def _save(self) -> None:
        save_checkpoint(self._run, self.position, self._method, self._config, self._header)

    def go_back(self, found: TooManyNonFinite) -> None:
        """To the last good checkpoint with lower rates and new samples, or RunStopped."""
        config, seen = self._config.nonfinite, self.position
        if config.action == "stop" or seen.rollbacks >= config.rollbacks:
            after = f", after going back {seen.rollbacks} times" if seen.rollbacks else ""
            raise RunStopped(
                f"Training stopped at step {found.step}: {found.reason}{after}.",
                hint="Start a new run from its last checkpoint with --set generator.init=RUN and a lower "
                "optimizer.lr, or with precision=fp32; nonfinite.action=rollback lets runs go back by themselves.",
            )
        del self._method  # before the next one takes its memory
        self._method = self._new_method()
        good = load_checkpoint(self._run, self._method, self._data, good=True)
        self._engine.barrier()  # until all have read what is written anew below
        self._method.slow_down(config.factor)
        # Other samples from here on: the same ones might do it again. Written at once, so that a run that is killed
        # now goes on as this one does.
        self.position = Position(good.step, seen.sample, rollbacks=seen.rollbacks + 1)
        if self._engine.is_main:
            warnings.warn(
                f"At step {found.step}: {found.reason}. Back to step {good.step}, with {config.factor} of the rate.",
                stacklevel=2,
            )
            forget_after(self._run, good.step)
            self._save()
        self._engine.barrier()


def _step_seed(seed: int, sample: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, 3, sample, rank]).generate_state(1, np.uint64)[0] >> 1)


def _validates(config: TrainConfig, step: int) -> bool:
    return config.validation is not None and (step % config.validation.every == 0 or step == config.steps)


def _owes_validation(config: TrainConfig, run: Path, step: int) -> bool:
    """Whether `step`, whose checkpoint is there, should have been validated, and was not."""
    return step > 0 and _validates(config, step) and all(row["step"] != step for row in read_validation(run))


@contextmanager
def _log(engine: Engine, run: Path, start: int) -> Iterator[RunLog | None]:
    """The run's log in the process that writes, None in the others."""
    if not engine.is_main:
        yield None
        return
    with RunLog(run, start) as log:
        yield log


OWN = ("config.yaml", "checkpoints", "tensorboard", "samples", "nonfinite", "metrics.jsonl")


def _clear(run: Path) -> None:
    """Remove what a run writes, and nothing else that may lie in its folder."""
    for name in OWN:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def refuse_foreign(run: Path) -> None:
    """A folder with something else in it, photos or a dataset, becomes no run: `--fresh` would remove parts of it."""
    others = sorted(path.name for path in run.iterdir() if not path.name.startswith(".")) if run.is_dir() else []
    if others and not _is_run(run):
        raise InvalidInput(f"'{run}' is no run and holds other files ('{others[0]}'): choose another -o.")


def _is_run(folder: Path) -> bool:
    """Whether a folder's config.yaml is a run's: the first that a run writes."""
    path = folder / "config.yaml"
    if not path.is_file():
        return False
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (InvalidInput, UnicodeDecodeError):
        return False
    return {"method", "steps", "generator"} <= settings.keys()


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
