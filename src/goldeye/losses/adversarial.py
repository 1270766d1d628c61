"""Adversarial terms on the discriminator's logits (any shape, such as (B, 1, H, W) of the U-Net discriminator)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def _bce(logits: Tensor, real: bool) -> Tensor:
    target = torch.ones_like(logits) if real else torch.zeros_like(logits)
    return F.binary_cross_entropy_with_logits(logits, target)


def _mse(logits: Tensor, real: bool) -> Tensor:
    return (logits - 1).square().mean() if real else logits.square().mean()


def generator_loss(
    kind: str, fake: Tensor, real: Tensor | None = None, *, mean: Callable[[Tensor], Tensor] = torch.mean
) -> Tensor:
    """What the generator minimises; kind: vanilla (BCE with logits), lsgan, ragan (ESRGAN Eq. 2: `real` is needed).

    ragan: each logit is seen relative to the mean of the other side, and the two halves weigh 0.5 each; `mean` takes it
    over more than this process's logits where a batch is spread over several.
    """
    fake = fake.float()
    if kind == "vanilla":
        return _bce(fake, True)
    if kind == "lsgan":
        return _mse(fake, True)
    assert real is not None, "ragan compares with the real logits"
    real = real.float().detach()
    return 0.5 * (_bce(real - mean(fake), False) + _bce(fake - mean(real), True))


def discriminator_loss(
    kind: str, real: Tensor, fake: Tensor, *, mean: Callable[[Tensor], Tensor] = torch.mean
) -> tuple[Tensor, Tensor]:
    """What the discriminator minimises, as its two summands (for real, for fake); `kind`, `mean` as there.

    ragan: the mean of the other side carries no gradient (as in ESRGAN's training code).
    """
    real, fake = real.float(), fake.float()
    if kind == "vanilla":
        return _bce(real, True), _bce(fake, False)
    if kind == "lsgan":
        return _mse(real, True), _mse(fake, False)
    return 0.5 * _bce(real - mean(fake.detach()), True), 0.5 * _bce(fake - mean(real.detach()), False)
