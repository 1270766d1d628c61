"""Several networks as one: RGAN's fusion, ensembles, the eight views; and the files that describe them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spandrel.architectures.SPAN import SPAN
from torch import Tensor, nn

from goldeye.errors import InvalidInput
from goldeye.networks import build_network
from goldeye.networks.weights import load_model, origin, save_weights
from goldeye.upscale import upscale_picture
from goldeye.upscale.engine import median_luma
from goldeye.upscale.export import export_model
from goldeye.upscale.fusion import Fusion, SelfEnsemble, WeightedEnsemble


class Gain(nn.Module):
    """Multiplies colours by constants."""

    receptive_radius = 0

    def __init__(self, red: float, green: float, blue: float) -> None:
        super().__init__()
        self.gains = torch.tensor([red, green, blue]).view(1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gains


def grey(level: float, rest: float = 250) -> np.ndarray:
    """A picture of which a little more than half has this level, the rest another."""
    picture = np.full((10, 10, 3), rest / 255, np.float32)
    picture.reshape(-1, 3)[:51] = level / 255
    return picture


def test_median_luma_by_hand() -> None:
    """Red 100 has luma 29.9, green 58.7, blue 11.4; of four pixels the median is the mean of the middle two."""
    colours = np.array([[[100, 0, 0], [0, 100, 0]], [[0, 0, 100], [255, 255, 255]]], np.uint8)
    assert median_luma(colours) == pytest.approx((29.9 + 58.7) / 2, abs=1 / 256)
    assert median_luma(colours.astype(np.uint16) * 257) == pytest.approx((29.9 + 58.7) / 2, abs=1 / 256)
    for level in range(256):
        assert median_luma(np.full((3, 5, 3), level, np.uint8)) == level


@pytest.mark.parametrize(("level", "dark"), [(63, True), (64, False)])
def test_fusion_averages_dark_pictures_only(level: int, dark: bool) -> None:
    """RGAN Section 3.3: a median of 63 gives .6 R + .4 S, of 64 gives R."""
    picture, fusion = grey(level), Fusion(Gain(1, 1, 1), Gain(0.5, 0.8, 0.9))
    result = upscale_picture(fusion, picture, scale=1, tile=4)
    expected = picture * [0.6 + 0.4 * 0.5, 0.6 + 0.4 * 0.8, 0.6 + 0.4 * 0.9] if dark else picture
    assert np.abs(result - expected).max() < 1e-6


def test_the_luma_is_that_of_r() -> None:
    """The input has a median of 100, R's result one of 50; of S's nothing is asked."""
    picture = grey(100)
    bright, dimmed = Gain(1, 1, 1), Gain(0.5, 0.5, 0.5)
    fused = upscale_picture(Fusion(dimmed, bright), picture, scale=1)
    assert np.abs(fused - picture * (0.6 * 0.5 + 0.4)).max() < 1e-6
    alone = upscale_picture(Fusion(bright, dimmed), picture, scale=1)
    assert np.abs(alone - picture).max() < 1e-6


def test_an_ensemble_is_the_weighted_sum() -> None:
    picture = grey(77)
    module = WeightedEnsemble([Gain(1, 0, 0), Gain(0, 1, 0), Gain(0, 0, 1)], [0.2, 0.3, 0.5])
    assert np.abs(upscale_picture(module, picture, scale=1) - picture * [0.2, 0.3, 0.5]).max() < 1e-6


def test_ensembles_know_what_their_members_need() -> None:
    parts = [build_network(name, num_feat=4, num_block=1, num_grow_ch=2) for name in ("rrdb-x2", "rrdb-x1")]
    assert WeightedEnsemble(parts, [0.5, 0.5]).size_multiple == 4
    assert WeightedEnsemble([Gain(1, 1, 1), parts[0]], [0.5, 0.5]).receptive_radius == parts[0].receptive_radius
    assert WeightedEnsemble([Gain(1, 1, 1), nn.Identity()], [0.5, 0.5]).receptive_radius is None


def test_the_eight_views_by_hand() -> None:
    """A network that keeps the left column only: each border pixel is seen in 2 of 8 views, a corner in 4."""

    class LeftColumn(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out = torch.zeros_like(x)
            out[..., 0] = x[..., 0]
            return out

    result = SelfEnsemble(LeftColumn())(torch.ones(1, 1, 3, 3))
    assert result.tolist() == [[[[0.5, 0.25, 0.5], [0.25, 0, 0.25], [0.5, 0.25, 0.5]]]]


def test_eight_views_of_a_picture_that_is_not_square() -> None:
    torch.manual_seed(0)
    module = build_network("srresnet", num_feat=4, num_block=1, scale=2).eval()
    x = torch.rand(2, 3, 8, 12)
    with torch.no_grad():
        views = [module(x), module(x.flip(3)).flip(3), module(x.flip(2)).flip(2), module(x.flip(2, 3)).flip(2, 3)]
        turned = x.transpose(2, 3)
        views += [
            module(turned).transpose(2, 3),
            module(turned.flip(3)).flip(3).transpose(2, 3),
            module(turned.flip(2)).flip(2).transpose(2, 3),
            module(turned.flip(2, 3)).flip(2, 3).transpose(2, 3),
        ]
        assert (SelfEnsemble(module)(x) - torch.stack(views).mean(0)).abs().max() < 1e-6
    picture = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)
    once, eight = (upscale_picture(module, picture, scale=2, ensemble=flag) for flag in (False, True))
    mirrored = upscale_picture(module, picture[:, ::-1], scale=2, ensemble=True)[:, ::-1]
    assert np.abs(mirrored.astype(int) - eight).max() <= 1
    assert not np.array_equal(once, eight)


# Files ---------------------------------------------------------------------------------------------------------------

TINY = {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}


def weights(path: Path, seed: int, scale: int = 2, extra: dict[str, str] | None = None, **settings: int) -> nn.Module:
    torch.manual_seed(seed)
    config = TINY | {"scale": scale} | settings
    module = build_network("rcan", **config).eval()
    save_weights(path, module, architecture="rcan", config=config, scale=scale, extra=extra)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights(tmp_path / "sub" / "r.safetensors", 0)
    weights(tmp_path / "s.safetensors", 1)
    weights(tmp_path / "x4.safetensors", 2, scale=4)
    weights(tmp_path / "wide.safetensors", 2, num_block=2)
    torch.save(SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2).state_dict(), tmp_path / "spandrel.pth")
    return tmp_path


def test_a_fusion_file_is_a_model(folder: Path) -> None:
    (folder / "rgan.yaml").write_text("fusion: {r: sub/r.safetensors, s: s.safetensors}")
    model = load_model(folder / "rgan.yaml")
    assert (model.architecture, model.scale) == ("fusion", 2)
    members = {"r": "sub/r.safetensors", "s": "s.safetensors"}
    assert model.config == {"fusion": {**members, "weights": [0.6, 0.4], "threshold": 64.0}}


@pytest.mark.parametrize(("threshold", "shares"), [(0, (1, 0)), (256, (0.6, 0.4))])
def test_a_fusion_file_sets_the_threshold(folder: Path, threshold: int, shares: tuple[float, float]) -> None:
    text = f"fusion: {{r: sub/r.safetensors, s: s.safetensors, threshold: {threshold}}}"
    (folder / "rgan.yaml").write_text(text)
    picture = np.random.default_rng(0).uniform(0.3, 0.7, (16, 16, 3)).astype(np.float32)
    r, s = (load_model(folder / name).upscale(picture) for name in ("sub/r.safetensors", "s.safetensors"))
    assert 0 < min(r.min(), s.min()) < max(r.max(), s.max()) < 1, "nothing is clipped"
    assert np.abs(load_model(folder / "rgan.yaml").upscale(picture) - (shares[0] * r + shares[1] * s)).max() < 1e-5
    assert np.abs(r - s).max() > 0.01


def test_an_ensemble_file_is_a_model(folder: Path) -> None:
    (folder / "both.yaml").write_text("ensemble: [{model: sub/r.safetensors}, {model: s.safetensors}]")
    model = load_model(folder / "both.yaml")
    assert model.architecture == "ensemble"
    x = torch.rand(1, 3, 9, 7)
    parts = [load_model(folder / name).module(x) for name in ("sub/r.safetensors", "s.safetensors")]
    assert (model.module(x) - sum(parts) / 2).abs().max() < 1e-5


def test_an_interpolation_file_is_one_network(folder: Path) -> None:
    """ESRGAN's network interpolation: .8 of one file's weights and .2 of the other's."""
    text = "interpolation: [{model: sub/r.safetensors, weight: 0.8}, {model: s.safetensors, weight: 0.2}]"
    (folder / "mixed.yaml").write_text(text)
    model = load_model(folder / "mixed.yaml")
    assert (model.architecture, model.scale) == ("rcan", 2)
    r, s = (load_model(folder / name).module.state_dict() for name in ("sub/r.safetensors", "s.safetensors"))
    for key, value in model.module.state_dict().items():
        torch.testing.assert_close(value, 0.8 * r[key] + 0.2 * s[key])
    export_model(model, folder / "mixed.safetensors")
    export_model(model, folder / "mixed.pth")
    x = torch.rand(1, 3, 9, 7)
    for name in ("mixed.safetensors", "mixed.pth"):
        assert torch.equal(load_model(folder / name).module(x), model.module(x))


