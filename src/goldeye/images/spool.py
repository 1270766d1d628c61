"""Arrays that need no memory of their own when they are large: they lie in a nameless file."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from goldeye.errors import ImageError
from goldeye.images.colour import Depth, Picture
from goldeye.images.io import reason

IN_MEMORY = 256 * 2**20
"""Bytes: smaller arrays lie in memory."""


@contextmanager
def spool(shape: tuple[int, ...], dtype: Depth, folder: Path) -> Iterator[Picture]:
    """Yield an array to be filled: in memory when it is small, else on the disk that holds `folder` (made if missing).

    The file has no name: it goes with the last reference to the array, however the process ends. Its space is taken
    at once; ImageError when there is not enough.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < IN_MEMORY:
        small: Any = np.empty(shape, dtype)
        yield small
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise ImageError(f"'{folder}' has {free / 1e9:.1f} GB free; a picture of {size / 1e9:.1f} GB needs more.")
        with tempfile.TemporaryFile(dir=folder, prefix=".goldeye-") as file:
            _reserve(file, size)
            array: Any = np.asarray(np.memmap(file, dtype, "r+", shape=shape))
    except OSError as error:
        raise ImageError(f"A picture of {size / 1e9:.1f} GB cannot be kept in '{folder}': {reason(error)}.") from None
    yield array


def _reserve(file: BinaryIO, size: int) -> None:
    """Take the space: a full disk met only when a page is written would end the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    file.truncate(size)
