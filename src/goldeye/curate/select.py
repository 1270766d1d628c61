"""`goldeye select`: patches worth a person's time, cut from photos and their versions (HGGT §3.2; REFERENCE §5).

Every window on a grid of `stride` pixels is scored; patches are then drawn at random among those that pass. A window
passes by texture and by high frequency if the original or any version does, and by difference if at least one version
differs enough from the original.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from goldeye.batch import track
from goldeye.curate.enhance import Candidates, Photo, read_candidates
from goldeye.dataset.groups import DatasetSettings, DatasetWriter
from goldeye.errors import InvalidInput, unknown_name
from goldeye.images import Picture, read_image

Plane = NDArray[np.float32]
Scores = NDArray[np.float64]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class SelectSettings(BaseModel):
    """How patches are chosen; scores are in grey levels of 255."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_size: int = Field(512, ge=16, description="side of a patch in pixels")
    stride: int = Field(16, ge=1, description="step of the grid of windows")
    max_overlap: float = Field(0.5, ge=0, le=1, description="two patches share less than this part of their area")
    min_std: float = Field(30.0, ge=0, description="standard deviation of the grey patch")
    # The paper: std in a Laplacian pyramid. Its script: variance of a saturated 8-bit Laplacian, threshold 30.
    # This is the first; at 6 the two agree best, on 98 % of the windows of 40 photographs.
    min_high_frequency: float = Field(6.0, ge=0, description="std of the two finest Laplacian pyramid levels")
    min_difference: float = Field(2.0, ge=0, description="mean |version - original| over pixels and channels")
    per_photo: int | None = Field(None, ge=1, description="most patches of one photo")
    test_fraction: float = Field(0.0, ge=0, le=1, description="part of the photos for the test split, drawn by seed")
    test: tuple[str, ...] = Field((), description="photos of the test split by name, instead of test_fraction")
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class WindowScores:
    """Scores of all windows of a photo; every array is (rows, columns) of the grid, top-left corners at `ys`, `xs`.

    `std` and `high_frequency` are the largest over the original and the versions; `difference` has one array a version.
    """

    ys: NDArray[np.int64]
    xs: NDArray[np.int64]
    std: Scores
    high_frequency: Scores
    difference: dict[str, Scores]


def select_patches(candidates: Path, output: Path, settings: SelectSettings) -> dict[str, Any]:
    """Cut patch groups from a folder of candidates into a new dataset; returns what was chosen and what was not.

    The same candidates, settings and seed give the same files. Photos smaller than a patch are passed over and named.
    Raises InvalidInput when nothing passes (telling which filter removed how many windows), when `output` already holds
    a dataset, and for unusable candidates.
    """
    if settings.test and settings.test_fraction:
        raise InvalidInput("Name the photos of the test split or give its fraction, not both.")
    record = read_candidates(candidates)
    names = _patch_names(record)
    tests = _named_tests(settings.test, names)
    writer = DatasetWriter(output, _dataset_settings(record, settings))
    too_small: list[str] = []
    rejected: Counter[str] = Counter(texture=0, high_frequency=0, difference=0, not_drawn=0)
    per_photo: dict[str, int] = {}
    best: dict[str, float] = {"min_std": 0, "min_high_frequency": 0, "min_difference": 0}
    windows = 0

    for photo in track(record.photos, "select"):
        if min(photo.height, photo.width) < settings.patch_size:
            too_small.append(photo.name)
            continue
        original, versions = _read(candidates, record, photo)
        scores = score_windows(original, versions, settings.patch_size, settings.stride)
        strongest = np.max(list(scores.difference.values()), axis=0)
        passing = np.ones(scores.std.shape, bool)
        windows += passing.size
        for filter_, values, key in (
            ("texture", scores.std, "min_std"),
            ("high_frequency", scores.high_frequency, "min_high_frequency"),
            ("difference", strongest, "min_difference"),
        ):
            best[key] = max(best[key], float(values.max()))
            enough = values >= getattr(settings, key)
            rejected[filter_] += int((passing & ~enough).sum())
            passing &= enough
        chosen = draw_windows(scores.ys, scores.xs, passing, settings, _generator(settings.seed, photo.name))
        rejected["not_drawn"] += int(passing.sum()) - len(chosen)
        per_photo[photo.name] = len(chosen)
        for row, column in chosen:
            y, x = int(scores.ys[row]), int(scores.xs[column])
            area = np.s_[y : y + settings.patch_size, x : x + settings.patch_size]
            writer.add(
                f"{names[photo.name]}-{y}-{x}",
                original[area],
                {slot: version[area] for slot, version in versions.items()},
                source=photo.name,
                source_sha256=photo.sha256,
                y=y,
                x=x,
                scores={
                    "std": round(float(scores.std[row, column]), 4),
                    "high_frequency": round(float(scores.high_frequency[row, column]), 4),
                    "difference": {slot: round(float(v[row, column]), 4) for slot, v in scores.difference.items()},
                },
            )

    if not writer.rows:
        writer.discard()
        raise _nothing(settings, windows, rejected, best, too_small)
    used = [name for name, count in per_photo.items() if count]
    splits = _split(used, tests, settings)
    dataset = writer.finish(splits)
    return {
        "dataset": str(output),
        "groups": len(dataset.groups),
        "splits": {split: sum(group.split == split for group in dataset.groups) for split in ("train", "test")},
        "photos": per_photo,
        "test_photos": sorted(name for name in used if splits[name] == "test"),
        "too_small": too_small,
        "windows": windows,
        "rejected": dict(rejected),
    }


