"""Degraded crops per second, 256 px GT to 64 px LR, of each preset: ours beside the peers' way (plain_degradation.py).

Ours runs a sample at a time in one process and in two, each with one thread. The peers' way of HGGT and Real-ESRGAN is
a batch of 12 on torch with all cores; that of BSRGAN and RGAN a picture at a time in as many processes as ours.
A ratio is the median over pairs of runs in both orders. Then the share of each operation of ours.

    python benchmarks/degradation.py [--presets hggt bsrgan] [--pairs 6] [--seconds 1.5] [--side 256]
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import plain_degradation as plain
import scipy
import torch
from skimage import data
from torch import Tensor

from goldeye.degrade import Pipeline, degrade_picture, get_pipeline, kernels, ops, pipelines
from goldeye.images import FloatPicture

BATCH = 12
USM = " with USM"
PRESETS = [
    "hggt",
    "hggt-enhance-noise",
    "hggt-enhance-blur",
    "hggt-two-stage",
    "real-esrgan",
    "real-esrgan" + USM,
    "bsrgan",
    "hggt-bsrgan",
    "generic",
]
TARGETS = {"hggt": 5, "real-esrgan": 6, "bsrgan": 6}

Way = Callable[[range], None]  # degrades the samples of these numbers

_CROPS: list[FloatPicture] = []


def make_crops(side: int, number: int = 48) -> None:
    """Crops of photos, for this process and those forked from it."""
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    rng = np.random.default_rng(0)
    for index in range(number):
        photo = photos[index % len(photos)]
        y, x = (rng.integers(length - side + 1) for length in photo.shape[:2])
        _CROPS.append(photo[y : y + side, x : x + side].astype(np.float32) / np.float32(255))


def ours_pipeline(name: str) -> Pipeline:
    """The preset; with USM where the name says so."""
    if name.endswith(USM):
        return get_pipeline(name.removesuffix(USM)).model_copy(update={"sharpen": True})
    return get_pipeline(name)


def our_samples(name: str, numbers: range) -> None:
    """Ours, one process."""
    pipeline = ours_pipeline(name)
    for number in numbers:
        degrade_picture(_CROPS[number % len(_CROPS)], pipeline, np.random.default_rng([0, number]))


def plain_samples(name: str, numbers: range) -> None:
    """The peers' way with numpy, one process."""
    for number in numbers:
        plain.NUMPY[name](_CROPS[number % len(_CROPS)], np.random.default_rng([0, number]))


def plain_batches(name: str, numbers: range) -> None:
    """The peers' way with torch, a batch after the other."""
    rng = np.random.default_rng(numbers.start)
    for start in range(numbers.start, numbers.stop, BATCH):
        batch = _torch_batch(start)
        batch = plain.sharpen(batch) if name.endswith(USM) else batch
        plain.TORCH[name.removesuffix(USM)](batch, rng)


def _torch_batch(start: int) -> Tensor:
    crops = np.stack([_CROPS[(start + i) % len(_CROPS)] for i in range(BATCH)])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


