"""What `goldeye models` says: architectures with their exact sizes, known weights, and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from goldeye.networks import ARCHITECTURES, build_network, resolve_config
from goldeye.networks.known import KnownModel, find_known, known_models
from goldeye.networks.weights import LoadedModel, find_file, load_model

# Where each network comes from, and the licence of what is in Goldeye.
PAPERS = {
    "rrdbnet": "ESRGAN (Wang et al., 2018); x2 and x1 as in Real-ESRGAN (Wang et al., 2021)",
    "rrdbnet-ps": "HGGT (Chen et al., 2023): ESRGAN's trunk with a PixelShuffle upsampler",
    "swinir": "SwinIR (Liang et al., 2021)",
    "rcan": "RCAN (Zhang et al., 2018); x1, without upsampler, as in HGGT (Chen et al., 2023)",
    "elan": "ELAN (Zhang et al., 2022); x1 as in HGGT (Chen et al., 2023)",
    "srresnet": "SRResNet of SRGAN (Ledig et al., 2017), BasicSR's form without batch normalisation",
    "compact": "Real-ESRGAN (Wang et al., 2021), its compact VGG-style network",
    "edl": "EDL (Li et al., 2022)",
    "locnet": "AdaTarget (Jo et al., 2021)",
    "unet-sn": "discriminator of Real-ESRGAN (Wang et al., 2021)",
    "vgg-128": "discriminator of ESRGAN (Wang et al., 2018)",
    "patch-gan": "discriminator of pix2pix (Isola et al., 2017), as in EDL",
}
LICENCE = "Apache-2.0"
NOT_STATED = "not stated"


def list_models() -> list[dict[str, Any]]:
    """Every architecture and every known model, one JSON object each."""
    architectures = []
    for name, architecture in ARCHITECTURES.items():
        parameters, _ = count_parameters(name, {})
        architectures.append(
            {
                "name": name,
                "kind": "architecture",
                "scale": architecture.scale,
                "parameters": parameters,
                "source": PAPERS[architecture.network],
            }
        )
    weights = [
        {
            "name": model.name,
            "kind": "weights",
            "architecture": model.architecture,
            "scale": model.scale,
            "licence": model.licence,
            "source": model.source,
            "summary": model.summary,
            "bundled": model.bundled,
            "cached": model.cached,
        }
        for model in known_models().values()
    ]
    return architectures + weights


def describe(name: str) -> dict[str, Any]:
    """The JSON object of `goldeye models info`, for a file or run folder, a known model or an architecture.

    Nothing is fetched: a known model that is not in the cache is described from the index. Raises InvalidInput for
    what is none of these.
    """
    known = find_known(name)
    if find_file(name) is None:
        if known is not None and not known.bundled and not known.cached:
            return _known(known)
        if name in ARCHITECTURES:
            return _architecture(name)
    return _file(name, load_model(name))


def count_parameters(architecture: str, config: Mapping[str, Any]) -> tuple[int, int]:
    """(all, trainable) parameters of the network, counted in the built one; the random generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        return _count(build_network(architecture, **config))


def _count(module: nn.Module) -> tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trainable in sizes if trainable)


def _architecture(name: str) -> dict[str, Any]:
    parameters, trainable = count_parameters(name, {})
    return {
        "name": name,
        "kind": "architecture",
        "architecture": name,
        "scale": ARCHITECTURES[name].scale,
        "parameters": parameters,
        "trainable": trainable,
        "config": resolve_config(name),
        "source": PAPERS[ARCHITECTURES[name].network],
        "licence": LICENCE,
        "weights": [model.name for model in known_models().values() if model.architecture == name],
    }


def _known(model: KnownModel) -> dict[str, Any]:
    """From the index alone. The parameters of a network that is not ours are only known from its file (null)."""
    config = model.settings
    parameters, trainable = (None, None) if config is None else count_parameters(model.architecture, config)
    return {
        "name": model.name,
        "kind": "weights",
        "architecture": model.architecture,
        "scale": model.scale,
        "parameters": parameters,
        "trainable": trainable,
        "config": config or {},
        "source": model.source,
        "licence": model.licence,
        "summary": model.summary,
        "bundled": False,
        "url": model.url,
        "file": str(model.path),
        "cached": False,
        "sha256": model.sha256,
    }


def _file(name: str, model: LoadedModel) -> dict[str, Any]:
    """Of a file of weights; one with a known model's SHA-256 has its source and licence, whatever the file's name."""
    models = known_models().values()
    known = next((known for known in models if known.sha256 == model.sha256 or known.path == model.path), None)
    parameters, trainable = _count(model.module)
    own = ("format", "architecture", "config", "scale", "parameters")
    header = {key: value for key, value in model.metadata.items() if key not in own}
    found = {
        "name": known.name if known else name,
        "kind": "weights",
        "architecture": model.architecture,
        "scale": model.scale,
        "parameters": parameters,
        "trainable": trainable,
        "config": model.config,
        "source": known.source if known else f"recipe {header['recipe']}" if "recipe" in header else NOT_STATED,
        "licence": known.licence if known else header.get("licence", NOT_STATED),
        "file": str(model.path),
        "sha256": model.sha256,
        "header": header,
    }
    if known is not None:
        found |= {"summary": known.summary, "bundled": known.bundled, "cached": known.cached}
        found |= {"card": str(known.card)} if known.bundled else {"url": known.url}
    return found


def list_text(rows: list[dict[str, Any]]) -> str:
    """The list for people."""
    lines = ["Architectures (`goldeye train` makes weights for them):"]
    lines += [
        f"  {row['name']:18} x{row['scale']}  {row['parameters']:>11,}  {row['source']}"
        for row in rows
        if row["kind"] == "architecture"
    ]
    bundled = [row for row in rows if row["kind"] == "weights" and row["bundled"]]
    others = [row for row in rows if row["kind"] == "weights" and not row["bundled"]]
    lines += ["Models that come with Goldeye (`goldeye models info NAME`; terms of their data: WEIGHTS_LICENSE):"]
    lines += [f"  {row['name']:27} x{row['scale']}  {row['summary']}" for row in bundled]
    lines += ["Known weights of others (`-n NAME` fetches them once; * is here already):"]
    lines += [
        f" {'*' if row['cached'] else ' '}{row['name']:27} x{row['scale']}  {row['licence']:13} {row['summary']}"
        for row in others
    ]
    return "\n".join(lines)


def description_text(found: dict[str, Any]) -> str:
    """One model for people."""
    names = {key: value for key, value in found.items() if value not in (None, {}, [])}
    for key in ("parameters", "trainable"):
        if key in names:
            names[key] = f"{names[key]:,}"
    for key in ("config", "header"):
        if key in names:
            names[key] = ", ".join(f"{setting} {value}" for setting, value in names[key].items())
    if "weights" in names:
        names["weights"] = ", ".join(names["weights"])
    return "\n".join(f"{key}: {value}" for key, value in names.items())
