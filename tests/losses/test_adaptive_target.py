"""AdaTarget's transform: the official numbers, toy numbers by hand, gradients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from goldeye.errors import InvalidInput
from goldeye.losses.adaptive_target import adapted, gt_windows, join, locate, move, resample
from goldeye.losses.pixel import pixel_loss
from goldeye.networks import build_network


def identity(patches: Tensor) -> Tensor:
    """A LocNet that moves nothing."""
    return torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(len(patches), 2, 3)


def shift(x: float, y: float = 0, *, size: int = 7) -> Tensor:
    """The matrix that looks x pixels to the right and y down in a patch."""
    return torch.tensor([[1.0, 0, 2 * x / size], [0, 1, 2 * y / size]])


def test_the_official_transform(golden: Path) -> None:
    entries = json.loads((golden / "index.json").read_text())["files"]
    tolerance = next(e for e in entries if e["file"] == "losses/adatarget_transform.npz")["tolerance"]["abs"]
    with np.load(golden / "losses" / "adatarget_transform.npz") as file:
        data = {name: torch.from_numpy(file[name]) for name in file.files}
    seen: list[Tensor] = []

    def official(patches: Tensor) -> Tensor:
        seen.append(patches)
        return data["loc_params"]

    found = adapted(data["sr"], data["gt"], official)
    assert torch.equal(seen[0][:8], data["loc_input_first8"])
    assert (found - data["transformed_sr"]).abs().max() <= tolerance
    assert pixel_loss(found, data["gt"], "mse").item() == pytest.approx(data["l2_to_gt"].item(), rel=1e-4)
    assert pixel_loss(found, data["gt"]).item() == pytest.approx(data["l1_to_gt"].item(), rel=1e-4)


def test_a_locnet_that_moves_nothing_leaves_plain_mse() -> None:
    torch.manual_seed(0)
    sr, gt = torch.rand(2, 3, 14, 21), torch.rand(2, 3, 14, 21)
    torch.testing.assert_close(adapted(sr, gt, identity), sr, rtol=0, atol=1e-6)
    # LocNet begins as the identity.
    torch.testing.assert_close(adapted(sr, gt, build_network("locnet")), sr, rtol=0, atol=1e-6)


def test_a_known_shift_is_undone_but_for_the_column_that_was_never_seen() -> None:
    row = torch.tensor([0.1, 0.2, 0.4, 0.8, 0.3, 0.6, 0.5, 0.9, 0.7])  # a 9 pixels wide window of the GT
    gt, sr = row[1:8].expand(1, 3, 7, 7), row[2:9].expand(1, 3, 7, 7)  # the SR lies one pixel to the left
    found = adapted(sr, gt, lambda patches: shift(-1)[None])
    torch.testing.assert_close(found[..., 1:], gt[..., 1:], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[..., 0], torch.full((1, 3, 7), 0.4), rtol=0, atol=1e-6)  # the border, repeated
    # Of seven columns one is wrong, by 0.4 - 0.2.
    assert pixel_loss(found, gt, "mse").item() == pytest.approx(0.2**2 / 7, rel=1e-4)
    half = adapted(sr, gt, lambda patches: shift(-0.5)[None])
    assert half[0, 0, 0, 1].item() == pytest.approx((0.4 + 0.8) / 2, rel=1e-4)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    torch.manual_seed(1)
    sr = torch.rand(1, 3, 7, 7)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0]])  # x' = -y, y' = x
    expected = torch.empty_like(sr)
    for y in range(7):
        for x in range(7):
            expected[:, :, y, x] = sr[:, :, x, 6 - y]
    torch.testing.assert_close(move(sr, quarter[None]), expected, rtol=0, atol=1e-5)


def test_each_patch_has_its_own_matrix_and_sees_its_own_window() -> None:
    """Against one patch at a time, by indices; the second picture and the rows must not be mixed up."""
    torch.manual_seed(2)
    sr, gt = torch.rand(2, 3, 14, 21), torch.rand(2, 3, 14, 21)
    seen: list[Tensor] = []
    angles = torch.linspace(-0.3, 0.3, 12)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros(12)
    matrices = torch.stack([cos, -sin, zero + 0.1, sin, cos, zero], dim=1).view(12, 2, 3)

    def locnet(patches: Tensor) -> Tensor:
        seen.append(patches)
        return matrices

    found = adapted(sr, gt, locnet)
    padded = torch.nn.functional.pad(gt, (1, 1, 1, 1), mode="reflect")
    assert padded[0, 0, 0, 1] == gt[0, 0, 1, 0]  # reflected, the edge not repeated
    for number in range(12):
        picture, y, x = number // 6, number % 6 // 3 * 7, number % 3 * 7
        patch, window = sr[picture, :, y : y + 7, x : x + 7], padded[picture, :, y : y + 9, x : x + 9]
        assert torch.equal(seen[0][number], torch.cat([patch.flatten(), window.flatten()]))
        alone = resample(patch.reshape(1, -1), matrices[number : number + 1], 7)[0]
        torch.testing.assert_close(found[picture, :, y : y + 7, x : x + 7], alone, rtol=0, atol=1e-6)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from([(3, 5), (7, 9), (5, 5)]))
def test_cutting_and_joining_give_back_the_picture(batch: int, rows: int, columns: int, sizes: tuple[int, int]) -> None:
    sr_size, gt_size = sizes
    gt = torch.rand(batch, 3, rows * sr_size, columns * sr_size)
    windows = gt_windows(gt, sr_size=sr_size, gt_size=gt_size).view(-1, 3, gt_size, gt_size)
    assert len(windows) == batch * rows * columns
    border = (gt_size - sr_size) // 2
    middle = windows[:, :, border : border + sr_size, border : border + sr_size]
    assert torch.equal(join(middle, (gt.shape[2], gt.shape[3]), sr_size), gt)
    torch.testing.assert_close(adapted(gt, gt, identity, sr_size=sr_size, gt_size=gt_size), gt, rtol=0, atol=1e-6)


def test_gradients_reach_the_picture_and_locnet() -> None:
    torch.manual_seed(3)
    gt = torch.rand(2, 3, 14, 14)
    sr = torch.rand(2, 3, 14, 14).requires_grad_(True)
    locnet = build_network("locnet")
    locnet.get_parameter("layer4.weight").data.normal_(
        std=0.01
    )  # at the start it is zero, and lets no gradient through
    pixel_loss(adapted(sr, gt, locnet), gt, "mse").backward()  # type: ignore[no-untyped-call]
    assert sr.grad is not None
    assert (sr.grad.abs().amax((1, 2, 3)) > 0).all()
    for name, parameter in locnet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        if name not in ("layer1.bias", "layer2.bias", "layer3.bias"):  # batch norm takes biases before it away
            assert parameter.grad.abs().max() > 0, name


def test_half_precision_comes_out_as_float32() -> None:
    sr = torch.rand(1, 3, 7, 7)
    found = adapted(sr.bfloat16(), sr, identity)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, sr.bfloat16().float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_matrix_that_is_not_finite_gives_nan_and_ends_no_process(value: float) -> None:
    """torch's grid_sample alone reads outside the patch then."""
    sr = torch.rand(2, 3, 28, 28).requires_grad_(True)
    matrices = identity(torch.zeros(32)).clone()
    matrices[5, 0, 1] = value
    found = move(sr, matrices)
    assert found.isnan().sum() == 3 * 49  # the patch it belongs to, and no other
    found.mean().backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("sides", [(16, 14), (14, 16), (6, 7)])
def test_sides_that_patches_do_not_cover_are_refused(sides: tuple[int, int]) -> None:
    picture = torch.rand(1, 3, *sides)
    with pytest.raises(InvalidInput, match=f"patches of 7 x 7, of which {sides[0]} x {sides[1]} is no"):
        locate(picture, picture, identity)


def test_the_rotation_of_a_smooth_patch_is_undone() -> None:
    """A GT of straight lines seen turned: the matrix of the opposite angle brings it back, but for the corners."""
    places = torch.arange(7.0) - 3
    y, x = torch.meshgrid(places, places, indexing="ij")
    angle = math.radians(10)
    plane = (0.5 + 0.05 * x).expand(1, 3, 7, 7)
    turned = (0.5 + 0.05 * (math.cos(angle) * x - math.sin(angle) * y)).expand(1, 3, 7, 7)
    back = torch.tensor([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0]])
    found = move(turned, back[None])
    torch.testing.assert_close(found[..., 1:-1, 1:-1], plane[..., 1:-1, 1:-1], rtol=0, atol=1e-5)
    assert (turned - plane)[..., 1:-1, 1:-1].abs().max() > 0.01
