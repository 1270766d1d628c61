"""Picture files: reading, writing, finding. The only module that knows file formats.

PNG, JPEG and TIFF are decoded by libvips, WebP and BMP by Pillow (libvips' WebP decoder needs its threads, which a
forked data-loader worker does not have; its wheel has no BMP). Colour management is libvips' for all of them.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from goldeye.errors import ImageError, InvalidInput
from goldeye.files import atomic_path
from goldeye.images.colour import Picture

# Damaged files are reported by an exception; libvips would also print a line of its own on stderr.
os.environ.setdefault("VIPS_WARNING", "1")

import pyvips
from PIL import Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.WebPImagePlugin import WebPImageFile

# Each picture is decoded once: remembered operations would only hold memory and open files.
pyvips.cache_set_max(0)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

MAX_PIXELS = 500_000_000
"""Pictures with more pixels are refused before they are decoded (a small file can claim any size)."""

_MAX_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}  # the formats' own limits
_STRIP = 64  # rows decoded at a time


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture file to RGB (H, W, 3), uint8 or uint16: upright, sRGB, without alpha; the first frame only.

    An embedded ICC profile is converted to sRGB. Raises ImageError with one sentence that names the file: missing,
    empty, not a picture, truncated or damaged, more than `max_pixels`, samples other than 8 or 16 bit integers.
    """
    with _opened(path, max_pixels) as image:
        try:
            pixels = _decode(_to_srgb(image, path))
        except pyvips.Error as error:
            raise _damaged(path, error) from None
        return _upright(pixels, _orientation(image))


def image_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) of the upright picture, from the file's header. Errors as in `read_image`."""
    with _opened(path, max_pixels) as image:
        size = image.height, image.width
        return size if _orientation(image) < 5 else (size[1], size[0])


