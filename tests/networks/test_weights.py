"""Files of weights: ours, everybody else's, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
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
from goldeye.networks.weights import CommunityNetwork, load_model, read_state, save_weights
from goldeye.upscale.export import export_model

SWINIR = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3], "window_size": 4, "img_size": 8, "num_feat": 8}
TINY: dict[str, dict[str, Any]] = {
    "rrdb": {"num_feat": 8, "num_block": 2, "num_grow_ch": 4},
    "rrdb-x2": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rrdb-x1": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rrdb-ps": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rcan": {"num_feat": 8, "num_group": 2, "num_block": 3, "squeeze_factor": 4, "scale": 3},
    "rcan-x1": {"num_feat": 8, "num_group": 1, "num_block": 2, "squeeze_factor": 2},
    "elan": {"m_elan": 2, "c_elan": 15, "scale": 2},
    "elan-x1": {"m_elan": 4, "c_elan": 15, "n_share": 1, "r_expand": 3},
    "swinir-m": SWINIR,
    "swinir-l": SWINIR | {"scale": 2},
    "swinir-classical": SWINIR | {"scale": 3},
    "srresnet": {"num_feat": 8, "num_block": 2, "scale": 3},
    "compact": {"num_feat": 8, "num_conv": 2, "scale": 2},
    "edl": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "edl-code": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "unet-sn": {"num_feat": 2},
    "vgg-128": {"num_feat": 2},
    "patch-gan": {"num_feat": 2, "num_layers": 2},
    "locnet": {},
}
DISCRIMINATORS = ("unet-sn", "vgg-128", "patch-gan", "locnet")  # LocNet too makes no pictures
GENERATORS = [name for name in TINY if name not in DISCRIMINATORS]
IMAGE = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(3))


def test_every_architecture_is_tested_here() -> None:
    assert set(TINY) == set(ARCHITECTURES)


def example(architecture: str) -> torch.Tensor:
    """What the network takes."""
    if architecture == "locnet":
        return torch.rand(2, 3 * (7**2 + 9**2))
    return torch.rand(1, 3, 128, 128) if architecture == "vgg-128" else IMAGE


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
    image = example(architecture)
    with torch.no_grad():
        assert torch.equal(model.module(image), module(image))


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


@pytest.mark.parametrize("architecture", GENERATORS)
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
        ("msrresnet_x2", "srresnet"),
        ("msrresnet_x4", "srresnet"),
        ("rrdbnet_x2", "rrdb-x2"),
        ("rcan_x4", "rcan"),
        ("edl_x4", "edl-code"),
        ("srvgg_prelu_x4", "compact"),
        ("srvgg_leakyrelu_x2", "compact"),
        ("swinir_classical", "swinir-classical"),
        ("swinir_light", "swinir-classical"),
        ("swinir_denoise", "swinir-classical"),
        ("swinir_realworld", "swinir-m"),
    ],
)
def test_official_checkpoints_give_the_official_output(golden: Path, name: str, architecture: str) -> None:
    files = json.loads((golden / "index.json").read_text())["files"]
    entry = next(e for e in files if e["file"] == f"models/{name}.npz")
    model = load_model(golden / "models" / f"{name}.pth")
    assert model.architecture == architecture
    with np.load(golden / "models" / f"{name}.npz") as data, torch.no_grad():
        output, expected = model.module(torch.from_numpy(data["input"])), torch.from_numpy(data["output"])
    assert output.shape == expected.shape
    assert (output - expected).abs().max() <= entry["tolerance"]["abs"]


# spandrel 0.4 has these. Its RCAN has other key names (EDSR's); ELAN and SRResNet are unknown to it.
SPANDREL = {
    # spandrel takes num_grow_ch and SwinIR's num_feat for granted
    **{name: {"num_feat": 8, "num_block": 2, "num_grow_ch": 32} for name in ("rrdb", "rrdb-x2", "rrdb-x1")},
    **{name: SWINIR | {"num_feat": 64} for name in ("swinir-m", "swinir-l", "swinir-classical")},
    "compact": {"num_feat": 8, "num_conv": 2},
}
UNKNOWN_TO_SPANDREL = ("rcan", "rcan-x1", "elan", "elan-x1", "srresnet")
# These have RRDBNet's trunk: spandrel takes them for an ESRGAN and leaves out the rest.
MISTAKEN_BY_SPANDREL = ("rrdb-ps", "edl", "edl-code")


def test_every_generator_is_known_to_spandrel_or_not() -> None:
    assert {*SPANDREL, *UNKNOWN_TO_SPANDREL, *MISTAKEN_BY_SPANDREL} == set(GENERATORS)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("architecture", SPANDREL)
def test_spandrel_reads_what_we_save(tmp_path: Path, architecture: str, ending: str) -> None:
    import spandrel

    torch.manual_seed(2)
    config = SPANDREL[architecture]
    module = build_network(architecture, **config).eval()
    scale = ARCHITECTURES[architecture].scale
    save_weights(tmp_path / "w.safetensors", module, architecture=architecture, config=config, scale=scale)
    if ending == ".pth":
        export_model(load_model(tmp_path / "w.safetensors"), tmp_path / "w.pth")
    descriptor = spandrel.ModelLoader().load_from_file(tmp_path / f"w{ending}")
    assert descriptor.scale == scale
    with torch.no_grad():
        expected = module(IMAGE)
        assert expected.abs().max() > 0.01
        assert (descriptor.model.eval()(IMAGE) - expected).abs().max() < 2e-6


@pytest.mark.parametrize("architecture", UNKNOWN_TO_SPANDREL)
def test_spandrel_still_does_not_know_the_others(architecture: str) -> None:
    """When it does, they belong in the list above."""
    import spandrel

    with pytest.raises(spandrel.UnsupportedModelError):
        spandrel.ModelLoader().load_from_state_dict(tiny(architecture).state_dict())


@pytest.mark.parametrize("architecture", MISTAKEN_BY_SPANDREL)
def test_spandrel_mistakes_relatives_of_rrdbnet_and_we_do_not(tmp_path: Path, architecture: str) -> None:
    import spandrel

    module = build_network(architecture, num_feat=8, num_block=1, num_grow_ch=32).eval()
    torch.save({"params": module.state_dict()}, tmp_path / "w.pth")
    mistaken = spandrel.ModelLoader().load_from_file(tmp_path / "w.pth")
    assert mistaken.architecture.name == "ESRGAN"
    model = load_model(tmp_path / "w.pth")
    assert model.architecture == architecture
    with torch.no_grad():
        expected, theirs = module(IMAGE), mistaken.model.eval()(IMAGE)
        assert torch.equal(model.module(IMAGE), expected)
        assert theirs.shape != expected.shape or (theirs - expected).abs().max() > 1e-3


# --- what checkpoints of the field look like --------------------------------------------------------------------------

OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


def wrapped(form: str, state: dict[str, torch.Tensor]) -> Any:
    """A checkpoint of each kind around the same state dict; others' tensors in it would make another picture."""
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    discriminator = {"conv0.weight": torch.zeros(1)}
    return {
        "generator and optimizers": {"generator": state, "discriminator": discriminator, "optimizer": OPTIMIZER},
        "net_g": {"epoch": 3, "net_g": state, "net_d": discriminator, "best": 31.2},
        "ema first": {"params": other, "params_ema": state},
        "g_ema": {"g": other, "g_ema": state, "g_optim": OPTIMIZER},
        "data parallel": {"model_state_dict": prefixed("module.", state), "optimizer_state_dict": OPTIMIZER},
        "wrappers in wrappers": {"state_dict": {"params_ema": prefixed("module.module.", state)}},
        "lightning": {
            "state_dict": prefixed("net_g.", state) | prefixed("net_d.", discriminator) | {"lpips.w": torch.ones(1)},
            "optimizer_states": [OPTIMIZER],
            "pytorch-lightning_version": "2.5.0",
            "global_step": 7,
        },
        "lightning, generator": {"state_dict": prefixed("generator.", state) | prefixed("discriminator.", state)},
        "lightning, model": {"state_dict": prefixed("model.", state)},
        "compiled": prefixed("_orig_mod.", state),
        "compiled inside": prefixed("net_g._orig_mod.", state),
        "compiled, parallel": prefixed("module._orig_mod.", state),
    }[form]


