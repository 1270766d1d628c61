"""The work of `goldeye select` on one photo, for any engine: score its windows, draw, cut the patches out.

What is finished lies in WORK, each under the photo's name, and is taken as it is by the next call:

    WORK/scores/NAME.f32       scores of all windows (float32): std, high frequency, the difference of each version
    WORK/scores/NAME.json      written after it: what it was made of, and the photo's hash
    WORK/pictures/NAME/…       patches, laid out as in a range's folder
    WORK/photos/NAME.json      written after them: the rows of its groups
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from goldeye.curate.candidates import Photo
from goldeye.curate.draw import Drawn, draw_photo
from goldeye.dataset.groups import PICTURES, group_pictures
from goldeye.errors import GoldeyeError, ImageError
from goldeye.files import atomic_path
from goldeye.images import Picture, open_picture, spool, to_eight_bit, write_image
from goldeye.images.colour import Depth

if TYPE_CHECKING:
    from goldeye.curate.scores import WindowScores
    from goldeye.curate.select import SelectSettings

T = TypeVar("T")
R = TypeVar("R")

SCORES, PHOTOS = "scores", "photos"
_SMALL = 2**18  # pixels: threads are for larger photos, since starting them takes longer than so small a one does


def patch_stem(photo: str) -> str:
    """IMAGE in the patches' names IMAGE-y-x; folders become part of the name."""
    return photo.removesuffix(".png").replace("/", "_")


@dataclass(frozen=True)
class PhotoWork:
    """What all kinds of work on a photo need; `slots` is {slot: the enhancer's folder}."""

    candidates: Path
    slots: dict[str, str]
    work: Path
    settings: SelectSettings
    threads: int = 1

    def files(self, photo: Photo) -> dict[str, Path]:
        """The photo's pictures: {"original": …, slot: …}."""
        folders = {"original": "original"} | self.slots
        return {slot: self.candidates / folder / photo.name for slot, folder in folders.items()}

    def state(self, photo: Photo) -> list[list[int]]:
        """[size, time of the last change] of the pictures' files: other ones are not what the work was done on."""
        found = []
        for path in self.files(photo).values():
            try:
                status = path.stat()
            except OSError:
                return []
            found.append([status.st_size, status.st_mtime_ns])
        return found

    def read(self, photo: Photo) -> dict[str, Picture]:
        """Its pictures, above 256 MB as arrays on disk; ImageError when one cannot be read or has a wrong size."""

        def read(path: Path) -> Picture:
            def make(shape: tuple[int, ...], dtype: Depth) -> Picture:
                if shape[:2] != (photo.height, photo.width):
                    raise ImageError(f"'{path}' is {shape[1]}x{shape[0]}, its photo {photo.width}x{photo.height}.")
                with spool(shape, dtype, self.work) as array:
                    return array

            return to_eight_bit(open_picture(path, srgb=True, into=make).pixels)

        files = self.files(photo)
        return dict(zip(files, self._each(read, files.values(), photo), strict=True))

    def score(self, photo: Photo, pictures: dict[str, Picture]) -> WindowScores:
        """Scores of all windows."""
        from goldeye.curate.scores import score_windows

        settings = self.settings
        versions = {slot: pictures[slot] for slot in self.slots}
        return score_windows(
            pictures["original"],
            versions,
            settings.patch_size,
            settings.stride,
            measure=settings.measure,
            threads=self._threads(photo),
        )

    def stored_scores(self, photo: Photo) -> tuple[WindowScores, int] | None:
        """Scores and the photo's hash from an earlier call."""
        path = self.work / SCORES / patch_stem(photo.name)
        marker = read_marker(path.with_name(f"{path.name}.json"))
        if marker is None or marker["files"] != self.state(photo):
            return None
        try:
            return self.read_scores(photo), int(marker["hash"])
        except (OSError, ValueError):
            return None

    def read_scores(self, photo: Photo) -> WindowScores:
        """Scores that `stored_scores` knows to be there, not checked again: they are read many times."""
        from goldeye.curate.scores import WindowScores

        size, stride = self.settings.patch_size, self.settings.stride
        ys, xs = (np.arange(0, side - size + 1, stride) for side in (photo.height, photo.width))
        values = np.fromfile(self.work / SCORES / f"{patch_stem(photo.name)}.f32", "<f4")
        planes = values.astype(np.float32, copy=False).reshape(2 + len(self.slots), len(ys), len(xs))
        return WindowScores(ys, xs, planes[0], planes[1], dict(zip(self.slots, planes[2:], strict=True)))

    def _threads(self, photo: Photo) -> int:
        return self.threads if photo.height * photo.width > _SMALL else 1

    def _each(self, do: Callable[[T], R], items: Iterable[T], photo: Photo) -> list[R]:
        """`do` for each item, in parallel when cores are free: libvips and the encoder release the interpreter."""
        threads = self._threads(photo)
        if threads == 1:
            return [do(item) for item in items]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(do, items))


