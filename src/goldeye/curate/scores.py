"""How much there is to see and to judge in each window of a photo: the scores that `goldeye select` filters by.

HGGT §3.2 drops patches without texture, without high frequencies, or whose enhanced versions hardly differ from the
original. Every window of a grid is scored from exact integer sums over cells, which windows share, so that the work
hardly depends on how many windows there are. A photo is gone through in bands of rows: it may be a memory map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from goldeye.images import Picture, to_eight_bit

Scores = NDArray[np.float32]
Sums = NDArray[np.int64]
Plane = NDArray[np.uint8]

MEASURES = ("pyramid", "laplacian")
"""Ways to measure high frequencies: the paper's words, and its script."""

_BAND = 256  # rows at a time; a multiple of 4, since the pyramid's levels keep every second row
_MARGIN = 16  # rows beside a band that its pyramid looks at


@dataclass(frozen=True)
class WindowScores:
    """Scores of all windows of a photo; every array is (rows, columns) of the grid, top-left corners at `ys`, `xs`.

    `std` and `high_frequency` are the largest over the original and the versions; `difference` has one array a version.
    """

    ys: Sums
    xs: Sums
    std: Scores
    """Standard deviation of the grey window, in levels of 255."""
    high_frequency: Scores
    """By measure: the pyramid's standard deviation in levels, the script's variance in levels squared."""
    difference: dict[str, Scores]
    """{slot: mean |version - original| over pixels and channels, in levels}."""

    @property
    def strongest(self) -> Scores:
        """The largest difference over the versions."""
        return np.asarray(np.max(list(self.difference.values()), axis=0))


def score_windows(
    original: Picture,
    versions: Mapping[str, Picture],
    size: int,
    stride: int,
    *,
    measure: str = "pyramid",
    threads: int = 1,
) -> WindowScores:
    """Score every window of side `size` whose corner lies on multiples of `stride`.

    `original` and `versions` are uint8 RGB (H, W, 3) of one size, no side below `size` ≥ 2; else ValueError. Grey is
    BT.601 luma rounded to 8 bit, as the official script's. High frequencies by `measure`:

    - "pyramid": std over the window of the two finest levels of the whole photo's Laplacian pyramid (`_smooth`);
    - "laplacian": variance over the window of its grey patch's 3x3 Laplacian as the official script computes it, in
      8 bit: negative values become 0, those above 255 become 255, the patch is mirrored at its own border (REFERENCE
      §5).

    Numbers depend neither on `threads` nor on how the photo is cut into bands. Memory is needed for some rows and for
    a few numbers a window.
    """
    pictures = [original, *versions.values()]
    if any(picture.dtype != np.uint8 or picture.shape != original.shape for picture in pictures):
        raise ValueError("uint8 pictures of one size expected")
    if measure not in MEASURES or not 2 <= size <= min(original.shape[:2]):
        raise ValueError(f"no windows of {size} pixels measured by {measure!r} in {original.shape}")
    height, width = original.shape[:2]
    grid = _Grid(height, width, size, stride)
    sums = [(_Pyramid if measure == "pyramid" else _Laplacian)(grid) for _ in pictures]
    differences = [_CellSums(grid) for _ in versions]

    def work(task: tuple[int, int]) -> None:
        top, number = task
        bottom = min(top + _BAND, grid.end)
        sums[number].add(pictures[number], top, bottom)
        if number:
            differences[number - 1].add(top, _distance(original[top:bottom], pictures[number][top:bottom]))

    tasks = [(top, number) for top in range(0, grid.end, _BAND) for number in range(len(pictures))]
    if threads > 1:
        with _one_thread_a_call(), ThreadPoolExecutor(threads) as pool:  # OpenCV leaves the interpreter to the others
            list(pool.map(work, tasks))
    else:
        for task in tasks:
            work(task)

    return WindowScores(
        grid.ys,
        grid.xs,
        np.sqrt(np.max([each.texture() for each in sums], axis=0)).astype(np.float32),
        np.max([each.high_frequency() for each in sums], axis=0).astype(np.float32),
        {
            slot: (each.windows() / (3 * size**2)).astype(np.float32)
            for slot, each in zip(versions, differences, strict=True)
        },
    )


