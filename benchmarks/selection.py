"""Selecting patches on this CPU: ours beside the plain way (plain_selection.py), in one process and in both orders.

Photos of 2040x1356 with four versions, patches of 512: scoring alone (the plain way's windows of one photo against all
windows of a grid of 16 pixels), the whole selection with decoding and writing for each group that is kept, and writing
one crop. A ratio is that of one pair of runs; medians and ranges are over the pairs.

    python benchmarks/selection.py [PICTURES] [--photos 3] [--pairs 5] [--profile] [--markdown FILE]

PICTURES is a folder, of which the largest ones are taken; without it, pictures that come with scikit-image.
"""

from __future__ import annotations

import argparse
import cProfile
import datetime
import os
import platform
import pstats
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import plain_selection

from goldeye.curate.candidates import read_candidates
from goldeye.curate.enhance import enhance_photos
from goldeye.curate.scores import MEASURES, score_windows
from goldeye.curate.select import SelectSettings, select_patches
from goldeye.images import Picture, find_images, read_image, to_eight_bit, write_image
from goldeye.runtime import available_cores, prepare_process

HEIGHT, WIDTH = 1356, 2040
CORES = available_cores()
BUNDLED = ("astronaut", "coffee", "chelsea")


def load(folder: Path | None, count: int) -> list[Picture]:
    """The largest pictures of a folder, or those bundled, mirrored until they fill a photo."""
    if folder is None:
        import skimage.data

        pictures = [getattr(skimage.data, name)() for name in BUNDLED[:count]]
    else:
        found = [to_eight_bit(read_image(path)) for path in find_images(folder)]
        pictures = sorted(found, key=lambda picture: -picture.size)[:count]
    return [mirrored(picture) for picture in pictures]


def mirrored(picture: Picture) -> Picture:
    """(1356, 2040, 3): no resize, which would take the finest detail away."""
    height, width = picture.shape[:2]
    below, right = max(0, HEIGHT - height), max(0, WIDTH - width)
    return np.ascontiguousarray(np.pad(picture, ((0, below), (0, right), (0, 0)), mode="symmetric")[:HEIGHT, :WIDTH])


def versions_of(photo: Picture) -> dict[str, Picture]:
    """Mild sharpening and blur, as four enhancers differ."""

    def unsharp(sigma: float, amount: float) -> Picture:
        soft = cv2.GaussianBlur(photo, (0, 0), sigma)
        return np.asarray(cv2.addWeighted(photo, 1 + amount, soft, -amount, 0), np.uint8)

    return {"a": unsharp(1.0, 0.8), "b": unsharp(2.0, 0.5), "c": unsharp(1.5, 1.2), "d": unsharp(0.8, -0.7)}


def pairs(
    count: int, theirs: Callable[[], Any], ours: Callable[[], Any], prepare: Callable[[], None] = lambda: None
) -> tuple[list[float], list[float]]:
    """Seconds of both, measured in turn and in both orders, after a run that does not count.

    `prepare` comes before each and does not count either.
    """
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for number in range(-1, count):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            prepare()
            begin = time.perf_counter()
            (theirs, ours)[which]()
            if number >= 0:
                seconds[which].append(time.perf_counter() - begin)
    return seconds[0], seconds[1]


def row(name: str, seconds: tuple[list[float], list[float]], target: str = "") -> str:
    """A line of the table, in milliseconds."""
    theirs, ours = seconds
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]

    def cell(values: list[float], factor: float = 1000) -> str:
        scaled = [factor * value for value in values]
        return f"{statistics.median(scaled):.1f} ({min(scaled):.1f} to {max(scaled):.1f})"

    ratio = f"**{statistics.median(ratios):.1f}** ({min(ratios):.1f} to {max(ratios):.1f})"
    return f"| {name} | {cell(theirs)} | {cell(ours)} | {ratio} | {target} |"


