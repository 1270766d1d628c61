"""HGGT's negative term (Eq. 3-5): push the result away from what people disliked, where they disliked it."""

from __future__ import annotations

import torch
from torch import Tensor

from goldeye.losses.artifact_map import residual_map
from goldeye.losses.local_variance import local_variance


def residual_variation_map(
    candidate: Tensor, original: Tensor, *, window: int = 3, power: float = 0.75, weight: Tensor | None = None
) -> Tensor:
    """M = var(R over window x window)^power with R = |candidate - original| summed over channels, times `weight`.

    candidate, original: (B, 3, H, W) in [0, 1] -> (B, 1, H, W); weight: (B,), 1 when not given. Unbiased variance,
    reflect padding (official code).
    """
    residual = residual_map(candidate, original)  # (B, 1, H, W)
    found = local_variance(residual, window).pow(power).float()
    return found if weight is None else found * _column(weight)


def indication_map(
    negative: Tensor,
    positive: Tensor,
    original: Tensor,
    *,
    negative_weight: Tensor,
    positive_weight: Tensor,
    has_positive: Tensor,
    window: int = 3,
    power: float = 0.75,
) -> Tensor:
    """M^Ind (Eq. 3): M^Neg where it exceeds M^Pos, else 0; -> (B, 1, H, W).

    negative, positive, original: (B, 3, H, W) in [0, 1]. negative_weight, positive_weight: (B,) in [0, 1], the share
    of people who gave that label, which scales each map (official code; ones for the paper's text).
    has_positive: (B,) bool; a sample without a positive keeps M^Neg whole (official code).
    """
    negative_map = residual_variation_map(negative, original, window=window, power=power, weight=negative_weight)
    positive_map = residual_variation_map(positive, original, window=window, power=power, weight=positive_weight)
    keep = (negative_map > positive_map) | ~_column(has_positive)
    return torch.where(keep, negative_map, torch.zeros_like(negative_map))


def negative_loss(sr: Tensor, negative: Tensor, indication: Tensor, has_negative: Tensor) -> Tensor:
    """L_neg = || M^Ind (.) (I^Neg - I^SR) ||_1 (Eq. 4), averaged over the pixels of each sample, then over the batch.

    sr, negative: (B, 3, H, W); indication: (B, 1, H, W), constant; has_negative: (B,) bool. A sample without a negative
    contributes 0 and still counts in the mean (official code). The total loss *subtracts* delta times this (Eq. 5).
    """
    per_sample = (indication.detach() * (negative - sr.float()).abs()).mean(dim=(1, 2, 3))  # (B,)
    return torch.where(has_negative, per_sample, torch.zeros_like(per_sample)).mean()


def _column(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return values[:, None, None, None]
