"""Picture files: finding and reading. With `write`, the only module that knows file formats.

PNG, JPEG and TIFF are decoded by libvips (the kind of PNG that Goldeye writes by png.py), WebP and BMP by Pillow
(libvips' WebP decoder needs its threads, which a forked data-loader worker does not have; its wheel has no BMP). Colour
management is libvips' for all of them.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from goldeye.errors import ImageError, InvalidInput
from goldeye.images import exif
from goldeye.images.colour import Depth, Picture
from goldeye.images.png import read_png

# Damaged files are reported by an exception; libvips would also print a line of its own on stderr.
os.environ.setdefault("VIPS_WARNING", "1")

import pyvips
from PIL import ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.WebPImagePlugin import WebPImageFile

# pyvips logs from callbacks in C, in which Python also runs signal handlers, and drops what they raise: Ctrl-C would be
# lost. Its messages are for its own developers; errors come as exceptions all the same.
if hasattr(pyvips, "_remove_log_handler"):
    pyvips._remove_log_handler()

# Each picture is decoded once: remembered operations would only hold memory and open files.
pyvips.cache_set_max(0)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

MAX_PIXELS = 500_000_000
"""Pictures with more pixels are refused before they are decoded (a small file can claim any size).

The environment variable GOLDEYE_MAX_PIXELS sets another limit.
"""

Make: TypeAlias = Callable[[tuple[int, ...], Depth], Picture]
"""(shape, type) → an array to be filled, its first values of no meaning."""

STRIP = 64  # rows decoded at a time


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture with what a writer needs to keep its kind: the keywords of `write_image`."""

    pixels: Picture
    """(H, W, 3), upright, uint8 or uint16; RGB in the space of `icc`, or sRGB where that is None."""
    alpha: Picture | None
    """(H, W), the same type, `pixels` not premultiplied by it; None for an opaque kind of picture."""
    grey: bool
    """Whether the file stores one channel (the three of `pixels` are then equal)."""
    icc: bytes | None
    """The embedded profile: of an RGB space, or of a grey one where `grey`."""
    exif: bytes | None
    """The EXIF block, beginning with "Exif", its orientation 1; without thumbnail."""


def read_image(path: Path, *, max_pixels: int | None = None, min_side: int = 1) -> Picture:
    """Decode a picture file to RGB (H, W, 3), uint8 or uint16: upright, sRGB, without alpha; the first frame only.

    An embedded ICC profile is converted to sRGB. Further frames or pages are announced by a warning. Raises ImageError
    with one sentence that names the file: missing, empty, not a picture, truncated or damaged, more than `max_pixels`
    (default: GOLDEYE_MAX_PIXELS or 500 million), a side below `min_side`, samples other than 8 or 16 bit integers.
    """
    return _load(path, max_pixels, min_side, srgb=True, into=np.empty).pixels


def open_picture(
    path: Path, *, max_pixels: int | None = None, min_side: int = 1, srgb: bool = False, into: Make | None = None
) -> Loaded:
    """Decode a picture file with alpha, colour profile, EXIF and kind. Errors and warnings as in `read_image`.

    Pixels keep their colour space: written again with the same profile they mean the same colours, and nothing of a
    wide gamut is lost on the way through sRGB. CMYK alone becomes sRGB. A profile that is damaged or made for another
    kind of picture is left out. XMP and IPTC are not kept.
    With `srgb` the pixels become sRGB as in `read_image`, and `icc` is None. `into` makes the arrays that are filled,
    (H, W, 3) and (H, W): no memory of the picture's size is needed beside them, except for interlaced PNG, progressive
    JPEG, WebP and BMP files.
    """
    return _load(path, max_pixels, min_side, srgb=srgb, into=into or np.empty)


def image_size(path: Path, *, max_pixels: int | None = None) -> tuple[int, int]:
    """(height, width) of the upright picture, from the file's header. Errors as in `read_image`."""
    with _opened(path, max_pixels, 1) as opened:
        return opened.upright_size


def read_software(path: Path) -> str | None:
    """What the file's header says made it (EXIF's Software); None where it says nothing or cannot be read."""
    try:
        with _opened(path, sys.maxsize, 1) as opened:
            return exif.software(opened.exif) if opened.exif else None
    except ImageError:
        return None


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


# Opening ---------------------------------------------------------------------------------------------------------


