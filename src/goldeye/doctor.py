"""What this installation has, what it lacks, and how to get it. Nothing is fetched, and nothing stays changed.

Works in a broken installation too, so every library is imported where it is looked at.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goldeye import __version__
from goldeye.errors import GoldeyeError
from goldeye.files import sha256
from goldeye.runtime import available_cores

if TYPE_CHECKING:
    import torch

# The optional parts of pyproject.toml, and what they are for.
PARTS = {
    "train": "training, degradation, selection",
    "annotate": "the annotation server, user studies",
    "metrics": "LPIPS, DISTS, FID; faster SSIM",
    "export": "ONNX",
    "labels": "labels as Parquet",
    "report": "previews, benchmark pages, charts",
    "scale": "Ray clusters, votes in PostgreSQL",
    "demo": "goldeye demo",
}
# What a library is imported as, where that is not its name in lower case with _ for -.
_MODULES = {
    "opencv-python-headless": "cv2",
    "scikit-image": "skimage",
    "markdown-it-py": "markdown_it",
    "pyyaml": "yaml",
    "pillow": "PIL",
    "pyvips-binary": "_libvips",
}
_SLOW = ("torchvision", "spandrel")  # their import takes longer than all the rest
_TRIED = ("fp32", "bf16", "fp16")
_TRIAL = {"cpu": (64, 64), "cuda": (256, 256), "mps": (128, 128)}  # channels, side of a trial convolution
_ROUNDS, _PATIENCE = 3, 1.0  # seconds; what is slower once is not measured again
_GIB = 1 << 30


@dataclass(frozen=True)
class Need:
    """One line of what the package says it needs: `library>=least`, and for which optional part ("" for the base)."""

    library: str
    least: str
    extra: str


def examine() -> dict[str, Any]:
    """The document of `goldeye doctor --json` without its schema.

    `ok` is false when something that every installation has is broken (`problems` says what); missing optional parts
    and weight files of others are no problem. `next` is one sentence of what to do.
    """
    needs = package_needs()
    libraries = [library_state(need) for need in needs if not need.extra]
    formats, format_problems = _formats()
    problems = [*_broken(libraries), *format_problems]
    works = not problems
    devices, notes = _devices(works)
    problems += [
        f"torch cannot compute on the CPU: {device['precisions']['fp32']['problem']}"
        for device in devices
        if device["name"] == "cpu" and device["precisions"] and not device["precisions"]["fp32"]["runs"]
    ]
    notes += _stale(needs)
    weights = _weights(works)
    problems += [
        f"'{model['path']}', which comes with Goldeye, is {model['state']}."
        for model in (weights["models"] or {}).get("bundled", [])
        if model["state"] != "right"
    ]
    document = {
        "ok": not problems,
        "versions": _versions(libraries),
        "libraries": libraries,
        "formats": formats,
        "devices": devices,
        "optional": _optional(needs),
        **weights,
        "folders": [_folder(use, path) for use, path in _folders(works)],
        "problems": problems,
        "notes": notes,
    }
    return document | {"next": _advice(document)}


# Libraries ----------------------------------------------------------------------------------------------------------


def package_needs() -> list[Need]:
    """What the installed package says it needs; nothing where Goldeye is not installed as a package."""
    try:
        lines = metadata.requires("goldeye") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        library, least = re.match(r"([\w.-]+)(?:\[[^]]*\])?(?:>=([\w.]+))?", requirement.strip()).groups()  # type: ignore[union-attr]
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        found.append(Need(library, least or "0", extra[1] if extra else ""))
    return found


def library_state(need: Need) -> dict[str, Any]:
    """{"name", "version" (None: not known), "needs", "problem" (None: there is none)} of a library."""
    module = _MODULES.get(need.library, need.library.lower().replace("-", "_"))
    try:
        version = metadata.version(need.library)
    except metadata.PackageNotFoundError:
        # Another distribution may bring the module, as opencv-python does.
        version = None
    state = {"name": need.library, "version": version, "needs": f"{need.library}>={need.least}", "problem": None}
    if version is None and importlib.util.find_spec(module) is None:
        return state | {"problem": "not installed"}
    if version is not None and _release(version) < _release(need.least):
        return state | {"problem": f"version {version} is older than {need.least}"}
    if not need.extra:
        state["problem"] = _torchvision_problem() if need.library == "torchvision" else _import_problem(module)
    return state


def _stale(needs: Sequence[Need]) -> list[str]:
    """Whether the package's description is missing, or older than this file."""
    if not needs:
        return ["Goldeye runs from its sources without being installed, so that what it needs is not known here."]
    unknown = [extra for extra in PARTS if extra not in {need.extra for need in needs}]
    if not unknown:
        return []
    return [f"The installation is older than these sources: install it anew for the part {', '.join(unknown)}."]


