"""LDL's artifact map as a figure of a result."""

from __future__ import annotations

from typing import Any

from goldeye.evaluate.planes import AnyPicture, cropped_pair, require_size

WINDOW = 7

DEFINITION: dict[str, Any] = {
    "colour": "sRGB, residual summed over the channels",
    "range": "pictures in 0..1",
    "window": f"{WINDOW}x{WINDOW}, reflect padding, unbiased variance",
    "formula": "mean of LDL's map M (CVPR 2022, Eq. 3, as in its code): the local variance of R = sum |GT - SR|",
}


def artifact_energy(sr: AnyPicture, gt: AnyPicture, *, crop_border: int) -> float:
    """Mean of LDL's map M (Eq. 3) of a result against the ground truth (or a PSNR model's result), (H, W, 3) RGB.

    A residual that is the same everywhere (a tint) gives 0; one that changes between pixels, as artifacts do, much.
    """
    from goldeye.images import to_tensor
    from goldeye.losses.artifact_map import artifact_map

    sr, gt = cropped_pair(sr, gt, crop_border)
    require_size(sr, "The artifact energy", WINDOW)
    return float(artifact_map(to_tensor(sr), to_tensor(gt), stage="local", window=WINDOW).double().mean())
