"""`goldeye noise-bank`: cut the noise patches of a target set and of an auxiliary set (EDL, Algorithm 1) into a bank.

What a bank holds is told in `goldeye.degrade.noise_bank`. `.scan.jsonl` in it keeps the statistics of every window seen
so far, from which a stopped run continues.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import yaml

from goldeye.batch import BatchResult, track
from goldeye.degrade.noise_bank import (
    PATCHES,
    RECORD,
    SCAN,
    SOURCES,
    TABLE,
    BankRecord,
    Bytes,
    Cati,
    Floats,
    SetCounts,
    Threshold,
    window_statistics,
)
from goldeye.errors import ImageError, InvalidInput, unknown_name
from goldeye.files import read_rows, sha256, write_lines, write_text
from goldeye.images import find_images, read_image, to_eight_bit, write_image

RULES: dict[str, dict[str, float]] = {"cati": {"share": 0.02}, "impressionism": {"max_variance": 20.0, "min_mean": 0.0}}
MIN_PATCH, MAX_PATCH = 8, 2048  # pixels a side; above, the exact sums of a window would not fit 64 bits


@dataclass(frozen=True)
class _Source:
    """A picture of the target or the auxiliary set; `name` is its path below the set's folder."""

    set: Literal["target", "auxiliary"]
    name: str
    path: Path


@dataclass(frozen=True)
class _Scanned:
    """What the scan of one picture found; the statistics are (rows, columns)."""

    sha256: str
    height: int
    width: int
    mean: Floats
    variance: Floats


def collect_noise(
    source: Path,
    bank: Path,
    *,
    auxiliary: Path | None = None,
    rule: str = "cati",
    patch: int = 256,
    stride: int | None = None,
    share: float | None = None,
    max_variance: float | None = None,
    min_mean: float | None = None,
) -> tuple[BatchResult, BankRecord]:
    """Cut the noise patches of `source` (the target set D_a) and `auxiliary` (D_b of NGDC) into the folder `bank`.

    Windows of `patch` pixels a side lie `stride` (default: `patch`) apart. Rule "cati": the CATI of the `share` (0.02)
    flattest windows of the target set decides on the windows of both sets. Rule "impressionism": variance <
    `max_variance` (20) and mean > `min_mean` (0). Pictures of 16 bit are taken as 8-bit ones.

    One picture is in memory at a time, and of each window two numbers. A stopped run continues, and ends in the same
    bytes; a later call takes up changed, added and removed pictures. A picture that cannot be read fails by name and
    is tried again by the next call. InvalidInput for settings and folders that cannot be used, and for a target set
    without any window. Entries of the result: {"input", "set", "windows", "patches"}, failed ones with "error".
    """
    settings = _settings(rule, patch, stride, {"share": share, "max_variance": max_variance, "min_mean": min_mean})
    pictures = [*_pictures("target", source, bank), *_pictures("auxiliary", auxiliary, bank)]
    if auxiliary is not None:
        one, other = source.resolve(), auxiliary.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise InvalidInput(f"The target set '{source}' and the auxiliary set '{auxiliary}' share pictures.")
    result = BatchResult()
    with _Scan.open(bank, settings) as scan:
        (bank / RECORD).unlink(missing_ok=True)
        accepted: Cati | Threshold
        if rule == "cati":
            accepted = _find_cati([p for p in pictures if p.set == "target"], scan, settings["share"], source, result)
        else:
            accepted = Threshold(max_variance=settings["max_variance"], min_mean=settings["min_mean"])
        failed = {item["input"] for item in result.failed}
        patches, sources = [], []
        for picture in track(pictures, "noise patches", len(pictures)):
            if str(picture.path) in failed:
                continue
            try:
                rows, found = _collect(picture, scan, accepted, bank, result)
            except (ImageError, OSError, MemoryError) as error:
                result.failed.append({"input": str(picture.path), "set": picture.set, "error": str(error)})
                continue
            patches += rows
            sources.append(found)
        scan.compact([(picture.set, picture.name) for picture in pictures])
    if not sources:
        scan.discard()
        raise InvalidInput(f"No picture of '{source}' can be read.", hint=str(result.failed[0]["error"]))
    write_lines(bank / TABLE, patches)
    write_lines(bank / SOURCES, sources)
    record = BankRecord(
        rule=settings["rule"],
        settings={key: settings[key] for key in RULES[rule]},
        patch=patch,
        stride=settings["stride"],
        cati=accepted if isinstance(accepted, Cati) else None,
        source=str(source),
        auxiliary=None if auxiliary is None else str(auxiliary),
        counts=_counts(sources, auxiliary is not None),
        hashes={name: sha256(bank / name) for name in (TABLE, SOURCES)},
    )
    _remove_strays(bank, {str(row["file"]) for row in patches})
    values = record.model_dump(mode="json")
    write_text(bank / RECORD, yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True))
    return result, record


