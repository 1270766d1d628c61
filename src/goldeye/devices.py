"""Which device to work on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goldeye.errors import InvalidInput

if TYPE_CHECKING:
    import torch


def choose_device(name: str = "auto") -> torch.device:
    """`auto` (cuda, then mps, then cpu), cpu, cuda, cuda:N or mps; one sentence when the machine lacks it."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"Unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidInput(f"Device '{name}' is not here: this machine has {torch.cuda.device_count()} CUDA devices.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InvalidInput("Device 'mps' is not here.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InvalidInput(f"Unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps.")
    return device