@contextmanager
def _one_thread_a_call() -> Iterator[None]:
    """Keep OpenCV from starting threads of its own beside ours."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


# Sums over windows -----------------------------------------------------------------------------------------------


class _Grid:
    """Where windows begin, and the cells between all their edges, of which each window is made."""

    def __init__(self, height: int, width: int, size: int, stride: int) -> None:
        self.width, self.size, self.stride = width, size, stride
        self.ys = np.arange(0, height - size + 1, stride)
        self.xs = np.arange(0, width - size + 1, stride)
        self.end = int(self.ys[-1]) + size  # no window sees the rows from here on
        self.rows = np.unique(np.concatenate([self.ys, self.ys + size, np.arange(0, self.end, _BAND)]))
        self.columns = np.unique(np.concatenate([self.xs, self.xs + size]))

    def windows(self, cells: Sums) -> Sums:
        """Sums over cells to sums over windows."""
        table = np.zeros((len(self.rows), len(self.columns)), np.int64)
        table[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)
        top, bottom = (np.searchsorted(self.rows, edge)[:, None] for edge in (self.ys, self.ys + self.size))
        left, right = (np.searchsorted(self.columns, edge)[None] for edge in (self.xs, self.xs + self.size))
        return np.asarray(table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left])


class _CellSums:
    """Sums of the values of a plane over cells, and of their squares where asked for."""

    def __init__(self, grid: _Grid) -> None:
        self._grid = grid
        self._cells = np.zeros((len(grid.rows) - 1, len(grid.columns) - 1), np.int64)

    def add(self, top: int, band: Plane, *, squared: bool = False) -> None:
        """Take rows of the plane from `top` on: uint8 (rows, W) or (rows, W, C), which begin and end at cells."""
        import cv2

        first, last = np.searchsorted(self._grid.rows, [top, top + len(band)])
        edges = self._grid.rows[first : last + 1] - top
        flat = band.reshape(len(band), -1)
        operation = cv2.REDUCE_SUM2 if squared else cv2.REDUCE_SUM
        # int32 holds the squares of 33,000 rows; a band has fewer.
        strips = [cv2.reduce(flat[a:b], 0, operation, dtype=cv2.CV_32S) for a, b in pairwise(edges)]
        channels = flat.shape[1] // self._grid.width
        columns = self._grid.columns * channels
        values = np.concatenate(strips)[:, : columns[-1]]
        self._cells[first:last] = np.add.reduceat(values, columns[:-1], axis=1, dtype=np.int64)

    def windows(self) -> Sums:
        """The sums over windows."""
        return self._grid.windows(self._cells)


def _variance(sums: Sums, squares: Sums, count: int) -> NDArray[np.float64]:
    """Of `count` integers each, exact but for the last rounding: with the whole part of the mean taken off."""
    mean, rest = np.divmod(sums, count)
    spread = squares - 2 * mean * sums + mean**2 * count
    return np.asarray(np.maximum(spread / count - np.square(rest / count), 0))


class _Texture:
    """What a picture's scores are made from: sums of its grey …"""

    def __init__(self, grid: _Grid) -> None:
        self._grid = grid
        self._grey, self._grey_squares = _CellSums(grid), _CellSums(grid)

    def _add_grey(self, top: int, grey: Plane) -> None:
        self._grey.add(top, grey)
        self._grey_squares.add(top, grey, squared=True)

    def texture(self) -> NDArray[np.float64]:
        """Variance of grey over each window."""
        return _variance(self._grey.windows(), self._grey_squares.windows(), self._grid.size**2)


