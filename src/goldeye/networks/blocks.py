"""Small pieces that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput

# The mean colour of DIV2K in [0, 1], RGB: what RCAN and ELAN subtract from their input.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def colour_mean(mean: Sequence[float]) -> Tensor:
    """A mean colour as (1, C, 1, 1), to be subtracted from a batch."""
    return torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1)


def he_start(conv: nn.Conv2d, factor: float) -> None:
    """He's normal initialisation (2015) for ReLU times `factor`, without bias."""
    assert conv.bias is not None
    nn.init.kaiming_normal_(conv.weight)
    conv.weight.data *= factor
    nn.init.zeros_(conv.bias)


def pixelshuffle_upsampler(scale: int, num_feat: int) -> nn.Sequential:
    """(B, F, H, W) → (B, F, H·scale, W·scale): conv and PixelShuffle, x2 each time for x2, x4, x8…; x3 in one step.

    Sub-pixel convolution of "Real-Time Single Image and Video Super-Resolution" (Shi et al., 2016). Scale 1: nothing.
    """
    layers: list[nn.Module] = []
    if scale == 3:
        layers = [nn.Conv2d(num_feat, 9 * num_feat, 3, padding=1), nn.PixelShuffle(3)]
    elif scale >= 1 and scale & (scale - 1) == 0:
        for _ in range(scale.bit_length() - 1):
            layers += [nn.Conv2d(num_feat, 4 * num_feat, 3, padding=1), nn.PixelShuffle(2)]
    else:
        raise InvalidInput(f"Scale {scale} is not possible here: it must be 1, 2, 3, 4 or a higher power of two.")
    return nn.Sequential(*layers)


def double(x: Tensor) -> Tensor:
    """Twice the size by repeating pixels."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) as `pad_to` does until both sizes are multiples of `multiple`."""
    height, width = x.shape[-2:]
    return pad_to(x, (height + multiple - 1) // multiple * multiple, (width + multiple - 1) // multiple * multiple)


def pad_to(x: Tensor, height: int, width: int) -> Tensor:
    """Pad (B, C, H, W) on the right and below to (B, C, height, width), by reflection.

    Where a picture is too small for that, the reflection's end is repeated. While a graph is made for every size,
    nothing here depends on whether padding is needed.
    """
    if torch.compiler.is_compiling() or height != x.shape[2]:
        x = x.index_select(2, _reflected(x.shape[2], height, x.device))
    if torch.compiler.is_compiling() or width != x.shape[3]:
        x = x.index_select(3, _reflected(x.shape[3], width, x.device))
    return x


def _reflected(size: int, padded: int, device: torch.device) -> Tensor:
    """(padded,): 0, 1, …, size − 1, size − 2, …, and 0 for ever once there."""
    return (size - 1 - (torch.arange(padded, device=device) - (size - 1)).abs()).clamp(min=0)


def reach(steps: Sequence[tuple[int, int]], scale: int) -> int:
    """How many input pixels away an output pixel of a convolutional upsampler can see.

    `steps` are, from first to last, (factor, pixels): enlarge by `factor`, then see `pixels` around at that size.
    """
    first, last = 0, scale - 1  # the output pixels of one input pixel, followed back to the input
    for factor, pixels in reversed(steps):
        first, last = (first - pixels) // factor, (last + pixels) // factor
    return max(-first, last)
