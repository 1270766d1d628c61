"""Writing: what is refused, what is never half done, and in forked processes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from PIL import Image

from goldeye.errors import ImageError
from goldeye.images import check_writable, encode_png, open_picture, read_image, to_eight_bit, write_image

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def run(script: str) -> None:
    """Run a script that fails by an exception, a signal, or by not ending."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "height", "width", "settings", "sentence"),
    [
        ("a.jpg", 1, 65_501, {}, "65501 x 1 pixels are too many for a .jpg file (at most 65,500 a side)"),
        ("a.JPEG", 65_501, 1, {}, "1 x 65501 pixels are too many for a .jpeg file (at most 65,500 a side)"),
        ("a.webp", 16_384, 5, {}, "5 x 16384 pixels are too many for a .webp file (at most 16,383 a side)"),
        ("a.png", 5, 1_000_001, {}, "1000001 x 5 pixels are too many for a .png file (at most 1,000,000 a side)"),
        ("a.bmp", 40_000, 40_000, {}, "40000 x 40000 pixels are more than 4 GiB of a .bmp file"),
        ("a.jpg", 5, 5, {"bits": 16}, "a .jpg file holds 8 bits a channel, not 16"),
        ("a.webp", 5, 5, {"bits": 16}, "a .webp file holds 8 bits a channel, not 16"),
        ("a.bmp", 5, 5, {"bits": 16}, "a .bmp file holds 8 bits a channel, not 16"),
        ("a.jpg", 5, 5, {"alpha": True}, "a .jpg file holds no alpha channel"),
        ("a.bmp", 5, 5, {"alpha": True}, "a .bmp file holds no alpha channel"),
        ("a.gif", 5, 5, {}, "its ending must be one of .png, .jpg, .jpeg, .webp, .tif, .tiff, .bmp"),
    ],
)
def test_what_a_format_cannot_hold(
    tmp_path: Path, name: str, height: int, width: int, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ImageError) as caught:
        check_writable(tmp_path / name, height, width, **settings)
    assert caught.value.message == f"'{tmp_path / name}' cannot be written: {sentence}."


def test_what_the_formats_hold(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.jpg", 65_500, 65_500)
    check_writable(tmp_path / "a.webp", 16_383, 16_383, alpha=True)
    check_writable(tmp_path / "a.png", 1_000_000, 20, bits=16, alpha=True)
    check_writable(tmp_path / "a.tif", 1_000_000, 100_000, bits=16, alpha=True)
    check_writable(tmp_path / "a.bmp", 30_000, 40_000)


def test_the_limits_are_the_codecs_own(tmp_path: Path) -> None:
    for name, side in (("a.jpg", 65_500), ("a.webp", 16_383), ("a.png", 1_000_000)):
        line = np.full((1, side, 3), 80, np.uint8)
        write_image(tmp_path / name, line)
        assert read_image(tmp_path / name).shape == line.shape


def test_the_writer_checks_too(tmp_path: Path) -> None:
    deep, alpha = PIXELS.astype(np.uint16), PIXELS[..., 0]
    for name, picture, settings in (
        ("a.webp", np.zeros((1, 16_384, 3), np.uint8), {}),
        ("a.jpg", deep, {}),
        ("a.webp", deep, {}),
        ("a.bmp", deep, {}),
        ("a.jpg", PIXELS, {"alpha": alpha}),
        ("a.bmp", PIXELS, {"alpha": alpha}),
        ("a.xyz", PIXELS, {}),
    ):
        with pytest.raises(ImageError, match="cannot be written"):
            write_image(tmp_path / name, picture, **settings)  # type: ignore[arg-type]
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=r"folder\.png' cannot be written: it is a folder"):
        write_image(tmp_path / "folder.png", PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float64),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int32),
    ],
)
def test_what_is_no_picture_is_not_written(tmp_path: Path, wrong: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        write_image(tmp_path / "a.png", wrong)


@pytest.mark.parametrize("alpha", [np.zeros((4, 5), np.uint8), np.zeros((20, 30), np.uint16)])
def test_an_alpha_that_does_not_fit(tmp_path: Path, alpha: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="alpha"):
        write_image(tmp_path / "a.png", PIXELS, alpha=alpha)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 31])
@pytest.mark.parametrize("grey", [False, True])
def test_a_bmp_is_the_one_that_pillow_writes(tmp_path: Path, width: int, grey: bool) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (150, width, 3), np.uint8)
    write_image(tmp_path / "ours.bmp", pixels, grey=grey)
    Image.fromarray(pixels).convert("L" if grey else "RGB").save(tmp_path / "pillows.bmp")
    assert (tmp_path / "ours.bmp").read_bytes() == (tmp_path / "pillows.bmp").read_bytes()