@pytest.mark.parametrize(
    "form",
    [
        *("generator and optimizers", "net_g", "ema first", "g_ema", "data parallel", "wrappers in wrappers"),
        *("lightning", "lightning, generator", "lightning, model", "compiled", "compiled inside", "compiled, parallel"),
    ],
)
def test_checkpoints_of_training_frameworks_are_read(tmp_path: Path, form: str) -> None:
    module = tiny("rrdb-ps")
    torch.save(wrapped(form, module.state_dict()), tmp_path / "w.ckpt")
    model = load_model(tmp_path / "w.ckpt")
    assert model.architecture == "rrdb-ps"
    with torch.no_grad():
        assert torch.equal(model.module(IMAGE), module(IMAGE))


@pytest.mark.parametrize("form", ["plain", "lightning"])
def test_community_networks_too(tmp_path: Path, form: str) -> None:
    """RCAN with EDSR's key names, which only spandrel has; its own keys are what is saved again."""
    from spandrel.architectures.RCAN import RCAN

    torch.manual_seed(5)
    network = RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=8, reduction=2, norm=False).eval()
    state = network.state_dict()
    torch.save(state if form == "plain" else wrapped(form, state), tmp_path / "w.ckpt")
    model = load_model(tmp_path / "w.ckpt")
    assert (model.architecture, model.scale, model.config) == ("RCAN", 2, {})
    with torch.no_grad():
        expected = network(IMAGE).clamp(0, 1)
        assert (model.module(IMAGE) - expected).abs().max() < 1e-6
    for ending in (".safetensors", ".pth"):
        export_model(model, tmp_path / f"again{ending}")
        again = load_model(tmp_path / f"again{ending}")
        assert isinstance(again.module, CommunityNetwork)
        assert set(read_state(again.path)) == set(state)
        with torch.no_grad():
            assert (again.module(IMAGE) - expected).abs().max() < 1e-6


