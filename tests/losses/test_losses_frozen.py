"""A few numbers of our own, frozen when the losses agreed with the official implementations.

They hold parity where the golden files are absent. `python tests/losses/test_losses_frozen.py` writes them again.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from goldeye.losses.adversarial import discriminator_loss, generator_loss
from goldeye.losses.artifact_map import artifact_loss, artifact_map
from goldeye.losses.negative_map import indication_map, negative_loss
from goldeye.losses.perceptual import load_vgg19, perceptual_loss
from goldeye.losses.pixel import pixel_loss

FILE = Path(__file__).resolve().parents[1] / "frozen" / "losses.json"


def values() -> dict[str, float]:
    """Every loss on seeded inputs."""
    random = np.random.RandomState(7)  # its stream never changes between versions

    def tensor(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.random_sample(shape).astype(np.float32))

    sr, negative, positive, original = (tensor(3, 3, 20, 24) for _ in range(4))
    indication = indication_map(
        negative,
        positive,
        original,
        negative_weight=torch.tensor([1.0, 2 / 3, 1 / 3]),
        positive_weight=torch.tensor([2 / 3, 1.0, 1.0]),
        has_positive=torch.tensor([True, True, False]),
    )
    found = {
        "pixel": pixel_loss(sr, original),
        "negative": negative_loss(sr, negative, indication, torch.tensor([True, True, False])),
        "indication": indication.mean(),
        "artifact map": artifact_map(sr, original, positive).mean(),
        "artifact": artifact_loss(sr, original, artifact_map(sr, original, positive)),
        "perceptual five": perceptual_loss(load_vgg19("five", "random"), sr[:1], original[:1]),
        "perceptual conv5_4": perceptual_loss(load_vgg19("conv5_4", "random"), sr[:1], original[:1]),
    }
    real, fake = 4 * tensor(2, 1, 6, 6) - 2, 4 * tensor(2, 1, 6, 6) - 2
    for kind in ("vanilla", "lsgan", "ragan"):
        found[f"{kind} generator"] = generator_loss(kind, fake, real)
        found[f"{kind} real"], found[f"{kind} fake"] = discriminator_loss(kind, real, fake)
    return {name: value.item() for name, value in found.items()}


def test_losses_give_the_frozen_numbers() -> None:
    assert values() == pytest.approx(json.loads(FILE.read_text()), rel=1e-5)


if __name__ == "__main__":
    FILE.write_text(json.dumps(values(), indent=1) + "\n")
