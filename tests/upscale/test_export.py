"""Exported models give what torch gives, in every program that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors
import torch
from torch import nn

from goldeye.cli import run
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.networks import ARCHITECTURES, build_network, resolve_config
from goldeye.networks.weights import LoadedModel, load_model, save_weights
from goldeye.upscale import export
from goldeye.upscale.export import AnySize, export_model

RRDB = {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}
SWINIR = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3], "window_size": 4, "img_size": 8, "num_feat": 8}
TINY: dict[str, dict[str, Any]] = {
    "rrdb-x2": RRDB,
    "swinir-m": SWINIR,
    "rcan": {"num_feat": 8, "num_group": 1, "num_block": 2, "squeeze_factor": 4},
    "srresnet": {"num_feat": 8, "num_block": 2},
    "compact": {"num_feat": 8, "num_conv": 2, "scale": 2},
}
# These differ from the ones above in settings or in a few layers.
MORE: dict[str, dict[str, Any]] = {
    "rrdb": RRDB,
    "rrdb-x1": RRDB,
    "rrdb-ps": RRDB | {"scale": 3},
    "edl": RRDB,
    "swinir-l": SWINIR,
    "swinir-classical": SWINIR | {"scale": 3},
    "elan": {"m_elan": 2, "c_elan": 10, "window_sizes": [2, 4], "scale": 2},
    "rcan-x1": {"num_feat": 8, "num_group": 1, "num_block": 2, "squeeze_factor": 4},
    "elan-x1": {"m_elan": 4, "c_elan": 15, "n_share": 1},
    "edl-code": RRDB,
}
# Odd, even, smaller than any padding, one pixel; other batches than the one that was traced.
SHAPES = ((1, 3, 33, 47), (3, 3, 16, 24), (1, 3, 5, 3), (2, 3, 1, 1))


def make(folder: Path, architecture: str, **extra: str) -> LoadedModel:
    torch.manual_seed(1)
    config = resolve_config(architecture, (TINY | MORE)[architecture])
    module = build_network(architecture, **config)
    path = folder / f"{architecture}.safetensors"
    save_weights(path, module, architecture=architecture, config=config, scale=config["scale"], extra=extra)
    return load_model(path)


def onnx_result(path: Path, image: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def torch_result(module: nn.Module, image: torch.Tensor, scale: int) -> torch.Tensor:
    """Padded by hand to what the network needs: the reflection, and its end repeated in a picture too small for it."""
    multiple = getattr(module, "size_multiple", 1)
    height, width = image.shape[-2:]
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 0), (0, 0)))
    for axis, size in ((2, height), (3, width)):
        index = [size - 1 - abs(i - size + 1) for i in range(-(-size // multiple) * multiple)]
        padded = padded.take(np.maximum(index, 0), axis=axis)
    with torch.no_grad():
        return module(torch.from_numpy(padded))[..., : height * scale, : width * scale]


def check_onnx(folder: Path, architecture: str) -> None:
    model = make(folder, architecture)
    written = export_model(model, folder / "model.onnx")
    # ELAN's attention is not divided by √d: rounding comes out larger, above all with random weights.
    tolerance = 1e-3 if architecture.startswith("elan") else 1e-5
    assert written["max_difference"] <= tolerance
    assert written["opset"] == 18
    assert [height % 2 for _, _, height, _ in written["checked"]] == [1, 1, 1]
    for shape in SHAPES:
        image = torch.rand(shape)
        found = onnx_result(folder / "model.onnx", image)
        expected = torch_result(model.module, image, model.scale)
        assert found.shape == expected.shape == (*shape[:2], shape[2] * model.scale, shape[3] * model.scale)
        assert (found - expected).abs().max() < tolerance, shape
        assert expected.std() > 1e-4


@pytest.mark.parametrize("architecture", TINY)
def test_onnx_gives_what_torch_gives_at_any_size(tmp_path: Path, architecture: str) -> None:
    check_onnx(tmp_path, architecture)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", MORE)
def test_onnx_of_the_other_architectures(tmp_path: Path, architecture: str) -> None:
    check_onnx(tmp_path, architecture)


def test_every_generator_is_exported() -> None:
    assert {*TINY, *MORE} == set(ARCHITECTURES) - {"unet-sn", "vgg-128", "patch-gan", "locnet"}


def test_the_onnx_file_says_what_it_is_and_nothing_about_this_machine(tmp_path: Path) -> None:
    model = make(tmp_path, "rrdb-x2")
    export_model(model, tmp_path / "model.onnx")
    loaded = onnx.load(tmp_path / "model.onnx")
    metadata = {entry.key: entry.value for entry in loaded.metadata_props}
    assert metadata["architecture"] == "rrdb-x2"
    assert metadata["scale"] == "2"
    assert metadata["size_multiple"] == "2"
    assert metadata["sha256"] == model.sha256
    assert json.loads(metadata["config"]) == model.config
    assert loaded.producer_name == "goldeye"
    assert [(entry.domain, entry.version) for entry in loaded.opset_import] == [("", 18)]
    assert [dim.dim_param for dim in loaded.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        "",
        "height",
        "width",
    ]
    content = (tmp_path / "model.onnx").read_bytes()
    for word in (str(Path(export.__file__).parents[2]), "site-packages", ".py"):
        assert word.encode() not in content
    assert len(content) < 4 * sum(p.numel() for p in model.module.parameters()) + 100_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "rrdb-x2.safetensors"]


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    model = make(tmp_path, "compact")
    monkeypatch.setattr(export, "_difference", lambda *_: float("nan"))
    with pytest.raises(GoldeyeError, match="differs from torch by nan"):
        export_model(model, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_network_that_torch_itself_rounds_as_much_is_written() -> None:
    class Rounds(torch.nn.Module):
        """Loses what float32 cannot hold, and enlarges the rest."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 1e-4 + 1 - 1) * 1e4

    network = export.AnySize(Rounds(), 1, 1, 1, clip=False)
    image = torch.rand(1, 3, 8, 8)
    own = float((network(image).double() - image.double()).abs().max())
    assert export._rounding(network, image, 0.1) == pytest.approx(own, rel=1e-3)
    assert own > 1e-4
    assert export._rounding(network, image, 1e-4) == 0, "not asked within the tolerance"
    for wrong in (float("nan"), float("inf")):
        assert export._rounding(network, image, wrong) == 0