class _Pyramid(_Texture):
    """… and of the two finest levels of its Laplacian pyramid together."""

    def __init__(self, grid: _Grid) -> None:
        super().__init__(grid)
        self._coarse, self._fine_squares = _CellSums(grid), _CellSums(grid)

    def add(self, picture: Picture, top: int, bottom: int) -> None:
        """Take the rows from `top` to `bottom`."""
        above, below = max(0, top - _MARGIN), min(len(picture), bottom + _MARGIN)
        rows = np.s_[top - above : bottom - above]
        grey = _grey(picture[above:below])
        coarse = _smooth(grey)[rows]
        grey = grey[rows]
        self._add_grey(top, grey)
        self._coarse.add(top, coarse)
        self._fine_squares.add(top, _distance(grey, coarse), squared=True)

    def high_frequency(self) -> NDArray[np.float64]:
        """Standard deviation over each window."""
        fine = self._grey.windows() - self._coarse.windows()  # what is fine has a sign; its square has none
        return np.sqrt(_variance(fine, self._fine_squares.windows(), self._grid.size**2))


class _Laplacian(_Texture):
    """… and of the saturated Laplacian of each window's patch.

    It is that of the whole photo but for the patch's outermost pixels, where the patch is mirrored: those are put
    right, the four sides and then the corners, on which two sides meet.
    """

    def __init__(self, grid: _Grid) -> None:
        super().__init__(grid)
        self._plain, self._plain_squares = _CellSums(grid), _CellSums(grid)
        # What the sums and the sums of squares change by (first axis), at the first and the last of … (second axis):
        windows = (2, 2, len(grid.ys), len(grid.xs))
        self._rows = np.zeros(windows, np.int64)  # a window's rows,
        self._corners = np.zeros(windows, np.int64)  # its corners in them,
        self._columns = np.zeros((2, 2, len(grid.rows), len(grid.xs)), np.int64)  # its columns, cell by cell.

    def add(self, picture: Picture, top: int, bottom: int) -> None:
        """Take the rows from `top` to `bottom`."""
        import cv2

        grid = self._grid
        above, below = max(0, top - 1), min(len(picture), bottom + 1)
        grey = _grey(picture[above:below])
        of_photo = np.asarray(cv2.Laplacian(grey, cv2.CV_8U), np.uint8)[top - above : bottom - above]
        self._add_grey(top, grey[top - above : bottom - above])
        self._plain.add(top, of_photo)
        self._plain_squares.add(top, of_photo, squared=True)

        # With one pixel more on every side, mirrored at the photo's border.
        frame = int(above == top), int(below == bottom), 1, 1
        lines = np.asarray(cv2.copyMakeBorder(grey, *frame, cv2.BORDER_REFLECT_101), np.int16)
        plain = of_photo.astype(np.int16)
        ends = (0, grid.size - 1)
        sides = [np.s_[end : end + int(grid.xs[-1]) + 1 : grid.stride] for end in ends]
        cells = np.s_[slice(*np.searchsorted(grid.rows, [top, bottom]))]
        for side, columns in enumerate(sides):
            change = _change(_laplacian(lines, np.s_[:], columns, x=side), plain[:, columns])
            starts = grid.rows[cells] - top
            self._columns[:, side, cells] = np.add.reduceat(change, starts, axis=1, dtype=np.int64)
        for end, across in enumerate(ends):
            here = np.flatnonzero((grid.ys + across >= top) & (grid.ys + across < bottom))
            if not len(here):
                continue
            rows = np.s_[int(grid.ys[here[0]]) + across - top : int(grid.ys[here[-1]]) + across - top + 1 : grid.stride]
            edge, before = _laplacian(lines, rows, np.s_[:], y=end), plain[rows]
            table = np.zeros((2, len(here), grid.width + 1), np.int64)
            _change(edge, before).cumsum(axis=2, out=table[:, :, 1:])
            self._rows[:, end, here] = table[:, :, grid.xs + grid.size] - table[:, :, grid.xs]
            for side, columns in enumerate(sides):
                # Both sides have put this pixel right, each as if there were no other.
                corner = _change(_laplacian(lines, rows, columns, y=end, x=side), edge[:, columns])
                other = _change(before[:, columns], _laplacian(lines, rows, columns, x=side))
                self._corners[:, end, here] += corner + other

    def high_frequency(self) -> NDArray[np.float64]:
        """Variance over each window."""
        grid = self._grid
        table = np.zeros_like(self._columns)
        self._columns[:, :, :-1].cumsum(axis=2, out=table[:, :, 1:])
        top, bottom = np.searchsorted(grid.rows, grid.ys), np.searchsorted(grid.rows, grid.ys + grid.size)
        change = (table[:, :, bottom] - table[:, :, top] + self._rows + self._corners).sum(axis=1)
        return _variance(self._plain.windows() + change[0], self._plain_squares.windows() + change[1], grid.size**2)


