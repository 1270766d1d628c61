"""Photos and a labelled dataset to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goldeye.dataset.groups import DatasetSettings, DatasetWriter, Enhancer
from goldeye.files import write_json
from goldeye.images import write_image
from training_data import VOTES, noisy


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        write_image(folder / f"{number}.png", noisy(number))
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    enhancers = tuple(Enhancer(name=f"e{slot}", slot=slot) for slot in ("01", "02", "03"))
    writer = DatasetWriter(folder, DatasetSettings(patch_size=40, enhancers=enhancers))
    for number, name in enumerate(VOTES):
        pictures = {slot: noisy(100 * number + int(slot)) for slot in ("01", "02", "03")}
        writer.add(name, noisy(1000 + number), pictures, source=f"{name}.png", source_sha256="", y=0, x=0, scores={})
    writer.finish({f"{name}.png": "train" for name in VOTES})
    words = {"P": "Positive", "S": "Similar", "N": "Negative"}
    for name, columns in VOTES.items():
        for voter, slot in enumerate("ABC"):
            document: dict[str, Any] = {"Picture_1": {"Name": f"{name}.png", "File": "original", "Label": None}}
            for place, votes in enumerate(columns, 1):
                label = words[votes[voter]]
                document[f"Picture_{place + 1}"] = {"Name": f"{name}_0{place}.png", "File": f"0{place}", "Label": label}
            document["Time_cost"] = {"Start": "2026-01-01 00:00:00", "End": "2026-01-01 00:00:20", "Total": 20}
            write_json(folder / "labels" / "0-4" / slot / f"{name}.json", document)
    return folder
