"""`goldeye maps`: pictures in, a folder of arrays and pictures out.

OUT/maps.npz        the arrays, float32; for a dataset's group in a folder for each pair of a negative and a positive
OUT/NAME.png …      each map as a picture of 16 bits; maps that are compared have one scale
OUT/sheet.png       all of them with their inputs, in false colours with bars
OUT/maps.json       inputs, settings, and each map's values and scale
"""

from __future__ import annotations

import difflib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from goldeye.errors import GoldeyeError, InvalidInput, some, unknown_name
from goldeye.files import atomic_path, sole_user, write_json
from goldeye.images import FloatPicture, image_size, read_image, to_float, to_tensor
from goldeye.maps.compute import Array, Maps, edl_maps, hggt_maps, ldl_maps
from goldeye.maps.sheet import Panel, Range, Row, bar_range, draw_sheet, full_range, write_map

MOST_PIXELS = 2**24  # of a picture whose maps are made
PAIR_WINDOW = 3  # HGGT's local variance
WHOLE = "no positive: M^Ind is M^Neg"

Crop = tuple[int, int, int]
"""(top, left, side) in pixels."""

_PLACES = "R1_less_R2"
_PICTURES = ("fused", "out1", "out2")
# Which maps share a scale.
_COMPARED: list[tuple[str, ...]] = [("M", "sigma_M", "M_refine"), ("M_Neg", "M_Pos", "M_Ind"), _PICTURES]
_COMPARED += [("M_alpha_R", "M_alpha_G", "M_alpha_B", "M_alpha_max")]
_TITLES = {
    "R": "$|R|$",
    "M": "$M$",
    "sigma_M": r"$\sigma\,M$",
    "M_refine": "$M_{refine}$",
    _PLACES: "$|R_1| < |R_2|$",
    "R_Neg": "$R^{Neg}$",
    "M_Neg": "$M^{Neg}$",
    "M_Pos": "$M^{Pos}$",
    "M_Ind": "$M^{Ind}$",
    "fused": "out1 + out2",
    "out1": r"out1 = $M_\alpha\,x$",
    "out2": r"out2 = $(1 - M_\alpha)\,y$",
    "M_alpha_R": r"$M_\alpha$, red",
    "M_alpha_G": r"$M_\alpha$, green",
    "M_alpha_B": r"$M_\alpha$, blue",
    "M_alpha_max": r"$M_\alpha$, largest channel",
}


@dataclass(frozen=True)
class _Set:
    """The maps of one pair or group; `folder` is where in the output they go, `about` what maps.json says of them."""

    caption: str
    inputs: Mapping[str, FloatPicture]
    maps: Maps
    folder: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


def draw_ldl(
    sr: Path,
    gt: Path,
    output: Path,
    *,
    averaged: Path | None = None,
    window: int = 7,
    residual: str = "absolute",
    crop: Crop | None = None,
) -> dict[str, Any]:
    """LDL's maps (Fig. 5) of a result, its GT, and what the averaged weights make of the same LR.

    `residual` is "absolute" or "signed" as in a recipe. `crop`: only that square, as training would see it (sigma is of
    the whole patch). Returns what maps.json holds. InvalidInput for pictures of unequal size or with too few or too
    many pixels, and for an output that is in use.
    """
    from goldeye.config import ArtifactConfig, validate

    settings = {"window": window, "residual": residual}
    if residual not in (known := ("absolute", "signed")):
        raise unknown_name("residual", residual, known)
    validate(ArtifactConfig, settings, where="LDL's map")
    _check_output(output)
    paths = {"SR": sr, "GT": gt} | ({} if averaged is None else {"averaged": averaged})
    pictures = _read(paths, crop, window)
    maps = ldl_maps(*map(to_tensor, pictures.values()), window=window, signed=residual == "signed")
    sigma = float(maps["sigma"])
    caption = f"σ = {sigma:.3g}; window {window}; {residual} residual"
    caption += f"; averaged: {averaged.name}" if averaged is not None else ""
    found = _Set(caption, pictures, maps, about={"sigma": sigma})
    title = f"LDL: {sr.name} against {gt.name}"
    return _write(output, "ldl", title, paths, settings | _cropped(crop), [found])


