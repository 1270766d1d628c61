"""From a network's result to the picture that is wanted: transparency, the input's colours, the final size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from goldeye.errors import InvalidInput
from goldeye.images import (
    FloatPicture,
    Picture,
    premultiply,
    resize_rows,
    spool,
    to_integers,
    unpremultiply,
)
from goldeye.images.colour import as_float
from goldeye.images.resize import resample, weight_matrix
from goldeye.images.tiles import Area
from goldeye.upscale.engine import Read, Upscaler

CELL = 16
"""Side of the cells whose mean colour `keep_colours` keeps, in input pixels."""
_BAND = 256  # rows worked on at a time


@contextmanager
def enlarged(
    upscaler: Upscaler,
    pixels: Picture | FloatPicture,
    alpha: Picture | FloatPicture | None,
    size: tuple[int, int],
    *,
    dtype: np.dtype[Any],
    color_fix: bool = False,
    folder: Path | None = None,
    progress: Callable[[int], object] = lambda pixels: None,
) -> Iterator[tuple[Any, Any]]:
    """Yield `pixels` (H, W, 3) and `alpha` (H, W) or None at `size` (height, width), as `dtype`.

    The network sees colours multiplied by alpha, and alpha itself as a grey picture: so both get the same edges, and
    what lies hidden under full transparency leaves no fringe. `color_fix`: see `keep_colours`. Sizes other than the
    network's are made by MATLAB's bicubic. With `folder`, large arrays lie in a temporary file there, and what is
    yielded lasts only as long as the block.
    """
    height, width = pixels.shape[:2]
    large = height * upscaler.scale, width * upscaler.scale
    opaque = alpha is None or bool(alpha.min() == _full(alpha.dtype))
    simple = opaque and size == large and not color_fix
    work_type = dtype if simple or dtype == np.float32 else np.dtype(np.uint16)
    with ExitStack() as stack:

        def array(shape: tuple[int, ...], kind: np.dtype[Any]) -> Any:
            return np.empty(shape, kind) if folder is None else stack.enter_context(spool(shape, kind, folder))

        read = reader(pixels, None if opaque else alpha)
        work = array((*large, 3), work_type)
        upscaler.fill(work, read, progress=progress)
        shape = None
        if not opaque:
            assert alpha is not None
            shape = array(large, work_type)
            read_alpha = reader(cast("Picture", np.broadcast_to(alpha[..., None], pixels.shape)))
            upscaler.fill(shape, read_alpha)
        if (dark := upscaler.for_dark(work, shape)) is not None:
            dark.fill(work, read)
            if shape is not None:
                dark.fill(shape, read_alpha)
        if color_fix:
            keep_colours(work, read, upscaler.scale)
        if simple:
            yield work, None if alpha is None else np.broadcast_to(_full(dtype), size)
            return
        out = array((*size, 3), dtype)
        out_alpha = None if alpha is None else array(size, dtype)
        _finish(work, shape, out, out_alpha)
        yield out, out_alpha


def upscale_array(
    upscaler: Upscaler,
    picture: Picture | FloatPicture,
    *,
    outscale: float | None = None,
    color_fix: bool = False,
) -> Picture | FloatPicture:
    """(H, W, 3) or, with alpha, (H, W, 4), of uint8, uint16 or float32 in [0, 1] → the same kind, larger."""
    check_array(picture, (3, 4))
    alpha = picture[..., 3] if picture.shape[2] == 4 else None
    size = final_size(picture.shape[0], picture.shape[1], upscaler.scale if outscale is None else outscale)
    with enlarged(upscaler, picture[..., :3], alpha, size, dtype=picture.dtype, color_fix=color_fix) as (large, shape):
        if shape is None:
            return large  # type: ignore[no-any-return]
        return np.concatenate([large, shape[..., None]], axis=2)


def check_array(picture: Any, channels: tuple[int, ...]) -> None:
    """Refuse (InvalidInput) an array that is no picture of so many channels."""
    if picture.ndim != 3 or picture.shape[2] not in channels or picture.size == 0:
        shapes = " or ".join(f"(H, W, {count})" for count in channels)
        raise InvalidInput(f"A picture is an array {shapes}, not {picture.shape}.")
    if picture.dtype not in (np.uint8, np.uint16, np.float32):
        raise InvalidInput(f"A picture holds uint8, uint16 or float32 numbers, not {picture.dtype}.")


def final_size(height: int, width: int, outscale: float) -> tuple[int, int]:
    """(height, width) at `outscale` times an input's size. Raises InvalidInput for a factor that is none."""
    if not 0 < outscale < float("inf"):
        raise InvalidInput(f"The output scale must be a positive number, not {outscale}.")
    return max(1, round(height * outscale)), max(1, round(width * outscale))


