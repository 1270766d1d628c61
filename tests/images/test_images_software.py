"""What made a file is written into it, found again by other readers, and read from the header alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goldeye.images import open_picture, read_software, write_image
from goldeye.images.exif import signed, software, upright

PIXELS = np.random.default_rng(0).integers(0, 256, (150, 40, 3), np.uint8)  # more rows than one strip of a TIFF file
MADE_BY = "Goldeye 0.1: rrdb, scale 4"
FORMATS = [".png", ".jpg", ".webp", ".tif"]
KINDS = [(s, deep, alpha, grey) for s in FORMATS for deep in (0, 1) for alpha in (0, 1) for grey in (0, 1)]
KINDS = [k for k in KINDS if not ((k[1] and k[0] in (".jpg", ".webp")) or (k[2] and k[0] == ".jpg"))]


def block(before: str | None = None, **exif_tags: Any) -> bytes:
    exif = Image.Exif()
    exif[0x013B] = "Artist"
    if before is not None:
        exif[0x0131] = before
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", **exif_tags.get("inner", {})})
    return b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")


def pillows(path: Path) -> Image.Exif:
    """What Pillow reads, of TIFF files also of kinds that it has no mode for."""
    if path.suffix == ".tif":
        exif = Image.Exif()
        with path.open("rb") as file:
            exif.load_from_fp(file)  # type: ignore[no-untyped-call]
            exif.get_ifd(0x8769)
        return exif
    with Image.open(path) as image:
        return image.getexif()


@pytest.mark.parametrize(("suffix", "deep", "alpha", "grey"), KINDS)
@pytest.mark.parametrize("exif", [None, block("Camera 1.0")])
def test_every_kind_says_what_made_it(
    tmp_path: Path, suffix: str, deep: int, alpha: int, grey: int, exif: bytes | None
) -> None:
    path = tmp_path / f"a{suffix}"
    pixels = PIXELS.astype(np.uint16) * 257 if deep else PIXELS
    write_image(path, pixels, alpha=pixels[..., 0] if alpha else None, grey=bool(grey), exif=exif, software=MADE_BY)
    expected = MADE_BY if exif is None else f"Camera 1.0; {MADE_BY}"
    assert read_software(path) == expected
    told = pillows(path)
    assert told[0x0131] == expected
    if exif is not None:
        assert told[0x013B] == "Artist"
        assert told.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    if suffix != ".tif":  # of TIFF files libvips shows no such tag
        text = pyvips.Image.new_from_file(str(path)).get("exif-ifd0-Software")
        assert text.startswith(f"{expected} (")
    loaded = open_picture(path)
    assert loaded.pixels.shape == pixels.shape
    assert loaded.pixels.dtype == pixels.dtype
    assert (loaded.alpha is not None, loaded.grey) == (alpha, grey and suffix != ".webp")
    if suffix in (".png", ".tif") and not grey:
        assert np.array_equal(loaded.pixels, pixels)


@pytest.mark.parametrize("suffix", [*FORMATS, ".bmp"])
def test_a_file_that_says_nothing(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", PIXELS)
    assert read_software(tmp_path / f"a{suffix}") is None
    write_image(tmp_path / f"a{suffix}", PIXELS, exif=block())
    assert read_software(tmp_path / f"a{suffix}") is None


def test_a_format_without_a_place_for_it(tmp_path: Path) -> None:
    write_image(tmp_path / "a.bmp", PIXELS, software=MADE_BY)
    assert read_software(tmp_path / "a.bmp") is None
    assert np.array_equal(open_picture(tmp_path / "a.bmp").pixels, PIXELS)


def test_what_is_no_picture_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    for name in ("missing.png", "empty.png", "text.png", "damaged.png", "."):
        assert read_software(tmp_path / name) is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_the_header_is_read(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        pytest.fail("the picture was decoded")

    write_image(tmp_path / f"a{suffix}", PIXELS, software=MADE_BY)
    monkeypatch.setattr("goldeye.images.io._decode", decoded)
    monkeypatch.setattr("goldeye.images.io._from_pillow", decoded)
    monkeypatch.setenv("GOLDEYE_MAX_PIXELS", "1")  # which is for decoders
    assert read_software(tmp_path / f"a{suffix}") == MADE_BY
    if suffix in (".png", ".jpg"):
        data = (tmp_path / f"a{suffix}").read_bytes()
        (tmp_path / f"cut{suffix}").write_bytes(data[: len(data) // 2])
        assert read_software(tmp_path / f"cut{suffix}") == MADE_BY


def test_a_second_pass_is_added_to_the_first(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS, software="first")
    write_image(tmp_path / "b.tif", PIXELS, exif=open_picture(tmp_path / "a.png").exif, software="second")
    write_image(tmp_path / "c.webp", PIXELS, exif=open_picture(tmp_path / "b.tif").exif)
    assert read_software(tmp_path / "c.webp") == "first; second"


def test_a_list_that_grows_too_long_begins_again() -> None:
    for length, expected in ((1000 - 2 - len(MADE_BY), f"{'x' * (998 - len(MADE_BY))}; {MADE_BY}"), (999, MADE_BY)):
        assert software(signed(block("x" * length), MADE_BY)) == expected
    assert software(signed(None, "y" * 3000)) == "y" * 1000


def test_names_in_any_script(tmp_path: Path) -> None:
    for suffix in FORMATS:
        write_image(tmp_path / f"a{suffix}", PIXELS, software="Goldeye: größer_画像.safetensors")
        assert read_software(tmp_path / f"a{suffix}") == "Goldeye: größer_画像.safetensors"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_block_that_is_full_gives_up_the_makers_data_alone(tmp_path: Path, suffix: str) -> None:
    full = upright(block(inner={0x927C: bytes(64_700)}))
    assert full is not None
    assert len(full) > 64_700
    write_image(tmp_path / f"a{suffix}", PIXELS, exif=full, software=MADE_BY * 10)
    assert read_software(tmp_path / f"a{suffix}") == MADE_BY * 10
    assert pillows(tmp_path / f"a{suffix}").get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"


def test_a_block_that_cannot_be_read_is_replaced() -> None:
    for rubbish in (b"", b"Exif\0\0", b"rubbish" * 60):
        assert software(signed(rubbish, MADE_BY)) == MADE_BY


texts = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=400)


@settings(deadline=None, max_examples=200)
@given(st.none() | texts, texts)
def test_any_text(before: str | None, after: str) -> None:
    made = signed(None if before is None else signed(None, before), after)
    assert upright(made) == made
    assert software(made) == (after if before is None else f"{before}; {after}")


def test_texts_that_no_file_holds() -> None:
    assert software(signed(None, "caf\udce9 \0x")) == "caf? x"
    assert software(signed(block("kept"), "")) == "kept"
    assert software(signed(None, "")) is None