def test_a_relative_of_ours_goes_to_spandrel(tmp_path: Path) -> None:
    """BSRGANx2: RRDBNet with one upsampling step. Ours has two, but its keys would look like ours."""
    state = build_network("rrdb", num_feat=8, num_block=1, num_grow_ch=32).state_dict()
    relative = {key: value for key, value in state.items() if not key.startswith("conv_up2")}
    torch.save(relative, tmp_path / "w.pth")
    model = load_model(tmp_path / "w.pth")
    assert (model.architecture, model.scale) == ("ESRGAN", 2)
    with torch.no_grad():
        assert model.module(IMAGE).shape == (1, 3, 32, 48)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype, ending: str) -> None:
    module = tiny("swinir-m")
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in module.state_dict().items()}
    path = tmp_path / f"w{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    model = load_model(path)
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    module.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(model.module(IMAGE), module(IMAGE))


def test_tensors_in_any_memory_order(tmp_path: Path) -> None:
    module = tiny("rrdb")
    state = {
        k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in module.state_dict().items()
    }
    state["conv_up1.weight"] = state["conv_up1.weight"].transpose(0, 1).contiguous().transpose(0, 1)
    torch.save(state, tmp_path / "w.pth")
    model = load_model(tmp_path / "w.pth")
    with torch.no_grad():
        assert (model.module(IMAGE) - module(IMAGE)).abs().max() < 1e-6