def _import_problem(module: str) -> str | None:
    """Why a module cannot be imported; the slow ones are not tried."""
    if module in _SLOW:
        return None
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken library raises while it is loaded
        return f"cannot be imported: {_first_line(error)}"
    return None


def _torchvision_problem() -> str | None:
    """Whether torchvision was built for another torch, its usual trouble; it says for which it was."""
    for line in metadata.requires("torchvision") or []:
        pinned = re.match(r"torch\s*\(?==([\w.]+)", line)
        if pinned and _release(pinned[1]) != _release(here := metadata.version("torch")):
            return f"it is made for torch {pinned[1]}, and torch {here} is here"
    return None


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without what a build adds: 2.14.1+cpu → (2, 14, 1)."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()


def _broken(libraries: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{row['name']}: {row['problem']}." for row in libraries if row["problem"]]


def _versions(libraries: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    known = {row["name"]: row["version"] for row in libraries}
    return {
        "goldeye": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: known.get(name) for name in ("torch", "torchvision", "pyvips")},
        "libvips": _libvips(),
    }


def _libvips() -> str | None:
    try:
        import pyvips

        return ".".join(str(pyvips.version(part)) for part in range(3))
    except Exception:  # told with the libraries
        return None


def _formats() -> tuple[dict[str, bool], list[str]]:
    """Which pictures libvips can write and read again, tried on a small one; without PNG or JPEG that is a problem."""
    try:
        import pyvips
    except Exception:  # told with the libraries
        return {}, []
    found = {}
    for ending in ("png", "jpg", "webp", "tif"):
        try:
            data = pyvips.Image.black(8, 8, bands=3).write_to_buffer(f".{ending}")
            found[ending] = pyvips.Image.new_from_buffer(data, "").avg() == 0
        except pyvips.Error:
            found[ending] = False
    lacking = [ending for ending in ("png", "jpg") if not found[ending]]
    return found, [f"libvips cannot read and write {ending} pictures." for ending in lacking]


def _optional(needs: Sequence[Need]) -> list[dict[str, Any]]:
    """Each optional part: {"extra", "for", "present", "libraries", "install"}."""
    rows = []
    for extra, use in PARTS.items():
        libraries = [library_state(need) for need in needs if need.extra == extra]
        if libraries:
            present = not any(row["problem"] for row in libraries)
            install = f"pip install 'goldeye[{extra}]'"
            rows.append({"extra": extra, "for": use, "present": present, "libraries": libraries, "install": install})
    return rows


# Devices ------------------------------------------------------------------------------------------------------------


def _devices(works: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """The devices with memory and precisions, and notes about one that cannot be used."""
    cores = available_cores()
    cpu = {
        "name": "cpu",
        "description": "1 core" if cores == 1 else f"{cores} cores",
        "memory_gib": _physical_gib(),
        "free_gib": None,
    }
    if not works:
        return [cpu | {"precisions": {}, "auto": None}], []
    import torch

    from goldeye.upscale.memory import free_memory

    with warnings.catch_warnings(record=True) as told:  # torch warns of a driver that it cannot use
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    notes = [_first_line(warning.message) for warning in told]
    if not count and not notes and shutil.which("nvidia-smi"):
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        notes.append(f"An NVIDIA driver is here, but torch {torch.__version__} (built for {built}) finds no device.")
    devices = [cpu | {"free_gib": _gib(free_memory("cpu"))}]
    for number in range(count):
        properties = torch.cuda.get_device_properties(number)
        memory = {"memory_gib": _gib(properties.total_memory), "free_gib": _gib(free_memory(f"cuda:{number}"))}
        devices.append({"name": f"cuda:{number}", "description": properties.name, **memory})
    if torch.backends.mps.is_available():
        memory = {"memory_gib": _gib(torch.mps.recommended_max_memory()), "free_gib": _gib(free_memory("mps"))}
        devices.append({"name": "mps", "description": platform.processor(), **memory})
    return [device | device_precisions(str(device["name"])) for device in devices], notes


def device_precisions(device: str) -> dict[str, Any]:
    """What runs on a device: {"precisions": {name: {"runs", "speed", "problem"}}, "auto": the one that is chosen}.

    `speed` is how many times as fast as fp32 a convolution was, the best of a few.
    """
    from goldeye.upscale.precision import choose_precision

    seconds: dict[str, float] = {}
    found: dict[str, dict[str, Any]] = {}
    for name in _TRIED:
        try:
            choose_precision(name, device)
            seconds[name] = convolve(device, name)
            found[name] = {"runs": True, "speed": None, "problem": None}
        except (GoldeyeError, RuntimeError, TypeError) as error:
            found[name] = {"runs": False, "speed": None, "problem": _first_line(error)}
    for _ in range(_ROUNDS):  # in turn, so that what else the machine does slows all of them
        for name in seconds:
            if seconds[name] < _PATIENCE:
                seconds[name] = min(seconds[name], convolve(device, name))
    for name in seconds:
        if "fp32" in seconds:
            found[name]["speed"] = float(f"{seconds['fp32'] / seconds[name]:.2g}")
    return {"precisions": found, "auto": choose_precision("auto", device)}


def convolve(device: str, precision: str) -> float:
    """Seconds of a convolution of 3x3 in a precision, what networks here are made of. RuntimeError when it is wrong."""
    import torch
    from torch.nn import functional as F

    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    where = torch.device(device)
    channels, side = _TRIAL[where.type]
    wait = _waiting(where)
    with torch.inference_mode():
        x = torch.full((1, channels, side, side), 0.5, dtype=types[precision], device=where)
        weight = torch.full((channels, channels, 3, 3), 0.5, dtype=types[precision], device=where)
        F.conv2d(x, weight)  # the first is slower
        wait()
        start = time.perf_counter()
        result = F.conv2d(x, weight)
        wait()
        passed = time.perf_counter() - start
        found, right = float(result[0, -1, -1, -1]), channels * 9 / 4
        if found != right:
            raise RuntimeError(f"a convolution gives {found}, not {right}")
    return passed


def _waiting(device: torch.device) -> Callable[[], None]:
    """What waits until a device has done all it was given."""
    import torch

    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def _physical_gib() -> float | None:
    try:
        return _gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None


def _gib(size: int) -> float:
    return round(size / _GIB, 1)


# Weights and folders ------------------------------------------------------------------------------------------------


def _weights(works: bool) -> dict[str, Any]:
    """Weight files of metrics and losses, NIQE's parameters, and the known models' cache, with their hashes checked."""
    if not works:
        return {"weights": [], "niqe": None, "models": None}
    from goldeye.evaluate.weights import weight_table
    from goldeye.networks.known import cache_folder, known_models

    here = [model for model in known_models().values() if model.bundled or model.cached]
    table = weight_table()
    files = [(row["path"] and Path(row["path"]), row["sha256"]) for row in table]
    files += [(model.path, model.sha256) for model in here]
    with ThreadPoolExecutor(available_cores()) as pool:  # hashing leaves Python's lock
        states = list(pool.map(lambda file: file_state(*file), files))
    rows = [
        {key: value for key, value in row.items() if key != "present"} | {"state": state}
        for row, state in zip(table, states, strict=False)
    ]
    found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for model, state in zip(here, states[len(table) :], strict=True):
        found[model.bundled].append({"name": model.name, "path": str(model.path), "state": state})
    others = sum(not model.bundled for model in known_models().values())
    folder = str(cache_folder() / "models")
    models = {"bundled": found[True], "folder": folder, "known": others, "cached": found[False]}
    return {"weights": rows, "niqe": _niqe(), "models": models}


def file_state(path: Path | None, digest: str | None) -> str:
    """missing, wrong (another SHA-256 than `digest`), right, or present where no hash is known; unreadable."""
    try:
        if path is None or not path.is_file():
            return "missing"
        if digest is None:
            return "present"
        return "right" if sha256(path) == digest else "wrong"
    except OSError:
        return "unreadable"


def _niqe() -> dict[str, Any]:
    """NIQE's pristine parameters: {"state": here or missing, "file", "source", "get"}."""
    from goldeye.evaluate.niqe import HINT, load_parameters

    try:
        source = load_parameters().source
    except (GoldeyeError, OSError) as error:
        return {"state": "missing", "file": None, "source": None, "get": getattr(error, "hint", None) or HINT}
    return {"state": "here", "file": source["file"], "source": source["source"], "get": None}


def _folders(works: bool) -> Iterator[tuple[str, Path]]:
    yield "results (the current folder)", Path()
    if works:
        import torch

        from goldeye.networks.known import cache_folder

        yield "known models", cache_folder() / "models"
        yield "weight files", Path(torch.hub.get_dir()) / "checkpoints"
    yield "temporary files", Path(tempfile.gettempdir())


def _folder(use: str, path: Path) -> dict[str, Any]:
    """{"use", "path", "writable", "free_gib"}; of a folder that is not there yet, whether it could be made."""
    try:
        path = path.absolute()
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
        free = _gib(shutil.disk_usage(there).free)
    except OSError:
        return {"use": use, "path": str(path), "writable": False, "free_gib": None}
    return {"use": use, "path": str(path), "writable": True, "free_gib": free}


# What to do ---------------------------------------------------------------------------------------------------------


def _advice(found: Mapping[str, Any]) -> str:
    """One sentence: the first thing that is in the way, else what can be done now."""
    if found["problems"]:
        repair = f"{Path(sys.executable).name} -m pip install --force-reinstall goldeye"
        return f"Repair the installation first: {repair}, in a fresh virtual environment if that does not help."
    wrong = [row["path"] for row in found["weights"] if row["state"] in ("wrong", "unreadable")]
    wrong += [model["path"] for model in found["models"]["cached"] if model["state"] in ("wrong", "unreadable")]
    if wrong:
        return f"Delete '{wrong[0]}', which is not the file it should be; it is fetched again when it is needed."
    closed = [folder["path"] for folder in found["folders"] if not folder["writable"]]
    if closed:
        return f"Let yourself write into '{closed[0]}', or choose another folder (GOLDEYE_CACHE, TORCH_HOME, TMPDIR)."
    missing = [part["extra"] for part in found["optional"] if not part["present"]]
    if "demo" in missing:
        return (
            "Upscaling and evaluating work (`goldeye upscale photo.jpg -o large`, `goldeye models list`); "
            "for training, annotating and the demo: pip install 'goldeye[all]'."
        )
    return "All that a first try needs is here: goldeye demo -o demo."


def _first_line(error: object) -> str:
    """An error's first line, or its kind where it says nothing."""
    text = str(getattr(error, "message", error)).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
