"""The test sets of a benchmark: which LR and HR pictures there are, checked before any work, and put in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from goldeye import __version__
from goldeye.dataset.groups import Dataset
from goldeye.degrade import Pipeline, degrade_picture, get_pipeline
from goldeye.errors import GoldeyeError, InvalidInput, some
from goldeye.evaluate.made import MadePictures, key_of, pictures_by_name
from goldeye.evaluate.multi_gt import crops_to, dataset_targets
from goldeye.evaluate.settings import SetEntry, folder_name, located
from goldeye.files import sha256
from goldeye.images import image_size, read_image, to_float, to_uint8
from goldeye.images.match import match_pictures

GT, LR = "_gt", "_lr"
"""Folders of a set's own pictures, beside those of the models."""


@dataclass(frozen=True)
class Case:
    """One picture of a set. `size` (height, width) is that of the GT, which may be smaller than the HR file; `number`
    is its place in the set, from which a degradation draws.

    `targets` are the pictures that results are compared with in a dataset, empty elsewhere.
    """

    name: str
    number: int
    hr: Path
    size: tuple[int, int]
    lr: Path | None = None
    targets: dict[str, Path] = field(default_factory=dict)


@dataclass
class PictureSet:
    """A checked set. `place` fills `gt` and `lr`; `lr` is None where the set has no LR pictures.

    `without_lr` tells why a picture has none though the set has.
    """

    entry: SetEntry
    cases: dict[str, Case]
    folder: Path
    scale: int
    dataset: Path | None
    against: str
    excluded: list[dict[str, Any]]
    without_lr: dict[str, str] = field(default_factory=dict)
    gt: MadePictures = field(init=False)
    lr: MadePictures | None = field(init=False, default=None)

    @property
    def has_lr(self) -> bool:
        return self.entry.lr is not None or self.entry.degradation is not None

    def place(self) -> list[dict[str, str]]:
        """Copy or crop the GT, and copy or make the LR pictures; those that are there already stay.

        Returns {"input", "error", "name"} of damaged pictures: without its GT a picture leaves the set, without its LR
        picture it has only finished results.
        """
        failed = []
        self.gt = MadePictures(self.folder / GT)
        keys = {name: key_of([sha256(case.hr), case.size]) for name, case in self.cases.items()}
        for name in self.gt.start(keys):
            case = self.cases[name]
            try:
                if image_size(case.hr) == case.size:
                    self.gt.copy(name, keys[name], case.hr)
                else:
                    height, width = case.size
                    self.gt.write(name, keys[name], read_image(case.hr)[:height, :width])
            except GoldeyeError as error:
                failed.append({"input": str(case.hr), "error": error.message, "name": name})
                self.excluded.append({"name": name, "reason": error.message, "failed": True})
                del self.cases[name]
        if self.has_lr:
            self.lr = MadePictures(self.folder / LR)
            keys = {name: self._lr_key(case) for name, case in self.cases.items()}
            for name in self.lr.start(keys):
                case = self.cases[name]
                try:
                    if case.lr is not None:
                        self.lr.copy(name, keys[name], case.lr)
                    else:
                        self._degrade(case, keys[name])
                except GoldeyeError as error:
                    failed.append({"input": str(case.lr or case.hr), "error": error.message, "name": name})
                    self.without_lr[name] = error.message
        return failed

    def _lr_key(self, case: Case) -> str:
        """What an LR picture depends on."""
        if case.lr is not None:
            return key_of(sha256(case.lr))
        pipeline = get_pipeline(self.entry.degradation or "").model_dump(mode="json")
        gt = self.gt.row(case.name)["sha256"]
        return key_of([gt, pipeline, self.scale, self.entry.seed, case.number, __version__])

    def _degrade(self, case: Case, key: str) -> None:
        """Make an LR picture as `goldeye degrade` does of the set's HR pictures."""
        assert self.lr is not None
        pipeline = get_pipeline(self.entry.degradation or "")
        rng = np.random.default_rng([self.entry.seed, case.number])
        lr, _ = degrade_picture(to_float(read_image(self.gt.path(case.name))), pipeline, rng, self.scale)
        self.lr.write(case.name, key, to_uint8(lr))

    def data_key(self, name: str) -> list[Any]:
        """What the figures of a picture depend on beside the result."""
        case = self.cases[name]
        targets = {slot: sha256(path) for slot, path in case.targets.items()}
        lr = self.lr.row(name)["sha256"] if self.lr is not None and name not in self.without_lr else None
        return [self.gt.row(name)["sha256"], lr, targets]

    def described(self) -> dict[str, Any]:
        """The set in results.json; its hash is over the names, the GT and the LR pictures."""
        digest = key_of({name: self.data_key(name) for name in sorted(self.cases)})
        kind = self.entry.model_dump(exclude={"name", "published"}, exclude_defaults=True)
        if self.dataset is not None:
            kind["against"] = self.against
        return {"name": self.entry.name, "pictures": len(self.cases), "sha256": digest, **kind}


