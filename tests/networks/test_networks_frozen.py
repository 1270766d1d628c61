"""Our own numbers on seeded weights, frozen while they agreed with the official ones.

`python tests/networks/test_networks_frozen.py` writes them anew: only after the golden tests passed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from goldeye.networks import build_network

FROZEN = Path(__file__).resolve().parents[1] / "frozen" / "networks.json"
SMALL: dict[str, dict[str, Any]] = {
    "rrdb": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rrdb-x2": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rrdb-x1": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rrdb-ps": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "rcan": {"num_feat": 8, "num_group": 1, "num_block": 2, "squeeze_factor": 4, "scale": 3},
    "rcan-x1": {"num_feat": 8, "num_group": 1, "num_block": 2, "squeeze_factor": 4},
    "elan": {"m_elan": 2, "c_elan": 15, "scale": 2},
    "elan-x1": {"m_elan": 4, "c_elan": 15, "n_share": 1},
    "swinir-m": {"embed_dim": 12, "depths": (2, 1), "num_heads": (2, 3), "num_feat": 4, "img_size": 16},
    "swinir-l": {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "num_feat": 4, "scale": 2, "pad": "hggt"},
    "swinir-classical": {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "num_feat": 4, "scale": 3},
    "srresnet": {"num_feat": 8, "num_block": 2},
    "compact": {"num_feat": 8, "num_conv": 3},
    "edl": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "edl-code": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "unet-sn": {"num_feat": 4},
    "vgg-128": {"num_feat": 2},
    "patch-gan": {"num_feat": 4},
    "locnet": {"sr_size": 3, "gt_size": 5},
}
# Of the input; elsewhere a picture of 24x32.
SHAPES = {"vgg-128": (1, 3, 128, 128), "locnet": (4, 102)}


def fill(network: nn.Module) -> None:
    """Weights from numpy's generator, which gives the same numbers with every version of torch."""
    rng = np.random.default_rng(7)
    for key, value in network.state_dict().items():
        computed = ("shift_conv.weight", "num_batches_tracked", "attn_mask", "relative_position_index")
        if key.endswith(computed) or "_mean." in key:
            continue
        fan_in = max(1, value[0].numel()) if value.ndim > 1 else 1
        numbers = rng.standard_normal(value.shape) / np.sqrt(fan_in)
        if key.endswith("running_var"):
            numbers = 0.5 + numbers**2
        if key.endswith(("weight_u", "weight_v")):
            numbers = numbers / np.linalg.norm(numbers)
        value.copy_(torch.from_numpy(numbers))


def numbers(architecture: str) -> list[float]:
    """Mean, standard deviation and three pixels of the output for a seeded input; all of a small output."""
    network = build_network(architecture, **SMALL[architecture]).eval()
    fill(network)
    shape = SHAPES.get(architecture, (1, 3, 24, 32))
    image = torch.from_numpy(np.random.default_rng(8).random(shape, np.float32))
    with torch.no_grad():
        if architecture == "unet-sn":  # random vectors are no singular vectors: some power iterations first
            network.train()
            for _ in range(10):
                network(image)
            network.eval()
        out = network(image).double()
    if out.ndim < 4 or out.shape[-1] < 12:  # a few logits or matrices
        return [round(float(v), 6) for v in out.flatten()]
    picks = [out[0, 0, 0, 0], out[0, -1, 7, 11], out[0, -1, -1, -1]]
    return [round(float(v), 6) for v in (out.mean(), out.std(), *picks)]


@pytest.mark.parametrize("architecture", SMALL)
def test_output_stays(architecture: str) -> None:
    expected = json.loads(FROZEN.read_text())[architecture]
    assert numbers(architecture) == pytest.approx(expected, rel=2e-5, abs=2e-5)


if __name__ == "__main__":
    FROZEN.write_text(json.dumps({name: numbers(name) for name in SMALL}, indent=1) + "\n")