def score_windows(original: Picture, versions: Mapping[str, Picture], size: int, stride: int) -> WindowScores:
    """Score every window of side `size` whose corner lies on multiples of `stride`.

    `original` and `versions` are uint8 RGB (H, W, 3) of one size. Sums over windows come from summed-area tables, so
    that the work hardly depends on how many windows there are.
    """
    windows = _Windows(original.shape[0], original.shape[1], size, stride)
    pictures = [original, *versions.values()]
    greys = [_grey(picture) for picture in pictures]
    difference = {
        # |a - b| in uint8: the order of the operands would matter to a plain difference, which wraps around.
        slot: windows.sums(np.maximum(version, original) - np.minimum(version, original)) / (3 * size**2)
        for slot, version in versions.items()
    }
    return WindowScores(
        windows.ys,
        windows.xs,
        np.max([windows.std(grey) for grey in greys], axis=0),
        np.max([windows.std(high_frequencies(grey)) for grey in greys], axis=0),
        difference,
    )


class _Windows:
    """Sums over all windows of a grid.

    Corners and sides are multiples of gcd(size, stride), so that the tables are made of cells of that side.
    """

    def __init__(self, height: int, width: int, size: int, stride: int) -> None:
        self.ys = np.arange(0, height - size + 1, stride)
        self.xs = np.arange(0, width - size + 1, stride)
        self._cell = math.gcd(size, stride)
        self._size = size

    def sums(self, plane: NDArray[Any]) -> Scores:
        """Sum over each window and the channels of (H, W) or (H, W, C), in float64 (exact for uint8)."""
        cell = self._cell
        rows, columns = plane.shape[0] // cell, plane.shape[1] // cell
        strips = plane[: rows * cell, : columns * cell].reshape(rows, cell, -1)
        kind = np.uint32 if plane.dtype == np.uint8 else np.float64
        cells = strips.sum(axis=1, dtype=kind).reshape(rows, columns, -1).sum(axis=2, dtype=np.float64)
        table = np.zeros((rows + 1, columns + 1))
        table[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)
        top, left, side = self.ys[:, None] // cell, self.xs[None] // cell, self._size // cell
        bottom, right = top + side, left + side
        return np.asarray(table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left])

    def std(self, plane: Plane) -> Scores:
        """Standard deviation over each window."""
        # The spread about a common value does not change, and small numbers lose less in E[v²] - E[v]².
        centred = plane.astype(np.float64) - plane.mean(dtype=np.float64)
        count = self._size**2
        mean = self.sums(centred) / count
        return np.sqrt(np.maximum(self.sums(np.square(centred)) / count - mean**2, 0))


def _grey(picture: Picture) -> Plane:
    """BT.601 luma, full range 0..255."""
    return np.asarray((picture.reshape(-1, 3).astype(np.float32) @ _LUMA).reshape(picture.shape[:2]))


def high_frequencies(grey: Plane) -> Plane:
    """The two finest levels of the Laplacian pyramid (Burt and Adelson 1983), added up at full size: (H, W) → (H, W).

    That is the picture without what is left after halving it twice: detail up to about four pixels wide.
    """
    half = _halve(grey)
    quarter = _halve(half)
    return grey - _double(_double(quarter, half.shape), grey.shape)


def _halve(plane: Plane) -> Plane:
    """One step down: [1 4 6 4 1] / 16 along both axes, every second pixel; edges are mirrored."""
    for _ in range(2):
        padded = np.pad(plane, ((2, 2), (0, 0)), mode="reflect")
        count = (len(plane) + 1) // 2
        a, b, c, d, e = (padded[k : k + 2 * count - 1 : 2] for k in range(5))
        plane = np.ascontiguousarray(((a + e) + 4 * (b + d) + 6 * c).T) / np.float32(16)
    return plane


