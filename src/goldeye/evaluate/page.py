"""The page of a benchmark: tables, paired differences, and the pictures side by side where the models differ most.

The page works from the folder it lies in, without a server; with `single_file` everything is inside it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
import numpy as np
import numpy.typing as npt

from goldeye.evaluate.report import digits, figures_of, notes
from goldeye.evaluate.testset import PictureSet
from goldeye.files import atomic_path, write_text
from goldeye.images import Picture, encode_jpeg, encode_png, luma_bt601, read_image
from goldeye.images.colour import as_float

if TYPE_CHECKING:
    from goldeye.evaluate.benchmark import Bench

THUMBNAIL = 360  # longest side in pixels
_MIME = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".bmp": "image/bmp"}


def write_page(output: Path, document: Mapping[str, Any], bench: Bench, *, single_file: bool) -> str:
    """Write OUTPUT/index.html, and without `single_file` the crops it shows; returns its path."""
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
        notes=[note for note in notes(document) if note],
        # A page that is opened as a file cannot import modules: the viewer comes inside.
        script=re.sub(r"^export ", "", viewer, flags=re.MULTILINE)
        + folder.joinpath("benchmark.js").read_text(encoding="utf-8"),
        style=folder.joinpath("benchmark.css").read_text(encoding="utf-8"),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    )
    write_text(output / "index.html", page.encode("utf-8", "replace").decode("utf-8"))
    return str(output / "index.html")


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


def _shown(
    one: PictureSet, name: str, rows: Sequence[Mapping[str, Any]], bench: Bench, output: Path, write: Write
) -> dict[str, Any]:
    """What the page's script needs of one picture."""
    files = {"GT": one.gt.path(name)}
    if one.lr is not None:
        files["LR"] = one.lr.path(name)
    entrants = [entrant for entrant in bench.entrants if entrant.enters(one)]
    made = {entrant.name: bench.made[entrant.name, one.entry.name].pictures for entrant in entrants}
    models = {title: pictures.path(name) for title, pictures in made.items() if pictures.there(name)}
    pictures = {title: read_image(path) for title, path in {**files, **models}.items()}
    large = {title: picture for title, picture in pictures.items() if title != "LR"}
    compared = [large[title] for title in models] if len(models) > 1 else list(large.values())
    scale = bench.settings.scale
    top, left, side = crop_window(compared, bench.settings.page.crop, step=scale)
    stem = f"crops/{one.folder.name}/{name}"
    layers = []
    for place, (title, path) in enumerate({**files, **models}.items()):
        factor = scale if title == "LR" else 1
        rows_, columns = (slice(start // factor, (start + side) // factor) for start in (top, left))
        crop = encode_png(pictures[title][rows_, columns])
        layers.append(
            {
                "title": title,
                "crop": write(f"{stem}/{place}.png", crop),
                "source": _address(path, output, write),
                "model": title in models,
            }
        )
    height, width = one.cases[name].size
    return {
        "name": name,
        "height": height,
        "width": width,
        "crop": {"top": top, "left": left, "side": side},
        "thumbnail": write(f"{stem}/thumbnail.jpg", encode_jpeg(large["GT"], THUMBNAIL)),
        "layers": layers,
        "figures": {
            metric: {row["model"]: row["metrics"][metric]["per_image"].get(name) for row in rows}
            for metric in bench.settings.all_metrics
        },
    }


def _address(path: Path, output: Path, write: Write) -> str:
    if write is _embedded:
        return _embedded(path.name, path.read_bytes())
    return quote(path.relative_to(output).as_posix())


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
