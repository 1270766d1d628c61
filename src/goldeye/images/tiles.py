"""Where to cut a large picture: tiles that overlap when read and fit edge to edge when written."""

from __future__ import annotations

from dataclasses import dataclass

# Largest picture taken in one piece, and the tile used above it: in pixels of the input.
WHOLE_PIXELS = 512 * 512
AUTOMATIC_TILE = 256


@dataclass(frozen=True)
class Tile:
    """A core (what the tile contributes) and the window that is read for it, both half-open, in input pixels."""

    top: int
    bottom: int
    left: int
    right: int
    window_top: int
    window_bottom: int
    window_left: int
    window_right: int

    def __str__(self) -> str:
        return f"rows {self.top}-{self.bottom - 1}, columns {self.left}-{self.right - 1}"


def tile_size(height: int, width: int, tile: int) -> int:
    """The tile's side: `tile` itself; for 0 the whole picture when it is small, AUTOMATIC_TILE when not."""
    if tile:
        return tile
    return max(height, width) if height * width <= WHOLE_PIXELS else AUTOMATIC_TILE


def cut_tiles(height: int, width: int, tile: int, pad: int, multiple: int = 1) -> list[Tile]:
    """Tiles of side `tile` that cover the picture, row by row; windows reach `pad` further where possible.

    `tile` and `pad` are rounded up to `multiple`, so that every window begins on the network's grid (pixel-unshuffle,
    attention windows) exactly where the whole picture's grid lies.
    """
    tile = max(multiple, -(-tile // multiple) * multiple)
    pad = -(-pad // multiple) * multiple
    return [
        Tile(
            top,
            bottom := min(top + tile, height),
            left,
            right := min(left + tile, width),
            max(top - pad, 0),
            min(bottom + pad, height),
            max(left - pad, 0),
            min(right + pad, width),
        )
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]
