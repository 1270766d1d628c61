"""The maps of one pair or group, under the papers' names, by the functions that training uses."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from goldeye.losses.artifact_map import artifact_map, nearer_than_averaged, patch_sigma, residual_map
from goldeye.losses.negative_map import indication_map, residual_variation_map
from goldeye.networks.blocks import pad_to_multiple
from goldeye.networks.edl import EDL

Array: TypeAlias = npt.NDArray[np.float32]
Maps: TypeAlias = dict[str, Array]
"""{name: float32 (H, W), or (C, H, W), or () for a number}."""


def ldl_maps(sr: Tensor, gt: Tensor, averaged: Tensor | None = None, *, window: int = 7, signed: bool = False) -> Maps:
    """LDL's Eq. 2-6 for a result, its GT, and what the averaged weights make: each (1, 3, H, W) in [0, 1].

    R, M, sigma_M (H, W) and the number sigma; with `averaged` also M_refine, and R1_less_R2: 1 where |R_sr| <
    |R_averaged|, else 0. `signed` as in `residual_map`.
    """
    with torch.inference_mode():
        residual = residual_map(sr, gt, signed=signed)
        found = {
            "R": residual,
            "sigma": patch_sigma(residual),
            "M": artifact_map(sr, gt, stage="local", window=window, signed=signed),
            "sigma_M": artifact_map(sr, gt, stage="scaled", window=window, signed=signed),
        }
        if averaged is not None:
            found["M_refine"] = artifact_map(sr, gt, averaged, window=window, signed=signed)
            found["R1_less_R2"] = nearer_than_averaged(sr, gt, averaged)
    return {
        name: _array(tensor[0, 0].reshape(()) if name == "sigma" else tensor[0, 0]) for name, tensor in found.items()
    }


def hggt_maps(
    original: Tensor,
    negative: Tensor,
    positive: Tensor | None = None,
    *,
    negative_weight: float = 1.0,
    positive_weight: float = 1.0,
) -> Maps:
    """HGGT's Eq. 3: R_Neg, M_Neg, M_Ind (H, W), and with a positive M_Pos; the pictures are (1, 3, H, W) in [0, 1].

    The weights, the shares of people who gave that label, scale M_Neg and M_Pos. Without a positive M_Ind is M_Neg.
    """
    weights = [torch.tensor([weight], dtype=torch.float32) for weight in (negative_weight, positive_weight)]
    with torch.inference_mode():
        found = {
            "R_Neg": residual_map(negative, original),
            "M_Neg": residual_variation_map(negative, original, weight=weights[0]),
        }
        if positive is not None:
            found["M_Pos"] = residual_variation_map(positive, original, weight=weights[1])
        found["M_Ind"] = indication_map(
            negative,
            original if positive is None else positive,
            original,
            negative_weight=weights[0],
            positive_weight=weights[1],
            has_positive=torch.tensor([positive is not None]),
        )
    return {name: _array(tensor[0, 0]) for name, tensor in found.items()}


def edl_maps(network: EDL, lr: Tensor) -> Maps:
    """EDL's Eq. 3, 4 for an LR picture (1, 3, h, w) in [0, 1] on the network's device.

    fused, out1, out2 (3, H, W), not clipped; M_alpha (C, H, W), the mask of each channel; and M_alpha_max (H, W), the
    largest of these. (Their mean over channels is 1/C everywhere, since the softmax is over the channels.)
    """
    padded = pad_to_multiple(lr, network.size_multiple)
    with torch.inference_mode():
        outputs = network.branches_and_mask(padded)
    height, width = (side * outputs[0].shape[2] // padded.shape[2] for side in lr.shape[2:])
    names = ("fused", "out1", "out2", "M_alpha")
    found = {name: _array(tensor[0, :, :height, :width]) for name, tensor in zip(names, outputs, strict=True)}
    return found | {"M_alpha_max": found["M_alpha"].max(axis=0)}


def _array(tensor: Tensor) -> Array:
    values: Array = tensor.float().contiguous().cpu().numpy()
    return values
