"""After the network: transparency, the input's colours, other sizes, and what became of the kinds of numbers."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from goldeye.images import matlab_resize, to_float, to_uint8
from goldeye.networks import build_network
from goldeye.upscale import Upscaler, upscale_picture
from goldeye.upscale.finish import CELL, enlarged


class Nearest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Bilinear(nn.Module):
    """Softens edges, so that colours of neighbours mix."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")


class Cast(nn.Module):
    """Redder, darker at the bottom, and with a detail that no input has."""

    def forward(self, x: Tensor) -> Tensor:
        large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        height, width = large.shape[2:]
        shade = torch.linspace(0, 0.1, height).view(1, 1, -1, 1)
        detail = 0.05 * (1 - 2 * (torch.arange(width) % 2)).view(1, 1, 1, -1)
        return large + torch.tensor([0.1, 0, 0]).view(1, 3, 1, 1) - shade + detail


def disc(side: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A coloured disc with a soft edge on full transparency, under which bright green lies hidden."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip(side / 3 - np.hypot(x, y) + 0.5, 0, 1)
    picture = np.empty((side, side, 4), np.uint8)
    picture[..., :3] = np.where(alpha[..., None] > 0, colour, (0, 255, 0))
    picture[..., 3] = np.rint(alpha * 255)
    return picture


# Alpha ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outscale", [2, 3.3, 0.7])
def test_alpha_leaves_no_fringe(outscale: float) -> None:
    """Where anything can be seen, it has the disc's colour: nothing of the hidden green, no dark rim."""
    colour = (200, 120, 40)
    result = upscale_picture(Bilinear(), disc(40, colour), scale=2, outscale=outscale).astype(int)
    assert result.shape == (round(40 * outscale), round(40 * outscale), 4)
    seen = result[..., 3] > 25
    assert 0.2 < seen.mean() < 0.5
    assert np.abs(result[seen][:, :3] - colour).max() <= 8
    clearly = result[..., 3] > 250
    assert np.abs(result[clearly][:, :3] - colour).max() <= 1
    assert (result[result[..., 3] == 0] == 0).all()


def test_what_the_fringe_would_be() -> None:
    """The test above can fail: colours that are not multiplied by alpha bring the green in."""
    picture = disc(40, (200, 120, 40))
    careless = upscale_picture(Bilinear(), np.ascontiguousarray(picture[..., :3]), scale=2).astype(int)
    alpha = upscale_picture(Bilinear(), picture, scale=2)[..., 3]
    assert np.abs(careless[alpha > 25] - (200, 120, 40)).max() > 30


def test_alpha_goes_through_the_network_like_the_colours() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(1, 256, (12, 15, 4), np.uint8)
    expected = picture.repeat(2, 0).repeat(2, 1)
    assert np.abs(upscale_picture(Nearest(), picture, scale=2).astype(int) - expected).max() == 0
    sixteen = rng.integers(600, 65536, (12, 15, 4), np.uint16)
    result = upscale_picture(Nearest(), sixteen, scale=2)
    assert np.array_equal(result[..., 3], sixteen[..., 3].repeat(2, 0).repeat(2, 1))
    floats = rng.uniform(0.1, 1, (12, 15, 4)).astype(np.float32)
    result = upscale_picture(Nearest(), floats, scale=2)
    assert np.abs(result - floats.repeat(2, 0).repeat(2, 1)).max() < 1e-6


def test_an_opaque_alpha_costs_no_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fill = Upscaler.fill
    monkeypatch.setattr(Upscaler, "fill", lambda *a, **k: (calls.append(1), fill(*a, **k)))
    picture = np.full((8, 8, 4), 255, np.uint8)
    assert np.array_equal(upscale_picture(Nearest(), picture, scale=2), np.full((16, 16, 4), 255))
    assert upscale_picture(Nearest(), picture, scale=2, outscale=3)[..., 3].min() == 255
    assert len(calls) == 2


# Sizes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outscale", [1.0, 1.5, 3.0])
def test_another_size_is_matlabs(outscale: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 33, 3), np.uint8)
    result = upscale_picture(Nearest(), picture, scale=2, outscale=outscale)
    size = round(40 * outscale), round(33 * outscale)
    expected = matlab_resize(to_float(picture.repeat(2, 0).repeat(2, 1)), *size)
    assert np.array_equal(result, to_uint8(expected))


# Colours -------------------------------------------------------------------------------------------------------------


def test_low_frequencies_of_the_input_are_kept() -> None:
    y, x = np.mgrid[:70, :90]
    picture = np.stack([0.3 + x / 400, 0.5 + 0 * x, 0.6 - y / 400], axis=-1).astype(np.float32)
    wanted = picture.repeat(2, 0).repeat(2, 1)
    plain = upscale_picture(Cast(), picture, scale=2)
    kept = upscale_picture(Cast(), picture, scale=2, color_fix=True)
    assert np.abs(plain - wanted).mean(axis=(0, 1)).max() > 0.05
    assert np.abs((kept - wanted).mean(axis=(0, 1))).max() < 0.002
    # Away from the border, what is left is the network's own detail, untouched.
    detail = (kept - wanted)[40:100, 40:140]
    expected = 0.05 * (1 - 2 * (np.arange(180) % 2))[40:140]
    assert np.abs(detail - expected[None, :, None]).max() < 0.004


def test_the_mean_of_each_cell_becomes_the_inputs_by_hand() -> None:
    """One cell: the whole difference of the means is added everywhere, 0.6 - 0.5 here."""

    class Darker(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - 0.1

    picture = np.full((CELL, CELL, 3), 0.6, np.float32)
    picture[0, 0] = 0.2
    result = upscale_picture(Darker(), picture, scale=1, color_fix=True)
    assert np.abs(result - picture).max() < 1e-6


def test_a_network_that_keeps_colours_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    result = upscale_picture(Nearest(), picture, scale=2, color_fix=True)
    assert np.array_equal(result, picture.repeat(2, 0).repeat(2, 1))


# Large pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outscale", [2, 1.7])
def test_a_picture_on_disk_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outscale: float) -> None:
    """Arrays in a file, many bands: nothing differs from small arrays in memory."""
    picture = np.random.default_rng(0).integers(0, 256, (300, 60, 4), np.uint8)
    torch.manual_seed(0)
    module = build_network("srresnet", num_feat=4, num_block=1, scale=2).eval()
    expected = upscale_picture(module, picture, scale=2, outscale=outscale, color_fix=True, tile=64)
    monkeypatch.setattr(importlib.import_module("goldeye.images.spool"), "IN_MEMORY", 0)
    size = round(300 * outscale), round(60 * outscale)
    upscaler = Upscaler(module, scale=2, tile=64)
    with enlarged(
        upscaler,
        picture[..., :3],
        picture[..., 3],
        size,
        dtype=np.dtype(np.uint8),
        color_fix=True,
        folder=tmp_path / "new",
    ) as (pixels, alpha):
        assert np.array_equal(pixels, expected[..., :3])
        assert np.array_equal(alpha, expected[..., 3])
    assert list((tmp_path / "new").iterdir()) == []
