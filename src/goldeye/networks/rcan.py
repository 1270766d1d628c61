"""RCAN: "Image Super-Resolution Using Very Deep Residual Channel Attention Networks" (Zhang et al., 2018).

Key names are BasicSR's (`RCAN`); at scale 1 there is no upsampler, which is HGGT's enhancer (`RCANNOUP`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from goldeye.errors import InvalidInput
from goldeye.networks.blocks import DIV2K_MEAN, colour_mean, pixelshuffle_upsampler


class ChannelAttention(nn.Module):
    """Scale every channel by a weight in (0, 1) made from the channels' means: (B, F, H, W) → (B, F, H, W)."""

    def __init__(self, num_feat: int, squeeze_factor: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(num_feat, num_feat // squeeze_factor, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_feat // squeeze_factor, num_feat, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.attention(x)
        return x * weights


class RCAB(nn.Module):
    """Residual channel attention block: x + res_scale · attention(conv(relu(conv(x))))."""

    def __init__(self, num_feat: int, squeeze_factor: int, res_scale: float) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.rcab = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_feat, num_feat, 3, padding=1),
            ChannelAttention(num_feat, squeeze_factor),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.rcab(x)
        return x + residual * self.res_scale


class ResidualGroup(nn.Module):
    """Several RCABs and a convolution with a skip around them."""

    def __init__(self, num_feat: int, num_block: int, squeeze_factor: int, res_scale: float) -> None:
        super().__init__()
        self.residual_group = nn.Sequential(*(RCAB(num_feat, squeeze_factor, res_scale) for _ in range(num_block)))
        self.conv = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv(self.residual_group(x))
        return x + residual


class RCAN(nn.Module):
    """(B, num_in_ch, H, W) in [0, 1], RGB → (B, num_out_ch, H·scale, W·scale), not clipped. Any H and W.

    Inside, colours are (x − rgb_mean) · img_range.
    """

    size_multiple = 1
    receptive_radius = None
    full_precision = ("conv_first", "conv_last")
    mean: Tensor

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_group: int = 10,
        num_block: int = 20,
        squeeze_factor: int = 16,
        scale: int = 4,
        res_scale: float = 1.0,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ) -> None:
        super().__init__()
        if num_feat < squeeze_factor:
            raise InvalidInput(f"RCAN's squeeze_factor ({squeeze_factor}) leaves none of its {num_feat} channels.")
        self.img_range = img_range
        self.register_buffer("mean", colour_mean(rgb_mean), persistent=False)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualGroup(num_feat, num_block, squeeze_factor, res_scale) for _ in range(num_group))
        )
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsample = pixelshuffle_upsampler(scale, num_feat)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first((x - self.mean) * self.img_range)
        x = x + self.conv_after_body(self.body(x))
        out: Tensor = self.conv_last(self.upsample(x)) / self.img_range + self.mean
        return out