@pytest.mark.parametrize("change", ["another size", "left out", "damaged"])
def test_computed_buffers_of_swinir_do_not_matter(tmp_path: Path, change: str) -> None:
    """Official files hold masks for their training patch, some converters leave them out."""
    module = tiny("swinir-classical")
    state = module.state_dict()
    computed = [key for key in state if key.endswith(("attn_mask", "relative_position_index"))]
    masks = [key for key in computed if key.endswith("attn_mask")]
    assert masks
    if change == "another size":
        other = build_network("swinir-classical", **(TINY["swinir-classical"] | {"img_size": 20})).state_dict()
        assert other[masks[0]].shape != state[masks[0]].shape
        state |= {key: other[key] for key in masks}
    elif change == "left out":
        state = {key: value for key, value in state.items() if key not in computed}
    else:
        state |= {key: torch.full_like(state[key], 1) for key in computed}
    torch.save({"params": state}, tmp_path / "w.pth")
    model = load_model(tmp_path / "w.pth")
    with torch.no_grad():
        assert torch.equal(model.module(IMAGE), module(IMAGE))


def test_the_first_esrgans_names_are_ours(tmp_path: Path) -> None:
    """Most community models of scale 4: the keys that spandrel's ESRGAN has."""
    import spandrel

    module = build_network("rrdb", num_feat=8, num_block=2, num_grow_ch=32).eval()
    state = spandrel.ModelLoader().load_from_state_dict(module.state_dict()).model.state_dict()
    assert "model.1.sub.0.RDB1.conv1.0.weight" in state
    torch.save(state, tmp_path / "w.pth")
    model = load_model(tmp_path / "w.pth")
    assert model.architecture == "rrdb"
    with torch.no_grad():
        assert torch.equal(model.module(IMAGE), module(IMAGE))


def test_spandrel_is_imported_for_community_files_only(tmp_path: Path) -> None:
    save(tmp_path / "w.safetensors", "rrdb")
    torch.save(tiny("compact").state_dict(), tmp_path / "w.pth")
    code = (
        "import sys; from goldeye.networks.weights import load_model; "
        f"[load_model({str(tmp_path)!r} + '/w' + ending) for ending in ('.safetensors', '.pth')]; "
        "print('spandrel' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


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


def test_code_beside_real_weights_is_refused_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "was-run"
    state = tiny("rrdb").state_dict()
    torch.save({"params_ema": state, "optimizer": OPTIMIZER | {"hook": Malicious(trap)}}, tmp_path / "evil.pth")
    torch.save(state | {"conv_last.bias": Malicious(trap)}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(InvalidInput, match=r"more than plain tensors .*nothing in it was run"):
            load_model(tmp_path / name)
    assert not trap.exists()


def test_a_torchscript_archive_is_refused_and_never_run(tmp_path: Path) -> None:
    """A real one, and one whose pickles carry code: torch's own reader of such archives would unpickle them."""
    trap = tmp_path / "was-run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(nn.Conv2d(3, 3, 1)).save(str(tmp_path / "real.pt"))
    code = pickle.dumps(Malicious(trap), protocol=2)
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        for name in ("constants.pkl", "data.pkl"):
            archive.writestr(f"evil/{name}", code)
        archive.writestr("evil/version", "3\n")
        archive.writestr("evil/code/__torch__.py", f"import os\nos.mkdir({str(trap)!r})\n")
    for name in ("real.pt", "evil.pt"):
        with pytest.raises(InvalidInput, match=rf"{name}' is a TorchScript archive, which is code; it was refused"):
            load_model(tmp_path / name)
    assert not trap.exists()


def test_the_environment_cannot_allow_code(tmp_path: Path) -> None:
    trap = tmp_path / "was-run"
    torch.save({"params": {"x": Malicious(trap)}}, tmp_path / "evil.pth")
    code = f"from goldeye.networks.weights import load_model; load_model({str(tmp_path / 'evil.pth')!r})"
    environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "more than plain tensors" in done.stderr
    assert not trap.exists()


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
        ('{"format": Infinity}', "its Goldeye entry is damaged"),
        ("[" * 100_000, "its Goldeye entry is damaged"),
        ('{"format": 1, "architecture": "rrdb", "config": {}, "scale": 1e999}', "its Goldeye entry is damaged"),
        (
            '{"format": 1, "architecture": "rrdb", "config": {}, "scale": 4, "loss": NaN}',
            "its Goldeye entry is damaged",
        ),
        ('{"format": 1, "architecture": "rrdb", "config": {}, "scale": 0}', "its scale is 0, that of its settings 4"),
        ('{"format": 1, "architecture": "rrdb", "config": {"scale": 2}, "scale": 4}', "its scale is 4, .* 2"),
        ('{"format": 1, "architecture": "vgg-128", "config": {}, "scale": 2}', "its scale is 2, .* 1"),
        ('{"format": 1, "architecture": "rrdb", "config": {"num_feat": "x"}, "scale": 4}', "make no network"),
        ('{"format": 1, "architecture": "swinir-m", "config": {"depths": 5}, "scale": 4}', "make no network"),
        ('{"format": 1, "architecture": "compact", "config": {"num_conv": 900000}, "scale": 4}', "of more tensors"),
        (
            '{"format": 1, "architecture": "compact", "config": {"num_conv": 2000000000}, "scale": 4}',
            "num_conv is 2000",
        ),
        ('{"format": 1, "architecture": "patch-gan", "config": {"num_layers": 900000}, "scale": 1}', "more tensors"),
        ('{"format": 1, "architecture": "rrdb", "config": {"num_feat": 1000000}, "scale": 4}', "do not fit"),
    ],
)
def test_damaged_headers_are_refused_by_name(tmp_path: Path, header: str, message: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "own.safetensors", metadata={"goldeye": header})
    with pytest.raises(InvalidInput, match=message) as error:
        load_model(tmp_path / "own.safetensors")
    assert "own.safetensors" in error.value.message


