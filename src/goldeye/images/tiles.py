"""Where to cut a large picture: windows that overlap when read, and areas that fit edge to edge when written."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Area:
    """A rectangle of the picture, half-open, in input pixels."""

    top: int
    bottom: int
    left: int
    right: int

    def __str__(self) -> str:
        return f"rows {self.top}-{self.bottom - 1}, columns {self.left}-{self.right - 1}"


@dataclass(frozen=True)
class Cut:
    """One axis of the picture: windows of equal size that overlap, and where one's result gives way to the next's."""

    size: int
    """Of the picture."""
    window: int
    """Size of each window (one that reaches the picture's end may lack up to `multiple` - 1)."""
    starts: tuple[int, ...]
    """Where each window begins."""
    borders: tuple[int, ...]
    """len(starts) + 1 positions, from 0 to `size`: window i answers for borders[i] to borders[i + 1]."""

    def end(self, index: int) -> int:
        """Where window `index` ends."""
        return min(self.starts[index] + self.window, self.size)


def cut(size: int, tile: int, pad: int, multiple: int = 1) -> Cut:
    """Windows of `tile` + 2·`pad` that see at least `pad` beyond what they answer for, spread evenly.

    Equal windows can be computed as one batch, and each shape is prepared once. Windows begin at multiples of
    `multiple`, exactly where the whole picture's grid (pixel-unshuffle, attention windows) lies; `tile` and `pad` are
    rounded up to that.
    """
    tile = max(multiple, -(-tile // multiple) * multiple)
    pad = -(-pad // multiple) * multiple
    window = tile + 2 * pad
    if size <= window:
        return Cut(size, size, (0,), (0, size))
    last = -(-(size - window) // multiple)  # in units of `multiple`, as all the positions here
    steps = -(-last // (tile // multiple))
    starts = tuple(multiple * (index * last // steps) for index in range(steps + 1))
    middles = ((before + window + after) // 2 for before, after in pairwise(starts))
    return Cut(size, window, starts, (0, *middles, size))
