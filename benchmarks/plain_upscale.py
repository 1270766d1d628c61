"""Networks and the tile loop as upscalers' users run them, written out plainly: what Goldeye is measured against.

The official forms (Real-ESRGAN's RRDBNet and SRVGGNetCompact, SwinIR): concatenations in dense blocks, attention by
matrix products and softmax, masks made anew for every block, NCHW. Key names are the official ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class DenseBlock(nn.Module):
    """ESRGAN's dense block."""

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    conv4: nn.Conv2d

    def __init__(self, feat: int, grow: int) -> None:
        super().__init__()
        for i in range(4):
            setattr(self, f"conv{i + 1}", nn.Conv2d(feat + i * grow, grow, 3, 1, 1))
        self.conv5 = nn.Conv2d(feat + 4 * grow, feat, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = _leaky(self.conv1(x))
        x2 = _leaky(self.conv2(torch.cat((x, x1), 1)))
        x3 = _leaky(self.conv3(torch.cat((x, x1, x2), 1)))
        x4 = _leaky(self.conv4(torch.cat((x, x1, x2, x3), 1)))
        x5: Tensor = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return x5 * 0.2 + x


class RRDB(nn.Module):
    """Three dense blocks."""

    def __init__(self, feat: int, grow: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(feat, grow) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return out * 0.2 + x


class RRDBNet(nn.Module):
    """x4, (B, 3, H, W) → (B, 3, 4H, 4W)."""

    conv_body: nn.Conv2d
    conv_up1: nn.Conv2d
    conv_up2: nn.Conv2d
    conv_hr: nn.Conv2d

    def __init__(self, feat: int = 64, blocks: int = 23, grow: int = 32) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, feat, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(feat, grow) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            setattr(self, name, nn.Conv2d(feat, feat, 3, 1, 1))
        self.conv_last = nn.Conv2d(feat, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        feat = self.conv_first(x)
        feat = feat + self.conv_body(self.body(feat))
        feat = _leaky(self.conv_up1(F.interpolate(feat, scale_factor=2, mode="nearest")))
        feat = _leaky(self.conv_up2(F.interpolate(feat, scale_factor=2, mode="nearest")))
        out: Tensor = self.conv_last(_leaky(self.conv_hr(feat)))
        return out


class Compact(nn.Module):
    """x4, (B, 3, H, W) → (B, 3, 4H, 4W)."""

    def __init__(self, feat: int = 64, convs: int = 32) -> None:
        super().__init__()
        self.body = nn.ModuleList([nn.Conv2d(3, feat, 3, 1, 1), nn.PReLU(feat)])
        for _ in range(convs):
            self.body += [nn.Conv2d(feat, feat, 3, 1, 1), nn.PReLU(feat)]
        self.body.append(nn.Conv2d(feat, 48, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.body:
            out = layer(out)
        return F.pixel_shuffle(out, 4) + F.interpolate(x, scale_factor=4, mode="nearest")


def _partition(x: Tensor, size: int) -> Tensor:
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size, size, c)


def _reverse(windows: Tensor, size: int, h: int, w: int) -> Tensor:
    b = int(windows.shape[0] / (h * w / size / size))
    x = windows.view(b, h // size, w // size, size, size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(b, h, w, -1)


class WindowAttention(nn.Module):
    """Attention with a relative position bias."""

    relative_position_index: Tensor

    def __init__(self, dim: int, size: int, heads: int) -> None:
        super().__init__()
        self.size, self.heads, self.scale = size, heads, (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * size - 1) ** 2, heads))
        coords = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + size - 1
        self.register_buffer("relative_position_index", relative[..., 0] * (2 * size - 1) + relative[..., 1])
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        attention = q @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(n, n, -1)
        attention = attention + bias.permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            attention = attention.view(b // windows, windows, self.heads, n, n) + mask.unsqueeze(1).unsqueeze(0)
            attention = attention.view(-1, self.heads, n, n)
        out: Tensor = self.proj((attention.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, c))
        return out


class SwinBlock(nn.Module):
    """Windowed attention and an MLP; the mask is made for each call, since pictures have other sizes than training."""

    def __init__(self, dim: int, heads: int, size: int, shift: int) -> None:
        super().__init__()
        self.size, self.shift = size, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, size, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 2 * dim), "fc2": nn.Linear(2 * dim, dim)})

    def mask(self, h: int, w: int) -> Tensor:
        regions, count = torch.zeros(1, h, w, 1), 0
        slices = (slice(0, -self.size), slice(-self.size, -self.shift), slice(-self.shift, None))
        for rows in slices:
            for columns in slices:
                regions[:, rows, columns, :] = count
                count += 1
        windows = _partition(regions, self.size).view(-1, self.size**2)
        different = windows.unsqueeze(1) - windows.unsqueeze(2)
        return different.masked_fill(different != 0, -100.0).masked_fill(different == 0, 0.0)

    def forward(self, x: Tensor, h: int, w: int) -> Tensor:
        b, _, c = x.shape
        shortcut = x
        x = self.norm1(x).view(b, h, w, c)
        if self.shift:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        windows = _partition(x, self.size).view(-1, self.size**2, c)
        windows = self.attn(windows, self.mask(h, w) if self.shift else None)
        x = _reverse(windows.view(-1, self.size, self.size, c), self.size, h, w)
        if self.shift:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + x.view(b, h * w, c)
        out: Tensor = x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return out


class SwinGroup(nn.Module):
    """Blocks and a convolution around a skip."""

    def __init__(self, dim: int, depth: int, heads: int, size: int) -> None:
        super().__init__()
        self.residual_group = nn.Module()
        self.blocks = [SwinBlock(dim, heads, size, 0 if i % 2 == 0 else size // 2) for i in range(depth)]
        self.residual_group.blocks = nn.ModuleList(self.blocks)
        self.conv = nn.Conv2d(dim, dim, 3, 1, 1)

    def forward(self, x: Tensor, h: int, w: int) -> Tensor:
        out = x
        for block in self.blocks:
            out = block(out, h, w)
        picture = out.transpose(1, 2).view(x.shape[0], -1, h, w)
        result: Tensor = self.conv(picture).flatten(2).transpose(1, 2) + x
        return result


class SwinIR(nn.Module):
    """The medium real-world network, x4: (B, 3, H, W) → (B, 3, 4H, 4W); H and W multiples of 8."""

    conv_up1: nn.Conv2d
    conv_up2: nn.Conv2d
    conv_hr: nn.Conv2d

    def __init__(self, dim: int = 180, depths: tuple[int, ...] = (6,) * 6, heads: int = 6, size: int = 8) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, dim, 3, 1, 1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.ModuleList(SwinGroup(dim, depth, heads, size) for depth in depths)
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, 1, 1)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(dim, 64, 3, 1, 1), nn.LeakyReLU(inplace=True))
        for name in ("conv_up1", "conv_up2", "conv_hr"):
            setattr(self, name, nn.Conv2d(64, 64, 3, 1, 1))
        self.conv_last = nn.Conv2d(64, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.tensor((0.4488, 0.4371, 0.4040), device=x.device).view(1, 3, 1, 1)
        h, w = x.shape[-2:]
        first = self.conv_first(x - mean)
        tokens = self.patch_embed["norm"](first.flatten(2).transpose(1, 2))
        for layer in self.layers:
            tokens = layer(tokens, h, w)
        features = self.norm(tokens).transpose(1, 2).view(x.shape[0], -1, h, w)
        feat = self.conv_before_upsample(self.conv_after_body(features) + first)
        feat = _leaky(self.conv_up1(F.interpolate(feat, scale_factor=2, mode="nearest")))
        feat = _leaky(self.conv_up2(F.interpolate(feat, scale_factor=2, mode="nearest")))
        out: Tensor = self.conv_last(_leaky(self.conv_hr(feat)))
        return out + mean


PLAIN: dict[str, type[nn.Module]] = {"rrdb": RRDBNet, "compact": Compact, "swinir-m": SwinIR}


def tiles(network: Callable[[Tensor], Tensor], picture: Tensor, tile: int, pad: int, scale: int = 4) -> Tensor:
    """Real-ESRGAN's tile loop: each tile with `pad` pixels around it, the padding cut off, no blending."""
    batch, channels, height, width = picture.shape
    output = picture.new_zeros(batch, channels, height * scale, width * scale)
    for y in range(math.ceil(height / tile)):
        for x in range(math.ceil(width / tile)):
            left, top = x * tile, y * tile
            right, bottom = min(left + tile, width), min(top + tile, height)
            left_pad, top_pad = max(left - pad, 0), max(top - pad, 0)
            window = picture[:, :, top_pad : min(bottom + pad, height), left_pad : min(right + pad, width)]
            with torch.no_grad():
                result = network(window)
            inside_top, inside_left = (top - top_pad) * scale, (left - left_pad) * scale
            rows, columns = (bottom - top) * scale, (right - left) * scale
            output[:, :, top * scale : bottom * scale, left * scale : right * scale] = result[
                :, :, inside_top : inside_top + rows, inside_left : inside_left + columns
            ]
    return output
