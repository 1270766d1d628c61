"""Building networks by name: sizes, settings, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from goldeye.errors import InvalidInput
from goldeye.networks import ARCHITECTURES, NETWORKS, build_network, resolve_config
from goldeye.networks.blocks import pad_to_multiple, pixelshuffle_upsampler

TINY: dict[str, dict[str, Any]] = {
    "rrdbnet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2},
    "rrdbnet-ps": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2},
    "rcan": {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2},
    "elan": {"m_elan": 2, "c_elan": 15},
    "unet-sn": {"num_feat": 2},
}


def tiny(architecture: str, **overrides: Any) -> nn.Module:
    return build_network(architecture, **(TINY[ARCHITECTURES[architecture].network] | overrides)).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_output_has_the_stated_scale(architecture: str) -> None:
    scale = ARCHITECTURES[architecture].scale
    with torch.no_grad():
        out = tiny(architecture)(torch.rand(2, 3, 16, 24))
    assert out.shape == (2, 1 if architecture == "unet-sn" else 3, 16 * scale, 24 * scale)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("architecture", ["rcan", "rrdb-ps", "elan"])
def test_other_scales(architecture: str, scale: int) -> None:
    with torch.no_grad():
        assert tiny(architecture, scale=scale)(torch.rand(1, 3, 16, 16)).shape == (1, 3, 16 * scale, 16 * scale)


@given(height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_elan_and_rcan_take_any_size(height: int, width: int) -> None:
    image = torch.rand(1, 3, height, width)
    with torch.no_grad():
        for architecture in ("elan-x1", "rcan-x1"):
            assert tiny(architecture)(image).shape == image.shape


@given(height=st.integers(1, 40), width=st.integers(1, 40), multiple=st.sampled_from([1, 2, 4, 16]))
@settings(max_examples=40, deadline=None)
def test_padding_keeps_the_picture_and_fits(height: int, width: int, multiple: int) -> None:
    image = torch.rand(1, 1, height, width)
    padded = pad_to_multiple(image, multiple)
    assert padded.shape[2] % multiple == padded.shape[3] % multiple == 0
    assert padded.shape[2] - height < multiple
    assert padded.shape[3] - width < multiple
    assert torch.equal(padded[..., :height, :width], image)


def test_enhancers_start_from_a_picture_of_the_same_brightness() -> None:
    """Inside, colours are centred and in 0..255; outside they are in [0, 1]."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for architecture in ("rcan-x1", "elan-x1", "elan"):
            assert tiny(architecture)(image).abs().max() < 5


def test_resolve_config_gives_every_setting() -> None:
    config = resolve_config("elan-x1", {"c_elan": 30})
    assert config["scale"] == 1
    assert config["c_elan"] == 30
    assert config["window_sizes"] == [4, 8, 16]
    assert config["m_elan"] == 36
    assert {a.network for a in ARCHITECTURES.values()} == set(NETWORKS)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"Unknown architecture 'rrdb-pss'. Did you mean 'rrdb-ps'\?"):
        build_network("rrdb-pss")
    with pytest.raises(InvalidInput, match=r"Unknown setting of rcan 'num_feats'. Did you mean 'num_feat'\?"):
        build_network("rcan", num_feats=16)


@pytest.mark.parametrize(
    ("architecture", "settings_"),
    [
        ("rrdb", {"scale": 3}),
        ("rrdb", {"num_feat": "many"}),
        ("rrdb-ps", {"scale": 5}),
        ("rrdb-ps", {"scale": 0}),
        ("rcan", {"num_feat": 8}),
        ("rcan", {"squeeze_factor": 0}),
        ("elan", {"c_elan": 20}),
    ],
)
def test_settings_that_make_no_network(architecture: str, settings_: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        build_network(architecture, **settings_)


def test_upsampler_of_scale_one_is_nothing() -> None:
    assert len(pixelshuffle_upsampler(1, 8)) == 0
    assert len(pixelshuffle_upsampler(8, 4)) == 6


def test_dense_blocks_start_near_the_identity() -> None:
    torch.manual_seed(0)
    block = tiny("rrdb").get_submodule("body.0.rdb1")
    features = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        assert (block(features) - features).abs().max() < 0.1


def test_unshuffling_networks_say_what_size_they_need() -> None:
    needs = {name: getattr(tiny(name), "size_multiple", 1) for name in ("rrdb", "rrdb-x2", "rrdb-x1", "rrdb-ps")}
    assert needs == {"rrdb": 1, "rrdb-x2": 2, "rrdb-x1": 4, "rrdb-ps": 1}
