"""`goldeye enhance`: every photo through every enhancer, into a folder of candidates.

    CANDIDATES/original/NAME.png      the photo, 8-bit RGB
    CANDIDATES/ENHANCER/NAME.png      its enhanced version, the same size
    CANDIDATES/candidates.yaml        which enhancers (in order, with the hash of their weights) and photos these are

`.made.yaml` beside it is written before work starts and remembers what every picture there was made from, so that a
later call takes over only what it would make the same way.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from goldeye.batch import BatchResult, bar
from goldeye.dataset.groups import Enhancer
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.files import sha256, write_text
from goldeye.images import Picture, find_images, image_size, read_image, to_eight_bit, write_image

if TYPE_CHECKING:
    from goldeye.networks.weights import LoadedModel
    from goldeye.upscale import Upscaler

RECORD, LEDGER = "candidates.yaml", ".made.yaml"


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

    @property
    def slots(self) -> dict[str, str]:
        """Slot → the enhancer's name, which is also its folder."""
        return {enhancer.slot: enhancer.name for enhancer in self.enhancers}


def read_candidates(folder: Path) -> Candidates:
    """The record of a finished folder of candidates; InvalidInput where there is none."""
    record = _read(folder / RECORD)
    if record is None:
        if (folder / LEDGER).exists():
            raise InvalidInput(f"'{folder}' is not finished: it has no {RECORD}.", hint="Run `goldeye enhance` again.")
        raise InvalidInput(f"'{folder}' holds no candidates: it has no {RECORD}.", hint="`goldeye enhance` makes one.")
    return record


def enhance_photos(
    photos: Path,
    output: Path,
    *,
    enhancers: Mapping[str, str],
    folders: Mapping[str, Path],
    device: str = "cpu",
    tile: int = 0,
    overwrite: bool = False,
) -> BatchResult:
    """Make the candidates of every photo below `photos` (16-bit photos become 8-bit).

    `enhancers` maps a name to a file of weights or a run folder, `folders` a name to a folder of pictures made
    elsewhere, with the photos' relative names (the ending may differ) and sizes. A network that changes the size has
    its result resized to the photo's (MATLAB bicubic). Slots 01, 02, … follow the order of `enhancers`, then `folders`.

    Everything is checked before work starts. Finished pictures are skipped; pictures made with other weights, settings
    or photos of the same name are refused, naming what differs, unless `overwrite` starts over. Photos and enhancers
    may be added and left out between calls; candidates.yaml lists those of the last.
    Entries of the result: {"input", "enhancer", "output"}, failed ones with "error".
    """
    found = _find_photos(photos, output)
    _check_names([*enhancers, *folders])
    results = _match_folders(found, folders)
    record = Candidates(
        enhancers=tuple(_describe(enhancers, folders, device, tile)),
        photos=tuple(
            Photo(
                name=name,
                source=str(path),
                sha256=sha256(path),
                height=height,
                width=width,
                folders={folder: sha256(results[folder][name]) for folder in folders},
            )
            for name, (path, (height, width)) in found.items()
        ),
    )
    _prepare(output, record, overwrite)

    result = BatchResult()
    failed: set[str] = set()
    unreadable: frozenset[str] = frozenset()
    with bar("enhance", len(found) * (1 + len(record.enhancers))) as advance:

        def fill(enhancer: str, make: Callable[[str], Picture]) -> None:
            """Make the pictures of one folder that are not there yet."""
            for name, (path, _) in found.items():
                advance(1, f"{enhancer}/{name}")
                if name in unreadable:
                    continue
                target = output / enhancer / name
                entry: dict[str, Any] = {"input": str(path), "enhancer": enhancer, "output": str(target)}
                if target.exists():
                    result.skipped.append(entry)
                else:
                    try:
                        write_image(target, make(name))
                        result.done.append(entry)
                    except (GoldeyeError, OSError, RuntimeError, MemoryError) as error:
                        failed.add(name)
                        result.failed.append(entry | {"error": str(error)})

        fill("original", lambda name: to_eight_bit(read_image(found[name][0])))
        unreadable = frozenset(failed)
        for enhancer, source in enhancers.items():
            fill(enhancer, partial(_enhance, _upscaler(source, device, tile), output / "original"))
        for enhancer in folders:
            fill(enhancer, partial(_taken, results[enhancer]))

    # A photo with a failure is left out of the record, and tried again by the next call.
    whole = tuple(photo for photo in record.photos if photo.name not in failed)
    if whole:
        _write(output / RECORD, record.model_copy(update={"photos": whole}))
    return result


def _find_photos(photos: Path, output: Path) -> dict[str, tuple[Path, tuple[int, int]]]:
    """{relative name ending in .png: (photo, (height, width))}; reads the headers only."""
    root = photos if photos.is_dir() else photos.parent
    if output.resolve().is_relative_to(root.resolve()) and photos.is_dir():
        raise InvalidInput(f"The folder of candidates '{output}' must not lie inside the photos' folder '{photos}'.")
    found: dict[str, tuple[Path, tuple[int, int]]] = {}
    for path in find_images(photos):
        name = path.relative_to(root).with_suffix(".png").as_posix()
        if name in found:
            raise InvalidInput(f"'{found[name][0]}' and '{path}' would both be written as {name}.")
        found[name] = (path, image_size(path))
    return found


