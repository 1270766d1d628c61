"""What the numbers of a picture mean: types, value ranges, alpha, and the two colour conversions the papers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from goldeye.errors import ImageError

if TYPE_CHECKING:
    import torch

Picture: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""A decoded picture: (H, W, 3), RGB, sRGB-encoded, 0..255 or 0..65535."""

FloatPicture: TypeAlias = npt.NDArray[np.float32]
"""A picture to compute with: (H, W, 3), RGB, sRGB-encoded, in [0, 1]."""

Depth: TypeAlias = type[np.uint8] | type[np.uint16] | np.dtype[Any]
"""uint8 or uint16."""

# BT.601, studio range: white is 235, black 16 (the luma that SR papers measure PSNR on).
_LUMA = np.array([65.481, 128.553, 24.966])

# Linear sRGB to CIE XYZ with the white of D65 (IEC 61966-2-1).
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_D65 = np.array([0.95047, 1.0, 1.08883])


def to_float(picture: Picture) -> FloatPicture:
    """uint8 or uint16 (H, W, 3) to float32 in [0, 1]."""
    return picture.astype(np.float32) / np.float32(255 if picture.dtype == np.uint8 else 65535)


def as_float(picture: Picture | FloatPicture) -> FloatPicture:
    """Integers as `to_float`; floats as they are."""
    if np.issubdtype(picture.dtype, np.integer):
        return to_float(cast("Picture", picture))
    return cast("FloatPicture", picture)


def to_integers(picture: FloatPicture, dtype: Depth) -> Picture:
    """Floats of any shape to uint8 or uint16: clipped to [0, 1], scaled, rounded to the nearest (half to even).

    NaN or Inf: ImageError.
    """
    if not np.isfinite(picture).all():
        raise ImageError("The picture holds NaN or infinite values.")
    levels = np.clip(picture, 0, 1) * np.float32(np.iinfo(dtype).max)
    return cast("Picture", np.rint(levels, out=levels).astype(dtype))


def to_uint8(picture: FloatPicture) -> npt.NDArray[np.uint8]:
    """`to_integers` for 8 bit."""
    return cast("npt.NDArray[np.uint8]", to_integers(picture, np.uint8))


def to_eight_bit(picture: Picture) -> npt.NDArray[np.uint8]:
    """uint16 of any shape to the nearest uint8 (a difference of 257 levels is one of 1); uint8 as it is."""
    if picture.dtype == np.uint8:
        return cast("npt.NDArray[np.uint8]", picture)
    return ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)


def premultiply(pixels: Picture | FloatPicture, alpha: Picture | FloatPicture) -> FloatPicture:
    """Colours (H, W, 3) times their opacity (H, W), each integer or in [0, 1], to float32 in [0, 1].

    So weighted, a filter takes nothing from colours that cannot be seen (no fringes around what can).
    """
    return as_float(pixels) * as_float(alpha)[..., None]


def unpremultiply(pixels: FloatPicture, alpha: FloatPicture) -> FloatPicture:
    """Premultiplied colours (H, W, 3) over their opacity (H, W), clipped to [0, 1]; 0 where alpha is 0 (or below)."""
    opacity = alpha[..., None]
    with np.errstate(over="ignore"):  # by a next to transparent alpha; clipped
        colours = np.divide(pixels, opacity, out=np.zeros_like(pixels), where=opacity > 0)
    return np.clip(colours, 0, 1, out=colours)


def to_tensor(picture: Picture | FloatPicture) -> torch.Tensor:
    """(H, W, 3), integer or float, to a torch float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(as_float(picture).transpose(2, 0, 1))[None])


def from_tensor(tensor: torch.Tensor, dtype: Depth = np.uint8) -> Picture:
    """A torch (1, 3, H, W) or (3, H, W) in [0, 1], any float type and device, to (H, W, 3) as `to_integers`.

    NaN or Inf: ImageError.
    """
    import torch

    if tensor.ndim == 4:
        if len(tensor) != 1:
            raise ValueError(f"one picture expected, not a batch of {len(tensor)}")
        tensor = tensor[0]
    tensor = tensor.detach().float()
    if not bool(tensor.isfinite().all()):
        raise ImageError("The picture holds NaN or infinite values.")
    levels = tensor.clamp(0, 1).mul(np.iinfo(dtype).max).round()
    # Made integers where they lie: of 8 bits a quarter of the bytes leave the GPU. Few devices convert to uint16.
    levels = levels.to(torch.uint8 if dtype == np.uint8 else torch.int32)
    values: Any = levels.permute(1, 2, 0).cpu().numpy()
    return cast("Picture", np.ascontiguousarray(values, dtype))


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
