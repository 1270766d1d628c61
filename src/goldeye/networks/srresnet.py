"""SRResNet in the form of ESRGAN's authors: no batch norm, and a bilinear skip (`MSRResNet`, whose key names it has).

From "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network" (Ledig et al., 2017).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput
from goldeye.networks.blocks import he_start, reach


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), (B, F, H, W) → same; starts at a tenth of He's initialisation."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            he_start(conv, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(F.relu(self.conv1(x)))
        return x + residual


class SRResNet(nn.Module):
    """(B, num_in_ch, H, W) in [0, 1], RGB → (B, num_out_ch, H·scale, W·scale), not clipped; scale 2, 3 or 4. Any H, W.

    `num_out_ch` must be `num_in_ch`, since the enlarged input is added.
    """

    size_multiple = 1
    full_precision = ("conv_first", "conv_last")

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 16, scale: int = 4
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise InvalidInput(f"SRResNet has scales 2, 3 and 4, not {scale}.")
        if num_in_ch != num_out_ch:
            raise InvalidInput(f"SRResNet's num_out_ch ({num_out_ch}) must be its num_in_ch ({num_in_ch}).")
        self.scale = scale
        # conv_first and two convolutions a block at the input's size, then upconv1, and what comes after each enlarging
        upsampler = [(1, 2 * num_block + 2), (2, 1), (2, 2)] if scale == 4 else [(1, 2 * num_block + 2), (scale, 2)]
        self.receptive_radius = reach(upsampler, scale)
        self.factor = 2 if scale == 4 else scale  # of each pixel shuffle
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.upconv1 = nn.Conv2d(num_feat, num_feat * self.factor**2, 3, padding=1)
        if scale == 4:
            self.upconv2 = nn.Conv2d(num_feat, num_feat * self.factor**2, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        for conv in (self.conv_first, self.upconv1, self.conv_hr, self.conv_last):
            he_start(conv, 0.1 if conv is self.conv_last else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        x = self.body(_leaky(self.conv_first(x)))
        x = _leaky(F.pixel_shuffle(self.upconv1(x), self.factor))
        if self.scale == 4:
            x = _leaky(F.pixel_shuffle(self.upconv2(x), self.factor))
        residual: Tensor = self.conv_last(_leaky(self.conv_hr(x)))
        return base + residual


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)