def test_settings_that_ask_for_huge_buffers_are_refused(tmp_path: Path) -> None:
    """SwinIR's masks are computed: no tensor of the file says how large they should be."""
    state = {key: value for key, value in tiny("swinir-m").state_dict().items() if not key.endswith("attn_mask")}
    config = SWINIR | {"img_size": 1 << 16}
    header = {"format": 1, "architecture": "swinir-m", "config": config, "scale": 4}
    save_file(state, tmp_path / "own.safetensors", metadata={"goldeye": json.dumps(header)})
    with pytest.raises(InvalidInput, match="too large buffers"):
        load_model(tmp_path / "own.safetensors")


def test_pickles_that_claim_more_than_they_hold(tmp_path: Path) -> None:
    """One number repeated by a stride of 0, also in half precision, and a layer with an absurd number."""
    huge = torch.zeros(1, dtype=torch.float16).expand(1 << 20, 1 << 20)
    torch.save({"body.0.weight": huge}, tmp_path / "huge.pth")
    with pytest.raises(InvalidInput, match=r"huge\.pth' is not .*: its tensors are larger than the file"):
        load_model(tmp_path / "huge.pth")
    state = tiny("compact").state_dict()
    torch.save(state | {"body.2000000000.weight": torch.zeros(3, 8, 3, 3)}, tmp_path / "far.pth")
    with pytest.raises(InvalidInput, match=r"far\.pth"):
        load_model(tmp_path / "far.pth")


