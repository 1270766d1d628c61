"""Maps as pictures: PNG files of 16 bits that can be measured in, and a sheet with colour bars to look at."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from goldeye.files import atomic_path
from goldeye.images import to_integers, write_image
from goldeye.maps.compute import Array

Range = tuple[float, float]
"""The values at the two ends of a scale."""

CUT_OFF = 0.001  # share of values that may lie above a colour bar's end: a few pixels must not darken the rest
MOST_ROWS = 12
_SMALL, _LARGE = 240, 480  # pixels: a cell's longer side is at least and at most so long
_NARROWEST = 170  # pixels: what the words below a cell need
_HEAD, _CAPTION, _TITLE, _BAR, _FOOT, _GAP = 50, 26, 24, 10, 38, 14  # pixels
_DPI = 100
_COLOURS = "inferno"


@dataclass(frozen=True)
class Panel:
    """A cell of the sheet. `values` (H, W), or (3, H, W) for RGB, are shown between the ends of `range`."""

    title: str
    """May hold TeX between dollar signs."""
    values: Array
    range: Range
    kind: Literal["picture", "map", "places"]
    """In its own colours; in false colours with a bar; or black and white."""


@dataclass(frozen=True)
class Row:
    """Panels beside each other, of one size, and a line above them (none where it is empty)."""

    caption: str
    panels: Sequence[Panel]


def full_range(values: Sequence[Array]) -> Range:
    """From the smallest value, or 0 where none is below, to the largest."""
    low, high = zip(*((float(each.min()), float(each.max())) for each in values), strict=True)
    return min(0.0, *low), max(high)


def bar_range(values: Sequence[Array], *, from_zero: bool = True) -> Range:
    """From 0 to the value that a share of CUT_OFF of all lies above; to the largest where that would be 0.

    Otherwise from the value that as many lie below.
    """
    everything = np.concatenate([each.ravel() for each in values])
    low, high = (float(end) for end in np.quantile(everything, (CUT_OFF, 1 - CUT_OFF)))
    if from_zero:
        low, high = 0.0, high if high > 0 else float(everything.max())
    return low, high


def write_map(path: Path, values: Array, range_: Range) -> None:
    """A PNG of 16 bits, grey for (H, W) and RGB for (3, H, W), linear: 0 and 65535 are the ends of the range."""
    channels = np.broadcast_to(_scaled(values, range_), (3, *values.shape[-2:]))
    write_image(path, to_integers(np.ascontiguousarray(channels.transpose(1, 2, 0)), np.uint16), grey=values.ndim == 2)


def draw_sheet(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Draw the first MOST_ROWS rows into a PNG file; pictures are shrunk by the mean or enlarged by repetition."""
    shown = rows[:MOST_ROWS]
    cells = [[_cell(panel) for panel in row.panels] for row in shown]
    width = max(_NARROWEST, *(cell.shape[1] for row in cells for cell in row)) + _GAP
    captions = [_CAPTION if row.caption else 0 for row in shown]
    below = _BAR + _FOOT + _GAP
    heights = [above + _TITLE + row[0].shape[0] + below for above, row in zip(captions, cells, strict=True)]
    canvas = _Canvas(_GAP + width * max(map(len, cells)), _HEAD + sum(heights))
    height, columns = shown[0].panels[0].values.shape[-2:]
    factor = cells[0][0].shape[1] / columns
    note = f"{columns} x {height} pixels" + (f", shown at {factor:.3g} times their size" if factor != 1 else "")
    note += f"; {len(rows) - MOST_ROWS} more rows are not shown" if len(rows) > MOST_ROWS else ""
    canvas.write(title, _GAP, 20, size=11, bold=True)
    canvas.write(note, _GAP, 40, size=8)
    top = _HEAD
    for row, pictures, above, full in zip(shown, cells, captions, heights, strict=True):
        canvas.write(row.caption, _GAP, top + 16, size=9)
        for column, (panel, cell) in enumerate(zip(row.panels, pictures, strict=True)):
            left, upper = _GAP + column * width, top + above + _TITLE
            canvas.write(panel.title, left, upper - 8, size=10, tex=True)
            canvas.paste(cell, left, upper)
            _write_scale(canvas, panel, left, upper + cell.shape[0] + 4, max(cell.shape[1], 150))
        top += full
    canvas.save(path)


