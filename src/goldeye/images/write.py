"""Writing picture files, whole or not at all: by libvips, strip by strip; plain PNG (png.py) and BMP by hand.

libvips writes with threads of its own. They stay in the process for the next picture, and a fork does not copy them: a
child of a process that has written would wait for them for ever. Such a child hands its pictures to a fresh
interpreter (about half a second each, and the memory once more); any other process writes at once.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from goldeye.errors import ImageError
from goldeye.files import atomic_path
from goldeye.images import exif as exif_blocks
from goldeye.images.colour import FloatPicture, Picture, to_eight_bit, to_uint8
from goldeye.images.io import SUFFIXES, reason, strips, to_srgb
from goldeye.images.png import write_png

# Pixels along a side. JPEG's own limit is 65,535, PNG's 2^31 - 1, but libjpeg and libpng read no more than these.
_MAX_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383, ".png": 1_000_000}
_MAX_BMP = 2**32 - 2**16  # bytes: the header counts them in 32 bits
EIGHT_BIT = (".jpg", ".jpeg", ".webp", ".bmp")
OPAQUE = (".jpg", ".jpeg", ".bmp")
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
    if bits > 8 and suffix in EIGHT_BIT:
        raise ImageError(f"'{path}' cannot be written: a {suffix} file holds 8 bits a channel, not {bits}.")
    if alpha and suffix in OPAQUE:
        raise ImageError(f"'{path}' cannot be written: a {suffix} file holds no alpha channel.")


def write_image(
    path: Path,
    picture: Picture | FloatPicture,
    *,
    alpha: Picture | None = None,
    grey: bool = False,
    icc: bytes | None = None,
    exif: bytes | None = None,
    software: str | None = None,
    quality: int = 95,
    durable: bool = True,
) -> None:
    """Write RGB (H, W, 3) in the format of the suffix, whole or not at all; ImageError if that cannot be done.

    uint8 and uint16 are written as they are, float32 in [0, 1] as 8 bit (NaN and Inf are refused). `alpha` is (H, W) of
    the same type, not premultiplied. `grey` stores one channel, the BT.601 luma (exactly the channels' value where they
    are equal). `icc` is the profile that the pixels are in: it is embedded, or, where the format or `grey` has no place
    for such a profile, the pixels are converted to sRGB. `exif` is written with orientation 1, since the pixels are
    upright; a block that cannot be read is left out. `software` says what made the picture: it is added to EXIF's
    Software entry (`read_software`). BMP has no place for EXIF, nor has a TIFF file of more than 3 GiB.
    Memory is needed for some rows only (not for WebP, whose encoder takes the whole picture, or for float32).
    `.png`, `.tif` and `.bmp` are lossless; `.jpg` and `.webp` are lossy with `quality` 1..100.
    `durable` as in `atomic_path`.
    """
    pixels = _integers(path, picture)
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
        raise ValueError(f"alpha {alpha.shape} of {alpha.dtype} does not fit {pixels.shape} of {pixels.dtype}")
    check_writable(path, *pixels.shape[:2], bits=8 * pixels.dtype.itemsize, alpha=alpha is not None)
    suffix = path.suffix.lower()
    exif = exif_blocks.upright(exif) if exif else None
    if software is not None:
        exif = exif_blocks.signed(exif, software)
    space = None  # the profile to convert from
    if icc is not None and not _holds_profile(suffix, icc, grey):
        space, icc = icc, None
    try:
        with atomic_path(path, durable=durable) as temporary:
            if (
                suffix == ".png"
                and pixels.dtype == np.uint8
                and not (alpha is not None or grey or space or icc or exif)
            ):
                with temporary.open("wb") as file:
                    write_png(file, cast("NDArray[np.uint8]", pixels))
                return
            encode = _elsewhere if _lost_threads and suffix != ".bmp" else _encode
            encode(temporary, pixels, alpha, grey, space, icc, exif, quality)
    except (OSError, pyvips.Error) as error:
        raise ImageError(f"'{path}' cannot be written: {reason(error)}.") from None


def encode_png(picture: Picture) -> bytes:
    """A PNG of 8 bits, for a page: (H, W, 3) → the file's bytes. No thread is started."""
    buffer = io.BytesIO()
    write_png(buffer, to_eight_bit(picture))
    return buffer.getvalue()


def encode_jpeg(picture: Picture, side: int, *, quality: int = 70) -> bytes:
    """A JPEG for a page, no side longer than `side`: (H, W, 3) → the file's bytes. No thread is started."""
    image = Image.fromarray(to_eight_bit(picture))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()


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