def draw_hggt_pictures(
    original: Path, negative: Path, output: Path, *, positive: Path | None = None, crop: Crop | None = None
) -> dict[str, Any]:
    """HGGT's maps (supplement, Fig. 3) of pictures; everybody is taken to agree on them. Otherwise as `draw_ldl`."""
    _check_output(output)
    paths = {"original": original} | ({} if positive is None else {"positive": positive}) | {"negative": negative}
    pictures = _read(paths, crop, PAIR_WINDOW)
    tensors = {name: to_tensor(picture) for name, picture in pictures.items()}
    maps = hggt_maps(tensors["original"], tensors["negative"], tensors.get("positive"))
    found = _Set(f"positive: {positive.name}" if positive is not None else WHOLE, pictures, maps)
    return _write(output, "hggt", f"HGGT: {negative.name} against {original.name}", paths, _cropped(crop), [found])


def draw_hggt_group(
    path: Path,
    identity: str,
    output: Path,
    *,
    vote_weighting: bool = True,
    min_votes: int = 1,
    crop: Crop | None = None,
) -> dict[str, Any]:
    """The same for a group of a dataset: each of its negatives with each of its positives, by the final labels.

    The maps are scaled by the shares of votes, as training does, unless `vote_weighting` is off. InvalidInput for an
    unknown group, and for one without a negative.
    """
    from goldeye.dataset.groups import Dataset
    from goldeye.dataset.multi_gt import labelled_groups

    _check_output(output)
    dataset = Dataset.open(path)
    if output.resolve().is_relative_to(dataset.path.resolve()):
        raise InvalidInput(f"The output '{output}' must not lie in the dataset '{dataset.path}'.")
    known = {group.id: group for group in dataset.groups}
    if identity not in known:
        near = difflib.get_close_matches(identity, known, n=5, cutoff=0.3) or known
        raise InvalidInput(f"'{path}' has no group '{identity}'.", hint=f"There are {some(near)}.")
    group = known[identity]
    labelled = labelled_groups(dataset, "positive+negative", group.split, min_votes=min_votes)
    with_negatives = {each.id: each for each in labelled if each.negatives}
    if identity not in with_negatives:
        raise InvalidInput(
            f"Group '{identity}' of '{path}' has no candidate with the final label Negative: there is no map.",
            hint=f"Groups with one: {some(with_negatives)}." if with_negatives else None,
        )
    rated = with_negatives[identity]
    slots = {picture: slot for slot, picture in group.candidates.items()}
    candidates = {slots[one.path]: one for one in (*rated.positives, *rated.negatives)}
    paths = {"original": group.original} | {slot: one.path for slot, one in candidates.items()}
    pictures = _read(paths, crop, PAIR_WINDOW)
    weights = {slot: one.share if vote_weighting else 1.0 for slot, one in candidates.items()}
    positives: list[str | None] = [slots[one.path] for one in rated.positives]
    pairs = [(slots[one.path], positive) for one in rated.negatives for positive in positives or [None]]
    sets = [_pair(negative, positive, pictures, weights, dataset.enhancer_names) for negative, positive in pairs]
    settings = {"group": identity, "vote_weighting": vote_weighting, "min_votes": min_votes} | _cropped(crop)
    return _write(output, "hggt", f"HGGT: group {identity}", {"dataset": path}, settings, sets)


def _pair(
    negative: str,
    positive: str | None,
    pictures: Mapping[str, FloatPicture],
    weights: Mapping[str, float],
    names: Mapping[str, str],
) -> _Set:
    """The maps of two candidates of a group, which are named by their slots."""
    slots = {"negative": negative} | ({} if positive is None else {"positive": positive})
    inputs = {"original": pictures["original"]} | {role: pictures[slot] for role, slot in reversed(slots.items())}
    shares = {f"{role}_weight": weights[slot] for role, slot in slots.items()}
    maps = hggt_maps(
        to_tensor(pictures["original"]),
        to_tensor(pictures[negative]),
        None if positive is None else to_tensor(pictures[positive]),
        **shares,
    )
    told = [f"{role} {slot} ({names[slot]}), weight {weights[slot]:.3g}" for role, slot in slots.items()]
    told += [] if positive is not None else [WHOLE]
    folder = "_".join(f"{role}-{slot}" for role, slot in slots.items())
    return _Set("; ".join(told), inputs, maps, folder, slots | shares)


