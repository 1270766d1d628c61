"""What a run writes while it trains: metrics.jsonl, TensorBoard, sample pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from goldeye.files import write_text
from goldeye.images import from_tensor, write_image

SAMPLES = 4  # rows of a sample picture


class RunLog:
    """Appends a line per logged step; on a continued run, lines after the checkpoint are dropped first."""

    def __init__(self, run: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = run / "metrics.jsonl"
        kept = [row for row in read_metrics(run) if row["step"] <= start]
        write_text(self._path, "".join(_line(row) for row in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, lr: float, values: dict[str, Tensor]) -> None:
        """Log the terms of a step; reading them waits for the device."""
        row = {"step": step, "lr": lr} | {name: float(value) for name, value in values.items()}
        self._file.write(_line(row))
        self._file.flush()
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(f"train/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


def _line(row: dict[str, float]) -> str:
    return json.dumps({key: value if math.isfinite(value) else None for key, value in row.items()}) + "\n"


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.jsonl; a last line cut short by a crash is left out."""
    path = run / "metrics.jsonl"
    rows: list[dict[str, float]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


@torch.inference_mode()
def write_samples(run: Path, step: int, network: torch.nn.Module, batch: dict[str, Tensor]) -> None:
    """samples/step-N.png: a row a sample, with the LR (enlarged by nearest), the result and the ground truth."""
    lr, gt = batch["lr"][:SAMPLES].float(), batch["gt"][:SAMPLES].float()
    training = network.training
    sr = network.eval()(lr).float()  # in training mode the picture would change the statistics of batch norm
    network.train(training)
    shown = torch.cat([F.interpolate(lr, size=gt.shape[2:], mode="nearest"), sr, gt], dim=3)  # (B, 3, H, 3W)
    grid = torch.cat(list(shown), dim=1)  # (3, B*H, 3W)
    write_image(run / "samples" / f"step-{step:08d}.png", from_tensor(grid.cpu()))
