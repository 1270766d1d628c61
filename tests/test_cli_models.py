"""`goldeye models` and docs/models.md: what they say is what the code builds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import goldeye
from goldeye.cli import run
from goldeye.networks import ARCHITECTURES, NETWORKS, build_network, resolve_config
from goldeye.networks.describe import PAPERS, list_text
from goldeye.networks.known import known_models
from goldeye.networks.weights import save_weights
from goldeye.upscale.export import export_model

# REFERENCE.md §2: counted in the official code.
OFFICIAL = {
    "rrdb": 16_697_987,
    "rrdb-x2": 16_703_171,
    "rrdb-x1": 16_723_907,
    "rrdb-ps": 16_919_555,
    "swinir-m": 11_715_559,
    "swinir-l": 28_013_059,
    "swinir-classical": 11_900_199,
    "rcan": 15_592_355,
    "rcan-x1": 15_296_931,
    "elan": 8_487_432,
    "elan-x1": 8_414_463,
    "srresnet": 1_517_571,
    "compact": 1_213_296,
    "edl": 16_729_694,
    "edl-code": 17_286_473,
    "unet-sn": 4_376_897,
    "vgg-128": 14_499_401,
    "patch-gan": 2_765_633,
    "locnet": 1_224_996,
}
TRAINABLE = {"elan": 8_312_448, "elan-x1": 8_239_503}
INFO = {"name", "kind", "architecture", "scale", "parameters", "trainable", "config", "source", "licence"}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GOLDEYE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = run([str(word) for word in words])
    return code, *capsys.readouterr()


def document(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code, out, _ = call(capsys, *words, "--json")
    return code, json.loads(out)


@pytest.fixture(scope="module")
def documentation() -> str:
    return (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_list(capsys: pytest.CaptureFixture[str], documentation: str) -> None:
    code, listed = document(capsys, "models", "list")
    assert code == 0
    assert listed["schema"] == "goldeye.models/1"
    architectures = {row["name"]: row for row in listed["models"] if row["kind"] == "architecture"}
    assert {name: row["parameters"] for name, row in architectures.items()} == OFFICIAL
    assert set(OFFICIAL) == set(ARCHITECTURES)
    weights = {row["name"]: row for row in listed["models"] if row["kind"] == "weights"}
    assert set(weights) == set(known_models())
    assert weights["BSRGAN"]["licence"] == "Apache-2.0"
    assert {name for name, row in weights.items() if row["cached"]} == {
        name for name, row in weights.items() if row["bundled"]
    }
    assert sum(row["bundled"] for row in weights.values()) == 7
    text = list_text(listed["models"])
    for name in (*OFFICIAL, *weights):
        assert name in text
    rows = re.findall(r"^\| `([\w-]+)` \| (\d|–) \| ([\d,]+) \| ([\d,]+) \| .+ \|$", documentation, re.MULTILINE)
    assert {name: int(total.replace(",", "")) for name, _, total, _ in rows} == OFFICIAL
    assert {name: int(part.replace(",", "")) for name, _, _, part in rows} == OFFICIAL | TRAINABLE
    assert {name: scale for name, scale, _, _ in rows if scale != "–"} == {
        name: str(architectures[name]["scale"]) for name, scale, _, _ in rows if scale != "–"
    }


def test_every_network_has_a_paper() -> None:
    assert set(PAPERS) == set(NETWORKS)


@pytest.mark.parametrize("name", ["rrdb", "edl", "elan", "unet-sn"])
def test_info_of_an_architecture(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, found = document(capsys, "models", "info", name)
    assert code == 0
    assert set(found) >= INFO
    assert (found["schema"], found["kind"]) == ("goldeye.models/1", "architecture")
    assert (found["name"], found["architecture"]) == (name, name)
    assert found["parameters"] == OFFICIAL[name]
    assert found["trainable"] == TRAINABLE.get(name, OFFICIAL[name])
    assert found["config"] == resolve_config(name)
    assert ("RealESRGAN_x4plus" in found["weights"]) == (name == "rrdb")


def test_info_of_a_known_model_fetches_nothing(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    code, found = document(capsys, "models", "info", "RealESRGAN_x4plus_anime_6B")
    assert code == 0
    assert set(found) >= INFO
    assert (found["kind"], found["architecture"], found["licence"]) == ("weights", "rrdb", "BSD-3-Clause")
    assert found["config"]["num_block"] == 6
    with torch.random.fork_rng():
        assert found["parameters"] == sum(p.numel() for p in build_network("rrdb", num_block=6).parameters())
    assert found["cached"] is False
    assert not cache.exists()
    _, found = document(capsys, "models", "info", "BSRGANx2")
    assert (found["architecture"], found["parameters"]) == ("ESRGAN", None)


def small(path: Path) -> torch.nn.Module:
    settings = {"num_feat": 8, "num_conv": 2, "scale": 2}
    module = build_network("compact", **settings)
    extra = {"recipe": "hggt/x", "data_sha256": "abc", "step": "7"}
    save_weights(path, module, architecture="compact", config=settings, scale=2, extra=extra)
    return module


def test_info_of_files_and_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoints" / "step-00000007.safetensors"
    module = small(path)
    (path.parent / "latest").write_text("step-00000007\n")
    for name in (path, tmp_path / "run"):
        code, found = document(capsys, "models", "info", name)
        assert code == 0
        assert set(found) >= INFO
        assert found["name"] == str(name)
        assert (found["kind"], found["architecture"], found["scale"]) == ("weights", "compact", 2)
        assert found["parameters"] == sum(p.numel() for p in module.parameters())
        assert found["source"] == "recipe hggt/x"
        assert found["licence"] == "not stated"
        assert found["header"]["data_sha256"] == "abc"
        assert len(found["sha256"]) == 64
    torch.save(module.state_dict(), tmp_path / "w.pth")
    _, found = document(capsys, "models", "info", tmp_path / "w.pth")
    assert (found["source"], found["licence"], found["header"]) == ("not stated", "not stated", {})
    code, text, _ = call(capsys, "models", "info", path)
    assert code == 0
    assert "header: recipe hggt/x" in text


def test_what_is_no_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "words.pth").write_text("words")
    for name, words in (
        ("nothing", "no model of that name"),
        ("words.pth", "it is text"),
        ("RealESRGAN_x4", "Did you mean"),
        ("rrdb-pss", "Did you mean 'rrdb-ps'?"),
    ):
        code, _, error = call(capsys, "models", "info", name)
        assert code == 2
        assert words in error
        code, found = document(capsys, "models", "info", name)
        assert code == 2
        assert found["schema"] == "goldeye.models/1"
        assert found["error"]["code"] == "invalid_input"


def test_an_architecture_without_weights_lists_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    code, _, error = call(capsys, "upscale", "a.png", "-o", "out", "-n", "rrdb")
    assert code == 2
    for name in ("RealESRGAN_x4plus", "RealESRGAN_x4plus_anime_6B", "BSRGAN"):
        assert name in error
    assert not (tmp_path / "out").exists()


def test_the_onnx_snippet_of_the_documentation(tmp_path: Path, documentation: str) -> None:
    small(tmp_path / "w.safetensors")
    model = goldeye.load_model(tmp_path / "w.safetensors")
    export_model(model, tmp_path / "model.onnx")
    pixels = np.random.default_rng(1).integers(0, 256, (21, 33, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    snippets = re.findall(r"```python\n(.*?)```", documentation, re.DOTALL)
    assert len(snippets) == 2
    exec(compile(snippets[0], "docs/models.md", "exec"), {})
    with torch.no_grad():
        expected = model.module(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    expected = (expected[0].clamp(0, 1).permute(1, 2, 0) * 255).round().numpy()
    found = np.asarray(Image.open(tmp_path / "large.png"))
    assert found.shape == (42, 66, 3)
    assert np.abs(found - expected).max() <= 1
    save_weights(tmp_path / "model.safetensors", model.module, architecture="compact", config=model.config, scale=2)
    exec(compile(snippets[1], "docs/models.md", "exec"), {})
