"""`goldeye select`: patches worth a person's time, cut from photos and their versions (HGGT §3.2; REFERENCE §5).

Every window on a grid of `stride` pixels is scored; patches are then drawn at random among those that pass. Photos are
worked on one by one by an engine (cut.py); duplicates, splits and ranges are then settled here, in one process.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from goldeye.curate.candidates import read_candidates
from goldeye.curate.cut import PHOTOS, CutPhoto, PhotoWork, patch_stem, read_marker
from goldeye.curate.engines import Engine, LocalEngine
from goldeye.curate.selection import PLAN, Results, Row, Selection, select_text
from goldeye.curate.thresholds import FILTERS, Thresholds, as_quantile, parse_threshold, resolve
from goldeye.dataset.groups import GROUPS_PER_RANGE, PICTURES, DatasetSettings, DatasetWriter, check_free
from goldeye.errors import InvalidInput
from goldeye.files import sole_user, write_json

if TYPE_CHECKING:
    from goldeye.curate.preview import PreviewPhoto

__all__ = ["PRESETS", "SelectSettings", "select_patches", "select_text"]

SUMMARY, PREVIEW = "summary.json", "preview.html"

Threshold = Annotated[float | str, BeforeValidator(parse_threshold)]

# The paper: std in a Laplacian pyramid. Its script: variance of a saturated 8-bit Laplacian, threshold 30. At 6 the two
# agree on 98 % of the 19,107 windows of 39 photographs.
_MIN_HIGH_FREQUENCY = {"pyramid": 6.0, "laplacian": 30.0}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The official script's values; it drops nothing by difference (REFERENCE §5).
    "paper": {"measure": "laplacian", "min_std": 30.0, "min_high_frequency": 30.0, "min_difference": 0.0},
}


class SelectSettings(BaseModel):
    """How patches are chosen. Scores are in grey levels of 255; thresholds are numbers or quantiles such as "40%"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_size: int = Field(512, ge=16, description="side of a patch in pixels")
    stride: int = Field(16, ge=1, description="step of the grid of windows")
    max_overlap: float = Field(0.5, ge=0, le=1, description="two patches share less than this part of their area")
    measure: Literal["pyramid", "laplacian"] = Field("pyramid", description="how high frequencies are measured")
    min_std: Threshold = Field(30.0, description="standard deviation of the grey patch")
    min_high_frequency: Threshold = Field(
        6.0, description="pyramid: std of its two finest levels; laplacian: variance (default 30)"
    )
    min_difference: Threshold = Field(2.0, description="mean |version - original| over pixels and channels")
    keep: int | None = Field(None, ge=1, description="raise the thresholds together until so many groups are left")
    per_photo: int | None = Field(None, ge=1, description="most patches of one photo")
    # At 8 bits all of 440 photos are found again after JPEG of quality 20 and after shrinking to a quarter, while the
    # nearest two of the 96,580 pairs of different photos are 14 bits apart, those of 2.2 million pairs of patches 12.
    duplicate_distance: int | None = Field(
        8, ge=-1, le=64, description="bits of 64 in which hashes of near-duplicates differ at most; -1: do not look"
    )
    test_fraction: float = Field(0.0, ge=0, le=1, description="part of the photos for the test split, drawn by seed")
    test: tuple[str, ...] = Field((), description="photos of the test split by name, instead of test_fraction")
    shuffle: bool = Field(True, description="mix the groups of all photos before they are put into ranges")
    batch_size: int = Field(GROUPS_PER_RANGE, ge=1, description="groups in a range folder")
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _default_of_measure(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("min_high_frequency") is None:
            measure = values.get("measure", "pyramid")
            return values | {"min_high_frequency": _MIN_HIGH_FREQUENCY.get(measure, 6.0)}
        return values


def select_patches(
    candidates: Path, output: Path, settings: SelectSettings, *, engine: Engine | None = None, preview: bool = False
) -> dict[str, Any]:
    """Cut patch groups from a folder of candidates into a new dataset; returns what was chosen and what was not.

    The same candidates, settings and seed give the same files, by whatever engine. Photos smaller than a patch are
    passed over and named; those with a picture that cannot be read or has another size are in the summary's "failed",
    and the rest is done. A selection that was stopped, even by kill -9, goes on where it was when it is started again
    with the same settings; with others it starts over. With `preview` only OUTPUT/preview.html is written, and scores
    that the next call takes up.
    Raises InvalidInput when nothing passes (telling which filter removed how many windows), when `output` already holds
    a dataset, and for unusable candidates.
    """
    if settings.test and settings.test_fraction:
        raise InvalidInput("Name the photos of the test split or give its fraction, not both.")
    selection = _Writing(candidates, output, settings, read_candidates(candidates), engine or LocalEngine())
    selection.check()
    with sole_user(output):
        finished = selection.finished()
        if finished is not None:
            return finished
        check_free(output)
        return _preview(selection) if preview else selection.run()


class _Writing(Selection):
    """A selection that writes a dataset."""

    @cached_property
    def plan(self) -> dict[str, Any]:
        """What the dataset depends on."""
        return {"format": 1, "candidates": self.digest, "settings": self.settings.model_dump(mode="json")}

    def finished(self) -> dict[str, Any] | None:
        """The summary, when this very selection was stopped after its last file."""
        if not (self.output / "dataset.yaml").exists() or read_marker(self.work / PLAN) != self.plan:
            return None
        summary = read_marker(self.work / SUMMARY)
        if summary is not None:
            shutil.rmtree(self.work)
        return summary

    def run(self) -> dict[str, Any]:
        """Cut, settle, write, from where an earlier call stopped."""
        self.drop_other_scores()
        if read_marker(self.work / PLAN) != self.plan:
            self.start_over()
            write_json(self.work / PLAN, self.plan)
        groups, summary = self.output / "groups.jsonl", read_marker(self.work / SUMMARY)
        if groups.exists() and summary is not None:  # all was settled; pictures were being moved
            rows = [json.loads(line) for line in groups.read_text(encoding="utf-8").splitlines()]
            return self.write(rows, {row["source"]: row["split"] for row in rows}, summary)

        keep, asked = self.settings.keep, [getattr(self.settings, key) for key in FILTERS.values()]
        if keep is None and all(as_quantile(value) is None for value in asked):
            thresholds = resolve(self.settings, None)
            cut = self.each(CutPhoto, self.photos, "select", thresholds=thresholds)
            return self.settle(self.without_twins(self.usable(self.photos, cut)), thresholds)
        photos, counts = self.scored()
        floors, wanted = resolve(self.settings, counts), keep
        while True:
            thresholds = self.raised(floors, wanted, photos, counts)
            done = self.usable(photos, self.each(CutPhoto, photos, "cut", thresholds=thresholds))
            lacking = (keep or 0) - len(self.unlike(done)[0])
            if wanted is None or lacking <= 0 or thresholds == floors:
                return self.settle(done, thresholds)
            photos = [photo for photo in photos if photo.name in done]
            wanted += 2 * lacking  # patches of different photos were alike: a few more are needed

    def settle(self, done: Results, thresholds: Thresholds) -> dict[str, Any]:
        """Decide which groups there are, in which order and split; then write the dataset."""
        unlike, alike = self.unlike(done)
        if not unlike:
            error = self.nothing(done, thresholds)
            self.start_over()
            for folder in (self.work, self.output):  # scores may stay, for other thresholds
                if not any(folder.iterdir()):
                    folder.rmdir()
            raise error
        rows = self.ordered(unlike)
        splits = self.splits(rows, alike)
        summary = self.summary(done, rows, splits, thresholds)
        near = sum(len(result["rows"]) for result in done.values()) - len(unlike)
        summary["duplicates"]["patches"] = near
        summary["rejected"] |= {"duplicate": near, "not_kept": len(unlike) - len(rows)}
        write_json(self.work / SUMMARY, summary)
        return self.write(rows, splits, summary)

    def write(self, rows: list[Row], splits: dict[str, str], summary: dict[str, Any]) -> dict[str, Any]:
        """Move the pictures into the dataset."""
        writer = self.writer(resume=True, thresholds=summary["thresholds"])
        for row in rows:
            writer.adopt(row, self.work / PICTURES / patch_stem(row["source"]), tuple(self.record.slots))
        writer.finish(splits)
        return summary

    def writer(self, *, resume: bool, thresholds: Thresholds | None = None) -> DatasetWriter:
        values = self.settings.model_dump(mode="json")
        described = DatasetSettings(
            patch_size=values.pop("patch_size"),
            enhancers=self.record.enhancers,
            thresholds=thresholds or {},
            selection=values,
        )
        return DatasetWriter(self.output, described, batch_size=self.settings.batch_size, resume=resume)

    def start_over(self) -> None:
        """Remove everything but scores; the plan first, without which nothing else is taken up."""
        (self.work / PLAN).unlink(missing_ok=True)
        self.writer(resume=False)
        shutil.rmtree(self.work / PHOTOS, ignore_errors=True)
        (self.work / SUMMARY).unlink(missing_ok=True)


def _preview(selection: Selection) -> dict[str, Any]:
    """Score and draw everything, and write the page. Only patches alike are not found: none is cut."""
    from goldeye.curate.preview import PreviewPhoto, write_preview

    settings = selection.settings
    photos, counts = selection.scored()
    thresholds = selection.raised(resolve(settings, counts), settings.keep, photos, counts)
    drawn = selection.drawn(photos, thresholds)
    windows = [
        {"id": f"{patch_stem(photo.name)}-{row * settings.stride}-{column * settings.stride}"}
        | {"source": photo.name, "window": (row, column)}
        for photo, found in zip(photos, drawn, strict=True)
        for row, column in found.chosen
    ]
    rows = selection.ordered(windows)
    chosen: dict[str, list[tuple[int, int]]] = {}
    for one in rows:
        chosen.setdefault(one["source"], []).append(one["window"])
    took_part = {photo.name: vars(found) for photo, found in zip(photos, drawn, strict=True)}
    summary = selection.summary(took_part, rows, selection.splits(rows), thresholds)
    summary["rejected"]["not_kept"] = len(windows) - len(rows)
    page, unfinished = selection.output / PREVIEW, selection.work / PREVIEW
    summary["preview"] = str(page)

    worker = selection.worker(PhotoWork)
    shown = [photo for photo in selection.photos if photo.name in took_part or photo.name in selection.twins]

    def pages() -> Iterator[PreviewPhoto]:
        for photo in shown:
            yield PreviewPhoto(
                photo.name,
                selection.candidates / "original" / photo.name,
                photo.height,
                photo.width,
                worker.read_scores(photo),
                chosen.get(photo.name, []),
                selection.twins[photo.name][0] if photo.name in selection.twins else None,
            )

    more = {"photos_total": len(shown), "enhancers": selection.record.slots}
    write_preview(unfinished, pages(), thresholds=thresholds, settings=settings, summary=summary | more)
    unfinished.replace(page)
    return summary
