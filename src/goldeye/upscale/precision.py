"""In which numbers a network runs, and how it is made ready for that."""

from __future__ import annotations

import contextlib
import copy
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from goldeye.errors import InvalidInput, unknown_name

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
_HALF: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
# What torch calls a processor's own bfloat16 multiplication (x86; ARM).
_NATIVE_BF16 = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
_TENSOR_CORES = (7, 0)  # the first CUDA capability on which fp16 is fast


def choose_precision(name: str, device: torch.device | str) -> Precision:
    """The precision that `name` (auto, fp32, bf16, fp16) means on a device.

    `auto` is bf16 on a CPU that computes it natively; on CUDA bf16, before Ampere fp16, before Volta fp32; else fp32.
    bf16 asked for by name runs everywhere, on a CPU without it several times slower than fp32. Raises InvalidInput for
    an unknown name, and for fp16 on a CPU.
    """
    device = torch.device(device)
    if name == "auto":
        return _automatic(device)
    if name == "fp16" and device.type == "cpu":
        raise InvalidInput(
            "The precision fp16 is not for a CPU, which is hundreds of times slower in it.",
            hint="Use auto, bf16 or fp32.",
        )
    for known in ("fp32", "bf16", "fp16"):
        if name == known:
            return known
    raise unknown_name("precision", name, ("auto", "fp32", "bf16", "fp16"))


def _automatic(device: torch.device) -> Precision:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability(device) >= _TENSOR_CORES else "fp32"
    if device.type == "cpu":
        abilities = torch.cpu.get_capabilities()
        return "bf16" if any(abilities.get(name) for name in _NATIVE_BF16) else "fp32"
    return "fp32"


def prepare_network(
    module: nn.Module, precision: Precision, device: torch.device | str, *, compile: bool = False
) -> nn.Module:
    """A network for inference on its device: float32 (B, 3, H, W) → float32 (B, 3, H·scale, W·scale).

    In float32 it is `module` itself, its weights laid out channels last (their values stay). For bf16 and fp16 it is a
    copy in that type, the layers that `full_precision` names left in float32; a network that names none runs under
    autocast. `compile` compiles for the sizes it then meets. Raises InvalidInput when nothing can be compiled here.
    """
    device = torch.device(device)
    if compile:
        _check_compiler(device)
    if precision == "fp32":
        network: nn.Module = _Laid(module.to(memory_format=torch.channels_last))
    elif getattr(module, "full_precision", None):
        network = _Laid(_in_half(module, _HALF[precision]))
    else:
        network = _Autocast(module, device.type, _HALF[precision])
    if compile:
        network.compile()
    return network.eval()


def _in_half(module: nn.Module, half: torch.dtype) -> nn.Module:
    """A copy in half precision, but for the layers of `full_precision`, and the mean colour where there is one."""
    names: tuple[str, ...] = module.full_precision  # type: ignore[assignment]
    with torch.inference_mode(False):
        network = copy.deepcopy(module).requires_grad_(False)
        kept = {name: copy.deepcopy(network.get_submodule(name)) for name in names}
        mean = dict(network.named_buffers(recurse=False)).get("mean")
        network.to(half).to(memory_format=torch.channels_last)
        if mean is not None:
            network.mean = mean.float()
        for index, name in enumerate(names):
            exact = kept[name].to(memory_format=torch.channels_last)
            network.set_submodule(name, _Exact(exact, half if index == 0 else torch.float32))
    return network


class _Laid(nn.Module):
    """A network on channels-last pictures, with a float32 result."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.contiguous(memory_format=torch.channels_last))
        return out.float()


class _Exact(nn.Module):
    """A layer in float32 among others in half precision, handing on `result`."""

    def __init__(self, layer: nn.Module, result: torch.dtype) -> None:
        super().__init__()
        self.layer = layer
        self.result = result

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.float()).to(self.result)
        return out


class _Autocast(nn.Module):
    """A network whose layers torch casts one by one."""

    def __init__(self, network: nn.Module, device: str, half: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.device = device
        self.low = half

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device, self.low):
            out: Tensor = self.network(x.contiguous(memory_format=torch.channels_last))
        return out.float()


def _check_compiler(device: torch.device) -> None:
    """torch.compile needs a C++ compiler on a CPU, Triton on CUDA; say so before any work."""
    if device.type == "cuda":
        with contextlib.suppress(ImportError):
            import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401

            return
        raise InvalidInput("Compiling a network for CUDA needs the package triton, which is not installed.")
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        raise InvalidInput("Compiling a network needs a C++ compiler (g++ or clang++), and none was found.") from error
