"""Packs: pictures of a training set as plain bytes, which a loader reads without decoding (`goldeye pack`).

PACK/shards/00000.bin …  RGB of 8 bit, one picture after the other, rows from the top
PACK/index.jsonl         a line a source picture, and one that closes each shard
PACK/pack.yaml           settings, counts, SHA-256 of index.jsonl; written last: without it, unfinished

A source's line: folder (its number), name, sha256, height, width, shard, and pictures, each [factor, y, x, height,
width, offset], where factor tells a shrunk copy (1: none) and y, x count pixels of that copy. Of pairs also lr and
lr_sha256, and the pictures are GT, LR, GT, LR… A source that could not be read has "error" instead. A closing line:
shard, bytes, sha256.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from goldeye.config import DataConfig, Strict, parse_yaml, validate
from goldeye.dataset.groups import Dataset
from goldeye.dataset.pictures import Key
from goldeye.errors import InvalidInput, some
from goldeye.files import read_rows, sha256
from goldeye.images import Picture

RECORD, INDEX, SHARDS, INCOMPLETE = "pack.yaml", "index.jsonl", "shards", ".incomplete"

Kind = Literal["photos", "pairs", "dataset"]


class PackSettings(Strict):
    """What a pack is made of and how; folders as seen from the pack. Size 0: pictures as a whole."""

    format: Literal[1] = 1
    kind: Kind
    folders: tuple[str, ...]
    lr_folders: tuple[str, ...] = ()
    scale: int | None = None  # of pairs
    size: int
    step: int
    multiscale: bool = False


class PackRecord(Strict):
    """pack.yaml."""

    settings: PackSettings
    sources: int
    failed: int
    pictures: int
    bytes: int
    index_sha256: str


def shard_path(pack: Path, number: int) -> Path:
    """Where shard `number` lies."""
    return pack / SHARDS / f"{number:05d}.bin"


def is_pack(path: Path) -> bool:
    """Whether `path` is a pack; InvalidInput for one that is not finished."""
    if (path / INCOMPLETE).is_file() and not (path / RECORD).is_file():
        raise InvalidInput(f"'{path}' is an unfinished pack.", hint="Run `goldeye pack` with it again.")
    return (path / RECORD).is_file()


def find_pack(config: DataConfig) -> Pack | None:
    """The pack that `data.path` names, or None; InvalidInput where it does not fit the other settings."""
    packs = [path for path in config.paths if is_pack(path)]
    if not packs:
        return None
    if len(config.paths) > 1 or config.lr_path is not None or config.meta_info is not None:
        raise InvalidInput(
            f"'{packs[0]}' is a pack, which is all of data.path: no other folder, lr_path or meta_info goes with it.",
            hint="`goldeye pack` makes one pack of several folders.",
        )
    pack = Pack(packs[0])
    kind = pack.record.settings.kind
    if kind != config.source:
        raise InvalidInput(f"'{pack.path}' is a pack of {kind}; data.source is '{config.source}'.")
    return pack


class Pack:
    """A finished pack. Number n is its n-th picture; of pairs 2n is a GT and 2n + 1 its LR picture."""

    def __init__(self, path: Path) -> None:
        """InvalidInput in one sentence for a pack that is damaged; the shards are not read, only their sizes."""
        self.path = path
        text = (path / RECORD).read_text(encoding="utf-8", errors="replace")
        self.record = validate(PackRecord, parse_yaml(text, str(path / RECORD)), f"pack '{path}'")
        if not (path / INDEX).is_file() or sha256(path / INDEX) != self.record.index_sha256:
            raise self._damaged(f"{INDEX} is not the one it was made with")
        rows = read_rows(path / INDEX)
        self.shards = [row for row in rows if "bytes" in row]
        for row in self.shards:
            file = shard_path(path, row["shard"])
            if not file.is_file() or file.stat().st_size != row["bytes"]:
                raise self._damaged(f"'{file.name}' has another size than it was written with")
        sources = [row for row in rows if "pictures" in row]
        self.names = [row["name"] for row in sources]
        entries = [
            (row["shard"], number, *picture[1:]) for number, row in enumerate(sources) for picture in row["pictures"]
        ]
        # shard, source, y, x, height, width, offset
        self._table: npt.NDArray[np.int64] = np.array(entries, np.int64).reshape(-1, 7)
        self._open: dict[int, npt.NDArray[np.uint8]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A worker process opens the shards itself."""
        return self.__dict__ | {"_open": {}}

    def __len__(self) -> int:
        return len(self._table)

    def read(self, key: Key) -> Picture:
        """A view of the file; only what is used of it is read."""
        shard, _, _, _, height, width, offset = self._table[self._number(key)].tolist()
        if shard not in self._open:
            with shard_path(self.path, shard).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._open[shard] = np.frombuffer(mapped, np.uint8)
        return self._open[shard][offset : offset + 3 * height * width].reshape(height, width, 3)

    def size(self, key: Key) -> tuple[int, int]:
        """(height, width)"""
        height, width = self._table[self._number(key), 4:6].tolist()
        return height, width

    def name(self, key: Key) -> str:
        """Which part of which picture it is."""
        _, source, y, x, *_ = self._table[self._number(key)].tolist()
        return f"{self.path}: {self.names[source]} at ({y}, {x})"

    def _number(self, key: Key) -> int:
        if not isinstance(key, int):
            raise TypeError(f"a number, not {key!r}, names a picture of a pack")
        return key

    def files(self) -> list[Path]:
        """Every file of the pack."""
        return [self.path / RECORD, self.path / INDEX, *(shard_path(self.path, row["shard"]) for row in self.shards)]

    def check(self) -> Iterator[str | None]:
        """For each of `files`: a sentence if its bytes are not those that were written, or None; all are read."""
        yield from (None, None)  # record and index were compared when the pack was opened
        for row in self.shards:
            file = shard_path(self.path, row["shard"])
            yield None if sha256(file) == row["sha256"] else self._damaged(f"'{file.name}' has changed").message

    def describe(self) -> dict[str, Any]:
        """For the plan of a dry run."""
        record = self.record
        return {
            "pack": str(self.path),
            "folders": list(record.settings.folders),
            "left_out": {"could not be read when it was packed": record.failed} if record.failed else {},
        }

    def _damaged(self, how: str) -> InvalidInput:
        return InvalidInput(f"The pack '{self.path}' is damaged: {how}.", hint="Run `goldeye pack` with it again.")


