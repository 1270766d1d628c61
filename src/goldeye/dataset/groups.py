"""Patch groups on disk: the official HGGT layout, with our two files beside it (DESIGN §4).

DATASET/images/<range>/original/NAME.png       the patch of the photo
DATASET/images/<range>/01/NAME_01.png …        the same patch from each enhancer, one folder a slot
DATASET/labels/<range>/A/NAME.json …           votes in the official form (labels.py)
DATASET/groups.jsonl, DATASET/dataset.yaml     ours; the released dataset has neither and works untouched
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from goldeye.errors import InvalidInput, unknown_name
from goldeye.files import write_lines, write_text
from goldeye.images import SUFFIXES, Picture, image_size, write_image

GROUPS_PER_RANGE = 500


class Enhancer(BaseModel):
    """One candidate of every group: which folder it fills and what made it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    slot: str
    kind: Literal["model", "folder"] = "model"
    source: str | None = None
    architecture: str | None = None
    scale: int | None = None
    tile: int | None = None
    weights_sha256: str | None = None


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
    """One patch of a photo and its candidates. `id` is unique in the dataset; y, x count pixels of the source photo."""

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
            identity = name if names[name] == 1 else f"{range_}/{name}"
            found = {slot: candidates.get((range_, name, slot)) for slot in slots}
            lacking += [f"{range_}/{slot}/{name}_{slot}.png" for slot, picture in found.items() if picture is None]
            pictures = {slot: picture for slot, picture in found.items() if picture is not None}
            extra: dict[str, Any] = {}
            if rows is not None:
                if identity not in rows:
                    raise InvalidInput(f"'{original}' is a group that '{root / 'groups.jsonl'}' does not list.")
                extra = rows.pop(identity)
            groups.append(Group(identity, range_, original, pictures, **extra))
        if rows:
            raise InvalidInput(f"'{root / 'groups.jsonl'}' lists {len(rows)} groups without pictures: {_some(rows)}.")
        if lacking:
            raise InvalidInput(f"'{root / 'images'}' lacks {len(lacking)} candidate pictures: {_some(lacking)}.")
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
            raise InvalidInput(f"'{self.path}' has {len(problems)} groups of unequal pictures: {_some(problems)}.")


@dataclass
class DatasetWriter:
    """Writes a dataset group by group; `finish` makes it one.

    dataset.yaml is written last and marks the dataset as whole. Until then the folder holds `.incomplete`: such a
    folder cannot be opened, and the next writer starts it over.
    """

    path: Path
    settings: DatasetSettings
    rows: list[dict[str, Any]] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        images, marker = self.path / "images", self.path / ".incomplete"
        if (self.path / "dataset.yaml").exists():
            raise InvalidInput(f"'{self.path}' already holds a dataset.", hint="Choose another folder.")
        if images.exists():
            if not marker.exists():
                raise InvalidInput(f"'{images}' is there already and was not left by an interrupted selection.")
            shutil.rmtree(images)
        self.path.mkdir(parents=True, exist_ok=True)
        marker.touch()

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
        if name in self._names:
            raise InvalidInput(f"Two groups would be named '{name}'.")
        self._names.add(name)
        first = len(self.rows) // GROUPS_PER_RANGE * GROUPS_PER_RANGE
        range_ = f"{first}-{first + GROUPS_PER_RANGE}"
        folder = self.path / "images" / range_
        write_image(folder / "original" / f"{name}.png", original)
        for slot, picture in candidates.items():
            write_image(folder / slot / f"{name}_{slot}.png", picture)
        self.rows.append(
            {"id": name, "range": range_, "source": source, "source_sha256": source_sha256, "y": y, "x": x}
            | {"scores": dict(scores), "split": None}
        )

    def discard(self) -> None:
        """Leave nothing behind (but what was in the folder before)."""
        shutil.rmtree(self.path / "images", ignore_errors=True)
        (self.path / ".incomplete").unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def finish(self, splits: Mapping[str, str]) -> Dataset:
        """Write groups.jsonl and dataset.yaml; `splits` gives the split of each source photo."""
        if not self.rows:
            raise InvalidInput(f"No group was written to '{self.path}'.")
        # The last range is named by what it really holds, as the official "0-12" (end not included).
        full = self.rows[-1]["range"]
        last = f"{full.split('-')[0]}-{len(self.rows)}"
        if last != full:
            (self.path / "images" / full).rename(self.path / "images" / last)
        for row in self.rows:
            row["range"] = last if row["range"] == full else row["range"]
            row["split"] = splits[row["source"]]
        write_lines(self.path / "groups.jsonl", self.rows)
        text = yaml.safe_dump(self.settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(self.path / "dataset.yaml", text)
        (self.path / ".incomplete").unlink()
        return Dataset.open(self.path)


def _find_root(path: Path) -> Path:
    """The folder that holds `images/`: `path` or the only one directly below it."""
    if not path.is_dir():
        raise InvalidInput(f"'{path}' is not a folder.")
    if (path / "images").is_dir():
        if (path / ".incomplete").exists() and not (path / "dataset.yaml").exists():
            raise InvalidInput(f"'{path}' is an unfinished dataset.", hint="Run `goldeye select` on it again.")
        return path
    below = sorted(child for child in path.iterdir() if (child / "images").is_dir())
    if len(below) > 1:
        raise InvalidInput(
            f"'{path}' holds several datasets: {_some(child.name for child in below)}; name one of them."
        )
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
            rows[row["id"]] = {key: row.get(key) for key in ("split", "source", "source_sha256", "y", "x", "scores")}
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"'{path}', line {number}, is not a group.") from error
    return rows


def _list_pictures(
    images: Path, slots: tuple[str, ...]
) -> tuple[dict[tuple[str, str], Path], dict[tuple[str, str, str], Path], tuple[str, ...]]:
    """All pictures by (range, NAME) and (range, NAME, slot), and the slots (those found where none are given).

    A range is any folder below images/, at any depth, that holds `original/`.
    """
    ranges = [folder.parent for folder in _folders(images) if folder.name == "original"]
    if not slots:
        found = {child.name for folder in ranges for child in folder.iterdir() if child.name.isdigit()}
        slots = tuple(sorted(found, key=lambda slot: (int(slot), slot)))
    originals: dict[tuple[str, str], Path] = {}
    candidates: dict[tuple[str, str, str], Path] = {}
    for folder in ranges:
        range_ = folder.relative_to(images).as_posix()
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


def _some(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _first(error: Exception) -> str:
    """The first thing wrong, in one clause."""
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the file"
        return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
    return " ".join(str(error).split())
