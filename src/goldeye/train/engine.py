"""The only file that knows the launch library: devices, processes, precision, where a module lives."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from goldeye.devices import choose_device
from goldeye.errors import InvalidInput

M = TypeVar("M", bound=nn.Module)
# It tells at every run which precision and which processes it was asked for.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
_PATIENCE = timedelta(days=1)  # for the process that validates, or that writes a checkpoint to a slow disk
_LAG = 4  # steps that a GPU may be behind before what it found out is waited for


class Engine:
    """Runs modules on one device in one precision; several engines in a process do not know each other.

    device: auto, cpu, cuda, cuda:N or mps. precision: fp32, or bf16 (autocast: weights and losses stay float32).
    Under `torchrun` it is one of `world` processes, number `rank`, each with a device of its own.
    """

    def __init__(
        self, device: str = "auto", precision: str = "fp32", *, channels_last: bool = False, compile: bool = False
    ) -> None:
        chosen = choose_device(device)
        self.world, self.rank = 1, 0
        if "TORCHELASTIC_RUN_ID" in os.environ:
            self._fabric = _one_of_many(chosen, precision)
            self.world, self.rank = self._fabric.world_size, self._fabric.global_rank
        else:
            devices = [chosen.index or 0] if chosen.type == "cuda" else 1
            self._fabric = Fabric(accelerator=chosen.type, devices=devices, precision=_PRECISION[precision])
        self.device: torch.device = self._fabric.device
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # else events and pinned memory belong to the first GPU
        self.lag = _LAG if self.device.type == "cuda" else 0
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._compile = compile
        # What the processes agree on at every step must not wait for their GPUs.
        self._control = torch.distributed.new_group(timeout=_PATIENCE, backend="gloo") if self.world > 1 else None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def place(self, module: M) -> M:
        """Move a module to the device in place."""
        return module.to(device=self.device, memory_format=self._format)  # type: ignore[call-overload,no-any-return]

    def runner(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` (a module, or a method of one) as a step calls it: in the engine's precision, results in float32."""
        compiled = torch.compile(call) if self._compile else call

        def run(*inputs: Tensor) -> Any:
            with self._fabric.autocast():
                made = compiled(*(self._laid_out(x) for x in inputs))
            return made.float() if isinstance(made, Tensor) else tuple(part.float() for part in made)

        return run

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=self._format) if x.ndim == 4 else x

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, with whatever scaling the precision asks for."""
        self._fabric.backward(loss)

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace each gradient by its mean over the processes, in one exchange.

        Done by hand, once an update: the wrapper for it allows no second pass through a discriminator whose buffers
        change in between, and none with its weights frozen.
        """
        if self.world == 1 or not gradients:
            return
        flat = self._fabric.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduce_op="mean")
        assert isinstance(flat, Tensor)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, x: Tensor) -> Tensor:
        """Mean of x over its entries and over the processes; gradients flow to all of them."""
        mean = x.mean()
        if self.world == 1:
            return mean
        gathered = self._fabric.all_gather(mean, sync_grads=True)
        assert isinstance(gathered, Tensor)
        return gathered.mean()

    def step(self, optimizer: Optimizer, skip: Tensor) -> None:
        """One step of a fused optimizer, which does nothing where `skip` () bool is true; the host does not wait."""
        optimizer.grad_scale, optimizer.found_inf = None, skip.float()  # type: ignore[attr-defined]
        optimizer.step()

    def move(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch on the device."""
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def fetch(self, values: Mapping[str, Tensor]) -> Fetched:
        """Start to bring numbers to the host."""
        return Fetched(values, self.device)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any of the processes."""
        return bool(self._highest(int(flag)))

    def agrees(self, number: int) -> bool:
        """Whether all processes have the same number."""
        return self._highest(number) == -self._highest(-number)

    def _highest(self, number: int) -> int:
        if self._control is None:
            return number
        found = torch.tensor(number)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX, group=self._control)  # type: ignore[arg-type]
        return int(found)

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.any(False)


class Fetched:
    """Numbers on their way from the device."""

    def __init__(self, values: Mapping[str, Tensor], device: torch.device) -> None:
        self._values = {name: value.to("cpu", non_blocking=True) for name, value in values.items()}
        self._arrived = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record()
        elif device.type == "mps":
            torch.mps.synchronize()

    def get(self) -> dict[str, float]:
        """The numbers; waits for the device where it has not come to them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return {name: float(value) for name, value in self._values.items()}


def _one_of_many(chosen: torch.device, precision: str) -> Fabric:
    """Join the processes that torchrun started."""
    index: int | None = chosen.index
    if index is not None:
        raise InvalidInput(f"torchrun gives each process its own GPU: use --device cuda, not '{chosen}'.")
    if chosen.type == "mps":
        raise InvalidInput("Several processes train on CPUs or CUDA devices, not on 'mps'.")
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if chosen.type == "cuda" and here > torch.cuda.device_count():
        raise InvalidInput(f"torchrun started {here} processes, and this machine has {torch.cuda.device_count()} GPUs.")
    nodes = int(os.environ["WORLD_SIZE"]) // here
    fabric = Fabric(
        accelerator=chosen.type, devices=here, num_nodes=nodes, strategy="ddp", precision=_PRECISION[precision]
    )
    warnings.filterwarnings("ignore", message=".*all_gather is deprecated", category=FutureWarning)  # Fabric's own call
    fabric.launch()
    return fabric
