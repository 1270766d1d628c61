"""The official data sets' folders in miniature: their names and layout, with a few small pictures in each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from goldeye.config import NetworkConfig, TrainConfig, to_yaml
from goldeye.files import write_text
from goldeye.images import Picture, matlab_resize_scale, to_float, to_uint8, write_image
from goldeye.methods import METHODS
from goldeye.networks import build_network
from goldeye.networks.weights import save_weights
from goldeye.train.checkpoint import Position, save_checkpoint
from goldeye.train.engine import Engine

SIDE = 256  # the largest crop of the recipes, and a window of the noise bank
OST = ("animal", "building", "grass", "mountain", "plant", "sky", "water")
BENCHMARKS = ("Set5", "Set14", "Manga109", "General100", "Urban100")
LABELS = {"P": "Positive", "S": "Similar", "N": "Negative"}
# Of each group the votes for candidates 01 to 04, a letter for each of A, B and C.
VOTES = {"0001-0-0": ("PPP", "NNS", "SSS", "PPS"), "0001-0-300": ("PPP", "PPP", "PPP", "PSS"), "0002-5-7": ("SSS",) * 4}
SLOTS = ("01", "02", "03", "04")
STEP = "step-00000001"


def photo(seed: int, side: int = SIDE) -> Picture:
    """Flat squares with noise, so that there is something to register, to degrade, and to take noise from."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (4, 4, 3)).repeat(side // 4, axis=0).repeat(side // 4, axis=1)
    return np.clip(coarse + rng.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)


def quarter(picture: Picture) -> Picture:
    """The LR picture of a pair."""
    return to_uint8(matlab_resize_scale(to_float(picture), 1 / 4))


def build_miniature(root: Path) -> None:
    """Every folder that docs/reproduction.md names, below `root`."""
    photos = [photo(seed) for seed in range(2)]
    folders = {
        "DIV2K/DIV2K_train_HR": ("0001.png", "0002.png"),
        "DIV2K/DIV2K_valid_HR": ("0801.png", "0802.png", "0803.png"),
        "Flickr2K/Flickr2K_HR": ("000001.png", "000002.png"),
        **{f"OutdoorSceneTrain_v2/{kind}": ("1.png",) for kind in OST},
        **{f"{name}/GTmod12": ("a.png", "b.png") for name in BENCHMARKS},
        "MultiGT1600": ("0001.png",),
        # The noise of the sets that NGDC compares is alike, for they are the same pictures.
        "NTIRE2020/Corrupted-tr-x": ("000001.png", "000002.png"),
        "NTIRE2020/Corrupted-tr-y": ("0001.png", "0002.png"),
        "NTIRE2020/track1-valid-gt": ("0801.png", "0802.png"),
        "AIM2019/train-noisy-images": ("000001.png", "000002.png"),
        "AIM2019/train-clean-images": ("0001.png", "0002.png"),
        "AIM2019/valid-gt-clean": ("0801.png", "0802.png"),
        "RealSR(V3)/Canon/Train/4": ("Canon_001_HR.png", "Canon_002_HR.png"),
        "RealSR(V3)/Canon/Test/4": ("Canon_001_HR.png", "Canon_002_HR.png"),
    }
    for folder, names in folders.items():
        for number, name in enumerate(names):
            write_image(root / folder / name, photos[number % 2])
    for hr in sorted((root / "RealSR(V3)").rglob("*_HR.png")):
        write_image(hr.with_name(hr.name.replace("_HR", "_LR4")), quarter(photos[int(hr.name[6:9]) - 1]))
    for number, picture in enumerate(photos, start=801):
        write_image(root / f"NTIRE2020/track1-valid-input/{number:04}.png", quarter(picture))
        write_image(root / f"AIM2019/valid-input-noisy/{number:04}.png", quarter(picture))
    for camera in ("iphone", "canon"):
        for number in range(2):
            write_image(root / f"dped/iphone/training_data/{camera}/{number}.jpg", photo(number, 100))
    _camerasr(root / "City100/City100_iPhoneX", photos)
    _hggt(root / "HGGT/Train", "0-20193", photos)
    _hggt(root / "HGGT/Test/GT/Test-100", "", photos)
    for number, name in enumerate(VOTES):
        low = root / f"HGGT/Test/Blind_Degradation_Benchmark_LQ/Test-100/Blind_LR/{name}.png"
        write_image(low, quarter(photos[number % 2]))


def _camerasr(folder: Path, photos: Sequence[Picture]) -> None:
    """001H.PNG and 001L.PNG to 100; most are further names of the same two files."""
    for number in range(1, 101):
        for letter in "HL":
            path, first = folder / f"{number:03}{letter}.PNG", folder / f"{(number - 1) % 2 + 1:03}H.PNG"
            if path == first:
                write_image(path, photos[number - 1])
            else:
                _link(first, path)


def _hggt(root: Path, range_: str, photos: Sequence[Picture]) -> None:
    """Groups and label files as HGGT was released; `range_` is the folder below images/ and labels/."""
    for number, (name, votes) in enumerate(VOTES.items()):
        for slot in ("original", *SLOTS):
            file = f"{name}.png" if slot == "original" else f"{name}_{slot}.png"
            write_image(root / "images" / range_ / slot / file, photos[number % 2])
        for voter, letters in zip("ABC", zip(*votes, strict=True), strict=True):
            path = root / "labels" / range_ / voter / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(_label_file(name, letters)), encoding="utf-8")


def _label_file(name: str, letters: Iterable[str]) -> dict[str, dict[str, object]]:
    document: dict[str, dict[str, object]] = {"Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None}}
    for number, (slot, letter) in enumerate(zip(SLOTS, letters, strict=True), start=2):
        document[f"Picture_{number}"] = {"Name": f"{name}_{slot}.png", "File": slot, "Label": LABELS[letter]}
    document["Time_cost"] = {"Start": "2022-08-05 16:56:06", "End": "2022-08-05 16:56:48", "Total": 42}
    return document


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


# --- runs to start from -----------------------------------------------------------------------------------------------


def small_run(run: Path) -> None:
    """A run folder with a tiny RCAN x4 instead of the paper's, for a command that looks at every pixel."""
    settings = {"num_feat": 8, "num_group": 1, "num_block": 1, "squeeze_factor": 4}
    _save(run, NetworkConfig(architecture="rcan", settings=settings), 4)


def full_size_run(run: Path, config: TrainConfig, files: dict[str, Path]) -> None:
    """A run folder of `config` with its network at full size, not trained.

    `files` remembers what was written: runs of the same network share a file. A run of AdaTarget's has its whole
    state, for the next stage looks in it for LocNet.
    """
    if config.locnet is not None:
        write_text(run / "config.yaml", to_yaml(config))
        save_checkpoint(
            run, Position(step=1), METHODS[config.method](config, Engine("cpu")), config, {"data_sha256": ""}
        )
        return
    network = config.generator.model_dump_json()
    if network in files:
        _link(files[network], run / "checkpoints" / f"{STEP}.safetensors")
        write_text(run / "checkpoints" / "latest", f"{STEP}\n")
    else:
        files[network] = _save(run, config.generator, config.scale)


def _save(run: Path, network: NetworkConfig, scale: int) -> Path:
    weights = run / "checkpoints" / f"{STEP}.safetensors"
    weights.parent.mkdir(parents=True)
    module = build_network(network.architecture, **network.settings)
    save_weights(weights, module, architecture=network.architecture, config=network.settings, scale=scale)
    write_text(run / "checkpoints" / "latest", f"{STEP}\n")
    return weights
