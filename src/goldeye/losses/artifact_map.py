"""LDL's artifact term (Eq. 2-8): penalise the result where its residual varies as artifacts do.

Source: Liang et al., Details or Artifacts (CVPR 2022), and its official code, which differs where docstrings say so.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from goldeye.losses.local_variance import local_variance

Stage = Literal["local", "scaled", "refined"]


def residual_map(sr: Tensor, gt: Tensor, *, signed: bool = False) -> Tensor:
    """R: the sum over channels of |gt - sr| (official code), or of gt - sr (`signed`, the paper's Eq. 2).

    sr, gt: (B, 3, H, W) in [0, 1] -> (B, 1, H, W).
    """
    difference = gt.float() - sr.float()
    return (difference if signed else difference.abs()).sum(dim=1, keepdim=True)


def artifact_map(
    sr: Tensor,
    gt: Tensor,
    averaged: Tensor | None = None,
    *,
    stage: Stage = "refined",
    window: int = 7,
    signed: bool = False,
) -> Tensor:
    """M (Eq. 3), sigma M (Eq. 4) or M_refine (Eq. 6), as `stage` says: (B, 1, H, W), with gradient to `sr`.

    sr, gt, averaged: (B, 3, H, W) in [0, 1]; `averaged`, what the averaged weights make, is needed to refine: M_refine
    is 0 where |R_sr| < |R_averaged|. M is the local variance of R over `window`, not clamped to [0, 1] (official code);
    sigma = var(R)^(1/5) over the whole patch.
    """
    residual = residual_map(sr, gt, signed=signed)
    found = local_variance(residual, window).to(residual.dtype)
    if stage == "local":
        return found
    found = patch_sigma(residual) * found
    if stage == "scaled":
        return found
    assert averaged is not None, "refining compares with the averaged weights' result"
    return torch.where(nearer_than_averaged(sr, gt, averaged), torch.zeros_like(found), found)


def patch_sigma(residual: Tensor) -> Tensor:
    """sigma = var(R)^(1/5) over the whole patch (Eq. 4); residual: (B, 1, H, W) -> (B, 1, 1, 1)."""
    # At a variance of 0 the fifth root has no gradient; there the map is 0 anyway.
    variance = residual.var(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(residual.dtype).tiny)
    return variance.pow(1 / 5)


def nearer_than_averaged(sr: Tensor, gt: Tensor, averaged: Tensor) -> Tensor:
    """Where |R_sr| < |R_averaged| (Eq. 6): nothing is penalised there; (B, 3, H, W) each -> (B, 1, H, W) bool."""
    return residual_map(sr, gt).detach() < residual_map(averaged, gt).detach()


def artifact_loss(sr: Tensor, gt: Tensor, weight_map: Tensor) -> Tensor:
    """L_artif = || M (.) (I_HR - I_SR) ||_1 (Eq. 7), the mean over all values; weight_map: (B, 1, H, W), at least 0."""
    return (weight_map * (gt.float() - sr.float()).abs()).mean()
