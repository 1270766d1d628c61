"""Pictures: the only place that knows files and colour."""

from __future__ import annotations

from goldeye.images.colour import (
    FloatPicture,
    Picture,
    from_tensor,
    luma_bt601,
    premultiply,
    rgb_to_lab,
    to_eight_bit,
    to_float,
    to_integers,
    to_tensor,
    to_uint8,
    unpremultiply,
)
from goldeye.images.io import SUFFIXES, Loaded, find_images, image_size, open_picture, read_image, read_software
from goldeye.images.resize import matlab_resize, matlab_resize_scale, resize_into, resize_rows
from goldeye.images.spool import spool
from goldeye.images.write import check_writable, encode_jpeg, encode_png, write_image

__all__ = [
    "SUFFIXES",
    "FloatPicture",
    "Loaded",
    "Picture",
    "check_writable",
    "encode_jpeg",
    "encode_png",
    "find_images",
    "from_tensor",
    "image_size",
    "luma_bt601",
    "matlab_resize",
    "matlab_resize_scale",
    "open_picture",
    "premultiply",
    "read_image",
    "read_software",
    "resize_into",
    "resize_rows",
    "rgb_to_lab",
    "spool",
    "to_eight_bit",
    "to_float",
    "to_integers",
    "to_tensor",
    "to_uint8",
    "unpremultiply",
    "write_image",
]
