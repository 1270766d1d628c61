"""Loading training crops on this CPU, one process: a pack, decoded photos, and the peers' sub-images side by side.

Photos of 2040x1356, drawn, as PNGs of OpenCV. First the crop alone (256 px of GT as float), then whole samples with the
preset `hggt`. Ways: decoding a photo for each crop; photos that all fit into the cache; a pack of sub-images (480
every 240); the peers' way, PNGs of such sub-images decoded by OpenCV (crop alone). A ratio is that of one pair of runs
with decoding, in both orders; medians and ranges are over the pairs. All files lie in the system's cache.

Last, what the margins around the crops cost: degrading crops with theirs, and degrading 400 px for a crop of 256, as
Real-ESRGAN does.

    python benchmarks/loading.py [--photos 12] [--pairs 5] [--samples 32] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from goldeye.config import DataConfig
from goldeye.dataset.packing import make_pack, windows
from goldeye.dataset.pictures import PictureCache
from goldeye.dataset.sampling import chw, draw_augmentation, draw_crop, sample_index, sample_rng, to_crop
from goldeye.dataset.synthetic import PhotoDataset
from goldeye.degrade import PRESETS, Pipeline
from goldeye.images import Picture
from goldeye.runtime import available_cores, prepare_process

HEIGHT, WIDTH, CROP, SIZE, STEP = 1356, 2040, 256, 480, 240
Load = Callable[[int], object]


def drawn(seed: int) -> Picture:
    """A picture whose PNG is about as large as a photo's: structure of every size, and grain."""
    rng = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.float32)
    for size, strength in ((200, 60), (40, 30), (8, 12), (2, 6)):
        noise = rng.normal(0, strength, (HEIGHT // size + 2, WIDTH // size + 2, 3)).astype(np.float32)
        picture += np.asarray(cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    picture += rng.normal(0, 1.5, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def prepare(folder: Path, count: int) -> None:
    """folder/photos, folder/sub (the peers' sub-images) and folder/pack."""
    for name in ("photos", "sub"):
        (folder / name).mkdir()
    for number in range(count):
        picture = cv2.cvtColor(drawn(number), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "photos" / f"{number:04}.png"), picture)
        for part, (y, x, height, width) in enumerate(windows(HEIGHT, WIDTH, SIZE, STEP)):
            cv2.imwrite(str(folder / "sub" / f"{number:04}_s{part:03}.png"), picture[y : y + height, x : x + width])
    make_pack([folder / "photos"], folder / "pack", size=SIZE, step=STEP)


def crops(data: PhotoDataset) -> Load:
    """The GT crop of a sample and nothing else."""

    def load(number: int) -> object:
        rng = sample_rng(0, number)
        photo = data._store.read(data.photos[sample_index(0, number, len(data))])
        window = draw_crop(rng, photo.shape[:2], CROP)
        return chw(to_crop(draw_augmentation(rng, "flip")(window.cut(photo))))

    return load


def peers(folder: Path) -> Load:
    """Sub-images as PNGs: read, decode, crop, flip, RGB, float."""
    files = sorted(folder.glob("*.png"))

    def load(number: int) -> object:
        rng = sample_rng(0, number)
        picture = cv2.imdecode(np.frombuffer(files[sample_index(0, number, len(files))].read_bytes(), np.uint8), -1)
        assert picture is not None
        values = picture.astype(np.float32) / 255
        y, x, _ = draw_crop(rng, values.shape[:2], CROP)
        part = values[y : y + CROP, x : x + CROP]
        part = part[:, ::-1].copy() if rng.random() < 0.5 else part.copy()
        return torch.from_numpy(np.ascontiguousarray(cv2.cvtColor(part, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)))

    return load


def rate(load: Load, start: int, count: int) -> float:
    """Samples a second."""
    begin = time.perf_counter()
    for number in range(start, start + count):
        load(number)
    return count / (time.perf_counter() - begin)


def compare(base: Load, other: Load, samples: int, pairs: int) -> tuple[list[float], list[float]]:
    """Rates of both; `other` gets eight times as many samples, being that much faster or more."""
    rate(base, 0, samples // 4), rate(other, 0, 2 * samples)
    bases: list[float] = []
    others: list[float] = []
    for pair in range(pairs):
        order = ((base, bases, samples), (other, others, 8 * samples))
        for load, rates, count in order if pair % 2 == 0 else order[::-1]:
            rates.append(rate(load, pair * count, count))
    return bases, others


def margins(samples: int, pairs: int) -> list[str]:
    """Milliseconds of degrading a crop: alone, with its margin, as part of 400 px."""
    photo = to_crop(drawn(0)[:1000, :1000])
    lines = [
        "| degrading, ms a sample | crop alone | with margin | ratio | 400 px | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, pipeline in PRESETS.items():
        scale = 1 if pipeline.keeps_size else 4

        def degrade(number: int, fixed: int | None, pipeline: Pipeline = pipeline, scale: int = scale) -> object:
            parameters = pipeline.draw(np.random.default_rng([0, number]), scale)
            margin = -(-pipeline.reach(parameters) // scale) * scale if fixed is None else fixed
            return pipeline.apply(photo[: CROP + 2 * margin, : CROP + 2 * margin].copy(), parameters)

        ways = (partial(degrade, fixed=0), partial(degrade, fixed=None), partial(degrade, fixed=(400 - CROP) // 2))
        runs = []
        for pair in range(pairs + 1):
            order = ways if pair % 2 else ways[::-1]
            times = {way: 1000 / rate(way, pair * samples, samples) for way in order}
            runs.append([times[way] for way in ways])
        alone, with_margin, large = (statistics.median(column) for column in zip(*runs[1:], strict=True))
        ratios = [statistics.median(run[place] / run[0] for run in runs[1:]) for place in (1, 2)]
        lines.append(
            f"| {name} | {alone:.2f} | {with_margin:.2f} | **{ratios[0]:.2f}** | {large:.2f} | {ratios[1]:.2f} |"
        )
    return [*lines, ""]


def row(title: str, rates: list[float], ratios: list[float]) -> str:
    spread = f"{min(rates):.0f} to {max(rates):.0f}"
    return (
        f"| {title} | {statistics.median(rates):.0f} ({spread}) | "
        f"**{statistics.median(ratios):.1f}** ({min(ratios):.1f} to {max(ratios):.1f}) |"
    )


def table(title: str, base: Load, others: dict[str, Load], samples: int, pairs: int) -> list[str]:
    """Each way against decoding."""
    lines, all_bases = [], []
    for name, load in others.items():
        bases, rates = compare(base, load, samples, pairs)
        all_bases += bases
        lines.append(row(name, rates, [other / one for one, other in zip(bases, rates, strict=True)]))
    plain = f"{min(all_bases):.1f} to {max(all_bases):.1f}"
    first = f"| a photo decoded for each | {statistics.median(all_bases):.1f} ({plain}) | 1 |"
    return [f"| {title} | a second | ratio |", "|---|---|---|", first, *lines, ""]


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    software = f"numpy {np.__version__}, OpenCV {cv2.__version__}, torch {torch.__version__}"
    return f"{model}, {available_cores()} cores (load before: {load}); Python {platform.python_version()}, {software}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=32, help="decoded in a run; the others get eight times as many")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write what is printed here")
    options = parser.parse_args()
    prepare_process()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    host, today = machine(), f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}"
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        prepare(folder, options.photos)
        config = DataConfig(path=folder / "photos", degradation="hggt", crop=CROP)
        photos, decoded, packed = (
            PhotoDataset(one, scale=4, seed=0)
            for one in (config, config, config.model_copy(update={"path": folder / "pack"}))
        )
        decoded._store = PictureCache(0)
        size = sum(path.stat().st_size for path in (folder / "photos").iterdir()) / options.photos / 1e6
        command = " ".join([sys.argv[0], *sys.argv[1:]])
        lines = [
            f"`python {command}`, {today}, {host}",
            "",
            f"{options.photos} photos, {size:.1f} MB each. Medians of {options.pairs} pairs in both orders (range).",
            "",
            *table(
                "the crop alone",
                crops(decoded),
                {
                    "photos in the cache": crops(photos),
                    "the peers' way: sub-images as PNGs": peers(folder / "sub"),
                    "a pack of sub-images": crops(packed),
                },
                options.samples,
                options.pairs,
            ),
            *table(
                "whole samples (`hggt`)",
                decoded.__getitem__,
                {"photos in the cache": photos.__getitem__, "a pack of sub-images": packed.__getitem__},
                options.samples,
                options.pairs,
            ),
            *margins(options.samples, options.pairs),
        ]
    print("\n".join(lines))  # noqa: T201
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
