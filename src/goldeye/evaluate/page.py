"""The page of a benchmark: tables, paired differences, and the pictures side by side where the models differ most.

The page works from the folder it lies in, without a server; with `single_file` everything is inside it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
import numpy as np
import numpy.typing as npt

from goldeye.errors import GoldeyeError
from goldeye.evaluate.made import SHOWN_BY_BROWSERS
from goldeye.evaluate.multi_gt import direction
from goldeye.evaluate.report import digits, figures_of, notes
from goldeye.evaluate.testset import PictureSet
from goldeye.files import atomic_path, write_text
from goldeye.images import Picture, encode_jpeg, encode_png, luma_bt601, read_image
from goldeye.images.colour import as_float

if TYPE_CHECKING:
    from goldeye.evaluate.benchmark import Bench

THUMBNAIL = 360  # longest side in pixels
_MIME = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".bmp": "image/bmp"}


def write_page(output: Path, document: Mapping[str, Any], bench: Bench, *, single_file: bool) -> None:
    """Write OUTPUT/index.html, and without `single_file` the crops it shows."""
    sort = bench.settings.page.sort or _first_sortable(document)
    write = _embedded if single_file else _beside(output)
    sets = []
    for one in bench.sets:
        rows = [row for row in document["results"] if row["set"] == one.entry.name]
        names = most_different(rows, list(one.cases), sort, bench.settings.page.pictures)
        sets.append(
            {
                "name": one.entry.name,
                "total": len(one.cases),
                "higher_is_better": {metric: direction(metric, one.against) for metric in document["metrics"]},
                "pictures": [_shown(one, name, rows, bench, output, write) for name in names],
            }
        )
    data = {
        "sets": sets,
        "models": [model["name"] for model in document["models"]],
        "metrics": {
            metric: {**info, "digits": digits(metric, info["unit"])} for metric, info in document["metrics"].items()
        },
        "sort": sort,
        "differences": document["differences"],
    }
    folder = resources.files("goldeye.evaluate").joinpath("web")
    viewer = resources.files("goldeye.annotate").joinpath("web/viewer.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(folder.joinpath("benchmark.html.j2").read_text(encoding="utf-8")).render(
        document=document,
        tables=figures_of(document),
        notes=notes(document),
        # A page that is opened as a file cannot import modules: the viewer comes inside.
        script=re.sub(r"^export ", "", viewer, flags=re.MULTILINE)
        + folder.joinpath("benchmark.js").read_text(encoding="utf-8"),
        style=folder.joinpath("benchmark.css").read_text(encoding="utf-8"),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    )
    write_text(output / "index.html", page.encode("utf-8", "replace").decode("utf-8"))


def most_different(rows: Sequence[Mapping[str, Any]], names: list[str], metric: str | None, count: int) -> list[str]:
    """The `count` pictures for which the models' figures lie furthest apart (largest minus smallest), those first.

    Pictures without two figures come last, by name.
    """

    def spread(name: str) -> float:
        of = [row["metrics"][metric]["per_image"].get(name) for row in rows if metric in row["metrics"]]
        there = [value for value in of if value is not None]
        return max(there) - min(there) if len(there) > 1 else -1.0

    return sorted(names, key=lambda name: (-spread(name), name))[:count]


def _first_sortable(document: Mapping[str, Any]) -> str | None:
    """The first metric that has figures of single pictures."""
    for metric in document["metrics"]:
        if any(row["metrics"].get(metric, {}).get("per_image") for row in document["results"]):
            return str(metric)
    return None


Write = Callable[[str, bytes], str]
"""Keeps a small picture under a relative path and returns its address for the page."""


def _embedded(path: str, content: bytes) -> str:
    return f"data:{_MIME[Path(path).suffix]};base64,{base64.b64encode(content).decode()}"


def _beside(output: Path) -> Write:
    def write(path: str, content: bytes) -> str:
        with atomic_path(output / path, durable=False) as temporary:
            temporary.write_bytes(content)
        return quote(path)

    return write


@dataclass(frozen=True)
class _Layer:
    """A picture of a case as the page shows it. `kind` is "gt", "lr", "reference" (of a dataset) or "model"."""

    title: str
    kind: str
    path: Path
    picture: Picture


def _layers(one: PictureSet, name: str, bench: Bench) -> list[_Layer]:
    """What there is of a case: its references, the LR picture, the models. What cannot be read is left out.

    In a dataset the figures compare with the targets, which come first, and the original may be none of them.
    """
    case = one.cases[name]
    found = [(f"{one.against.removesuffix('s')} {slot}", "gt", path) for slot, path in case.targets.items()]
    if one.dataset is None or one.against == "original":
        found = [("GT", "gt", one.gt.path(name))]
    else:
        found.append(("original", "reference", one.gt.path(name)))
    if one.lr is not None and one.lr.there(name):
        found.append(("LR", "lr", one.lr.path(name)))
    for entrant in bench.entrants:
        if entrant.enters(one):
            pictures = bench.made[entrant.name, one.entry.name].pictures
            if pictures.there(name):
                found.append((entrant.name, "model", pictures.path(name)))
    layers = []
    for title, kind, path in found:
        with suppress(GoldeyeError, OSError):
            layer = _Layer(title, kind, path, read_image(path))
            if kind == "lr" or layer.picture.shape[:2] == case.size:
                layers.append(layer)
    return layers


def _shown(
    one: PictureSet, name: str, rows: Sequence[Mapping[str, Any]], bench: Bench, output: Path, write: Write
) -> dict[str, Any]:
    """What the page's script needs of one picture."""
    layers = _layers(one, name, bench)
    large = [layer for layer in layers if layer.kind != "lr"]
    models = [layer for layer in large if layer.kind == "model"]
    scale = bench.settings.scale
    compared = models if len(models) > 1 else large
    top, left, side = crop_window([layer.picture for layer in compared], bench.settings.page.crop, step=scale)
    stem = f"crops/{one.folder.name}/{name}"

    def described(place: int, layer: _Layer) -> dict[str, str]:
        factor = scale if layer.kind == "lr" else 1
        lines, columns = (slice(start // factor, (start + side) // factor) for start in (top, left))
        return {
            "title": layer.title,
            "kind": layer.kind,
            "crop": write(f"{stem}/{place}.png", encode_png(layer.picture[lines, columns])),
            "source": _address(layer, f"{stem}/{place}-whole", output, write),
        }

    height, width = one.cases[name].size
    return {
        "name": name,
        "height": height,
        "width": width,
        "crop": {"top": top, "left": left, "side": side},
        "thumbnail": write(f"{stem}/thumbnail.jpg", encode_jpeg(large[0].picture, THUMBNAIL)),
        "layers": [described(place, layer) for place, layer in enumerate(layers)],
        "figures": {
            metric: {row["model"]: row["metrics"][metric]["per_image"].get(name) for row in rows}
            for metric in bench.settings.all_metrics
        },
    }


def _address(layer: _Layer, stem: str, output: Path, write: Write) -> str:
    """Of the whole picture; one that lies outside of the page's folder is copied."""
    ending = layer.path.suffix.lower()
    if layer.path.is_relative_to(output) and write is not _embedded:
        return quote(layer.path.relative_to(output).as_posix())
    if ending in SHOWN_BY_BROWSERS:
        return write(f"{stem}{ending}", layer.path.read_bytes())
    return write(f"{stem}.png", encode_png(layer.picture))


def crop_window(pictures: Sequence[Picture], side: int, *, step: int = 1) -> tuple[int, int, int]:
    """(top, left, side) of the square in which the pictures (H, W, 3) differ most, its corner on multiples of `step`.

    That is where the sum of the standard deviation of their luma over the pictures is largest. The side is a multiple
    of `step`, and smaller than asked for where a picture is.
    """
    height, width = pictures[0].shape[:2]
    side = min(side, height, width)
    side = max(side - side % step, 1)
    luma = np.stack([np.asarray(luma_bt601(as_float(picture)), np.float32) for picture in pictures])
    deviation: npt.NDArray[np.float64] = luma.std(axis=0, dtype=np.float64)
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = deviation.cumsum(0).cumsum(1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    row, column = np.unravel_index(int(inside[::step, ::step].argmax()), inside[::step, ::step].shape)
    return int(row) * step, int(column) * step, side