def reader(pixels: Picture | FloatPicture, alpha: Picture | FloatPicture | None = None) -> Read:
    """Areas of a picture as the network sees them: float32, multiplied by alpha where there is one."""

    def read(area: Area) -> FloatPicture:
        rows, columns = slice(area.top, area.bottom), slice(area.left, area.right)
        if alpha is not None:
            return premultiply(pixels[rows, columns], alpha[rows, columns])
        return as_float(pixels[rows, columns])

    return read


def keep_colours(large: Picture | FloatPicture, read: Read, scale: int) -> None:
    """Give a result (H·scale, W·scale, 3) the low-frequency colours of its input, in place.

    The mean colours of cells of CELL x CELL input pixels are compared; what the result's lack is added to it, bilinear
    between the cells' centres. Detail stays as it is.
    """
    height, width = large.shape[0] // scale, large.shape[1] // scale
    missing = np.empty((-(-height // CELL), -(-width // CELL), 3), np.float32)
    for row, top in enumerate(range(0, height, CELL)):
        bottom = min(top + CELL, height)
        wanted = _cells(read(Area(top, bottom, 0, width)), CELL)
        missing[row] = wanted - _cells(as_float(large[top * scale : bottom * scale]), CELL * scale)
    columns = _bilinear(np.arange(large.shape[1]), CELL * scale, large.shape[1])
    for top in range(0, len(large), _BAND):
        band = large[top : top + _BAND]
        rows = _bilinear(np.arange(top, top + len(band)), CELL * scale, len(large))
        large[top : top + _BAND] = _typed(as_float(band) + resample(missing, rows, columns), large.dtype)


def _cells(band: FloatPicture, side: int) -> FloatPicture:
    """Mean colour of each `side` columns of a band: (h, W, 3) → (ceil(W / side), 3)."""
    starts = np.arange(0, band.shape[1], side)
    sums = np.add.reduceat(band.mean(axis=0, dtype=np.float64), starts, axis=0)
    counts = np.diff(np.append(starts, band.shape[1]))
    means: FloatPicture = (sums / counts[:, None]).astype(np.float32)
    return means


def _bilinear(positions: npt.NDArray[np.int64], side: int, size: int) -> sparse.csr_array:
    """Weights (positions, cells) of the cells' centres at pixels of an axis; beyond the outer centres, theirs alone."""
    starts = np.arange(0, size, side)
    centres = (starts + np.minimum(starts + side, size)) / 2 - 0.5
    after = np.clip(np.searchsorted(centres, positions), 1, max(len(centres) - 1, 1))
    neighbours = np.minimum(np.stack([after - 1, after], axis=1), len(centres) - 1)
    low, high = centres[neighbours].T
    share = np.clip((positions - low) / np.maximum(high - low, 1), 0, 1)
    return weight_matrix(neighbours, np.stack([1 - share, share], axis=1), len(centres))


def _finish(
    work: Picture | FloatPicture,
    shape: Picture | FloatPicture | None,
    out: Picture | FloatPicture,
    out_alpha: Picture | FloatPicture | None,
) -> None:
    """Resize and un-premultiply into `out` and `out_alpha`, band by band."""
    height, width = out.shape[:2]
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        colours = resize_rows(work, height, width, top, bottom)
        if shape is not None:
            assert out_alpha is not None
            opacity = resize_rows(shape[..., None], height, width, top, bottom)[..., 0]
            out_alpha[top:bottom] = visible = _typed(opacity, out.dtype)
            # By the opacity before it was clipped: where bicubic overshoots, it does so in both.
            colours = unpremultiply(colours, np.where(visible > 0, opacity, 0))
        elif out_alpha is not None:
            out_alpha[top:bottom] = _full(out.dtype)
        out[top:bottom] = _typed(colours, out.dtype)


def _full(dtype: np.dtype[Any]) -> Any:
    """What 1.0 is in a picture of this type."""
    return dtype.type(1 if dtype == np.float32 else np.iinfo(dtype).max)


def _typed(values: FloatPicture, dtype: np.dtype[Any]) -> Picture | FloatPicture:
    return np.clip(values, 0, 1) if dtype == np.float32 else to_integers(values, dtype)