def _double(plane: Plane, shape: tuple[int, ...]) -> Plane:
    """One step up to `shape` with the same filter: (1 6 1) / 8 on the coarse pixels, (4 4) / 8 between them."""
    for length in shape:
        padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
        even = (padded[:-2] + 6 * plane + padded[2:]) / np.float32(8)
        odd = (plane + padded[2:]) / np.float32(2)
        larger = np.empty((2 * len(plane), plane.shape[1]), np.float32)
        larger[0::2], larger[1::2] = even, odd
        plane = np.ascontiguousarray(larger[:length].T)
    return plane


def draw_windows(
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    passing: NDArray[np.bool_],
    settings: SelectSettings,
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Draw windows (row, column of the grid) at random among the passing ones until none is left.

    Two of them share less than `max_overlap` of a patch's area.
    """
    rows, columns = np.nonzero(passing)
    order = rng.permutation(len(rows))
    rows, columns = rows[order], columns[order]
    size = settings.patch_size
    chosen: list[tuple[int, int]] = []
    while len(rows) and (settings.per_photo is None or len(chosen) < settings.per_photo):
        row, column = int(rows[0]), int(columns[0])
        chosen.append((row, column))
        shared = np.clip(size - np.abs(ys[rows] - ys[row]), 0, None) * np.clip(
            size - np.abs(xs[columns] - xs[column]), 0, None
        )
        free = (shared < settings.max_overlap * size**2) | (shared == 0)
        free[0] = False
        rows, columns = rows[free], columns[free]
    return chosen


def _generator(seed: int, name: str) -> np.random.Generator:
    """One stream a photo, whatever other photos there are."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")])


def _patch_names(record: Candidates) -> dict[str, str]:
    """{photo: IMAGE in the patches' names IMAGE-y-x}, folders becoming part of the name."""
    names: dict[str, str] = {}
    for photo in record.photos:
        name = photo.name.removesuffix(".png").replace("/", "_")
        for other, taken in names.items():
            if taken == name:
                raise InvalidInput(f"The patches of '{other}' and '{photo.name}' would have the same names.")
        names[photo.name] = name
    return names


def _named_tests(tests: tuple[str, ...], names: Mapping[str, str]) -> set[str]:
    """The photos that `test` names, with or without their ending."""
    by_stem = {name.removesuffix(".png"): name for name in names}
    found = set()
    for test in tests:
        photo = by_stem.get(test, test if test in names else None)
        if photo is None:
            raise unknown_name("test photo", test, by_stem)
        found.add(photo)
    return found


def _split(used: list[str], tests: set[str], settings: SelectSettings) -> dict[str, str]:
    """{photo: "train" or "test"}, drawn by a hash of seed and name: the order of the photos does not matter."""
    if not settings.test:
        drawn = sorted(used, key=lambda name: hashlib.sha256(f"{settings.seed}:{name}".encode()).digest())
        # A wish for tests is met: at least one photo, and with two or more at least one is left for training.
        count = round(settings.test_fraction * len(used))
        if 0 < settings.test_fraction < 1 and len(used) > 1:
            count = min(max(count, 1), len(used) - 1)
        tests = set(drawn[:count])
    return {name: "test" if name in tests else "train" for name in used}


def _read(folder: Path, record: Candidates, photo: Photo) -> tuple[Picture, dict[str, Picture]]:
    """The original and its versions by slot; InvalidInput when sizes differ."""
    pictures = {name: read_image(folder / name / photo.name) for name in ("original", *record.slots.values())}
    for name, picture in pictures.items():
        if picture.shape != (photo.height, photo.width, 3):
            raise InvalidInput(
                f"'{folder / name / photo.name}' is {picture.shape[1]}x{picture.shape[0]}, its photo "
                f"{photo.width}x{photo.height}."
            )
    return pictures["original"], {slot: pictures[name] for slot, name in record.slots.items()}


def _dataset_settings(record: Candidates, settings: SelectSettings) -> DatasetSettings:
    values = settings.model_dump(mode="json")
    thresholds = {key: values.pop(key) for key in ("min_std", "min_high_frequency", "min_difference")}
    size = values.pop("patch_size")
    return DatasetSettings(patch_size=size, enhancers=record.enhancers, thresholds=thresholds, selection=values)


def _nothing(
    settings: SelectSettings, windows: int, rejected: Mapping[str, int], best: Mapping[str, float], too_small: list[str]
) -> InvalidInput:
    """No patch at all: why, and what would let some pass."""
    size = settings.patch_size
    if not windows:
        return InvalidInput(
            f"All {len(too_small)} photos are smaller than the patch of {size} pixels.",
            hint="Choose a smaller patch size.",
        )
    counts = ", ".join(f"{filter_.replace('_', ' ')} removed {rejected[filter_]}" for filter_ in list(rejected)[:3])
    reached = ", ".join(f"{key} {math.floor(value * 100) / 100:g}" for key, value in best.items())
    return InvalidInput(
        f"No patch passes: of {windows} windows of {size} pixels, {counts}.",
        hint=f"Lower the thresholds; the best windows reach {reached}.",
    )
