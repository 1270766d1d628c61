"""Where SwinIR's attention windows lie. Tokens are the rows of (B·H·W, C), in the picture's or in windows' order."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """Orders of a batch's tokens: each lists, for every row of the new order, the row of the old one.

    Shifted windows come with the `free` ones first, those that lie in one piece of the picture; `kinds` (for
    `edge_masks`) belong to the others, which the shift put together from two sides of it.
    """

    picture_to_plain: Tensor
    plain_to_shifted: Tensor
    shifted_to_plain: Tensor
    plain_to_picture: Tensor
    shifted_to_picture: Tensor
    free: int
    kinds: Tensor


def windows_of(batch: int, rows: int, columns: int, size: int, device: torch.device) -> Windows:
    """The orders for `batch` pictures of rows x columns windows of size x size pixels, remembered for each size."""
    if torch.compiler.is_compiling():  # part of the graph, for every size
        return find_windows(batch, rows, columns, size, device)
    found = _remembered(batch, rows, columns, size, device)
    if type(found.kinds) is not Tensor:  # made under a mode in which tensors hold no numbers
        _remembered.cache_clear()
        return find_windows(batch, rows, columns, size, device)
    return found


@lru_cache(maxsize=8)
def _remembered(batch: int, rows: int, columns: int, size: int, device: torch.device) -> Windows:
    with torch.inference_mode(False):  # tensors of inference mode could not serve a training step later
        return find_windows(batch, rows, columns, size, device)


def find_windows(batch: int, rows: int, columns: int, size: int, device: torch.device) -> Windows:
    """What `windows_of` remembers. Windows are shifted by half their size around the torus."""
    pixels = torch.arange(batch * rows * size * columns * size, device=device)
    grid = pixels.view(batch, rows * size, columns * size)

    def cut(grid: Tensor) -> Tensor:
        """(B, H, W) → (B·rows·columns, size²)."""
        return grid.view(batch, rows, size, columns, size).transpose(2, 3).reshape(-1, size * size)

    plain, shifted = cut(grid), cut(grid.roll((-(size // 2), -(size // 2)), (1, 2)))
    kinds, free = window_kinds(rows, columns, device).repeat(batch), 0
    if not torch.compiler.is_exporting():  # one exported graph serves all sizes, those without free windows too
        free = batch * (rows - 1) * (columns - 1)
        free_first = kinds.clamp(max=1).argsort(stable=True)
        shifted, kinds = shifted[free_first], kinds[free_first][free:]
    plain, shifted = plain.flatten(), shifted.flatten()
    from_plain, from_shifted = (torch.zeros_like(pixels).scatter(0, order, pixels) for order in (plain, shifted))
    return Windows(plain, from_plain[shifted], from_shifted[plain], from_plain, from_shifted, free, kinds)


def window_kinds(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """(rows·columns,): 0 for a free shifted window, 1 in the last column, 2 in the last row, 3 in both."""
    last_row, last_column = (torch.arange(n, device=device) == n - 1 for n in (rows, columns))
    return (2 * last_row[:, None] + last_column.int()).flatten()


def edge_masks(size: int) -> Tensor:
    """(4, size², size²), for each kind of shifted window: −100 where attention would reach another piece, else 0."""
    wrapped = torch.arange(size) >= size - size // 2
    row, column = wrapped.repeat_interleave(size), wrapped.repeat(size)
    down, across = row[:, None] != row, column[:, None] != column
    return torch.stack((torch.zeros_like(down), across, down, across | down)) * -100.0


def relative_position_index(size: int) -> Tensor:
    """(size², size²): the row of the bias table for each pair of a window's pixels, which their offset decides."""
    row, column = torch.arange(size).repeat_interleave(size), torch.arange(size).repeat(size)
    return (row[:, None] - row + size - 1) * (2 * size - 1) + column[:, None] - column + size - 1
