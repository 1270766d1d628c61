"""Which of our networks a state dict belongs to, and its settings, read off the key names and shapes.

What no key shows keeps the papers' value: RCAN's `res_scale`, ELAN's window sizes, the colour mean and range.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# The first ESRGAN code's names for RRDBNet's layers, and BasicSR's.
_OLD_NAMES = {
    r"^RRDB_trunk\.(\d+)\.RDB(\d)\.": r"body.\1.rdb\2.",
    r"^trunk_conv\.": "conv_body.",
    r"^upconv(\d)\.": r"conv_up\1.",
    r"^HRconv\.": "conv_hr.",
}


def new_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the old ESRGAN's key names replaced by BasicSR's; others stay as they are."""
    renamed = {}
    for key, value in state.items():
        for old, new in _OLD_NAMES.items():
            key = re.sub(old, new, key)
        renamed[key] = value
    return renamed


def infer_architecture(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]] | None:
    """(architecture name, settings for `build_network`), or None when the keys are of no network of ours."""
    if "body.0.rdb1.conv1.weight" in state and "conv_up1.weight" in state:
        return _rrdbnet(state)
    if "body.0.rdb1.conv1.weight" in state and "conv_hr.weight" in state:
        return "rrdb-ps", {**_trunk(state), "num_in_ch": _in(state, "conv_first"), "scale": _shuffle_scale(state)}
    if "body.0.residual_group.0.rcab.0.weight" in state:
        return _rcan(state)
    if "body.0.modules_gmsa.gmsa_0.project_out.weight" in state:
        return _elan(state)
    if "conv1.weight_orig" in state and "conv9.weight" in state:
        return "unet-sn", {"num_in_ch": _in(state, "conv0"), "num_feat": _out(state, "conv0")}
    return None


def _out(state: Mapping[str, Tensor], layer: str) -> int:
    return state[f"{layer}.weight"].shape[0]


def _in(state: Mapping[str, Tensor], layer: str) -> int:
    return state[f"{layer}.weight"].shape[1]


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers stand in the keys at the pattern's group."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _shuffle_scale(state: Mapping[str, Tensor]) -> int:
    """Scale of `pixelshuffle_upsampler`: every one of its convolutions makes r² times the channels."""
    layers = sorted({key.rsplit(".", 1)[0] for key in state if key.startswith("upsample.")})
    return math.prod(math.isqrt(_out(state, layer) // _in(state, layer)) for layer in layers)


def _trunk(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "num_out_ch": _out(state, "conv_last"),
        "num_feat": _out(state, "conv_first"),
        "num_block": _count(state, r"body\.(\d+)\."),
        "num_grow_ch": _out(state, "body.0.rdb1.conv1"),
    }


def _rrdbnet(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    trunk = _trunk(state)
    # At x2 and x1 the first layer sees 2x2 or 4x4 pixels in its channels; RRDBNet's input has its output's channels.
    unshuffle = math.isqrt(_in(state, "conv_first") // trunk["num_out_ch"])
    name = {1: "rrdb", 2: "rrdb-x2", 4: "rrdb-x1"}.get(unshuffle, "rrdb")
    return name, {**trunk, "num_in_ch": _in(state, "conv_first") // unshuffle**2}


def _rcan(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    scale = _shuffle_scale(state)
    squeezed = _out(state, "body.0.residual_group.0.rcab.3.attention.1")
    return "rcan" if scale > 1 else "rcan-x1", {
        "num_in_ch": _in(state, "conv_first"),
        "num_out_ch": _out(state, "conv_last"),
        "num_feat": _out(state, "conv_first"),
        "num_group": _count(state, r"body\.(\d+)\."),
        "num_block": _count(state, r"body\.0\.residual_group\.(\d+)\."),
        "squeeze_factor": _out(state, "conv_first") // squeezed,
        "scale": scale,
    }


def _elan(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    channels, colors = _out(state, "head.0"), _in(state, "head.0")
    pairs = _count(state, r"body\.0\.modules_lfe\.lfe_(\d+)\.")
    scale = math.isqrt(_out(state, "tail.0") // colors)
    return "elan" if scale > 1 else "elan-x1", {
        "colors": colors,
        "m_elan": _count(state, r"body\.(\d+)\.") * pairs,
        "c_elan": channels,
        "n_share": pairs - 1,
        "r_expand": _out(state, "body.0.modules_lfe.lfe_0.conv0.shift_conv.conv1x1") // channels,
        "scale": scale,
    }
