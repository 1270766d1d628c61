"""Hard pictures: every kind is read with its pixels, alpha, profile and EXIF, and written again as the same kind."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from goldeye.images import Loaded, open_picture, read_image, write_image
from goldeye.images.exif import of_tiff, upright
from hard_pictures import (
    DEEP,
    GREY,
    HEIGHT,
    KINDS,
    LOSSLESS_WEBP,
    WIDTH,
    Kind,
    associated,
    profile,
    scene,
    shade,
    three,
)


def camera(orientation: int = 1, order: str = "<") -> bytes:
    """An EXIF block as a camera writes it: texts in UTF-8, Exif and GPS directories, the stored size, a thumbnail."""

    def directory(start: int, entries: list[tuple[int, int, int, bytes]], following: int = 0) -> bytes:
        table, values = struct.pack(order + "H", len(entries)), b""
        for tag, kind, count, value in entries:
            place = start + 2 + 12 * len(entries) + 4 + len(values)
            if len(value) > 4:
                values += value + bytes(len(value) % 2)
                value = struct.pack(order + "I", place)
            table += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        return table + struct.pack(order + "I", following) + values

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def long(value: int) -> bytes:
        return struct.pack(order + "I", value)

    artist = "José 画家".encode() + b"\0"
    resolution = struct.pack(order + "II", 300, 1)
    exif = [
        (0x829A, 5, 1, struct.pack(order + "II", 1, 250)),
        (0x9003, 2, 20, b"2024:05:06 07:08:09\0"),
        (0x927C, 7, 40, b"MAKER" * 8),
        (0xA002, 4, 1, long(4000)),
        (0xA003, 4, 1, long(3000)),
    ]
    gps = [(1, 2, 2, b"N\0"), (2, 5, 3, struct.pack(order + "6I", 48, 1, 8, 1, 30, 1))]
    thumbnail = [(0x0201, 4, 1, long(0)), (0x0202, 4, 1, long(0))]

    def first(at: tuple[int, int, int]) -> bytes:
        main = [
            (0x0112, 3, 1, short(orientation)),
            (0x011A, 5, 1, resolution),
            (0x011B, 5, 1, resolution),
            (0x0128, 3, 1, short(2)),
            (0x013B, 2, len(artist), artist),
            (0x8769, 4, 1, long(at[0])),
            (0x8825, 4, 1, long(at[1])),
        ]
        return directory(8, main, following=at[2])

    exif_at = 8 + len(first((0, 0, 0)))
    gps_at = exif_at + len(directory(exif_at, exif))
    thumbnail_at = gps_at + len(directory(gps_at, gps))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (
        b"Exif\0\0"
        + start
        + first((exif_at, gps_at, thumbnail_at))
        + directory(exif_at, exif)
        + directory(gps_at, gps)
        + directory(thumbnail_at, thumbnail)
    )


def told(block: bytes | None) -> dict[str, Any]:
    """What an EXIF block says, read by Pillow."""
    exif = Image.Exif()
    exif.load(block or b"")
    inner, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    return {
        "artist": exif.get(0x013B, "").encode("latin-1").decode(),
        "orientation": exif.get(0x0112),
        "resolution": (exif.get(0x011A), exif.get(0x011B), exif.get(0x0128)),
        "date": inner.get(0x9003),
        "exposure": inner.get(0x829A) and float(inner[0x829A]),
        "maker": inner.get(0x927C),
        "gps": (gps.get(1), gps.get(2)),
    }


TOLD = {
    "artist": "José 画家",
    "orientation": 1,
    "resolution": (300, 300, 2),
    "date": "2024:05:06 07:08:09",
    "exposure": 1 / 250,
    "maker": b"MAKER" * 8,
    "gps": ("N", (48, 8, 30)),
}


def check(loaded: Loaded, kind: Kind, tolerance: int) -> None:
    assert loaded.pixels.dtype == kind.pixels.dtype
    assert loaded.pixels.shape == kind.pixels.shape
    assert loaded.pixels.flags.c_contiguous
    assert loaded.pixels.flags.writeable
    assert np.abs(loaded.pixels.astype(int) - kind.pixels).max() <= tolerance
    assert loaded.grey == kind.grey
    assert not kind.grey or (loaded.pixels == loaded.pixels[..., :1]).all()
    assert loaded.icc == kind.icc
    if kind.alpha is None:
        assert loaded.alpha is None
    else:
        assert loaded.alpha is not None
        assert loaded.alpha.dtype == kind.alpha.dtype
        assert np.array_equal(loaded.alpha, kind.alpha)


def write_as_read(path: Path, loaded: Loaded, **changes: Any) -> None:
    kept = {"alpha": loaded.alpha, "grey": loaded.grey, "icc": loaded.icc, "exif": loaded.exif}
    write_image(path, loaded.pixels, **{**kept, **changes})


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_read_and_stays_what_it_is(tmp_path: Path, name: str) -> None:
    kind, path = KINDS[name], tmp_path / f"ein Bild 画像 {name}"
    kind.make(path)
    loaded = open_picture(path)
    check(loaded, kind, kind.tolerance)
    assert loaded.exif is None
    lossy = path.suffix in (".jpg", ".webp")
    write_as_read(tmp_path / f"again{path.suffix}", loaded)
    again = open_picture(tmp_path / f"again{path.suffix}")
    if path.suffix == ".webp":  # lossy here; under full transparency, colours are the encoder's choice
        assert (again.icc, again.grey) == (loaded.icc, loaded.grey)
        assert (again.alpha is None) == (loaded.alpha is None)
        seen = slice(None) if loaded.alpha is None else loaded.alpha > 0
        assert np.abs(again.pixels.astype(int) - loaded.pixels)[seen].mean() < 4
    else:
        check(again, kind, kind.tolerance + 6 * lossy)
    if not lossy:
        assert np.array_equal(again.pixels, loaded.pixels)


@pytest.mark.parametrize("name", KINDS)
def test_both_readers_agree(tmp_path: Path, name: str) -> None:
    KINDS[name].make(tmp_path / name)
    loaded, plain = open_picture(tmp_path / name), read_image(tmp_path / name)
    assert plain.shape == loaded.pixels.shape
    assert plain.dtype == loaded.pixels.dtype
    assert np.array_equal(plain, loaded.pixels) == (loaded.icc is None)


def test_colours_under_a_premultiplied_alpha_are_restored(tmp_path: Path) -> None:
    associated(tmp_path / "a.tif")
    loaded = open_picture(tmp_path / "a.tif")
    assert loaded.alpha is not None
    assert np.array_equal(loaded.alpha, np.maximum(shade(), 1))
    # Rounding was done at 1/alpha of the resolution, and libvips cuts fractions off.
    error = np.abs(loaded.pixels.astype(float) - scene()).max(axis=2)
    assert (error <= 0.5 * 255 / np.maximum(shade(), 1) + 1).all()
    assert np.array_equal(read_image(tmp_path / "a.tif"), loaded.pixels)


# Profiles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".bmp"])
def test_colours_are_the_same_in_every_format(tmp_path: Path, suffix: str) -> None:
    """Through the profile where the format holds one, else as sRGB."""
    KINDS["p3.png"].make(tmp_path / "p3.png")
    expected = read_image(tmp_path / "p3.png").astype(int)
    write_as_read(tmp_path / f"a{suffix}", open_picture(tmp_path / "p3.png"), quality=100)
    assert np.abs(read_image(tmp_path / f"a{suffix}") - expected).mean() < (2 if suffix in (".webp", ".jpg") else 0.01)
    assert np.abs(scene() - expected).mean() > 3
    assert (open_picture(tmp_path / f"a{suffix}").icc is None) == (suffix == ".bmp")


@pytest.mark.parametrize("name", ["a.webp", "a.bmp", "a.png"])
def test_grey_through_a_grey_profile(tmp_path: Path, name: str) -> None:
    KINDS["grey-profile.png"].make(tmp_path / "grey.png")
    expected = read_image(tmp_path / "grey.png").astype(int)
    assert np.abs(expected - three(GREY)).mean() > 3
    write_as_read(tmp_path / name, open_picture(tmp_path / "grey.png"))
    assert np.abs(read_image(tmp_path / name) - expected).mean() < (2 if name == "a.webp" else 0.01)


def test_a_colour_picture_written_as_grey(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", scene(), grey=True)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), np.asarray(Image.fromarray(scene()).convert("L")))
    write_image(tmp_path / "p3.png", scene(), grey=True, icc=profile("p3"))
    loaded = open_picture(tmp_path / "p3.png")
    assert loaded.grey
    assert loaded.icc is None
    assert not np.array_equal(loaded.pixels, read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("name", KINDS)
def test_opened_as_srgb(tmp_path: Path, name: str) -> None:
    """The colours of `read_image`; alpha and kind as without; no profile."""
    path = tmp_path / name
    KINDS[name].make(path)
    kept, loaded = open_picture(path), open_picture(path, srgb=True)
    assert np.array_equal(loaded.pixels, read_image(path))
    assert loaded.icc is None
    assert loaded.grey == kept.grey
    assert not loaded.grey or (loaded.pixels == loaded.pixels[..., :1]).all()
    assert (loaded.alpha is None) == (kept.alpha is None)
    if loaded.alpha is not None and kept.alpha is not None:
        assert np.array_equal(loaded.alpha, kept.alpha)


# EXIF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
def test_exif_is_kept_from_any_format_in_any_other(tmp_path: Path, source: str, order: str) -> None:
    first = tmp_path / f"first{source}"
    if source == ".tif":
        write_image(first, scene(), exif=camera(1, order))
    else:
        Image.fromarray(scene()).save(first, exif=camera(6, order))
    loaded = open_picture(first)
    assert told(loaded.exif) == TOLD
    assert loaded.exif is not None
    assert b"\xa0\x02" not in loaded.exif[:400]
    upright_size = (HEIGHT, WIDTH) if source == ".tif" else (WIDTH, HEIGHT)
    assert loaded.pixels.shape[:2] == upright_size
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        write_as_read(tmp_path / f"second{suffix}", loaded)
        again = open_picture(tmp_path / f"second{suffix}")
        assert told(again.exif) == TOLD
        assert again.pixels.shape == loaded.pixels.shape  # not turned twice
        with Image.open(tmp_path / f"second{suffix}") as image:  # another reader finds it too, and the true size
            exif = image.getexif()
            assert exif.get(0x0112, 1) == 1
            assert exif.get_ifd(0x8769)[0x9003] == TOLD["date"]
            assert exif.get_ifd(0x8769).get(0xA002, image.width) == image.width
    write_as_read(tmp_path / "second.bmp", loaded)
    assert open_picture(tmp_path / "second.bmp").exif is None


@pytest.mark.parametrize("rows", [1, 3, 20])
@pytest.mark.parametrize("deep", [False, True])
def test_a_tiff_with_exif_is_still_a_plain_tiff(tmp_path: Path, deep: bool, rows: int) -> None:
    """In one strip and in several."""
    pixels = (DEEP if deep else scene()).repeat(rows, axis=0)
    alpha = (shade(np.uint16) if deep else shade()).repeat(rows, axis=0)
    write_image(tmp_path / "a.tif", pixels, alpha=alpha, icc=profile("p3"), exif=camera())
    loaded = open_picture(tmp_path / "a.tif")
    assert np.array_equal(loaded.pixels, pixels)
    assert loaded.alpha is not None
    assert np.array_equal(loaded.alpha, alpha)
    assert loaded.icc == profile("p3")
    assert told(loaded.exif) == TOLD
    if not deep:  # Pillow has no mode for it
        with Image.open(tmp_path / "a.tif") as image:
            assert np.array_equal(np.asarray(image), np.dstack([pixels, alpha]))


def test_reading_a_block_again_changes_nothing() -> None:
    for order in "<>":
        block = upright(camera(8, order))
        assert block is not None
        assert upright(block) == block
    assert upright(camera(8, "<")) == upright(camera(8, ">"))


def test_what_is_no_exif_is_left_out(tmp_path: Path) -> None:
    for block in (b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"no exif at all" * 9):
        assert upright(block) is None
    write_image(tmp_path / "a.tif", scene())
    data = (tmp_path / "a.tif").read_bytes()
    assert of_tiff(lambda offset, length: data[offset : offset + length]) is None


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**31), st.sampled_from("<>"))
def test_damaged_exif_does_no_harm(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    block = bytearray(camera(6, order))
    for _ in range(rng.integers(1, 12)):
        block[rng.integers(6, len(block))] = rng.integers(256)
    cleaned = upright(bytes(block[: rng.integers(10, len(block) + 1)]))
    if cleaned is not None:
        assert upright(cleaned) == cleaned
        assert len(cleaned) < 70_000


def test_directories_that_claim_far_more_than_there_is() -> None:
    """5,000 tags, each the whole file of 4 MB: 20 GB if they were believed."""
    for claimed in (4_000_000, 60_000):
        entries = b"".join(struct.pack("<HHII", 1000 + tag, 7, claimed, 8) for tag in range(5000))
        data = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 5000) + entries + bytes(4)
        data = data.ljust(4_000_000, b"\0")
        read = 0

        def count(offset: int, length: int, data: bytes = data) -> bytes:
            nonlocal read
            read += len(data[offset : offset + length])
            return data[offset : offset + length]

        assert of_tiff(count) is None
        assert read < 1_100_000
        assert upright(data) is None


def test_a_large_maker_note_is_no_reason_to_lose_the_rest(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x927C: bytes(70_000)})
    Image.fromarray(scene()).save(tmp_path / "a.png", exif=exif)
    assert told(open_picture(tmp_path / "a.png").exif)["date"] == "2024:05:06 07:08:09"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"rubbish" * 60])
def test_metadata_that_is_rubbish_is_left_out(tmp_path: Path, suffix: str, rubbish: bytes) -> None:
    write_image(tmp_path / f"a{suffix}", scene(), exif=rubbish, icc=rubbish)
    loaded = open_picture(tmp_path / f"a{suffix}")
    assert (loaded.exif, loaded.icc) == (None, None)
    assert np.abs(loaded.pixels.astype(int) - scene()).mean() < 4


def test_damaged_exif_does_not_stop_writing(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(40):
        block = bytearray(camera())
        for _ in range(6):
            block[rng.integers(6, len(block))] = rng.integers(256)
        cleaned = upright(bytes(block))
        for suffix in (".png", ".jpg", ".webp", ".tif"):
            path = tmp_path / f"{number}{suffix}"
            write_image(path, scene(), exif=cleaned)
            assert read_image(path).shape == scene().shape


@pytest.mark.parametrize("name", ["rgb.png", "grey.png", "alpha.png", "grey-alpha.png", "alpha.webp", "rgb.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_arrays_of_the_callers_are_filled_upright(tmp_path: Path, name: str, orientation: int) -> None:
    """As Pillow turns the picture; into arrays made by the caller."""
    path, turned, made = tmp_path / name, tmp_path / f"turned-{name}", []
    KINDS[name].make(path)
    with Image.open(path) as image:
        image.save(turned, exif=camera(orientation), **(LOSSLESS_WEBP if name == "alpha.webp" else {}))
    with Image.open(turned) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))

    def into(shape: tuple[int, ...], dtype: Any) -> Any:
        made.append(np.full(shape, 7, dtype))
        return made[-1]

    loaded = open_picture(turned, into=into)
    assert loaded.pixels is made[0]
    assert (loaded.alpha is None) == (len(made) == 1)
    planes = expected if expected.ndim == 3 else expected[..., None]
    colours = planes[..., :1] if loaded.grey else planes[..., :3]
    assert loaded.pixels.shape == (*planes.shape[:2], 3)
    assert np.abs(loaded.pixels.astype(int) - colours).max() <= (2 if name == "rgb.jpg" else 0)
    if loaded.alpha is not None:
        assert loaded.alpha is made[1]
        assert np.array_equal(loaded.alpha, planes[..., -1])


# Several pictures in one file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_the_first_of_several_is_read_with_a_warning(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(scene()), Image.fromarray(255 - scene()), Image.fromarray(scene() // 2)]
    options: dict[str, Any] = LOSSLESS_WEBP if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    with pytest.warns(UserWarning, match="holds 3 pictures; the first is read") as caught:
        loaded = open_picture(tmp_path / name)
    assert str(tmp_path / name) in str(caught[0].message)
    assert caught[0].filename == __file__
    assert np.array_equal(loaded.pixels, scene())


# Round trips -----------------------------------------------------------------------------------------------------


@st.composite
def pictures(draw: st.DrawFn) -> dict[str, Any]:
    """The keywords of write_image for any picture that PNG and TIFF hold."""
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    grey = draw(st.booleans())
    values = draw(arrays.arrays(dtype, (*size, 1 if grey else 3)))
    return {
        "picture": values.repeat(3, axis=2) if grey else values,
        "alpha": draw(st.none() | arrays.arrays(dtype, size)),
        "grey": grey,
        "icc": draw(st.none() | st.just(profile("grey" if grey else "p3"))),
        "exif": draw(st.none() | st.just(upright(camera()))),
    }


@settings(deadline=None, max_examples=60)
@given(pictures(), st.sampled_from([".png", ".tif"]))
def test_everything_survives_a_lossless_file(
    tmp_path_factory: pytest.TempPathFactory, given_: dict[str, Any], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("round") / f"a{suffix}"
    write_image(path, **given_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = open_picture(path)
    assert loaded.pixels.dtype == given_["picture"].dtype
    assert np.array_equal(loaded.pixels, given_["picture"])
    assert (loaded.alpha is None) == (given_["alpha"] is None)
    if loaded.alpha is not None:
        assert np.array_equal(loaded.alpha, given_["alpha"])
    assert (loaded.grey, loaded.icc) == (given_["grey"], given_["icc"])
    assert told(loaded.exif) == told(given_["exif"])
