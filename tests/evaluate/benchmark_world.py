"""A small world to benchmark in: two drawn HR pictures, their LR, folders of results, tiny networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from goldeye.images import Picture, matlab_resize, to_float, to_uint8, write_image
from goldeye.networks import build_network
from goldeye.networks.weights import save_weights

TINY = {"num_feat": 4, "num_conv": 1}


def drawn(seed: int, height: int = 48, width: int = 40) -> Picture:
    """Waves and a bright square, (height, width, 3) in 30..220."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows / (2 + seed)) + np.cos(columns / (3 + seed))
    picture = np.stack([125 + 40 * waves, 125 + 30 * waves, 125 - 40 * waves], axis=2)
    picture[10:20, 12:24] = 30 + 10 * seed
    return picture.round().astype(np.uint8)


def write_tiny(path: Path, seed: int) -> None:
    """A random network of scale 4 with 1,700 parameters or so."""
    torch.manual_seed(seed)
    module = build_network("compact", **TINY)
    save_weights(path, module, architecture="compact", config=TINY, scale=4)


class World:
    """The folder and its configuration, which tests change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        for number, name in enumerate(("one", "two")):
            hr = drawn(number)
            write_image(folder / "hr" / f"{name}.png", hr)
            write_image(folder / "lr" / f"{name}.png", to_uint8(matlab_resize(to_float(hr), 12, 10)))
            write_image(folder / "lighter" / f"{name}_up.png", hr + np.uint8(10))
            write_image(folder / "darker" / f"{name}.png", hr - np.uint8(20))
        write_tiny(folder / "tiny.safetensors", 0)
        self.config: dict[str, Any] = {
            "models": [
                {"name": "bicubic", "bicubic": True},
                {"name": "Lighter", "results": "lighter", "suffix": "_up"},
                {"name": "darker", "results": "darker"},
                {"name": "tiny", "model": "tiny.safetensors"},
            ],
            "sets": [{"name": "Drawn", "hr": "hr", "lr": "lr"}],
            "metrics": ["psnr", "ssim"],
        }

    def add_negatives(self, name: str) -> None:
        """A second set, a dataset whose one picture is compared with a negative; the models are networks now."""
        content: dict[str, Any] = {"Picture_1": {"Name": "one", "File": "original", "Label": None}}
        content |= {"Picture_2": {"Name": "one", "File": "01", "Label": "Negative"}}
        images, labels = (self.folder / "data" / kind / "0-0" for kind in ("images", "labels"))
        write_image(images / "original" / "one.png", drawn(0))
        write_image(images / "01" / "one_01.png", drawn(0) + np.uint8(3))
        (labels / "A").mkdir(parents=True)
        (labels / "A" / "one.json").write_text(json.dumps(content), encoding="utf-8")
        write_tiny(self.folder / "other.safetensors", 1)
        self.config["models"][1:3] = [{"name": "other", "model": "other.safetensors"}]
        self.config["sets"].append({"name": name, "dataset": "data", "against": "negatives", "lr": "lr"})

    @property
    def path(self) -> Path:
        """The configuration as it is now, written."""
        path = self.folder / "bench.yaml"
        path.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return path

    def run(self, **options: Any) -> dict[str, Any]:
        from goldeye.evaluate.benchmark import run_benchmark

        return run_benchmark(self.path, self.out, device="cpu", **options)


def means(document: dict[str, Any], metric: str, set_name: str = "Drawn") -> dict[str, float | None]:
    """{model: mean}"""
    return {row["model"]: row["metrics"][metric]["mean"] for row in document["results"] if row["set"] == set_name}
