"""Networks: one file each, nothing but modules. Pictures go in and come out as (B, 3, H, W) in [0, 1], RGB.

`NETWORKS` lists the classes, `ARCHITECTURES` the configurations of the papers under the names that commands, recipes
and files of weights use. A generator says

- `size_multiple`: its input's height and width must be multiples of that;
- `receptive_radius`: how many input pixels away an input pixel can change the output, None where there is no such bound
  (attention windows, means over the picture);
- `full_precision`: the layers that stay in float32 when the others run in half precision. What follows the first of
  them is in half precision, what follows the others, up to the output, in float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from goldeye.errors import InvalidInput, unknown_name
from goldeye.networks.compact import Compact
from goldeye.networks.edl import EDL
from goldeye.networks.elan import ELAN
from goldeye.networks.locnet import LocNet
from goldeye.networks.patchgan import PatchGAN
from goldeye.networks.rcan import RCAN
from goldeye.networks.rrdbnet import RRDBNet, RRDBPSNet
from goldeye.networks.srresnet import SRResNet
from goldeye.networks.swinir import SwinIR
from goldeye.networks.unet_sn import UNetDiscriminatorSN
from goldeye.networks.vgg128 import VGGDiscriminator128

__all__ = ["ARCHITECTURES", "NETWORKS", "Architecture", "build_network", "resolve_config"]

NETWORKS: dict[str, type[nn.Module]] = {
    "rrdbnet": RRDBNet,
    "rrdbnet-ps": RRDBPSNet,
    "swinir": SwinIR,
    "rcan": RCAN,
    "elan": ELAN,
    "srresnet": SRResNet,
    "compact": Compact,
    "edl": EDL,
    "unet-sn": UNetDiscriminatorSN,
    "vgg-128": VGGDiscriminator128,
    "patch-gan": PatchGAN,
    "locnet": LocNet,
}


@dataclass(frozen=True)
class Architecture:
    """A network and its settings; what `config` leaves out is the network's default, which is the paper's value."""

    network: str
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting with its value: the network's defaults, then `config`."""
        parameters = inspect.signature(NETWORKS[self.network]).parameters.values()
        return {p.name: p.default for p in parameters} | self.config

    @property
    def scale(self) -> int:
        """How many times larger the output is (1 for enhancers and discriminators)."""
        return int(self.settings.get("scale", 1))


ARCHITECTURES: dict[str, Architecture] = {
    "rrdb": Architecture("rrdbnet", {"scale": 4}),
    "rrdb-x2": Architecture("rrdbnet", {"scale": 2}),
    "rrdb-x1": Architecture("rrdbnet", {"scale": 1}),
    "rrdb-ps": Architecture("rrdbnet-ps", {"scale": 4}),
    "swinir-m": Architecture("swinir", {"scale": 4, "upsampler": "nearest+conv"}),
    "swinir-l": Architecture(
        "swinir",
        {
            "scale": 4,
            "upsampler": "nearest+conv",
            "resi_connection": "3conv",
            "embed_dim": 240,
            "depths": (6,) * 9,
            "num_heads": (8,) * 9,
        },
    ),
    "swinir-classical": Architecture("swinir", {"scale": 4, "upsampler": "pixelshuffle", "img_size": 48}),
    "rcan": Architecture("rcan", {"scale": 4}),
    "rcan-x1": Architecture("rcan", {"scale": 1}),
    "elan": Architecture("elan", {"scale": 4}),
    "elan-x1": Architecture("elan", {"scale": 1}),
    "srresnet": Architecture("srresnet", {"scale": 4}),
    "compact": Architecture("compact", {"scale": 4}),
    "edl": Architecture("edl", {"scale": 4, "structure": "paper"}),
    "edl-code": Architecture("edl", {"scale": 4, "structure": "code"}),
    "unet-sn": Architecture("unet-sn"),
    "vgg-128": Architecture("vgg-128"),
    "patch-gan": Architecture("patch-gan"),
    "locnet": Architecture("locnet"),
}


def resolve_config(architecture: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every setting of an architecture with its value, `overrides` in place of the paper's (JSON values only).

    Raises InvalidInput for an unknown architecture or setting.
    """
    if architecture not in ARCHITECTURES:
        raise unknown_name("architecture", architecture, ARCHITECTURES)
    config = ARCHITECTURES[architecture].settings
    for key, value in (overrides or {}).items():
        if key not in config:
            raise unknown_name(f"setting of {architecture}", key, config)
        config[key] = value
    return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}


def build_network(architecture: str, **overrides: Any) -> nn.Module:
    """A freshly initialised network of a named architecture, e.g. `build_network("rrdb-ps", num_feat=16, num_block=1)`.

    Raises InvalidInput for an unknown architecture or setting, and for values that make no network.
    """
    config = resolve_config(architecture, overrides)
    try:
        return NETWORKS[ARCHITECTURES[architecture].network](**config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise InvalidInput(f"These settings of {architecture} make no network: {error}.") from error
