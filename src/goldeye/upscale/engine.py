"""A network over a picture of any size: cut, batched, computed, blended, and put together again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.images import FloatPicture, Picture, from_tensor, to_tensor
from goldeye.images.colour import as_float
from goldeye.images.tiles import Area, Cut, cut
from goldeye.networks.blocks import pad_to_multiple
from goldeye.upscale.fusion import Fusion, SelfEnsemble, WeightedEnsemble
from goldeye.upscale.memory import free_memory, tile_bytes
from goldeye.upscale.precision import choose_precision, prepare_network

Read: TypeAlias = Callable[[Area], FloatPicture]
"""Gives an area of the input as float32 (rows, columns, 3) in [0, 1]."""

LOCAL_RADIUS = 64
"""Networks that see no further get windows that show them everything: tiles then change nothing."""
TILE_PAD = 16
"""Surroundings of a tile for all other networks, in input pixels (measured: docs/upscaling.md)."""
_SMALLEST_TILE = 32
_MOST_MEMORY = {"cpu": 3 * 2**28, "cuda": 8 * 2**30, "mps": 2 * 2**30}  # bytes for a tile
_MOST_IN_BATCH = 16


class Upscaler:
    """A network and how to run it. Pictures go through `pieces`; `fill` writes them into an array.

    `tile` is the side of a tile in input pixels, 0 for as large as free memory allows. Each tile is computed with
    `tile_pad` pixels around it: by default the network's receptive radius where that is at most LOCAL_RADIUS (results
    then equal those without tiles), else TILE_PAD, and neighbouring tiles are blended where they meet. `precision` is
    auto, fp32, bf16 or fp16; `ensemble` averages the eight flips and rotations; `compile` uses torch.compile.
    `steady` lets nothing depend on the memory that is free: a `tile` is needed, one is computed at a time, and where
    memory runs out that is a GoldeyeError, not a reason for smaller tiles.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        scale: int,
        tile: int = 0,
        tile_pad: int | None = None,
        precision: str = "fp32",
        ensemble: bool = False,
        compile: bool = False,
        steady: bool = False,
    ) -> None:
        if tile < 0 or (tile_pad is not None and tile_pad < 0):
            raise InvalidInput("The tile and its padding must be 0 or a number of pixels.")
        if steady and not tile:
            raise ValueError("steady needs a tile")
        self.scale = scale
        self.device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        self.precision = choose_precision(precision, self.device)
        self.tile = tile
        self._multiple = int(getattr(module, "size_multiple", 1))
        self._grid = math.lcm(self._multiple, int(getattr(module, "grid", 1)))
        radius: int | None = getattr(module, "receptive_radius", None)
        local = radius is not None and radius <= LOCAL_RADIUS
        self.tile_pad = tile_pad if tile_pad is not None else radius if radius is not None and local else TILE_PAD
        self._blends = radius is None or self.tile_pad < radius
        self._network = _prepare(module, self.precision, self.device, compile)
        self._exact = None if self.precision == "fp32" else module
        if ensemble:
            self._network = SelfEnsemble(self._network)
            self._exact = SelfEnsemble(self._exact) if self._exact is not None else None
        self._compiled = compile
        self._bytes = 0  # of memory for each input pixel, measured when first needed
        self._failed: int | None = None  # the fewest input pixels for which the memory did not suffice
        self._steady = steady
        self._batches = self.device.type != "cpu" and not steady  # on a CPU one window at a time is as fast
        self._dark: tuple[float, Upscaler] | None = None
        if isinstance(module, Fusion):
            options = {"tile": tile, "tile_pad": tile_pad, "ensemble": ensemble}
            options |= {"compile": compile, "steady": steady}
            self._dark = module.threshold, Upscaler(module.mix, scale=scale, precision=precision, **options)  # type: ignore[arg-type]

    def fill(
        self, out: Picture | FloatPicture, read: Read, *, progress: Callable[[int], object] = lambda pixels: None
    ) -> None:
        """Upscale into `out`, (H·scale, W·scale, 3) of uint8, uint16 or float32, or (H·scale, W·scale) for their mean.

        `progress` is told how many input pixels each finished area has. Raises GoldeyeError naming the tile where the
        network gives values that are not finite, in float32 as well.
        """
        height, width = out.shape[0] // self.scale, out.shape[1] // self.scale
        for area, values in self._pieces(read, height, width, self._tile(height, width)):
            rows = slice(area.top * self.scale, area.bottom * self.scale)
            columns = slice(area.left * self.scale, area.right * self.scale)
            if out.ndim == 2:
                values = values.mean(dim=0, keepdim=True).expand(3, -1, -1)
            piece = _as(values, out.dtype)
            out[rows, columns] = piece if out.ndim == 3 else piece[..., 0]
            progress((area.bottom - area.top) * (area.right - area.left))

    def for_dark(self, out: Picture | FloatPicture, alpha: Picture | FloatPicture | None) -> Upscaler | None:
        """RGAN's fusion for a dark result: what computes its weighted average; None for all else.

        `out` is R's whole result; with `alpha` it is multiplied by that, and only what can be seen counts.
        """
        if self._dark is not None and median_luma(out, alpha) < self._dark[0]:
            return self._dark[1]
        return None

    def pieces(self, read: Read, height: int, width: int) -> Iterator[tuple[Area, Tensor]]:
        """Yield the finished areas of an input of (height, width), tile by tile, with their results.

        Areas fit edge to edge. Results are float32 (3, rows·scale, columns·scale), not clipped, on the network's
        device. Raises InvalidInput for RGAN's fusion, which needs the whole result to choose.
        """
        if self._dark is not None:
            raise InvalidInput("RGAN's fusion chooses by the whole result: tile by tile it cannot be had.")
        yield from self._pieces(read, height, width, self._tile(height, width))

    def _pieces(self, read: Read, height: int, width: int, tile: int) -> Iterator[tuple[Area, Tensor]]:
        rows, columns = (cut(size, tile, self.tile_pad, self._grid) for size in (height, width))
        half = min(self._half(rows), self._half(columns))
        scale = self.scale
        above: Tensor | None = None  # the lower ends of the row of tiles before, for the whole width
        for row, top in enumerate(rows.starts):
            below = torch.empty(3, 2 * half * scale, width * scale, device=self.device)
            left: Tensor | None = None  # the right end of the tile before
            windows = [Area(top, rows.end(row), start, columns.end(i)) for i, start in enumerate(columns.starts)]
            for column, values in enumerate(self._run(read, windows)):
                values = values[:, slice(*_span(rows, row, half, scale)), slice(*_span(columns, column, half, scale))]
                left, values = _blended(left, values, 2 * half * scale, 2, last=column == len(windows) - 1)
                area = _area(rows, columns, row, column, half)
                across = slice(area.left * scale, area.right * scale)
                end, values = _blended(
                    None if above is None else above[:, :, across],
                    values,
                    2 * half * scale,
                    1,
                    last=row == len(rows.starts) - 1,
                )
                if end is not None:
                    below[:, :, across] = end
                yield area, values
            above = below

    def _half(self, axis: Cut) -> int:
        """How far the blending of two tiles reaches to either side of their border, in input pixels."""
        if not self._blends:
            return 0
        if len(axis.starts) == 1:
            return self.tile_pad // 2
        nearest = min(b - a for a, b in pairwise(axis.borders))
        return min(self.tile_pad // 2, nearest // 2)

    def _run(self, read: Read, windows: list[Area]) -> Iterator[Tensor]:
        """The result (3, h·scale, w·scale) of each window, batched as memory allows."""
        start = 0
        while start < len(windows):
            some = windows[start : start + self._batch(windows[start])]
            some = [window for window in some if _size(window) == _size(some[0])]  # the last may be smaller
            if self._failed is not None and self._pixels(some[0]) >= self._failed:
                yield self._in_smaller_tiles(read, some[0])
                start += 1
                continue
            inputs = torch.cat([to_tensor(read(window)) for window in some])
            values = self._compute(pad_to_multiple(inputs, self._multiple))
            if values is None:
                continue  # out of memory: now less is taken at once
            height, width = _size(some[0])
            for window, x, y in zip(some, inputs, values, strict=True):
                result = y[:, : height * self.scale, : width * self.scale].float()
                yield result if torch.isfinite(result).all() else self._again(x[None], window)
            start += len(some)

    def _compute(self, windows: Tensor) -> Tensor | None:
        """(B, 3, h, w) → (B, 3, h·scale, w·scale); None, and smaller windows from now on, when memory runs out."""
        try:
            return self._checked(self._network, windows.to(self.device))
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if self._steady:
                text = f"There is not enough memory for tiles of {self.tile} pixels: give a smaller --tile."
                raise GoldeyeError(text) from None
        # Only here: the exception, while it lives, keeps what the network had made so far.
        pixels = len(windows) * windows.shape[2] * windows.shape[3]
        self._failed = pixels if self._failed is None else min(pixels, self._failed)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _checked(self, network: nn.Module, windows: Tensor) -> Tensor:
        with torch.inference_mode():
            values: Tensor = network(windows)
        batch, _, height, width = windows.shape
        expected = (batch, 3, height * self.scale, width * self.scale)
        if tuple(values.shape) != expected:
            raise InvalidInput(
                f"The network gives no RGB picture of scale {self.scale}: {tuple(values.shape)}, not {expected}."
            )
        return values

    def _again(self, window: Tensor, area: Area) -> Tensor:
        """One window in float32, because half precision overflowed."""
        if self._exact is not None:
            padded = pad_to_multiple(window, self._multiple).to(self.device)
            values = self._checked(self._exact, padded)[0]
            values = values[:, : window.shape[2] * self.scale, : window.shape[3] * self.scale].float()
            if torch.isfinite(values).all():
                return values
        raise GoldeyeError(f"The network gave values that are not finite in the tile at {area}.")

    def _in_smaller_tiles(self, read: Read, window: Area) -> Tensor:
        """One window, cut again."""
        height, width = _size(window)
        tile = max(height, width) // 2 - self.tile_pad
        cuts = (cut(side, max(tile, 1), self.tile_pad, self._grid) for side in (height, width))
        if tile < _SMALLEST_TILE or math.prod(axis.window for axis in cuts) >= height * width:
            raise _no_memory(max(height, width))

        def inside(area: Area) -> FloatPicture:
            top, left = window.top, window.left
            return read(Area(area.top + top, area.bottom + top, area.left + left, area.right + left))

        out = torch.empty(3, height * self.scale, width * self.scale, device=self.device)
        for area, values in self._pieces(inside, height, width, tile):
            rows = slice(area.top * self.scale, area.bottom * self.scale)
            out[:, rows, area.left * self.scale : area.right * self.scale] = values
        return out

    def _tile(self, height: int, width: int) -> int:
        """The side of a tile for a picture of (height, width)."""
        if self.tile:
            return self.tile
        pixels = self._window_pixels()
        if height * width <= pixels:
            return max(height, width)
        side = math.isqrt(pixels) - 2 * self.tile_pad
        return max(side // 32 * 32, 2 * _SMALLEST_TILE)

    def _batch(self, window: Area) -> int:
        """How many windows like this one to compute at once."""
        if not self._batches:
            return 1
        return max(1, min(_MOST_IN_BATCH, self._window_pixels() // self._pixels(window)))

    def _pixels(self, window: Area) -> int:
        """What a window has once it is padded to what the network needs."""
        height, width = (-(-side // self._multiple) * self._multiple for side in _size(window))
        return height * width

    def _window_pixels(self) -> int:
        """How many input pixels the network may have before it at once."""
        if self._failed is not None:
            return self._failed // 2
        if not self._bytes:
            try:
                # Not compiled: that would be done for this small picture, and then again for the tiles.
                with torch.compiler.set_stance("force_eager") if self._compiled else nullcontext():
                    self._bytes = tile_bytes(self._network, scale=self.scale, device=self.device)
            except (RuntimeError, MemoryError) as error:
                if _is_out_of_memory(error):
                    raise _no_memory(_SMALLEST_TILE) from None
                raise
        # Half of what is free: others, and libraries with buffers of their own, need some too.
        return min(free_memory(self.device) // 2, _MOST_MEMORY[self.device.type]) // self._bytes


def median_luma(picture: Picture | FloatPicture, alpha: Picture | FloatPicture | None = None) -> float:
    """Median of the luma Y of YCbCr, 0..255 of full range, of (H, W, 3); to 1/256 of a level, in bounded memory.

    With `alpha` (H, W) the picture is multiplied by it, and transparent pixels do not count; 0 when all are.
    """
    counts = np.zeros(255 * 256 + 1, np.int64)
    for top in range(0, len(picture), 256):
        luma = as_float(picture[top : top + 256]) @ np.array([0.299, 0.587, 0.114])
        if alpha is not None:
            opacity = as_float(alpha[top : top + 256])
            luma = luma[opacity > 0] / opacity[opacity > 0]
        levels = np.rint(np.clip(luma, 0, 1) * (255 * 256)).astype(np.int64)
        counts += np.bincount(levels.ravel(), minlength=len(counts))
    total, below = int(counts.sum()), counts.cumsum()
    middle = [int(np.searchsorted(below, rank, side="right")) for rank in ((total - 1) // 2, total // 2)]
    return sum(middle) / 2 / 256 if total else 0.0


def _prepare(module: nn.Module, precision: str, device: torch.device, compile: bool) -> nn.Module:
    """The network as it runs; a combination's members each by themselves."""
    if isinstance(module, WeightedEnsemble):
        members = [_prepare(member, precision, device, compile) for member in module.members]
        return WeightedEnsemble(members, module.weights)
    if isinstance(module, Fusion):
        module = module.r
    return prepare_network(module, precision, device, compile=compile)  # type: ignore[arg-type]


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU, and where a library runs out of it, torch raises a plain RuntimeError.
    texts = ("out of memory", "allocate memory", "bad_alloc")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(text in str(error) for text in texts)


def _size(window: Area) -> tuple[int, int]:
    return window.bottom - window.top, window.right - window.left


def _no_memory(side: int) -> GoldeyeError:
    return GoldeyeError(f"There is not enough memory even for a tile of {side} pixels.")


def _span(axis: Cut, index: int, half: int, scale: int) -> tuple[int, int]:
    """Which part of a window's result is used, blending included: in output pixels of the window."""
    low = axis.borders[index] - half if index else 0
    last = index == len(axis.starts) - 1
    high = axis.size if last else axis.borders[index + 1] + half
    return (low - axis.starts[index]) * scale, (high - axis.starts[index]) * scale


def _area(rows: Cut, columns: Cut, row: int, column: int, half: int) -> Area:
    """What is finished once this tile is done: the next ones begin to blend `half` before the border."""

    def finished(axis: Cut, index: int) -> tuple[int, int]:
        low = axis.borders[index] - half if index else 0
        high = axis.size if index == len(axis.starts) - 1 else axis.borders[index + 1] - half
        return low, high

    return Area(*finished(rows, row), *finished(columns, column))


def _blended(
    before: Tensor | None, values: Tensor, width: int, dim: int, *, last: bool
) -> tuple[Tensor | None, Tensor]:
    """Let the end of the tile `before` fade into the first `width` of `values` along `dim`, and hold back their end.

    Returns (the end for the next tile, None for the last; the finished part).
    """
    if before is not None and width:
        shape = [1, 1, 1]
        shape[dim] = width
        ramp = ((torch.arange(width, device=values.device) + 0.5) / width).view(shape)
        start = values.narrow(dim, 0, width)
        mixed = torch.lerp(before, start, ramp)
        values = torch.cat([mixed, values.narrow(dim, width, values.shape[dim] - width)], dim)
    if last or not width:
        return None, values
    kept = values.shape[dim] - width
    return values.narrow(dim, kept, width), values.narrow(dim, 0, kept)


def _as(values: Tensor, dtype: np.dtype[np.generic]) -> Picture | FloatPicture:
    """(3, H, W) as (H, W, 3) of a picture's type, clipped to [0, 1]."""
    if dtype == np.float32:
        floats: FloatPicture = values.clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return floats
    return from_tensor(values, dtype)
