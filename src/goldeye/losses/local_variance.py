"""The variance in a window around each pixel, which HGGT's and LDL's maps are made of."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def local_variance(values: Tensor, window: int) -> Tensor:
    """Unbiased variance over window x window, reflect padding; (B, C, H, W) -> the same in float64 (MPS: float32)."""
    # E[x^2] - E[x]^2 cancels in float32 where the values are smooth, and a power would blow the error up there.
    # (MPS has no float64.)
    exact = values.float() if values.device.type == "mps" else values.double()
    padded = F.pad(exact, [window // 2] * 4, mode="reflect")
    mean = F.avg_pool2d(padded, window, stride=1)
    mean_of_squares = F.avg_pool2d(padded.square(), window, stride=1)
    count = window * window
    return (mean_of_squares - mean.square()).clamp_min(0) * (count / (count - 1))
