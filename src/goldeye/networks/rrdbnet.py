"""RRDBNet, the generator of ESRGAN (Wang et al., 2018), and HGGT's version with a PixelShuffle upsampler.

Key names are BasicSR's (`RRDBNet`) and HGGT's (`RRDBPSNet`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput
from goldeye.networks.blocks import pixelshuffle_upsampler


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class ResidualDenseBlock(nn.Module):
    """Five 3x3 convolutions, each seeing the block's input and all earlier outputs: (B, F, H, W) → (B, F, H, W).

    x + 0.2 · conv5([x, x1, x2, x3, x4]). The convolutions start at a tenth of He's initialisation (ESRGAN's "smaller
    initialisation"), so that a deep trunk starts close to the identity.
    """

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_grow_ch, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat + num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv3 = nn.Conv2d(num_feat + 2 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv4 = nn.Conv2d(num_feat + 3 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, padding=1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            assert conv.bias is not None
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data *= 0.1
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        x1 = _leaky(self.conv1(x))
        x2 = _leaky(self.conv2(torch.cat((x, x1), 1)))
        x3 = _leaky(self.conv3(torch.cat((x, x1, x2), 1)))
        x4 = _leaky(self.conv4(torch.cat((x, x1, x2, x3), 1)))
        residual: Tensor = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return x + 0.2 * residual


class RRDB(nn.Module):
    """Residual in residual: three dense blocks with a scaled skip around them, (B, F, H, W) → (B, F, H, W)."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + 0.2 * residual


class RRDBNet(nn.Module):
    """(B, num_in_ch, H, W) in [0, 1], RGB → (B, num_out_ch, H·scale, W·scale), not clipped.

    Scale 4 upsamples twice by nearest + convolution. Scales 2 and 1 put 2x2 or 4x4 pixels into channels first
    (Real-ESRGAN), so H and W must be multiples of `size_multiple` (1, 2, 4 for x4, x2, x1).
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        scale: int = 4,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise InvalidInput(f"RRDBNet has scales 1, 2 and 4, not {scale}.")
        self.size_multiple = 4 // scale
        self.conv_first = nn.Conv2d(num_in_ch * self.size_multiple**2, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.size_multiple > 1:
            x = F.pixel_unshuffle(x, self.size_multiple)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        x = _leaky(self.conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")))
        x = _leaky(self.conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")))
        out: Tensor = self.conv_last(_leaky(self.conv_hr(x)))
        return out


class RRDBPSNet(nn.Module):
    """HGGT's SR generator: RRDBNet's trunk and a PixelShuffle upsampler.

    (B, num_in_ch, H, W) in [0, 1], RGB → (B, num_out_ch, H·scale, W·scale), not clipped. Any H and W.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        scale: int = 4,
    ) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsample = pixelshuffle_upsampler(scale, num_feat)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(x)
        x = _leaky(self.upsample(x + self.conv_body(self.body(x))))
        out: Tensor = self.conv_last(_leaky(self.conv_hr(x)))
        return out
