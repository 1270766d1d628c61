"""What a base installation does on every system, through the real command: needs nothing beside the base and pytest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # each starts the command; the workflow's matrix runs them on every system


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of 24x32 pixels (one in a folder with letters of two alphabets), and a small x4 network."""
    from goldeye.images import write_image
    from goldeye.networks import build_network
    from goldeye.networks.weights import save_weights

    place = tmp_path_factory.mktemp("smoke")
    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    picture = np.stack([np.tile(ramp, (24, 1)), np.tile(ramp[::-1], (24, 1)), np.full((24, 32), 90, np.uint8)], 2)
    write_image(place / "photos" / "one.png", picture)
    write_image(place / "photos" / "zwölf Ж" / "two.png", picture[::-1])
    small = {"num_feat": 8, "num_conv": 2}
    save_weights(
        place / "small.safetensors", build_network("compact", **small), architecture="compact", config=small, scale=4
    )
    return place


def goldeye(folder: Path, *argv: str, status: int = 0) -> Any:
    """The command's JSON document, run in `folder` as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "goldeye", *argv, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == status, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_doctor_finds_nothing_broken(folder: Path) -> None:
    assert goldeye(folder, "doctor")["problems"] == []


def test_upscale_a_folder_and_measure_it(folder: Path) -> None:
    from goldeye.images import image_size

    made = goldeye(folder, "upscale", "photos", "-o", "large", "-n", "small.safetensors", "--device", "cpu")
    assert [Path(item["output"]).as_posix() for item in made["done"]] == ["large/one.png", "large/zwölf Ж/two.png"]
    assert image_size(folder / "large" / "zwölf Ж" / "two.png") == (96, 128)
    again = goldeye(folder, "upscale", "photos", "-o", "large", "-n", "small.safetensors", "--device", "cpu")
    assert (len(again["done"]), len(again["skipped"])) == (0, 2)
    jpeg = goldeye(folder, "upscale", "photos/one.png", "-o", "j", "-n", "small.safetensors", "-s", "2", "--ext", "jpg")
    assert image_size(folder / jpeg["done"][0]["output"]) == (48, 64)

    same = goldeye(folder, "evaluate", "photos", "--gt", "photos", "--metrics", "ssim")
    assert same["images"] == 2
    assert same["metrics"]["ssim"]["mean"] == 1.0


def test_what_ships_is_listed(folder: Path) -> None:
    assert "hggt/rrdb-posneg" in {row["name"] for row in goldeye(folder, "recipes", "list")["recipes"]}
    assert "rrdb" in {row["name"] for row in goldeye(folder, "models", "list")["models"]}
    assert goldeye(folder, "models", "info", "small.safetensors")["kind"] == "weights"


def test_bad_input_is_one_sentence(folder: Path) -> None:
    found = goldeye(folder, "upscale", "nowhere", "-o", "out", "-n", "small.safetensors", status=2)
    assert "nowhere" in found["error"]["message"]
    assert not (folder / "out").exists()