class PackedDataset:
    """The pictures of a dataset of patch groups from a pack: they are named by their paths in the dataset."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        # The votes may have grown since: they are the dataset's, only the pixels are the pack's.
        folder = pack.path / pack.record.settings.folders[0]
        if not folder.is_dir():
            raise InvalidInput(f"The dataset of the pack '{pack.path}', which has its labels, is not at '{folder}'.")
        self.dataset = Dataset.open(folder)
        self._numbers = {name: number for number, name in enumerate(pack.names)}

    def read(self, key: Key) -> Picture:
        """As `Pack.read`."""
        return self.pack.read(self._number(key))

    def size(self, key: Key) -> tuple[int, int]:
        """(height, width)"""
        return self.pack.size(self._number(key))

    def name(self, key: Key) -> str:
        """The path."""
        return str(key)

    def check(self) -> Iterator[str | None]:
        """As `Pack.check`."""
        return self.pack.check()

    def require(self, pictures: list[Path]) -> None:
        """InvalidInput unless the pack holds all of them."""
        lacking = [name for name in map(self._name, pictures) if name not in self._numbers]
        if lacking:
            raise InvalidInput(
                f"The pack '{self.pack.path}' lacks {len(lacking)} pictures of its dataset: {some(lacking)}.",
                hint="Run `goldeye pack` with it again.",
            )

    def _number(self, key: Key) -> int:
        return self._numbers[self._name(key)]

    def _name(self, key: Key) -> str:
        return Path(str(key)).relative_to(self.dataset.path).as_posix()
