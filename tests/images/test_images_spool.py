"""Arrays on disk: nothing is left of them, and what cannot be kept is refused in one sentence."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from goldeye.errors import ImageError
from goldeye.images import open_picture, spool, write_image

SHAPE = (30, 40, 3)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything over 1,000 bytes counts as large."""
    monkeypatch.setattr(import_module("goldeye.images.spool"), "IN_MEMORY", 1000)


def on_disk(array: npt.NDArray[Any]) -> bool:
    return isinstance(array.base, np.memmap)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_large_array_lies_in_a_file_that_has_no_name(tmp_path: Path, large: None, dtype: type) -> None:
    folder = tmp_path / "new" / "folder"
    with spool(SHAPE, dtype, folder) as array:
        assert on_disk(array)
        assert (array.shape, array.dtype) == (SHAPE, dtype)
        assert type(array) is np.ndarray
        assert array.flags.c_contiguous
        values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, SHAPE, dtype)
        array[:] = values
        assert np.array_equal(array, values)
        if sys.platform != "win32":
            assert list(folder.iterdir()) == []
        write_image(tmp_path / "a.png", array, alpha=array[..., 0])
    del array
    assert list(folder.iterdir()) == []
    loaded = open_picture(tmp_path / "a.png")
    assert np.array_equal(loaded.pixels, values)
    assert loaded.alpha is not None
    assert np.array_equal(loaded.alpha, values[..., 0])


def test_a_small_array_lies_in_memory(tmp_path: Path) -> None:
    with spool(SHAPE, np.uint8, tmp_path / "folder") as array:
        assert not on_disk(array)
        assert array.flags.writeable
        assert array.shape == SHAPE
    assert not (tmp_path / "folder").exists()


def test_a_picture_is_decoded_into_it(tmp_path: Path, large: None) -> None:
    values = np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)
    write_image(tmp_path / "a.png", values, alpha=values[..., 1])
    shapes = []

    def into(shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
        shapes.append((shape, dtype))
        return stack.enter_context(spool(shape, dtype, tmp_path))

    with ExitStack() as stack:
        loaded = open_picture(tmp_path / "a.png", into=into)
        assert shapes == [((30, 50, 3), np.uint8), ((30, 50), np.uint8)]
        assert loaded.alpha is not None
        assert on_disk(loaded.pixels)
        assert on_disk(loaded.alpha)
        assert np.array_equal(loaded.pixels, values)
        assert np.array_equal(loaded.alpha, values[..., 1])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(tmp_path: Path, large: None, error: type[BaseException]) -> None:
    with pytest.raises(error), spool(SHAPE, np.uint8, tmp_path):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_nothing_is_left_after_a_kill(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
import numpy as np
from goldeye.images import spool
with spool((300, 1000, 1000), np.uint8, Path({str(tmp_path)!r})) as array:
    array[0] = 1
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert list(tmp_path.iterdir()) == []


# Where it cannot be kept -----------------------------------------------------------------------------------------


def test_a_disk_without_room_is_told_before(tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    with pytest.raises(ImageError) as caught, spool((1000, 500, 300), np.uint16, tmp_path):
        pytest.fail("there is no room")
    assert caught.value.message == f"'{tmp_path}' has 0.1 GB free; a picture of 0.3 GB needs more."


def test_a_system_that_refuses_the_space(tmp_path: Path) -> None:
    """A real refusal: the system allows no file over 4,000 bytes."""
    pytest.importorskip("resource")
    script = f"""
import resource, signal
from pathlib import Path
import numpy as np
from goldeye.errors import ImageError
from goldeye.images import spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    with spool((300, 1000, 1000), np.uint8, Path({str(tmp_path)!r})):
        raise SystemExit("it was made")
except ImageError as error:
    assert error.message == "A picture of 0.3 GB cannot be kept in '{tmp_path}': File too large.", error.message
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, large: None) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ImageError, match=r"cannot be kept in '.*file/folder': "),
        spool(SHAPE, np.uint8, tmp_path / "file" / "folder"),
    ):
        pytest.fail("there is no such folder")
