"""Metrics on this CPU: ours beside the peers' way (plain_metrics.py), in one process and in both orders.

A drawn picture of 1024x1024 and a noisy copy of it, in memory. A ratio is that of one pair of runs; medians and ranges
are over the pairs. Then whole folders of fourteen pictures of Set14's sizes through `evaluate_folder`: LPIPS (with
a seeded random backbone in place of ImageNet's AlexNet, which takes as long), and five other metrics by three methods.

    python benchmarks/metrics.py [--side 1024] [--pairs 9] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import plain_metrics

from goldeye.evaluate.metrics import psnr, ssim
from goldeye.evaluate.niqe import NiqeParameters, niqe, write_parameters
from goldeye.evaluate.planes import gaussian_taps
from goldeye.evaluate.run import evaluate_folder
from goldeye.evaluate.weights import WEIGHT_FILES
from goldeye.files import sha256
from goldeye.images import write_image
from goldeye.runtime import available_cores, prepare_process

# Set14's pictures: height, width.
SIZES = (
    *((480, 500), (576, 720), (512, 512), (288, 352), (360, 248), (276, 276), (360, 500), (288, 352), (512, 512)),
    *((512, 512), (512, 768), (512, 512), (656, 528), (388, 584)),
)
LEAST = 0.05  # seconds of a measurement
# The time of NIQE does not hinge on its parameters.
PARAMETERS = NiqeParameters(np.linspace(0.1, 2, 36), np.eye(36) / 4, gaussian_taps(7, 7 / 6), {"source": "made up"})


def draw(height: int, width: int, seed: int) -> Any:
    """Texture, shading and edges over most of the range."""
    rng = np.random.default_rng(seed)
    fine, coarse = (cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), sigma) * sigma for sigma in (1, 9))
    y, x = np.mgrid[:height, :width]
    edges = 50 * np.sign(np.sin(x / 37 + seed) * np.cos(y / 53))[..., None]
    return np.clip(np.rint(125 + 40 * fine + 45 * coarse + edges), 0, 255).astype(np.uint8)


def noisy(picture: Any, amount: float) -> Any:
    """White noise on every channel."""
    noise = np.random.default_rng(1).normal(0, amount, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def seconds_of(work: Callable[[], Any]) -> float:
    """Seconds of a call: the mean of as many as go into LEAST seconds, so that a short one is not the cold cache's."""
    calls, begin = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        passed = time.perf_counter() - begin
        if passed >= LEAST:
            return passed / calls


