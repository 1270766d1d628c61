"""What watches a run for steps that were not finite, without making it wait for the device."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import torch
from torch import Tensor

from goldeye.files import atomic_path
from goldeye.train.engine import Engine, Fetched
from goldeye.train.logging import RunLog


class TooManyNonFinite(Exception):
    """After `step` a run cannot go on as it is, and `reason` says why."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(step, reason)
        self.step, self.reason = step, reason


class Watch:
    """The steps whose numbers are on their way from the device, oldest first."""

    def __init__(self, run: Path, limit: int, log: RunLog | None, in_a_row: int, engine: Engine) -> None:
        self._run, self._limit, self._log = run, limit, log
        self._whose = f"-rank{engine.rank}" if engine.world > 1 else ""
        self._waiting: deque[tuple[int, float, list[dict[str, Tensor]], Fetched]] = deque()
        self.in_a_row = in_a_row  # steps that were left out
        self.note = ""

    def add(self, step: int, rate: float, batches: list[dict[str, Tensor]], numbers: Fetched) -> None:
        """A step that was begun."""
        self._waiting.append((step, rate, batches, numbers))

    def look(self, behind: int) -> None:
        """Log the steps that are finished, all but the last `behind`; keep the batches of those that were left out."""
        while len(self._waiting) > behind:
            step, rate, batches, numbers = self._waiting.popleft()
            values = numbers.get()
            if values.pop("nonfinite"):
                self.in_a_row += 1
                self._keep(step, batches)
                if self.in_a_row >= self._limit:
                    kept = f"the batches are in '{self._run / 'nonfinite'}'"
                    what = "loss or gradient not finite, or the pictures out of all bounds,"
                    raise TooManyNonFinite(step, f"{what} {self.in_a_row} times in a row; {kept}")
                continue
            self.in_a_row = 0
            if values:
                self.note = f"loss {values['loss']:.4g}"
                if self._log is not None:
                    self._log.write(step, rate, values)

    def _keep(self, step: int, batches: list[dict[str, Tensor]]) -> None:
        for number, batch in enumerate(batches):
            name = f"step-{step:08d}{self._whose}" + (f"-{number}" if len(batches) > 1 else "")
            with atomic_path(self._run / "nonfinite" / f"{name}.pt") as temporary:
                torch.save({key: value.cpu() for key, value in batch.items()}, temporary)
