"""Files of weights: ours, everybody else's, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from goldeye.errors import InvalidInput
from goldeye.files import sha256
from goldeye.images import read_image
from goldeye.networks import ARCHITECTURES, build_network, resolve_config
from goldeye.networks.weights import load_model, save_weights

TINY: dict[str, dict[str, Any]] = {
    "rrdb": {"num_feat": 8, "num_block": 2, "num_grow_ch": 4},
    "rrdb-x2": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rrdb-x1": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rrdb-ps": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rcan": {"num_feat": 8, "num_group": 2, "num_block": 3, "squeeze_factor": 4, "scale": 3},
    "rcan-x1": {"num_feat": 8, "num_group": 1, "num_block": 2, "squeeze_factor": 2},
    "elan": {"m_elan": 2, "c_elan": 15, "scale": 2},
    "elan-x1": {"m_elan": 4, "c_elan": 15, "n_share": 1, "r_expand": 3},
    "unet-sn": {"num_feat": 2},
}
IMAGE = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(3))


def tiny(architecture: str) -> nn.Module:
    torch.manual_seed(1)
    return build_network(architecture, **TINY[architecture]).eval()


def save(path: Path, architecture: str, module: nn.Module | None = None, **extra: str) -> nn.Module:
    module = module or tiny(architecture)
    config = TINY[architecture]
    scale = resolve_config(architecture, config).get("scale", 1)
    save_weights(path, module, architecture=architecture, config=config, scale=scale, extra=extra)
    return module


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_loaded_is_the_same_network(tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "w.safetensors"
    module = save(path, architecture, recipe="tiny")
    random_state = torch.get_rng_state()
    model = load_model(path)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not model.module.training
    assert model.architecture == architecture
    assert model.config == resolve_config(architecture, TINY[architecture])
    assert model.scale == model.config.get("scale", 1)
    assert model.metadata["recipe"] == "tiny"
    assert model.metadata["parameters"] == sum(p.numel() for p in module.parameters())
    assert model.path == path
    assert model.sha256 == sha256(path)
    with torch.no_grad():
        assert torch.equal(model.module(IMAGE), module(IMAGE))


def test_header_is_json_under_one_name(tmp_path: Path) -> None:
    save(tmp_path / "w.safetensors", "rrdb", data="abc")
    with safetensors.safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["goldeye"])
    assert list(metadata) == ["goldeye"]
    assert header["format"] == 1
    assert header["data"] == "abc"
    assert header["config"] == resolve_config("rrdb", TINY["rrdb"])
    assert list(tmp_path.iterdir()) == [tmp_path / "w.safetensors"]


@pytest.mark.parametrize("architecture", [name for name in TINY if name != "unet-sn"])
def test_settings_are_read_off_the_keys(tmp_path: Path, architecture: str) -> None:
    """A BasicSR `.pth`, with or without a wrapper, and a `.safetensors` without our header."""
    module = tiny(architecture)
    state = module.state_dict()
    torch.save({"params": {"x": torch.zeros(1)}, "params_ema": state}, tmp_path / "ema.pth")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "bare.pth")
    save_file(state, tmp_path / "plain.safetensors")
    for name in ("ema.pth", "bare.pth", "plain.safetensors"):
        model = load_model(tmp_path / name)
        assert model.architecture == architecture
        assert model.config == resolve_config(architecture, TINY[architecture])
        assert model.scale == model.config["scale"]
        assert model.metadata == {}
        with torch.no_grad():
            assert torch.equal(model.module(IMAGE), module(IMAGE))


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("rrdbnet_x4", "rrdb"),
        ("rrdbnet_x1", "rrdb-x1"),
        ("rrdbpsnet_x4", "rrdb-ps"),
        ("rcannoup_x1", "rcan-x1"),
        ("elan_x1_share1", "elan-x1"),
        ("esrgan_old_keys_x4", "rrdb"),
        ("srvgg_prelu_x4", "RealESRGAN Compact"),
        ("swinir_realworld", "SwinIR"),
    ],
)
def test_official_checkpoints_give_the_official_output(golden: Path, name: str, architecture: str) -> None:
    files = json.loads((golden / "index.json").read_text())["files"]
    entry = next(e for e in files if e["file"] == f"models/{name}.npz")
    model = load_model(golden / "models" / f"{name}.pth")
    assert model.architecture == architecture
    with np.load(golden / "models" / f"{name}.npz") as data, torch.no_grad():
        output, expected = model.module(torch.from_numpy(data["input"])), torch.from_numpy(data["output"])
    if model.config == {}:  # spandrel clips
        expected = expected.clamp(0, 1)
    assert output.shape == expected.shape
    assert (output - expected).abs().max() <= entry["tolerance"]["abs"]


@pytest.mark.parametrize("architecture", ["rrdb", "rrdb-x2", "rrdb-x1"])
def test_spandrel_reads_what_we_save(tmp_path: Path, architecture: str) -> None:
    import spandrel

    # spandrel takes num_grow_ch for granted.
    config = TINY[architecture] | {"num_grow_ch": 32}
    module = build_network(architecture, **config).eval()
    scale = ARCHITECTURES[architecture].scale
    save_weights(tmp_path / "w.safetensors", module, architecture=architecture, config=config, scale=scale)
    descriptor = spandrel.ModelLoader().load_from_file(tmp_path / "w.safetensors")
    assert descriptor.scale == scale
    with torch.no_grad():
        expected = module(IMAGE)
        assert expected.abs().max() > 0.01
        assert (descriptor.model.eval()(IMAGE) - expected).abs().max() < 1e-6


def test_a_run_is_loaded_at_its_latest_checkpoint(tmp_path: Path) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    save(checkpoints / "step-00000100.safetensors", "rrdb")
    other = build_network("rrdb", **TINY["rrdb"]).eval()
    save(checkpoints / "step-00000200.safetensors", "rrdb", other)
    (checkpoints / "latest").write_text("step-00000200\n")
    model = load_model(tmp_path / "run")
    assert model.path == checkpoints / "step-00000200.safetensors"
    with torch.no_grad():
        assert torch.equal(model.module(IMAGE), other(IMAGE))
    (checkpoints / "latest").write_text("step-00000300\n")
    with pytest.raises(InvalidInput, match=r"latest checkpoint of the run .*step-00000300"):
        load_model(tmp_path / "run")


class Malicious:
    """Pickled, it asks the reader to make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", ["torch", "legacy", "pickle"])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path: Path, form: str) -> None:
    path, trap = tmp_path / "evil.pth", tmp_path / "was-run"
    content = {"params": {"conv_first.weight": torch.zeros(1), "x": Malicious(trap)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"params": Malicious(trap)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(InvalidInput, match=r"evil\.pth' holds more than plain tensors .*nothing in it was run"):
        load_model(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Malicious(trap)))
    assert trap.exists(), "the trap itself must work, or this test shows nothing"


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 3, 1), tmp_path / "module.pth")
    with pytest.raises(InvalidInput, match="more than plain tensors"):
        load_model(tmp_path / "module.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".txt"])
def test_files_that_are_no_weights_are_named_with_what_they_are(tmp_path: Path, ending: str) -> None:
    for content, found in {
        b"": "empty",
        b"just some words\n": "text",
        b"<!DOCTYPE html><html>": "a web page",
        b"version https://git-lfs.github.com/spec/v1\n": "Git LFS pointer",
        b"\x89PNG\r\n\x1a\n" + bytes(100): "a PNG picture",
        bytes(range(1, 256)): "unknown kind",
    }.items():
        path = tmp_path / f"file{ending}"
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=rf"file{ending}' is not a .*: it is .*{found}"):
            load_model(path)


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "w.safetensors", "rrdb")
    torch.save(tiny("rrdb").state_dict(), tmp_path / "w.pth")
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pth"):
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(InvalidInput, match=path.name):
            load_model(path)


