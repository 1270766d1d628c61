"""Writing picture files, whole or not at all: by libvips, BMP by Pillow.

libvips writes with threads of its own. They stay in the process for the next picture, and a fork does not copy them: a
child of a process that has written would wait for them for ever. Such a child hands its pictures to a fresh
interpreter (about half a second each); any other process writes at once.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pyvips
from PIL import Image

from goldeye.errors import ImageError
from goldeye.files import atomic_path
from goldeye.images import exif as exif_blocks
from goldeye.images.colour import FloatPicture, Picture, to_uint8
from goldeye.images.io import SUFFIXES, decode, reason, three_bands, to_srgb

# Pixels along a side. JPEG's own limit is 65,535, PNG's 2^31 - 1, but libjpeg and libpng read no more than these.
_MAX_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383, ".png": 1_000_000}
_MAX_BMP = 2**32 - 2**16  # bytes: the header counts them in 32 bits
_EIGHT_BIT = (".jpg", ".jpeg", ".webp", ".bmp")
_OPAQUE = (".jpg", ".jpeg", ".bmp")
_BIG_TIFF = 3 * 2**30  # bytes of samples from which a TIFF file gets 64-bit offsets

_has_threads = False  # this process has written, or the one it was forked from
_lost_threads = False  # … and they stayed there


def _after_fork() -> None:
    global _lost_threads
    _lost_threads = _has_threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def check_writable(path: Path, height: int, width: int, *, bits: int = 8, alpha: bool = False) -> None:
    """Refuse (ImageError) a picture that the format of `path` cannot hold: to be asked before the work starts.

    PNG sides reach 1,000,000 pixels, JPEG 65,500, WebP 16,383; 16 bits only in PNG and TIFF; no alpha in JPEG and BMP.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ImageError(f"'{path}' cannot be written: its ending must be one of {', '.join(SUFFIXES)}.")
    if path.is_dir():
        raise ImageError(f"'{path}' cannot be written: it is a folder.")
    limit = _MAX_SIDE.get(suffix, 2**31 - 1)
    if max(height, width) > limit:
        raise ImageError(
            f"'{path}' cannot be written: {width} x {height} pixels are too many for a {suffix} file"
            f" (at most {limit:,} a side)."
        )
    if suffix == ".bmp" and 3 * (width + 1) * height > _MAX_BMP:
        raise ImageError(f"'{path}' cannot be written: {width} x {height} pixels are more than 4 GiB of a .bmp file.")
    if bits > 8 and suffix in _EIGHT_BIT:
        raise ImageError(f"'{path}' cannot be written: a {suffix} file holds 8 bits a channel, not {bits}.")
    if alpha and suffix in _OPAQUE:
        raise ImageError(f"'{path}' cannot be written: a {suffix} file holds no alpha channel.")


def write_image(
    path: Path,
    picture: Picture | FloatPicture,
    *,
    alpha: Picture | None = None,
    grey: bool = False,
    icc: bytes | None = None,
    exif: bytes | None = None,
    quality: int = 95,
) -> None:
    """Write RGB (H, W, 3) in the format of the suffix, whole or not at all; ImageError if that cannot be done.

    uint8 and uint16 are written as they are, float32 in [0, 1] as 8 bit (NaN and Inf are refused). `alpha` is (H, W) of
    the same type, not premultiplied. `grey` stores one channel, the BT.601 luma (exactly the channels' value where they
    are equal). `icc` is the profile that the pixels are in: it is embedded, or, where the format or `grey` has no place
    for such a profile, the pixels are converted to sRGB. `exif` is written with orientation 1, since the pixels are
    upright; a block that cannot be read is left out, and BMP has no place for any.
    `.png`, `.tif` and `.bmp` are lossless; `.jpg` and `.webp` are lossy with `quality` 1..100.
    """
    pixels = _integers(path, picture)
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
        raise ValueError(f"alpha {alpha.shape} of {alpha.dtype} does not fit {pixels.shape} of {pixels.dtype}")
    check_writable(path, *pixels.shape[:2], bits=8 * pixels.dtype.itemsize, alpha=alpha is not None)
    suffix = path.suffix.lower()
    exif = exif_blocks.upright(exif) if exif else None
    try:
        if icc is not None and not _holds_profile(suffix, icc, grey):
            pixels, icc = _in_srgb(pixels, icc), None
        bands = _luma(pixels)[..., None] if grey else pixels
        if alpha is not None:
            bands = cast("Picture", np.concatenate([bands, alpha[..., None]], axis=2))
        with atomic_path(path) as temporary:
            if _lost_threads and suffix != ".bmp":
                _elsewhere(temporary, bands, icc, exif, quality)
            else:
                _encode(temporary, bands, icc, exif, quality)
    except (OSError, pyvips.Error) as error:
        raise ImageError(f"'{path}' cannot be written: {reason(error)}.") from None