def test_a_checkpoint_within_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["params"] = content
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InvalidInput, match="holds no state dict: found the keys 'params'"):
        load_model(tmp_path / "x.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_named(tmp_path: Path, dtype: torch.dtype, ending: str) -> None:
    state = tiny("rrdb").state_dict()
    state["conv_last.bias"] = torch.ones(3).to(dtype)
    path = tmp_path / f"w{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    with pytest.raises(InvalidInput, match=r"no floating-point numbers in 'conv_last\.bias'"):
        load_model(path)


@pytest.mark.parametrize("architecture", ["compact", "rrdb"])
def test_spandrel_does_not_take_them_either(tmp_path: Path, architecture: str) -> None:
    """Its own networks of these names would be filled with the rounded numbers."""
    state = build_network(architecture, **SPANDREL[architecture]).state_dict()
    key = next(iter(state))
    torch.save(state | {key: state[key].to(torch.int64)}, tmp_path / "w.pth")
    with pytest.raises(InvalidInput, match=rf"no floating-point numbers in '{key}'"):
        load_model(tmp_path / "w.pth")


def test_keys_are_shown_short_and_on_one_line(tmp_path: Path) -> None:
    torch.save({"a\nb" + "c" * 1000: 1, 7: 2}, tmp_path / "x.pth")
    with pytest.raises(InvalidInput, match=r"found the keys 'a\\nbc+', a int\.") as error:
        load_model(tmp_path / "x.pth")
    assert len(error.value.message) < len(str(tmp_path)) + 200


@pytest.mark.parametrize("name", [b"../../x", b"/etc/x", b"", b"..", b"\xff\xfe", b"a\0b"])
def test_a_run_whose_latest_checkpoint_is_elsewhere_is_refused(tmp_path: Path, name: bytes) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    save(tmp_path / "x.safetensors", "rrdb")
    checkpoints.mkdir(parents=True)
    (checkpoints / "latest").write_bytes(name)
    with pytest.raises(InvalidInput, match=r"^The .*run '.*run'"):
        load_model(tmp_path / "run")


@pytest.mark.parametrize(("dim", "hidden"), [(60, 123), (12, 23), (180, 361)])
def test_a_hidden_size_that_no_short_ratio_gives(tmp_path: Path, dim: int, hidden: int) -> None:
    config = SWINIR | {"embed_dim": dim, "mlp_ratio": (hidden + 0.5) / dim}
    module = build_network("swinir-classical", **config)
    assert module.state_dict()["layers.0.residual_group.blocks.0.mlp.fc1.weight"].shape == (hidden, dim)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    again = load_model(tmp_path / "w.pth").module.state_dict()
    assert again["layers.0.residual_group.blocks.0.mlp.fc1.weight"].shape == (hidden, dim)


def test_windows_of_7_count_colours_to_255(tmp_path: Path) -> None:
    """SwinIR's official JPEG networks: nothing in the file says so."""
    config = SWINIR | {"window_size": 7, "img_size": 14, "upsampler": "", "scale": 1, "img_range": 255.0}
    module = build_network("swinir-classical", **config).eval()
    torch.save({"params": module.state_dict()}, tmp_path / "w.pth")
    model = load_model(tmp_path / "w.pth")
    assert model.config["img_range"] == 255
    with torch.no_grad():
        assert torch.equal(model.module(IMAGE), module(IMAGE))


def test_names_without_weights(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'rrdb' is an architecture and has no weights of its own") as error:
        load_model("rrdb")
    assert "RealESRGAN_x4plus, RealESRNet_x4plus" in (error.value.hint or "")
    with pytest.raises(InvalidInput, match="'edl' is an architecture") as error:
        load_model("edl")
    assert error.value.hint == "Give a file of weights or the folder of a training run."
    with pytest.raises(InvalidInput, match=r"No file of weights and no run folder '.*missing\.pth'"):
        load_model(tmp_path / "missing.pth")
    with pytest.raises(InvalidInput, match="no model of that name") as error:
        load_model("RealESRGAN_x4")
    assert error.value.hint == "Did you mean 'RealESRGAN_x4plus'?"
    with pytest.raises(InvalidInput, match="no model of that name") as error:
        load_model("rrdb-pss")
    assert error.value.hint == "Did you mean 'rrdb-ps'?"
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


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_weights_are_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save(tmp_path / "w.safetensors", "rrdb")
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_weights_that_share_memory_are_saved(tmp_path: Path) -> None:
    module = tiny("rrdb")
    module.get_submodule("conv_up2").weight = module.get_submodule("conv_up1").weight
    save(tmp_path / "w.safetensors", "rrdb", module)
    state = load_file(tmp_path / "w.safetensors")
    assert torch.equal(state["conv_up1.weight"], state["conv_up2.weight"])
