"""ELAN: "Efficient Long-Range Attention Network for Image Super-resolution" (Zhang et al., 2022).

Key names are the official ones. At scale 1 it is HGGT's enhancer: the same trunk, colours normalised without the 1x1
convolutions `sub_mean` and `add_mean` that the official checkpoints carry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput
from goldeye.networks.blocks import DIV2K_MEAN, colour_mean, pad_to_multiple


class MeanShift(nn.Conv2d):
    """x + sign · mean as a frozen 1x1 convolution, the form in official checkpoints."""

    def __init__(self, mean: Tensor, sign: int) -> None:
        super().__init__(mean.numel(), mean.numel(), 1)
        assert self.bias is not None
        self.weight.data = torch.eye(mean.numel()).view(mean.numel(), mean.numel(), 1, 1)
        self.bias.data = sign * mean.flatten()
        self.requires_grad_(False)


class Shift(nn.Module):
    """Move four fifths of the channels by one pixel (left, right, up, down), then mix them by a 1x1 convolution.

    (B, in, H, W) → (B, out, H, W). The move is a frozen 3x3 depthwise kernel with a single 1; beyond the border is 0.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        kernel = torch.zeros(in_channels, 1, 3, 3)
        fifth = in_channels // 5
        for part, (row, column) in enumerate(((1, 2), (1, 0), (2, 1), (0, 1))):
            kernel[part * fifth : (part + 1) * fifth, 0, row, column] = 1
        kernel[4 * fifth :, 0, 1, 1] = 1
        self.weight = nn.Parameter(kernel, requires_grad=False)
        self.conv1x1 = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        moved = F.conv2d(x, self.weight, padding=1, groups=self.weight.shape[0])
        out: Tensor = self.conv1x1(moved)
        return out


class ShiftConv(nn.Module):
    """Holds a `Shift` under the official name `shift_conv`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shift_conv = Shift(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shift_conv(x)
        return out


class LFE(nn.Module):
    """Local feature extraction: shift-conv, ReLU, shift-conv, with r_expand times the channels between."""

    def __init__(self, channels: int, r_expand: int) -> None:
        super().__init__()
        self.conv0 = ShiftConv(channels, channels * r_expand)
        self.conv1 = ShiftConv(channels * r_expand, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(F.relu(self.conv0(x)))
        return out


def _windows(x: Tensor, size: int) -> Tensor:
    """(B, C, H, W) → (B·H/size·W/size, size², C)."""
    b, c, h, w = x.shape
    x = x.view(b, c, h // size, size, w // size, size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)


def _picture(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """(B·H/size·W/size, size², C) → (B, C, H, W)."""
    c = windows.shape[-1]
    x = windows.view(-1, height // size, width // size, size, size, c)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, c, height, width)


class GMSA(nn.Module):
    """Group-wise multi-scale self-attention: a third of the channels for each window size, (B, C, H, W) → same.

    Within a window softmax(q qᵀ) v: keys are the queries, and there is no 1/√d. With `shifted` the windows are moved by
    half their size around the torus. With `shares` the attention maps are given instead of computed.
    """

    def __init__(self, channels: int, window_sizes: Sequence[int], *, shifted: bool, shares: bool) -> None:
        super().__init__()
        self.window_sizes = tuple(window_sizes)
        self.shifted = shifted
        self.shares = shares
        projected = channels if shares else 2 * channels
        self.project_inp = nn.Sequential(nn.Conv2d(channels, projected, 1), nn.BatchNorm2d(projected))
        self.project_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, maps: list[Tensor] | None) -> Tensor:
        """`maps` takes or gives the attention maps, (windows, size², size²) a window size; None where nobody shares."""
        height, width = x.shape[-2:]
        groups = self.project_inp(x).chunk(len(self.window_sizes), dim=1)
        outputs = []
        for index, (group, size) in enumerate(zip(groups, self.window_sizes, strict=True)):
            half = size // 2
            if self.shifted:
                group = group.roll((-half, -half), (2, 3))
            windows = _windows(group, size)
            if self.shares:
                assert maps is not None
                attended = maps[index] @ windows
            else:
                queries, values = windows.chunk(2, dim=-1)
                if maps is None:
                    heads = queries[:, None]
                    attended = F.scaled_dot_product_attention(heads, heads, values[:, None], scale=1.0)[:, 0]
                else:
                    maps.append((queries @ queries.transpose(1, 2)).softmax(dim=-1))
                    attended = maps[index] @ values
            out = _picture(attended, size, height, width)
            outputs.append(out.roll((half, half), (2, 3)) if self.shifted else out)
        projected: Tensor = self.project_out(torch.cat(outputs, dim=1))
        return projected


class ELAB(nn.Module):
    """`n_share` + 1 pairs of LFE and GMSA, each with a skip; the pairs after the first use the first one's maps."""

    def __init__(self, channels: int, r_expand: int, window_sizes: Sequence[int], n_share: int, shifted: bool) -> None:
        super().__init__()
        pairs = range(n_share + 1)
        self.modules_lfe = nn.ModuleDict({f"lfe_{i}": LFE(channels, r_expand) for i in pairs})
        self.modules_gmsa = nn.ModuleDict(
            {f"gmsa_{i}": GMSA(channels, window_sizes, shifted=shifted, shares=i > 0) for i in pairs}
        )

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] | None = [] if len(self.modules_gmsa) > 1 else None
        for lfe, gmsa in zip(self.modules_lfe.values(), self.modules_gmsa.values(), strict=True):
            x = x + lfe(x)
            x = x + gmsa(x, maps)
        return x


