"""PNG by ISA-L's deflate: read back bit-equal by every reader, whole or absent, in memory for some rows."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goldeye.errors import ImageError
from goldeye.images import Picture, encode_png, read_image, write_image
from goldeye.images.png import read_png, write_png

PIXELS: Picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def check_readers(content: bytes, expected: Picture) -> None:
    """libvips, Pillow and OpenCV."""
    vips = pyvips.Image.new_from_buffer(content, "")
    assert np.array_equal(vips.numpy(), expected)
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), expected)
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(np.asarray(bgr)[..., ::-1], expected)


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content), each with the right checksum."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, position = [], 8
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        data = content[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", content, position + 8 + length)[0] == zlib.crc32(kind + data)
        found.append((kind, data))
        position += 12 + length
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 500),
    st.sampled_from(["noise", "smooth", "flat"]),
    st.integers(0, 9),
)
def test_every_reader_gives_the_pixels_back(height: int, width: int, strip: int, kind: str, seed: int) -> None:
    """With strips of any length, from one row on."""
    picture: Any = {
        "noise": np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8),
        "smooth": (np.indices((height, width)).sum(axis=0)[..., None] * [seed, 2, 7]).astype(np.uint8),
        "flat": np.full((height, width, 3), 28 * seed, np.uint8),
    }[kind]
    with patch("goldeye.images.png._STRIP", strip):
        content = encode_png(picture)
    check_readers(content, picture)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (3, 400_000), (1031, 777)])
def test_pictures_of_several_strips(tmp_path: Path, shape: tuple[int, int]) -> None:
    """(3, 400,000): a row is longer than a strip."""
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    write_image(tmp_path / "a.png", picture)
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)
    check_readers((tmp_path / "a.png").read_bytes(), picture)


def test_the_file_is_a_plain_png() -> None:
    parts = chunks(encode_png(PIXELS))
    assert [kind for kind, _ in parts] == [b"IHDR", b"IDAT", b"IEND"]
    assert parts[0][1] == struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(parts[1][1]), np.uint8).reshape(20, 1 + 90)
    assert (rows[:, 0] == 2).all()  # the filter "up"
    assert np.array_equal(rows[:, 1:].cumsum(axis=0, dtype=np.uint8), PIXELS.reshape(20, 90))
    large: Picture = np.tile(PIXELS, (60, 60, 1))
    assert sum(kind == b"IDAT" for kind, _ in chunks(encode_png(large))) > 1


def test_views_and_maps(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (200, 90, 4), np.uint8)
    mapped: Any = np.memmap(tmp_path / "map", np.uint8, "w+", shape=(50, 60, 3))
    mapped[:] = whole[:50, :60, 1:]
    views = (whole[150:10:-1, 5:70:2, :3], whole[..., :3].swapaxes(0, 1), mapped, mapped[3:9, 2:50], mapped[..., ::-1])
    for number, view in enumerate(views):
        write_image(tmp_path / f"{number}.png", view)
        assert np.array_equal(read_image(tmp_path / f"{number}.png"), view)


def test_a_photograph_takes_as_little_room_as_with_opencvs_default() -> None:
    skimage = pytest.importorskip("skimage.data")
    photo = np.ascontiguousarray(skimage.astronaut()[:400, :400])
    done, encoded = cv2.imencode(".png", photo[..., ::-1])
    assert done
    assert len(encode_png(photo)) < 1.02 * encoded.size


def test_what_it_cannot_store_goes_another_way(tmp_path: Path) -> None:
    deep, alpha = PIXELS.astype(np.uint16) * 257, PIXELS[..., 0]
    cases: dict[str, tuple[Picture, dict[str, Any]]] = {
        "deep": (deep, {}),
        "alpha": (PIXELS, {"alpha": alpha}),
        "grey": (PIXELS, {"grey": True}),
        "icc": (PIXELS, {"icc": bytes(pyvips.Image.profile_load("p3"))}),
        "software": (PIXELS, {"software": "test"}),
    }
    with patch("goldeye.images.write.write_png", side_effect=AssertionError("not for this one")):
        for name, (picture, keywords) in cases.items():
            write_image(tmp_path / f"{name}.png", picture, **keywords)
        with pytest.raises(AssertionError, match="not for"):
            write_image(tmp_path / "a.png", PIXELS)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(cases)


def test_memory_is_needed_for_some_rows(tmp_path: Path) -> None:
    """Of 96 MB."""
    picture: Any = np.memmap(tmp_path / "map", np.uint8, "w+", shape=(20_000, 1_600, 3))
    picture[::7] = 90
    with (tmp_path / "a.png").open("wb") as file:
        tracemalloc.start()
        try:
            write_png(file, picture)
            need = tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()
    assert need < 8
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("durable", [True, False])
def test_only_what_is_durable_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    for suffix in (".png", ".tif", ".bmp"):
        write_image(tmp_path / f"a{suffix}", PIXELS, durable=durable)
        assert np.array_equal(read_image(tmp_path / f"a{suffix}"), PIXELS)
    assert len(flushed) == (3 if durable else 0)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_stop_in_the_middle_leaves_the_earlier_file(tmp_path: Path, error: Any, durable: bool) -> None:
    path = tmp_path / "a.png"
    write_image(path, PIXELS)
    before = path.read_bytes()
    raised = KeyboardInterrupt if error is KeyboardInterrupt else ImageError

    def stopped(pixels: Any) -> Any:
        yield np.zeros((1, 91), np.uint8)
        raise error

    with patch("goldeye.images.png._filtered", stopped), pytest.raises(raised):
        write_image(path, PIXELS[::-1], durable=durable)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_signal_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        import numpy as np
        from goldeye.images import write_image
        print("ready", flush=True)
        picture = np.broadcast_to(np.uint8([[[1, 2, 3]]]), (200_000, 9_000, 3))  # tens of seconds
        write_image(Path({str(tmp_path / "a.png")!r}), picture)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    end = time.monotonic() + 30
    while not any(path.stat().st_size > 100 for path in tmp_path.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    process.stdout.close()
    assert list(tmp_path.iterdir()) == []


# Reading ---------------------------------------------------------------------------------------------------------


def read(content: bytes, shape: tuple[int, ...]) -> Picture | None:
    pixels = np.empty(shape, np.uint8)
    return pixels if read_png(io.BytesIO(content), pixels) else None


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def built(idat: list[bytes], *others: bytes, before: bytes = b"") -> bytes:
    """A PNG of 30x20 from its parts."""
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, 0))
    return head + before + b"".join(chunk(b"IDAT", part) for part in idat) + b"".join(others)


FILTERED = zlib.decompress(chunks(encode_png(PIXELS))[1][1])
END = chunk(b"IEND", b"")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(1, 40), st.integers(1, 3000), st.integers(1, 9000), st.integers(0, 9))
def test_what_is_written_is_read(height: int, width: int, written: int, strip: int, seed: int) -> None:
    """Cut into strips of any length on both sides."""
    pixels = np.random.default_rng(seed).integers(0, 256 >> seed % 8, (height, width, 3), np.uint8)
    with patch("goldeye.images.png._STRIP", written):
        content = encode_png(pixels)
    with patch("goldeye.images.png._STRIP", strip):
        found = read(content, pixels.shape)
    assert found is not None
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_files_of_that_kind_from_others_are_read(level: int, size: int) -> None:
    """Any deflate, in chunks of any length, some of them empty."""
    packed = zlib.compress(FILTERED, level)
    parts = [packed[start : start + size] for start in range(0, len(packed), size)]
    for content in (built(parts, END), built([b"", *parts, b""], END), built(parts, END) + b"more"):
        found = read(content, PIXELS.shape)
        assert found is not None
        assert np.array_equal(found, PIXELS)


def test_what_is_of_another_kind_or_damaged_is_left_to_libvips() -> None:
    good = encode_png(PIXELS)
    packed = zlib.compress(FILTERED)
    other_filter = bytearray(FILTERED)
    other_filter[91 * 7] = 1
    files = {
        "filter": built([zlib.compress(bytes(other_filter))], END),
        "a row too few": built([zlib.compress(FILTERED[:-91])], END),
        "a row too many": built([zlib.compress(FILTERED + FILTERED[:91])], END),
        "a byte too many": built([zlib.compress(FILTERED + b"2")], END),
        "more after the stream": built([packed + b"2"], END),
        "more in another chunk": built([packed, b"2"], END),
        "stream without end": built([packed[:-3]], END),
        "wrong checksum of the stream": built([packed[:-1] + bytes([packed[-1] ^ 1])], END),
        "no end": built([packed]),
        "no pixels": built([], END),
        "profile": built([packed], END, before=chunk(b"gAMA", struct.pack(">I", 100_000))),
        "a chunk between": built([packed], chunk(b"tEXt", b"a\0b"), END),
        "not deflated": built([b"nonsense" * 20], END),
        "empty": b"",
    }
    for name, content in files.items():
        assert read(content, PIXELS.shape) is None, name
    for shape in ((30, 20, 3), (20, 31, 3), (1, 600, 3)):
        assert read(good, shape) is None
    for end in range(len(good)):
        assert read(good[:end], PIXELS.shape) is None
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 16
        assert read(bytes(damaged), PIXELS.shape) is None, place
    pillow = io.BytesIO()
    Image.fromarray(PIXELS).save(pillow, "PNG")
    assert read(pillow.getvalue(), PIXELS.shape) is None


def test_files_are_read_by_it_where_they_can_be(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / "pillow.png")
    Image.fromarray(PIXELS).save(tmp_path / "a.tif")
    with patch("goldeye.images.io._decode", side_effect=AssertionError("by libvips")):
        assert np.array_equal(read_image(tmp_path / "a.png"), PIXELS)
        for name in ("pillow.png", "a.tif"):
            with pytest.raises(AssertionError, match="by libvips"):
                read_image(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / "pillow.png"), PIXELS)


def test_damage_is_still_reported_by_name(tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    write_image(tmp_path / "a.png", large)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"a\.png' is truncated or damaged"):
        read_image(tmp_path / "a.png")


def test_reading_takes_memory_for_some_rows(tmp_path: Path) -> None:
    picture: Any = np.memmap(tmp_path / "map", np.uint8, "w+", shape=(20_000, 1_600, 3))
    picture[:] = np.random.default_rng(0).integers(0, 256, (1, 1_600, 3), np.uint8)
    write_image(tmp_path / "a.png", picture)
    parts = chunks((tmp_path / "a.png").read_bytes())
    one = b"".join(content for kind, content in parts if kind == b"IDAT")
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", parts[0][1])
    (tmp_path / "one.png").write_bytes(head + chunk(b"IDAT", one) + END)
    pixels: Any = np.memmap(tmp_path / "read", np.uint8, "w+", shape=picture.shape)
    for name in ("a.png", "one.png"):
        pixels[:] = 0
        with (tmp_path / name).open("rb") as file:
            tracemalloc.start()
            try:
                assert read_png(file, pixels)
                need = tracemalloc.get_traced_memory()[1] / 2**20
            finally:
                tracemalloc.stop()
        assert need < 8
        assert np.array_equal(pixels, picture)
