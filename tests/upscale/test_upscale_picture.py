"""One picture through a network: tiles, blending, sizes, kinds of numbers, memory that runs out, values not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.images import to_float, to_tensor
from goldeye.networks import build_network
from goldeye.upscale import Upscaler, upscale_picture
from goldeye.upscale.finish import reader


class Local(nn.Module):
    """Three 3x3 convolutions and a PixelShuffle: a pixel depends on nothing further than 3 away."""

    receptive_radius = 3

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 3 * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class Nearest(nn.Module):
    """Repeats pixels: the result is known."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class WindowMean(nn.Module):
    """The mean of all it is given: as far from local as can be."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 2, 3), keepdim=True).expand_as(x)


class BreaksAt(nn.Module):
    """Gives NaN for a pixel that is exactly white."""

    receptive_radius = 0

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x == 1, torch.nan, x)


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def together(module: nn.Module, picture: Any, scale: int, **options: Any) -> Tensor:
    """All areas of `Upscaler.pieces`, each written once."""
    height, width = picture.shape[:2]
    out = torch.full((3, height * scale, width * scale), torch.nan)
    for area, values in Upscaler(module, scale=scale, **options).pieces(reader(picture), height, width):
        rows = slice(area.top * scale, area.bottom * scale)
        columns = slice(area.left * scale, area.right * scale)
        assert out[:, rows, columns].isnan().all(), "an area was given twice"
        assert values.shape == out[:, rows, columns].shape
        out[:, rows, columns] = values
    assert not out.isnan().any()
    return out


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("tile", [5, 16, 40])
def test_tiles_equal_the_whole_where_the_network_is_local(scale: int, tile: int) -> None:
    torch.manual_seed(0)
    module, picture = Local(scale).eval(), noise(37, 45)
    with torch.no_grad():
        whole = module(to_tensor(picture))[0]
    assert (together(module, picture, scale, tile=tile) - whole).abs().max() < 1e-5
    assert (together(module, picture, scale) - whole).abs().max() < 1e-5
    if tile < 37:
        close = together(module, picture, scale, tile=tile, tile_pad=1)
        assert (close - whole).abs().max() > 1e-3, "too little padding must show"


@pytest.mark.parametrize(
    ("architecture", "settings_"),
    [("compact", {"num_feat": 8}), ("srresnet", {"num_feat": 8})],
)
def test_tiles_change_nothing_for_our_local_networks(architecture: str, settings_: dict[str, Any]) -> None:
    """At full depth: radius 34 for Compact's 32 convolutions, 35 for SRResNet's 16 blocks."""
    torch.manual_seed(0)
    module = build_network(architecture, **settings_).eval()
    for parameter in module.parameters():  # so that far pixels matter more than with small initial weights
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
            parameter.data *= 0.7
    picture = noise(150, 121)
    with torch.no_grad():
        whole = module(to_tensor(picture))[0]
    size = whole.abs().max()
    assert (together(module, picture, 4, tile=48) - whole).abs().max() < 1e-5 * max(1, size)


def test_unshuffling_network_in_tiles_keeps_its_grid() -> None:
    """RRDBNet x1 reads 4x4 blocks: a window that began between them would shift the whole result."""
    torch.manual_seed(0)
    module = build_network("rrdb-x1", num_feat=8, num_block=1, num_grow_ch=4).eval()
    picture = noise(48, 252)
    with torch.no_grad():
        whole = module(to_tensor(picture))[0]
    # 15 convolutions of the block and 2 around it at a quarter of the size, 4 more above: under 80 pixels.
    assert (together(module, picture, 1, tile=22, tile_pad=80) - whole).abs().max() < 1e-5


def test_attention_windows_lie_where_the_whole_pictures_do() -> None:
    """SwinIR without shifted blocks sees its window and the convolutions around: tiles change nothing."""
    torch.manual_seed(0)
    module = build_network("swinir-m", embed_dim=12, depths=[1], num_heads=[2]).eval()
    picture = noise(75, 130)
    with torch.no_grad():
        whole = module(to_tensor(picture))[0]
    for tile in (21, 32, 48):
        assert (together(module, picture, 4, tile=tile, tile_pad=16) - whole).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("architecture", "scale"), [("rrdb-x2", 2), ("rrdb-x1", 1), ("elan-x1", 1), ("rrdb-ps", 4), ("swinir-m", 4)]
)
@pytest.mark.parametrize("size", [(19, 30), (1, 1), (3, 17)])
def test_any_size_goes_in(architecture: str, scale: int, size: tuple[int, int]) -> None:
    small = {
        "elan-x1": {"m_elan": 2, "c_elan": 15},
        "swinir-m": {"embed_dim": 12, "depths": [2], "num_heads": [2]},
    }.get(architecture, {"num_feat": 4, "num_block": 1, "num_grow_ch": 2})
    module = build_network(architecture, **small).eval()
    result = upscale_picture(module, noise(*size), scale=scale, tile=16, tile_pad=4)
    assert result.shape == (size[0] * scale, size[1] * scale, 3)
    assert result.dtype == np.uint8


# Blending ------------------------------------------------------------------------------------------------------------


def test_blending_of_two_tiles_by_hand() -> None:
    """Windows 0-12 and 8-20 of a row that is 0 left and 1 right of the middle, padding 2, so blending 1 around 10.

    The windows' means are 2/12 and 10/12; pixel 9 has 3/4 of the first and 1/4 of the second, pixel 10 the reverse.
    """
    row = np.zeros((1, 20, 3), np.float32)
    row[:, 10:] = 1
    values = together(WindowMean(), row, 1, tile=8, tile_pad=2)[0, 0]
    expected = [2 / 12] * 9 + [4 / 12, 8 / 12] + [10 / 12] * 9
    assert values.numpy() == pytest.approx(np.array(expected), abs=1e-6)


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.integers(1, 40),
    pad=st.integers(0, 12),
    scale=st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_blending_leaves_equal_tiles_alone(height: int, width: int, tile: int, pad: int, scale: int) -> None:
    class Repeat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    picture = noise(height, width)
    expected = to_tensor(picture.repeat(scale, 0).repeat(scale, 1))[0]
    assert (together(Repeat(), picture, scale, tile=tile, tile_pad=pad) - expected).abs().max() < 1e-6


def test_blending_has_no_step() -> None:
    """Neighbouring pixels differ by no more than a ramp's step, in both directions and at the corners."""
    picture = noise(96, 96)
    steps = together(WindowMean(), picture, 1, tile=16, tile_pad=8)[0]
    means = together(WindowMean(), picture, 1, tile=16, tile_pad=0)[0]
    largest = (means.max() - means.min()) / 8  # pad 8: ramps of 8 pixels
    assert steps.diff(dim=0).abs().max() < largest
    assert steps.diff(dim=1).abs().max() < largest
    assert means.diff(dim=0).abs().max() > largest, "without blending the step must show"