def write_image(path: Path, picture: Picture, *, quality: int = 95) -> None:
    """Write RGB (H, W, 3) in the format of the suffix, whole or not at all; ImageError if that cannot be done.

    `.png` and `.tif` are lossless for uint8 and uint16, `.bmp` for uint8; `.jpg` and `.webp` are lossy with `quality`
    1..100. uint16 is reduced to 8 bit for the formats that hold no more. Not for forked data-loader workers: libvips
    writes with threads of its own, which a fork does not copy (reading needs none).
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ImageError(f"'{path}' cannot be written: its ending must be one of {', '.join(SUFFIXES)}.")
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype not in (np.uint8, np.uint16) or picture.size == 0:
        raise ValueError(f"(H, W, 3) of uint8 or uint16 expected, not {picture.shape} of {picture.dtype}")
    if max(picture.shape) > _MAX_SIDE.get(suffix, 2**31):
        height, width = picture.shape[:2]
        raise ImageError(f"'{path}' cannot be written: {width} x {height} pixels are too many for a {suffix} file.")
    if suffix in (".jpg", ".jpeg", ".webp", ".bmp") and picture.dtype == np.uint16:
        picture = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(_encode(picture, suffix, quality))
    except (OSError, pyvips.Error) as error:
        raise ImageError(f"'{path}' cannot be written: {_reason(error)}.") from None


def find_images(folder: Path, *, recursive: bool = True) -> list[Path]:
    """The picture files of a folder by their endings, sorted by path; hidden files are passed over.

    A file gives [file], whatever its ending. InvalidInput for a missing path and for a folder without pictures.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InvalidInput(f"There is no file or folder '{folder}'.")
    found = [
        path
        for path in folder.glob("**/*" if recursive else "*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _hidden(path.relative_to(folder))
    ]
    if not found:
        raise InvalidInput(f"There are no pictures in '{folder}'.", hint=f"Goldeye reads {', '.join(SUFFIXES)}.")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


# Reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Any]:
    """The undecoded picture of a file as a pyvips.Image (the file stays open as long as the block runs)."""
    try:
        if path.is_dir():
            raise ImageError(f"'{path}' is a folder, not a picture.")
        with path.open("rb", buffering=0) as file:
            yield _header(path, file, max_pixels)
    except FileNotFoundError:
        raise ImageError(f"There is no picture '{path}'.") from None
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {_reason(error)}.") from None


def _header(path: Path, file: BinaryIO, max_pixels: int) -> Any:
    """Choose the decoder by the file's first bytes (endings lie), read the header, refuse what is too large."""
    start = file.read(16)
    file.seek(0)
    if not start:
        raise ImageError(f"'{path}' is empty (0 bytes).")
    try:
        if start.startswith(b"\x89PNG\r\n\x1a\n"):
            image = _vips(pyvips.Image.pngload_source, file)
        elif start.startswith(b"\xff\xd8\xff"):
            image = _vips(pyvips.Image.jpegload_source, file)
        elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            image = _vips(pyvips.Image.tiffload_source, file)
        elif start.startswith(b"RIFF") and start[8:12] == b"WEBP":
            return _pillow(path, WebPImageFile, file, max_pixels)
        elif start.startswith(b"BM"):
            return _pillow(path, BmpImageFile, file, max_pixels)
        else:
            raise ImageError(f"'{path}' is not a picture that Goldeye reads (PNG, JPEG, WebP, TIFF, BMP).")
    except pyvips.Error as error:
        raise _damaged(path, error) from None
    _check_size(path, image.width, image.height, max_pixels)
    return image


def _vips(load: Callable[..., Any], file: BinaryIO) -> Any:
    source = pyvips.Source.new_from_descriptor(file.fileno())
    return load(source, access="sequential", fail_on="error")


def _pillow(path: Path, decoder: type[Any], file: BinaryIO, max_pixels: int) -> Any:
    """Decode with Pillow and hand over to libvips with profile and orientation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about damage that it then works around
            frame = decoder(file)
            _check_size(path, frame.width, frame.height, max_pixels)
            profile, orientation = frame.info.get("icc_profile"), frame.getexif().get(0x0112, 1)
            image = pyvips.Image.new_from_array(np.asarray(frame.convert("RGB")))
    except ImageError:
        raise
    except Exception as error:  # Pillow's parsers let any kind through on damaged files
        raise _damaged(path, error) from None
    image = image.copy(interpretation="srgb")
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    if orientation in range(1, 9):
        image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"'{path}' has {width} x {height} pixels, more than the limit of {max_pixels:,}.")


def _to_srgb(image: Any, path: Path) -> Any:
    """Integer samples, without alpha, in sRGB: one band (grey) or three."""
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"'{path}' holds samples that are not 8 or 16 bit integers ({image.format}).")
    if image.hasalpha():
        image = image.extract_band(0, n=image.bands - 1)
    deep = image.format == "ushort"
    if _has_other_profile(image):
        try:
            return image.icc_transform("srgb", embedded=True, intent="relative", depth=16 if deep else 8)
        except pyvips.Error:
            pass  # a broken profile, or one for another kind of picture: read as if there were none
    if image.interpretation == "cmyk":
        image = image.colourspace("rgb16" if deep else "srgb")
    if image.bands not in (1, 3):
        raise ImageError(f"'{path}' has {image.bands} channels; grey, RGB and CMYK pictures are read.")
    return image


def _has_other_profile(image: Any) -> bool:
    """True if an ICC profile is embedded that is not sRGB itself (a round trip through which would cost ±1)."""
    if image.get_typeof("icc-profile-data") == 0:
        return False
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.get("icc-profile-data")))
        return not ImageCms.getProfileDescription(profile).startswith("sRGB")
    except (ImageCms.PyCMSError, OSError):
        return False


def _decode(image: Any) -> Picture:
    """RGB pixels (H, W, 3), decoded strip by strip in this thread (libvips' own threads do not survive a fork)."""
    region = pyvips.Region.new(image)
    size = image.height, image.width, 3
    pixels: Picture = np.empty(size, np.uint16) if image.format == "ushort" else np.empty(size, np.uint8)
    for top in range(0, image.height, _STRIP):
        rows = min(_STRIP, image.height - top)
        strip = np.frombuffer(region.fetch(0, top, image.width, rows), pixels.dtype)
        pixels[top : top + rows] = strip.reshape(rows, image.width, image.bands)  # one band fills all three
    return pixels


def _orientation(image: Any) -> int:
    """The EXIF/TIFF orientation 1..8."""
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def _upright(pixels: Picture, orientation: int) -> Picture:
    """Turn and mirror stored pixels (H, W, C) as EXIF orientation 1..8 asks."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels.copy() if orientation > 1 else pixels


# Writing ---------------------------------------------------------------------------------------------------------


def _encode(picture: Picture, suffix: str, quality: int) -> bytes:
    if suffix == ".bmp":
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "BMP")
        return buffer.getvalue()
    image = pyvips.Image.new_from_array(np.ascontiguousarray(picture))
    if suffix == ".png":
        image = image.copy(interpretation="rgb16" if picture.dtype == np.uint16 else "srgb")
        # "up" with fast deflate beats no filter in both time and size on photographs, and a filter search in time.
        data = image.pngsave_buffer(compression=1, filter="up")
    elif suffix == ".webp":
        data = image.webpsave_buffer(Q=quality)
    elif suffix in (".tif", ".tiff"):
        data = image.tiffsave_buffer(compression="deflate", predictor="horizontal")
    else:
        data = image.jpegsave_buffer(Q=quality)
    return bytes(data)


def _damaged(path: Path, error: Exception) -> ImageError:
    return ImageError(f"'{path}' is truncated or damaged: {_reason(error)}.")


def _reason(error: Exception) -> str:
    """The first line of a library's message, without the file name it may repeat and without a closing stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    detail = getattr(error, "detail", "") or str(error)
    if isinstance(detail, bytes):
        detail = detail.decode("utf-8", "replace")
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
