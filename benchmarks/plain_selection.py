"""Patch selection as a script for it is written plainly, from HGGT §3.2 and shared/design/REFERENCE.md, section 5.

Windows lie on a grid of 288 pixels with a jitter of ±16. Each is cut out of the photo and of every version and scored
by itself; it is kept if any of them has enough texture and high frequencies, and all its crops are written by OpenCV.
Pictures are BGR, as OpenCV has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZE, STEP, JITTER = 512, 288, 16
MIN_STD, MIN_LAPLACIAN = 30, 30


def windows(height: int, width: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Top-left corners (y, x) inside the picture."""
    for y in range(0, height - SIZE + 1, STEP):
        for x in range(0, width - SIZE + 1, STEP):
            dy, dx = rng.integers(-JITTER, JITTER + 1, 2)
            yield int(np.clip(y + dy, 0, height - SIZE)), int(np.clip(x + dx, 0, width - SIZE))


def score(original: Any, versions: Mapping[str, Any]) -> tuple[float, float, float]:
    """Std of grey and variance of the 8-bit Laplacian, each the largest, and the largest |mean difference|."""
    stds, details = [], []
    for crop in (original, *versions.values()):
        grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
        stds.append(float(np.std(grey)))
        details.append(float(cv2.Laplacian(grey, cv2.CV_8U).var()))
    first = original.astype(np.float32)
    differences = [abs(float(np.mean(first - version))) for version in versions.values()]
    return max(stds), max(details), max(differences)


def crops(original: Any, versions: Mapping[str, Any], y: int, x: int) -> tuple[Any, dict[str, Any]]:
    """One window of all pictures."""
    area = np.s_[y : y + SIZE, x : x + SIZE]
    return original[area], {slot: version[area] for slot, version in versions.items()}


def score_all(original: Any, versions: Mapping[str, Any], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Windows that pass."""
    kept = []
    height, width = original.shape[:2]
    for y, x in windows(height, width, rng):
        std, detail, _ = score(*crops(original, versions, y, x))
        if std >= MIN_STD and detail >= MIN_LAPLACIAN:
            kept.append((y, x))
    return kept


def select(folder: Path, slots: Mapping[str, str], names: list[str], output: Path) -> int:
    """Decode, score and write all photos; how many groups were kept. `slots` is {slot: folder of the versions}."""
    rng = np.random.default_rng(0)
    count = 0
    for slot in ("original", *slots):
        (output / slot).mkdir(parents=True)
    for name in names:
        original = cv2.imread(str(folder / "original" / name))
        versions = {slot: cv2.imread(str(folder / enhancer / name)) for slot, enhancer in slots.items()}
        assert original is not None
        stem = name.removesuffix(".png")
        for y, x in score_all(original, versions, rng):
            first, others = crops(original, versions, y, x)
            cv2.imwrite(str(output / "original" / f"{stem}-{y}-{x}.png"), first)
            for slot, crop in others.items():
                cv2.imwrite(str(output / slot / f"{stem}-{y}-{x}_{slot}.png"), crop)
            count += 1
    return count