def load_set(entry: SetEntry, output: Path, *, scale: int, base: Path) -> PictureSet:
    """Find and check a set's pictures; nothing is written. Paths are relative to `base`.

    An HR picture may have up to scale - 1 rows and columns more than its LR picture times the scale; they are cropped,
    as SR papers do. Raises InvalidInput naming the set: no folder, names without a counterpart, other sizes, an unknown
    degradation, a dataset without positives.
    """
    try:
        if entry.degradation is not None:
            if entry.degradation.endswith((".yaml", ".yml")):
                entry = entry.model_copy(update={"degradation": str(located(base, entry.degradation))})
            get_pipeline(entry.degradation or "").check_scale(scale)
        dataset = None if entry.dataset is None else located(base, entry.dataset)
        against = entry.against or "positives"
        excluded: list[dict[str, Any]] = []
        if dataset is not None:
            opened = Dataset.open(dataset, entry.split)
            targets = dataset_targets(opened, against)
            originals = {group.id: group.original for group in opened.groups}
            reason = (
                "no target to compare with" if against == "original" else f"no {against.removesuffix('s')} candidate"
            )
            excluded = [{"name": name, "reason": reason} for name in originals if not targets.get(name)]
            hr = {name: path for name, path in originals.items() if targets.get(name)}
        else:
            hr, targets = pictures_by_name(located(base, entry.hr or "")), {}
        if not hr:
            raise InvalidInput("there are no pictures to compare with.")
        lr: dict[str, Path] = {}
        if entry.lr is not None:
            hr, lr = _matched(hr, None if entry.hr is None else located(base, entry.hr), located(base, entry.lr), scale)
        cases = {
            name: Case(name, number, path, _size(path, lr.get(name), entry, scale), lr.get(name), targets.get(name, {}))
            for number, (name, path) in enumerate(hr.items())
        }
        if dataset is not None:
            for case in cases.values():
                if image_size(case.hr) != case.size:
                    raise InvalidInput(f"'{case.hr}' is {_words(case.hr)} pixels, no multiple of the scale {scale}.")
    except InvalidInput as error:
        sentence = error.message[0].lower() + error.message[1:] if error.message[:2].istitle() else error.message
        raise InvalidInput(f"In the set '{entry.name}': {sentence}", hint=error.hint) from error
    return PictureSet(entry, cases, output / "pictures" / folder_name(entry.name), scale, dataset, against, excluded)


def _matched(hr: dict[str, Path], folder: Path | None, lr: Path, scale: int) -> tuple[dict[str, Path], dict[str, Path]]:
    """HR and LR pictures under common names; LR names may end in `x4`, or each folder's in a `_…` of its own."""
    small = pictures_by_name(lr)
    for ending in ("", f"x{scale}", f"_x{scale}"):
        if all(f"{name}{ending}" in small for name in hr):
            return hr, {name: small[f"{name}{ending}"] for name in hr}
    if folder is None:
        lacking = [name for name in hr if name not in small]
        raise InvalidInput(f"'{lr}' lacks {len(lacking)} of {len(hr)} pictures: {some(lacking)}.")
    found = match_pictures({"hr": folder}, {"lr": lr})
    return {name: both["hr"] for name, both in found.items()}, {name: both["lr"] for name, both in found.items()}


def _size(hr: Path, lr: Path | None, entry: SetEntry, scale: int) -> tuple[int, int]:
    height, width = image_size(hr)
    if lr is not None:
        rows, columns = (side * scale for side in image_size(lr))
        if not crops_to((height, width), (rows, columns), scale):
            raise InvalidInput(
                f"'{lr}' has {_words(lr)} pixels, which times {scale} is not the size of '{hr}', {width}x{height}."
            )
        return rows, columns
    if entry.degradation is not None:
        if min(height - height % scale, width - width % scale) < Pipeline.MIN_SIDE:
            raise InvalidInput(f"'{hr}' has {width}x{height} pixels, too few for the scale {scale}.")
        return height - height % scale, width - width % scale
    return height, width


def _words(path: Path) -> str:
    height, width = image_size(path)
    return f"{width}x{height}"
