"""The pixel term."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pixel_loss(sr: Tensor, gt: Tensor, kind: str = "l1") -> Tensor:
    """mean |sr - gt| (l1), or mean (sr - gt)^2 (mse: AdaTarget); sr, gt: (B, 3, H, W) in [0, 1]."""
    loss = F.mse_loss if kind == "mse" else F.l1_loss
    return loss(sr.float(), gt.float())
