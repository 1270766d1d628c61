"""STUDY/study.yaml: what is compared, the pictures and their hashes, and how often each is judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from goldeye.annotate.tasks import PAIR, RATING, Task
from goldeye.annotate.work import GroupPictures
from goldeye.config import Strict, parse_yaml, validate
from goldeye.errors import InvalidInput, some
from goldeye.files import sha256

SETTINGS, STORE, CHECKS = "study.yaml", "study.sqlite", "checks"
LEVELS = tuple(RATING.words[label] for label in RATING.labels)

Name = Annotated[str, Field(min_length=1, max_length=100)]


class Used(Strict):
    """A picture of the study: its path inside its folder, and the SHA-256 of the file."""

    file: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Method(Strict):
    """What made one version of every picture; `slot` stands for it in the store."""

    slot: Annotated[str, Field(pattern=r"^[0-9]+$")]
    name: Name
    folder: str


class StudyPicture(Strict):
    """One picture: its version by slot, and what is shown beside them."""

    name: Annotated[str, Field(min_length=1)]
    versions: dict[str, Used]
    reference: Used | None = None
    lr: Used | None = None


class Check(Strict):
    """An attention check on a picture.

    pixelated: in a study of pairs the version `slot` beside a coarse copy of it, in one of ratings a coarse copy of the
    reference; the copy is the file STUDY/checks/`file`. reference: the reference itself is to be rated.
    """

    picture: str
    kind: Literal["pixelated", "reference"]
    slot: str | None = None
    file: str | None = None


class StudySettings(Strict):
    """What study.yaml holds. Folders below the one that holds the study are relative to the study, others absolute."""

    format: Literal[1] = 1
    kind: Literal["pair", "rating"]
    title: Name
    votes: int = Field(ge=1, le=1000, description="people who judge each item")
    seed: int = Field(0, ge=0)
    methods: tuple[Method, ...]
    reference: str | None = None
    lr: str | None = None
    exclude: tuple[str, ...] = Field((), description="datasets whose annotators may not take part")
    pictures: Annotated[tuple[StudyPicture, ...], Field(min_length=1)]
    checks: tuple[Check, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        least = 2 if self.kind == "pair" else 1
        if len(self.methods) < least:
            raise ValueError(f"a study of {self.kind}s needs {least} methods or more, not {len(self.methods)}")
        for what, names in (
            ("methods", [method.name for method in self.methods]),
            ("slots", [method.slot for method in self.methods]),
            ("pictures", [picture.name for picture in self.pictures]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} have the same name")
        if self.kind == "rating" and self.reference is None:
            raise ValueError("ratings need a reference")
        slots = {method.slot for method in self.methods}
        known = {picture.name: picture for picture in self.pictures}
        for picture in self.pictures:
            if picture.versions.keys() != slots:
                raise ValueError(f"picture '{picture.name}' does not have one version for each method")
            for folder, used in ((self.reference, picture.reference), (self.lr, picture.lr)):
                if (folder is None) != (used is None):
                    raise ValueError(f"picture '{picture.name}' does not have the reference or LR that the study has")
        for check in self.checks:
            if check.picture not in known:
                raise ValueError(f"a check is about '{check.picture}', which is not a picture of the study")
            needs = {"slot": self.kind == "pair", "file": check.kind == "pixelated"}
            if (
                any((getattr(check, key) is not None) != needed for key, needed in needs.items())
                or (check.slot is not None and check.slot not in slots)
                or (check.kind == "reference" and self.kind == "pair")
            ):
                raise ValueError(f"the check about '{check.picture}' does not fit a study of {self.kind}s")
        return self


@dataclass(frozen=True)
class Item:
    """What is judged at once: the versions `slots` of a picture (two for a pair, one for a rating)."""

    id: str
    picture: str
    slots: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A study folder: study.yaml, the checks' pictures, and by default the store. The pictures stay where they are."""

    path: Path
    settings: StudySettings

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read STUDY/study.yaml; InvalidInput with one sentence where there is none or it cannot be used."""
        file = path / SETTINGS
        if not file.is_file():
            raise InvalidInput(
                f"There is no study in '{path}': no {SETTINGS}.", hint="`goldeye study create` makes a study."
            )
        data = parse_yaml(file.read_text(encoding="utf-8"), str(file))
        return cls(path, validate(StudySettings, data, f"'{file}'"))

    @property
    def task(self) -> Task:
        """The question that annotate's server asks."""
        return PAIR if self.settings.kind == "pair" else RATING

    @property
    def method_names(self) -> dict[str, str]:
        """Slot → the method's name."""
        return {method.slot: method.name for method in self.settings.methods}

    def items(self) -> list[Item]:
        """Every pair of versions of every picture, or every version of it."""
        slots = [method.slot for method in self.settings.methods]
        if self.settings.kind == "pair":
            shown: list[tuple[str, ...]] = list(combinations(slots, 2))
        else:
            shown = [(slot,) for slot in slots]
        return [
            Item(f"{'-'.join(pair)}/{picture.name}", picture.name, pair)
            for picture in self.settings.pictures
            for pair in shown
        ]

    def groups(self) -> list[GroupPictures]:
        """The items and the checks as annotate's server takes them."""
        pictures = {picture.name: picture for picture in self.settings.pictures}
        groups = []
        for item in self.items():
            picture = pictures[item.picture]
            versions = {slot: self._version(picture, slot) for slot in item.slots}
            groups.append(GroupPictures(item.id, self._reference(picture), versions, self._lr(picture)))
        for number, check in enumerate(self.settings.checks, 1):
            picture = pictures[check.picture]
            shown: dict[str, Path] = {}
            if check.slot is not None:
                shown["version"] = self._version(picture, check.slot)
            if check.file is not None:
                shown["pixelated"] = self.path / CHECKS / check.file
            reference = self._reference(picture)
            if check.kind == "reference" and reference is not None:
                shown["reference"] = reference
            groups.append(GroupPictures(check_id(number), reference, shown, self._lr(picture)))
        return groups

    def expected(self) -> dict[str, dict[str, str]]:
        """{id of a check: {candidate: the right label}}; a rating may be a level off (`Task.is_right`)."""
        right = {"pixelated": {"pixelated": str(len(LEVELS) - 1)}, "reference": {"reference": "0"}}
        pair = {"version": "Preferred"}
        return {
            check_id(number): pair if self.settings.kind == "pair" else right[check.kind]
            for number, check in enumerate(self.settings.checks, 1)
        }

    def refuse_changed_pictures(self) -> None:
        """InvalidInput naming the pictures that are gone, or no longer the files that the study was made with."""
        changed = [str(path) for path, known in self._files() if not path.is_file() or sha256(path) != known]
        if changed:
            raise InvalidInput(
                f"{len(changed)} pictures of the study are gone or have changed since it was created: {some(changed)}.",
                hint="Put the files back, or create a new study: votes on other pictures would be mixed up with these.",
            )

    def _files(self) -> Iterator[tuple[Path, str]]:
        settings = self.settings
        for picture in settings.pictures:
            for method in settings.methods:
                used = picture.versions[method.slot]
                yield self.path / method.folder / used.file, used.sha256
            for folder, more in ((settings.reference, picture.reference), (settings.lr, picture.lr)):
                if folder is not None and more is not None:
                    yield self.path / folder / more.file, more.sha256

    def _version(self, picture: StudyPicture, slot: str) -> Path:
        folder = next(method.folder for method in self.settings.methods if method.slot == slot)
        return self.path / folder / picture.versions[slot].file

    def _reference(self, picture: StudyPicture) -> Path | None:
        reference, used = self.settings.reference, picture.reference
        return None if reference is None or used is None else self.path / reference / used.file

    def _lr(self, picture: StudyPicture) -> Path | None:
        return (
            None if self.settings.lr is None or picture.lr is None else self.path / self.settings.lr / picture.lr.file
        )


def check_id(number: int) -> str:
    """The id of the check `number` (from 1) in the store; no item's id begins so."""
    return f"check/{number:02}"
