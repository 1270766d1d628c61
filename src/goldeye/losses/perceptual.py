"""The perceptual term: distances between VGG19 features before ReLU."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goldeye.errors import InvalidInput

# REFERENCE §3: the weights of the five layers, and the single layer of ESRGAN.
LAYERS: dict[str, dict[str, float]] = {
    "five": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
    "conv5_4": {"conv5_4": 1.0},
}
_CHANNELS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)  # VGG19, a tuple a stage
_NAMES = [f"conv{stage}_{number}" for stage, row in enumerate(_CHANNELS, 1) for number in range(1, len(row) + 1)]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, for pictures in [0, 1]
IMAGENET_FILE = "vgg19-dcbb9e9d.pth"  # torchvision's name, whose tail is the beginning of the SHA-256


class VGG19Features(nn.Module):
    """The convolutions of VGG19 up to the deepest layer asked for; frozen."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Mapping[str, float], state: Mapping[str, Tensor]) -> None:
        """`state` has torchvision's keys `features.N.weight` and `features.N.bias`."""
        super().__init__()
        self.layers = dict(layers)
        self.convs = nn.ModuleDict()
        deepest = max(_NAMES.index(name) for name in layers)
        index, in_channels = 0, 3
        for stage, row in enumerate(_CHANNELS, 1):
            for number, out_channels in enumerate(row, 1):
                if len(self.convs) > deepest:
                    break
                conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
                conv.load_state_dict({kind: state[f"features.{index}.{kind}"] for kind in ("weight", "bias")})
                self.convs[f"conv{stage}_{number}"] = conv
                in_channels = out_channels
                index += 2  # the ReLU between
            index += 1  # the pooling layer
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: (B, 3, H, W) in [0, 1] -> features before ReLU by layer name, (B, C, H / 2^k, W / 2^k)."""
        features: dict[str, Tensor] = {}
        x = (x - self.mean) / self.std
        for name, conv in self.convs.items():
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            x = conv(x)
            if name in self.layers:
                features[name] = x
            x = F.relu(x)
        return features


def perceptual_loss(vgg: VGG19Features, sr: Tensor, gt: Tensor) -> Tensor:
    """Sum over the layers of weight * mean |features(sr) - features(gt)|; sr, gt: (B, 3, H, W) in [0, 1].

    The target's features carry no gradient. Computed in float32.
    """
    with torch.no_grad():
        targets = vgg(gt.float())
    features = vgg(sr.float())
    terms = [weight * F.l1_loss(features[name], targets[name]) for name, weight in vgg.layers.items()]
    return torch.stack(terms).sum()


def load_vgg19(layers: str, weights: str) -> VGG19Features:
    """VGG19 with `weights` imagenet (torchvision's file, found or fetched) or random (seeded; tests, offline runs)."""
    state = random_vgg19_state() if weights == "random" else _imagenet_state()
    return VGG19Features(LAYERS[layers], state)


@lru_cache(maxsize=1)
def random_vgg19_state() -> dict[str, Tensor]:
    """He-initialised weights of VGG19 that are the same on every machine: numpy's frozen RandomState(1000 + layer)."""
    state: dict[str, Tensor] = {}
    index, in_channels, layer = 0, 3, 0
    for row in _CHANNELS:
        for out_channels in row:
            random = np.random.RandomState(1000 + layer)  # its stream never changes between versions
            weight = random.standard_normal((out_channels, in_channels, 3, 3)) * np.sqrt(2 / (9 * in_channels))
            bias = random.standard_normal(out_channels) * 0.05
            state[f"features.{index}.weight"] = torch.from_numpy(weight.astype(np.float32))
            state[f"features.{index}.bias"] = torch.from_numpy(bias.astype(np.float32))
            index, in_channels, layer = index + 2, out_channels, layer + 1
        index += 1
    return state


def imagenet_path() -> Path:
    """Where torchvision keeps VGG19's weights on this machine."""
    return Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE


def _imagenet_state() -> dict[str, Tensor]:
    from torchvision.models import VGG19_Weights

    try:
        with redirect_stdout(sys.stderr):  # torch.hub tells there what it fetches; stdout is for `--json`'s document
            state = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise InvalidInput(
            "VGG19's ImageNet weights are not here and cannot be fetched; "
            f"place '{IMAGENET_FILE}' at '{imagenet_path()}'.",
            hint="Without them, --set losses.perceptual.weights=random trains on a seeded random VGG19.",
        ) from error
    return cast(dict[str, Tensor], state)
