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
from goldeye.images.io import SUFFIXES, Loaded, find_images, image_size, open_picture, read_image
from goldeye.images.resize import matlab_resize, matlab_resize_scale
from goldeye.images.write import check_writable, write_image

__all__ = [
    "SUFFIXES",
    "FloatPicture",
    "Loaded",
    "Picture",
    "check_writable",
    "find_images",
    "from_tensor",
    "image_size",
    "luma_bt601",
    "matlab_resize",
    "matlab_resize_scale",
    "open_picture",
    "read_image",
    "rgb_to_lab",
    "to_float",
    "to_tensor",
    "to_uint8",
    "write_image",
]
