"""Tiles cover the picture once, and their windows stay on the network's grid."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.images.tiles import AUTOMATIC_TILE, cut_tiles, tile_size


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.integers(1, 100),
    pad=st.integers(0, 20),
    multiple=st.sampled_from([1, 2, 4, 16]),
)
@settings(max_examples=150, deadline=None)
def test_tiles_cover_every_pixel_once(height: int, width: int, tile: int, pad: int, multiple: int) -> None:
    count = np.zeros((height, width), int)
    for t in cut_tiles(height, width, tile, pad, multiple):
        count[t.top : t.bottom, t.left : t.right] += 1
        assert 0 <= t.window_top <= t.top < t.bottom <= t.window_bottom <= height
        assert 0 <= t.window_left <= t.left < t.right <= t.window_right <= width
        assert t.window_top % multiple == t.window_left % multiple == 0
        # The whole padding, unless the picture ends first.
        assert t.window_top == 0 or t.top - t.window_top >= pad
        assert t.window_right == width or t.window_right - t.right >= pad
        assert t.bottom - t.top < tile + multiple
    assert (count == 1).all()


def test_tile_size_is_automatic_only_at_zero() -> None:
    assert tile_size(100, 200, 0) == 200
    assert tile_size(512, 512, 0) == 512
    assert tile_size(512, 513, 0) == AUTOMATIC_TILE
    assert tile_size(3000, 4000, 64) == 64


def test_a_tile_says_where_it_is() -> None:
    assert str(cut_tiles(20, 20, 10, 2)[3]) == "rows 10-19, columns 10-19"
