"""Large pictures are written, read and resized in memory for some of their rows."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from goldeye.images import resize_into

MEASURE = """
    import sys, threading, time
    from contextlib import ExitStack
    from itertools import product
    from pathlib import Path
    import numpy as np, pyvips
    from goldeye.images import open_picture, spool, write_image

    folder, height, width, suffixes, limit = {folder!r}, {height}, {width}, {suffixes}, {limit}
    folder, profile = Path(folder), bytes(pyvips.Image.profile_load("p3"))
    sys.modules["goldeye.images.spool"].IN_MEMORY = 0  # so that the arrays' own memory does not count

    def private():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

    def peak(work):
        "How many MB `work` needed at most, seen every few milliseconds."
        start, seen, done = private(), [0.0], threading.Event()
        def watch():
            while not done.wait(0.003):
                seen.append(private())
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            work()
        finally:
            done.set()
            watcher.join()
        return max(seen) - start

    for suffix, kind in product(suffixes, ("rgb", "alpha", "opaque", "grey", "icc")):
        deep = suffix == ".tif"
        if suffix in (".jpg", ".bmp") and kind in ("alpha", "opaque"):
            continue
        dtype = np.uint16 if deep else np.uint8
        with ExitStack() as stack:
            def make(shape, dtype):
                return stack.enter_context(spool(shape, dtype, folder))
            pixels, alpha = make((height, width, 3), dtype), make((height, width), dtype)
            ramp = (np.arange(width * 3) % 1009).astype(dtype).reshape(width, 3)
            for row in range(height):
                pixels[row], alpha[row] = ramp, ramp[:, 0]
            opaque = np.broadcast_to(dtype(np.iinfo(dtype).max), alpha.shape)
            settings = {{
                "alpha": dict(alpha=alpha), "opaque": dict(alpha=opaque),
                "grey": dict(grey=True), "icc": dict(icc=profile),
            }}.get(kind, {{}})
            path = folder / f"a{{suffix}}"
            need = peak(lambda: write_image(path, pixels, software="test", **settings))
            assert need < limit, (suffix, kind, "written", need)
            if suffix != ".bmp" and kind != "opaque":
                for srgb in {{False, kind == "icc"}}:
                    need = peak(lambda: open_picture(path, srgb=srgb, into=make))
                    assert need < limit, (suffix, kind, "read", need)
"""

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="measured through /proc")


def measure(folder: Path, height: int, width: int, suffixes: tuple[str, ...], limit: int) -> None:
    script = MEASURE.format(folder=str(folder), height=height, width=width, suffixes=suffixes, limit=limit)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_linux
def test_reading_and_writing_take_no_memory_of_the_pictures_size(tmp_path: Path) -> None:
    """48 MB of pixels in 8 bits, 96 MB in 16; a third of it for one channel."""
    measure(tmp_path, 10_000, 1_600, (".png", ".tif", ".jpg", ".bmp"), 15)


@pytest.mark.slow
@needs_linux
def test_a_picture_of_300_million_pixels(tmp_path: Path) -> None:
    measure(tmp_path, 20_000, 15_000, (".png", ".tif", ".jpg", ".bmp"), 200)


@pytest.mark.parametrize("size", [(5000, 2000), (1000, 500)])
def test_resizing_takes_memory_for_a_band(size: tuple[int, int]) -> None:
    """The larger one of the two pictures has 120 MB as floats."""
    picture = np.random.default_rng(0).integers(0, 256, (6000 - size[0], 2500 - size[1], 3), np.uint8)
    out = np.empty((*size, 3), np.uint8)
    tracemalloc.start()
    try:
        resize_into(picture, out)
        need = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert need < 80