class ELAN(nn.Module):
    """(B, colors, H, W) in [0, 1], RGB → (B, colors, H·scale, W·scale), not clipped.

    Any H and W: the picture is padded by reflection to whole windows and the result cropped. Inside, colours are
    (x − rgb_mean) · img_range; the official x2-x4 code takes and gives 0..255 instead of [0, 1], nothing else differs.
    """

    receptive_radius = None
    full_precision: tuple[str, ...] = ("head", "tail")
    mean: Tensor

    def __init__(
        self,
        colors: int = 3,
        m_elan: int = 36,
        c_elan: int = 180,
        n_share: int = 0,
        r_expand: int = 2,
        window_sizes: Sequence[int] = (4, 8, 16),
        scale: int = 4,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ) -> None:
        super().__init__()
        if c_elan % len(window_sizes):
            raise InvalidInput(f"ELAN's c_elan ({c_elan}) must be a multiple of its {len(window_sizes)} window sizes.")
        self.scale = scale
        self.img_range = img_range
        self.size_multiple = math.lcm(*window_sizes)
        mean = colour_mean(rgb_mean)
        if scale == 1:
            self.register_buffer("mean", mean, persistent=False)
        else:
            self.sub_mean = MeanShift(mean * img_range, -1)
            self.add_mean = MeanShift(mean * img_range, 1)
            self.full_precision = ("head", "tail", "sub_mean", "add_mean")
        self.head = nn.Sequential(nn.Conv2d(colors, c_elan, 3, padding=1))
        self.body = nn.Sequential(
            *(ELAB(c_elan, r_expand, window_sizes, n_share, shifted=i % 2 == 1) for i in range(m_elan // (n_share + 1)))
        )
        self.tail = nn.Sequential(nn.Conv2d(c_elan, colors * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.size_multiple)
        x = (x - self.mean) * self.img_range if self.scale == 1 else self.sub_mean(x * self.img_range)
        x = self.head(x)
        x = self.tail(x + self.body(x))
        x = x / self.img_range + self.mean if self.scale == 1 else self.add_mean(x) / self.img_range
        return x[..., : height * self.scale, : width * self.scale]