def _settings(rule: str, patch: int, stride: int | None, given: dict[str, float | None]) -> dict[str, Any]:
    """All settings, checked, with the defaults of the rule."""
    if rule not in RULES:
        raise unknown_name("rule", rule, RULES)
    if not MIN_PATCH <= patch <= MAX_PATCH:
        raise InvalidInput(f"The patch must have {MIN_PATCH} to {MAX_PATCH} pixels a side, not {patch}.")
    if stride is not None and stride < 1:
        raise InvalidInput(f"The stride must be 1 or more, not {stride}.")
    for key, value in given.items():
        if value is not None and key not in RULES[rule]:
            raise InvalidInput(f"The rule '{rule}' has no {key.replace('_', ' ')}.")
    settings = RULES[rule] | {key: value for key, value in given.items() if value is not None}
    if not all(math.isfinite(value) for value in settings.values()):
        raise InvalidInput(f"The settings of the rule '{rule}' must be finite numbers.")
    if rule == "cati" and not 0 < settings["share"] <= 1:
        raise InvalidInput(f"The share must be above 0 and at most 1, not {settings['share']}.")
    return {"rule": rule, "patch": patch, "stride": stride or patch, **settings}


def _pictures(kind: Literal["target", "auxiliary"], folder: Path | None, bank: Path) -> Iterator[_Source]:
    """The pictures of a set in sorted order, without those of the bank itself."""
    if folder is None:
        return
    root = folder if folder.is_dir() else folder.parent
    if bank.resolve() == root.resolve():
        raise InvalidInput(f"The bank '{bank}' must not be the folder of the pictures.")
    found = [path for path in find_images(folder) if not path.resolve().is_relative_to(bank.resolve())]
    if not found:
        raise InvalidInput(f"All pictures of '{folder}' lie in the bank '{bank}'.")
    yield from (_Source(kind, path.relative_to(root).as_posix(), path) for path in found)


def _find_cati(pictures: list[_Source], scan: _Scan, share: float, source: Path, result: BatchResult) -> Cati:
    """Algorithm 1, line 6, over windows instead of pictures (the paper's text); unreadable pictures become failed."""
    means, variances = [np.zeros(0)], [np.zeros(0)]
    for picture in track(pictures, "statistics", len(pictures)):
        try:
            found, _ = scan.of(picture)
        except (ImageError, OSError, MemoryError) as error:
            result.failed.append({"input": str(picture.path), "set": picture.set, "error": str(error)})
            continue
        means.append(found.mean.ravel())
        variances.append(found.variance.ravel())
    mean, variance = np.concatenate(means), np.concatenate(variances)
    if not (mean > 0).any():
        scan.discard()
        side = scan.settings["patch"]
        raise InvalidInput(
            f"'{source}' has no window of {side} x {side} pixels that is not black, so there is no CATI.",
            hint=str(result.failed[0]["error"]) if result.failed else "Choose a smaller --patch.",
        )
    return Cati.of(mean, variance, share)


