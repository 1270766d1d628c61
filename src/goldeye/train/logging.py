"""What a run writes while it trains: metrics.jsonl, TensorBoard, sample pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from goldeye.files import write_text
from goldeye.images import Picture, from_tensor, write_image

SAMPLES = 4  # rows of a sample picture


class RunLog:
    """Appends a line per logged step; on a continued run, lines after the checkpoint are dropped first."""

    def __init__(self, run: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = run / "metrics.jsonl"
        kept = [row for row in _rows(run) if row["step"] <= start]
        write_text(self._path, "".join(_line(row) for row in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, lr: float, values: Mapping[str, float]) -> None:
        """Log the terms of a step."""
        row = {"step": step, "lr": lr, **values}
        self._append(row)
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(f"train/{name}", value, step)

    def write_validation(
        self, step: int, figures: Mapping[str, Mapping[str, float | None]], pictures: Mapping[str, Picture]
    ) -> None:
        """Log {set: {metric: mean}}, and pictures (H, W, 3) by name."""
        self._append({"step": step, "validation": figures})
        for name, metrics in figures.items():
            for metric, value in metrics.items():
                if value is not None:
                    self._board.add_scalar(f"{name}/{metric}", value, step)
        for name, picture in pictures.items():
            self._board.add_image(name, picture, step, dataformats="HWC")

    def _append(self, row: Mapping[str, Any]) -> None:
        self._file.write(_line(row))
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps({key: _number(value) for key, value in row.items()}, allow_nan=False) + "\n"


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.jsonl that log a step; a last line cut short by a crash is left out."""
    return [row for row in _rows(run) if "validation" not in row]


def read_validation(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl that log a validation: {"step", "validation": {set: {metric: mean}}}."""
    return [row for row in _rows(run) if "validation" in row]


def _rows(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def write_samples(run: Path, step: int, pictures: Tensor) -> None:
    """samples/step-N.png: a row a sample; pictures: (B, 3, H, W) in [0, 1]."""
    grid = torch.cat(list(pictures[:SAMPLES]), dim=1).nan_to_num()  # (3, B*H, W); the batch may be one to leave out
    write_image(run / "samples" / f"step-{step:08d}.png", from_tensor(grid.cpu()))
