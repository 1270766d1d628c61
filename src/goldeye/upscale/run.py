"""Upscale pictures: one in memory, or files and folders. Networks of scale 1 (enhancers) go the same way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from goldeye.batch import BatchResult, bar
from goldeye.errors import GoldeyeError, InvalidInput
from goldeye.images import (
    SUFFIXES,
    FloatPicture,
    Picture,
    check_writable,
    find_images,
    from_tensor,
    matlab_resize,
    open_picture,
    to_float,
    to_tensor,
    to_uint8,
    write_image,
)
from goldeye.images.tiles import Tile, cut_tiles, tile_size
from goldeye.networks.blocks import pad_to_multiple
from goldeye.networks.weights import LoadedModel


def upscale_picture(
    module: nn.Module,
    picture: Picture | FloatPicture,
    *,
    scale: int,
    tile: int = 0,
    tile_pad: int = 16,
    device: str = "cpu",
) -> Picture:
    """(H, W, 3) → uint8 (H·scale, W·scale, 3), through a network in evaluation mode on `device`.

    `tile` and `tile_pad` are in input pixels: each tile is computed with `tile_pad` pixels of its surroundings, which
    are cut off again. `tile` 0 takes a small picture whole and a large one (over 512x512 pixels) in tiles of 256.
    Raises GoldeyeError naming the tile when the network gives values that are not finite.
    """
    height, width = picture.shape[:2]
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    for area, values in run_tiles(module, picture, scale=scale, tile=tile, tile_pad=tile_pad, device=device):
        result[area.top * scale : area.bottom * scale, area.left * scale : area.right * scale] = from_tensor(values)
    return result


def run_tiles(
    module: nn.Module,
    picture: Picture | FloatPicture,
    *,
    scale: int,
    tile: int = 0,
    tile_pad: int = 16,
    device: str = "cpu",
) -> Iterator[tuple[Tile, Tensor]]:
    """Yield each tile with its core's result: float32 (3, rows·scale, columns·scale), not clipped, on `device`."""
    multiple = int(getattr(module, "size_multiple", 1))
    height, width = picture.shape[:2]
    for area in cut_tiles(height, width, tile_size(height, width, tile), tile_pad, multiple):
        window = picture[area.window_top : area.window_bottom, area.window_left : area.window_right]
        values = _run(module, to_tensor(window).to(device), scale, multiple)
        if not torch.isfinite(values).all():
            raise GoldeyeError(f"The network gave values that are not finite in the tile at {area}.")
        top, left = (area.top - area.window_top) * scale, (area.left - area.window_left) * scale
        rows, columns = (area.bottom - area.top) * scale, (area.right - area.left) * scale
        yield area, values[:, top : top + rows, left : left + columns]


def _run(module: nn.Module, window: Tensor, scale: int, multiple: int) -> Tensor:
    """(1, 3, h, w) → (3, h·scale, w·scale), padded by reflection to what the network needs and cropped."""
    height, width = window.shape[-2:]
    window = pad_to_multiple(window, multiple)
    with torch.inference_mode():
        values: Tensor = module(window)
    shape, expected = tuple(values.shape), (1, 3, window.shape[2] * scale, window.shape[3] * scale)
    if shape != expected:
        raise InvalidInput(f"The network gives no RGB picture of scale {scale}: {shape}, not {expected}.")
    return values[0, :, : height * scale, : width * scale].float()


def upscale_files(
    inputs: list[Path],
    output: Path,
    *,
    model: LoadedModel,
    outscale: float | None = None,
    tile: int = 0,
    tile_pad: int = 16,
    suffix: str = "",
    ext: str | None = None,
    overwrite: bool = False,
    device: str = "cpu",
) -> BatchResult:
    """Upscale files and folders (recursively, their structure kept) into the folder `output`, as NAME + suffix + ext.

    One input file may also go to one output file, named with an image's ending. `ext` is png unless given. `outscale`
    is the final size over the input's: the model's result is resized to it as MATLAB does. Results are 8-bit and opaque
    (alpha is dropped), upright, with the input's colour profile and EXIF; grey pictures stay grey. Finished files are
    skipped unless `overwrite`; a picture that fails, or is too large for its format, is reported and the rest goes on.
    Raises InvalidInput, before any work, for what cannot be meant: no pictures, two pictures with one output, an output
    in the place of an input.
    """
    if outscale is not None and not 0 < outscale < float("inf"):
        raise InvalidInput(f"The output scale must be a positive number, not {outscale}.")
    if tile < 0 or tile_pad < 0:
        raise InvalidInput("The tile and its padding must be 0 or a number of pixels.")
    result = BatchResult()
    todo = []
    for source, target in _plan(inputs, output, suffix, ext):
        if target.exists() and not overwrite:
            result.skipped.append({"input": str(source), "output": str(target)})
        else:
            todo.append((source, target))
    with bar("Upscaling", len(todo) + len(result.skipped), len(result.skipped)) as advance:
        for source, target in todo:
            start = time.perf_counter()
            try:
                photo = open_picture(source)
                height, width = _final_size(photo.pixels, model.scale if outscale is None else outscale)
                check_writable(target, height, width)
                large = upscale_picture(
                    model.module, photo.pixels, scale=model.scale, tile=tile, tile_pad=tile_pad, device=device
                )
                if large.shape[:2] != (height, width):
                    large = to_uint8(matlab_resize(to_float(large), height, width))
                write_image(target, large, grey=photo.grey, icc=photo.icc, exif=photo.exif)
            except (GoldeyeError, OSError, MemoryError, RuntimeError) as error:  # RuntimeError: torch, out of memory
                result.failed.append({"input": str(source), "error": str(error)})
            else:
                seconds = round(time.perf_counter() - start, 3)
                result.done.append({"input": str(source), "output": str(target), "seconds": seconds})
            advance(1, source.name)
    return result


def _final_size(picture: Picture, scale: float) -> tuple[int, int]:
    """(height, width) at `scale` times the input's size."""
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return height, width


def _plan(inputs: list[Path], output: Path, suffix: str, ext: str | None) -> list[tuple[Path, Path]]:
    """(picture, output file) for every picture, checked."""
    ending = f".{(ext or 'png').lower().lstrip('.')}"
    if ending not in SUFFIXES:
        raise InvalidInput(f"Pictures cannot be written as '{ending}'.", hint=f"Known: {', '.join(SUFFIXES)}.")
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
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
                    pairs.append((picture, output / relative.with_name(f"{relative.stem}{suffix}{ending}")))
        if not pairs:
            raise InvalidInput(f"There are no pictures to upscale but those in the output folder '{output}'.")
    return _checked(pairs)


def _checked(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Drop pictures that were given twice; refuse outputs that would destroy an input or each other."""
    by_source = {source.resolve(): (source, target) for source, target in pairs}
    taken: dict[Path, Path] = {}
    for source, target in by_source.values():
        place = target.resolve()
        if place in by_source:
            raise InvalidInput(f"'{target}' would overwrite an input: choose another output folder.")
        if place in taken:
            raise InvalidInput(f"'{taken[place]}' and '{source}' would both be written to '{target}'.")
        taken[place] = source
    return list(by_source.values())