@dataclass
class _Opened:
    """An undecoded picture and what its file says about it."""

    width: int
    height: int
    image: Callable[[], Any]
    """→ a pyvips.Image that is decoded as it is read, from top to bottom, or already is."""
    orientation: int
    """EXIF's and TIFF's: 1..8."""
    frames: int
    exif: bytes | None

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width)"""
        return (self.height, self.width) if self.orientation < 5 else (self.width, self.height)


@contextmanager
def _opened(path: Path, max_pixels: int | None, min_side: int) -> Iterator[_Opened]:
    """The undecoded picture of a file (which stays open as long as the block runs); every refusal is an ImageError."""
    limit = _pixel_limit() if max_pixels is None else max_pixels
    try:
        if path.is_dir():
            raise ImageError(f"'{path}' is a folder, not a picture.")
        with path.open("rb", buffering=0) as file:
            opened = _header(path, file, limit)
            if min(opened.width, opened.height) < min_side:
                size = f"{opened.width} x {opened.height}"
                raise ImageError(f"'{path}' has {size} pixels; each side needs at least {min_side}.")
            yield opened
    except FileNotFoundError:
        raise ImageError(f"There is no picture '{path}'.") from None
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {reason(error)}.") from None
    except pyvips.Error as error:
        raise ImageError(f"'{path}' is truncated or damaged: {reason(error)}.") from None
    except MemoryError:
        raise ImageError(f"'{path}' does not fit into memory.") from None


def _pixel_limit() -> int:
    limit = os.environ.get("GOLDEYE_MAX_PIXELS", str(MAX_PIXELS))
    if not limit.isdecimal():
        raise InvalidInput(f"GOLDEYE_MAX_PIXELS must be a number of pixels, not '{limit}'.")
    return int(limit)


def _header(path: Path, file: BinaryIO, limit: int) -> _Opened:
    """Choose the decoder by the file's first bytes (endings lie), read the header, refuse what is too large."""
    start = file.read(16)
    file.seek(0)
    if not start:
        raise ImageError(f"'{path}' is empty (0 bytes).")
    frames, block = 1, None
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        frames = _png_frames(_reader(file))
        image = _vips(pyvips.Image.pngload_source, file)
    elif start.startswith(b"\xff\xd8\xff"):
        image = _vips(pyvips.Image.jpegload_source, file)
    elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        block = exif.of_tiff(_reader(file))
        image = _vips(pyvips.Image.tiffload_source, file)
        frames = int(image.get("n-pages")) if image.get_typeof("n-pages") else 1
    elif start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return _pillow(path, WebPImageFile, file, limit)
    elif start.startswith(b"BM"):
        return _pillow(path, BmpImageFile, file, limit)
    else:
        raise ImageError(f"'{path}' is not a picture that Goldeye reads (PNG, JPEG, WebP, TIFF, BMP).")
    _check_size(path, image.width, image.height, limit)
    if image.get_typeof("exif-data"):
        block = exif.upright(image.get("exif-data"))
    turn = int(image.get("orientation")) if image.get_typeof("orientation") else 1
    return _Opened(image.width, image.height, lambda: image, turn, frames, block)


def _vips(load: Callable[..., Any], file: BinaryIO) -> Any:
    file.seek(0)
    source = pyvips.Source.new_from_descriptor(file.fileno())
    return load(source, access="sequential", fail_on="error")


def _reader(file: BinaryIO) -> exif.Read:
    size = file.seek(0, os.SEEK_END)

    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(min(length, size))  # a damaged file may ask for gigabytes

    return read


def _png_frames(read: exif.Read) -> int:
    """How many frames an animated PNG announces (in a chunk of its own, before its picture data)."""
    offset = 8
    for _ in range(1000):  # far more chunks than come before the picture data
        head = read(offset, 12)
        if len(head) < 12 or head[4:8] == b"IDAT":
            break
        if head[4:8] == b"acTL":
            return int.from_bytes(head[8:12], "big")
        offset += 12 + int.from_bytes(head[:4], "big")
    return 1


def _pillow(path: Path, decoder: type[Any], file: BinaryIO, limit: int) -> _Opened:
    """Open with Pillow, to be decoded by Pillow too."""
    with _pillow_errors(path):
        frame = decoder(file)
        _check_size(path, frame.width, frame.height, limit)
        turn, block = frame.getexif().get(exif.ORIENTATION), frame.info.get("exif")
        turn = turn if turn in range(1, 9) else 1
        frames = getattr(frame, "n_frames", 1)
        block = exif.upright(block) if block else None
        return _Opened(frame.width, frame.height, lambda: _from_pillow(path, frame), turn, frames, block)


def _from_pillow(path: Path, frame: Any) -> Any:
    """Decode and hand over to libvips with the profile."""
    with _pillow_errors(path):
        alpha = frame.has_transparency_data
        mode = "RGBA" if alpha else "L" if frame.mode in ("1", "L") else "RGB"
        profile = frame.info.get("icc_profile")
        pixels = np.asarray(frame if frame.mode == mode else frame.convert(mode))
    image = pyvips.Image.new_from_array(pixels, interpretation="b-w" if mode == "L" else "srgb")
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about damage that it then works around
            yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's parsers let any kind through on damaged files
        raise ImageError(f"'{path}' is truncated or damaged: {reason(error)}.") from None


