"""The pixel term."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pixel_loss(sr: Tensor, gt: Tensor) -> Tensor:
    """mean |sr - gt|; sr, gt: (B, 3, H, W) in [0, 1]."""
    return F.l1_loss(sr.float(), gt.float())
