"""The only file that knows the launch library: devices, precision, where a module lives."""

from __future__ import annotations

from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from goldeye.devices import choose_device

M = TypeVar("M", bound=nn.Module)
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Engine:
    """Runs modules on one device in one precision; several engines in a process do not know each other.

    device: auto, cpu, cuda, cuda:N or mps. precision: fp32, or bf16 (autocast: weights and losses stay float32).
    """

    def __init__(self, device: str = "auto", precision: str = "fp32") -> None:
        chosen = choose_device(device)
        devices = [chosen.index or 0] if chosen.type == "cuda" else 1
        self._fabric = Fabric(accelerator=chosen.type, devices=devices, precision=_PRECISION[precision])
        self.device: torch.device = self._fabric.device

    def place(self, module: M) -> M:
        """Move a module to the device in place."""
        return module.to(self.device)

    def setup(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Module and optimizer as the step uses them; `module` itself keeps its own key names."""
        wrapped, wrapped_optimizer = self._fabric.setup(module, optimizer)
        return wrapped, wrapped_optimizer

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`, with whatever scaling the precision asks for."""
        self._fabric.backward(loss)

    def move(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch on the device."""
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
