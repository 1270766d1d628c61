"""`goldeye mobile`: RGAN's mobile training sets (its Table 2) from registered phone and DSLR pictures of one scale.

OUT/T1/{HR,LR}/NAME.png    LR: the phone's picture; HR: the DSLR's, made larger by MATLAB's bicubic
OUT/T2/…                   HR by a perceptual SR model (the paper's choice)
OUT/T3/…                   HR by a PSNR-oriented SR model
OUT/T4/…                   LR: the phone's picture, made smaller by MATLAB's bicubic; HR: the DSLR's
OUT/mobile.jsonl           a line a pair and target: the two sources with SHA-256, the model and its hash, the scale,
                           the size of HR (height, width), and how the pair lies on itself (`registration.register`)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from goldeye.batch import BatchResult, track
from goldeye.curate.registration import Registration, register
from goldeye.errors import GoldeyeError, ImageError, InvalidInput, unknown_name
from goldeye.files import read_rows, sha256, sole_user, write_lines
from goldeye.images import (
    Picture,
    find_images,
    matlab_resize,
    read_image,
    resize_into,
    to_eight_bit,
    to_float,
    to_uint8,
    write_image,
)

if TYPE_CHECKING:
    from goldeye.networks.weights import LoadedModel

RECORD = "mobile.jsonl"
TARGETS = ("T1", "T2", "T3", "T4")
MAX_SHIFT = 2.0
"""Pixels of the phone's picture. Two are eight of a x4 HR: half a step of the layer conv5_4 that RGAN's loss sees."""

Make = Callable[[Picture, Picture], tuple[Picture, Picture]]
"""(phone, DSLR) of equal size to (HR, LR), all uint8 (H, W, 3)."""


@dataclass(frozen=True)
class _Target:
    """How one of T1 to T4 is made, and what the record says of that. Pictures need `least` pixels a side."""

    make: Make
    record: Mapping[str, Any]
    least: int = 1


def make_mobile(
    phone: Path,
    dslr: Path,
    output: Path,
    *,
    targets: Sequence[str] | None = None,
    perceptual: str | None = None,
    psnr: str | None = None,
    scale: int = 4,
    max_shift: float = MAX_SHIFT,
    strict: bool = False,
    tile: int = 0,
    device: str = "cpu",
) -> tuple[BatchResult, list[str]]:
    """Make the targets of every pair; pictures of two folders with one relative name, endings aside, are a pair.

    `perceptual` and `psnr` are models (file, run folder or known name) of scale `scale` for T2 and T3. Without
    `targets` all are made but those that lack their model. Pictures of 16 bit are taken as 8-bit ones, without alpha.

    A pair whose shift is longer than `max_shift` pixels, or that shows two different things, fails by name and nothing
    of it is kept; one with too little detail to say is kept and marked "flat" in the record, and fails if `strict`.
    Pictures without partner, of unequal size, or that cannot be read fail by name too, and the rest goes on. Pairs made
    of the same pictures with the same model and scale are skipped. InvalidInput, before any work, for what cannot be
    meant. Entries of the result: {"input", "dslr", "target", "hr", "lr"}, failed ones {"input", "error"} and, where it
    was measured, "shift". Also returned: sentences about what a user may not expect.
    """
    _check_folders(phone, dslr, output)
    if scale < 2:
        raise InvalidInput(f"The scale must be 2 or more, not {scale}.")
    if not 0 <= max_shift < math.inf:
        raise InvalidInput(f"The largest shift must be a number of pixels from 0, not {max_shift}.")
    wanted, notes = _choose(targets, {"T2": perceptual, "T3": psnr})
    phones, dslrs = _by_name(phone), _by_name(dslr)
    names = sorted(phones.keys() & dslrs.keys())
    if not names:
        raise InvalidInput(f"No picture of '{phone}' has the name of one in '{dslr}'.")
    chosen = {name: _target(name, {"T2": perceptual, "T3": psnr}.get(name), scale, tile, device) for name in wanted}

    result = BatchResult()
    for here, there, folder in ((phones, dslrs, dslr), (dslrs, phones, phone)):
        for name in sorted(here.keys() - there.keys()):
            error = f"'{here[name][0]}' has no partner: there is no picture '{name}' in '{folder}'."
            result.failed.append({"input": str(here[name][0]), "error": error})

    with sole_user(output):
        record = output / RECORD
        rows = {(str(row.get("target")), str(row.get("output"))): row for row in read_rows(record)}
        write_lines(record, list(rows.values()))  # without the torn line that a killed run may have left
        flat = 0
        with record.open("a", encoding="utf-8", newline="\n") as lines:
            for name in track(names, "mobile", len(names)):
                pair = _Pair(f"{name}.png", phones[name], dslrs[name], output, rows)
                try:
                    found = pair.registration(max_shift, strict)
                    flat += found.verdict == "flat"
                except (GoldeyeError, OSError, MemoryError) as error:
                    failed = {"input": str(phones[name][0]), "error": str(error)}
                    result.failed.append(failed | ({"shift": error.shift} if isinstance(error, _Misaligned) else {}))
                    continue
                for target, how in chosen.items():
                    entry = pair.entry(target)
                    try:
                        row = pair.row(target, how, found)
                        if pair.is_finished(row):
                            result.skipped.append(entry)
                            continue
                        row |= pair.write(target, how)
                    except (GoldeyeError, OSError, MemoryError, RuntimeError) as error:  # RuntimeError: torch
                        told = str(error) or type(error).__name__
                        result.failed.append({"input": entry["input"], "target": target, "error": told})
                        continue
                    rows[target, pair.name] = row
                    lines.write(json.dumps(row) + "\n")
                    lines.flush()
                    result.done.append(entry)
        write_lines(record, [rows[key] for key in sorted(rows)])
    if flat:
        notes.append(f"Pairs with too little detail to say whether they line up: {flat}; --strict refuses them.")
    return result, notes


# Which targets -------------------------------------------------------------------------------------------------------


def _choose(targets: Sequence[str] | None, models: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    """The targets to make, and what to say about those left out."""
    words = {"T2": "--perceptual MODEL", "T3": "--psnr MODEL"}
    lacking = [name for name, model in models.items() if model is None]
    if targets is None:
        needs = " and ".join(f"{name} ({words[name]})" for name in lacking)
        notes = [f"Left out for want of a model: {needs}."] if lacking else []
        return [name for name in TARGETS if name not in lacking], notes
    for name in targets:
        if name not in TARGETS:
            raise unknown_name("target", name, TARGETS)
        if name in lacking:
            raise InvalidInput(f"The target {name} needs {words[name]}.")
    if not targets:
        raise InvalidInput("Name at least one target.", hint=f"Known: {', '.join(TARGETS)}.")
    for name, model in models.items():
        if model is not None and name not in targets:
            raise InvalidInput(f"A model is given with {words[name]}, but its target {name} is not asked for.")
    return [name for name in TARGETS if name in targets], []


def _target(name: str, model: str | None, scale: int, tile: int, device: str) -> _Target:
    record: dict[str, Any] = {"scale": scale, "model": None, "model_sha256": None}
    if name == "T1":
        return _Target(lambda phone, dslr: (_larger(dslr, scale), phone), record)
    if name == "T4":
        return _Target(
            lambda phone, dslr: (_cropped(dslr, scale), _smaller(_cropped(phone, scale), scale)), record, scale
        )
    assert model is not None
    loaded = _load(model, scale, device)
    from goldeye.upscale import Upscaler
    from goldeye.upscale.finish import upscale_array

    # As `goldeye upscale` runs it by default.
    upscaler = Upscaler(loaded.module, scale=scale, tile=tile, precision="auto")

    def make(phone: Picture, dslr: Picture) -> tuple[Picture, Picture]:
        return cast("Picture", upscale_array(upscaler, dslr)), phone

    return _Target(make, record | {"model": model, "model_sha256": loaded.sha256})


def _load(name: str, scale: int, device: str) -> LoadedModel:
    from goldeye.networks.weights import load_model, require_picture_network

    model = load_model(name, device=device)
    require_picture_network(model, device)
    if model.scale != scale:
        raise InvalidInput(f"The model '{name}' makes pictures x{model.scale}, and x{scale} is asked for.")
    return model


def _larger(picture: Picture, scale: int) -> Picture:
    """uint8 (H, W, 3) to (H * scale, W * scale, 3), MATLAB bicubic."""
    out = np.empty((picture.shape[0] * scale, picture.shape[1] * scale, 3), np.uint8)
    resize_into(picture, out)
    return out


def _smaller(picture: Picture, scale: int) -> Picture:
    return to_uint8(matlab_resize(to_float(picture), picture.shape[0] // scale, picture.shape[1] // scale))


def _cropped(picture: Picture, scale: int) -> Picture:
    """Without what makes its sides no multiples of the scale, at the right and below."""
    height, width = (side // scale * scale for side in picture.shape[:2])
    return picture[:height, :width]


# Pairs ---------------------------------------------------------------------------------------------------------------


class _Misaligned(GoldeyeError):
    """A pair that does not line up; `shift` (y, x) in pixels, or None where nothing could be measured."""

    def __init__(self, message: str, shift: tuple[float, float] | None) -> None:
        super().__init__(message)
        self.shift = shift


@dataclass
class _Pair:
    """Two pictures of one name, and what is in the output folder of them already. `name` ends in .png."""

    name: str
    phones: list[Path]
    dslrs: list[Path]
    output: Path
    rows: dict[tuple[str, str], dict[str, Any]]
    _pictures: tuple[Picture, Picture] | None = None
    _hashes: tuple[str, str] | None = None

    def registration(self, max_shift: float, strict: bool) -> Registration:
        """How the pair lies on itself. Raises GoldeyeError for a pair that is refused, which then leaves no files."""
        for several in (self.phones, self.dslrs):
            if len(several) > 1:
                raise InvalidInput(f"'{several[0]}' and '{several[1]}' have the same name.")
        phone, dslr = self.phones[0], self.dslrs[0]
        self._hashes = sha256(phone), sha256(dslr)
        found = self._known() or self._measure()
        problem = None
        if found.verdict == "different":
            problem = f"'{phone}' and '{dslr}' show different things: nothing in them agrees at any shift."
        elif found.distance > max_shift:
            assert found.shift is not None
            below, right = found.shift
            problem = (
                f"'{phone}' and '{dslr}' do not line up: the DSLR's picture lies {found.distance:.1f} pixels off "
                f"({below:+z.1f} down, {right:+z.1f} to the right), more than {max_shift:g}."
            )
        elif found.verdict == "flat" and strict:
            problem = f"'{phone}' and '{dslr}' have too little detail to say whether they line up."
        if problem is not None:
            self._remove()
            raise _Misaligned(problem, found.shift)
        return found

    def entry(self, target: str) -> dict[str, Any]:
        hr, lr = self._files(target)
        return {
            "input": str(self.phones[0]),
            "dslr": str(self.dslrs[0]),
            "target": target,
            "hr": str(hr),
            "lr": str(lr),
        }

    def row(self, target: str, how: _Target, found: Registration) -> dict[str, Any]:
        """The line of the record, but for what is only known when the pictures are made."""
        assert self._hashes is not None
        return {
            "target": target,
            "output": self.name,
            "phone": str(self.phones[0]),
            "phone_sha256": self._hashes[0],
            "dslr": str(self.dslrs[0]),
            "dslr_sha256": self._hashes[1],
            **how.record,
            "registration": found.verdict,
            "shift": None if found.shift is None else list(found.shift),
            "similarity": found.similarity,
        }

    def is_finished(self, row: Mapping[str, Any]) -> bool:
        """Whether an earlier run made this target in the same way."""
        earlier = self.rows.get((row["target"], self.name), {})
        keys = ("phone_sha256", "dslr_sha256", "model_sha256", "scale")
        return all(earlier.get(key) == row.get(key) for key in keys) and all(
            path.is_file() for path in self._files(row["target"])
        )

    def write(self, target: str, how: _Target) -> dict[str, Any]:
        phone, dslr = self._read()
        if min(phone.shape[:2]) < how.least:
            size = f"{phone.shape[1]} x {phone.shape[0]}"
            raise ImageError(f"'{self.phones[0]}' is too small: {size} pixels, of at least {how.least} a side.")
        hr, lr = how.make(phone, dslr)
        for path, picture in zip(self._files(target), (hr, lr), strict=True):
            write_image(path, picture)
        return {"height": hr.shape[0], "width": hr.shape[1]}

    def _files(self, target: str) -> tuple[Path, Path]:
        return self.output / target / "HR" / self.name, self.output / target / "LR" / self.name

    def _read(self) -> tuple[Picture, Picture]:
        if self._pictures is None:
            self._pictures = to_eight_bit(read_image(self.phones[0])), to_eight_bit(read_image(self.dslrs[0]))
        return self._pictures

    def _measure(self) -> Registration:
        phone, dslr = self._read()
        if phone.shape != dslr.shape:
            sizes = [f"{picture.shape[1]} x {picture.shape[0]}" for picture in (phone, dslr)]
            self._remove()
            raise ImageError(f"'{self.phones[0]}' is {sizes[0]} pixels, its partner '{self.dslrs[0]}' {sizes[1]}.")
        return register(phone, dslr)

    def _known(self) -> Registration | None:
        """What an earlier run measured of the same two pictures."""
        for target in TARGETS:
            row = self.rows.get((target, self.name), {})
            told = row.keys() >= {"registration", "shift", "similarity"}
            if told and (row.get("phone_sha256"), row.get("dslr_sha256")) == self._hashes:
                y_x = row["shift"]
                shift = None if y_x is None else (float(y_x[0]), float(y_x[1]))
                return Registration(row["registration"], shift, row["similarity"])
        return None

    def _remove(self) -> None:
        """Take away what an earlier run made of a pair that is now refused."""
        for target in TARGETS:
            if self.rows.pop((target, self.name), None) is not None:
                for path in self._files(target):
                    path.unlink(missing_ok=True)


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """{relative path without ending: the pictures that have it}"""
    found: dict[str, list[Path]] = {}
    for path in find_images(folder):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def _check_folders(phone: Path, dslr: Path, output: Path) -> None:
    for folder in (phone, dslr):
        if not folder.is_dir():
            raise InvalidInput(f"'{folder}' is not a folder of pictures.")
    one, other, place = phone.resolve(), dslr.resolve(), output.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise InvalidInput(f"The phone's pictures '{phone}' and the DSLR's '{dslr}' must be in folders of their own.")
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"The output '{output}' is a file; a folder is needed.")
    for folder in (phone, dslr):
        inside = [name for name in TARGETS if folder.resolve().is_relative_to(place / name)]
        if inside or place.is_relative_to(folder.resolve()):
            raise InvalidInput(f"The output '{output}' needs a folder of its own, not one with the input '{folder}'.")
