"""RRDBNet, the generator of ESRGAN (Wang et al., 2018), and HGGT's version with a PixelShuffle upsampler.

Key names are BasicSR's (`RRDBNet`) and HGGT's (`RRDBPSNet`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput
from goldeye.networks import fused
from goldeye.networks.blocks import double, he_start, pixelshuffle_upsampler, reach

_SLOPE = 0.2
_BLOCK_REACH = 3 * 5  # pixels that an RRDB sees to each side: three dense blocks of five 3x3 convolutions


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
            he_start(conv, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        growing = (self.conv1, self.conv2, self.conv3, self.conv4)
        if fused.possible(x, self.conv1.weight) and x.shape[1] % self.conv1.out_channels == 0:
            return fused.dense_block(x, growing, self.conv5, slope=_SLOPE, factor=0.2)
        features = [x]
        for conv in growing:
            features.append(F.leaky_relu(conv(torch.cat(features, 1)), _SLOPE))
        return torch.add(x, self.conv5(torch.cat(features, 1)), alpha=0.2)


class RRDB(nn.Module):
    """Residual in residual: three dense blocks with a scaled skip around them, (B, F, H, W) → (B, F, H, W)."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=0.2)


class _RRDBTrunk(nn.Module):
    """What both networks have up to their upsampler: conv_first, the RRDBs and conv_body around a skip."""

    # The first and last convolution: the picture's own values, which half precision would round to 8 bits.
    full_precision: tuple[str, ...] = ("conv_first", "conv_last")

    def __init__(self, in_channels: int, num_feat: int, num_block: int, num_grow_ch: int) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(in_channels, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        # conv_first, the blocks and conv_body, in pixels of the trunk
        self._trunk_reach = num_block * _BLOCK_REACH + 2

    def trunk(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) → (B, num_feat, H, W)."""
        x = self.conv_first(x)
        out: Tensor = x + self.conv_body(self.body(x))
        return out


class RRDBNet(_RRDBTrunk):
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
        if scale not in (1, 2, 4):
            raise InvalidInput(f"RRDBNet has scales 1, 2 and 4, not {scale}.")
        multiple = 4 // scale
        super().__init__(num_in_ch * multiple**2, num_feat, num_block, num_grow_ch)
        self.size_multiple = multiple
        # A trunk pixel is multiple x multiple input pixels; of its own, an input pixel may lie at the far end.
        self.receptive_radius = (reach([(1, self._trunk_reach), (2, 1), (2, 3)], 4) + 1) * multiple - 1
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(F.pixel_unshuffle(x, self.size_multiple) if self.size_multiple > 1 else x)
        x = fused.conv_leaky(self.conv_up1, double(x), _SLOPE)
        x = fused.conv_leaky(self.conv_up2, double(x), _SLOPE)
        out: Tensor = self.conv_last(fused.conv_leaky(self.conv_hr, x, _SLOPE))
        return out


class RRDBPSNet(_RRDBTrunk):
    """HGGT's SR generator: RRDBNet's trunk and a PixelShuffle upsampler.

    (B, num_in_ch, H, W) in [0, 1], RGB → (B, num_out_ch, H·scale, W·scale), not clipped. Any H and W.
    """

    size_multiple = 1

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        scale: int = 4,
    ) -> None:
        super().__init__(num_in_ch, num_feat, num_block, num_grow_ch)
        self.upsample = pixelshuffle_upsampler(scale, num_feat)
        # A convolution before each pixel shuffle, two after the last.
        factors = [1] + ([3] if scale == 3 else [2] * (scale.bit_length() - 1))
        reaches = [self._trunk_reach, *[0] * (len(factors) - 1)]
        reaches = [pixels + 1 for pixels in reaches[:-1]] + [reaches[-1] + 2]
        self.receptive_radius = reach(list(zip(factors, reaches, strict=True)), scale)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.upsample(self.trunk(x)), _SLOPE)
        out: Tensor = self.conv_last(fused.conv_leaky(self.conv_hr, x, _SLOPE))
        return out