def pairs(count: int, theirs: Callable[[], Any], ours: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """Seconds of both, measured in turn and in both orders, after a run that does not count."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for number in range(-1, count):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            found = seconds_of((theirs, ours)[which])
            if number >= 0:
                seconds[which].append(found)
    return seconds[0], seconds[1]


def row(name: str, seconds: tuple[list[float], list[float]], target: str, difference: float | None) -> str:
    """A line of the table, in milliseconds."""
    theirs, ours = seconds
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]

    def cell(values: list[float]) -> str:
        scaled = [1000 * value for value in values]
        return f"{statistics.median(scaled):.4g} ({min(scaled):.4g} to {max(scaled):.4g})"

    ratio = f"**{statistics.median(ratios):.1f}** ({min(ratios):.1f} to {max(ratios):.1f})"
    shown = "" if difference is None else f"{abs(difference):.1g}"
    return f"| {name} | {cell(theirs)} | {cell(ours)} | {ratio} | {target} | {shown} |"


def figures(side: int, count: int) -> list[str]:
    """Both pictures are in memory."""
    a = draw(side, side, 0)
    b = noisy(a, 8)
    window = np.outer(PARAMETERS.taps, PARAMETERS.taps)
    cases: dict[str, tuple[Callable[[], float], Callable[[], float], str]] = {
        "PSNR RGB": (lambda: plain_metrics.psnr(a, b), lambda: psnr(a, b, crop_border=0), "≥ 50"),
        "SSIM RGB": (lambda: plain_metrics.ssim(a, b), lambda: ssim(a, b, crop_border=0), "≥ 7"),
        "SSIM Y": (lambda: plain_metrics.ssim_y(a, b), lambda: ssim(a, b, crop_border=0, y=True), ""),
        "NIQE": (
            lambda: plain_metrics.niqe(a, PARAMETERS.mean, PARAMETERS.covariance, window),
            lambda: niqe(a, PARAMETERS, crop_border=0),
            "≥ 4",
        ),
    }
    return [
        row(name, pairs(count, theirs, ours), target, theirs() - ours())
        for name, (theirs, ours, target) in cases.items()
    ]


@contextmanager
def random_alexnet(folder: Path) -> Iterator[None]:
    """AlexNet's layers with seeded random values under the name of the published file; speed is all it is good for."""
    import torch
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.AlexNet()
    file = folder / "checkpoints" / WEIGHT_FILES["alexnet"].file
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    accepted = dataclasses.replace(WEIGHT_FILES["alexnet"], sha256=sha256(file))
    with ExitStack() as stack:
        stack.enter_context(patch.object(torch.hub, "get_dir", lambda: str(folder)))
        stack.enter_context(patch.dict(WEIGHT_FILES, alexnet=accepted))
        stack.enter_context(patch.object(torchvision.models, "alexnet", lambda weights: network))
        yield


def lpips_folder(folder: Path, count: int) -> tuple[str, str]:
    """The row of LPIPS from files to the mean, and the sentence about what both ways wait for."""
    from torchmetrics.functional.image.lpips import _LPIPS

    inside: list[float] = []
    forward = _LPIPS.forward

    def timed(*arguments: Any, **more: Any) -> Any:
        begin = time.perf_counter()
        try:
            return forward(*arguments, **more)
        finally:
            inside.append(time.perf_counter() - begin)

    waits: dict[str, list[float]] = {"theirs": [], "ours": []}

    def waiting(name: str, way: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            inside.clear()
            begin = time.perf_counter()
            value = way()
            waits[name].append(1 - sum(inside) / (time.perf_counter() - begin))
            return value

        return run

    def ours() -> float:
        found = evaluate_folder(folder / "method-1", gt=folder / "gt", metrics=["lpips"], device="cpu")
        return float(found["metrics"]["lpips"]["mean"])

    theirs = waiting("theirs", lambda: plain_metrics.lpips(folder / "method-1", folder / "gt", border=4))
    ours = waiting("ours", ours)
    with random_alexnet(folder / "hub"), patch.object(_LPIPS, "forward", timed):
        difference = theirs() - ours()
        for each in waits.values():
            each.clear()
        seconds = pairs(count, theirs, ours)
    shares = {name: statistics.median(each[1:]) for name, each in waits.items()}  # the first run does not count
    name = f"LPIPS (alex) over a folder of {len(SIZES)} pairs; seeded random backbone, speed only"
    sentence = (
        "While LPIPS goes over the folder, its network waits (for decoding, tensors and all else) "
        f"{shares['theirs']:.0%} of the time in the peers' way and {shares['ours']:.0%} in ours, where the next pairs "
        "are decoded meanwhile."
    )
    return row(name, seconds, "", difference), sentence


def write_set14(folder: Path) -> None:
    """gt/, and three methods' results of it."""
    for number, (height, width) in enumerate(SIZES):
        picture = draw(height, width, number)
        write_image(folder / "gt" / f"{number}.png", picture)
        for method in range(3):
            write_image(folder / f"method-{method}" / f"{number}.png", noisy(picture, 4 + 4 * method))


def set14(folder: Path) -> str:
    """Seconds for three methods on fourteen pictures, five metrics."""
    write_parameters(folder / "niqe.npz", PARAMETERS)
    begin = time.perf_counter()
    for method in range(3):
        evaluate_folder(
            folder / f"method-{method}",
            gt=folder / "gt",
            metrics=["psnr", "ssim", "psnr_y", "ssim_y", "niqe"],
            niqe_params=folder / "niqe.npz",
        )
    return f"{time.perf_counter() - begin:.2f}"


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{model}, {available_cores()} cores (load before the run: {load}); "
        f"Python {platform.python_version()}, numpy {np.__version__}, OpenCV {cv2.__version__}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write what is printed here")
    options = parser.parse_args()
    prepare_process()
    command = f"python benchmarks/metrics.py{' ' if sys.argv[1:] else ''}{' '.join(sys.argv[1:])}"
    lines = [
        "# Metrics: speed on a CPU",
        "",
        "Only ratios mean something on this kind of machine (a shared virtual one). Peers' way: `plain_metrics.py`.",
        "",
        f"`{command}`, {datetime.date.today()}, {machine()}.",
        f"Pictures of {options.side}x{options.side}, in memory; folders are files. Milliseconds and ratios: the",
        f"median of {options.pairs} pairs in both orders (range); the last column: how far the two figures lie apart.",
        "",
        "| | peers' way | ours | ratio | target | difference |",
        "|---|---|---|---|---|---|",
    ]
    lines += figures(options.side, options.pairs)
    with tempfile.TemporaryDirectory() as folder:
        write_set14(Path(folder))
        line, waits = lpips_folder(Path(folder), options.pairs)
        seconds = set14(Path(folder))
    whole = (
        "Fourteen pictures of Set14's sizes by three methods (PSNR, SSIM, PSNR-Y, SSIM-Y, NIQE; files in, figures out)"
    )
    lines += [line, "", waits, "", f"{whole}: {seconds} s (target: under 10 s)."]
    text = "\n".join(lines)
    print(text)  # noqa: T201
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
