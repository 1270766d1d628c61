"""Upscale pictures: one in memory, or files and folders. Networks of scale 1 (enhancers) go the same way."""

from __future__ import annotations

import glob
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from goldeye import __version__
from goldeye.batch import BatchResult, bar
from goldeye.errors import GoldeyeError, ImageError, InvalidInput
from goldeye.images import (
    SUFFIXES,
    FloatPicture,
    Picture,
    check_writable,
    find_images,
    image_size,
    open_picture,
    read_software,
    spool,
    write_image,
)
from goldeye.images.colour import Depth
from goldeye.images.io import reason
from goldeye.images.write import EIGHT_BIT, OPAQUE
from goldeye.networks.weights import LoadedModel
from goldeye.upscale.engine import Upscaler
from goldeye.upscale.finish import enlarged, final_size, upscale_array


def upscale_picture(
    module: nn.Module,
    picture: Picture | FloatPicture,
    *,
    scale: int,
    outscale: float | None = None,
    color_fix: bool = False,
    **options: Any,
) -> Any:
    """A picture through a network in evaluation mode: (H, W, 3), or with alpha (H, W, 4), → the same kind, larger.

    uint8, uint16 and float32 in [0, 1] stay what they are. `scale` is the network's, `outscale` that of the result if
    another. `options` are those of `Upscaler` (tile, tile_pad, precision, ensemble, compile). Raises GoldeyeError
    naming the tile when the network gives values that are not finite.
    """
    return upscale_array(Upscaler(module, scale=scale, **options), picture, outscale=outscale, color_fix=color_fix)


@dataclass(frozen=True)
class Job:
    """One picture to upscale, and its final size (height, width)."""

    source: Path
    target: Path
    pixels: int
    size: tuple[int, int]


def upscale_files(
    inputs: list[Path],
    output: Path,
    *,
    model: LoadedModel,
    outscale: float | None = None,
    suffix: str = "",
    ext: str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    strip_metadata: bool = False,
    color_fix: bool = False,
    **options: Any,
) -> BatchResult:
    """Upscale files, patterns and folders (recursively, their structure kept) into the folder `output`.

    Names are NAME + suffix + ext; `ext` is png unless given, `auto` the input's own. One input file may also go to one
    output file, named with an image's ending. `outscale` is the final size over the input's: the model's result is
    resized to it as MATLAB does. `options` are those of `Upscaler`, `color_fix` is `keep_colours`.

    Results are upright, with the input's colour profile, EXIF and alpha; grey stays grey, and 16 bits a channel stay
    where the format holds them. EXIF's Software says what made the picture (`made_by`). `strip_metadata` leaves all
    that out and converts the colours to sRGB.

    Finished files are skipped unless `overwrite`; a picture that fails, or is too large for its format, is reported and
    the rest goes on. Raises InvalidInput, before any work, for what cannot be meant: no pictures, two pictures with one
    output, an output in the place of an input or of another model's result.
    """
    factor = model.scale if outscale is None else outscale
    final_size(1, 1, factor)
    settings = _settings(model, factor, ensemble=bool(options.get("ensemble")), color_fix=color_fix)
    result = BatchResult()
    todo = []
    for source, target in _plan(inputs, output, suffix, ext):
        if not overwrite and _is_finished(target, settings, strip_metadata=strip_metadata):
            result.skipped.append({"input": str(source), "output": str(target)})
        else:
            todo.append((source, target))
    upscaler = Upscaler(model.module, scale=model.scale, **options)
    software = None if strip_metadata else f"goldeye {__version__}; model {_name(model)}; {settings}"
    jobs = list(_checked_sizes(todo, factor, result))
    for folder in {job.target.parent for job in jobs}:
        _check_folder(folder)
    with bar("Upscaling", sum(job.pixels for job in jobs), percent=True) as advance:
        for job in jobs:
            start = time.perf_counter()
            try:
                _upscale_file(
                    upscaler,
                    job,
                    software,
                    srgb=strip_metadata,
                    color_fix=color_fix,
                    quality=quality,
                    progress=lambda pixels, name=job.source.name: advance(pixels, name),  # type: ignore[misc]
                )
            except (GoldeyeError, OSError, MemoryError, RuntimeError) as error:  # RuntimeError: torch
                result.failed.append({"input": str(job.source), "error": str(error) or type(error).__name__})
            else:
                seconds = round(time.perf_counter() - start, 3)
                result.done.append({"input": str(job.source), "output": str(job.target), "seconds": seconds})
    return result