def test_the_terms_of_interpolated_models_go_on(folder: Path) -> None:
    for name, licence in (("a", "research"), ("b", "MIT"), ("c", "research")):
        weights(folder / f"{name}.safetensors", 7, extra={"licence": licence})
    (folder / "mixed.yaml").write_text("interpolation: [{model: a.safetensors}, {model: b.safetensors}]")
    export_model(load_model(folder / "mixed.yaml"), folder / "mixed.safetensors")
    header = load_model(folder / "mixed.safetensors").metadata
    assert header["licence"] == "research; MIT"
    assert header["interpolation"] == "0.5 of a.safetensors, 0.5 of b.safetensors"
    (folder / "both.yaml").write_text("ensemble: [{model: a.safetensors}, {model: b.safetensors}]")
    assert load_model(folder / "both.yaml").metadata == {"licence": "research; MIT"}
    begun = origin(str(folder / "mixed.yaml"))
    assert begun["licence"] == "research; MIT"
    assert begun["init_sha256"] == load_model(folder / "mixed.yaml").sha256
    (folder / "mixed.yaml").write_text("interpolation: [{model: a.safetensors}, {model: c.safetensors}]")
    assert origin(str(folder / "mixed.yaml"))["licence"] == "research"


def test_the_hash_changes_with_a_member(folder: Path) -> None:
    (folder / "rgan.yaml").write_text("fusion: {r: sub/r.safetensors, s: s.safetensors}")
    before = load_model(folder / "rgan.yaml").sha256
    assert load_model(folder / "rgan.yaml").sha256 == before
    weights(folder / "s.safetensors", 5)
    assert load_model(folder / "rgan.yaml").sha256 != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fusion: {r: sub/r.safetensors}", "'fusion.s' is missing"),
        ("fusion: {r: sub/r.safetensors, s: s.safetensors, wieghts: [1, 0]}", "wieghts"),
        ("fusion: {r: sub/r.safetensors, s: s.safetensors, weights: [0.6, 0.6]}", "add up to 1, not 1.2"),
        ("fusion: {r: sub/r.safetensors, s: x4.safetensors}", r"different scales \(2, 4\)"),
        ("fusion: {r: sub/r.safetensors, s: gone.safetensors}", "gone.safetensors"),
        ("fusion: {r: me.yaml, s: s.safetensors}", "'me.yaml' is itself a combination"),
        ("ensemble: []", "at least 1"),
        (
            "ensemble: [{model: s.safetensors, weight: 0.5}, {model: s.safetensors}]",
            "either every member has a weight or none",
        ),
        ("interpolation: [{model: s.safetensors}]", "at least 2"),
        ("interpolation: [{model: s.safetensors}, {model: wide.safetensors}]", "are different networks"),
        ("interpolation: [{model: s.safetensors}, {model: x4.safetensors}]", "different scales"),
        ("interpolation: [{model: spandrel.pth}, {model: spandrel.pth}]", "no architecture of Goldeye's"),
        ("{}", "one of 'fusion', 'ensemble' and 'interpolation' is needed"),
        ("- a", "should hold YAML settings"),
        ("a: [", "not valid YAML"),
    ],
)
def test_files_that_describe_no_model(folder: Path, text: str, message: str) -> None:
    path = folder / "me.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        load_model(path)


def test_a_missing_file_of_that_kind(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.yaml"):
        load_model(tmp_path / "none.yaml")


def test_models_upscale_in_python(folder: Path) -> None:
    model = load_model(folder / "s.safetensors")
    rng = np.random.default_rng(0)
    pictures: list[Any] = [rng.integers(0, 256, (9, 12, 3), np.uint8), rng.integers(0, 256, (7, 7, 4), np.uint8)]
    results = model.upscale(pictures)
    assert [result.shape for result in results] == [(18, 24, 3), (14, 14, 4)]
    assert np.array_equal(results[0], model.upscale(pictures[0]))
    assert np.array_equal(results[0], upscale_picture(model.module, pictures[0], scale=2))
    assert model.upscale(pictures[0], outscale=3, tile=64).shape == (27, 36, 3)
    pieces = list(model.tiles(pictures[0], tile=4, tile_pad=2))
    assert len(pieces) > 1
    assert sum((a.bottom - a.top) * (a.right - a.left) for a, _ in pieces) == 9 * 12
    assert pieces[0][1].shape[0] == 3
