"""Convolutions with what follows them in one pass, for inference on an x86 CPU; elsewhere the plain operations.

On a CPU a network spends much of its time moving activations between a convolution, its activation and the next
concatenation, above all in bfloat16. oneDNN applies activation and sum while it writes the convolution's output. torch
reaches that through operators of its compiler (`mkldnn::_convolution_pointwise`); where they are missing, and
where gradients are on or a graph is made, the plain form is used. Forward hooks on these convolutions are not called.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS = (1, 1, 1)  # stride and dilation


@functools.cache
def _available() -> bool:
    """Whether this torch has the operators and they do, on a small block, what the plain form does."""
    # On other processors oneDNN has no fast 3D convolution.
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch._C._has_mkldnn:
        return False
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        x, grow, last = torch.rand(1, 4, 3, 5), nn.Conv2d(4, 2, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        expected = x + 0.2 * last(torch.cat((x, F.leaky_relu(grow(x), 0.1)), 1))
        try:
            found = _dense_block(x.contiguous(memory_format=torch.channels_last), [grow], last, 0.1, 0.2)
        except (AttributeError, RuntimeError, TypeError):
            return False
        return torch.allclose(found, expected, atol=1e-5)


def possible(x: Tensor, weight: Tensor) -> bool:
    """Whether `conv_leaky` and `dense_block` may take the fast form for this input, which has no gradient."""
    return (
        not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and type(x) is Tensor  # not one of those that only stand for tensors
        and x.numel() > 0
        and not torch.compiler.is_compiling()  # also while exporting
        and not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        and not torch.is_autocast_enabled("cpu")
        and bool(torch.backends.mkldnn.enabled)
        and _available()
    )


def conv_leaky(conv: nn.Conv2d, x: Tensor, slope: float) -> Tensor:
    """leaky_relu(conv(x)), (B, C, H, W) → (B, F, H, W)."""
    if not possible(x, conv.weight):
        return F.leaky_relu(conv(x), slope)
    x = x.contiguous(memory_format=torch.channels_last)
    out: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups, "leaky_relu", [slope], ""
    )
    return out


def dense_block(x: Tensor, growing: Sequence[nn.Conv2d], last: nn.Conv2d, *, slope: float, factor: float) -> Tensor:
    """x + factor · last([x, x1, …, xn]) with xi = leaky_relu(growingᵢ([x, x1, …])), without concatenations.

    (B, F, H, W) → (B, F, H, W), channels last; 3x3 convolutions, `growing` of G outputs each, F a multiple of G.
    One buffer holds the features as a volume of layers (F/G + n, H, W, G). Its first layers lie together in memory, so
    each convolution reads them as they are: as a 3D convolution whose kernel is as deep as there are layers.
    """
    results = [_dense_block(one, growing, last, slope, factor) for one in torch.split(x, 1)]
    return results[0] if len(results) == 1 else torch.cat(results)


def _dense_block(x: Tensor, growing: Sequence[nn.Conv2d], last: nn.Conv2d, slope: float, factor: float) -> Tensor:
    width = growing[0].out_channels
    known = x.shape[1] // width
    layers = x.new_empty(known + len(growing), *x.shape[2:], width)
    volume = layers.permute(3, 0, 1, 2)[None]  # (1, G, layers, H, W)
    out = x.clone(memory_format=torch.channels_last)
    layers[:known] = out.view(known, width, *x.shape[2:]).permute(0, 2, 3, 1)
    for index, conv in enumerate(growing, start=known):
        weight = _deep(conv.weight, width)
        grown = torch.ops.mkldnn._convolution_pointwise(
            volume[:, :, :index], weight, conv.bias, (0, 1, 1), _STEPS, _STEPS, 1, "leaky_relu", [slope], ""
        )
        layers[index] = grown[0, :, 0].permute(1, 2, 0)
    weight = _deep(last.weight * factor, width)
    bias = None if last.bias is None else last.bias * factor
    torch.ops.mkldnn._convolution_pointwise_.binary(
        out.unsqueeze(2), volume, weight, bias, (0, 1, 1), _STEPS, _STEPS, 1, "add", 1.0, None, [], None
    )
    return out


def _deep(weight: Tensor, width: int) -> Tensor:
    """(F, L·G, 3, 3) → (F, G, L, 3, 3): the kernel over L layers of G = `width` channels."""
    deep = weight.view(len(weight), -1, width, *weight.shape[2:]).transpose(1, 2)
    return deep.contiguous(memory_format=torch.channels_last_3d)
