"""Windows cover the picture, see far enough around what they answer for, and stay on the network's grid."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from goldeye.images.tiles import Area, cut


@given(
    size=st.integers(1, 400),
    tile=st.integers(1, 100),
    pad=st.integers(0, 40),
    multiple=st.sampled_from([1, 2, 4, 8, 16]),
)
@settings(max_examples=400, deadline=None)
def test_windows_cover_what_they_answer_for(size: int, tile: int, pad: int, multiple: int) -> None:
    axis = cut(size, tile, pad, multiple)
    assert axis.borders[0] == 0
    assert axis.borders[-1] == size
    assert len(axis.borders) == len(axis.starts) + 1
    assert axis.starts[0] == 0
    assert axis.end(len(axis.starts) - 1) == size
    for index, start in enumerate(axis.starts):
        low, high = axis.borders[index], axis.borders[index + 1]
        assert low < high
        assert start % multiple == 0
        assert 0 <= start <= low
        assert high <= axis.end(index) <= size
        # The whole padding, unless the picture ends first.
        assert start == 0 or low - start >= pad
        assert axis.end(index) == size or axis.end(index) - high >= pad
        # Padded to the grid, all windows are equal.
        assert -(-(axis.end(index) - start) // multiple) == -(-axis.window // multiple)
    assert axis.window <= tile + 2 * pad + 3 * multiple


@given(size=st.integers(50, 4000), tile=st.integers(16, 256), pad=st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_no_window_is_superfluous(size: int, tile: int, pad: int) -> None:
    axis = cut(size, tile, pad)
    assert len(axis.starts) == max(1, -(-(size - 2 * pad) // tile))


def test_an_area_says_where_it_is() -> None:
    assert str(Area(0, 10, 10, 20)) == "rows 0-9, columns 10-19"
