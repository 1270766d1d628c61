"""The demo's report: one self-contained HTML page made from the files in the demo's folder."""

from __future__ import annotations

import base64
import io
import platform
from collections import Counter
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from goldeye import __version__
from goldeye.dataset.groups import Dataset, Group
from goldeye.dataset.labels import finals
from goldeye.files import write_text
from goldeye.images import Picture, encode_png, matlab_resize, read_image, to_float, to_uint8
from goldeye.train.logging import read_metrics

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "pyvips", "lightning-fabric", "fastapi", "scikit-image")
SHOWN_GROUPS = 6
CROP = 96  # side of the enlarged before/after crop, in pixels of the photo


def write_report(output: Path, records: dict[str, dict[str, Any]], settings: dict[str, Any]) -> Path:
    """Write OUTPUT/report.html; every figure in it comes from a file below `output`, which it names."""
    source = resources.files("goldeye.demo").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["db"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["figure"] = _figure
    page = environment.from_string(source).render(
        folder=output,
        records=records,
        stages=list(records.values()),
        stats=records["labels"]["result"],
        groups=_groups(Dataset.open(output / "dataset")),
        photo_pairs=_photo_pairs(output),
        curves={name: _curve(output / "runs" / name) for name in records["train"]["result"]},
        upscaled=_before_after(output, records["upscale"]["result"]),
        settings=settings,
        versions={"goldeye": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in LIBRARIES},
        machine=f"{platform.system()} {platform.machine()}",
    )
    report = output / "report.html"
    write_text(report, page)
    return report


def _figure(value: dict[str, Any], metric: str) -> str:
    """`27.31 [26.9, 27.7]`, with the digits that the metric deserves."""
    digits = 4 if metric.startswith("ssim") else 2
    if value["mean"] is None:
        return "–"
    interval = "" if value["ci95"] is None else " [" + ", ".join(f"{end:.{digits}f}" for end in value["ci95"]) + "]"
    return f"{value['mean']:.{digits}f}{interval}"


def _png(picture: Picture) -> str:
    """A data URL."""
    return _data_url(encode_png(picture), "image/png")


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _groups(dataset: Dataset) -> list[dict[str, Any]]:
    """A few groups with pictures and final labels: those with most different labels, at most two a photo."""
    labels = finals(dataset)
    chosen: list[Group] = []
    a_photo: Counter[str | None] = Counter()
    for group in sorted(dataset.groups, key=lambda g: (-len({f.label for f in labels[g.id].values()}), g.id)):
        if len(chosen) < SHOWN_GROUPS and a_photo[group.source] < 2:
            chosen.append(group)
            a_photo[group.source] += 1
    names = dataset.enhancer_names
    shown = []
    for group in chosen:
        candidates = [
            {
                "name": names[slot],
                "label": str(labels[group.id][slot].label),
                "votes": f"{labels[group.id][slot].agreeing} of {labels[group.id][slot].votes}",
                "picture": _png(read_image(path)),
            }
            for slot, path in group.candidates.items()
        ]
        shown.append(
            {
                "id": group.id,
                "split": group.split,
                "original": _png(read_image(group.original)),
                "candidates": candidates,
            }
        )
    return shown


def _photo_pairs(output: Path) -> list[dict[str, str]]:
    """Middle crops of each clean picture beside the photo that was made of it."""
    pairs = []
    for path in sorted((output / "photos").glob("*.png")):
        clean, photo = read_image(output / "clean" / path.name), read_image(path)
        top, left = (photo.shape[0] - CROP) // 2, (photo.shape[1] - CROP) // 2
        window = (slice(top, top + CROP), slice(left, left + CROP))
        pairs.append({"name": path.stem, "clean": _png(clean[window]), "photo": _png(photo[window])})
    return pairs


def _before_after(output: Path, record: dict[str, str]) -> dict[str, str]:
    """A crop of the upscaled photo beside bicubic and nearest enlargements of the same place."""
    photo, large = read_image(Path(record["input"])), read_image(Path(record["output"]))
    side = min(CROP, *photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    crop = photo[top : top + side, left : left + side]
    bicubic = to_uint8(matlab_resize(to_float(crop), side * 4, side * 4))
    return {
        "file": record["output"],
        "size": f"{photo.shape[1]}x{photo.shape[0]} → {large.shape[1]}x{large.shape[0]}",
        "nearest": _png(crop.repeat(4, axis=0).repeat(4, axis=1)),
        "bicubic": _png(bicubic),
        "sr": _png(large[top * 4 : (top + side) * 4, left * 4 : (left + side) * 4]),
    }


def _curve(run: Path) -> str:
    """The loss terms of a run as an SVG data URL: one small panel a term, each with its own scale."""
    import matplotlib.figure

    rows = read_metrics(run)
    names = [name for name in rows[-1] if name not in ("step", "lr")]
    if len(names) == 2:
        names.remove("loss")  # it is the only term
    figure = matplotlib.figure.Figure(figsize=(2.3 * len(names), 1.8), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        axes.plot(*zip(*points, strict=True), color="#9a6700", linewidth=1.2)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return _data_url(buffer.getvalue(), "image/svg+xml")
