"""Patch groups on disk: the official HGGT layout, with our two files beside it.

DATASET/images/<range>/original/NAME.png       the patch of the photo
DATASET/images/<range>/01/NAME_01.png …        the same patch from each enhancer, one folder a slot
DATASET/labels/<range>/A/NAME.json …           votes in the official form (labels.py)
DATASET/groups.jsonl, DATASET/dataset.yaml     ours; the released dataset has neither and works untouched
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from goldeye.errors import GoldeyeError, InvalidInput, some, unknown_name
from goldeye.files import write_lines, write_text
from goldeye.images import SUFFIXES, Picture, image_size, write_image

GROUPS_PER_RANGE = 500
_ROW = {"split": str, "source": str, "source_sha256": str, "y": int, "x": int, "scores": dict}  # of groups.jsonl
WORK, PICTURES = ".incomplete", "pictures"


class Enhancer(BaseModel):
    """One candidate of every group: which folder it fills and what made it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    slot: str = Field(pattern=r"^[0-9]+$")  # a folder's name
    kind: Literal["model", "folder"] = "model"
    source: str | None = None
    architecture: str | None = None
    scale: int | None = None
    tile: int | None = None
    precision: str | None = None
    weights_sha256: str | None = None
    # Of a combination of models, each one's file and its hash (weights_sha256 is over the combination and these).
    members: dict[str, str] = {}
    # The versions that made the pictures.
    goldeye: str | None = None
    torch: str | None = None


class DatasetSettings(BaseModel):
    """What dataset.yaml holds: settings only, no secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    patch_size: int | None = None
    enhancers: tuple[Enhancer, ...] = ()
    # The smallest scores a patch was accepted with, and how patches were drawn (curate/select.py).
    thresholds: dict[str, float] = {}
    selection: dict[str, Any] = {}
    # What the annotators were asked: the words beside the buttons.
    labels: dict[str, str] = {"positive": "better", "similar": "similar", "negative": "worse"}
    # Which store holds votes: a file inside the dataset, or a database URL without password.
    votes: str = "annotations.sqlite"

    @field_validator("votes")
    @classmethod
    def _no_password(cls, value: str) -> str:
        from urllib.parse import urlsplit

        if "://" in value and urlsplit(value).password:
            raise ValueError("a database URL here must not hold a password")
        return value


@dataclass(frozen=True)
class Group:
    """One patch of a photo and its candidates. `id` is unique in the dataset; y, x count pixels of the source photo.

    `range` is the folder below images/ and labels/, empty where there is none (as in the released Test-100).
    """

    id: str
    range: str
    original: Path
    candidates: Mapping[str, Path]
    split: str | None = None
    source: str | None = None
    source_sha256: str | None = None
    y: int | None = None
    x: int | None = None
    scores: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The file name's stem, which is the id unless two ranges share it."""
        return self.original.stem


