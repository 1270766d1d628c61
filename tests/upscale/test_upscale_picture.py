"""One picture through a network: tiles, sizes, rounding, values that are not finite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from goldeye.errors import GoldeyeError
from goldeye.images import to_float, to_tensor
from goldeye.networks import build_network
from goldeye.upscale.run import run_tiles, upscale_picture


class Local(nn.Module):
    """Three 3x3 convolutions and a PixelShuffle: a pixel depends on nothing further than 3 away."""

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


class BreaksAt(nn.Module):
    """Gives NaN for a pixel that is exactly white."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x == 1, torch.nan, x)


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def together(module: nn.Module, picture: npt.NDArray[np.uint8], scale: int, tile: int, pad: int) -> Tensor:
    out = torch.full((3, picture.shape[0] * scale, picture.shape[1] * scale), torch.nan)
    for area, values in run_tiles(module, picture, scale=scale, tile=tile, tile_pad=pad):
        out[:, area.top * scale : area.bottom * scale, area.left * scale : area.right * scale] = values
    return out


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("tile", [5, 16, 40])
def test_tiles_equal_the_whole_where_the_network_is_local(scale: int, tile: int) -> None:
    torch.manual_seed(0)
    module, picture = Local(scale).eval(), noise(37, 45)
    with torch.no_grad():
        whole = module(to_tensor(picture))[0]
    assert (together(module, picture, scale, tile, 3) - whole).abs().max() < 1e-5
    assert (together(module, picture, scale, 0, 3) - whole).abs().max() < 1e-5
    if tile < 37:
        assert (together(module, picture, scale, tile, 1) - whole).abs().max() > 1e-3, "too little padding must show"


def test_unshuffling_network_in_tiles_keeps_its_grid() -> None:
    """RRDBNet x1 reads 4x4 blocks: a window that began between them would shift the whole result."""
    torch.manual_seed(0)
    module = build_network("rrdb-x1", num_feat=8, num_block=1, num_grow_ch=4).eval()
    picture = noise(48, 64)
    with torch.no_grad():
        whole = module(to_tensor(picture))[0]
    # 15 convolutions of the block and 2 around it at a quarter of the size, 4 more above: under 80 pixels.
    assert (together(module, picture, 1, 22, 80) - whole).abs().max() < 1e-5


@pytest.mark.parametrize(("architecture", "scale"), [("rrdb-x2", 2), ("rrdb-x1", 1), ("elan-x1", 1), ("rrdb-ps", 4)])
@pytest.mark.parametrize("size", [(19, 30), (1, 1), (3, 17)])
def test_any_size_goes_in(architecture: str, scale: int, size: tuple[int, int]) -> None:
    small = {"m_elan": 2, "c_elan": 15} if "elan" in architecture else {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}
    module = build_network(architecture, **small).eval()
    result = upscale_picture(module, noise(*size), scale=scale, tile=16, tile_pad=4)
    assert result.shape == (size[0] * scale, size[1] * scale, 3)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("tile", [0, 7])
def test_a_known_result_is_exact(tile: int) -> None:
    picture = noise(20, 30)
    expected = picture.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(upscale_picture(Nearest(), picture, scale=2, tile=tile), expected)
    sixteen = picture.astype(np.uint16) * 257
    assert np.array_equal(upscale_picture(Nearest(), sixteen, scale=2, tile=tile), expected)
    floats = to_float(picture)
    assert np.array_equal(upscale_picture(Nearest(), floats, scale=2, tile=tile), expected)


def test_the_result_is_clipped() -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 4 - 1

    values = upscale_picture(Bright(), np.array([[[0, 100, 200]]], np.uint8), scale=1)
    assert values.tolist() == [[[0, 145, 255]]]


def test_a_tile_that_is_not_finite_is_named() -> None:
    picture = noise(20, 20)
    upscale_picture(BreaksAt(), picture, scale=1, tile=10, tile_pad=0)
    picture[3, 14] = 255
    with pytest.raises(GoldeyeError, match=r"not finite in the tile at rows 0-9, columns 10-19"):
        upscale_picture(BreaksAt(), picture, scale=1, tile=10, tile_pad=0)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_wrong_scale_is_refused(scale: int) -> None:
    with pytest.raises(GoldeyeError, match=f"no RGB picture of scale {scale}"):
        upscale_picture(Nearest(), noise(8, 8), scale=scale)


def test_a_discriminator_is_refused() -> None:
    with pytest.raises(GoldeyeError, match=r"no RGB picture of scale 1: \(1, 1, 16, 24\)"):
        upscale_picture(build_network("unet-sn", num_feat=2).eval(), noise(10, 20), scale=1)


def test_large_pictures_are_tiled_by_themselves() -> None:
    sizes = []

    class Records(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(tuple(x.shape[2:]))
            return x

    upscale_picture(Records(), np.zeros((512, 512, 3), np.uint8), scale=1)
    assert sizes == [(512, 512)]
    upscale_picture(Records(), np.zeros((512, 600, 3), np.uint8), scale=1, tile_pad=16)
    assert len(sizes) == 1 + 6
    assert sizes[1] == (272, 272)
