"""Several networks as one: RGAN's fusion, weighted ensembles, and the eight views of one network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

FUSION_WEIGHTS = (0.6, 0.4)
FUSION_THRESHOLD = 64.0


class WeightedEnsemble(nn.Module):
    """Σ wᵢ · networkᵢ(x), (B, 3, H, W) → (B, 3, H·scale, W·scale); the networks have one scale."""

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weights = tuple(weights)
        self.size_multiple = math.lcm(*(int(getattr(member, "size_multiple", 1)) for member in members))
        self.grid = math.lcm(*(int(getattr(member, "grid", 1)) for member in members))
        radii: list[int | None] = [getattr(member, "receptive_radius", None) for member in members]
        known = [radius for radius in radii if radius is not None]
        self.receptive_radius = max(known) if len(known) == len(radii) else None

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.weights[0] * self.members[0](x)
        for weight, member in zip(self.weights[1:], list(self.members)[1:], strict=True):
            total = total + weight * member(x)
        return total


class Fusion(nn.Module):
    """RGAN's selective average for dark pictures (Section 3.3).

    Where the median luma (Y of YCbCr, 0..255) of R's whole result is below `threshold`, the result is the weighted
    average `mix` of R and S, else R's. Whole pictures are needed for that: `forward` is R alone, and the upscaler asks
    again with `mix` for a dark picture.
    """

    def __init__(
        self,
        r: nn.Module,
        s: nn.Module,
        *,
        weights: tuple[float, float] = FUSION_WEIGHTS,
        threshold: float = FUSION_THRESHOLD,
    ) -> None:
        super().__init__()
        self.r = r
        self.mix = WeightedEnsemble((r, s), weights)
        self.threshold = threshold
        self.size_multiple, self.grid = self.mix.size_multiple, self.mix.grid
        self.receptive_radius = self.mix.receptive_radius

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.r(x)
        return out


class SelfEnsemble(nn.Module):
    """Mean over the eight flips and rotations of the input, each turned back (EDSR, Lim et al., 2017, "+" models)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor | None = None
        for turns in range(4):
            for mirrored in (False, True):
                view = torch.rot90(x.flip(3) if mirrored else x, turns, (2, 3))
                out = torch.rot90(self.network(view).float(), -turns, (2, 3))
                out = out.flip(3) if mirrored else out
                total = out if total is None else total + out
        assert total is not None
        return total / 8
