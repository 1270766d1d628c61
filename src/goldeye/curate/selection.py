"""What `goldeye select` and its preview have in common: scores of all photos, thresholds, draws, duplicates, order."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from goldeye.batch import track
from goldeye.curate.candidates import RECORD, Candidates, Photo
from goldeye.curate.cut import SCORES, DrawPhoto, PhotoWork, ScorePhoto, patch_stem, read_marker
from goldeye.curate.draw import Drawn
from goldeye.curate.engines import Engine, LocalEngine
from goldeye.curate.splits import by_seed, drop_alike, find_twins, split_photos
from goldeye.curate.thresholds import ENOUGH, FILTERS, ScoreCounts, Thresholds, as_quantile, raise_until
from goldeye.dataset.groups import WORK
from goldeye.errors import InvalidInput, unknown_name
from goldeye.files import sha256, write_json
from goldeye.runtime import available_cores

if TYPE_CHECKING:
    from goldeye.curate.select import SelectSettings

R = TypeVar("R")
Row = dict[str, Any]
Results = dict[str, dict[str, Any]]
"""By photo: what its work gave."""

PLAN, SCORE_PLAN = "plan.json", "scores.json"


@dataclass
class Selection:
    """One call of `select_patches`. What is found on the way is noted in `failed`, `twins`, `kept_of`, `quantile`."""

    candidates: Path
    output: Path
    settings: SelectSettings
    record: Candidates
    engine: Engine
    failed: list[dict[str, str]] = field(default_factory=list)
    twins: dict[str, tuple[str, int]] = field(default_factory=dict)
    """{photo left out: (its twin, bits between them)}."""
    kept_of: int | None = None
    """How many groups the thresholds give before they are raised to `keep` fewer."""
    quantile: float | None = None
    """Up to which they were raised."""

    @property
    def work(self) -> Path:
        return self.output / WORK

    @cached_property
    def digest(self) -> str:
        """Of the candidates' record."""
        return sha256(self.candidates / RECORD)

    @cached_property
    def tests(self) -> set[str]:
        """The photos that the setting `test` names, with or without their ending."""
        names = {photo.name for photo in self.record.photos}
        by_stem = {name.removesuffix(".png"): name for name in names}
        found = set()
        for test in self.settings.test:
            photo = by_stem.get(test, test if test in names else None)
            if photo is None:
                raise unknown_name("test photo", test, by_stem)
            found.add(photo)
        return found

    @cached_property
    def photos(self) -> list[Photo]:
        """Those that are large enough; of two alike the first one is kept, so photos named for tests come first."""
        size = self.settings.patch_size
        large = [photo for photo in self.record.photos if min(photo.height, photo.width) >= size]
        return sorted(large, key=lambda photo: photo.name not in self.tests)

    @cached_property
    def too_small(self) -> list[str]:
        size = self.settings.patch_size
        return [photo.name for photo in self.record.photos if min(photo.height, photo.width) < size]

    def check(self) -> None:
        """Refuse, before work starts, what no photo can change."""
        _ = self.tests
        taken: dict[str, str] = {}
        for photo in self.record.photos:
            other = taken.setdefault(patch_stem(photo.name), photo.name)
            if other != photo.name:
                raise InvalidInput(f"The patches of '{other}' and '{photo.name}' would have the same names.")
        place, source = self.output.resolve(), self.candidates.resolve()
        if place.is_relative_to(source) or any(source.is_relative_to(place / name) for name in (WORK, "images")):
            raise InvalidInput(f"The dataset '{self.output}' needs a folder of its own, not one with the candidates.")
        if not self.photos:
            raise InvalidInput(
                f"All {len(self.too_small)} photos are smaller than the patch of {self.settings.patch_size} pixels.",
                hint="Choose a smaller patch size.",
            )

    # Work on photos ----------------------------------------------------------------------------------------------

    def worker(self, make: Callable[..., R], threads: int = 1, **more: Any) -> R:
        """Work of some kind (cut.py) on one photo."""
        return make(self.candidates, self.record.slots, self.work, self.settings, threads, **more)

    def each(
        self, make: Callable[..., Callable[[Photo], R]], photos: Sequence[Photo], words: str, **more: Any
    ) -> list[R]:
        """Work on photos by the engine; results in their order."""
        # Drawing takes a millisecond a photo, and is done again and again: here, before processes would have started.
        engine = LocalEngine() if make is DrawPhoto else self.engine
        work = self.worker(make, max(1, available_cores() // engine.jobs), **more)
        results: list[Any] = [None] * len(photos)
        for index, result in track(engine.map(work, photos), words, total=len(photos)):
            results[index] = result
        return results

    def usable(self, photos: Sequence[Photo], results: Sequence[dict[str, Any]]) -> Results:
        """Results of the photos that did not fail; those that did are noted."""
        done: Results = {}
        for photo, result in zip(photos, results, strict=True):
            if "error" in result:
                where = str(self.candidates / "original" / photo.name)
                self.failed.append({"input": where, "photo": photo.name, "error": result["error"]})
            else:
                done[photo.name] = result
        if not done:
            raise InvalidInput(f"None of the {len(photos)} photos can be used: {self.failed[0]['error'].rstrip('.')}.")
        return done

    def without_twins(self, done: Results) -> Results:
        """Leave out photos that are near-duplicates of earlier ones."""
        distance = self.settings.duplicate_distance
        if distance is not None and distance >= 0:
            self.twins = find_twins({name: result["hash"] for name, result in done.items()}, distance)
        return {name: result for name, result in done.items() if name not in self.twins}

    @cached_property
    def score_plan(self) -> dict[str, Any]:
        """What scores depend on."""
        keys = ("patch_size", "stride", "measure")
        return {"format": 1, "candidates": self.digest} | {key: getattr(self.settings, key) for key in keys}

    def drop_other_scores(self) -> None:
        """Remove scores that an earlier call left, of other windows or by another measure."""
        if read_marker(self.work / SCORE_PLAN) != self.score_plan:
            shutil.rmtree(self.work / SCORES, ignore_errors=True)
            (self.work / SCORE_PLAN).unlink(missing_ok=True)

    def scored(self) -> tuple[list[Photo], ScoreCounts]:
        """Score all photos, or take the scores that are there: the photos to draw from, and their scores' counts."""
        self.drop_other_scores()
        write_json(self.work / SCORE_PLAN, self.score_plan)
        done = self.without_twins(self.usable(self.photos, self.each(ScorePhoto, self.photos, "score")))
        photos = [photo for photo in self.photos if photo.name in done]
        counts, worker = ScoreCounts(), self.worker(PhotoWork)
        for photo in photos:
            counts.add(worker.read_scores(photo))
        return photos, counts

    def drawn(self, photos: list[Photo], thresholds: Thresholds) -> list[Drawn]:
        """What is drawn from each photo; only for photos that are scored."""
        return self.each(DrawPhoto, photos, "draw", thresholds=thresholds)

    def raised(self, floors: Thresholds, wanted: int | None, photos: list[Photo], counts: ScoreCounts) -> Thresholds:
        """`floors`, or the thresholds above them that leave about `wanted` groups and no fewer."""
        if wanted is None:
            return floors

        def drawn(thresholds: Thresholds) -> int:
            return sum(len(found.chosen) for found in self.drawn(photos, thresholds))

        self.kept_of, self.quantile = drawn(floors), 0.0
        if self.kept_of <= wanted * ENOUGH:
            return floors
        self.quantile, thresholds = raise_until(wanted, counts, floors, drawn)
        return thresholds

    # All groups --------------------------------------------------------------------------------------------------

    def unlike(self, done: Results) -> tuple[list[Row], list[tuple[str, str]]]:
        """Rows of all patches but those near to an earlier one of another photo, and the pairs of photos concerned."""
        rows = [row for result in done.values() for row in result["rows"]]
        distance = self.settings.duplicate_distance
        if distance is None or distance < 0:
            return rows, []
        hashes = [value for result in done.values() for value in result["hashes"]]
        patches = [(row["source"], value) for row, value in zip(rows, hashes, strict=True)]
        stays, alike = drop_alike(patches, distance)
        return [row for row, stay in zip(rows, stays, strict=True) if stay], alike

    def ordered(self, rows: Iterable[Row]) -> list[Row]:
        """At most `keep` rows, in the order in which they are put into ranges."""
        by_id = {row["id"]: row for row in rows}
        mixed = by_seed(self.settings.seed, by_id)[: self.settings.keep]
        if not self.settings.shuffle:
            taken = set(mixed)
            mixed = [identity for identity in by_id if identity in taken]
        return [by_id[identity] for identity in mixed]

    def splits(self, rows: Iterable[Row], alike: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
        """{photo: "train" or "test"} of the photos that gave a patch."""
        sources = {row["source"] for row in rows}
        settings = self.settings
        return split_photos(
            [photo.name for photo in self.record.photos if photo.name in sources],
            tests=self.tests if settings.test else None,
            fraction=settings.test_fraction,
            seed=settings.seed,
            alike=alike,
        )

    # What is said ------------------------------------------------------------------------------------------------

    def summary(
        self, drawn: dict[str, Any], rows: list[Row], splits: dict[str, str], thresholds: Thresholds
    ) -> dict[str, Any]:
        """The document of `goldeye select`; `drawn` has `windows` and `rejected` of every photo that took part."""
        counts = Counter(row["source"] for row in rows)
        by_split = Counter(splits[row["source"]] for row in rows)
        rejected = Counter[str](dict.fromkeys((*FILTERS, "not_drawn"), 0))
        for found in drawn.values():
            rejected.update(found["rejected"])
        return {
            "dataset": str(self.output),
            "groups": len(rows),
            "splits": {split: by_split[split] for split in ("train", "test")},
            "photos": {photo.name: counts[photo.name] for photo in self.record.photos if photo.name in drawn},
            "test_photos": sorted(name for name in counts if splits[name] == "test"),
            "too_small": self.too_small,
            "failed": self.failed,
            "duplicates": {
                "photos": [
                    {"photo": name, "twin": twin, "distance": distance} for name, (twin, distance) in self.twins.items()
                ],
                "patches": 0,
            },
            "windows": sum(found["windows"] for found in drawn.values()),
            "rejected": {**rejected, "duplicate": 0, "not_kept": 0},
            "thresholds": thresholds,
            "keep": self.settings.keep,
            "kept_of": self.kept_of,
            "quantile": self.quantile,
            "preview": None,
        }

    def nothing(self, done: Results, thresholds: Thresholds) -> InvalidInput:
        """No patch at all: why, and what would let some pass."""
        told = []
        for filter_, key in FILTERS.items():
            asked = getattr(self.settings, key)
            number = "" if as_quantile(asked) is None else f" (its {asked} is {thresholds[key]:g})"
            removed = sum(result["rejected"][filter_] for result in done.values())
            told.append(f"{filter_.replace('_', ' ')} removed {removed}{number}")
        # Rounded down, so that what is named lets a window pass.
        best = {key: max(result["best"][key] for result in done.values()) for key in FILTERS.values()}
        reached = ", ".join(f"{key} {value // 0.01 / 100:g}" for key, value in best.items())
        windows = sum(result["windows"] for result in done.values())
        return InvalidInput(
            f"No patch passes: of {windows} windows of {self.settings.patch_size} pixels, {', '.join(told)}.",
            hint=f"Lower the thresholds; the best windows reach {reached}.",
        )


def select_text(summary: dict[str, Any]) -> str:
    """The summary for people."""
    used = sum(1 for number in summary["photos"].values() if number)
    splits = ", ".join(f"{number} {split}" for split, number in summary["splits"].items())
    rejected = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in summary["rejected"].items())
    lines = [
        f"{summary['preview'] or summary['dataset']}: {summary['groups']} groups of {used} photos ({splits})",
        "thresholds: " + ", ".join(f"{key} {value:.5g}" for key, value in summary["thresholds"].items()),
        f"windows: {summary['windows']}; not taken: {rejected}",
    ]
    if summary["keep"] is not None:
        fewer = ": no more pass" if summary["groups"] < summary["keep"] else ""
        lines.append(f"kept: {summary['groups']} of {summary['kept_of']}, {summary['keep']} were wanted{fewer}")
    if summary["test_photos"]:
        lines.append(f"test photos: {', '.join(summary['test_photos'])}")
    if summary["too_small"]:
        lines.append(f"smaller than a patch: {', '.join(summary['too_small'])}")
    twins = summary["duplicates"]["photos"]
    lines += [f"left out: {one['photo']}, a near-duplicate of {one['twin']} ({one['distance']} bits)" for one in twins]
    return "\n".join(lines)
