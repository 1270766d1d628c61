"""What the numbers of a picture mean: types, value ranges, and the two colour conversions the papers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from goldeye.errors import ImageError

if TYPE_CHECKING:
    import torch

Picture: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""A decoded picture: (H, W, 3), RGB, sRGB-encoded, 0..255 or 0..65535."""

FloatPicture: TypeAlias = npt.NDArray[np.float32]
"""A picture to compute with: (H, W, 3), RGB, sRGB-encoded, in [0, 1]."""

# BT.601, studio range: white is 235, black 16 (the luma that SR papers measure PSNR on).
_LUMA = np.array([65.481, 128.553, 24.966])

# Linear sRGB to CIE XYZ with the white of D65 (IEC 61966-2-1).
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_D65 = np.array([0.95047, 1.0, 1.08883])


def to_float(picture: Picture) -> FloatPicture:
    """uint8 or uint16 (H, W, 3) to float32 in [0, 1]."""
    return picture.astype(np.float32) / np.float32(255 if picture.dtype == np.uint8 else 65535)


def to_uint8(picture: FloatPicture) -> npt.NDArray[np.uint8]:
    """Float (H, W, 3) to uint8: clipped to [0, 1], then rounded to the nearest (half to even). NaN, Inf: ImageError."""
    if not np.isfinite(picture).all():
        raise ImageError("The picture holds NaN or infinite values.")
    levels: FloatPicture = np.rint(np.clip(picture, 0, 1) * np.float32(255))
    return levels.astype(np.uint8)


def to_tensor(picture: Picture | FloatPicture) -> torch.Tensor:
    """(H, W, 3), integer or float, to a torch float32 (1, 3, H, W) in [0, 1]."""
    import torch

    values: FloatPicture = to_float(picture) if np.issubdtype(picture.dtype, np.integer) else picture  # type: ignore[arg-type,assignment]
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))[None])


def from_tensor(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    """A torch (1, 3, H, W) or (3, H, W) in [0, 1], any float type and device, to uint8 (H, W, 3).

    NaN or Inf: ImageError.
    """
    if tensor.ndim == 4:
        if len(tensor) != 1:
            raise ValueError(f"one picture expected, not a batch of {len(tensor)}")
        tensor = tensor[0]
    tensor = tensor.detach().float()
    if not bool(tensor.isfinite().all()):
        raise ImageError("The picture holds NaN or infinite values.")
    # Rounded where it lies: a quarter of the bytes leave the GPU.
    values: Any = tensor.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(values)


def luma_bt601(picture: FloatPicture) -> npt.NDArray[np.float64]:
    """Studio-range luma Y of BT.601: RGB (H, W, 3) in [0, 1] to (H, W) in 16..235, unrounded."""
    luma: npt.NDArray[np.float64] = picture.astype(np.float64) @ _LUMA + 16
    return luma


def rgb_to_lab(picture: FloatPicture) -> npt.NDArray[np.float64]:
    """CIE 1976 L*a*b* of an sRGB picture under D65: (H, W, 3) in [0, 1] to L 0..100 and a, b about -100..100.

    The Euclidean distance of two such colours is ΔE*ab (CIE 1976).
    """
    encoded = picture.astype(np.float64)
    linear = np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92)
    ratio = linear @ _XYZ.T / _D65
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
