"""Pictures: the only place that knows files and colour."""

from __future__ import annotations

from goldeye.images.colour import (
    FloatPicture,
    Picture,
    from_tensor,
    luma_bt601,
    rgb_to_lab,
    to_float,
    to_tensor,
    to_uint8,
)
from goldeye.images.io import SUFFIXES, find_images, image_size, read_image, write_image
from goldeye.images.resize import matlab_resize, matlab_resize_scale

__all__ = [
    "SUFFIXES",
    "FloatPicture",
    "Picture",
    "find_images",
    "from_tensor",
    "image_size",
    "luma_bt601",
    "matlab_resize",
    "matlab_resize_scale",
    "read_image",
    "rgb_to_lab",
    "to_float",
    "to_tensor",
    "to_uint8",
    "write_image",
]