def test_every_colours_luma(tmp_path: Path) -> None:
    levels = np.arange(2**24, dtype=np.uint32).reshape(4096, 4096)
    red, green, blue = levels >> 16, levels >> 8 & 255, levels & 255
    write_image(tmp_path / "a.bmp", np.dstack([red, green, blue]).astype(np.uint8), grey=True)
    with Image.open(tmp_path / "a.bmp") as image:
        assert np.array_equal(np.asarray(image), (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16)


def test_luma_of_16_bits(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (500, 500, 3), np.uint16)
    deep[0] = np.array([0, 65535], np.uint16)[np.random.default_rng(1).integers(0, 2, (500, 3))]
    write_image(tmp_path / "a.png", deep, grey=True)
    red, green, blue = (deep[..., channel].astype(np.uint32) for channel in range(3))
    expected = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16
    assert np.array_equal(open_picture(tmp_path / "a.png").pixels[..., 0], expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_a_view_of_a_larger_picture(tmp_path: Path, suffix: str) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (200, 90, 4), np.uint8)
    view = whole[150:10:-1, 5:70:2, :3]
    write_image(tmp_path / f"a{suffix}", view)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), view)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_one_value_everywhere(tmp_path: Path, dtype: type[np.uint8], suffix: str) -> None:
    full = np.iinfo(dtype).max
    write_image(
        tmp_path / f"a{suffix}",
        np.broadcast_to(dtype(full - 1), (20, 30, 3)),
        alpha=np.broadcast_to(dtype(full), (20, 30)),
    )
    loaded = open_picture(tmp_path / f"a{suffix}")
    assert loaded.alpha is not None
    assert (loaded.pixels.shape, loaded.pixels.dtype) == ((20, 30, 3), dtype)
    assert (loaded.pixels == full - 1).all()
    assert (loaded.alpha == full).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_in_memory(dtype: type[np.uint8]) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (20, 30, 3), dtype)
    for content in (encode_png(pixels), encode_png(pixels[::2, 3:9])):
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.mode) == ("PNG", "RGB")
            expected = to_eight_bit(pixels if image.width == 30 else pixels[::2, 3:9])
            assert np.array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_by_name(tmp_path: Path, wrong: float) -> None:
    values = np.full((4, 5, 3), 0.5, np.float32)
    write_image(tmp_path / "fine.png", values)
    assert (read_image(tmp_path / "fine.png") == 128).all()
    values[1, 2, 0] = wrong
    with pytest.raises(ImageError, match=r"a\.png' cannot be written: The picture holds NaN or infinite values\."):
        write_image(tmp_path / "a.png", values)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_a_write_that_fails_leaves_the_earlier_file(tmp_path: Path, suffix: str) -> None:
    """A real failure in the middle: the system allows no file over 4,000 bytes."""
    pytest.importorskip("resource")
    path = tmp_path / f"a{suffix}"
    write_image(path, PIXELS[:8, :8])
    before = path.read_bytes()
    run(f"""
        import resource, signal
        from pathlib import Path
        import numpy as np
        from goldeye.errors import ImageError
        from goldeye.images import write_image
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        try:
            write_image(Path({str(path)!r}), np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
        except ImageError as error:
            assert {str(path)!r} in error.message and chr(10) not in error.message, error.message
        else:
            raise SystemExit("it was written")
    """)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"a\.png' cannot be written: "):
        write_image(tmp_path / "file" / "a.png", PIXELS)


# Forks -----------------------------------------------------------------------------------------------------------

FORK = """
    import os
    from pathlib import Path
    import numpy as np
    from goldeye.images import open_picture, read_image, write_image

    def in_child(work):
        child = os.fork()
        if child == 0:
            try:
                work()
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    folder, suffixes = Path({folder!r}), (".png", ".jpg", ".webp", ".tif", ".bmp")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_reading_works_in_a_forked_worker(tmp_path: Path) -> None:
    """libvips' threads do not survive a fork: a data-loader worker would hang if reading needed them."""
    profile = bytes(pyvips.Image.profile_load("p3"))
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
        write_image(tmp_path / f"a{suffix}", PIXELS, icc=profile)
    pyvips.Image.new_from_array(PIXELS).tiffsave(str(tmp_path / "tiles.tif"), tile=True, tile_width=16, tile_height=16)
    alpha = np.full((20, 30), 9, np.uint8)
    write_image(tmp_path / "alpha.png", PIXELS, alpha=alpha, icc=profile)
    run(
        FORK.format(folder=str(tmp_path))
        + """
    paths = sorted(folder.iterdir())
    write_image(folder / "new.png", pixels)
    def work():
        for path in paths:
            read_image(path), open_picture(path)
    work()
    in_child(work)
    """
    )


@needs_fork
def test_writing_works_in_a_child_of_a_reader(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", PIXELS)
    run(
        FORK.format(folder=str(tmp_path))
        + """
    read_image(folder / "a.png")
    def work():
        from goldeye.images import write
        write._elsewhere = None  # not needed: these children start threads of their own
        for suffix in suffixes:
            write_image(folder / f"child{suffix}", pixels)
        assert (read_image(folder / "child.png") == pixels).all()
    in_child(work)
    in_child(work)
    """
    )


@needs_fork
def test_writing_works_in_a_child_of_a_writer(tmp_path: Path) -> None:
    profile = bytes(pyvips.Image.profile_load("p3"))
    run(
        FORK.format(folder=str(tmp_path))
        + f"""
    profile = {profile!r}
    for suffix in suffixes:
        write_image(folder / f"parent{{suffix}}", pixels, icc=profile)
    def work():
        for suffix in suffixes:
            write_image(folder / f"child{{suffix}}", pixels, icc=profile)
    in_child(work)
    in_child(lambda: in_child(lambda: write_image(folder / "grandchild.png", pixels)))
    for suffix in suffixes:
        assert (folder / f"child{{suffix}}").read_bytes() == (folder / f"parent{{suffix}}").read_bytes()
    """
    )
    assert np.array_equal(read_image(tmp_path / "grandchild.png"), PIXELS)
    assert open_picture(tmp_path / "child.png").icc == profile


@needs_fork
def test_a_failure_in_a_child_of_a_writer_is_told(tmp_path: Path) -> None:
    run(
        FORK.format(folder=str(tmp_path))
        + """
    import resource, signal
    from goldeye.errors import ImageError
    write_image(folder / "parent.png", pixels)
    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
        try:
            write_image(folder / "child.png", pixels)
        except ImageError as error:
            assert "child.png' cannot be written: " in error.message and chr(10) not in error.message, error.message
            return
        raise SystemExit("it was written")
    in_child(work)
    """
    )
    assert [p.name for p in tmp_path.iterdir()] == ["parent.png"]