def _upscale_file(
    upscaler: Upscaler,
    job: Job,
    software: str | None,
    *,
    srgb: bool,
    color_fix: bool,
    quality: int,
    progress: Callable[[int], object],
) -> None:
    folder = job.target.parent
    with ExitStack() as stack:

        def array(shape: tuple[int, ...], dtype: Depth) -> Picture:
            return stack.enter_context(spool(shape, dtype, folder))

        photo = open_picture(job.source, srgb=srgb, into=array)
        dtype = np.dtype(np.uint8) if job.target.suffix.lower() in EIGHT_BIT else photo.pixels.dtype
        alpha = photo.alpha
        if alpha is not None and alpha.min() == np.iinfo(alpha.dtype).max and job.target.suffix.lower() in OPAQUE:
            alpha = None  # nothing is transparent, so nothing is lost
        check_writable(job.target, *job.size, alpha=alpha is not None)
        pixels, shape = stack.enter_context(
            enlarged(
                upscaler,
                photo.pixels,
                alpha,
                job.size,
                dtype=dtype,
                color_fix=color_fix,
                folder=folder,
                progress=progress,
            )
        )
        write_image(
            job.target,
            pixels,
            alpha=shape,
            grey=photo.grey,
            icc=photo.icc,
            exif=None if srgb else photo.exif,
            software=software,
            quality=quality,
        )


def _checked_sizes(todo: list[tuple[Path, Path]], factor: float, result: BatchResult) -> Iterator[Job]:
    """The pictures whose results can be written, from their headers; the others are reported in `result`."""
    for source, target in todo:
        try:
            height, width = image_size(source)
            size = final_size(height, width, factor)
            check_writable(target, *size)
        except (ImageError, OSError) as error:
            result.failed.append({"input": str(source), "error": str(error)})
        else:
            yield Job(source, target, height * width, size)


# What made a file ----------------------------------------------------------------------------------------------------


def made_by(path: Path) -> str | None:
    """The settings that a picture was upscaled with, as its EXIF entry Software tells; None where it does not."""
    last = (read_software(path) or "").rpartition("goldeye ")[2]  # a result may have been made from another
    found = re.fullmatch(r"\S+; model \S*; (sha256:.*)", last)
    return found[1] if found else None


def _settings(model: LoadedModel, factor: float, *, ensemble: bool, color_fix: bool) -> str:
    """What decides the result; the tile and the precision are left out, since they hardly do."""
    parts = [f"sha256:{model.sha256[:16]}", f"x{factor:g}"]
    parts += ["ensemble"] if ensemble else []
    parts += ["color-fix"] if color_fix else []
    return "; ".join(parts)


def _name(model: LoadedModel) -> str:
    """The file's name; for a checkpoint, its run's as well."""
    run = f"{model.path.parent.parent.name}/" if model.path.parent.name == "checkpoints" else ""
    return re.sub(r"[^!-~]|;", "_", f"{run}{model.path.stem}")


def _is_finished(target: Path, settings: str, *, strip_metadata: bool) -> bool:
    """Whether an earlier run made this picture; InvalidInput where that one had another model or setting."""
    try:
        image_size(target)
    except ImageError:
        return False
    made, wanted = made_by(target), "no metadata" if strip_metadata else settings
    if made is not None and made != wanted:
        raise InvalidInput(
            f"'{target}' was made with another model or setting ({made}; now it would be {wanted}).",
            hint="Choose another folder or --suffix, or make it again with --overwrite.",
        )
    return True


