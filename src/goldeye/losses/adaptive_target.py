"""AdaTarget's pixel term: every patch of the SR picture may move a little before it is compared with its target.

"Tackling the Ill-Posedness of Super-Resolution through Adaptive Target Generation" (Jo et al., 2021), in the form of
its official code and HGGT's: not the target but the SR patch is moved.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from goldeye.errors import InvalidInput


def adapted(
    sr: Tensor, gt: Tensor, locnet: Callable[[Tensor], Tensor], *, sr_size: int = 7, gt_size: int = 9
) -> Tensor:
    """The SR picture with each patch moved to meet its target, as LocNet says.

    sr, gt: (B, 3, H, W) in [0, 1], H and W multiples of `sr_size`, else InvalidInput. Returns (B, 3, H, W), float32,
    with gradients to `sr` and to LocNet.
    """
    return move(sr, locate(sr, gt, locnet, sr_size=sr_size, gt_size=gt_size), sr_size=sr_size)


def locate(sr: Tensor, gt: Tensor, locnet: Callable[[Tensor], Tensor], *, sr_size: int = 7, gt_size: int = 9) -> Tensor:
    """LocNet's affine matrix for each of the N patches of each picture: (B·N, 2, 3), row by row of a picture.

    It sees the SR patch and the GT window around it, which at the picture's edge is filled by reflection.
    """
    require_whole_patches((sr.shape[2], sr.shape[3]), sr_size)
    windows = gt_windows(gt, sr_size=sr_size, gt_size=gt_size)
    return locnet(torch.cat([_cut(sr.float(), sr_size, sr_size), windows], dim=1))


def move(sr: Tensor, matrices: Tensor, *, sr_size: int = 7) -> Tensor:
    """Resample each patch of sr (B, 3, H, W) by its matrix of (B·N, 2, 3); pixels from outside repeat its border."""
    patches = resample(_cut(sr.float(), sr_size, sr_size), matrices, sr_size)
    return join(patches, (sr.shape[2], sr.shape[3]), sr_size)


def gt_windows(gt: Tensor, *, sr_size: int = 7, gt_size: int = 9) -> Tensor:
    """gt (B, 3, H, W) → (B·N, 3·gt_size²): the window around each patch, as LocNet takes it."""
    border = (gt_size - sr_size) // 2
    return _cut(F.pad(gt.float(), (border,) * 4, mode="reflect"), gt_size, sr_size)


def resample(patches: Tensor, matrices: Tensor, size: int) -> Tensor:
    """patches (P, 3·size²) seen through matrices (P, 2, 3) of `F.affine_grid` → (P, 3, size, size)."""
    pictures = patches.view(-1, 3, size, size)
    grid = F.affine_grid(matrices.float(), list(pictures.shape), align_corners=False)
    # A grid with NaN makes torch read outside the patch, which may end the process; the result shall be NaN, not that.
    moved = F.grid_sample(pictures, grid.nan_to_num(), padding_mode="border", align_corners=False)
    return moved + 0 * matrices.float().sum((1, 2)).view(-1, 1, 1, 1)


def join(patches: Tensor, sides: tuple[int, int], sr_size: int) -> Tensor:
    """patches (B·N, 3, sr_size, sr_size) side by side: (B, 3, H, W) for `sides` (H, W)."""
    count = (sides[0] // sr_size) * (sides[1] // sr_size)
    columns = patches.reshape(-1, count, 3 * sr_size**2).transpose(1, 2)
    return F.fold(columns, sides, sr_size, stride=sr_size)


def require_whole_patches(sides: tuple[int, int], sr_size: int) -> None:
    """Refuse pictures (H, W) that patches of `sr_size` do not cover."""
    if any(side % sr_size for side in sides):
        raise InvalidInput(
            f"AdaTarget cuts pictures into patches of {sr_size} x {sr_size}, of which {sides[0]} x {sides[1]} is no "
            "multiple.",
            hint=f"Take a crop whose side is a multiple of {sr_size} (and of the scale).",
        )


def _cut(picture: Tensor, size: int, stride: int) -> Tensor:
    """(B, 3, H, W) → (B·N, 3·size²), the patches row by row."""
    return F.unfold(picture, size, stride=stride).transpose(1, 2).flatten(0, 1)