def _write_scale(canvas: _Canvas, panel: Panel, left: int, top: int, width: int) -> None:
    """The colour bar with the values of its ends, and below it the largest and the mean value."""
    low, high = panel.range
    if panel.kind == "picture":
        if panel.range != (0.0, 1.0):
            canvas.write(f"black {low:.3g}, white {high:.3g}", left, top + 12, size=8)
        return
    if panel.kind == "places":
        canvas.write(f"white: {panel.values.mean():.1%} of the pixels", left, top + 12, size=8)
        return
    least, largest = float(panel.values.min()), float(panel.values.max())
    canvas.paste(_false_colours(np.linspace(0, 1, width, dtype=np.float32)[None].repeat(_BAR, axis=0)), left, top)
    under = "and less" if least < low else ""
    canvas.write(f"{low:.3g} {under}".rstrip(), left, top + _BAR + 13, size=8)
    over = "and more" if largest > high else ""
    canvas.write(f"{high:.3g} {over}".rstrip(), left + width, top + _BAR + 13, size=8, right=True)
    canvas.write(f"max {largest:.3g}, mean {panel.values.mean():.3g}", left, top + _BAR + 27, size=8)


def _cell(panel: Panel) -> npt.NDArray[np.uint8]:
    """A panel in the size that it is shown in: (h, w, 3)."""
    height, width = panel.values.shape[-2:]
    channels = panel.values if panel.values.ndim == 3 else panel.values[None]
    if max(height, width) > _LARGE:
        size = tuple(max(1, round(side * _LARGE / max(height, width))) for side in (width, height))
        resized = [np.asarray(Image.fromarray(c).resize(size, Image.Resampling.BOX)) for c in channels]
    else:
        times = -(-_SMALL // max(height, width))
        resized = [channel.repeat(times, axis=0).repeat(times, axis=1) for channel in channels]
    scaled = _scaled(np.stack(resized, axis=-1), panel.range)
    if panel.kind == "map":
        return _false_colours(scaled[..., 0])
    return np.rint(scaled.repeat(3, axis=2) * 255 if scaled.shape[2] == 1 else scaled * 255).astype(np.uint8)


def _scaled(values: Array, range_: Range) -> Array:
    """To [0, 1] and clipped; all 0 for a range without extent."""
    low, high = range_
    scaled: Array = np.clip((values - np.float32(low)) / np.float32(high - low or 1.0), 0, 1)
    return scaled


def _false_colours(shares: Array) -> npt.NDArray[np.uint8]:
    """(h, w) in [0, 1] → (h, w, 3)."""
    colours: npt.NDArray[np.uint8] = colormaps[_COLOURS](shares, bytes=True)[..., :3]
    return colours


class _Canvas:
    """A white page in pixels from its top left corner: pictures keep theirs one by one."""

    def __init__(self, width: int, height: int) -> None:
        self._height = height
        self._figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self._size = width, height

    def write(
        self, text: str, left: int, base: int, *, size: int, bold: bool = False, right: bool = False, tex: bool = False
    ) -> None:
        """Text on the line `base`, from `left` on, or up to it with `right`; only with `tex` a dollar is no dollar."""
        self._figure.text(
            left / self._size[0],
            1 - base / self._size[1],
            "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text),
            fontsize=size,
            fontweight="bold" if bold else "normal",
            horizontalalignment="right" if right else "left",
            parse_math=tex,
        )

    def paste(self, picture: npt.NDArray[np.uint8], left: int, top: int) -> None:
        self._figure.figimage(picture, left, self._height - top - picture.shape[0])

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that the font lacks, in the names of files, become boxes
            self._figure.savefig(temporary, dpi=_DPI)