def scoring(photo: Picture, count: int) -> list[str]:
    """(a) All pictures are in memory."""
    versions = versions_of(photo)
    bgr, bgr_versions = photo[..., ::-1].copy(), {slot: each[..., ::-1].copy() for slot, each in versions.items()}
    lines = []
    for measure in MEASURES:
        for threads in sorted({1, CORES}):
            seconds = pairs(
                count,
                partial(plain_selection.score_all, bgr, bgr_versions, np.random.default_rng(0)),
                partial(score_windows, photo, versions, 512, 16, measure=measure, threads=threads),
            )
            target = "ours ≤ 60" if measure == "pyramid" and threads == CORES else ""
            lines.append(row(f"scoring a photo, `{measure}`, {threads} thread(s)", seconds, target))
    return lines


def whole(photos: list[Picture], folder: Path, count: int, profile: bool) -> list[str]:
    """(b) Files in, files out; milliseconds for each group that is kept."""
    for number, photo in enumerate(photos):
        write_image(folder / "photos" / f"{number}.png", photo)
        for name, version in versions_of(photo).items():
            write_image(folder / name / f"{number}.png", version)
    enhance_photos(
        folder / "photos", folder / "candidates", enhancers={}, folders={name: folder / name for name in "abcd"}
    )
    record = read_candidates(folder / "candidates")
    names, kept = [photo.name for photo in record.photos], {}

    def prepare() -> None:
        for name in ("theirs", "ours"):
            shutil.rmtree(folder / name, ignore_errors=True)

    def theirs() -> None:
        kept["theirs"] = plain_selection.select(folder / "candidates", record.slots, names, folder / "theirs")

    def ours() -> None:
        kept["ours"] = select_patches(folder / "candidates", folder / "ours", SelectSettings())["groups"]

    their_seconds, our_seconds = pairs(count, theirs, ours, prepare)
    each = [value / kept["theirs"] for value in their_seconds], [value / kept["ours"] for value in our_seconds]
    title = f"selection, a kept group ({kept['theirs']} and {kept['ours']} of {len(photos)} photos)"
    if profile:
        prepare()
        profiler = cProfile.Profile()
        profiler.runcall(ours)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    return [row(title, each, "≥ 5")]


def writing(photo: Picture, folder: Path, count: int) -> list[str]:
    """(c) Eight crops each time."""
    places = [(y, x) for y in (100, 700) for x in (0, 480, 960, 1440)]
    areas = [np.s_[y : y + 512, x : x + 512] for y, x in places]
    bgr = photo[..., ::-1].copy()
    folder.mkdir()

    def theirs() -> None:
        for area in areas:
            cv2.imwrite(str(folder / "theirs.png"), bgr[area])

    def ours(durable: bool) -> None:
        for area in areas:
            write_image(folder / "ours.png", photo[area], durable=durable)

    lines = []
    for durable in (False, True):
        their_seconds, our_seconds = pairs(count, theirs, partial(ours, durable))
        each = [value / len(areas) for value in their_seconds], [value / len(areas) for value in our_seconds]
        lines.append(row(f"writing a crop{', flushed to the disk' if durable else ''}", each))
    sizes = [(folder / name).stat().st_size / 1000 for name in ("theirs.png", "ours.png")]
    return [*lines, "", f"A crop has {sizes[0]:.0f} kB by the plain way, {sizes[1]:.0f} kB by ours."]


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{model}, {CORES} cores (load before the run: {load}); "
        f"Python {platform.python_version()}, numpy {np.__version__}, OpenCV {cv2.__version__}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("pictures", type=Path, nargs="?", metavar="PICTURES")
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="also print where our selection spends its time")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write what is printed here")
    options = parser.parse_args()
    prepare_process()
    written: list[str] = []

    def say(*lines: str) -> None:
        written.extend(lines)
        print("\n".join(lines), flush=True)  # noqa: T201

    photos = load(options.pictures, options.photos)
    say(
        f"`python {' '.join([sys.argv[0], *sys.argv[1:]])}`, {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, "
        f"{machine()}",
        "",
        f"Milliseconds and ratios: the median of {options.pairs} pairs in both orders (range).",
        "",
        "| | plain way | ours | ratio | target |",
        "|---|---|---|---|---|",
        *scoring(photos[0], options.pairs),
    )
    with tempfile.TemporaryDirectory() as text:
        say(*whole(photos, Path(text), options.pairs, options.profile))
        say(*writing(photos[0], Path(text) / "crops", options.pairs))
    if options.markdown:
        options.markdown.write_text("\n".join(written) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