def test_a_picture_file_is_refused(golden: Path) -> None:
    picture = golden / "metrics" / "png" / "A_hr.png"
    assert read_image(picture).size
    with pytest.raises(InvalidInput, match=r"A_hr\.png' is not a readable file of weights: it is a PNG picture"):
        load_model(picture)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"something.weight": torch.zeros(2, 2)}, "holds no network .* 1 tensors, 'something.weight'"),
        ({"epoch": 3, "loss": 0.5}, "holds no state dict: found the keys 'epoch', 'loss'"),
        ({}, "holds no state dict"),
        (torch.zeros(3), "found a Tensor"),
        ({"body.0.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3), "conv_up1.weight": torch.zeros(1)}, "holds no network"),
    ],
)
def test_unknown_contents_are_described(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InvalidInput, match=message):
        load_model(tmp_path / "x.pth")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = tiny("rrdb").state_dict()
    del state["conv_hr.bias"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(InvalidInput, match=r"do not fit its architecture rrdb: missing 'conv_hr\.bias'"):
        load_model(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("not json", "its Goldeye entry is damaged"),
        ("[]", "its Goldeye entry is damaged"),
        ('{"format": 1}', "its Goldeye entry is damaged"),
        ('{"format": 2}', r"written by a newer Goldeye \(format 2; this one reads 1\)"),
        ('{"format": 1, "architecture": "rrdb-9", "config": {}, "scale": 4}', "Unknown architecture 'rrdb-9'"),
        ('{"format": 1, "architecture": "rrdb", "config": {"nf": 4}, "scale": 4}', "Unknown setting of rrdb 'nf'"),
        ('{"format": 1, "architecture": "rrdb", "config": {}, "scale": 4}', "do not fit"),
    ],
)
def test_damaged_headers_are_refused_by_name(tmp_path: Path, header: str, message: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "own.safetensors", metadata={"goldeye": header})
    with pytest.raises(InvalidInput, match=message) as error:
        load_model(tmp_path / "own.safetensors")
    assert "own.safetensors" in error.value.message


def test_names_without_weights(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'rrdb' is an architecture and has no weights of its own"):
        load_model("rrdb")
    with pytest.raises(InvalidInput, match=r"No file of weights and no run folder '.*missing\.pth'"):
        load_model(tmp_path / "missing.pth")
    with pytest.raises(InvalidInput, match="holds no weights: it has no checkpoints/latest"):
        load_model(tmp_path)


def test_an_earlier_file_survives_a_failed_save(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(path, "rrdb")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save_weights(path, tiny("rrdb"), architecture="rrdb", config={}, scale=4, extra={"loss": float("nan")})
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_weights_that_share_memory_are_saved(tmp_path: Path) -> None:
    module = tiny("rrdb")
    module.get_submodule("conv_up2").weight = module.get_submodule("conv_up1").weight
    save(tmp_path / "w.safetensors", "rrdb", module)
    state = load_file(tmp_path / "w.safetensors")
    assert torch.equal(state["conv_up1.weight"], state["conv_up2.weight"])