@dataclass(frozen=True)
class Dataset:
    """The groups of a folder in the official layout, or of one split of it."""

    path: Path
    settings: DatasetSettings
    groups: list[Group]
    slots: tuple[str, ...]

    @classmethod
    def open(cls, path: Path | str, split: str | None = None) -> Self:
        """Read a dataset; the layout may also lie one level below `path` (as `Train/` does in the release).

        Raises InvalidInput when there are no groups, when a candidate picture is missing, when the files beside the
        pictures cannot be used, and for a split the dataset does not have.
        """
        root = _find_root(Path(path))
        settings = _read_settings(root / "dataset.yaml")
        originals, candidates, slots = _list_pictures(root / "images", tuple(e.slot for e in settings.enhancers))
        rows = _read_rows(root / "groups.jsonl")

        names = Counter(name for _, name in originals)
        groups, lacking = [], []
        for (range_, name), original in originals.items():
            identity = name if names[name] == 1 or not range_ else f"{range_}/{name}"
            found = {slot: candidates.get((range_, name, slot)) for slot in slots}
            lacking += [str(Path(range_, slot, f"{name}_{slot}.png")) for slot in slots if found[slot] is None]
            pictures = {slot: picture for slot, picture in found.items() if picture is not None}
            extra: dict[str, Any] = {}
            if rows is not None:
                if identity not in rows:
                    raise InvalidInput(f"'{original}' is a group that '{root / 'groups.jsonl'}' does not list.")
                extra = rows.pop(identity)
            groups.append(Group(identity, range_, original, pictures, **extra))
        if rows:
            raise InvalidInput(f"'{root / 'groups.jsonl'}' lists {len(rows)} groups without pictures: {some(rows)}.")
        if lacking:
            raise InvalidInput(f"'{root / 'images'}' lacks {len(lacking)} candidate pictures: {some(lacking)}.")
        dataset = cls(root, settings, groups, slots)
        return dataset if split is None else replace(dataset, groups=dataset.select(split))

    def select(self, split: str) -> list[Group]:
        """The groups of one split ("train" or "test"); splits are by photo and never mix."""
        splits = {group.split for group in self.groups if group.split is not None}
        if not splits:
            raise InvalidInput(
                f"'{self.path}' has no splits.", hint="Splits are in groups.jsonl, which `goldeye select` writes."
            )
        if split not in splits:
            raise unknown_name("split", split, splits)
        return [group for group in self.groups if group.split == split]

    @property
    def enhancer_names(self) -> dict[str, str]:
        """Slot → the enhancer's name, or the slot itself where dataset.yaml names none."""
        named = {enhancer.slot: enhancer.name for enhancer in self.settings.enhancers}
        return {slot: named.get(slot, slot) for slot in self.slots}

    @property
    def votes_url(self) -> str:
        """Where the annotation store is: a database URL, or the path of a file (inside the dataset by default)."""
        votes = self.settings.votes
        return votes if "://" in votes else str(self.path / votes)

    def check(self) -> None:
        """Read the size of every picture; InvalidInput names the groups whose pictures differ in size."""
        problems = []
        for group in self.groups:
            sizes = {slot: image_size(path) for slot, path in {"original": group.original, **group.candidates}.items()}
            if len(set(sizes.values())) > 1:
                told = ", ".join(f"{slot} {width}x{height}" for slot, (height, width) in sizes.items())
                problems.append(f"{group.id} ({told})")
        if problems:
            raise InvalidInput(f"'{self.path}' has {len(problems)} groups of unequal pictures: {some(problems)}.")


