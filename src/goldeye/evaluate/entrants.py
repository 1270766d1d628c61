"""The models of a benchmark: networks, folders of finished results, MATLAB's bicubic; checked before any work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from goldeye.batch import track
from goldeye.errors import GoldeyeError, InvalidInput, some
from goldeye.evaluate.made import MadePictures, key_of, pictures_by_name
from goldeye.evaluate.settings import ModelEntry, folder_name, located
from goldeye.evaluate.testset import PictureSet
from goldeye.files import sha256
from goldeye.images import Picture, image_size, matlab_resize, read_image, to_float, to_integers

_WARM_UP = 32  # side of the piece of a picture that goes first: what a network prepares once is no time of a picture


@dataclass(frozen=True)
class Entrant:
    """One row of the table. `identity` is what its pictures depend on; `parameters` is None where nobody can count."""

    entry: ModelEntry
    scale: int
    device: str
    source: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    results: dict[str, dict[str, Path]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def folder(self) -> str:
        return folder_name(self.entry.name)

    @property
    def kind(self) -> str:
        return "model" if self.entry.model is not None else "bicubic" if self.entry.bicubic else "results"

    def enters(self, one: PictureSet) -> bool:
        """Whether it is to be measured on this set."""
        return self.entry.sets is None or one.entry.name in self.entry.sets

    def described(self) -> dict[str, Any]:
        """The model in results.json."""
        return {
            "name": self.name,
            "kind": self.kind,
            "source": self.source,
            "architecture": self.architecture,
            "parameters": self.parameters,
            **self.identity,
        }

    def enlarge(self) -> Callable[[Picture], Picture]:
        """The function from an LR picture (H, W, 3) to the result, (H·scale, W·scale, 3) of the same type."""
        if self.kind == "bicubic":
            return lambda picture: _bicubic(picture, self.scale)
        from goldeye.networks.weights import load_model
        from goldeye.upscale import Upscaler
        from goldeye.upscale.finish import upscale_array

        entry = self.entry
        upscaler = Upscaler(
            load_model(str(self.source), device=self.device).module,
            scale=self.scale,
            tile=entry.tile,
            tile_pad=entry.tile_pad,
            precision=entry.precision,
            ensemble=entry.ensemble,
        )

        return lambda picture: cast("Picture", upscale_array(upscaler, picture, color_fix=entry.color_fix))


def _bicubic(picture: Picture, scale: int) -> Picture:
    large = matlab_resize(to_float(picture), picture.shape[0] * scale, picture.shape[1] * scale)
    return to_integers(large, picture.dtype)


def load_entrant(entry: ModelEntry, sets: list[PictureSet], *, scale: int, base: Path, device: str) -> Entrant:
    """Find and check one model; paths are relative to `base`.

    Raises InvalidInput naming it: no such model or folder, another scale, pictures that a folder lacks or that have
    another size than the GT, a set without LR pictures.
    """
    entrant = Entrant(entry, scale, device)
    own = [one for one in sets if entrant.enters(one)]
    if entry.results is not None:
        found = {one.entry.name: _results(entry, one, base) for one in own}
        return Entrant(entry, scale, device, source=entry.results, results=found)
    for one in own:
        if not one.has_lr:
            raise InvalidInput(
                f"The set '{one.entry.name}' has no LR pictures for '{entry.name}'.", hint="Give it lr or degradation."
            )
    if entry.model is None:
        return Entrant(entry, scale, device, identity={"bicubic": "MATLAB, antialiased, a = -0.5"})
    return _network(entry, scale, base, device)


def _network(entry: ModelEntry, scale: int, base: Path, device: str) -> Entrant:
    from goldeye.networks.weights import load_model, require_picture_network
    from goldeye.upscale.precision import choose_precision

    assert entry.model is not None
    beside = located(base, entry.model)
    source = str(beside) if beside.exists() else entry.model
    model = load_model(source, device=device)
    require_picture_network(model, device)
    if model.scale != scale:
        raise InvalidInput(f"'{entry.name}' enlarges {model.scale} times, and the benchmark has the scale {scale}.")
    where = next((parameter.device for parameter in model.module.parameters()), None)
    precision = entry.precision if where is None else choose_precision(entry.precision, where)
    options = {"tile": entry.tile, "tile_pad": entry.tile_pad, "precision": precision}
    options |= {"ensemble": entry.ensemble, "color_fix": entry.color_fix}
    return Entrant(
        entry,
        scale,
        device,
        source=source,
        architecture=model.architecture,
        parameters=sum(parameter.numel() for parameter in model.module.parameters()),
        identity={"weights_sha256": model.sha256, **options},
    )


def _results(entry: ModelEntry, one: PictureSet, base: Path) -> dict[str, Path]:
    folder = located(base, (entry.results or "").replace("{set}", one.entry.name))
    found = pictures_by_name(folder, entry.suffix)
    lacking = [name for name in one.cases if name not in found]
    if lacking:
        raise InvalidInput(
            f"'{folder}' ({entry.name}) lacks {len(lacking)} of the {len(one.cases)} pictures of '{one.entry.name}': "
            f"{some(lacking)}.",
            hint="Names are compared without their endings; `suffix:` is what follows the name in the results.",
        )
    for case in one.cases.values():
        height, width = image_size(found[case.name])
        if (height, width) != case.size:
            raise InvalidInput(
                f"'{found[case.name]}' ({entry.name}) has {width}x{height} pixels, its GT "
                f"{case.size[1]}x{case.size[0]}."
            )
    return {name: found[name] for name in one.cases}


@dataclass
class Made:
    """What became of the pictures of a model on a set; `without_lr` are those that a network had no input for."""

    pictures: MadePictures
    new: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    without_lr: dict[str, str] = field(default_factory=dict)

    @property
    def excluded(self) -> list[dict[str, Any]]:
        """{"name", "reason", "failed"} of the pictures that could not be made."""
        reasons = {**self.without_lr, **{failed["name"]: failed["error"] for failed in self.failed}}
        return [{"name": name, "reason": reason, "failed": True} for name, reason in reasons.items()]

    def timing(self) -> dict[str, Any] | None:
        """Seconds a picture, from pixels to pixels; None for results made elsewhere."""
        rows = [row for row in self.pictures.rows if row.get("seconds") is not None]
        if not rows:
            return None
        seconds = sorted(row["seconds"] for row in rows)
        return {
            "mean": sum(seconds) / len(seconds),
            "median": seconds[len(seconds) // 2],
            "pictures": len(seconds),
            "on": sorted({row["on"] for row in rows}),
        }


def make_pictures(entrant: Entrant, one: PictureSet) -> Made:
    """Make the pictures of a model on a set, or copy them; those that are there already, of the same make, stay.

    A picture that fails is reported, and the rest goes on.
    """
    sources = entrant.results.get(one.entry.name)
    made = Made(MadePictures(one.folder / entrant.folder), without_lr=one.without_lr if sources is None else {})
    keys = {
        name: key_of(
            sha256(sources[name])
            if sources is not None
            else [entrant.identity, entrant.scale, _lr(one).row(name)["sha256"]]
        )
        for name in one.cases
        if name not in made.without_lr
    }
    todo = made.pictures.start(keys)
    if not todo:
        return made
    enlarge = None if sources is not None else entrant.enlarge()
    for position, name in enumerate(track(todo, f"{entrant.name} on {one.entry.name}")):
        try:
            if sources is not None:
                made.pictures.copy(name, keys[name], sources[name])
            else:
                assert enlarge is not None
                picture = read_image(_lr(one).path(name))
                if position == 0:
                    enlarge(picture[:_WARM_UP, :_WARM_UP])
                begin = time.perf_counter()
                large = enlarge(picture)
                seconds = time.perf_counter() - begin
                made.pictures.write(name, keys[name], large, seconds=round(seconds, 4), on=_machine(entrant.device))
            made.new += 1
        except (GoldeyeError, MemoryError, RuntimeError) as error:  # RuntimeError: torch
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            source = sources[name] if sources is not None else one.cases[name].lr
            made.failed.append({"input": str(source or name), "error": reason, "name": name})
    return made


def _lr(one: PictureSet) -> MadePictures:
    assert one.lr is not None
    return one.lr


def _machine(device: str) -> str:
    """Where a time was taken."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} threads"
