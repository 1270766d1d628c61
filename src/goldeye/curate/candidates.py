"""What `goldeye enhance` says of its folder: which pictures are there, and what they were made from.

`candidates.yaml` is the record of the last call that finished. `.made.yaml` is written before work starts and remembers
what every picture there was made from, so that a later call takes over only what it would make the same way.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from goldeye.dataset.groups import Enhancer
from goldeye.errors import InvalidInput
from goldeye.files import sha256, write_text

RECORD, LEDGER = "candidates.yaml", ".made.yaml"
_DECISIVE = ("kind", "weights_sha256", "scale", "tile", "precision")  # of an enhancer: what its pictures depend on


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
"""What an enhancer may be called: its pictures lie in a folder of that name."""


class Photo(BaseModel):
    """One photo: the relative path of its pictures here, and the hashes of the files they were made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    sha256: str
    height: int
    width: int
    # Hashes of the pictures that were taken from folders, by enhancer.
    folders: dict[str, str] = {}


class Candidates(BaseModel):
    """candidates.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    enhancers: tuple[Enhancer, ...]
    photos: tuple[Photo, ...]

    @field_validator("enhancers", "photos")
    @classmethod
    def _inside(cls, entries: tuple[Enhancer | Photo, ...]) -> tuple[Enhancer | Photo, ...]:
        """Whoever wrote the record: names are places in its folder, which --overwrite empties."""
        for entry in entries:
            path = PurePosixPath(entry.name)
            plain = bool(NAME.fullmatch(entry.name)) if isinstance(entry, Enhancer) else not path.is_absolute()
            if not plain or ".." in path.parts:
                raise ValueError(f"'{entry.name}' is no name inside the folder")
        return entries

    @property
    def slots(self) -> dict[str, str]:
        """Slot → the enhancer's name, which is also its folder."""
        return {enhancer.slot: enhancer.name for enhancer in self.enhancers}


class Ledger(Candidates):
    """.made.yaml: what all pictures there were made from."""

    # {path: (bytes, time of change in ns, SHA-256)} of photos and folders' pictures: unchanged ones are not read again.
    seen: dict[str, tuple[int, int, str]] = {}


def read_candidates(folder: Path) -> Candidates:
    """The record of a finished folder of candidates; InvalidInput where there is none."""
    record = _read(folder / RECORD, Candidates)
    if record is None:
        if (folder / LEDGER).exists():
            raise InvalidInput(f"'{folder}' is not finished: it has no {RECORD}.", hint="Run `goldeye enhance` again.")
        raise InvalidInput(f"'{folder}' holds no candidates: it has no {RECORD}.", hint="`goldeye enhance` makes one.")
    return record


def read_ledger(folder: Path) -> Ledger | None:
    """What all pictures of a folder were made from, finished or not; None where `goldeye enhance` made none."""
    return _read(folder / LEDGER, Ledger)


def write_candidates(folder: Path, record: Candidates) -> None:
    """The record of a finished call."""
    _write(folder / RECORD, record)


class Hashes:
    """SHA-256 of files, read again only where their size or time of change is not as `known` has it."""

    def __init__(self, known: Mapping[str, tuple[int, int, str]]) -> None:
        self.seen = dict(known)

    def of(self, path: Path) -> str:
        key, stat = str(path.absolute()), path.stat()
        size, changed, digest = self.seen.get(key, (0, 0, ""))
        if (size, changed) != (stat.st_size, stat.st_mtime_ns):
            digest = sha256(path)
            self.seen[key] = stat.st_size, stat.st_mtime_ns, digest
        return digest


def prepare(
    output: Path,
    record: Candidates,
    earlier: Ledger | None,
    seen: dict[str, tuple[int, int, str]],
    overwrite: bool,
) -> None:
    """Make sure that pictures already in `output` were made as this call would make them, then note what it makes."""
    names = {"original", *record.slots.values()}
    hint = "Choose another folder for the candidates, or make them all again with --overwrite."
    known: Candidates | None = None
    if overwrite:
        (output / RECORD).unlink(missing_ok=True)
        for name in names | set(earlier.slots.values() if earlier else ()):
            shutil.rmtree(output / name, ignore_errors=True)
    elif earlier is None:
        for name in sorted(names):
            if (output / name).is_dir() and any((output / name).iterdir()):
                raise InvalidInput(f"'{output / name}' holds files that `goldeye enhance` did not make.", hint=hint)
    elif differences := _differences(known := _still_there(earlier, output), record):
        raise InvalidInput(f"'{output}' was made differently: {'; '.join(differences[:5])}.", hint=hint)
    for name in names:
        for left in (output / name).rglob(".*.tmp.png"):  # what a killed process was writing
            left.unlink(missing_ok=True)
    merged = _merged(known, record)
    _write(output / LEDGER, Ledger(enhancers=merged.enhancers, photos=merged.photos, seen=seen))


def _still_there(earlier: Candidates, output: Path) -> Candidates:
    """Without the photos and enhancers of which nothing was made, because all failed or work stopped before."""
    photos = tuple(photo for photo in earlier.photos if (output / "original" / photo.name).exists())
    enhancers = tuple(one for one in earlier.enhancers if any((output / one.name).rglob("*.png")))
    return Candidates(photos=photos, enhancers=enhancers)


def _differences(earlier: Candidates, record: Candidates) -> list[str]:
    """What an earlier call made from something else, in words; only names that both have can differ."""
    told = []
    enhancers = {enhancer.name: enhancer for enhancer in earlier.enhancers}
    for new in record.enhancers:
        old = enhancers.get(new.name, new)
        keys = [key for key in _DECISIVE if getattr(old, key) != getattr(new, key)]
        told += [f"{key} of enhancer {new.name} ({getattr(old, key)} then, {getattr(new, key)} now)" for key in keys]
    photos = {photo.name: photo for photo in earlier.photos}
    for now in record.photos:
        then = photos.get(now.name, now)
        if then.sha256 != now.sha256:
            told.append(f"photo '{now.source}' has changed")
        changed = [name for name, digest in now.folders.items() if then.folders.get(name, digest) != digest]
        told += [f"the picture for '{now.source}' in the folder of {name} has changed" for name in changed]
    return told


def _merged(earlier: Candidates | None, record: Candidates) -> Candidates:
    """Everything the two tell of; where both tell, they agree."""
    if earlier is None:
        return record
    enhancers = {enhancer.name: enhancer for enhancer in (*earlier.enhancers, *record.enhancers)}
    photos = {photo.name: photo for photo in earlier.photos}
    for photo in record.photos:
        known = photos[photo.name].folders if photo.name in photos else {}
        photos[photo.name] = photo.model_copy(update={"folders": known | photo.folders})
    return Candidates(enhancers=tuple(enhancers.values()), photos=tuple(photos.values()))


_Record = TypeVar("_Record", bound=Candidates)


def _read(path: Path, kind: type[_Record]) -> _Record | None:
    if not path.exists():
        return None
    try:
        return kind.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"'{path}' cannot be used: it is not a record of `goldeye enhance`.") from error


def _write(path: Path, record: Candidates) -> None:
    values = record.model_dump(mode="json")
    write_text(path, yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120))
