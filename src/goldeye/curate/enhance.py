"""`goldeye enhance`: every photo through every enhancer, into a folder of candidates.

CANDIDATES/original/NAME.png      the photo, 8-bit RGB
CANDIDATES/ENHANCER/NAME.png      its enhanced version, the same size
CANDIDATES/candidates.yaml        which enhancers (in order, with the hash of their weights) and photos these are
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from goldeye import __version__
from goldeye.batch import BatchResult, bar, shows_progress
from goldeye.curate.candidates import NAME, Candidates, Hashes, Photo, prepare, read_ledger, write_candidates
from goldeye.curate.engines import Engine, LocalEngine, worker_number
from goldeye.dataset.groups import Enhancer
from goldeye.errors import GoldeyeError, ImageError, InvalidInput
from goldeye.files import sole_user
from goldeye.images import Picture, find_images, image_size, open_picture, spool, to_eight_bit, write_image

if TYPE_CHECKING:
    from goldeye.images.colour import Depth
    from goldeye.networks.weights import LoadedModel
    from goldeye.upscale import Upscaler

TILE = 512
"""Side of a tile unless given: fixed, so that results do not depend on how much memory a machine has free."""
_COPY = 5e-8  # seconds a pixel to read and write a picture, for the bar's ETA alone
_BAND = 256  # rows worked on at a time
_MOST_TOLD = 100  # problems named before the rest is only counted


@dataclass(frozen=True)
class Network:
    """A network, and all else that decides what it makes of a photo."""

    source: str
    sha256: str
    tile: int
    precision: str
    device: str


@dataclass(frozen=True)
class Task:
    """A picture to make: what `network` makes of `source`, or without one `source` itself."""

    source: Path
    target: Path
    network: Network | None = None


def enhance_photos(
    photos: Path,
    output: Path,
    *,
    enhancers: Mapping[str, str],
    folders: Mapping[str, Path],
    device: str = "cpu",
    tile: int = 0,
    precision: str = "fp32",
    engine: Engine | None = None,
    overwrite: bool = False,
) -> BatchResult:
    """Make the candidates of every photo below `photos`: upright 8-bit sRGB of the photo's size, its alpha dropped.

    `enhancers` maps a name to a file of weights, a run folder, a model's name or a YAML combination. A network that
    changes the size has its result resized to the photo's (MATLAB bicubic). `folders` maps a name to a folder of
    pictures made elsewhere, of the photos' sizes and relative names; the endings may differ, and all may carry the
    suffix _NAME or _FOLDER. Slots 01, 02, … follow the order of `enhancers`, then `folders`.
    `tile` 0 is TILE pixels, `precision` auto, fp32, bf16 or fp16. Every engine gives the same files. Memory is needed
    for a tile and some rows of a photo.

    Everything is checked before work starts. Finished pictures are skipped; pictures made with other weights, settings
    or photos of the same name are refused, naming what differs, unless `overwrite` starts over. Photos and enhancers
    may be added and left out between calls; candidates.yaml lists those of the last, but for photos that failed.
    Entries of the result: {"input", "enhancer", "output"}, failed ones with "error".
    """
    engine = engine or LocalEngine()
    found = _find_photos(photos, output)
    _check_names([*enhancers, *folders])
    _check_places(photos, output, folders)
    results = _match_folders(found, folders)
    described = list(_describe(enhancers, folders, device, tile or TILE, precision))
    with sole_user(output):
        earlier = read_ledger(output)
        hashes = Hashes(earlier.seen if earlier else {})
        record = Candidates(
            enhancers=tuple(enhancer for enhancer, _, _ in described),
            photos=tuple(
                Photo(
                    name=name,
                    source=str(path),
                    sha256=hashes.of(path),
                    height=height,
                    width=width,
                    folders={folder: hashes.of(results[folder][name]) for folder in folders},
                )
                for name, (path, (height, width)) in found.items()
            ),
        )
        prepare(output, record, earlier, hashes.seen, overwrite)

        # One network after the other: a process then holds one at a time. Reading a photo once for each costs far less
        # than a network does, and every pair of photo and enhancer is finished, or fails, by itself.
        work = _Work(output, found)
        originals = [work.add("original", name, found[name][0], None, _COPY) for name in found]
        versions = []
        for enhancer, network, cost in described:
            for name in found:
                source = output / "original" / name if network else results[enhancer.name][name]
                versions.append(work.add(enhancer.name, name, source, network, cost))
        result, failed = work.run(engine, originals, versions)

        # A photo with a failure is left out of the record, and tried again by the next call.
        whole = tuple(photo for photo in record.photos if photo.name not in failed)
        if whole:
            write_candidates(output, record.model_copy(update={"photos": whole}))
        return result


# Work ----------------------------------------------------------------------------------------------------------------


class _Work:
    """The pictures to make, and what becomes of them."""

    def __init__(self, output: Path, found: Mapping[str, tuple[Path, tuple[int, int]]]) -> None:
        self.output, self.found = output, found
        self.tasks: list[Task] = []
        self.names: list[tuple[str, str]] = []  # enhancer and photo of each task
        self.seconds: list[float] = []  # what each is guessed to take, on some scale
        self.finished: set[int] = set()  # by an earlier call

    def add(self, enhancer: str, name: str, source: Path, network: Network | None, cost: float) -> int:
        """→ the new task's number. `cost`: seconds a pixel."""
        height, width = self.found[name][1]
        target = self.output / enhancer / name
        if target.exists():
            self.finished.add(len(self.tasks))
        # Absolute, for machines that work elsewhere.
        self.tasks.append(Task(source.absolute(), target.absolute(), network))
        self.names.append((enhancer, name))
        self.seconds.append(height * width * cost)
        return len(self.tasks) - 1

    def run(self, engine: Engine, *stages: list[int]) -> tuple[BatchResult, set[str]]:
        """Stage after stage, each without the photos that failed before. → the result, in the tasks' order; those."""
        outcomes: dict[int, str | None] = {}
        failed: set[str] = set()
        micros = [max(1, round(seconds * 1e6)) for seconds in self.seconds]
        before = sum(micros[index] for index in self.finished)
        with bar("enhance", sum(micros), before, percent=True) as advance:
            for stage in stages:
                left = {index for index in stage if self.names[index][1] not in failed}
                outcomes |= dict.fromkeys(left & self.finished)
                todo = sorted(left - self.finished)
                advance(sum(micros[index] for index in set(stage) - left - self.finished))
                for number, error in engine.map(make_picture, [self.tasks[index] for index in todo]):
                    index = todo[number]
                    outcomes[index] = error
                    if error is not None:
                        failed.add(self.names[index][1])
                    enhancer, name = self.names[index]
                    advance(micros[index], f"{len(outcomes)}/{len(self.tasks)} {enhancer}/{name}")
        _upscaler.cache_clear()
        result = BatchResult()
        for index, error in sorted(outcomes.items()):
            enhancer, name = self.names[index]
            output = str(self.output / enhancer / name)
            entry = {"input": str(self.found[name][0]), "enhancer": enhancer, "output": output}
            if error is not None:
                result.failed.append(entry | {"error": error})
            else:
                (result.skipped if index in self.finished else result.done).append(entry)
        return result, failed