@dataclass
class DatasetWriter:
    """Writes a dataset: groups are added, then `finish` puts them into range folders and makes it a dataset.

    Until then the pictures lie in the folder `.incomplete`, and nothing can be opened. `finish` writes groups.jsonl
    once all pictures are safe on disk, moves them into images/, and writes dataset.yaml last: that marks the dataset
    as whole. A new writer starts over what another left unfinished, unless `resume` is set: then the same groups,
    added again in the same order, are finished, wherever the other stopped.
    """

    path: Path
    settings: DatasetSettings
    batch_size: int = GROUPS_PER_RANGE
    resume: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    _places: dict[str, tuple[Path, tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_free(self.path)
        if not self.resume:
            self.clear()
        self.work.mkdir(parents=True, exist_ok=True)

    @property
    def work(self) -> Path:
        """The folder of what is not finished."""
        return self.path / WORK

    def add(
        self,
        name: str,
        original: Picture,
        candidates: Mapping[str, Picture],
        *,
        source: str,
        source_sha256: str,
        y: int,
        x: int,
        scores: Mapping[str, Any],
    ) -> None:
        """Write the pictures of one group; `candidates` goes by slot. Names must be new."""
        folder = self.work / PICTURES
        row = {"id": name, "source": source, "source_sha256": source_sha256, "y": y, "x": x, "scores": dict(scores)}
        self.adopt(row, folder, tuple(candidates))
        for path, picture in zip(
            group_pictures(folder, name, candidates).values(), (original, *candidates.values()), strict=True
        ):
            write_image(path, picture, durable=False)

    def adopt(self, row: Mapping[str, Any], folder: Path, slots: tuple[str, ...]) -> None:
        """Take a group whose pictures lie in `folder` as `group_pictures` says; `row` is its line of groups.jsonl."""
        name = row["id"]
        if name in self._places:
            raise InvalidInput(f"Two groups would be named '{name}'.")
        self._places[name] = folder, slots
        keys = ("id", "range", "source", "source_sha256", "y", "x", "scores", "split")
        self.rows.append({key: row.get(key) for key in keys})

    def clear(self) -> None:
        """Remove what an unfinished writer left (but what was in the folder before)."""
        if self.work.is_dir():
            if (self.path / "groups.jsonl").exists():  # is there before the first of images/, so those are a writer's
                shutil.rmtree(self.path / "images", ignore_errors=True)
                (self.path / "groups.jsonl").unlink(missing_ok=True)
            shutil.rmtree(self.work / PICTURES, ignore_errors=True)

    def finish(self, splits: Mapping[str, str]) -> Dataset:
        """Number the ranges in the order of the groups; `splits` gives the split of each source photo."""
        if not self.rows:
            raise InvalidInput(f"No group was written to '{self.path}'.")
        # A range is named by what it really holds, as the official "0-12" (end not included).
        for start in range(0, len(self.rows), self.batch_size):
            batch = self.rows[start : start + self.batch_size]
            for row in batch:
                row |= {"range": f"{start}-{start + len(batch)}", "split": splits[row["source"]]}
        _flush()
        # Both files are written in the folder of what is not finished: killed, the writer leaves nothing beside them.
        groups, settings = self.work / "groups.jsonl", self.work / "dataset.yaml"
        write_lines(groups, self.rows)
        groups.replace(self.path / groups.name)
        made: set[Path] = set()
        for row in self.rows:
            folder, slots = self._places[row["id"]]
            before = group_pictures(folder, row["id"], slots).values()
            after = group_pictures(self.path / "images" / row["range"], row["id"], slots).values()
            for source, target in zip(before, after, strict=True):
                if target.parent not in made:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.add(target.parent)
                _move(source, target)
        _flush()
        text = yaml.safe_dump(self.settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(settings, text)
        settings.replace(self.path / settings.name)
        for child in self.work.iterdir():  # what says which selection this was goes last
            if child.is_dir():
                shutil.rmtree(child)
        shutil.rmtree(self.work)
        return Dataset.open(self.path)


def group_pictures(folder: Path, name: str, slots: Iterable[str]) -> dict[str, Path]:
    """Where the pictures of a group lie in a range's folder: {"original": …, slot: …}."""
    return {"original": folder / "original" / f"{name}.png"} | {
        slot: folder / slot / f"{name}_{slot}.png" for slot in slots
    }


def check_free(path: Path) -> None:
    """InvalidInput when `path` holds a dataset, or pictures that no unfinished writer left there."""
    if (path / "dataset.yaml").exists():
        raise InvalidInput(f"'{path}' already holds a dataset.", hint="Choose another folder.")
    if (path / "images").exists() and not ((path / WORK).is_dir() and (path / "groups.jsonl").exists()):
        raise InvalidInput(f"'{path / 'images'}' is there already and was not left by an interrupted selection.")


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except FileNotFoundError:
        if not target.exists():
            raise GoldeyeError(
                f"The picture '{source}' is gone, and it was not finished.", hint="Remove the folder and start over."
            ) from None


def _flush() -> None:
    """Make everything written so far safe on disk: one call for many small files."""
    if hasattr(os, "sync"):
        os.sync()


def _find_root(path: Path) -> Path:
    """The folder that holds `images/`: `path` or the only one directly below it."""
    if not path.is_dir():
        raise InvalidInput(f"'{path}' is not a folder.")
    if (path / WORK).exists() and not (path / "dataset.yaml").exists():
        raise InvalidInput(f"'{path}' is an unfinished dataset.", hint="Run `goldeye select` on it again.")
    if (path / "images").is_dir():
        return path
    below = sorted(child for child in path.iterdir() if (child / "images").is_dir())
    if len(below) > 1:
        raise InvalidInput(f"'{path}' holds several datasets: {some(child.name for child in below)}; name one of them.")
    if not below:
        raise InvalidInput(f"'{path}' is not a dataset: it has no images/ folder with groups.")
    return _find_root(below[0])


def _read_settings(path: Path) -> DatasetSettings:
    """dataset.yaml, or the defaults where there is none (the released dataset)."""
    if not path.exists():
        return DatasetSettings()
    try:
        return DatasetSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"'{path}' cannot be used: {_first(error)}.") from error


def _read_rows(path: Path) -> dict[str, dict[str, Any]] | None:
    """groups.jsonl as {id: what a Group holds besides its pictures}; None where there is no such file."""
    rows: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            rows[row["id"]] = {key: row.get(key) for key in _ROW}
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"'{path}', line {number}, is not a group.") from error
        for key, kind in _ROW.items():
            if not isinstance(row.get(key), kind | None):
                raise InvalidInput(f"'{path}', line {number}: {key} cannot be {row[key]!r}.")
    return rows


def _list_pictures(
    images: Path, slots: tuple[str, ...]
) -> tuple[dict[tuple[str, str], Path], dict[tuple[str, str, str], Path], tuple[str, ...]]:
    """All pictures by (range, NAME) and (range, NAME, slot), and the slots (those found where none are given).

    A range is any folder at any depth of images/ that holds `original/`; images/ itself is the range "".
    """
    ranges = [folder.parent for folder in _folders(images) if folder.name == "original"]
    if not slots:
        found = {child.name for folder in ranges for child in folder.iterdir() if child.name.isdigit()}
        slots = tuple(sorted(found, key=lambda slot: (int(slot), slot)))
    originals: dict[tuple[str, str], Path] = {}
    candidates: dict[tuple[str, str, str], Path] = {}
    for folder in ranges:
        range_ = "" if folder == images else folder.relative_to(images).as_posix()
        for stem, path in _pictures(folder / "original").items():
            originals[range_, stem] = path
        for slot in slots:
            for stem, path in _pictures(folder / slot).items():
                candidates[range_, stem.removesuffix(f"_{slot}"), slot] = path
    if not originals:
        raise InvalidInput(f"'{images}' holds no groups: no picture in any original/ folder.")
    if not slots:
        raise InvalidInput(f"'{images}' holds no candidates: no folder 01, 02, … beside original/.")
    return originals, candidates, slots


def _folders(folder: Path) -> list[Path]:
    """All folders below, in natural order ("2-4" before "10-12"); the pictures' own folders are not entered."""
    found = []
    for child in sorted((child for child in folder.iterdir() if child.is_dir()), key=_natural):
        found.append(child)
        if child.name != "original" and not child.name.isdigit():
            found += _folders(child)
    return found


def _natural(path: Path) -> tuple[int, str]:
    digits = path.name.split("-")[0]
    return (int(digits) if digits.isdigit() else sys.maxsize, path.name)


def _pictures(folder: Path) -> dict[str, Path]:
    """Pictures of one folder by stem, sorted."""
    if not folder.is_dir():
        return {}
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if path.stem in pictures:
                raise InvalidInput(f"'{pictures[path.stem]}' and '{path.name}' are two pictures with one name.")
            pictures[path.stem] = path
    return pictures


def _first(error: Exception) -> str:
    """The first thing wrong, in one clause."""
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the file"
        return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
    return " ".join(str(error).split())
