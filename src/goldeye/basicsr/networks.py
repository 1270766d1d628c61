"""Networks of BasicSR's option files as architectures of Goldeye."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from goldeye.basicsr.options import Options, shown
from goldeye.errors import InvalidInput
from goldeye.networks import ARCHITECTURES, build_network, resolve_config


@dataclass(frozen=True)
class Kind:
    """A network class of BasicSR's family: the network of ours, the names of its settings (theirs are the same), and
    the defaults of theirs that differ from ours."""

    network: str
    settings: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scale: int | None = None  # its default scale; None: it has none of its own
    fixed: Mapping[str, Any] = field(default_factory=dict)  # settings that ours has at this value only
    without_effect: tuple[str, ...] = ()


_PICTURE = ("num_in_ch", "num_out_ch", "num_feat")
_SWINIR = ("in_chans", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "upsampler")
GENERATORS = {
    "RRDBNet": Kind("rrdbnet", (*_PICTURE, "num_block", "num_grow_ch"), scale=4),
    "RRDBPSNet": Kind("rrdbnet-ps", (*_PICTURE, "num_block", "num_grow_ch"), scale=4),
    "MSRResNet": Kind("srresnet", (*_PICTURE, "num_block"), scale=4),
    "RCAN": Kind(
        "rcan",
        (*_PICTURE, "num_group", "num_block", "squeeze_factor", "res_scale", "img_range", "rgb_mean"),
        {"num_block": 16},
        scale=4,
    ),
    "SRVGGNetCompact": Kind("compact", (*_PICTURE, "num_conv", "act_type"), {"num_conv": 16}, scale=4),
    "SwinIR": Kind(
        "swinir",
        (*_SWINIR, "resi_connection", "img_range", "img_size", "drop_path_rate"),
        {
            "embed_dim": 96,
            "depths": [6, 6, 6, 6],
            "num_heads": [6, 6, 6, 6],
            "window_size": 7,
            "mlp_ratio": 4.0,
            "upsampler": "",
        },
        scale=2,
        fixed={
            "patch_size": 1,
            "qkv_bias": True,
            "qk_scale": None,
            "drop_rate": 0,
            "attn_drop_rate": 0,
            "ape": False,
            "patch_norm": True,
        },
        without_effect=("use_checkpoint",),
    ),
    "ELAN": Kind("elan", ("colors", "m_elan", "c_elan", "n_share", "r_expand", "window_sizes"), scale=4),
}
_VGG = Kind("vgg-128", ("num_in_ch", "num_feat"), fixed={"input_size": 128})
DISCRIMINATORS = {
    "UNetDiscriminatorSN": Kind("unet-sn", ("num_in_ch", "num_feat", "skip_connection")),
    "VGGStyleDiscriminator": _VGG,
    "VGGStyleDiscriminator128": _VGG,
}


def generator(options: Options) -> tuple[dict[str, Any], int]:
    """The recipe's `generator` from `network_g`, and the run's scale; InvalidInput for a network that ours are not."""
    kind = _kind(options, "network_g", GENERATORS)
    found = options.integer("scale", "scale")
    own = [value for name in ("scale", "upscale") if (value := options.integer(f"network_g.{name}", "scale"))]
    made = own[0] if own else kind.scale
    scale = made if found is None else found
    assert scale is not None, "every generator has a scale"
    if made != scale:
        raise InvalidInput(f"'{options.source}' is for scale {scale}, but its network_g makes scale {made}.")
    return _network(options, "network_g", "generator", kind, scale), scale


def discriminator(options: Options) -> dict[str, Any]:
    """The recipe's `discriminator` from `network_d`; InvalidInput for one that ours are not."""
    return _network(options, "network_d", "discriminator", _kind(options, "network_d", DISCRIMINATORS), None)


def _kind(options: Options, place: str, known: Mapping[str, Kind]) -> Kind:
    setting = "generator.architecture" if place == "network_g" else "discriminator.architecture"
    name = options.text(f"{place}.type", setting)
    if name is None:
        raise options.required(f"{place}.type")
    if name not in known:
        other = " A recipe with `generator: {architecture: community, init: WEIGHTS}` trains what spandrel reads."
        raise InvalidInput(
            f"'{options.source}' trains the network {shown(name)} ({place}), which cannot be brought over.",
            hint=f"Known: {', '.join(known)}." + (other if known is GENERATORS else ""),
        )
    return known[name]


def _network(options: Options, place: str, name: str, kind: Kind, scale: int | None) -> dict[str, Any]:
    wanted = dict(kind.defaults) | ({} if scale is None else {"scale": scale})
    for key in kind.settings:
        value = options.map(f"{place}.{key}", f"{name}.settings.{key}")
        if value is not None:
            wanted[key] = value
    for key, value in kind.fixed.items():
        options.ignore_if(
            f"{place}.{key}", value, "as Goldeye's network has it", f"Goldeye's network has {shown(value)} only"
        )
    for key in kind.without_effect:
        options.ignore(f"{place}.{key}", "changes memory and time, not the result")
    architecture, settings = _nearest(kind.network, wanted)
    init = options.text(f"path.pretrain_{place}", f"{name}.init")
    try:
        with torch.device("meta"):  # no memory, no numbers: only whether the settings make a network
            build_network(architecture, **settings)
    except (InvalidInput, AttributeError, IndexError) as error:
        raise InvalidInput(f"In '{options.source}': {place} makes no network ({error}).") from error
    found: dict[str, Any] = {"architecture": architecture}
    return found | ({"settings": settings} if settings else {}) | ({"init": init} if init else {})


def _nearest(network: str, wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The architecture of `network` that differs least from the settings wanted, and the settings that differ."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, architecture in ARCHITECTURES.items():
        if architecture.network == network:
            has = resolve_config(name)
            found.append((name, {key: value for key, value in wanted.items() if has[key] != value}))
    return min(found, key=lambda item: len(item[1]))
