"""Files of weights: our own `.safetensors` with the configuration in the header, and everybody else's.

Saved tensors keep the official key names, so BasicSR, spandrel and chaiNNer read them too.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from goldeye.errors import InvalidInput
from goldeye.files import atomic_path, sha256
from goldeye.networks import ARCHITECTURES, build_network, resolve_config
from goldeye.networks.infer import infer_architecture, new_names

FORMAT = 1
_WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to use: `module` is in evaluation mode and takes (B, 3, H, W) in [0, 1], RGB.

    `metadata` is the header of our own files and empty for others. `architecture` is a name of `ARCHITECTURES`, or
    spandrel's name for a community network (then `config` is empty).
    """

    module: nn.Module
    architecture: str
    config: dict[str, Any]
    scale: int
    metadata: dict[str, Any]
    path: Path

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the file."""
        return sha256(self.path)


class CommunityNetwork(nn.Module):
    """A network that spandrel built: pads to the size it needs, gives (B, 3, H·scale, W·scale) clipped to [0, 1]."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.network = descriptor.model
        self._call = descriptor

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._call(x)
        return out


def save_weights(
    path: Path,
    module: nn.Module,
    *,
    architecture: str,
    config: Mapping[str, Any],
    scale: int,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a network's state to `path` (.safetensors), whole or not at all.

    The header's entry `goldeye` is JSON: format, architecture, config (every setting), scale, parameters, and `extra`
    (JSON values, e.g. the recipe and the hash of the data).
    """
    header = {
        "format": FORMAT,
        "architecture": architecture,
        "config": resolve_config(architecture, config),
        "scale": scale,
        "parameters": sum(p.numel() for p in module.parameters()),
        **(extra or {}),
    }
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"goldeye": json.dumps(header, allow_nan=False)})


def load_model(name_or_path: str | Path, *, device: str = "cpu") -> LoadedModel:
    """Load a network from a file of weights or a run folder (its latest checkpoint).

    Reads our `.safetensors`; `.pth` and `.safetensors` of BasicSR's kind, the sizes inferred from the keys; and through
    spandrel the community's architectures. A pickle is read for tensors only: code in it is refused and never run.
    Raises InvalidInput naming the file and what was found in it.
    """
    path = _resolve(name_or_path)
    state, metadata = _read(path)
    if metadata:
        return _own(path, state, metadata, device)
    state = new_names(state)
    try:
        inferred = infer_architecture(state)
    except (KeyError, IndexError, ZeroDivisionError):  # some of the keys that the others promise are not there
        inferred = None
    if inferred is None:
        return _community(path, state, device)
    architecture, config = inferred[0], resolve_config(*inferred)
    module = _build(path, architecture, config, state, device)
    return LoadedModel(module, architecture, config, int(config.get("scale", 1)), {}, path)


def _resolve(name_or_path: str | Path) -> Path:
    """The file of weights that a name, file or run folder stands for."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        latest = path / "checkpoints" / "latest"
        if not latest.is_file():
            raise InvalidInput(
                f"The folder '{path}' holds no weights: it has no checkpoints/latest.",
                hint="Give the folder of a training run, or a file of weights.",
            )
        weights = latest.with_name(f"{latest.read_text(encoding='utf-8').strip()}.safetensors")
        if not weights.is_file():
            raise InvalidInput(f"The latest checkpoint of the run '{path}', '{weights.name}', is not there.")
        return weights
    if str(name_or_path) in ARCHITECTURES:
        raise InvalidInput(
            f"'{name_or_path}' is an architecture and has no weights of its own.",
            hint="Give a file of weights or the folder of a training run.",
        )
    raise InvalidInput(f"No file of weights and no run folder '{name_or_path}'.")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file by key, and our header (empty when the file is not ours)."""
    if path.suffix.lower() == ".safetensors":
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get("goldeye")
            return load_file(path), _header(path, header) if header is not None else {}
        except safetensors.SafetensorError as error:
            raise InvalidInput(f"'{path}' is not a whole .safetensors file: it is {_found(path)}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what matters becomes an error below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint can raise anything in the unpickler
        # A legitimate checkpoint is tensors, numbers and text; anything else needs code to be run while reading.
        if isinstance(error, pickle.UnpicklingError) and _found(path) in ("a zip archive", "a pickle"):
            name = re.search(r"GLOBAL (\S+)", str(error))
            what = f" ({name[1]})" if name else ""
            raise InvalidInput(
                f"'{path}' holds more than plain tensors{what}; it was refused, and nothing in it was run.",
                hint="Ask its author for a .safetensors file or a plain state dict.",
            ) from error
        raise InvalidInput(f"'{path}' is not a readable file of weights: it is {_found(path)}.") from error
    return _state_dict(path, content), {}


def _header(path: Path, text: str) -> dict[str, Any]:
    """Our header, checked."""
    try:
        header: dict[str, Any] = json.loads(text)
        version = int(header["format"])
        if version <= FORMAT:
            resolve_config(header["architecture"], header["config"])
            int(header["scale"])
    except (KeyError, TypeError, ValueError, AttributeError, InvalidInput) as error:
        reason = error.message if isinstance(error, InvalidInput) else "its Goldeye entry is damaged."
        raise InvalidInput(f"The header of '{path}' cannot be used: {reason}") from error
    if version > FORMAT:
        raise InvalidInput(f"'{path}' was written by a newer Goldeye (format {version}; this one reads {FORMAT}).")
    return header


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict in a checkpoint: bare, or under one of the usual names."""
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        keys = f"the keys {_some(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise InvalidInput(f"'{path}' holds no state dict: found {keys}.")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _own(path: Path, state: dict[str, Tensor], metadata: dict[str, Any], device: str) -> LoadedModel:
    architecture = metadata["architecture"]
    config = resolve_config(architecture, metadata["config"])
    module = _build(path, architecture, config, state, device)
    return LoadedModel(module, architecture, config, int(metadata["scale"]), metadata, path)


def _build(
    path: Path, architecture: str, config: Mapping[str, Any], state: dict[str, Tensor], device: str
) -> nn.Module:
    """The network with the file's weights, in evaluation mode on `device`."""
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away: leave the caller's generator alone
        module = build_network(architecture, **config)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        expected, found = set(module.state_dict()), set(state)
        missing, unknown = _some(expected - found), _some(found - expected)
        detail = f"missing {missing}, unexpected {unknown}" if expected != found else "the shapes differ"
        raise InvalidInput(f"The weights in '{path}' do not fit its architecture {architecture}: {detail}.") from error
    return module.to(device).eval()


def _community(path: Path, state: dict[str, Tensor], device: str) -> LoadedModel:
    """A network that is not ours, through spandrel."""
    import spandrel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated calls in the architectures' own code
            descriptor = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(state))
    except Exception as error:  # detection by a few keys, then whatever the architecture's own code raises
        raise InvalidInput(
            f"'{path}' holds no network that Goldeye or spandrel knows: {len(state)} tensors, {_some(state)}."
        ) from error
    name = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or descriptor.input_channels != 3:
        raise InvalidInput(f"'{path}' holds a {name} network that does not take an RGB picture.")
    descriptor.to(device).float().eval()
    return LoadedModel(CommunityNetwork(descriptor), name, {}, int(descriptor.scale), {}, path)


def _some(keys: Any, limit: int = 3) -> str:
    """A few names of many: "'a', 'b', 'c' and 5 more"."""
    names = sorted(str(key) for key in keys)
    shown = ", ".join(f"'{name}'" for name in names[:limit]) or "nothing"
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


_SIGNATURES = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"RIFF": "a WebP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"PK\x03\x04": "a zip archive",
    b"\x80": "a pickle",
    b"version https://git-lfs": "a Git LFS pointer (the file itself was not downloaded)",
}


def _found(path: Path) -> str:
    """What a file looks like from its first bytes."""
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        return "empty"
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    return "text" if head.isascii() and b"\0" not in head else "damaged or of an unknown kind"


def require_picture_network(model: LoadedModel, device: str) -> None:
    """Refuse, before any work, a network that does not make RGB pictures of its scale (a discriminator, a grey one)."""
    side = 32  # a multiple of what every network here asks for
    try:
        with torch.inference_mode():
            shape = tuple(model.module(torch.zeros(1, 3, side, side, device=device)).shape)
    except RuntimeError:
        shape = None
    if shape != (1, 3, side * model.scale, side * model.scale):
        raise InvalidInput(f"'{model.path}' holds a network ({model.architecture}) that does not make RGB pictures.")