# Kinds of numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [0, 7])
def test_a_known_result_is_exact(tile: int) -> None:
    picture = noise(20, 30)
    expected = picture.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(upscale_picture(Nearest(), picture, scale=2, tile=tile), expected)
    sixteen = np.random.default_rng(1).integers(0, 65536, (20, 30, 3), np.uint16)
    result = upscale_picture(Nearest(), sixteen, scale=2, tile=tile)
    assert result.dtype == np.uint16
    assert np.array_equal(result, sixteen.repeat(2, 0).repeat(2, 1))
    floats = to_float(picture)
    result = upscale_picture(Nearest(), floats, scale=2, tile=tile)
    assert result.dtype == np.float32
    assert np.abs(result - to_float(expected)).max() < 1e-6


def test_the_result_is_clipped() -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 4 - 1

    values = upscale_picture(Bright(), np.array([[[0, 100, 200]]], np.uint8), scale=1)
    assert values.tolist() == [[[0, 145, 255]]]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float64), "float64"),
    ],
)
def test_arrays_that_are_no_pictures(picture: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        upscale_picture(Nearest(), picture, scale=2)


# What goes wrong -----------------------------------------------------------------------------------------------------


def test_a_tile_that_is_not_finite_is_named() -> None:
    picture = noise(20, 20)
    upscale_picture(BreaksAt(), picture, scale=1, tile=10, tile_pad=0)
    picture[3, 14] = 255
    with pytest.raises(GoldeyeError, match=r"not finite in the tile at rows 0-9, columns 10-19"):
        upscale_picture(BreaksAt(), picture, scale=1, tile=10, tile_pad=0)


def test_a_tile_that_overflows_is_computed_again_in_float32() -> None:
    """The network as prepared breaks on white; in float32 it does not: only that tile comes from there."""
    picture = noise(20, 20)
    picture[3, 14] = 255
    upscaler = Upscaler(Local(1).eval(), scale=1, tile=10, tile_pad=3)
    asked = []

    class Exact(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            asked.append(tuple(x.shape))
            return x

    upscaler._network, upscaler._exact = BreaksAt(), Exact()
    out = np.empty_like(picture)
    upscaler.fill(out, reader(picture))
    assert np.array_equal(out, picture)
    assert asked == [(1, 3, 16, 16)] * 2  # the pixel lies in two windows


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_less_memory_means_smaller_tiles(error: Exception) -> None:
    sizes = []

    class Hungry(Local):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(x.shape[2] * x.shape[3])
            if sizes[-1] > 5000:
                raise error
            return super().forward(x)

    torch.manual_seed(0)
    module, picture = Hungry(2).eval(), noise(150, 130)
    upscaler = Upscaler(module, scale=2)
    out = np.empty((300, 260, 3), np.float32)
    upscaler.fill(out, reader(picture))
    with torch.no_grad():
        whole = Local.forward(module, to_tensor(picture))[0].clamp(0, 1)
    assert np.abs(out - whole.permute(1, 2, 0).numpy()).max() < 1e-5
    assert sizes[1] == 150 * 130, "all at once, after a small picture to measure the memory on"
    failed = sum(size > 5000 for size in sizes)
    assert failed <= 3, "no size is tried twice"
    upscaler.fill(out, reader(picture))
    assert sum(size > 5000 for size in sizes) == failed, "what was learnt holds for the next picture"


@pytest.mark.parametrize("multiple", [1, 16])
def test_batches_shrink_before_tiles_do(monkeypatch: pytest.MonkeyPatch, multiple: int) -> None:
    """As on a GPU: equal windows together, fewer when memory runs out, then smaller ones; each size is tried once."""
    shapes: list[tuple[int, ...]] = []

    class Hungry(Local):
        size_multiple = multiple

        def forward(self, x: Tensor) -> Tensor:
            shapes.append(tuple(x.shape))
            if x.shape[0] * x.shape[2] * x.shape[3] > 9000:
                raise torch.OutOfMemoryError
            return super().forward(x)

    torch.manual_seed(0)
    module, picture = Hungry(1).eval(), noise(80, 704)
    with torch.no_grad():
        whole = Local.forward(module, to_tensor(picture))[0]
    upscaler = Upscaler(module, scale=1, tile=64)
    upscaler._batches = True
    monkeypatch.setattr("goldeye.upscale.engine.tile_bytes", lambda *_, **__: 1)  # nothing to go by
    out = torch.full((3, 80, 704), torch.nan)
    for area, values in upscaler.pieces(reader(picture), 80, 704):
        out[:, area.top : area.bottom, area.left : area.right] = values
    assert (out - whole).abs().max() < 1e-5
    failed = [n * h * w for n, _, h, w in shapes if n * h * w > 9000]
    assert 1 <= len(failed) <= 3
    assert len(failed) == len(set(failed)), "no size is tried twice"
    assert shapes[0][0] > 1


def test_no_memory_at_all_is_one_sentence() -> None:
    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise MemoryError

    with pytest.raises(GoldeyeError, match="not enough memory even for a tile of"):
        upscale_picture(Full(), noise(300, 300), scale=1)


def test_another_error_is_not_hidden() -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        upscale_picture(Wrong(), noise(30, 30), scale=1)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_wrong_scale_is_refused(scale: int) -> None:
    with pytest.raises(GoldeyeError, match=f"no RGB picture of scale {scale}"):
        upscale_picture(Nearest(), noise(8, 8), scale=scale)


def test_a_discriminator_is_refused() -> None:
    with pytest.raises(GoldeyeError, match=r"no RGB picture of scale 1: \(1, 1, 16, 24\)"):
        upscale_picture(build_network("unet-sn", num_feat=2).eval(), noise(10, 20), scale=1)


# Automatic tiles -----------------------------------------------------------------------------------------------------


def test_the_tile_comes_from_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []

    class Records(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(tuple(x.shape[2:]))
            return x

    monkeypatch.setattr("goldeye.upscale.engine.tile_bytes", lambda *_, **__: 1000)
    monkeypatch.setattr("goldeye.upscale.engine.free_memory", lambda device: 2 * 1000 * 300 * 300)
    upscale_picture(Records(), np.zeros((300, 300, 3), np.uint8), scale=1)
    assert sizes == [(300, 300)]
    upscale_picture(Records(), np.zeros((300, 600, 3), np.uint8), scale=1, tile_pad=16)
    assert sizes[1:] == [(288, 288)] * (len(sizes) - 1)  # 300 - 2 · 16, down to a multiple of 32, and the padding
    assert len(sizes) == 1 + 6
    sizes.clear()
    upscale_picture(Records(), np.zeros((500, 400, 3), np.uint8), scale=1, tile=400, tile_pad=16)
    assert sizes == [(432, 400)] * 2


def test_pieces_tell_how_far_they_are() -> None:
    done: list[int] = []
    upscaler = Upscaler(Nearest(), scale=2, tile=16)
    out = np.empty((100, 140, 3), np.uint8)
    upscaler.fill(out, reader(noise(50, 70)), progress=done.append)
    assert sum(done) == 50 * 70
    assert len(done) > 4