def draw_edl(model: str, lr: Path, output: Path, *, device: str = "cpu", crop: Crop | None = None) -> dict[str, Any]:
    """EDL's mask, its two outputs and their sum for an LR picture; `model` is what `load_model` takes.

    The picture is computed whole. InvalidInput for another network and where the memory does not suffice; GoldeyeError
    for values that are not finite.
    """
    from goldeye.networks.edl import EDL
    from goldeye.networks.weights import load_model, require_picture_network
    from goldeye.upscale.memory import free_memory, tile_bytes

    _check_output(output)
    picture = _read({"LR": lr}, crop, window=1)["LR"]
    loaded = load_model(model, device=device)
    network = loaded.module
    if not isinstance(network, EDL):
        raise InvalidInput(
            f"'{model}' is a network of {loaded.architecture}: masks are EDL's.",
            hint="`goldeye models info` tells what a file holds; edl and edl-code have masks.",
        )
    require_picture_network(loaded, device)
    needed = tile_bytes(network, scale=loaded.scale, device=device) * picture.shape[0] * picture.shape[1]
    if needed > (free := free_memory(device)):
        raise InvalidInput(
            f"The masks of '{lr}' need about {needed / 2**30:.1f} GiB of memory, of which {free / 2**30:.1f} are free.",
            hint="Take a part of it with --crop.",
        )
    maps = edl_maps(network, to_tensor(picture).to(device))
    if not all(np.isfinite(values).all() for values in maps.values()):
        raise GoldeyeError(f"'{model}' gives values that are not finite for '{lr}'.")
    enlarged = picture.repeat(loaded.scale, axis=0).repeat(loaded.scale, axis=1)
    channels = len(maps["M_alpha"])
    caption = f"scale {loaded.scale}, {loaded.config['structure']}'s structure, a mask of {channels} channels"
    found = _Set(caption, {"LR": enlarged}, maps, about={"channels": channels})
    title = f"EDL: {lr.name} by {Path(model).name}"
    return _write(output, "edl", title, {"model": model, "LR": lr}, _cropped(crop), [found])


def maps_text(document: Mapping[str, Any]) -> str:
    """What maps.json holds, for people: a line a map, and where to look."""
    lines = []
    for found in document["sets"]:
        lines += [found["caption"]] if found["caption"] else []
        lines += [
            f"  {name:<12}{values['min']:.4g} to {values['max']:.4g}, mean {values['mean']:.4g}"
            for name, values in found["maps"].items()
        ]
    return "\n".join([*lines, f"{document['output']}: sheet.png, maps.json, arrays and pictures"])


# Reading -------------------------------------------------------------------------------------------------------------


