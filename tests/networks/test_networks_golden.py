"""The networks agree with the official implementations: outputs, gradients, key names, parameter counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.networks import ARCHITECTURES, build_network, resolve_config
from goldeye.networks.edl import EDL
from goldeye.networks.infer import infer_architecture, new_names
from goldeye.networks.rrdbnet import RRDBNet

# How the official code calls networks and settings, and how we do.
OFFICIAL = {
    "RRDBNet": "rrdb",
    "RRDBNet(old ESRGAN keys)": "rrdb",
    "RRDBAdaNet": "rrdb",
    "RRDBPSNet": "rrdb-ps",
    "EDL RRDBNet": "edl-code",
    "SwinIR": "swinir-classical",
    "RCAN": "rcan",
    "RCANNOUP": "rcan-x1",
    "ELAN": "elan",
    "MSRResNet": "srresnet",
    "SRVGGNetCompact": "compact",
    "UNetDiscriminatorSN": "unet-sn",
    "VGGStyleDiscriminator": "vgg-128",
    "NLayerDiscriminator": "patch-gan",
}
SETTINGS = {
    "upscale": "scale",
    "in_nc": "num_in_ch",
    "input_nc": "num_in_ch",
    "out_nc": "num_out_ch",
    "nf": "num_feat",
    "ndf": "num_feat",
    "nb": "num_block",
    "gc": "num_grow_ch",
    "n_layers": "num_layers",
}
CASES = [
    *("rrdbnet_x4", "rrdbnet_x2", "rrdbnet_x1", "rrdbpsnet_x4", "esrgan_old_keys_x4", "rrdbadanet_x4", "edl_x4"),
    *("swinir_classical", "swinir_denoise", "swinir_light", "swinir_realworld", "hggt_swinir_nodiv"),
    *("rcan_x4", "rcannoup_x1", "elan_sr_share0", "elan_sr_share1", "elan_x1_share0", "elan_x1_share1"),
    *("msrresnet_x2", "msrresnet_x4", "srvgg_leakyrelu_x2", "srvgg_prelu_x4"),
    *("disc_unet_sn", "disc_vgg128", "disc_nlayer"),
]
FULL_SIZE = {
    "RRDBNet_x4_64_23_32": "rrdb",
    "ESRGAN_oldkeys_64_23": "rrdb",
    "RRDBAdaNet_64_23_32": "rrdb",
    "RRDBNet_x2_64_23_32": "rrdb-x2",
    "RRDBNet_x1_64_23_32": "rrdb-x1",
    "RRDBPSNet_x4_64_23_32": "rrdb-ps",
    "SwinIR_realworld_medium_x4": "swinir-m",
    "SwinIR_realworld_large_x4": "swinir-l",
    "SwinIR_classical_x4": "swinir-classical",
    "HGGT_SwinIR_x4_180_pixelshuffle": "swinir-classical",
    "RCAN_x4_10x20x64": "rcan",
    "RCANNOUP_10x20x64": "rcan-x1",
    "ELAN_x4_m36_c180_share0": "elan",
    "ELAN_x1_m36_c180_share0": "elan-x1",
    "MSRResNet_x4_64_16": "srresnet",
    "SRVGGNetCompact_x4_64_32_prelu": "compact",
    "EDL_generator_64_23": "edl-code",
    "LocNet": "locnet",
    "UNetDiscriminatorSN_64": "unet-sn",
    "RealESRGANUNetDiscriminatorSN_64": "unet-sn",
    "VGGStyleDiscriminator_128_64": "vgg-128",
    "Discriminator_VGG_128_64": "vgg-128",
    "NLayerDiscriminator_64_3": "patch-gan",
}
# SwinIR's settings besides the architecture's: the size of the masks that HGGT's checkpoints carry.
OTHERWISE = {"HGGT_SwinIR_x4_180_pixelshuffle": {"img_size": 64}}


def index(golden: Path) -> dict[str, dict[str, Any]]:
    files = json.loads((golden / "index.json").read_text())["files"]
    return {entry["file"].removesuffix(".npz"): entry for entry in files}


def golden_entry(golden: Path, name: str) -> dict[str, Any]:
    return index(golden)[f"models/{name}"]


def golden_state(golden: Path, name: str) -> dict[str, Tensor]:
    """The official state dict, old names replaced."""
    content = torch.load(golden / "models" / f"{name}.pth", weights_only=True)
    return new_names(content.get("params_ema", content.get("params", content)))


def golden_settings(golden: Path, name: str) -> tuple[str, dict[str, Any]]:
    """The architecture and every setting that the official configuration means here."""
    config = dict(golden_entry(golden, name)["config"])
    architecture = OFFICIAL[config.pop("type")]
    for elsewhere in ("rgb_range", "input_size", *(["act_type"] if architecture == "elan" else [])):
        config.pop(elsewhere, None)
    return architecture, resolve_config(architecture, {SETTINGS.get(k, k): v for k, v in config.items()})


def golden_network(golden: Path, name: str, **overrides: Any) -> nn.Module:
    """Our network with the official settings and weights of a golden entry."""
    architecture, settings = golden_settings(golden, name)
    network = build_network(architecture, **(settings | overrides))
    network.load_state_dict(golden_state(golden, name))
    return network.eval()


def arrays(golden: Path, name: str) -> dict[str, Tensor]:
    with np.load(golden / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def test_every_official_network_is_among_the_cases(golden: Path) -> None:
    assert {f"models/{name}" for name in CASES} == {file for file, entry in index(golden).items() if "outputs" in entry}
    counts = json.loads((golden / "models" / "full_size_param_counts.json").read_text())
    assert {*FULL_SIZE, "ELAN_light_x4_m24_c60_share1", "_notes"} == {*counts}
    assert {*FULL_SIZE.values(), "edl"} == {*ARCHITECTURES}, "`edl` is the paper's: it has no code to compare with"


@pytest.mark.parametrize("name", CASES)
def test_output_is_the_official_one(golden: Path, name: str) -> None:
    entry, data, network = golden_entry(golden, name), arrays(golden, f"models/{name}"), golden_network(golden, name)
    unit = float(entry["config"].get("rgb_range", 1))  # the official ELAN counts in 0..255, ours in [0, 1]
    with torch.no_grad():
        output = network(data["input"] / unit) * unit
    assert output.shape == data["output"].shape
    assert (output - data["output"]).abs().max() <= entry["tolerance"]["abs"]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    state, official = network.state_dict(), golden_state(golden, name)
    assert list(state) == list(official)
    assert all(torch.equal(state[key], official[key]) for key in state), "buffers too"


@pytest.mark.parametrize("name", CASES)
def test_settings_are_read_off_the_official_keys(golden: Path, name: str) -> None:
    architecture, settings = golden_settings(golden, name)
    inferred = infer_architecture(golden_state(golden, name))
    assert inferred is not None
    assert ARCHITECTURES[inferred[0]].network == ARCHITECTURES[architecture].network
    assert resolve_config(*inferred) == settings


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_output(golden: Path, name: str) -> None:
    """Along a random direction of the input and all trainable weights, against the difference of two outputs."""
    network = golden_network(golden, name).double()
    unit = float(golden_entry(golden, name)["config"].get("rgb_range", 1))
    image = arrays(golden, f"models/{name}")["input"].double() / unit
    trainable = [image.requires_grad_(), *(p for p in network.parameters() if p.requires_grad)]
    torch.manual_seed(0)
    directions = [torch.randn_like(p) * p.detach().abs().mean() for p in trainable]
    output = network(image)
    weights = torch.randn_like(output)
    (output * weights).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trainable)
    assert all(p.grad is None for p in network.parameters() if not p.requires_grad)
    slope = sum(float((p.grad * d).sum()) for p, d in zip(trainable, directions, strict=True) if p.grad is not None)
    outputs, step = [], 1e-9
    with torch.no_grad():
        for side in (1, -2):
            for p, d in zip(trainable, directions, strict=True):
                p += side * step * d
            outputs.append(network(image))
    assert slope == pytest.approx(float(((outputs[0] - outputs[1]) * weights).sum()) / (2 * step), rel=1e-4)


def test_hggt_pads_a_whole_window_more(golden: Path) -> None:
    """On an input that fits the windows already; without `pad: hggt` the result is another one."""
    data = arrays(golden, "models/hggt_swinir_div")
    tolerance = golden_entry(golden, "hggt_swinir_div")["tolerance"]["abs"]
    with torch.no_grad():
        output = golden_network(golden, "hggt_swinir_nodiv", pad="hggt")(data["input"])
        assert (output - data["output"]).abs().max() <= tolerance
        assert (golden_network(golden, "hggt_swinir_nodiv")(data["input"]) - output).abs().max() > 10 * tolerance
        data = arrays(golden, "models/hggt_swinir_nodiv")
        output = golden_network(golden, "hggt_swinir_nodiv", pad="hggt")(data["input"])
        assert (output - data["output"]).abs().max() <= tolerance


def test_edl_gives_its_three_outputs_and_the_picture_between(golden: Path) -> None:
    data, inner = arrays(golden, "models/edl_x4"), arrays(golden, "models/edl_x4_intermediate")
    tolerance = golden_entry(golden, "edl_x4")["tolerance"]["abs"]
    network = golden_network(golden, "edl_x4")
    assert isinstance(network, EDL)
    with torch.no_grad():
        outputs = network.branches(data["input"])
        picture = RRDBNet.forward(network, data["input"])
        mask = network.sm(picture).softmax(1)[..., :24, :24]
    for output, key in zip(outputs, ("output", "out1", "out2"), strict=True):
        assert (output - data[key]).abs().max() <= tolerance
    assert (picture - inner["mid_out"]).abs().max() <= 1e-4
    assert (mask - inner["mask_crop24"]).abs().max() <= 1e-4


@pytest.mark.parametrize("name", ["disc_unet_sn", "disc_vgg128", "disc_nlayer"])
def test_discriminators_in_training_mode(golden: Path, name: str) -> None:
    """One power iteration a forward (U-Net), statistics of the batch (the others), and the buffers after that."""
    network = golden_network(golden, name).train()
    expected = arrays(golden, f"models/{name}_trainmode")
    tolerance = golden_entry(golden, f"{name}_trainmode")["tolerance"]["abs"]
    logits = network(arrays(golden, f"models/{name}")["input"])
    assert (logits - expected.pop("output")).abs().max() <= tolerance
    state = network.state_dict()
    for key, value in expected.items():
        layer, buffer = key.split("_running_") if "_running_" in key else key.split("_weight_")
        kind = "running_" if "_running_" in key else "weight_"
        assert (state[f"{layer}.{kind}{buffer}"] - value).abs().max() <= tolerance
    assert len(expected) == {"disc_unet_sn": 3, "disc_vgg128": 2, "disc_nlayer": 0}[name]
    logits.mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def official_locnet() -> nn.Module:
    """LocNet with the weights that the golden index describes (`weights_recipe`)."""
    network, rng = build_network("locnet"), np.random.RandomState(4242)
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        drawn = rng.standard_normal(value.shape)
        if key.startswith("layer") and key.endswith("weight"):
            drawn = 1.4 * drawn / np.sqrt(value.shape[1]) * (0.5 if key == "layer4.weight" else 1.0)
        elif key == "layer4.bias":
            drawn = np.array([1, 0, 0, 0, 1, 0]) + 0.05 * rng.standard_normal(6)
        elif key.endswith("running_var"):
            drawn = 1 + 0.2 * np.abs(drawn)
        elif key.startswith("bn") and key.endswith("weight"):
            drawn = 1 + 0.1 * drawn
        else:
            drawn = 0.1 * drawn
        value.copy_(torch.from_numpy(drawn))
    return network.eval()


def test_locnet_gives_the_official_matrices(golden: Path) -> None:
    data = arrays(golden, "losses/adatarget_transform")
    tolerance = index(golden)["losses/adatarget_transform"]["tolerance"]["abs"]
    sr, gt = F.unfold(data["sr"], 7, stride=7), F.unfold(F.pad(data["gt"], (1, 1, 1, 1), mode="reflect"), 9, stride=7)
    patches = torch.cat((sr, gt), dim=1).transpose(1, 2).flatten(0, 1)
    assert torch.equal(patches[:8], data["loc_input_first8"])
    with torch.no_grad():
        matrices = official_locnet()(patches)
    assert matrices.shape == data["loc_params"].shape
    assert (matrices - data["loc_params"]).abs().max() <= tolerance


@pytest.mark.parametrize(("official", "architecture"), FULL_SIZE.items())
def test_full_size_has_the_official_keys_and_count(golden: Path, official: str, architecture: str) -> None:
    counts = json.loads((golden / "models" / "full_size_param_counts.json").read_text())[official]
    with gzip.open(golden / "models" / "full_size_state_dict_keys.json.gz", "rt") as file:
        entries = json.load(file)[official]
    with torch.device("meta"):
        network = build_network(architecture, **OTHERWISE.get(official, {}))
        dtypes = {key: getattr(torch, kind[0]) if kind else torch.float32 for key, _, *kind in entries}
        keys = new_names({key: torch.empty(shape, dtype=dtypes[key]) for key, shape, *_ in entries})
    parameters = list(network.parameters())
    assert sum(p.numel() for p in parameters) == counts["params"]
    assert sum(p.numel() for p in parameters if p.requires_grad) == counts["trainable_params"]
    state = network.state_dict()
    assert [(k, v.shape, v.dtype) for k, v in state.items()] == [(k, v.shape, v.dtype) for k, v in keys.items()]
    # The keys alone name the architecture and give every setting.
    inferred = infer_architecture(keys)
    assert inferred is not None
    assert inferred[0] == architecture
    assert resolve_config(*inferred) == resolve_config(architecture, OTHERWISE.get(official))


def test_light_elan_with_shared_maps_has_the_official_count(golden: Path) -> None:
    counts = json.loads((golden / "models" / "full_size_param_counts.json").read_text())["ELAN_light_x4_m24_c60_share1"]
    network = build_network("elan", m_elan=24, c_elan=60, n_share=1)
    assert sum(p.numel() for p in network.parameters()) == counts["params"]
    assert len(network.state_dict()) == counts["state_dict_entries"]