def _laplacian(
    lines: NDArray[np.int16], rows: slice, columns: slice, *, y: int | None = None, x: int | None = None
) -> NDArray[np.int16]:
    """Saturated, at `rows` and `columns` of what `lines` (rows + 2, W + 2) has one pixel more of on every side.

    `y`, `x`: as if they were the first (0) or the last (1) of a patch along that axis, mirrored there.
    """
    before, after = {None: (0, 2), 0: (2, 2), 1: (0, 0)}[y], {None: (0, 2), 0: (2, 2), 1: (0, 0)}[x]

    def moved(down: int, right: int) -> NDArray[np.int16]:
        height, width = lines.shape[0] - 2, lines.shape[1] - 2
        return lines[down : down + height, right : right + width][rows, columns]

    around = moved(before[0], 1) + moved(before[1], 1)
    around += moved(1, after[0])
    around += moved(1, after[1])
    return np.asarray(np.clip(around - 4 * moved(1, 1), 0, 255))


def _change(new: NDArray[np.int16], old: NDArray[np.int16]) -> NDArray[np.int32]:
    """By how much values, and their squares, change: (2, …)."""
    change = np.empty((2, *new.shape), np.int32)
    np.subtract(new, old, out=change[0])
    np.multiply(change[0], new + old, out=change[1])  # a² - b² = (a - b)(a + b)
    return change


# Planes ----------------------------------------------------------------------------------------------------------


def _grey(picture: Picture) -> Plane:
    """RGB (H, W, 3) to BT.601 luma (H, W), rounded."""
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _distance(a: Picture, b: Picture) -> Plane:
    """|a - b|; a plain difference of uint8 wraps around."""
    import cv2

    return np.asarray(cv2.absdiff(a, b), np.uint8)


def _smooth(grey: Plane) -> Plane:
    """What is left of a plane (H, W) halved twice and doubled twice (Burt and Adelson 1983).

    The plane less this is the sum of the two finest levels of the Laplacian pyramid: detail up to about four pixels
    wide. Both steps filter with [1 4 6 4 1] / 16 along both axes, and each rounds once, to the nearest of 8 bit, half
    up; so the detail is made of whole levels.
    """
    import cv2

    half = cv2.pyrDown(grey)
    quarter = cv2.pyrDown(half)
    again = cv2.pyrUp(quarter, dstsize=half.shape[::-1])
    return np.asarray(cv2.pyrUp(again, dstsize=grey.shape[::-1]), np.uint8)


# Alike pictures --------------------------------------------------------------------------------------------------


def perceptual_hash(picture: Picture) -> int:
    """64 bits that hardly change when a photo is resized or encoded anew (Zauner 2010, the DCT hash).

    Luma is reduced to 32x32 by area; of its DCT the 8x8 coefficients after those of constant rows and columns each
    give a bit: whether it is above their median. `picture` is RGB (H, W, 3) of any size.
    """
    import cv2
    from scipy.fft import dctn

    narrow = []
    for top in range(0, len(picture), _BAND):
        grey = _grey(to_eight_bit(picture[top : top + _BAND])).astype(np.float32)
        narrow.append(cv2.resize(grey, (32, len(grey)), interpolation=cv2.INTER_AREA))
    reduced = cv2.resize(np.concatenate(narrow), (32, 32), interpolation=cv2.INTER_AREA)
    coefficients = np.asarray(dctn(reduced.astype(np.float64)))[1:9, 1:9].ravel()
    bits = coefficients > np.median(coefficients) + 0.5  # those of a photo are tens to thousands, of a flat picture 0
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming(a: int, b: int) -> int:
    """How many bits of two hashes differ."""
    return (a ^ b).bit_count()
