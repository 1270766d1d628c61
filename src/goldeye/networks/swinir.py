"""SwinIR: "Image Restoration Using Swin Transformer" (Liang et al., 2021), with every upsampler of the official code.

Key names are the official ones. Tokens stay in window order from block to block: one gather takes them from plain to
shifted windows, where the official code joins, rolls and cuts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput, unknown_name
from goldeye.networks.blocks import DIV2K_MEAN, colour_mean, double, pad_to, pixelshuffle_upsampler
from goldeye.networks.windows import Windows, edge_masks, relative_position_index, window_kinds, windows_of


class WindowAttention(nn.Module):
    """Self-attention in each window with a learned bias for every offset: (B·H·W, C) in window order → same."""

    relative_position_index: Tensor

    def __init__(self, dim: int, size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * size - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", relative_position_index(size))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, windows: Windows, masks: Tensor | None) -> Tensor:
        n, dim, attend = self.relative_position_index.shape[0], x.shape[1], F.scaled_dot_product_attention
        # (1, heads, n, n); made anew each time, because training changes the table and it costs next to nothing
        bias = F.embedding(self.relative_position_index, self.relative_position_bias_table).permute(2, 0, 1)[None]
        # (windows, heads, n, dim / heads) each
        q, k, v = self.qkv(x).view(-1, n, 3, self.num_heads, dim // self.num_heads).transpose(1, 3).unbind(2)
        if masks is None:
            out = attend(q, k, v, bias)
        else:
            free, edges = windows.free, (bias + masks[:, None])[windows.kinds]
            out = attend(q[free:], k[free:], v[free:], edges)
            if free:  # most windows; reading a mask for each would take longer than the attention itself
                inner = attend(q[:free], k[:free], v[:free], bias)
                out = torch.cat((inner.transpose(1, 2), out.transpose(1, 2))).transpose(1, 2)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(-1, dim))
        return projected


class MLP(nn.Module):
    """Linear, GELU, linear on each token."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class DropPath(nn.Module):
    """Stochastic depth: in training a sample's branch is left out with probability `rate`, else divided by 1 − rate.

    (B·H·W, C), rows in any order → same; `samples`, (B·H·W,), says of which of the `batch` samples each row is.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, samples: Tensor | None, batch: int) -> Tensor:
        if samples is None or not self.rate:
            return x
        kept = torch.empty(batch, 1, device=x.device).bernoulli_(1 - self.rate) / (1 - self.rate)
        return x * F.embedding(samples, kept)


class SwinBlock(nn.Module):
    """Window attention and MLP, each after a LayerNorm and with a skip: (B·H·W, C) in window order → same."""

    def __init__(
        self, dim: int, size: int, num_heads: int, mlp_ratio: float, img_size: int, drop: float, *, shifted: bool
    ) -> None:
        super().__init__()
        if shifted:  # official checkpoints carry every window's mask at one size; here it only keeps their key
            kinds = window_kinds(img_size // size, img_size // size)
            self.register_buffer("attn_mask", edge_masks(size)[kinds])
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, size, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor, windows: Windows, masks: Tensor | None, samples: Tensor | None, batch: int) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), windows, masks), samples, batch)
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)), samples, batch)
        return out


class SwinGroup(nn.Module):
    """Blocks, every second one with shifted windows: (B·H·W, C) in the picture's order → same.

    `drops` has the probability of each block's branches to be left out.
    """

    def __init__(
        self, drops: Sequence[float], dim: int, size: int, num_heads: int, mlp_ratio: float, img_size: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, size, num_heads, mlp_ratio, img_size, drop, shifted=i % 2 == 1)
            for i, drop in enumerate(drops)
        )

    def forward(self, x: Tensor, windows: Windows, masks: Tensor, samples: Tensor | None, batch: int) -> Tensor:
        order = windows.picture_to_plain
        for i, block in enumerate(self.blocks):
            x = F.embedding(order, x)  # gathers rows; its gradient is faster than indexing's
            samples = None if samples is None else samples[order]
            x = block(x, windows, masks if i % 2 else None, samples, batch)
            order = windows.shifted_to_plain if i % 2 else windows.plain_to_shifted
        return F.embedding(windows.plain_to_picture if len(self.blocks) % 2 else windows.shifted_to_picture, x)


class RSTB(nn.Module):
    """Residual Swin Transformer block: blocks, a convolution, a skip. (B·H·W, C) in the picture's order → same."""

    def __init__(self, group: SwinGroup, conv: nn.Module) -> None:
        super().__init__()
        self.residual_group = group
        self.conv = conv

    def forward(self, x: Tensor, windows: Windows, masks: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """`shape` is the picture's (B, H, W)."""
        batch, height, width = shape
        samples = torch.arange(len(x), device=x.device) // (height * width) if self.training else None
        return x + _tokens(self.conv(_picture(self.residual_group(x, windows, masks, samples, batch), shape)))


class PatchEmbed(nn.Module):
    """Holds the first LayerNorm under the official name."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)


def _tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B·H·W, C), without a copy where x is channels-last (as `_picture` makes it)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _picture(tokens: Tensor, shape: Sequence[int]) -> Tensor:
    """(B·H·W, C) → (B, C, H, W)."""
    return tokens.view(*shape, tokens.shape[1]).permute(0, 3, 1, 2)


def _connection(kind: str, dim: int) -> nn.Module:
    """The convolution at the end of a residual block: `1conv`, or `3conv` through a quarter of the channels."""
    if kind == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim, 3, padding=1),
    )


# The scales that each upsampler has; "" has none and keeps the size.
_SCALES = {"pixelshuffle": (1, 2, 3, 4, 8), "pixelshuffledirect": (1, 2, 3, 4, 8), "nearest+conv": (2, 4), "": (1,)}


class SwinIR(nn.Module):
    """(B, in_chans, H, W) in [0, 1], RGB → (B, in_chans, H·scale, W·scale), not clipped. Any H and W.

    The picture is padded by reflection to whole windows; with `pad="hggt"` by a window more where it fits already, as
    HGGT's code does. `upsampler`: "pixelshuffle" (classical), "pixelshuffledirect" (lightweight), "nearest+conv" (real
    world, x2 and x4), "" (scale 1: denoising, JPEG). Inside, colours are (x − mean) · img_range. `img_size` only says
    for which size a checkpoint holds masks. In training a block's branches are left out at random, the first block's
    never and the last one's with probability `drop_path_rate`.
    """

    size_multiple = 1  # forward pads
    receptive_radius = None
    mean: Tensor
    masks: Tensor

    def __init__(
        self,
        in_chans: int = 3,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        upsampler: str = "pixelshuffle",
        resi_connection: str = "1conv",
        scale: int = 4,
        num_feat: int = 64,
        img_range: float = 1.0,
        img_size: int = 64,
        pad: str = "official",
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        if upsampler not in _SCALES:
            raise unknown_name("upsampler of SwinIR", upsampler, _SCALES)
        if scale not in _SCALES[upsampler]:
            raise InvalidInput(f"SwinIR's upsampler '{upsampler}' has the scales {_SCALES[upsampler]}, not {scale}.")
        if resi_connection not in ("1conv", "3conv"):
            raise unknown_name("resi_connection of SwinIR", resi_connection, ("1conv", "3conv"))
        if pad not in ("official", "hggt"):
            raise unknown_name("pad of SwinIR", pad, ("official", "hggt"))
        if img_size <= window_size or img_size % window_size:
            raise InvalidInput(f"SwinIR's img_size ({img_size}) must be several times its window_size ({window_size}).")
        if len(depths) != len(num_heads) or any(embed_dim % heads for heads in num_heads):
            raise InvalidInput(f"SwinIR needs as many num_heads as depths, and divisors of embed_dim ({embed_dim}).")
        if not 0 <= drop_path_rate < 1:
            raise InvalidInput(f"SwinIR's drop_path_rate must be at least 0 and below 1, not {drop_path_rate}.")
        self.scale, self.upsampler, self.pad = scale, upsampler, pad
        self.window_size, self.img_range = window_size, img_range
        self.register_buffer("mean", colour_mean(DIV2K_MEAN if in_chans == 3 else [0.0] * in_chans), persistent=False)
        self.register_buffer("masks", edge_masks(window_size), persistent=False)
        self.conv_first = nn.Conv2d(in_chans, embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(embed_dim)
        rise = drop_path_rate / max(1, sum(depths) - 1)
        drops = (i * rise for i in itertools.count())
        self.layers = nn.ModuleList(
            RSTB(
                SwinGroup(list(itertools.islice(drops, depth)), embed_dim, window_size, heads, mlp_ratio, img_size),
                _connection(resi_connection, embed_dim),
            )
            for depth, heads in zip(depths, num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = _connection(resi_connection, embed_dim)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.grid = window_size
        self.full_precision = ("conv_first", "upsample" if upsampler == "pixelshuffledirect" else "conv_last")
        if upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(
                nn.Conv2d(embed_dim, in_chans * scale**2, 3, padding=1), nn.PixelShuffle(scale)
            )
        elif upsampler == "":
            self.conv_last = nn.Conv2d(embed_dim, in_chans, 3, padding=1)
        else:
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(embed_dim, num_feat, 3, padding=1), nn.LeakyReLU())
            if upsampler == "pixelshuffle":
                self.upsample = pixelshuffle_upsampler(scale, num_feat)
            else:
                self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
                if scale == 4:
                    self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
                self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
            self.conv_last = nn.Conv2d(num_feat, in_chans, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        size, extra = self.window_size, 1 if self.pad == "hggt" else 0
        rows, columns = ((side + (0 if extra else size - 1)) // size + extra for side in (height, width))
        x = (pad_to(x, rows * size, columns * size) - self.mean) * self.img_range
        windows = windows_of(batch, rows, columns, size, x.device)
        shape = (batch, rows * size, columns * size)

        first = self.conv_first(x)
        tokens = self.patch_embed.norm(_tokens(first))
        for layer in self.layers:
            tokens = layer(tokens, windows, self.masks, shape)
        features = first + self.conv_after_body(_picture(self.norm(tokens), shape))
        x = x + self.conv_last(features) if self.upsampler == "" else self.enlarge(features)
        return (x / self.img_range + self.mean)[..., : height * self.scale, : width * self.scale]

    def enlarge(self, x: Tensor) -> Tensor:
        """(B, embed_dim, H, W) → (B, in_chans, H·scale, W·scale)."""
        if self.upsampler == "pixelshuffledirect":
            small: Tensor = self.upsample(x)
            return small
        x = self.conv_before_upsample(x)
        if self.upsampler == "pixelshuffle":
            x = self.upsample(x)
        else:
            x = F.leaky_relu(self.conv_up1(double(x)), 0.2)
            if self.scale == 4:
                x = F.leaky_relu(self.conv_up2(double(x)), 0.2)
            x = F.leaky_relu(self.conv_hr(x), 0.2)
        out: Tensor = self.conv_last(x)
        return out
