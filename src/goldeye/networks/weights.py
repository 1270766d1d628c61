"""Files of weights: our own `.safetensors` with the configuration in the header, and everybody else's.

Saved tensors keep the official key names, so BasicSR, spandrel and chaiNNer read them too.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import pickle
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from goldeye.errors import InvalidInput
from goldeye.files import atomic_path, sha256
from goldeye.networks import ARCHITECTURES, build_network, resolve_config
from goldeye.networks.infer import infer_architecture, new_names
from goldeye.networks.known import fetch, find_known, known_models

if TYPE_CHECKING:
    from goldeye.images.tiles import Area
    from goldeye.upscale import Upscaler

FORMAT = 1
COMMUNITY = "community"
# Under which names checkpoints hold a state dict; of several in one checkpoint the first counts.
_WRAPPERS = (
    *("params_ema", "params-ema", "net_g_ema", "g_ema", "params", "state_dict", "model_state_dict"),
    *("net_g", "netG", "generator", "model", "net", "weights"),
)
# What a training framework writes before the generator's own keys, often beside its discriminator's.
_PREFIXES = ("net_g_ema.", "net_g.", "netG.", "generator.", "model.", "net.", "network.")
# Buffers computed from the configuration. Official SwinIR files hold them for the size of their training patch.
_COMPUTED = ("attn_mask", "relative_position_index")
_MOST_COMPUTED = 1 << 28  # numbers in buffers, fifty times what the largest official network has
_LARGEST_SETTING = 1_000_000  # a list of so many layers is still made in no time
_MOST_NESTED = 8  # wrappers in wrappers


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to use: `module` is in evaluation mode and takes (B, 3, H, W) in [0, 1], RGB.

    `metadata` is the header of our own files and empty for others. `architecture` is a name of `ARCHITECTURES`,
    spandrel's name for a community network (then `config` is empty), or `fusion` or `ensemble` (then `members` are the
    models combined).
    """

    module: nn.Module
    architecture: str
    config: dict[str, Any]
    scale: int
    metadata: dict[str, Any]
    path: Path
    members: tuple[LoadedModel, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the file; of a combination, of that and its members' hashes."""
        own = sha256(self.path)
        if not self.members:
            return own
        return hashlib.sha256("".join([own, *(member.sha256 for member in self.members)]).encode()).hexdigest()

    def upscale(self, pictures: Any, *, outscale: float | None = None, color_fix: bool = False, **options: Any) -> Any:
        """A picture, or a list of pictures, through the network: the same kind of array, larger.

        A picture is (H, W, 3), or with alpha (H, W, 4), of uint8, uint16 or float32 in [0, 1], RGB. `outscale` is the
        result's size over the input's if not the model's scale; `color_fix` keeps the input's low-frequency colours;
        `options` are those of `goldeye.upscale.Upscaler` (tile, tile_pad, precision, ensemble, compile).
        """
        from goldeye.upscale.finish import upscale_array

        upscaler = self._upscaler(options)
        if isinstance(pictures, (list, tuple)):
            return [upscale_array(upscaler, each, outscale=outscale, color_fix=color_fix) for each in pictures]
        return upscale_array(upscaler, pictures, outscale=outscale, color_fix=color_fix)

    def tiles(self, picture: Any, **options: Any) -> Iterator[tuple[Area, Tensor]]:
        """Yield the finished areas of a picture (H, W, 3), tile by tile: for programs with their own progress.

        Areas are in input pixels and fit edge to edge; their results are float32 (3, rows·scale, columns·scale), not
        clipped. `options` are those of `upscale`, but for `outscale` and `color_fix`.
        """
        from goldeye.upscale.finish import check_array, reader

        check_array(picture, (3,))
        return self._upscaler(options).pieces(reader(picture), *picture.shape[:2])

    def _upscaler(self, options: dict[str, Any]) -> Upscaler:
        """The network prepared for these options, kept for the next picture."""
        from goldeye.upscale import Upscaler

        key = tuple(sorted(options.items()))
        if key not in self._upscalers:
            self._upscalers[key] = Upscaler(self.module, scale=self.scale, **options)
        return self._upscalers[key]

    @cached_property
    def _upscalers(self) -> dict[tuple[tuple[str, Any], ...], Upscaler]:
        return {}


class CommunityNetwork(nn.Module):
    """A network that spandrel built: pads to the size it needs, gives (B, 3, H·scale, W·scale) clipped to [0, 1].

    `prefix` is what stands before the network's keys in its file.
    """

    def __init__(self, descriptor: Any, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.network = descriptor.model
        self.descriptor = descriptor
        self.grid = int(descriptor.size_requirements.multiple_of or 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.descriptor(x)
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
    (JSON values, e.g. the recipe and the hash of the data). `architecture` community is a network of spandrel's, found
    again from its keys.
    """
    header = {
        "format": FORMAT,
        "architecture": architecture,
        "config": {} if architecture == COMMUNITY else resolve_config(architecture, config),
        "scale": scale,
        "parameters": sum(p.numel() for p in module.parameters()),
        **(extra or {}),
    }
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"goldeye": json.dumps(header, allow_nan=False)})


def load_model(name_or_path: str | Path, *, device: str = "cpu") -> LoadedModel:
    """Load a network from a file of weights, a run folder (its latest checkpoint) or a bundled or known model's name.

    A YAML file combines several (`goldeye.upscale.combine`).

    Reads our `.safetensors`; `.pth` and `.safetensors` of BasicSR's kind, the sizes inferred from the keys; and through
    spandrel the community's architectures. A pickle is read for tensors only: code in it is refused and never run.
    Weights in half precision become float32. A known model is fetched once into the cache (`goldeye.networks.known`);
    a file or run folder of the same name wins. Raises InvalidInput naming the file and what was found in it.
    """
    path = _resolve(name_or_path)
    if path.suffix.lower() in (".yaml", ".yml"):
        from goldeye.upscale.combine import load_combination

        return load_combination(path, lambda member: load_model(member, device=device))
    state, metadata = _read(path)
    if metadata:
        return _own(path, state, metadata, device)
    misfit = None
    for _, candidate in _generators(state):
        inferred = _infer(candidate)
        if inferred is not None:
            architecture, config = inferred[0], resolve_config(*inferred)
            try:
                module = _build(path, architecture, config, new_names(candidate), device)
            except InvalidInput as error:  # a relative of ours perhaps: BSRGANx2 has RRDBNet's keys without conv_up2
                misfit = misfit or error
            else:
                return LoadedModel(module, architecture, config, int(config.get("scale", 1)), {}, path)
    for prefix, candidate in _generators(state):
        found = _community(path, candidate, prefix, device)
        if found is not None:
            return found
    raise misfit or InvalidInput(
        f"'{path}' holds no network that Goldeye or spandrel knows: {len(state)} tensors, {_some(state)}."
    )


def _generators(state: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The state dict as it is, and each part that may be a generator: its prefix, and its tensors without that."""
    for prefix in ("", *_PREFIXES):
        part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if part:
            yield prefix, part


def _infer(state: dict[str, Tensor]) -> tuple[str, dict[str, Any]] | None:
    try:
        return infer_architecture(new_names(state))
    except (KeyError, IndexError, ValueError, ArithmeticError):  # not all the keys and shapes that the others promise
        return None


def find_file(name_or_path: str | Path) -> Path | None:
    """The file that a path to weights or to a run folder (its latest checkpoint) stands for, None for any other word.

    Raises InvalidInput for a run whose latest checkpoint is missing, or not named by `checkpoints/latest`.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    latest = path / "checkpoints" / "latest"
    if not latest.is_file():
        return None
    try:
        name = latest.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        name = ""
    if not name or "\0" in name or Path(name).name != name:
        raise InvalidInput(f"The run '{path}' cannot be used: its checkpoints/latest does not name a checkpoint.")
    weights = latest.with_name(f"{name}.safetensors")
    if not weights.is_file():
        raise InvalidInput(f"The latest checkpoint of the run '{path}', '{weights.name}', is not there.")
    return weights


def _resolve(name_or_path: str | Path) -> Path:
    """The file of weights that a path, run folder or known model's name stands for, in this order."""
    path = find_file(name_or_path)
    if path is not None:
        return path
    name = str(name_or_path)
    known = find_known(name)
    if known is not None:
        return fetch(known)
    if name in ARCHITECTURES:
        weights = [model.name for model in known_models().values() if model.architecture == name]
        instead = f"Known weights of it: {', '.join(weights)}. Or give" if weights else "Give"
        raise InvalidInput(
            f"'{name}' is an architecture and has no weights of its own.",
            hint=f"{instead} a file of weights or the folder of a training run.",
        )
    if Path(name).is_dir():
        raise InvalidInput(
            f"The folder '{name}' holds no weights: it has no checkpoints/latest.",
            hint="Give the folder of a training run, or a file of weights.",
        )
    near = difflib.get_close_matches(name, [*known_models(), *ARCHITECTURES], n=1, cutoff=0.6)
    raise InvalidInput(
        f"No file of weights and no run folder '{name}', and no model of that name.",
        hint=f"Did you mean '{near[0]}'?" if near else "`goldeye models list` shows the models.",
    )


def origin(name_or_path: str) -> dict[str, str]:
    """What is to be known of weights that were trained starting from these: `init`, `init_sha256`, and their `licence`
    where one is stated. Raises InvalidInput as `load_model` does."""
    model = load_model(name_or_path)
    known = find_known(name_or_path) if find_file(name_or_path) is None else None
    stated = known.licence if known else model.metadata.get("licence")
    found = {"init": known.name if known else Path(name_or_path).name, "init_sha256": model.sha256}
    return found | ({"licence": str(stated)} if stated else {})


def read_state(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a file of weights whose keys begin with `prefix`, by the rest of the key.

    Raises InvalidInput as `load_model` does.
    """
    state, _ = _read(path)
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file by key (numbers in float32), and our header (empty when the file is not ours)."""
    if path.suffix.lower() == ".safetensors":
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get("goldeye")
            return _single(load_file(path)), _header(path, header) if header is not None else {}
        except safetensors.SafetensorError as error:
            raise InvalidInput(f"'{path}' is not a whole .safetensors file: it is {_found(path)}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what matters becomes an error below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint can raise anything in the unpickler
        # A legitimate checkpoint is tensors, numbers and text; anything else needs code to be run while reading.
        found = _found(path)
        if isinstance(error, pickle.UnpicklingError) and found in ("a zip archive", "a pickle"):
            name = re.search(r"GLOBAL (\S+)", str(error))
            what = f" ({name[1]})" if name else ""
            raise InvalidInput(
                f"'{path}' holds more than plain tensors{what}; it was refused, and nothing in it was run.",
                hint="Ask its author for a .safetensors file or a plain state dict.",
            ) from error
        if found == _SCRIPT:
            raise InvalidInput(
                f"'{path}' is {_SCRIPT}, which is code; it was refused, and nothing in it was run.",
                hint="Ask its author for a .safetensors file or a plain state dict.",
            ) from error
        raise InvalidInput(f"'{path}' is not a readable file of weights: it is {found}.") from error
    state = _state_dict(path, content)
    if sum(value.numel() for value in state.values()) > path.stat().st_size:  # views of a few numbers, repeated
        raise InvalidInput(f"'{path}' is not a readable file of weights: its tensors are larger than the file.")
    return _single(state), {}


def _single(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers of any precision as float32, what wrappers of modules put before the names taken off."""
    return {
        re.sub(r"^(module\.)+", "", key.replace("_orig_mod.", "")): value.float()
        if value.is_floating_point()
        else value
        for key, value in state.items()
    }


def _header(path: Path, text: str) -> dict[str, Any]:
    """Our header, checked."""
    try:
        header: dict[str, Any] = json.loads(text)
        version = int(header["format"])
        if version <= FORMAT:
            json.dumps(header, allow_nan=False)  # what is no JSON could not be printed as such
            own = header["architecture"] != COMMUNITY
            scale = resolve_config(header["architecture"], header["config"]).get("scale", 1) if own else None
            if own and header["scale"] != scale:
                raise InvalidInput(f"its scale is {header['scale']}, that of its settings {scale}.")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, InvalidInput) as error:
        reason = _reason(error) if isinstance(error, InvalidInput) else "its Goldeye entry is damaged."
        raise InvalidInput(f"The header of '{path}' cannot be used: {reason}") from error
    if version > FORMAT:
        raise InvalidInput(f"'{path}' was written by a newer Goldeye (format {version}; this one reads {FORMAT}).")
    return header


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict in a checkpoint: bare, or under the usual names, one in another too."""
    for _ in range(_MOST_NESTED):
        if not isinstance(content, dict):
            break
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not content or not _are_tensors(content):
        keys = f"the keys {_some(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise InvalidInput(f"'{path}' holds no state dict: found {keys}.")
    return content


def _are_tensors(content: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())


def _own(path: Path, state: dict[str, Tensor], metadata: dict[str, Any], device: str) -> LoadedModel:
    architecture = metadata["architecture"]
    if architecture == COMMUNITY:
        found = _community(path, state, "", device)
        if found is None:
            raise InvalidInput(f"'{path}' holds no network that spandrel knows: {len(state)} tensors, {_some(state)}.")
        return replace(found, metadata=metadata)
    config = resolve_config(architecture, metadata["config"])
    module = _build(path, architecture, config, state, device)
    return LoadedModel(module, architecture, config, int(metadata["scale"]), metadata, path)


def _build(
    path: Path, architecture: str, config: Mapping[str, Any], state: dict[str, Tensor], device: str
) -> nn.Module:
    """The network with the file's weights, in evaluation mode on `device`."""
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away: leave the caller's generator alone
        _require_fit(path, architecture, config, state)
        module = build_network(architecture, **config)
    computed = {key: value for key, value in module.state_dict().items() if key.endswith(_COMPUTED)}
    state = {key: value for key, value in state.items() if not key.endswith(_COMPUTED)} | computed
    module.load_state_dict(state)
    return module.to(device).eval()


def _require_fit(path: Path, architecture: str, config: Mapping[str, Any], state: dict[str, Tensor]) -> None:
    """Refuse, before memory is spent, settings that make no network, or one with other tensors than the file's."""
    try:
        for name, value in config.items():
            if isinstance(value, int) and value > _LARGEST_SETTING:
                raise InvalidInput(f"its setting {name} is {value}.")
        # Some tensors are registered twice (spectral norm); a small misfit shall be told by its names.
        with torch.device("meta"), _Uninitialised(), _at_most(2 * len(state) + 2000):
            module = build_network(architecture, **config)
    except Exception as error:  # settings from a header can be anything, and so can what a network raises for them
        reason = _reason(error) if isinstance(error, InvalidInput) else "its settings make no network."
        raise InvalidInput(f"'{path}' cannot be used: {reason}") from error
    network = {key: value for key, value in module.state_dict().items() if not key.endswith(_COMPUTED)}
    names, found = set(network), {key for key in state if not key.endswith(_COMPUTED)}
    shapes = [key for key in names & found if state[key].shape != network[key].shape]
    kinds = [key for key in names & found if network[key].is_floating_point() and not _is_plain(state[key])]
    if names != found:
        detail = f"missing {_some(names - found)}, unexpected {_some(found - names)}"
    elif shapes:
        detail = f"the shapes differ ({_some(shapes)})"
    elif kinds:
        detail = f"no floating-point numbers in {_some(kinds)}"
    elif sum(buffer.numel() for buffer in module.buffers()) > _MOST_COMPUTED:
        detail = "its settings ask for too large buffers"
    else:
        return
    raise InvalidInput(f"The weights in '{path}' do not fit its architecture {architecture}: {detail}.")


class _Uninitialised(TorchFunctionMode):
    """Leaves out what changes a tensor in place (`normal_`, `kaiming_uniform_` …), in vain for one without numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        if name.endswith("_") and not name.endswith("__"):
            return args[0] if args else None
        return func(*args, **(kwargs or {}))


@contextmanager
def _at_most(limit: int) -> Iterator[None]:
    """Within it a network of more than `limit` parameter tensors is not built to its end: InvalidInput."""
    thread, count = threading.get_ident(), 0

    def register(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > limit:
                raise InvalidInput("its settings make a network of more tensors than the file has.")

    hook = register_module_parameter_registration_hook(register)
    try:
        yield
    finally:
        hook.remove()


def _is_plain(value: Tensor) -> bool:
    return value.is_floating_point() and value.layout is torch.strided and not value.is_meta


def _community(path: Path, state: dict[str, Tensor], prefix: str, device: str) -> LoadedModel | None:
    """A network that is not ours, through spandrel; None when it is not spandrel's either."""
    import spandrel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated calls in the architectures' own code
            descriptor = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(state))
    except Exception:  # detection by a few keys, then whatever the architecture's own code raises
        return None
    name = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or descriptor.input_channels != 3:
        raise InvalidInput(f"'{path}' holds a {name} network that does not take an RGB picture.")
    wrong = [key for key, value in state.items() if key.endswith((".weight", ".bias")) and not _is_plain(value)]
    if wrong:
        raise InvalidInput(f"'{path}' holds a {name} network with no floating-point numbers in {_some(wrong)}.")
    descriptor.to(device).float().eval()
    return LoadedModel(CommunityNetwork(descriptor, prefix), name, {}, int(descriptor.scale), {}, path)


def trainable_community(name_or_path: str) -> nn.Module:
    """The bare network that spandrel finds in a file of weights, to train on; its keys are the file's own.

    Raises InvalidInput where the file holds one of our networks (a recipe names those) or one that spandrel runs in a
    way of its own.
    """
    loaded = load_model(name_or_path)
    if not isinstance(loaded.module, CommunityNetwork):
        raise InvalidInput(
            f"'{name_or_path}' holds a {loaded.architecture} network of Goldeye's own.",
            hint=f"Train it with generator.architecture={loaded.architecture}.",
        )
    network: nn.Module = loaded.module.network
    network.size_multiple = loaded.module.grid  # type: ignore[assignment]
    return network.requires_grad_(True).train()


def _some(keys: Any, limit: int = 3) -> str:
    """A few names of many: "'a', 'b', 'c' and 5 more"."""
    names = sorted(repr(key[:60]) if isinstance(key, str) else f"a {type(key).__name__}" for key in keys)
    shown = ", ".join(names[:limit]) or "nothing"
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def _reason(error: InvalidInput) -> str:
    """Its first line: torch's own errors, which others quote, may go on for many."""
    return error.message.partition("\n")[0][:300]


_SCRIPT = "a TorchScript archive"
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
            return _SCRIPT if name == "a zip archive" and _is_script(path) else name
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    return "text" if head.isascii() and b"\0" not in head else "damaged or of an unknown kind"


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def require_picture_network(model: LoadedModel, device: str) -> None:
    """Refuse, before any work, a network that does not make RGB pictures of its scale (a discriminator, a grey one)."""
    side = 32  # a multiple of what every network here asks for
    try:
        with torch.inference_mode():
            shape = tuple(model.module(torch.zeros(1, 3, side, side, device=device)).shape)
    except (RuntimeError, InvalidInput):
        shape = None
    if shape != (1, 3, side * model.scale, side * model.scale):
        raise InvalidInput(f"'{model.path}' holds a network ({model.architecture}) that does not make RGB pictures.")