def _check_size(path: Path, width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise ImageError(
            f"'{path}' has {width} x {height} pixels, more than the limit of {limit:,}.",
            hint="The environment variable GOLDEYE_MAX_PIXELS sets another limit.",
        )


# Decoding --------------------------------------------------------------------------------------------------------


def _load(path: Path, max_pixels: int | None, min_side: int, *, srgb: bool, into: Make) -> Loaded:
    with _opened(path, max_pixels, min_side) as opened:
        image = opened.image()
        if image.format not in ("uchar", "ushort"):
            raise ImageError(f"'{path}' holds samples that are not 8 or 16 bit integers ({image.format}).")
        alpha = image.extract_band(image.bands - 1) if image.hasalpha() else None
        colours = image if alpha is None else image.extract_band(0, n=image.bands - 1)
        if colours.bands not in (1, 3) and not (colours.interpretation == "cmyk" and colours.bands == 4):
            raise ImageError(f"'{path}' has {colours.bands} channels; grey, RGB and CMYK pictures are read.")
        grey = colours.bands == 1
        profile = _profile(image)
        if colours.interpretation == "cmyk" or (srgb and profile and not is_srgb(profile)):
            colours, profile = to_srgb(colours, profile), None
            image = colours if alpha is None else colours.bandjoin(alpha)
        kept = None if srgb else _fitting(profile, grey)
        size, dtype = opened.upright_size, np.uint16 if image.format == "ushort" else np.uint8
        pixels, opacity = into((*size, 3), dtype), None if alpha is None else into(size, dtype)
        if opacity is not None or not _read_plain(path, pixels):
            _decode(
                image,
                _as_stored(pixels, opened.orientation),
                None if opacity is None else _as_stored(opacity, opened.orientation),
            )
        if opened.frames > 1:
            warnings.warn(f"'{path}' holds {opened.frames} pictures; the first is read.", stacklevel=3)
        return Loaded(pixels, opacity, grey, kept, opened.exif)


def _read_plain(path: Path, pixels: Picture) -> bool:
    """Fill 8-bit `pixels` without libvips, twice as fast, if the file is a PNG as `write_image` writes it."""
    if pixels.dtype != np.uint8 or not pixels.flags.c_contiguous:
        return False
    with path.open("rb") as file:
        return read_png(file, cast("NDArray[np.uint8]", pixels))


def _profile(image: Any) -> bytes | None:
    """The embedded ICC profile if it can be read at all."""
    if not image.get_typeof("icc-profile-data"):
        return None
    profile = bytes(image.get("icc-profile-data"))
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError):
        return None
    return profile


def _fitting(profile: bytes | None, grey: bool) -> bytes | None:
    """The profile if it describes pictures of this kind (bytes 16-19 of an ICC profile name the colour space)."""
    return profile if profile and profile[16:20] == (b"GRAY" if grey else b"RGB ") else None


def is_srgb(profile: bytes) -> bool:
    """Whether an ICC profile is sRGB itself (a round trip through which would cost ±1)."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False
    return name.startswith("sRGB")


def to_srgb(image: Any, profile: bytes | None) -> Any:
    """A pyvips.Image of one, three or four (CMYK) bands in sRGB; a profile that does not fit counts as none."""
    deep = image.format == "ushort"
    if profile is not None:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        try:
            return image.icc_transform("srgb", embedded=True, intent="relative", depth=16 if deep else 8)
        except pyvips.Error:
            pass
    return image.colourspace("rgb16" if deep else "srgb") if image.interpretation == "cmyk" else image


def strips(image: Any, *, upwards: bool = False) -> Iterator[tuple[int, Picture]]:
    """(first row, pixels (up to STRIP, W, bands)) of a pyvips.Image from the top, or `upwards` from the bottom.

    Decoded in this thread: libvips' own do not survive a fork.
    """
    region = pyvips.Region.new(image)
    dtype = np.uint16 if image.format == "ushort" else np.uint8
    tops = range(0, image.height, STRIP)
    for top in reversed(tops) if upwards else tops:
        rows = min(STRIP, image.height - top)
        strip: Any = np.frombuffer(region.fetch(0, top, image.width, rows), dtype)
        yield top, strip.reshape(rows, image.width, image.bands)


def _decode(image: Any, pixels: Picture, alpha: Picture | None) -> None:
    """Fill (H, W, 3), and (H, W) from the last band, with a pyvips.Image of one or three colour bands."""
    grey = image.bands <= 2
    for top, strip in strips(image):
        rows = slice(top, top + len(strip))
        if alpha is None and not grey:
            pixels[rows] = strip
            continue
        for channel in range(3):  # one by one is faster than together
            pixels[rows, :, channel] = strip[..., 0 if grey else channel]
        if alpha is not None:
            alpha[rows] = strip[..., -1]


def _as_stored(upright: Picture, orientation: int) -> Picture:
    """A view of an upright picture (H, W, …) as it lies in a file of EXIF orientation 1..8: turned and mirrored."""
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.swapaxes(0, 1) if orientation >= 5 else upright


def reason(error: Exception) -> str:
    """The first line of a library's message, without the file name it may repeat and without a closing stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    detail = getattr(error, "detail", "") or str(error)
    if isinstance(detail, bytes):
        detail = detail.decode("utf-8", "replace")
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