def make_picture(task: Task) -> str | None:
    """Make one picture, in any process. → what went wrong, in one sentence, or None."""
    folder = task.target.parent
    try:
        with ExitStack() as stack:

            def array(shape: tuple[int, ...], dtype: Depth) -> Picture:
                return stack.enter_context(spool(shape, dtype, folder))

            photo = open_picture(task.source, srgb=True, into=array).pixels
            if photo.dtype == np.uint8:
                picture = photo
            else:
                picture = array(photo.shape, np.uint8)
                for top in range(0, len(photo), _BAND):
                    picture[top : top + _BAND] = to_eight_bit(photo[top : top + _BAND])
            if task.network is not None:
                picture = stack.enter_context(_enhanced(task.network, picture, folder))
            write_image(task.target, picture)
    except (GoldeyeError, OSError, RuntimeError, MemoryError) as error:  # RuntimeError: torch
        return str(error) or type(error).__name__
    return None


@contextmanager
def _enhanced(network: Network, picture: Picture, folder: Path) -> Iterator[Picture]:
    """What the network makes of a picture, at its size; lasts as long as the block."""
    from goldeye.upscale.finish import enlarged

    size = picture.shape[0], picture.shape[1]
    with enlarged(_upscaler(network), picture, None, size, dtype=np.dtype(np.uint8), folder=folder) as (pixels, _):
        yield pixels


@lru_cache(maxsize=1)
def _upscaler(network: Network) -> Upscaler:
    """The network ready to work, kept by the process for its next photo."""
    from goldeye.upscale import Upscaler

    device = network.device
    if device == "cuda":
        import torch

        device = f"cuda:{worker_number() % max(1, torch.cuda.device_count())}"
    model = _load(network.source, device)
    if model.sha256 != network.sha256:
        raise InvalidInput(f"'{network.source}' is not what it was when the work began.")
    return Upscaler(model.module, scale=model.scale, tile=network.tile, precision=network.precision, steady=True)


# Checks before it ----------------------------------------------------------------------------------------------------


def _find_photos(photos: Path, output: Path) -> dict[str, tuple[Path, tuple[int, int]]]:
    """{relative name ending in .png: (photo, (height, width))}; reads the headers only, and names all bad ones."""
    root = photos if photos.is_dir() else photos.parent
    if output.resolve().is_relative_to(root.resolve()) and photos.is_dir():
        raise InvalidInput(f"The folder of candidates '{output}' must not lie inside the photos' folder '{photos}'.")
    found: dict[str, tuple[Path, tuple[int, int]]] = {}
    problems = []
    for path in find_images(photos):
        name = path.relative_to(root).with_suffix(".png").as_posix()
        if name in found:
            problems.append(f"'{found[name][0]}' and '{path}' would both be written as {name}")
            continue
        try:
            found[name] = (path, image_size(path))
        except ImageError as error:
            problems.append(error.message.rstrip("."))
    if problems:
        raise InvalidInput(f"Not all photos can be used: {_told(problems)}.")
    return found