def _bands(pixels: Picture, alpha: Picture | None, grey: bool, space: bytes | None) -> Any:
    """The pyvips.Image to be stored, computed as it is read: colours out of `space`, their luma, alpha as last band."""
    image = _image(pixels)
    if space is not None:
        image = to_srgb(_named(image.extract_band(0)) if space[16:20] == b"GRAY" else image, space).copy()
        image.remove("icc-profile-data")
    if grey and image.bands == 3:
        image = _luma(image)
    elif not grey and image.bands == 1:
        image = image.bandjoin([image, image])
    if alpha is not None:
        image = image.bandjoin(_image(alpha))
    return _named(image)


def _luma(image: Any) -> Any:
    """BT.601 luma of the whole range, half rounded up: weights of 2^16 in all, so grey stays exact (as in Pillow)."""
    weighted = image.cast("double").recomb([[19595, 38470, 7471]])
    return weighted.linear(2**-16, 0.5).cast(image.format)  # casting cuts the fraction off


def _image(pixels: Picture) -> Any:
    """(H, W, 3) or (H, W) as libvips sees it, in the same memory."""
    if not any(pixels.strides):  # one value everywhere, as from np.broadcast_to: libvips needs no memory for it either
        height, width = pixels.shape[:2]
        kind = "uchar" if pixels.dtype == np.uint8 else "ushort"
        black = pyvips.Image.black(width, height, bands=pixels.size // (height * width))
        return _named((black + int(pixels.flat[0])).cast(kind))
    return _named(pyvips.Image.new_from_array(np.ascontiguousarray(pixels)))


def _named(image: Any) -> Any:
    """1 or 2 bands are called grey, 3 or 4 RGB."""
    kinds = ("b-w", "srgb") if image.format == "uchar" else ("grey16", "rgb16")
    return image.copy(interpretation=kinds[image.bands > 2])


def _encode(
    path: Path,
    pixels: Picture,
    alpha: Picture | None,
    grey: bool,
    space: bytes | None,
    icc: bytes | None,
    exif: bytes | None,
    quality: int,
) -> None:
    suffix = path.suffix.lower()
    image = _bands(pixels, alpha, grey, space)
    if suffix == ".bmp":
        _write_bmp(path, image)
        return
    global _has_threads
    _has_threads = True
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
            big = pixels.itemsize * image.width * image.height * image.bands > _BIG_TIFF
            image.tiffsave_target(target, compression="deflate", predictor="horizontal", bigtiff=big, keep=keep)
        else:
            image.jpegsave_target(target, Q=quality, keep=keep)
    if exif is not None and suffix in (".tif", ".tiff"):
        exif_blocks.into_tiff(path, exif)


def _write_bmp(path: Path, image: Any) -> None:
    """Rows of BGR, or of grey through a palette, from the bottom up, each padded to 4 bytes."""
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256)) if image.bands == 1 else b""
    start, row = 54 + len(palette), -(-image.width * image.bands // 4) * 4
    colours, dots = len(palette) // 4, 3780  # a metre: 96 an inch
    head = struct.pack("<2sIII", b"BM", start + row * image.height, 0, start)
    head += struct.pack("<IIIHHI", 40, image.width, image.height, 1, 8 * image.bands, 0)
    head += struct.pack("<IIIII", row * image.height, dots, dots, colours, colours)
    with path.open("wb") as file:
        file.write(head + palette)
        for _, strip in strips(image, upwards=True):
            rows = np.zeros((len(strip), row), np.uint8)
            for channel in range(image.bands):
                rows[:, channel : image.width * image.bands : image.bands] = strip[::-1, :, -1 - channel]
            file.write(rows.data)


def _elsewhere(path: Path, *work: Any) -> None:
    """`_encode` in a fresh interpreter, which has threads."""
    sent = pickle.dumps((path.absolute(), *work), protocol=5)
    command = [sys.executable, "-P", "-c", "from goldeye.images import write; write._serve()"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the same Goldeye
    done = subprocess.run(command, input=sent, capture_output=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise OSError(lines[-1] if lines else f"the writing process ended with status {done.returncode}")


def _serve() -> None:
    """Encode the one picture that `_elsewhere` sends."""
    try:
        _encode(*pickle.load(sys.stdin.buffer))
    except (OSError, pyvips.Error) as error:
        sys.exit(reason(error))
