"""The models that come with the package: whole, as their recipes say, and as good as their cards say at least."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage import data

from goldeye.cli import run
from goldeye.config import load_recipe
from goldeye.degrade import degrade_picture, get_pipeline
from goldeye.errors import InvalidInput
from goldeye.evaluate.metrics import low_frequency_delta_e, psnr
from goldeye.evaluate.settings import load_benchmark
from goldeye.files import sha256
from goldeye.images import Picture, image_size, matlab_resize, to_float, to_uint8, write_image
from goldeye.methods.base import build
from goldeye.networks import known, resolve_config
from goldeye.networks.known import BUNDLED, bundled_enhancers, fetch, known_models
from goldeye.networks.weights import load_model, origin
from goldeye.train.logging import read_metrics

MODELS = [model for model in known_models().values() if model.bundled]
ENHANCERS = bundled_enhancers()
CONFIGS = Path(__file__).parents[1] / "benchmarks" / "models"
# Pictures that no bundled model was trained on: (name, top, left) of windows of 192 x 192.
WINDOWS = (("astronaut", 20, 100), ("chelsea", 60, 100), ("coffee", 100, 220))
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
each_enhancer = pytest.mark.parametrize("name", ENHANCERS)


def windows() -> list[Picture]:
    pictures = []
    for name, top, left in WINDOWS:
        picture: Picture = getattr(data, name)()[..., :3]
        pictures.append(np.ascontiguousarray(picture[top : top + 192, left : left + 192]))
    return pictures


def degraded(picture: Picture, preset: str, scale: int, seed: int) -> Picture:
    lr, _ = degrade_picture(to_float(picture), get_pipeline(preset), np.random.default_rng(seed), scale)
    return to_uint8(lr)


def gain(name: str, preset: str, scale: int) -> float:
    """Mean gain of PSNR-Y in dB over bicubic (at scale 1: over the degraded picture itself)."""
    model = load_model(name)
    gains = []
    for seed, picture in enumerate(windows()):
        small = degraded(picture, preset, scale, seed)
        before = to_uint8(matlab_resize(to_float(small), 192, 192))
        after = model.upscale(small)
        gains.append(psnr(after, picture, crop_border=scale, y=True) - psnr(before, picture, crop_border=scale, y=True))
    return float(np.mean(gains))


def test_there_are_three_generators_and_four_enhancers() -> None:
    assert [model.name for model in MODELS if model.scale == 4] == [
        "goldeye-x4",
        "goldeye-x4-fidelity",
        "goldeye-x4-classic",
    ]
    assert list(ENHANCERS) == ["rcan-noise", "rcan-blur", "elan-noise", "elan-blur"]


@each_model
def test_the_file_is_the_one_of_the_index_and_of_its_recipe(model: known.KnownModel) -> None:
    assert model.path.stat().st_size == model.size
    assert model.size <= (5_000_000 if model.scale == 4 else 1_000_000)
    assert sha256(model.path) == model.sha256
    loaded = load_model(model.name)
    recipe = "bundled/" + model.name.removeprefix("goldeye-")
    config = load_recipe(recipe)
    assert (loaded.architecture, loaded.scale) == (config.generator.architecture, config.scale)
    assert loaded.config == resolve_config(loaded.architecture, config.generator.settings)
    assert loaded.config == model.settings
    assert sum(p.numel() for p in loaded.module.parameters()) <= 1_300_000
    assert loaded.metadata["recipe"] == recipe
    assert loaded.metadata["licence"] == model.licence


@each_model
def test_what_is_kept_beside_it(model: known.KnownModel) -> None:
    """The run's settings are the recipe's, its curve ends at its last step, and the card says data and terms."""
    records = BUNDLED / "runs" / model.name
    config = load_recipe("bundled/" + model.name.removeprefix("goldeye-"), ["data.path=pack"])
    kept = yaml.safe_load((records / "config.yaml").read_text(encoding="utf-8"))
    assert {key: kept[key] for key in kept if key not in ("summary", "table")} == {
        key: value for key, value in config.model_dump(mode="json").items() if key not in ("summary", "table")
    }
    rows = read_metrics(records)
    assert rows[-1]["step"] == config.steps
    assert int(load_model(model.name).metadata["step"]) == config.steps
    assert model.card is not None
    card = model.card.read_text(encoding="utf-8")
    recipe = "bundled/" + model.name.removeprefix("goldeye-")
    for words in ("BSDS500", "Sun-Hays 80", "non-commercial research", "WEIGHTS_LICENSE", recipe):
        assert words in card


def test_the_hashes_of_the_training_pictures_are_there() -> None:
    lines = (BUNDLED / "runs" / "data.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len({line.split()[0] for line in lines}) == 440
    assert sum(line.split()[1].startswith("bsds500/") for line in lines) == 400


def test_they_beat_bicubic() -> None:
    """On three windows of 192 x 192; docs/bundled-models.md has the test sets."""
    assert gain("goldeye-x4-fidelity", "hggt", 4) > 0.5
    assert gain("goldeye-x4-classic", "bicubic", 4) > 1.5
    assert gain("goldeye-x4", "hggt", 4) > -1  # a GAN's detail is not the truth's


@each_enhancer
def test_enhancers_gain_on_their_own_degradation(name: str) -> None:
    assert gain(ENHANCERS[name], f"hggt-enhance-{name.split('-')[1]}", 1) > 1


@each_enhancer
def test_enhancers_keep_colours(name: str) -> None:
    model = load_model(ENHANCERS[name])
    for picture in windows():
        assert low_frequency_delta_e(model.upscale(picture), picture) < 1  # about 2 is just visible


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "BUNDLED", tmp_path)
    model = known.KnownModel("a", "compact", 4, "x", "y", "z", sha256="0" * 64)
    with pytest.raises(InvalidInput, match="comes with Goldeye"):
        fetch(model)
    model.path.write_bytes(b"cut short")
    with pytest.raises(InvalidInput, match="comes with Goldeye"):
        fetch(model)


def test_upscale_and_enhance_without_naming_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "photos" / "a.png", windows()[0][:48, :40])
    assert run(["upscale", str(tmp_path / "photos"), "-o", str(tmp_path / "large")]) == 0
    assert image_size(tmp_path / "large" / "a.png") == (192, 160)
    assert run(["enhance", str(tmp_path / "photos"), "-o", str(tmp_path / "candidates"), "-q"]) == 0
    for name in ENHANCERS:
        assert image_size(tmp_path / "candidates" / name / "a.png") == (48, 40)
    folder = ["enhance", str(tmp_path / "photos"), "-o", str(tmp_path / "other"), "-q"]
    assert run([*folder, "--enhancer", "goldeye-enhance-rcan-blur", "--folder", f"same={tmp_path / 'photos'}"]) == 0
    assert image_size(tmp_path / "other" / "rcan-blur" / "a.png") == (48, 40)
    capsys.readouterr()
    assert run(folder) == 2
    assert "has candidates of same" in capsys.readouterr().err
    assert run(["models", "info", "goldeye-x4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bundled"]
    assert Path(found["card"]).is_file()
    assert "url" not in found


def test_what_is_exported_says_its_terms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    assert run(["export", "goldeye-enhance-elan-blur", "-o", str(path)]) == 0
    assert "licence: research use" in capsys.readouterr().out
    assert load_model(path).metadata["licence"] == MODELS[0].licence


def test_what_starts_from_a_bundled_model_says_so() -> None:
    found = origin("goldeye-x4-fidelity")
    model = known_models()["goldeye-x4-fidelity"]
    assert found == {"init": model.name, "init_sha256": model.sha256, "licence": model.licence}
    assert load_model("goldeye-x4").metadata.items() >= found.items()
    assert origin(str(model.path)) == found | {"init": f"{model.name}.safetensors"}


@pytest.mark.parametrize("name", ["bundled/x4", "tiny/compact-original", "tiny/compact-posneg"])
def test_recipes_that_start_from_a_bundled_model_fit_it(name: str) -> None:
    state = build(load_recipe(name, ["data.path=pack"]).generator).state_dict()
    start = load_model("goldeye-x4-fidelity").module.state_dict()
    assert all(torch.equal(value, start[key]) for key, value in state.items())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_benchmarks_configurations_can_be_read(path: Path) -> None:
    config = load_benchmark(path)
    names = {model.name for model in MODELS}
    assert {entry.model for entry in config.models if entry.model is not None} <= names