def test_the_difference_is_seen() -> None:
    class Session:
        def __init__(self, error: float) -> None:
            self.error = error

        def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            result = inputs["image"].copy()
            result[0, 1, 2, 3] += self.error
            return [result if self.error < 1 else result[..., 1:]]

    network = AnySize(nn.Identity(), 1, 1, 1, clip=False)
    image = torch.rand(1, 3, 5, 7)
    assert export._difference(network, Session(0.25), image) == pytest.approx(0.25)
    assert export._difference(network, Session(1), image) == float("inf")


def test_a_network_that_onnx_cannot_express_is_named(tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight if float(x.sum()) > 0 else x

    model = make(tmp_path, "compact")
    model = LoadedModel(Stubborn(), "stubborn", {}, 1, {}, model.path)
    with pytest.raises(InvalidInput, match=r"stubborn \('.*'\) cannot be written as ONNX with free sizes: .+") as error:
        export_model(model, tmp_path / "model.onnx")
    assert "\n" not in error.value.message
    assert not (tmp_path / "model.onnx").exists()


def test_combinations_of_models(tmp_path: Path) -> None:
    """A weighted ensemble is one graph. RGAN's fusion is not: its `forward` alone would leave one model out."""
    model = make(tmp_path, "compact")
    for kind, name in (("ensemble", "m.pth"), ("ensemble", "m.safetensors"), ("fusion", "m.pth"), ("fusion", "m.onnx")):
        combined = LoadedModel(model.module, kind, {}, 2, {}, model.path)
        with pytest.raises(InvalidInput, match=rf"combines several models \({kind}\): export each by itself"):
            export_model(combined, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_community_networks(tmp_path: Path) -> None:
    """RRDBNet with one upsampling step, which spandrel builds: padded and clipped as spandrel does."""
    state = build_network("rrdb", num_feat=8, num_block=1, num_grow_ch=32).state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("conv_up2")}, tmp_path / "w.pth")
    model = load_model(tmp_path / "w.pth")
    assert (model.architecture, model.scale) == ("ESRGAN", 2)
    export_model(model, tmp_path / "model.onnx")
    image = torch.rand(1, 3, 17, 23)
    with torch.no_grad():
        expected = model.module(image)
    found = onnx_result(tmp_path / "model.onnx", image)
    assert (found - expected).abs().max() < 1e-5
    assert expected.min() == 0