def _told(problems: list[str]) -> str:
    more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
    return "; ".join(problems[:_MOST_TOLD]) + more


def _check_names(names: list[str]) -> None:
    """Enhancers name folders: one plain word each, all different."""
    if not names:
        raise InvalidInput("Name at least one enhancer or folder of enhanced pictures.")
    for name in names:
        if not NAME.fullmatch(name) or name == "original":
            raise InvalidInput(
                f"'{name}' cannot name an enhancer.",
                hint="Letters, digits and . _ + - are allowed; 'original' is taken.",
            )
        if names.count(name) > 1:
            raise InvalidInput(f"Two enhancers are named '{name}'.")


def _check_places(photos: Path, output: Path, folders: Mapping[str, Path]) -> None:
    """What is read must not lie where results are written, and --overwrite removes."""
    for place in (photos, *folders.values()):
        if place.resolve().is_relative_to(output.resolve()):
            raise InvalidInput(f"'{place}' must not lie inside the folder of candidates '{output}'.")


def _match_folders(
    found: Mapping[str, tuple[Path, tuple[int, int]]], folders: Mapping[str, Path]
) -> dict[str, dict[str, Path]]:
    """{enhancer: {photo name: picture}} for results made elsewhere; every missing or wrongly sized one is named."""
    matched: dict[str, dict[str, Path]] = {}
    problems = []
    for enhancer, folder in folders.items():
        if not folder.is_dir():
            raise InvalidInput(f"'{folder}' is not a folder with the pictures of '{enhancer}'.")
        by_stem: dict[str, list[Path]] = {}
        for path in find_images(folder):
            by_stem.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
        stems = {name: name.removesuffix(".png") for name in found}
        # One suffix for all: photos a and a_01 with results a_01 and a_01_01 must not be mixed up.
        suffixes = ("", f"_{enhancer}", f"_{folder.resolve().name}")
        suffix = max(suffixes, key=lambda suffix: sum(stem + suffix in by_stem for stem in stems.values()))
        matched[enhancer] = {}
        for name, (photo, size) in found.items():
            pictures = by_stem.get(stems[name] + suffix, [])
            if len(pictures) == 1:
                matched[enhancer][name] = pictures[0]
                problems += _misfit(pictures[0], size)
            elif pictures:
                problems.append(f"'{folder}' has {len(pictures)} pictures for '{photo}'")
            else:
                problems.append(f"'{folder}' has no picture for '{photo}'")
    if problems:
        raise InvalidInput(f"Pictures made elsewhere do not fit the photos: {_told(problems)}.")
    return matched


def _misfit(picture: Path, size: tuple[int, int]) -> list[str]:
    try:
        other = image_size(picture)
    except ImageError as error:
        return [error.message.rstrip(".")]
    return [] if other == size else [f"'{picture}' is {other[1]}x{other[0]}, its photo {size[1]}x{size[0]}"]


def _describe(
    enhancers: Mapping[str, str], folders: Mapping[str, Path], device: str, tile: int, precision: str
) -> Iterator[tuple[Enhancer, Network | None, float]]:
    """The provenance of each slot, its network, and the seconds it takes for a pixel.

    Loads every model once, so that a wrong file shows before work starts.
    """
    slots = (f"{number:02d}" for number in range(1, len(enhancers) + len(folders) + 1))
    for name, source in enhancers.items():
        import torch

        from goldeye.networks.weights import find_file
        from goldeye.upscale.precision import choose_precision

        # The file itself: of a run that goes on, the latest checkpoint may soon be another.
        file = find_file(source)
        where = str(file.absolute()) if file is not None else source
        model = _load(where, device)
        network = Network(where, model.sha256, tile, choose_precision(precision, device), device)
        made = Enhancer(
            name=name,
            slot=next(slots),
            source=source,
            architecture=model.architecture,
            scale=model.scale,
            tile=tile,
            precision=network.precision,
            weights_sha256=model.sha256,
            members={str(member.path): member.sha256 for member in model.members},
            goldeye=__version__,
            torch=torch.__version__,
        )
        yield made, network, _COPY + _seconds(model, device)
    for name, folder in folders.items():
        yield Enhancer(name=name, slot=next(slots), kind="folder", source=str(folder), goldeye=__version__), None, _COPY


def _load(source: str, device: str) -> LoadedModel:
    from goldeye.networks.weights import load_model, require_picture_network

    model = load_model(source, device=device)
    require_picture_network(model, device)
    return model


def _seconds(model: LoadedModel, device: str) -> float:
    """Seconds a pixel, measured on a small picture; 0 where no bar is shown that would need them."""
    if not shows_progress():
        return 0.0
    import torch

    side = 64
    start = time.perf_counter()
    with torch.inference_mode():
        model.module(torch.zeros(1, 3, side, side, device=device)).cpu()
    return (time.perf_counter() - start) / side**2