def _check_output(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidInput(f"The output '{output}' is in use.", hint="Choose a new or empty folder.")


def _cropped(crop: Crop | None) -> dict[str, Any]:
    return {"crop": None if crop is None else list(crop)}


def _read(paths: Mapping[str, Path], crop: Crop | None, window: int) -> dict[str, FloatPicture]:
    """The pictures, or one part of each, in [0, 1]; InvalidInput unless all have one fitting size.

    Reflection around a pixel needs half a `window` beside it.
    """
    sizes = {path: image_size(path) for path in paths.values()}
    first, (height, width) = next(iter(sizes.items()))
    for path, size in sizes.items():
        if size != (height, width):
            raise InvalidInput(
                f"'{path}' is {size[1]} x {size[0]} pixels and '{first}' {width} x {height}: they must have one size."
            )
    top, left, side = crop or (0, 0, max(height, width))
    if crop is not None and (min(crop) < 0 or side < 1 or top + side > height or left + side > width):
        raise InvalidInput(
            f"The crop of {side} pixels at {top},{left} does not lie in '{first}' ({width} x {height} pixels)."
        )
    rows, columns = min(side, height), min(side, width)
    if min(rows, columns) <= window // 2:
        raise InvalidInput(
            f"{columns} x {rows} pixels of '{first}' are too few: a window of {window} needs {window // 2 + 1} a side."
        )
    if rows * columns > MOST_PIXELS:
        raise InvalidInput(
            f"{columns} x {rows} pixels of '{first}' are too many: maps are made of at most {MOST_PIXELS:,}.",
            hint="Take a part of it with --crop.",
        )
    part = slice(top, top + side), slice(left, left + side)
    return {name: to_float(read_image(path)[part]) for name, path in paths.items()}


# Writing -------------------------------------------------------------------------------------------------------------


def _write(
    output: Path,
    kind: str,
    title: str,
    inputs: Mapping[str, Path | str],
    settings: Mapping[str, Any],
    sets: Sequence[_Set],
) -> dict[str, Any]:
    """Write the folder, whole or not at all, and return what maps.json holds."""
    shown = [_shown(found.maps) for found in sets]
    ranges = _ranges(shown, full_range)
    written = []
    with _whole(output) as work:
        for found, pictures in zip(sets, shown, strict=True):
            folder = work / found.folder
            folder.mkdir(exist_ok=True)
            _write_arrays(folder / "maps.npz", found.maps)
            for name, values in pictures.items():
                write_map(folder / f"{name}.png", values, ranges[name])
            maps = {name: _figures(values) | _picture(name, ranges) for name, values in (pictures | found.maps).items()}
            written.append({"folder": found.folder, "caption": found.caption, **found.about, "maps": maps})
        measure = partial(bar_range, from_zero=kind != "edl")  # the shares of a mask vary around 1 / channels
        bars = ranges | {name: bar for name, bar in _ranges(shown, measure).items() if _is_false_coloured(name)}
        rows = [Row(found.caption, _panels(found, each, bars)) for found, each in zip(sets, shown, strict=True)]
        draw_sheet(work / "sheet.png", title, rows)
        document = {
            "kind": kind,
            "inputs": {name: str(path) for name, path in inputs.items()},
            "settings": dict(settings),
            "output": str(output),
            "sets": written,
        }
        write_json(work / "maps.json", {"schema": "goldeye.maps/1"} | document)
    return document


def _shown(maps: Maps) -> Maps:
    """What becomes a picture: all but numbers, of a signed residual the size, of a mask its three colours."""
    shown: Maps = {}
    for name, values in maps.items():
        if name == "M_alpha":
            shown |= dict(zip(("M_alpha_R", "M_alpha_G", "M_alpha_B"), values, strict=True)) if len(values) == 3 else {}
        elif values.ndim:
            shown[name] = np.abs(values) if name == "R" else values
    return shown


def _is_false_coloured(name: str) -> bool:
    return name not in (*_PICTURES, _PLACES)


def _ranges(shown: Sequence[Maps], measure: Callable[[Sequence[Array]], Range]) -> dict[str, Range]:
    """{map: its scale}: one for all maps that are compared, in all sets."""
    ranges: dict[str, Range] = {}
    for name in dict.fromkeys(name for maps in shown for name in maps):
        together = next((group for group in _COMPARED if name in group), (name,))
        low, high = measure([maps[each] for maps in shown for each in together if each in maps])
        ranges[name] = (low, high) if _is_false_coloured(name) else (low, max(high, 1.0))
    return ranges


def _panels(found: _Set, shown: Maps, ranges: Mapping[str, Range]) -> list[Panel]:
    inputs = [Panel(name, picture.transpose(2, 0, 1), (0.0, 1.0), "picture") for name, picture in found.inputs.items()]
    panels = [
        Panel(
            _TITLES[name],
            values,
            ranges[name],
            "picture" if name in _PICTURES else "places" if name == _PLACES else "map",
        )
        for name, values in shown.items()
    ]
    return inputs + panels


def _figures(values: Array) -> dict[str, Any]:
    return {
        "shape": list(values.shape),
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean(dtype=np.float64)),
    }


def _picture(name: str, ranges: Mapping[str, Range]) -> dict[str, Any]:
    if name not in ranges:
        return {"picture": None, "range": None}
    return {"picture": f"{name}.png", "range": list(ranges[name])}


def _write_arrays(path: Path, maps: Maps) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **maps)  # type: ignore[arg-type]
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `output` at the end, or is removed on an exception."""
    place = output.resolve()
    work = place.with_name(f".{place.name}.unfinished")
    with sole_user(work):
        try:
            for left in work.iterdir():  # by a run that was killed
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield work
            if place.exists():
                place.rmdir()
            work.rename(place)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
