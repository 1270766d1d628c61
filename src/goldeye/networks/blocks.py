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


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) on the right and below until both sizes are multiples of `multiple`.

    Pads by reflection; a picture too small for one reflection repeats its border first.
    """
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if below < height and right < width:
        return F.pad(x, (0, right, 0, below), mode="reflect") if below or right else x
    return F.pad(x, (0, right, 0, below), mode="replicate")
