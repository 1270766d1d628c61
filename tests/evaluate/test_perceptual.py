"""LPIPS, DISTS and FID: agreement with the libraries' own calls on stub backbones, and weights that are not right."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import blurred, flat, noisy, textured

from goldeye.cli import run
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.evaluate import fid as fid_module
from goldeye.evaluate import perceptual
from goldeye.evaluate.metrics import METRICS, make_metric
from goldeye.evaluate.run import evaluate_folder
from goldeye.evaluate.weights import WEIGHT_FILES, require_weights, weight_table
from goldeye.files import sha256
from goldeye.images import to_tensor, write_image

pytest.importorskip("torchmetrics")
torchvision = pytest.importorskip("torchvision")

BACKBONES = {"lpips": "alexnet", "lpips-vgg": "vgg16", "lpips-squeeze": "squeezenet1_1", "dists": "vgg16"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch's hub, and no network."""

    def unreachable(url: str, *_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def accept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the file that lies there pass as the right one."""
    wanted = WEIGHT_FILES[name]
    monkeypatch.setitem(WEIGHT_FILES, name, dataclasses.replace(wanted, sha256=sha256(wanted.path)))


def seeded(network: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.05
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network


@pytest.fixture
def squeezenet(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SqueezeNet's real layers with other values, in a file of the right name: torchvision reads that one."""
    path = hub / WEIGHT_FILES["squeezenet1_1"].file
    torch.save(seeded(torchvision.models.squeezenet1_1(weights=None)).state_dict(), path)
    accept(monkeypatch, "squeezenet1_1")
    return path


@pytest.fixture
def stubs(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AlexNet's and VGG16's convolutions, without their half a gigabyte of classifiers."""
    with monkeypatch.context() as small:
        small.setattr(torch.nn, "Linear", lambda *_: torch.nn.Identity())
        networks = {"alexnet": torchvision.models.AlexNet(), "vgg16": torchvision.models.vgg16(init_weights=False)}
    for name, network in networks.items():
        (hub / WEIGHT_FILES[name].file).write_bytes(name.encode())
        accept(monkeypatch, name)
        seeded(network)
        monkeypatch.setattr(torchvision.models, name, lambda weights, network=network: network)
    monkeypatch.setattr("torchmetrics.functional.image.dists.vgg16", lambda weights: networks["vgg16"])


def theirs(key: str, a: Any, b: Any) -> float:
    """torchmetrics' own call."""
    from torchmetrics.functional.image.dists import deep_image_structure_and_texture_similarity
    from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity

    first, second = to_tensor(a), to_tensor(b)
    if key == "dists":
        return float(deep_image_structure_and_texture_similarity(first, second).detach())
    net: Any = key.partition("-")[2] or "alex"
    return float(learned_perceptual_image_patch_similarity(first, second, net_type=net, normalize=True))


def check_agreement(key: str) -> None:
    gt = textured(0, 75, 90)
    metric = make_metric(key, crop_border=4, device="cpu")
    found = [metric(other, gt) for other in (gt, noisy(gt, 5), noisy(gt, 25), blurred(gt, 2))]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert 0 < found[1] < found[2]
    inner = np.s_[4:-4, 4:-4]
    expected = theirs(key, blurred(gt, 2)[inner], gt[inner])
    assert found[3] == pytest.approx(expected, abs=1e-6)
    assert found[3] > 1e-4
    files = [entry["file"] for entry in metric.definition["weights"]]
    assert WEIGHT_FILES[BACKBONES[key]].file in files
    assert all(len(entry["sha256"]) == 64 for entry in metric.definition["weights"])
    assert metric.definition["library"].startswith("torchmetrics ")
    assert metric.definition["crop_border"] == 4
    with pytest.raises(InvalidInput, match="needs 32x32 pixels; the cropped picture has 31x40"):
        metric(flat(0, 48, 39), flat(0, 48, 39))
    metric(flat(0, 40, 40), flat(9, 40, 40))
    with pytest.raises(InvalidInput, match="differ in size"):
        metric(gt, gt[:-1])


def test_lpips_on_squeezenet_is_torchmetrics_own(squeezenet: Path) -> None:
    check_agreement("lpips-squeeze")


@pytest.mark.parametrize("key", ["lpips", "lpips-vgg", "dists"])
def test_figures_are_torchmetrics_own(key: str, stubs: None) -> None:
    check_agreement(key)


def test_end_to_end(squeezenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        write_image(tmp_path / "gt" / f"{seed}.png", textured(seed, 64, 64))
        write_image(tmp_path / "sr" / f"{seed}.png", noisy(textured(seed, 64, 64), 15))
    write_image(tmp_path / "gt" / "small.png", flat(0, 30, 30))
    write_image(tmp_path / "sr" / "small.png", flat(0, 30, 30))
    arguments = ["evaluate", str(tmp_path / "sr"), "--gt", str(tmp_path / "gt"), "--device", "cpu"]
    assert run([*arguments, "--metrics", "lpips-squeeze", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["metrics"]["lpips-squeeze"]
    assert figures["reasons"] == {"small": "LPIPS needs 32x32 pixels; the cropped picture has 22x22."}
    assert figures["per_image"]["1"] == pytest.approx(
        theirs("lpips-squeeze", noisy(textured(1, 64, 64), 15)[4:-4, 4:-4], textured(1, 64, 64)[4:-4, 4:-4]), abs=1e-6
    )
    assert figures["definition"]["backbone"] == "squeezenet1_1"
    assert run([*arguments, "--metrics", "lpips-squeeze"]) == 0
    assert "squeezenet1_1-b8a52dc0.pth (SHA-256" in capsys.readouterr().out


@pytest.mark.parametrize("key", [*BACKBONES, "fid"])
def test_missing_weights_are_named_with_their_place(
    key: str, hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "sr" / name, textured(0, 40, 40))
    code = run(["evaluate", str(tmp_path / "sr"), "--gt", str(tmp_path / "sr"), "--metrics", key])
    error = capsys.readouterr().err
    file = WEIGHT_FILES[BACKBONES.get(key, "inception")].file
    assert code == 2
    assert f"The weights '{file}'" in error
    assert f"are not here and cannot be fetched; place the file at '{hub / file}'." in error
    assert not any(hub.iterdir())


def test_the_real_command_without_network(tmp_path: Path) -> None:
    write_image(tmp_path / "sr" / "a.png", textured(0, 40, 40))
    environment = os.environ | {"TORCH_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    command = [sys.executable, "-m", "goldeye", "evaluate", str(tmp_path / "sr"), "--gt", str(tmp_path / "sr")]
    done = subprocess.run(
        [*command, "--metrics", "lpips-squeeze", "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    error = json.loads(done.stdout)["error"]
    assert str(tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth") in error["message"]
    assert "download.pytorch.org" in error["hint"]


def test_right_keys_with_a_wrong_hash_are_refused(squeezenet: Path) -> None:
    content = torch.load(squeezenet, weights_only=True)
    content["features.0.bias"] = content["features.0.bias"] + 1e-3
    torch.save(content, squeezenet)
    with pytest.raises(InvalidInput, match=r"squeezenet1_1-b8a52dc0\.pth' is not the right file .*its SHA-256 is"):
        make_metric("lpips-squeeze", crop_border=4)


def test_no_figure_comes_from_a_head_that_was_passed_over(squeezenet: Path) -> None:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network: Any = LearnedPerceptualImagePatchSimilarity(net_type="squeeze").net
    perceptual._check_loaded(network, "lpips-squeeze")
    with torch.no_grad():
        network.lin3.model[1].weight[0, 0] += 1
    with pytest.raises(GoldeyeError, match="does not use the weights of lpips-squeeze"):
        perceptual._check_loaded(network, "lpips-squeeze")


def test_a_torchvision_with_other_weights_is_refused(squeezenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = dataclasses.replace(WEIGHT_FILES["squeezenet1_1"], file="squeezenet1_1-00000000.pth")
    monkeypatch.setitem(WEIGHT_FILES, "squeezenet1_1", wanted)
    squeezenet.rename(wanted.path)
    with pytest.raises(GoldeyeError, match=r"reads 'squeezenet1_1-b8a52dc0\.pth' for squeezenet1_1"):
        make_metric("lpips-squeeze", crop_border=4)


def test_weights_are_fetched_by_their_hash(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetched(url: str, target: str, digest: str, *, progress: bool) -> None:
        asked.extend([url, digest])
        Path(target).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetched)
    with pytest.raises(InvalidInput, match="is not the right file"):
        require_weights("alexnet")
    assert asked == ["https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", WEIGHT_FILES["alexnet"].sha256]


def test_the_table_of_weights(hub: Path) -> None:
    rows = {row["file"]: row for row in weight_table()}
    assert len(rows) == len(WEIGHT_FILES)
    # The hash in a hub file's name is the beginning of its SHA-256; torchmetrics' own files are those of its package.
    for row in rows.values():
        if row["source"] == "torchmetrics":
            assert row["present"]
            assert sha256(Path(row["path"])) == row["sha256"]
        else:
            assert row["file"].rsplit("-", 1)[1].removesuffix(".pth") == row["sha256"][:8]
            assert row["path"] == str(hub / row["file"])
            assert not row["present"]
    (hub / "vgg19-dcbb9e9d.pth").write_bytes(b"")
    assert {row["file"]: row for row in weight_table()}["vgg19-dcbb9e9d.pth"]["present"]
    assert {name for info in METRICS.values() for name in info.weights} | {"vgg19"} == WEIGHT_FILES.keys()


def test_all_leaves_out_what_is_not_here_and_fetches_nothing(hub: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "sr" / "a.png", textured(0, 40, 40))
    result = evaluate_folder(tmp_path / "sr", gt=tmp_path / "sr", metrics="all")
    reasons = {row["metric"]: row["reason"] for row in result["unavailable"]}
    assert {"lpips", "lpips-vgg", "lpips-squeeze", "dists", "fid", "niqe", "colour_shift"} == reasons.keys()
    assert "Naming the metric fetches them" in reasons["lpips"]
    assert "--lr" in reasons["colour_shift"]
    assert "goldeye niqe fit" in reasons["niqe"]
    assert result["metrics"].keys() == METRICS.keys() - reasons.keys()
    json.dumps(result, allow_nan=False)


# FID -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def inception(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """torch-fidelity's network with seeded values, and its shallowest features: 64 of them."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.save({}, hub / WEIGHT_FILES["inception"].file)
    accept(monkeypatch, "inception")
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda network, state: seeded(network))
    monkeypatch.setattr(fid_module, "LAYER", "64")
    return lambda picture: torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


class Set(torch.utils.data.Dataset[Any]):
    def __init__(self, pictures: list[Any]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Any:
        return self.pictures[index]


def test_fid_is_torch_fidelitys_own(inception: Callable[[Any], Any], tmp_path: Path, hub: Path) -> None:
    import torch_fidelity

    pairs = [(textured(seed, 60 + seed, 70), noisy(textured(seed, 60 + seed, 70), 30)) for seed in range(4)]
    for number, (gt, sr) in enumerate(pairs):
        write_image(tmp_path / "gt" / f"{number}.png", gt)
        write_image(tmp_path / "sr" / f"{number}.png", sr)
    result = evaluate_folder(tmp_path / "sr", gt=tmp_path / "gt", metrics=["fid", "psnr"], device="cpu")
    expected = torch_fidelity.calculate_metrics(
        input1=Set([inception(sr) for _, sr in pairs]),
        input2=Set([inception(gt) for gt, _ in pairs]),
        fid=True,
        cuda=False,
        batch_size=1,
        feature_layer_fid="64",
        feature_extractor_weights_path=str(hub / WEIGHT_FILES["inception"].file),
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    figures = result["metrics"]["fid"]
    assert figures["mean"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert figures["mean"] > 0
    assert (figures["ci95"], figures["per_image"]) == (None, {})
    assert figures["definition"]["pictures"] == [4, 4]
    assert figures["definition"]["library"].startswith("torch-fidelity ")
    assert list(result["metrics"]) == ["fid", "psnr"]
    one = evaluate_folder(tmp_path / "sr" / "0.png", gt=tmp_path / "gt" / "0.png", metrics=["fid"], device="cpu")
    assert one["metrics"]["fid"]["mean"] is None
    assert "at least two pictures" in one["metrics"]["fid"]["note"]
    json.dumps([result, one], allow_nan=False)