def _integers(path: Path, picture: Picture | FloatPicture) -> Picture:
    """What can be written as it is."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(f"(H, W, 3) expected, not {picture.shape}")
    if picture.dtype == np.float32:
        try:
            return to_uint8(cast("FloatPicture", picture))
        except ImageError as error:
            raise ImageError(f"'{path}' cannot be written: {error.message}") from None
    if picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"uint8, uint16 or float32 expected, not {picture.dtype}")
    return cast("Picture", picture)


def _holds_profile(suffix: str, icc: bytes, grey: bool) -> bool:
    """Whether a file of this format and kind can carry the profile (bytes 16-19 of which name its colour space)."""
    space = b"GRAY" if grey and suffix != ".webp" else b"RGB "
    return suffix != ".bmp" and icc[16:20] == space


def _in_srgb(picture: Picture, icc: bytes) -> Picture:
    """Pixels (H, W, 3) of another RGB or grey space in sRGB."""
    bands = picture[..., :1] if icc[16:20] == b"GRAY" else picture
    return three_bands(decode(to_srgb(_image(bands), icc)))


def _luma(picture: Picture) -> Picture:
    """BT.601 luma of the whole range, (H, W, 3) → (H, W), in integers: weights of 2^16 in all, so grey stays exact."""
    red, green, blue = (picture[..., channel].astype(np.uint32) for channel in range(3))
    return cast("Picture", ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(picture.dtype))


def _image(bands: Picture) -> pyvips.Image:
    """(H, W, 1..4) as libvips sees it: grey or RGB, each with or without alpha."""
    kind = "grey16" if bands.shape[2] < 3 else "rgb16"
    if bands.dtype == np.uint8:
        kind = "b-w" if bands.shape[2] < 3 else "srgb"
    return pyvips.Image.new_from_array(np.ascontiguousarray(bands)).copy(interpretation=kind)


def _encode(path: Path, bands: Picture, icc: bytes | None, exif: bytes | None, quality: int) -> None:
    suffix = path.suffix.lower()
    if suffix == ".bmp":
        Image.fromarray(bands[..., 0] if bands.shape[2] == 1 else bands).save(path, "BMP")
        return
    global _has_threads
    _has_threads = True
    image = _image(bands)
    if icc is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    if exif is not None:
        image.set_type(pyvips.GValue.blob_type, "exif-data", exif)
    keep = "icc" if exif is None else "all"  # else libvips makes up an EXIF block
    # Opened here: the reasons why it cannot be come as OSError, and libvips takes no part of the name for an option.
    with path.open("w+b", buffering=0) as file:
        target = pyvips.Target.new_to_descriptor(file.fileno())
        if suffix == ".png":
            # "up" with fast deflate beats no filter in both time and size on photographs, and a filter search in time.
            image.pngsave_target(target, compression=1, filter="up", keep=keep)
        elif suffix == ".webp":
            image.webpsave_target(target, Q=quality, exact=True, keep=keep)
        elif suffix in (".tif", ".tiff"):
            big = bands.nbytes > _BIG_TIFF
            image.tiffsave_target(target, compression="deflate", predictor="horizontal", bigtiff=big, keep=keep)
        else:
            image.jpegsave_target(target, Q=quality, keep=keep)
    if exif is not None and suffix in (".tif", ".tiff"):
        exif_blocks.into_tiff(path, exif)


def _elsewhere(path: Path, bands: Picture, icc: bytes | None, exif: bytes | None, quality: int) -> None:
    """`_encode` in a fresh interpreter, which has threads."""
    work = pickle.dumps((path.absolute(), bands, icc, exif, quality), protocol=5)
    command = [sys.executable, "-P", "-c", "from goldeye.images import write; write._serve()"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the same Goldeye
    done = subprocess.run(command, input=work, capture_output=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise OSError(lines[-1] if lines else f"the writing process ended with status {done.returncode}")


def _serve() -> None:
    """Encode the one picture that `_elsewhere` sends."""
    try:
        _encode(*pickle.load(sys.stdin.buffer))
    except (OSError, pyvips.Error) as error:
        sys.exit(reason(error))