@pytest.mark.parametrize("architecture", ["swinir-m", "rcan"])
def test_safetensors_and_pth_are_the_same_network(tmp_path: Path, architecture: str) -> None:
    model = make(tmp_path, architecture, recipe="hggt/x", data_sha256="abc")
    image = torch.rand(1, 3, 12, 16)
    with torch.no_grad():
        expected = model.module(image)
    written = export_model(model, tmp_path / "out" / "again.safetensors")
    assert written["format"] == "safetensors"
    export_model(model, tmp_path / "out" / "again.pth")
    for name in ("again.safetensors", "again.pth"):
        again = load_model(tmp_path / "out" / name)
        assert again.config == model.config
        with torch.no_grad():
            assert torch.equal(again.module(image), expected)
    content = torch.load(tmp_path / "out" / "again.pth", weights_only=True)
    assert list(content) == ["params"]
    assert list(content["params"]) == list(model.module.state_dict())
    with safetensors.safe_open(tmp_path / "out" / "again.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["goldeye"])
    assert (header["recipe"], header["data_sha256"]) == ("hggt/x", "abc")


@pytest.mark.parametrize(
    ("architecture", "setting"),
    [
        ("compact", {"act_type": "relu"}),
        ("elan", {"m_elan": 2, "c_elan": 10, "window_sizes": [2, 4]}),
        ("rcan", {"res_scale": 0.5}),
        ("swinir-m", {"img_range": 255.0}),
        ("swinir-m", {"pad": "hggt"}),
        ("edl", {"structure": "code"}),
        ("compact", {"act_type": "leakyrelu"}),
        ("swinir-m", {"mlp_ratio": 2.2}),
        ("rcan", {"squeeze_factor": 5}),
    ],
)
def test_a_pth_that_would_be_another_network_is_not_written(
    tmp_path: Path, architecture: str, setting: dict[str, Any]
) -> None:
    """What the keys show is written, however it was spelt; the same network comes back, or none."""
    config = resolve_config(architecture, (TINY | MORE)[architecture] | setting)
    torch.manual_seed(1)
    module = build_network(architecture, **config).eval()
    save_weights(tmp_path / "w.safetensors", module, architecture=architecture, config=config, scale=config["scale"])
    model = load_model(tmp_path / "w.safetensors")
    export_model(model, tmp_path / "again.safetensors")
    *_, (name, value) = setting.items()
    if name in ("window_sizes", "res_scale", "img_range", "pad") or value == "relu":
        with pytest.raises(InvalidInput, match=rf"cannot be written as \.pth.*: {name} .* would be lost") as error:
            export_model(model, tmp_path / "m.pth")
        assert error.value.hint == "Export it as .safetensors or .onnx."
        assert not (tmp_path / "m.pth").exists()
    else:
        export_model(model, tmp_path / "m.pth")
        image = torch.rand(1, 3, 12, 16)
        with torch.no_grad():
            assert torch.equal(load_model(tmp_path / "m.pth").module(image), module(image))


def test_discriminators_are_saved_but_make_no_pictures(tmp_path: Path) -> None:
    module = build_network("unet-sn", num_feat=2)
    save_weights(tmp_path / "d.safetensors", module, architecture="unet-sn", config={"num_feat": 2}, scale=1)
    model = load_model(tmp_path / "d.safetensors")
    export_model(model, tmp_path / "d.pth")
    assert load_model(tmp_path / "d.pth").architecture == "unet-sn"
    with pytest.raises(InvalidInput, match="does not make RGB pictures"):
        export_model(model, tmp_path / "d.onnx")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(tmp_path, "compact")

    def call(*words: object) -> tuple[int, str, str]:
        code = run([str(word) for word in ("export", *words)])
        return code, *capsys.readouterr()

    code, out, error = call(model.path, "-o", tmp_path / "m.onnx")
    assert (code, error) == (0, "")
    assert "opset 18; differs from torch by at most" in out
    code, out, _ = call(model.path, "-o", tmp_path / "m.pth", "--json")
    assert code == 0
    parameters = sum(p.numel() for p in model.module.parameters())
    assert json.loads(out) == {
        "schema": "goldeye.export/1",
        "model": str(model.path),
        "path": str(tmp_path / "m.pth"),
        "format": "pth",
        "parameters": parameters,
    }
    for name in ("m.bin", "m"):
        code, _, error = call(model.path, "-o", tmp_path / name)
        assert (code, error.count("\n")) == (2, 1)
        assert "must end in .onnx, .safetensors or .pth" in error
    code, out, _ = call("rrdb", "-o", tmp_path / "r.pth", "--json")
    assert code == 2
    assert "RealESRGAN_x4plus" in json.loads(out)["error"]["hint"]
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    code, _, error = call(model.path, "-o", tmp_path / "n.onnx")
    assert code == 2
    assert "'onnxruntime', which is not installed" in error
    assert "pip install 'goldeye[export]'" in error