def in_pool(pool: Pool, processes: int, samples: Callable[[str, range], None], name: str, numbers: range) -> None:
    """The numbers dealt out in parts small enough that no process waits long for the other."""
    part = max(1, len(numbers) // (processes * 8))
    parts = [range(start, min(start + part, numbers.stop)) for start in range(numbers.start, numbers.stop, part)]
    pool.starmap(samples, [(name, one) for one in parts], chunksize=1)


def rate(way: Way, number: int) -> float:
    """Samples per second."""
    begin = time.perf_counter()
    way(range(number))
    return number / (time.perf_counter() - begin)


def count_for(way: Way, seconds: float, multiple: int) -> int:
    """How many samples take about that long."""
    way(range(multiple))
    return max(1, round(rate(way, 2 * multiple) * seconds / multiple)) * multiple


def compare(peers: Way, ours: Way, pairs: int, seconds: float, multiple: int) -> tuple[list[float], list[float]]:
    """Rates of both ways, measured in turn and in both orders."""
    numbers = {peers: count_for(peers, seconds, multiple), ours: count_for(ours, seconds, BATCH)}
    rates: dict[Way, list[float]] = {peers: [], ours: []}
    for pair in range(pairs):
        for way in (peers, ours) if pair % 2 == 0 else (ours, peers):
            rates[way].append(rate(way, numbers[way]))
    return rates[peers], rates[ours]


def row(name: str, pools: dict[int, Pool], pairs: int, seconds: float) -> str:
    """The line of a preset in the table."""
    ratios = {}
    our_rates = {}
    peer_rates = {}
    for processes, pool in pools.items():
        ours: Way = partial(in_pool, pool, processes, our_samples, name)
        if name in plain.NUMPY:
            peers: Way = partial(in_pool, pool, processes, plain_samples, name)
        else:
            peers = partial(plain_batches, name)
        theirs, own = compare(peers, ours, pairs, seconds, 2 * processes if name in plain.NUMPY else BATCH)
        peer_rates[processes] = statistics.median(theirs)
        our_rates[processes] = statistics.median(own)
        ratios[processes] = [a / b for a, b in zip(own, theirs, strict=True)]
    peers_text = f"{peer_rates[2]:.1f}" + (f" ({peer_rates[1]:.1f} in one)" if name in plain.NUMPY else "")
    cells = [name, peers_text, *(f"{our_rates[p]:.0f}" for p in pools)]
    cells += [f"**{statistics.median(v):.1f}** ({min(v):.1f} to {max(v):.1f})" for v in ratios.values()]
    cells.append(f"≥ {TARGETS[name]}" if name in TARGETS else "")
    return "| " + " | ".join(cells) + " |"


def shares(name: str, number: int) -> str:
    """Milliseconds per crop of each operation of ours in one process, with its share of the whole."""
    spent: dict[str, float] = defaultdict(float)
    pipeline = ours_pipeline(name)
    known = dict(pipelines._APPLY)

    def timed(step: str, apply: Callable[..., FloatPicture], *arguments: Any) -> FloatPicture:
        begin = time.perf_counter()
        result = apply(*arguments)
        drawn = arguments[1]
        spent[f"{drawn['kind']} noise" if step == "noise" else step] += time.perf_counter() - begin
        return result

    our_samples(name, range(len(_CROPS)))  # warm: tables and weights
    try:
        pipelines._APPLY.update({step: partial(timed, step, apply) for step, apply in known.items()})
        begin = time.perf_counter()
        for sample in range(number):
            rng, gt = np.random.default_rng([0, sample]), _CROPS[sample % len(_CROPS)]
            start = time.perf_counter()
            parameters = pipeline.draw(rng)
            spent["drawing"] += time.perf_counter() - start
            pipeline.apply(gt, parameters)
        whole = time.perf_counter() - begin
    finally:
        pipelines._APPLY.update(known)
    spent["the rest"] = whole - sum(spent.values())
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{step} {value / whole:.0%} ({value / number * 1e3:.2f} ms)" for step, value in ordered)
    return f"- {name}: {whole / number * 1e3:.2f} ms a crop: {parts}"


def limits() -> str:
    """Each operation beside the part of it that no arrangement of ours can avoid, on one thread; medians of 15."""
    crop, rng = _CROPS[0], np.random.default_rng(0)
    levels = np.rint(crop * 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    small, large = kernels.isotropic_gaussian(9, 0.8), kernels.isotropic_gaussian(21, 2.4)
    thin = np.asarray(cv2.getGaussianKernel(51, 0), np.float32)

    def codec() -> None:
        cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 85])
        cv2.imdecode(encoded, cv2.IMREAD_COLOR)

    rows: list[tuple[str, Callable[[], object], str, Callable[[], object]]] = [
        ("JPEG", lambda: ops.jpeg(crop, 85), "the codec alone, without float and back", codec),
        (
            "Gaussian noise",
            lambda: ops.gaussian_noise(crop, 8, False, rng),
            "drawing the normal numbers",
            lambda: rng.standard_normal(crop.shape, dtype=np.float32),
        ),
        (
            "Poisson noise",
            lambda: ops.poisson_noise(crop, 0.5, False, rng),
            "drawing one uniform number a value",
            lambda: rng.random(crop.shape, dtype=np.float32),
        ),
        ("blur 9x9", lambda: ops.blur(crop, small), "OpenCV, separable", lambda: _separable(crop, 9, 0.8)),
        ("blur 21x21", lambda: ops.blur(crop, large), "OpenCV, separable", lambda: _separable(crop, 21, 2.4)),
        (
            "USM",
            lambda: ops.sharpen(crop),
            "the separable Gaussian of its blur",
            lambda: cv2.sepFilter2D(crop, -1, thin, thin),
        ),
    ]
    lines = []
    for name, ours, what, core in rows:
        spent, least = median_ms(ours), median_ms(core)
        lines.append(f"- {name}: {spent:.2f} ms; {what}: {least:.2f} ms ({least / spent:.0%})")
    return "\n".join(lines)


def _separable(crop: FloatPicture, size: int, sigma: float) -> object:
    taps = np.asarray(cv2.getGaussianKernel(size, sigma), np.float32)
    return cv2.sepFilter2D(crop, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)


def median_ms(call: Callable[[], object]) -> float:
    """Milliseconds of a call: the median of 15, after 3 to warm up."""
    times = []
    for _ in range(18):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[3:]) * 1e3


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, OpenCV {cv2.__version__}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{model}, {os.cpu_count()} cores (load before the run: {load}); {versions}, scipy {scipy.__version__}, "
        f"torch {torch.__version__}"
    )


def one_thread() -> None:
    """For the processes of a pool."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS, metavar="PRESET")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one run of one way")
    parser.add_argument("--side", type=int, default=256, help="of a GT crop, in pixels")
    parser.add_argument("--profile", type=int, default=192, metavar="CROPS", help="for the shares of the operations")
    options = parser.parse_args()
    make_crops(options.side)
    cv2.setNumThreads(1)
    now = datetime.datetime.now(tz=datetime.UTC)
    lines = [
        f"`python {' '.join([sys.argv[0], *sys.argv[1:]])}`, {now:%Y-%m-%d}, {machine()}",
        "",
        f"Crops per second, {options.side} px GT; ratios: the median of {options.pairs} pairs in both orders (range).",
        "",
        "| preset | peers' way | ours, 1 process | ours, 2 | ratio, 1 process | ratio, 2 | target, 2 |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201
    # Forked before torch starts threads here, and with the crops in memory.
    context = multiprocessing.get_context("fork")
    with context.Pool(1, one_thread) as one, context.Pool(2, one_thread) as two:
        for name in options.presets:
            print(row(name, {1: one, 2: two}, options.pairs, options.seconds), flush=True)  # noqa: T201
    print("\nShare of each operation of ours, one process:\n")  # noqa: T201
    for name in options.presets:
        print(shares(name, options.profile), flush=True)  # noqa: T201
    print("\nEach operation and the part of it that cannot be avoided:\n")  # noqa: T201
    print(limits())  # noqa: T201


if __name__ == "__main__":
    main()
