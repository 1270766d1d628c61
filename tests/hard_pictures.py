"""Pictures of every kind that a reader can meet: how a file of it is made, and what has to come out of it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips
from PIL import Image, ImageCms

HEIGHT, WIDTH = 24, 37


def scene(dtype: type[np.unsignedinteger] = np.uint8) -> npt.NDArray[Any]:
    """Smooth, different in its corners and channels, over most of the range."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    values = np.stack([0.8 * x + 0.1, 0.85 * y + 0.05, 0.5 + 0.4 * np.sin(3 * x + 2 * y)], axis=-1)
    stored: npt.NDArray[Any] = np.rint(values * np.iinfo(dtype).max).astype(dtype)
    return stored


def shade(dtype: type[np.unsignedinteger] = np.uint8) -> npt.NDArray[Any]:
    """An alpha channel with everything between transparent and opaque."""
    ramp = np.linspace(0, np.iinfo(dtype).max, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    return np.rint(ramp).astype(dtype)


def three(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return grey[..., None].repeat(3, axis=2)


@cache
def profile(name: str) -> bytes:
    """ICC profiles: p3 and cmyk are libvips' own, grey has a gamma of 1.8."""
    if name != "grey":
        return bytes(pyvips.Image.profile_load(name))
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, int(1.8 * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    tags, table, place = {b"desc": text, b"wtpt": white, b"kTRC": curve}, b"", 128 + 4 + 36
    for tag, data in tags.items():
        table += tag + struct.pack(">II", place, len(data))
        place += len(data)
    body = struct.pack(">I", 3) + table + b"".join(tags.values())
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + body


@dataclass(frozen=True)
class Kind:
    """How a file is made, and what has to come out of it."""

    make: Callable[[Path], None]
    pixels: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None = None
    grey: bool = False
    icc: bytes | None = None
    tolerance: int = 0


def pillow(pixels: npt.NDArray[Any], **options: Any) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(pixels).save(path, **options)


def vips(bands: npt.NDArray[Any], save: dict[str, Any] | None = None, **settings: Any) -> Callable[[Path], None]:
    """By libvips, with `interpretation` and `icc`."""

    def make(path: Path) -> None:
        image = pyvips.Image.new_from_array(bands).copy(interpretation=settings["interpretation"])
        if "icc" in settings:
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", settings["icc"])
        image.write_to_file(str(path), keep="icc", **(save or {}))

    return make


def palette(path: Path, **options: Any) -> None:
    Image.fromarray(scene()).quantize(32).save(path, **options)


def palette_pixels() -> npt.NDArray[Any]:
    return np.asarray(Image.fromarray(scene()).quantize(32).convert("RGB"))


def palette_alpha(levels: bytes) -> npt.NDArray[Any]:
    """The alpha of palette entries beyond the listed ones is opaque."""
    table = np.frombuffer(levels.ljust(256, b"\xff"), np.uint8)
    shaded: npt.NDArray[Any] = table[np.asarray(Image.fromarray(scene()).quantize(32))]
    return shaded


def key(path: Path) -> None:
    Image.fromarray(scene()).save(path, transparency=tuple(int(v) for v in scene()[5, 6]))


def premultiplied() -> npt.NDArray[Any]:
    bands = np.dstack([scene(), np.maximum(shade(), 1)]).astype(np.float64)
    bands[..., :3] = np.rint(bands[..., :3] * bands[..., 3:] / 255)
    return bands.astype(np.uint8)


def associated(path: Path) -> None:
    """A TIFF whose colours are multiplied by alpha: libvips writes it straight, the mark is changed by hand."""
    pyvips.Image.new_from_array(premultiplied()).copy(interpretation="srgb").tiffsave(str(path))
    data = path.read_bytes()
    assert data.count(struct.pack("<HHIHH", 338, 3, 1, 2, 0)) == 1
    path.write_bytes(data.replace(struct.pack("<HHIHH", 338, 3, 1, 2, 0), struct.pack("<HHIHH", 338, 3, 1, 1, 0)))


def cmyk_pixels() -> npt.NDArray[Any]:
    """What the colour engine of Pillow makes of the inverted scene in the CMYK profile."""
    image = Image.fromarray(np.dstack([255 - scene(), np.zeros((HEIGHT, WIDTH), np.uint8)]), mode="CMYK")
    converted = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(profile("cmyk"))),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert converted is not None
    return np.asarray(converted)


def cmyk(path: Path) -> None:
    image = Image.fromarray(np.dstack([255 - scene(), np.zeros((HEIGHT, WIDTH), np.uint8)]), mode="CMYK")
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
    image.save(path, icc_profile=profile("cmyk"), **options)


GREY, DEEP = scene()[..., 1], scene(np.uint16)
LEVELS = bytes(range(0, 240, 10))
LOSSLESS_WEBP: dict[str, Any] = {"lossless": True, "exact": True}
FINE_JPEG: dict[str, Any] = {"quality": 100, "subsampling": 0}
KINDS = {
    "rgb.png": Kind(pillow(scene()), scene()),
    "rgb.jpg": Kind(pillow(scene(), **FINE_JPEG), scene(), tolerance=4),
    "rgb.webp": Kind(pillow(scene(), **LOSSLESS_WEBP), scene()),
    "rgb.tif": Kind(pillow(scene()), scene()),
    "rgb.bmp": Kind(pillow(scene()), scene()),
    "tiles.tif": Kind(
        vips(scene(), {"tile": True, "tile_width": 16, "tile_height": 16}, interpretation="srgb"), scene()
    ),
    "big.tif": Kind(vips(scene(), {"bigtiff": True}, interpretation="srgb"), scene()),
    "interlaced.png": Kind(vips(scene(), {"interlace": True}, interpretation="srgb"), scene()),
    "progressive.jpg": Kind(pillow(scene(), progressive=True, **FINE_JPEG), scene(), tolerance=4),
    "deep.png": Kind(vips(DEEP, interpretation="rgb16"), DEEP),
    "deep.tif": Kind(vips(DEEP, interpretation="rgb16"), DEEP),
    "grey.png": Kind(pillow(GREY), three(GREY), grey=True),
    "grey.jpg": Kind(pillow(GREY, quality=100), three(GREY), grey=True, tolerance=2),
    "grey.tif": Kind(pillow(GREY), three(GREY), grey=True),
    "grey.bmp": Kind(pillow(GREY), three(GREY), grey=True),
    "grey-deep.png": Kind(vips(DEEP[..., 0].copy(), interpretation="grey16"), three(DEEP[..., 0]), grey=True),
    "grey-deep.tif": Kind(vips(DEEP[..., 0].copy(), interpretation="grey16"), three(DEEP[..., 0]), grey=True),
    "bits.png": Kind(pillow(GREY > 99), three((GREY > 99) * np.uint8(255)), grey=True),
    "bits.tif": Kind(pillow(GREY > 99), three((GREY > 99) * np.uint8(255)), grey=True),
    "bits.bmp": Kind(pillow(GREY > 99), three((GREY > 99) * np.uint8(255)), grey=True),
    "palette.png": Kind(palette, palette_pixels()),
    "palette.bmp": Kind(palette, palette_pixels()),
    "palette.tif": Kind(palette, palette_pixels()),
    "palette-alpha.png": Kind(lambda path: palette(path, transparency=LEVELS), palette_pixels(), palette_alpha(LEVELS)),
    "colour-key.png": Kind(key, scene(), np.where((scene() == scene()[5, 6]).all(axis=2), 0, 255).astype(np.uint8)),
    "alpha.png": Kind(pillow(np.dstack([scene(), shade()])), scene(), shade()),
    "alpha.webp": Kind(pillow(np.dstack([scene(), shade()]), **LOSSLESS_WEBP), scene(), shade()),
    "alpha.tif": Kind(vips(np.dstack([scene(), shade()]), interpretation="srgb"), scene(), shade()),
    "alpha-deep.png": Kind(vips(np.dstack([DEEP, shade(np.uint16)]), interpretation="rgb16"), DEEP, shade(np.uint16)),
    "alpha-deep.tif": Kind(vips(np.dstack([DEEP, shade(np.uint16)]), interpretation="rgb16"), DEEP, shade(np.uint16)),
    "grey-alpha.png": Kind(pillow(np.dstack([GREY, shade()])), three(GREY), shade(), grey=True),
    "grey-alpha.tif": Kind(vips(np.dstack([GREY, shade()]), interpretation="b-w"), three(GREY), shade(), grey=True),
    "p3.png": Kind(pillow(scene(), icc_profile=profile("p3")), scene(), icc=profile("p3")),
    "p3.jpg": Kind(pillow(scene(), icc_profile=profile("p3"), **FINE_JPEG), scene(), icc=profile("p3"), tolerance=4),
    "p3.webp": Kind(pillow(scene(), icc_profile=profile("p3"), **LOSSLESS_WEBP), scene(), icc=profile("p3")),
    "p3-deep.tif": Kind(vips(DEEP, interpretation="rgb16", icc=profile("p3")), DEEP, icc=profile("p3")),
    "p3-alpha.png": Kind(
        pillow(np.dstack([scene(), shade()]), icc_profile=profile("p3")), scene(), shade(), icc=profile("p3")
    ),
    "grey-profile.png": Kind(pillow(GREY, icc_profile=profile("grey")), three(GREY), grey=True, icc=profile("grey")),
    "grey-profile.tif": Kind(pillow(GREY, icc_profile=profile("grey")), three(GREY), grey=True, icc=profile("grey")),
    "wrong-profile.png": Kind(pillow(scene(), icc_profile=profile("grey")), scene()),
    "wrong-profile.tif": Kind(pillow(scene(), icc_profile=profile("cmyk")), scene()),
    "grey-wrong-profile.tif": Kind(pillow(GREY, icc_profile=profile("p3")), three(GREY), grey=True),
    "broken-profile.tif": Kind(pillow(scene(), icc_profile=b"none" * 99), scene()),
    "broken-profile.png": Kind(pillow(scene(), icc_profile=b"none" * 99), scene()),
    "cmyk.jpg": Kind(cmyk, cmyk_pixels(), tolerance=6),
    "cmyk.tif": Kind(cmyk, cmyk_pixels(), tolerance=3),
}
