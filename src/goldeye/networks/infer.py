"""Which of our networks a state dict belongs to, and its settings, read off the key names and shapes.

What no key shows keeps the papers' value: RCAN's `res_scale`, ELAN's window sizes, SwinIR's `pad`, the colour mean and
range. Compact's activation, if it has no weights, is taken for LeakyReLU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# RRDBNet's layers in the later ESRGAN code (EDL's and AdaTarget's too), and in BasicSR's spelling.
_OLD_NAMES = {
    r"^RRDB_trunk\.(\d+)\.RDB(\d)\.": r"body.\1.rdb\2.",
    r"^trunk_conv\.": "conv_body.",
    r"^upconv(\d)\.": r"conv_up\1.",
    r"^HRconv\.": "conv_hr.",
}
# The first ESRGAN code's, which most community models of scale 4 have.
_OLDEST_NAMES = {
    r"^model\.0\.": "conv_first.",
    r"^model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0\.": r"body.\1.rdb\2.\3.",
    r"^model\.1\.sub\.\d+\.(weight|bias)$": r"conv_body.\1",
    r"^model\.3\.": "conv_up1.",
    r"^model\.6\.": "conv_up2.",
    r"^model\.8\.": "conv_hr.",
    r"^model\.10\.": "conv_last.",
}


def new_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the old ESRGAN's key names replaced by BasicSR's; others stay as they are."""
    if "RRDB_trunk.0.RDB1.conv1.weight" in state:
        names = _OLD_NAMES
    elif "model.1.sub.0.RDB1.conv1.0.weight" in state and "model.10.weight" in state:
        names = _OLDEST_NAMES
    else:
        return dict(state)
    renamed = {}
    for key, value in state.items():
        for old, new in names.items():
            key, found = re.subn(old, new, key)
            if found:
                break
        renamed[key] = value
    return renamed


def infer_architecture(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]] | None:
    """(architecture name, settings for `build_network`), or None when the keys are of no network of ours."""
    if "body.0.rdb1.conv1.weight" in state and "conv_up1.weight" in state:
        return _edl(state) if "branch1.0.block.0.weight" in state else _rrdbnet(state)
    if "body.0.rdb1.conv1.weight" in state and "conv_hr.weight" in state:
        return "rrdb-ps", {**_trunk(state), "num_in_ch": _in(state, "conv_first"), "scale": _shuffle_scale(state)}
    if "layers.0.residual_group.blocks.0.attn.relative_position_bias_table" in state:
        return _swinir(state)
    if "body.0.residual_group.0.rcab.0.weight" in state:
        return _rcan(state)
    if "body.0.modules_gmsa.gmsa_0.project_out.weight" in state:
        return _elan(state)
    if "body.0.conv1.weight" in state and "upconv1.weight" in state:
        return _srresnet(state)
    if "body.0.weight" in state and all(re.match(r"body\.\d+\.(weight|bias)$", key) for key in state):
        return _compact(state)
    if "conv1.weight_orig" in state and "conv9.weight" in state:
        return "unet-sn", {"num_in_ch": _in(state, "conv0"), "num_feat": _out(state, "conv0")}
    if "conv0_0.weight" in state and "bn4_1.weight" in state and "linear2.weight" in state:
        return "vgg-128", {"num_in_ch": _in(state, "conv0_0"), "num_feat": _out(state, "conv0_0")}
    if "model.0.weight" in state and "model.3.running_mean" in state:
        layers = _count(state, r"model\.(\d+)\.running_mean")
        return "patch-gan", {
            "num_in_ch": _in(state, "model.0"),
            "num_feat": _out(state, "model.0"),
            "num_layers": layers,
        }
    if "layer4.weight" in state and "bn3.weight" in state:
        return _locnet(state)
    return None


def _out(state: Mapping[str, Tensor], layer: str) -> int:
    return state[f"{layer}.weight"].shape[0]


def _in(state: Mapping[str, Tensor], layer: str) -> int:
    return state[f"{layer}.weight"].shape[1]


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers stand in the keys at the pattern's group."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _ratio(hidden: int, dim: int) -> float:
    """hidden / dim, so that `int(dim * ratio)` is `hidden`: the quotient may have been rounded down."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


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


def _edl(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    name, settings = _rrdbnet(state)
    scale = {"rrdb": 4, "rrdb-x2": 2, "rrdb-x1": 1}[name]
    return "edl-code" if "tail_conv1.weight" in state else "edl", {**settings, "scale": scale}


def _swinir(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    groups = range(_count(state, r"layers\.(\d+)\."))
    block = "layers.0.residual_group.blocks.0"
    table = "layers.{}.residual_group.blocks.0.attn.relative_position_bias_table"
    dim, colours, name = _out(state, "conv_first"), _in(state, "conv_first"), "swinir-classical"
    window = (math.isqrt(state[table.format(0)].shape[0]) + 1) // 2
    masks = [value.shape[0] for key, value in state.items() if key.endswith(".attn_mask")]
    settings: dict[str, Any] = {
        "in_chans": colours,
        "embed_dim": dim,
        "depths": [_count(state, rf"layers\.{i}\.residual_group\.blocks\.(\d+)\.") for i in groups],
        "num_heads": [state[table.format(i)].shape[1] for i in groups],
        "window_size": window,
        "mlp_ratio": _ratio(_out(state, f"{block}.mlp.fc1"), dim),
        "resi_connection": "1conv" if "conv_after_body.weight" in state else "3conv",
        "img_size": math.isqrt(masks[0]) * window if masks else 8 * window,
    }
    if window == 7:  # the official JPEG networks, the only ones that count colours in 0..255
        settings["img_range"] = 255.0
    if "conv_up1.weight" in state:
        name = "swinir-m" if settings["resi_connection"] == "1conv" else "swinir-l"
        settings |= {"upsampler": "nearest+conv", "scale": 4 if "conv_up2.weight" in state else 2}
    elif "conv_before_upsample.0.weight" in state:
        settings |= {"upsampler": "pixelshuffle", "scale": _shuffle_scale(state)}
    elif "upsample.0.weight" in state:
        scale = math.isqrt(_out(state, "upsample.0") // colours)
        settings |= {"upsampler": "pixelshuffledirect", "scale": scale}
    else:
        settings |= {"upsampler": "", "scale": 1}
    if "conv_before_upsample.0.weight" in state:
        settings["num_feat"] = _out(state, "conv_before_upsample.0")
    return name, settings


def _srresnet(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    factor = math.isqrt(_out(state, "upconv1") // _in(state, "upconv1"))
    return "srresnet", {
        "num_in_ch": _in(state, "conv_first"),
        "num_out_ch": _out(state, "conv_last"),
        "num_feat": _out(state, "conv_first"),
        "num_block": _count(state, r"body\.(\d+)\."),
        "scale": factor**2 if "upconv2.weight" in state else factor,
    }


def _compact(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    last = max(int(key.split(".")[1]) for key in state)
    colours = _in(state, "body.0")
    return "compact", {
        "num_in_ch": colours,
        "num_out_ch": colours,
        "num_feat": _out(state, "body.0"),
        "num_conv": last // 2 - 1,
        "scale": math.isqrt(_out(state, f"body.{last}") // colours),
        "act_type": "prelu" if "body.1.weight" in state else "leakyrelu",
    }


def _locnet(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]] | None:
    """The papers' patches, 7x7 and 9x9: their sizes cannot be told from their sum."""
    return ("locnet", {}) if _in(state, "layer1") == 3 * (7**2 + 9**2) else None


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