def _check_names(names: list[str]) -> None:
    """Enhancers name folders: one plain word each, all different."""
    if not names:
        raise InvalidInput("Name at least one enhancer or folder of enhanced pictures.")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", name) or name == "original":
            raise InvalidInput(
                f"'{name}' cannot name an enhancer.",
                hint="Letters, digits and . _ + - are allowed; 'original' is taken.",
            )
        if names.count(name) > 1:
            raise InvalidInput(f"Two enhancers are named '{name}'.")


def _match_folders(
    found: Mapping[str, tuple[Path, tuple[int, int]]], folders: Mapping[str, Path]
) -> dict[str, dict[str, Path]]:
    """{enhancer: {photo name: picture}} for results made elsewhere; every missing or wrongly sized one is named."""
    matched: dict[str, dict[str, Path]] = {}
    problems = []
    for enhancer, folder in folders.items():
        if not folder.is_dir():
            raise InvalidInput(f"'{folder}' is not a folder with the pictures of '{enhancer}'.")
        by_stem = {path.relative_to(folder).with_suffix("").as_posix(): path for path in find_images(folder)}
        matched[enhancer] = {}
        for name, (photo, size) in found.items():
            picture = by_stem.get(name.removesuffix(".png"))
            if picture is None:
                problems.append(f"'{folder}' has no picture for '{photo}'")
            elif (other := image_size(picture)) != size:
                problems.append(f"'{picture}' is {other[1]}x{other[0]}, its photo {size[1]}x{size[0]}")
            else:
                matched[enhancer][name] = picture
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InvalidInput(f"Pictures made elsewhere do not fit the photos: {'; '.join(problems[:5])}{more}.")
    return matched


def _describe(enhancers: Mapping[str, str], folders: Mapping[str, Path], device: str, tile: int) -> Iterator[Enhancer]:
    """The provenance of each slot; loads every model once, so that a wrong file shows before work starts."""
    slots = (f"{number:02d}" for number in range(1, len(enhancers) + len(folders) + 1))
    for name, source in enhancers.items():
        model = _load(source, device)
        yield Enhancer(
            name=name,
            slot=next(slots),
            source=source,
            architecture=model.architecture,
            scale=model.scale,
            tile=tile,
            weights_sha256=model.sha256,
        )
    for name, folder in folders.items():
        yield Enhancer(name=name, slot=next(slots), kind="folder", source=str(folder))


def _load(source: str, device: str) -> LoadedModel:
    from goldeye.networks.weights import load_model, require_picture_network

    model = load_model(source, device=device)
    require_picture_network(model, device)
    return model


def _upscaler(source: str, device: str, tile: int) -> Upscaler:
    from goldeye.upscale import Upscaler

    model = _load(source, device)
    return Upscaler(model.module, scale=model.scale, tile=tile)


def _enhance(upscaler: Upscaler, originals: Path, name: str) -> Picture:
    """The enhanced version of a photo, at its size."""
    from goldeye.upscale.finish import upscale_array

    enhanced: Picture = upscale_array(upscaler, read_image(originals / name), outscale=1)  # type: ignore[assignment]
    return enhanced


def _taken(pictures: Mapping[str, Path], name: str) -> Picture:
    return to_eight_bit(read_image(pictures[name]))


def _prepare(output: Path, record: Candidates, overwrite: bool) -> None:
    """Make sure that pictures already in `output` were made as this call would make them, then note what it makes."""
    earlier = _read(output / LEDGER)
    names = {"original", *record.slots.values()}
    hint = "Choose another folder for the candidates, or make them all again with --overwrite."
    if overwrite:
        for name in names | set(earlier.slots.values() if earlier else ()):
            shutil.rmtree(output / name, ignore_errors=True)
        (output / RECORD).unlink(missing_ok=True)
        earlier = None
    elif earlier is None:
        for name in sorted(names):
            if (output / name).is_dir() and any((output / name).iterdir()):
                raise InvalidInput(f"'{output / name}' holds files that `goldeye enhance` did not make.", hint=hint)
    elif differences := _differences(earlier := _still_there(earlier, output), record):
        raise InvalidInput(f"'{output}' was made differently: {'; '.join(differences[:5])}.", hint=hint)
    _write(output / LEDGER, _merged(earlier, record))


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
        keys = [key for key in ("kind", "weights_sha256", "scale", "tile") if getattr(old, key) != getattr(new, key)]
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


def _read(path: Path) -> Candidates | None:
    if not path.exists():
        return None
    try:
        return Candidates.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"'{path}' cannot be used: it is not a record of `goldeye enhance`.") from error


def _write(path: Path, record: Candidates) -> None:
    values = record.model_dump(mode="json")
    write_text(path, yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120))