def _check_folder(folder: Path) -> None:
    """Make the folder of results; InvalidInput, before any work, where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInput(f"Nothing can be written to the folder '{folder}': {reason(error)}.") from None


# Which files ---------------------------------------------------------------------------------------------------------


def _plan(inputs: list[Path], output: Path, suffix: str, ext: str | None) -> list[tuple[Path, Path]]:
    """(picture, output file) for every picture, checked."""
    ending = f".{(ext or 'png').lower().lstrip('.')}"
    if ending not in (*SUFFIXES, ".auto"):
        raise InvalidInput(f"Pictures cannot be written as '{ending}'.", hint=f"Known: {', '.join(SUFFIXES)}, auto.")
    inputs = [path for given in inputs for path in _matching(given, output)]
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        if suffix or ext:
            raise InvalidInput(f"The result has the name '{output}': --suffix and --ext are for folders.")
        if len(inputs) == 1 and not inputs[0].is_dir():
            pairs = [(picture, output) for picture in find_images(inputs[0])]
        else:
            raise InvalidInput(f"Several pictures cannot go into the one file '{output}': give a folder.")
    elif output.exists() and not output.is_dir():
        raise InvalidInput(f"The output '{output}' is a file; a folder is needed.")
    else:
        pairs = []
        for source in inputs:
            folder = source if source.is_dir() else source.parent
            # A run may write into a folder inside its input: what it wrote is no input of the next run.
            inside = output.resolve() if folder.resolve() in output.resolve().parents else None
            for picture in find_images(source):
                if inside is None or inside not in picture.resolve().parents:
                    relative = picture.relative_to(folder)
                    name = f"{relative.stem}{suffix}{picture.suffix if ending == '.auto' else ending}"
                    pairs.append((picture, output / relative.with_name(name)))
        if not pairs:
            raise InvalidInput(f"There are no pictures to upscale but those in the output folder '{output}'.")
    return _checked(pairs)


def _checked(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Drop pictures that were given twice; refuse outputs that would destroy an input or each other."""
    unique = {(source.resolve(), target.resolve()): (source, target) for source, target in pairs}
    sources = {source for source, _ in unique}
    # A run may write beside its inputs, with a suffix: what an earlier one made there is no input of the next.
    earlier = {t for source, t in unique if source != t and t in sources and made_by(t) is not None}
    taken: dict[Path, Path] = {}
    kept = []
    for (original, place), (source, target) in unique.items():
        if original in earlier:
            continue
        if place in sources - earlier:
            raise InvalidInput(f"'{target}' would overwrite an input: choose another output folder.")
        if place in taken:
            raise InvalidInput(
                f"'{taken[place]}' and '{source}' would both be written to '{target}'.",
                hint="Give them one at a time with --suffix, or keep their endings with --ext auto.",
            )
        taken[place] = source
        kept.append((source, target))
    return kept


def _matching(given: Path, output: Path) -> list[Path]:
    """A path itself, or the pictures that a pattern such as `photos/*.jpg` matches, but for those below `output`.

    Shells on Windows leave patterns to programs.
    """
    if given.exists() or not glob.has_magic(str(given)):
        return [given]
    try:
        found = sorted(Path(given.anchor).glob(str(given.relative_to(given.anchor))))
    except (ValueError, NotImplementedError) as error:
        raise InvalidInput(f"'{given}' is no pattern: {str(error).lower().rstrip('.')}.") from None
    below = output.resolve()
    pictures = [
        path
        for path in found
        if path.suffix.lower() in SUFFIXES and path.is_file() and below not in path.resolve().parents
    ]
    if not pictures:
        raise InvalidInput(f"No picture matches '{given}'.")
    return pictures
