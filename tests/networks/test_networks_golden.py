"""The networks agree with the official implementations: outputs, key names, parameter counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from goldeye.networks import NETWORKS, build_network

# Golden entry: our network, how the official settings are called here.
CASES = {
    "rrdbnet_x4": "rrdbnet",
    "rrdbnet_x2": "rrdbnet",
    "rrdbnet_x1": "rrdbnet",
    "rrdbpsnet_x4": "rrdbnet-ps",
    "rcan_x4": "rcan",
    "rcannoup_x1": "rcan",
    "elan_sr_share0": "elan",
    "elan_sr_share1": "elan",
    "elan_x1_share0": "elan",
    "elan_x1_share1": "elan",
    "disc_unet_sn": "unet-sn",
}

FULL_SIZE = {
    "rrdb": "RRDBNet_x4_64_23_32",
    "rrdb-x2": "RRDBNet_x2_64_23_32",
    "rrdb-x1": "RRDBNet_x1_64_23_32",
    "rrdb-ps": "RRDBPSNet_x4_64_23_32",
    "rcan": "RCAN_x4_10x20x64",
    "rcan-x1": "RCANNOUP_10x20x64",
    "elan": "ELAN_x4_m36_c180_share0",
    "elan-x1": "ELAN_x1_m36_c180_share0",
    "unet-sn": "UNetDiscriminatorSN_64",
}


def golden_entry(golden: Path, name: str) -> dict[str, Any]:
    files = json.loads((golden / "index.json").read_text())["files"]
    entry: dict[str, Any] = next(e for e in files if e["file"] == f"models/{name}.npz")
    return entry


def golden_state(golden: Path, name: str) -> dict[str, Tensor]:
    content = torch.load(golden / "models" / f"{name}.pth", weights_only=True)
    state: dict[str, Tensor] = content.get("params_ema", content.get("params", content))
    return state


def golden_network(golden: Path, name: str) -> nn.Module:
    """Our network with the official settings and weights of a golden entry."""
    config = dict(golden_entry(golden, name)["config"])
    if config.pop("type") == "RCANNOUP":
        config["scale"] = 1
    if "upscale" in config:
        config["scale"] = config.pop("upscale")
    for elsewhere in ("rgb_range", "act_type"):
        config.pop(elsewhere, None)
    network = NETWORKS[CASES[name]](**config)
    network.load_state_dict(golden_state(golden, name))
    return network.eval()


def arrays(golden: Path, name: str) -> dict[str, Tensor]:
    with np.load(golden / "models" / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.mark.parametrize("name", CASES)
def test_output_is_the_official_one(golden: Path, name: str) -> None:
    entry, data, network = golden_entry(golden, name), arrays(golden, name), golden_network(golden, name)
    unit = float(entry["config"].get("rgb_range", 1))  # the official ELAN counts in 0..255, ours in [0, 1]
    with torch.no_grad():
        output = network(data["input"] / unit) * unit
    assert output.shape == data["output"].shape
    assert (output - data["output"]).abs().max() <= entry["tolerance"]["abs"]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    assert list(network.state_dict()) == list(golden_state(golden, name))


@pytest.mark.parametrize("name", ["rrdbnet_x2", "rrdbpsnet_x4", "rcan_x4", "elan_sr_share1", "elan_x1_share0"])
def test_gradients_reach_every_trainable_weight(golden: Path, name: str) -> None:
    network = golden_network(golden, name)
    image = arrays(golden, name)["input"].requires_grad_()
    network(image).square().mean().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0
    for key, parameter in network.named_parameters():
        frozen = key.endswith("shift_conv.weight") or key.startswith(("sub_mean", "add_mean"))
        assert parameter.requires_grad != frozen, key
        if not frozen:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.abs().max() > 0, key


def test_discriminator_takes_one_power_iteration_a_step(golden: Path) -> None:
    network = golden_network(golden, "disc_unet_sn").train()
    expected = arrays(golden, "disc_unet_sn_trainmode")
    tolerance = golden_entry(golden, "disc_unet_sn_trainmode")["tolerance"]["abs"]
    logits = network(arrays(golden, "disc_unet_sn")["input"])
    assert (logits - expected.pop("output")).abs().max() <= tolerance
    state = network.state_dict()
    for name, value in expected.items():
        assert (state[name.replace("_", ".", 1)] - value).abs().max() <= tolerance
    logits.mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize(("architecture", "official"), FULL_SIZE.items())
def test_full_size_has_the_official_keys_and_count(golden: Path, architecture: str, official: str) -> None:
    counts = json.loads((golden / "models" / "full_size_param_counts.json").read_text())[official]
    with gzip.open(golden / "models" / "full_size_state_dict_keys.json.gz", "rt") as file:
        keys = [(key, tuple(shape)) for key, shape, *_ in json.load(file)[official]]
    with torch.device("meta"):
        network = build_network(architecture)
    parameters = list(network.parameters())
    assert sum(p.numel() for p in parameters) == counts["params"]
    assert sum(p.numel() for p in parameters if p.requires_grad) == counts["trainable_params"]
    assert [(key, tuple(value.shape)) for key, value in network.state_dict().items()] == keys


def test_light_elan_with_shared_maps_has_the_official_count(golden: Path) -> None:
    counts = json.loads((golden / "models" / "full_size_param_counts.json").read_text())["ELAN_light_x4_m24_c60_share1"]
    network = build_network("elan", m_elan=24, c_elan=60, n_share=1)
    assert sum(p.numel() for p in network.parameters()) == counts["params"]
    assert len(network.state_dict()) == counts["state_dict_entries"]