def _collect(
    picture: _Source, scan: _Scan, accepted: Cati | Threshold, bank: Path, result: BatchResult
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write the crops of one picture that are not there yet; its lines of the two tables."""
    found, pixels = scan.of(picture)
    new = pixels is not None or (picture.set, picture.name) in scan.fresh
    side, stride = scan.settings["patch"], scan.settings["stride"]
    stem = str(Path(picture.name).with_suffix(""))
    rows = []
    for i, j in np.argwhere(accepted.accepts(found.mean, found.variance)).tolist():
        y, x = i * stride, j * stride
        # The hash in the name makes "it is there" mean "it is finished, and of this very picture".
        file = f"{PATCHES}/{picture.set}/{stem}-{found.sha256[:8]}-y{y}-x{x}.png"
        if not (bank / file).is_file():
            pixels = to_eight_bit(read_image(picture.path)) if pixels is None else pixels
            write_image(bank / file, np.ascontiguousarray(pixels[y : y + side, x : x + side]))
            new = True
        statistics = {"mean": float(found.mean[i, j]), "variance": float(found.variance[i, j])}
        rows.append({"file": file, "set": picture.set, "source": picture.name, "y": y, "x": x, **statistics})
    entry = {"input": str(picture.path), "set": picture.set, "windows": found.mean.size, "patches": len(rows)}
    (result.done if new else result.skipped).append(entry)
    return rows, {
        "set": picture.set,
        "source": picture.name,
        "sha256": found.sha256,
        "height": found.height,
        "width": found.width,
        "windows": found.mean.size,
        "patches": len(rows),
    }


def _counts(sources: list[dict[str, Any]], with_auxiliary: bool) -> dict[Literal["target", "auxiliary"], SetCounts]:
    def count(kind: str) -> SetCounts:
        mine = [row for row in sources if row["set"] == kind]
        return SetCounts(
            pictures=len(mine),
            too_small=sum(row["windows"] == 0 for row in mine),
            giving=sum(row["patches"] > 0 for row in mine),
            windows=sum(row["windows"] for row in mine),
            patches=sum(row["patches"] for row in mine),
        )

    return {"target": count("target"), **({"auxiliary": count("auxiliary")} if with_auxiliary else {})}


def _remove_strays(bank: Path, wanted: set[str]) -> None:
    """Crops that the tables no longer name, and temporary files of killed runs."""
    for path in sorted((bank / PATCHES).rglob("*"), reverse=True):  # what a folder holds comes before the folder
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(bank).as_posix() not in wanted:
            path.unlink()
    for path in bank.glob(".*.tmp.*"):
        path.unlink()


@dataclass
class _Scan:
    """.scan.jsonl: the settings, then a line a picture, appended as soon as it is scanned."""

    path: Path
    settings: dict[str, Any]
    known: dict[tuple[str, str], _Scanned]
    fresh: set[tuple[str, str]] = field(default_factory=set)
    file: TextIO | None = None

    @classmethod
    def open(cls, bank: Path, settings: dict[str, Any]) -> _Scan:
        """Take up the scan of an earlier run; InvalidInput for a folder that is no bank, or one of other settings."""
        path = bank / SCAN
        if bank.exists() and not bank.is_dir():
            raise InvalidInput(f"The bank '{bank}' is a file; a folder is needed.")
        rows = read_rows(path)
        if rows:
            earlier = rows[0]
            differing = [key for key in (settings | earlier) if earlier.get(key) != settings.get(key)]
            if differing:
                told = ", ".join(f"{key} ({earlier.get(key)} then, {settings.get(key)} now)" for key in differing)
                raise InvalidInput(
                    f"'{bank}' was made differently: {told}.", hint="Choose another folder, or remove this one."
                )
        elif bank.is_dir() and any(entry.name != SCAN and ".tmp" not in entry.name for entry in bank.iterdir()):
            raise InvalidInput(f"'{bank}' holds files that `goldeye noise-bank` did not make.")
        return cls(path, settings, {(row["set"], row["source"]): _from_row(row) for row in rows[1:]})

    def __enter__(self) -> _Scan:
        self.compact(list(self.known))  # without the torn line that a killed run may have left
        self.file = self.path.open("a", encoding="utf-8", newline="\n")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.file is not None:
            self.file.close()

    def of(self, picture: _Source) -> tuple[_Scanned, Bytes | None]:
        """The statistics of a picture; also its pixels if they had to be read."""
        key = picture.set, picture.name
        if key in self.fresh:
            return self.known[key], None
        digest = sha256(picture.path)
        if key in self.known and self.known[key].sha256 == digest:
            return self.known[key], None
        pixels = to_eight_bit(read_image(picture.path))
        mean, variance = window_statistics(pixels, self.settings["patch"], self.settings["stride"])
        self.known[key] = _Scanned(digest, pixels.shape[0], pixels.shape[1], mean, variance)
        self.fresh.add(key)
        assert self.file is not None
        self.file.write(json.dumps(_to_row(key, self.known[key])) + "\n")
        self.file.flush()
        return self.known[key], pixels

    def discard(self) -> None:
        """Leave nothing of a bank that cannot be made, so that other settings can be tried in the same folder."""
        if not (self.path.parent / PATCHES).exists():
            self.path.unlink()
            if not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()

    def compact(self, keys: list[tuple[str, str]]) -> None:
        """Write the file anew with these pictures, in this order."""
        write_lines(self.path, [self.settings, *(_to_row(key, self.known[key]) for key in keys if key in self.known)])


def _to_row(key: tuple[str, str], scanned: _Scanned) -> dict[str, Any]:
    return {
        "set": key[0],
        "source": key[1],
        "sha256": scanned.sha256,
        "height": scanned.height,
        "width": scanned.width,
        "mean": scanned.mean.tolist(),
        "variance": scanned.variance.tolist(),
    }


def _from_row(row: dict[str, Any]) -> _Scanned:
    mean, variance = (np.array(row[key], np.float64) for key in ("mean", "variance"))
    return _Scanned(row["sha256"], row["height"], row["width"], mean, variance)
