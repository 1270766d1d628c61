"""Damaged files: whatever the bytes, the readers return a picture or raise ImageError, and they end.

The readers run in a process of their own, so that a crash or a hang of a decoder is a failure of one test.
`python tests/images/test_images_fuzz.py SEEDS FIRST COUNT` is that process.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from goldeye.errors import ImageError
from goldeye.images import image_size, open_picture, read_image

FORMATS = ["png", "jpg", "webp", "tif", "bmp"]
SECONDS = 5  # for one small file, whatever it asks for, on a busy machine


def seeds() -> Iterator[tuple[str, bytes]]:
    """(ending, bytes) of small pictures of many kinds, cut from scikit-image's photographs."""
    data = pytest.importorskip("skimage.data")
    photo, coins = Image.fromarray(data.astronaut()[40:80, 200:248]), Image.fromarray(data.coins()[:40, :48])
    cat = Image.fromarray(data.cat()[100:133, 150:199])
    profile = bytes(pyvips.Image.profile_load("p3"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    seen = photo.copy()
    seen.putalpha(coins)
    told: dict[str, Any] = {"icc_profile": profile, "exif": exif}
    deep = pyvips.Image.new_from_array(np.asarray(cat).astype(np.uint16) * 257).copy(interpretation="rgb16")
    plans: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("png", photo, told),
        ("png", seen, {}),
        ("png", cat.quantize(16), {"transparency": 3}),
        ("png", photo, {"save_all": True, "append_images": [photo.rotate(90)]}),
        ("jpg", photo, told),
        ("jpg", coins, {"progressive": True}),
        ("jpg", photo.convert("CMYK"), {"icc_profile": bytes(pyvips.Image.profile_load("cmyk"))}),
        ("webp", photo, told),
        ("webp", seen, {"lossless": True}),
        ("webp", photo, {"save_all": True, "append_images": [cat.resize(photo.size)]}),
        ("tif", photo, told),
        ("tif", seen, {"compression": "tiff_deflate"}),
        ("tif", cat.quantize(16), {"compression": "tiff_lzw"}),
        ("tif", photo, {"compression": "jpeg"}),
        ("bmp", photo, {}),
        ("bmp", cat.quantize(16), {}),
        ("bmp", seen, {}),
    ]
    for ending, picture, settings in plans:
        buffer = io.BytesIO()
        picture.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper()), **settings)
        yield ending, buffer.getvalue()
    yield "png", deep.pngsave_buffer()
    yield "tif", deep.tiffsave_buffer(compression="deflate", tile=True, tile_width=16, tile_height=16)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bytes (mostly in the header), cut, repeat or swap stretches, put in extreme numbers."""
    result = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        end = len(result) if rng.random() < 0.4 else min(len(result), 300)
        place = int(rng.integers(end))
        match rng.integers(8):
            case 0:
                del result[place : place + int(rng.integers(1, 40))]
            case 1:
                result[place:place] = result[place : place + int(rng.integers(1, 40))]
            case 2:
                extreme = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\1\0\0")
                result[place : place + 4] = extreme[rng.integers(len(extreme))]
            case _:
                result[place] = rng.integers(256)
        if not result:
            break
    return bytes(result[: rng.integers(len(result) + 1)] if rng.random() < 0.1 else result)


def read_all(folder: Path, first: int, count: int) -> dict[str, Any]:
    """Read `count` mutations of the seeds in `folder` in every way; anything but ImageError comes out."""
    warnings.simplefilter("ignore")
    sources = [(path.suffix[1:], path.read_bytes()) for path in sorted(folder.glob("seed*"))]
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(first, first + count):
        ending, data = sources[number % len(sources)]
        path = folder / f"mutated {number % len(sources)}.{ending}"
        path.write_bytes(mutated(data, np.random.default_rng([7, number])))
        for read in (open_picture, read_image, image_size):
            start, message = time.perf_counter(), ""
            try:
                found: Any = read(path, max_pixels=2_000_000)
            except ImageError as error:
                message = error.message
            slowest = max(slowest, time.perf_counter() - start)
            outcomes[f"{ending} {'refused' if message else 'read'}"] += 1
            if message:
                assert str(path) in message, message
                assert "\n" not in message, message
            elif read is not image_size:
                pixels = found if read is read_image else found.pixels
                assert pixels.ndim == 3
                assert pixels.shape[2] == 3
                assert pixels.dtype in (np.uint8, np.uint16)
    return {"outcomes": outcomes, "slowest": slowest}


def fuzz(folder: Path, first: int, count: int, timeout: float) -> None:
    for number, (ending, data) in enumerate(seeds()):
        (folder / f"seed{number:02d}.{ending}").write_bytes(data)
    command = [sys.executable, __file__, str(folder), str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert sum(result["outcomes"].values()) == 3 * count
    # Both outcomes in each format: the mutations are neither harmless nor fatal throughout.
    assert set(result["outcomes"]) == {f"{ending} {word}" for ending in FORMATS for word in ("read", "refused")}
    assert result["slowest"] < SECONDS


def test_the_seeds_are_readable(tmp_path: Path) -> None:
    kinds = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (ending, data) in enumerate(seeds()):
            path = tmp_path / f"{number}.{ending}"
            path.write_bytes(data)
            loaded = open_picture(path)
            kinds.add((ending, loaded.alpha is None, loaded.grey, loaded.icc is None, loaded.exif is None))
    assert len(kinds) >= 10


def test_a_few_hundred_damaged_files(tmp_path: Path) -> None:
    fuzz(tmp_path, 0, 300, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_thousands_of_damaged_files(tmp_path: Path, part: int) -> None:
    fuzz(tmp_path, 300 + 1500 * part, 1500, timeout=600)


if __name__ == "__main__":
    print(json.dumps(read_all(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201