class ScorePhoto(PhotoWork):
    """Score a photo and keep the scores: → {"hash": …} or {"error": …}."""

    def __call__(self, photo: Photo) -> dict[str, Any]:
        from goldeye.curate.scores import perceptual_hash

        stored = self.stored_scores(photo)
        if stored is not None:
            return {"hash": stored[1]}
        state = self.state(photo)
        try:
            pictures = self.read(photo)
            scores = self.score(photo, pictures)
            value = perceptual_hash(pictures["original"])
        except (GoldeyeError, OSError, RuntimeError, MemoryError) as error:
            return {"error": _said(error)}
        path = self.work / SCORES / patch_stem(photo.name)
        planes = np.stack([scores.std, scores.high_frequency, *scores.difference.values()]).astype("<f4")
        with atomic_path(path.with_name(f"{path.name}.f32"), durable=False) as temporary:
            temporary.write_bytes(planes.tobytes())
        write_marker(path.with_name(f"{path.name}.json"), {"files": state, "hash": value})
        return {"hash": value}


@dataclass(frozen=True)
class DrawPhoto(PhotoWork):
    """Draw windows by the scores that ScorePhoto kept."""

    thresholds: dict[str, float] | None = None

    def __call__(self, photo: Photo) -> Drawn:
        assert self.thresholds is not None
        return draw_photo(self.read_scores(photo), self.thresholds, self.settings, photo.name)


@dataclass(frozen=True)
class CutPhoto(PhotoWork):
    """Draw windows and cut the patches out: → what is in the photo's marker, or {"error": …}."""

    thresholds: dict[str, float] | None = None

    def __call__(self, photo: Photo) -> dict[str, Any]:
        from goldeye.curate.scores import perceptual_hash

        assert self.thresholds is not None
        stem = patch_stem(photo.name)
        marker_path = self.work / PHOTOS / f"{stem}.json"
        key = {"files": self.state(photo), "thresholds": self.thresholds}
        marker = read_marker(marker_path)
        same = marker is not None and key == {name: marker[name] for name in key}
        if marker is not None and same and marker["bytes"] == self._size(marker["rows"], stem):
            return marker
        marker_path.unlink(missing_ok=True)
        shutil.rmtree(self._folder(stem), ignore_errors=True)
        try:
            stored = self.stored_scores(photo)
            pictures = {} if stored else self.read(photo)
            scores, value = stored or (self.score(photo, pictures), perceptual_hash(pictures["original"]))
            drawn = draw_photo(scores, self.thresholds, self.settings, photo.name)
            if drawn.chosen and not pictures:
                pictures = self.read(photo)
        except (GoldeyeError, OSError, RuntimeError, MemoryError) as error:
            return {"error": _said(error)}
        size = self.settings.patch_size
        rows, crops = [], []
        for row, column in drawn.chosen:
            y, x = int(scores.ys[row]), int(scores.xs[column])
            name = f"{stem}-{y}-{x}"
            area = np.s_[y : y + size, x : x + size]
            for slot, path in group_pictures(self._folder(stem), name, self.slots).items():
                crops.append((path, pictures[slot][area]))
            rows.append(
                {
                    "id": name,
                    "source": photo.name,
                    "source_sha256": photo.sha256,
                    "y": y,
                    "x": x,
                    "scores": {
                        "std": round(float(scores.std[row, column]), 4),
                        "high_frequency": round(float(scores.high_frequency[row, column]), 4),
                        "difference": {slot: round(float(v[row, column]), 4) for slot, v in scores.difference.items()},
                    },
                }
            )
        self._each(lambda crop: write_image(crop[0], crop[1], durable=False), crops, photo)
        originals = [pixels for _, pixels in crops[:: 1 + len(self.slots)]]
        hashes = self._each(perceptual_hash, originals, photo)
        marker = {
            **key,
            "hash": value,
            "windows": drawn.windows,
            "rejected": drawn.rejected,
            "best": drawn.best,
            "rows": rows,
            "hashes": hashes,
            "bytes": self._size(rows, stem),
        }
        write_marker(marker_path, marker)
        return marker

    def _folder(self, stem: str) -> Path:
        return self.work / PICTURES / stem

    def _size(self, rows: list[dict[str, Any]], stem: str) -> int:
        """Bytes of the patches on disk, -1 when one is missing: after a power failure some may have been cut short."""
        total = 0
        for row in rows:
            for path in group_pictures(self._folder(stem), row["id"], self.slots).values():
                try:
                    total += path.stat().st_size
                except OSError:
                    return -1
        return total


def read_marker(path: Path) -> dict[str, Any] | None:
    """What a marker says; None where there is none, or where a power failure left no more than a part of it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_marker(path: Path, value: dict[str, Any]) -> None:
    """Whole or absent for other processes, and not waiting for the disk."""
    with atomic_path(path, durable=False) as temporary:
        temporary.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")


def _said(error: Exception) -> str:
    return "its pictures do not fit into memory" if isinstance(error, MemoryError) else str(error)
