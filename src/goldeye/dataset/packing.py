"""`goldeye pack`: parts of photos or pairs, or the patches of a dataset, for fast loading (the format: pack.py)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image

from goldeye.batch import BatchResult, bar
from goldeye.config import parse_yaml, validate
from goldeye.dataset.groups import Dataset
from goldeye.dataset.pack import INCOMPLETE, INDEX, RECORD, SHARDS, Kind, PackRecord, PackSettings, shard_path
from goldeye.dataset.pictures import find_pairs
from goldeye.errors import GoldeyeError, ImageError, InvalidInput
from goldeye.files import atomic_path, read_rows, sha256, sole_user, write_lines, write_text
from goldeye.images import Picture, find_images, image_size, read_image, to_eight_bit

SHARD_BYTES = 2**29  # a stopped run loses at most one shard
FACTORS, SHORTEST = (0.75, 0.5, 1 / 3), 400  # of the copies (Real-ESRGAN's script)

Row = dict[str, Any]
_GROUPS = ("dataset.yaml", "images/original", "images/*/original", "*/images/*/original")  # tell a dataset from photos
_FAILURES = (GoldeyeError, OSError, MemoryError)  # of one picture: the others are packed


class Source(NamedTuple):
    """A picture to pack; `lr` makes it a pair."""

    folder: int
    name: str
    path: Path
    lr_name: str | None = None
    lr: Path | None = None


class Part(NamedTuple):
    """A piece of a picture, or of a shrunk copy of it."""

    factor: float
    y: int
    x: int
    pixels: Picture


def windows(height: int, width: int, size: int, step: int) -> list[tuple[int, int, int, int]]:
    """(y, x, height, width) of the sub-images: a grid with `step`, and a last row and column that end at the border.

    A side shorter than `size` is taken whole; size 0 takes the whole picture.
    """
    if size == 0:
        return [(0, 0, height, width)]

    def starts(side: int) -> list[int]:
        found = list(range(0, side - size + 1, step)) or [0]
        return found if found[-1] + size >= side else [*found, side - size]

    return [(y, x, min(size, height), min(size, width)) for y in starts(height) for x in starts(width)]


def copy_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of Real-ESRGAN's shrunk copies: three factors, and a shortest side of 400 pixels.

    Copies whose shortest side would be below that are left out, and so are those that would not be smaller.
    """
    ratio = SHORTEST / min(height, width)
    sizes = [(int(height * factor), int(width * factor)) for factor in FACTORS]
    sizes.append((SHORTEST, int(width * ratio)) if height <= width else (int(height * ratio), SHORTEST))
    return [size for size in sizes if SHORTEST <= min(size) < min(height, width)]


def make_pack(
    folders: Sequence[Path],
    output: Path,
    *,
    lr_folders: Sequence[Path] = (),
    dataset: bool = False,
    size: int = 480,
    step: int = 240,
    multiscale: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[BatchResult, PackRecord]:
    """Pack photos of one or several folders, pairs (with `lr_folders`), or the patches of a dataset, which stay whole.

    A stopped run continues, and ends in the same bytes; changed, new and removed pictures are taken up from the shard
    on that they concern. Pictures that cannot be read, or do not pair, fail by name, and the rest is packed. Entries of
    the result: {"input", "pictures"}, failed ones {"input", "error"}. InvalidInput when `output` holds other things, or
    a pack of other folders or settings, when no picture can be packed, and when the disk is too small.
    """
    kind: Kind = "dataset" if dataset else "pairs" if lr_folders else "photos"
    _check_arguments(folders, kind, size, step, multiscale)
    if kind == "dataset":
        size = step = 0
    sources = _find(folders, lr_folders, kind)
    settings = PackSettings(
        kind=kind,
        folders=tuple(_relative(folder, output) for folder in folders),
        lr_folders=tuple(_relative(folder, output) for folder in lr_folders),
        scale=_scale(sources, size, step) if kind == "pairs" else None,
        size=size,
        step=step,
        multiscale=multiscale,
    )
    _refuse_other(output, settings)
    with sole_user(output):
        return _Packing(output, settings, sources, shard_bytes).run()


def _check_arguments(folders: Sequence[Path], kind: Kind, size: int, step: int, multiscale: bool) -> None:
    if size and not (size >= 16 and 1 <= step <= size):
        raise InvalidInput(
            f"Sub-images of {size} pixels every {step} do not work: --size is 0 or at least 16, --step 1 to --size."
        )
    if multiscale and kind != "photos":
        raise InvalidInput("--multiscale makes shrunk copies of photos; pairs and datasets have their sizes.")
    if kind == "dataset" and len(folders) != 1:
        raise InvalidInput("One dataset makes a pack.")
    for folder in folders:
        if not folder.is_dir():
            raise InvalidInput(f"There is no folder '{folder}'.")
        if kind != "dataset" and any(next(folder.glob(pattern), None) for pattern in _GROUPS):
            raise InvalidInput(f"'{folder}' is a dataset of patch groups.", hint="Add --dataset to pack its patches.")
        if (folder / RECORD).is_file() or (folder / INCOMPLETE).is_file():
            raise InvalidInput(f"'{folder}' is a pack itself.")


def _find(folders: Sequence[Path], lr_folders: Sequence[Path], kind: Kind) -> list[Source]:
    """What there is to pack, in the order of the samples."""
    if kind == "dataset":
        opened = Dataset.open(folders[0])
        paths = [path for group in opened.groups for path in (group.original, *group.candidates.values())]
        return [Source(0, path.relative_to(opened.path).as_posix(), path) for path in paths]
    if kind == "photos":
        return [
            Source(number, path.relative_to(folder).as_posix(), path)
            for number, folder in enumerate(folders)
            for path in find_images(folder)
        ]
    if len(folders) != len(lr_folders):
        raise InvalidInput(f"{len(folders)} folders of GT and {len(lr_folders)} of LR pictures do not pair up.")
    return [
        Source(number, gt.relative_to(folder).as_posix(), gt, lr.relative_to(lr_folder).as_posix(), lr)
        for number, (folder, lr_folder) in enumerate(zip(folders, lr_folders, strict=True))
        for gt, lr in find_pairs([folder], [lr_folder], None)
    ]


def _scale(sources: Sequence[Source], size: int, step: int) -> int:
    """How much smaller the LR pictures are, by the first pair that can be read."""
    for source in sources:
        assert source.lr is not None
        try:
            scale = image_size(source.path)[0] // image_size(source.lr)[0]
        except ImageError:
            continue
        if scale < 1:
            raise InvalidInput(f"'{source.lr}' is larger than '{source.path}': the LR pictures go with --lr.")
        if size % scale or step % scale:
            raise InvalidInput(f"--size {size} and --step {step} must be multiples of the pairs' scale {scale}.")
        return scale
    raise InvalidInput("None of the pairs can be read.")


def _relative(folder: Path, output: Path) -> str:
    """The folder as seen from the pack, so that both can be moved together."""
    try:
        return Path(os.path.relpath(folder.resolve(), output.resolve())).as_posix()
    except ValueError:  # another drive
        return folder.resolve().as_posix()


def _refuse_other(output: Path, settings: PackSettings) -> None:
    """InvalidInput unless `output` is new, empty, or a pack (finished or not) of the same folders and settings."""
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"The output '{output}' is a file; a folder is needed.")
    record, unfinished = output / RECORD, output / INCOMPLETE
    if record.is_file():
        found = validate(PackRecord, _yaml(record), f"pack '{output}'").settings
    elif unfinished.is_file():
        found = validate(PackSettings, _yaml(unfinished), f"pack '{output}'")
    elif output.exists() and any(output.iterdir()):
        raise InvalidInput(f"'{output}' holds other files; a pack needs a folder of its own.")
    else:
        return
    before, now = found.model_dump(), settings.model_dump()
    differing = [key for key in now if before[key] != now[key]]
    if differing:
        raise InvalidInput(
            f"The pack '{output}' was made with another {' and '.join(differing)}.", hint="Choose another folder."
        )


def _yaml(path: Path) -> dict[str, Any]:
    return parse_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))


@dataclass
class _Packing:
    """One call of `make_pack`, once its settings are known."""

    output: Path
    settings: PackSettings
    sources: list[Source]
    shard_bytes: int

    def run(self) -> tuple[BatchResult, PackRecord]:
        result, kept = BatchResult(), self._kept()
        done = sum("bytes" not in row for row in kept)
        for source, row in zip(self.sources, (row for row in kept if "bytes" not in row), strict=False):
            (result.failed if "error" in row else result.skipped).append(_item(source, row))
        if done == len(self.sources) and (self.output / RECORD).is_file():
            return result, validate(PackRecord, _yaml(self.output / RECORD), f"pack '{self.output}'")
        self._check_disk(done)
        self._start(kept)
        number = len(kept) - done
        with bar("pack", len(self.sources), done) as advance:
            while done < len(self.sources):
                rows = self._write_shard(number, done, advance)
                for source, row in zip(self.sources[done:], rows[:-1], strict=False):
                    (result.failed if "error" in row else result.done).append(_item(source, row))
                done, number = done + len(rows) - 1, number + 1
        return result, self._finish(result)

    def _kept(self) -> list[Row]:
        """Lines of an earlier run, shard by shard, as long as shards and sources are what they were."""
        kept: list[Row] = []
        shard: list[Row] = []
        place = 0
        for row in read_rows(self.output / INDEX):
            shard.append(row)
            if "bytes" not in row:
                continue
            file = shard_path(self.output, row["shard"])
            if not file.is_file() or file.stat().st_size != row["bytes"]:
                break
            sources = self.sources[place : place + len(shard) - 1]
            if len(sources) < len(shard) - 1 or not all(map(self._unchanged, sources, shard)):
                break
            kept += shard
            place, shard = place + len(sources), []
        return kept

    def _unchanged(self, source: Source, row: Row) -> bool:
        """Whether a line of an earlier run is what packing the source would write; failed ones are tried again."""
        if any(row.get(key) != value for key, value in _described(source).items()):
            return False
        if "error" not in row:
            return True
        try:
            return not list(self._parts(source, {}))
        except _FAILURES:
            return True

    def _check_disk(self, done: int) -> None:
        """InvalidInput when what is still to be written does not fit (unreadable pictures count nothing)."""
        needed = 0
        for source in self.sources[done:]:
            try:
                height, width = image_size(source.path)
            except ImageError:
                continue
            for h, w in [(height, width), *(copy_sizes(height, width) if self.settings.multiscale else [])]:
                parts = windows(h, w, self.settings.size, self.settings.step)
                needed += sum(3 * part_height * part_width for _, _, part_height, part_width in parts)
        free = shutil.disk_usage(self.output).free
        if needed > free:
            raise InvalidInput(
                f"The pack needs {needed / 1e9:.1f} GB more and '{self.output}' has {free / 1e9:.1f} free."
            )

    def _start(self, kept: list[Row]) -> None:
        """Make the folder an unfinished pack of the shards that are kept."""
        text = yaml.safe_dump(self.settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(self.output / INCOMPLETE, text)
        (self.output / RECORD).unlink(missing_ok=True)
        write_lines(self.output / INDEX, kept)
        names = {shard_path(self.output, row["shard"]).name for row in kept if "bytes" in row}
        if (self.output / SHARDS).is_dir():
            for file in (self.output / SHARDS).iterdir():
                if file.name not in names:
                    file.unlink()

    def _write_shard(self, number: int, done: int, advance: Any) -> list[Row]:
        """Fill a shard from source `done` on; its lines, the closing one last, are in the index when this returns."""
        rows: list[Row] = []
        offset, digest = 0, hashlib.sha256()
        with atomic_path(shard_path(self.output, number)) as temporary, temporary.open("wb") as file:
            for source in self.sources[done:]:
                if offset >= self.shard_bytes:
                    break
                row = _described(source)
                try:
                    parts = list(self._parts(source, row))
                except _FAILURES as error:
                    row["error"] = error.message if isinstance(error, GoldeyeError) else str(error)
                    parts = []
                else:
                    row |= {"shard": number, "pictures": []}
                for part in parts:
                    row["pictures"].append([part.factor, part.y, part.x, *part.pixels.shape[:2], offset])
                    data = np.ascontiguousarray(part.pixels)
                    file.write(data.data)
                    digest.update(data.data)
                    offset += data.nbytes
                rows.append(row)
                advance()
        rows.append({"shard": number, "bytes": offset, "sha256": digest.hexdigest()})
        with (self.output / INDEX).open("a", encoding="utf-8", newline="\n") as index:
            index.write("".join(json.dumps(row) + "\n" for row in rows))
            index.flush()
            os.fsync(index.fileno())
        return rows

    def _parts(self, source: Source, row: Row) -> Iterator[Part]:
        """The pieces of one source; `row` gets its size."""
        picture = to_eight_bit(read_image(source.path))
        height, width = row["height"], row["width"] = picture.shape[:2]
        size, step = self.settings.size, self.settings.step
        if source.lr is not None:
            yield from _pair_parts(source, picture, self.settings)
            return
        copies: list[tuple[float, Picture]] = [(1.0, picture)]
        if self.settings.multiscale:
            copies += [(h / height, _shrink(picture, h, w)) for h, w in copy_sizes(height, width)]
        for factor, copy in copies:
            for y, x, h, w in windows(copy.shape[0], copy.shape[1], size, step):
                yield Part(round(factor, 6), y, x, copy[y : y + h, x : x + w])

    def _finish(self, result: BatchResult) -> PackRecord:
        rows = read_rows(self.output / INDEX)
        pictures = sum(len(row.get("pictures", ())) for row in rows)
        if not pictures:
            raise InvalidInput(f"No picture could be packed; the first: {result.failed[0]['error']}")
        record = PackRecord(
            settings=self.settings,
            sources=len(self.sources),
            failed=len(result.failed),
            pictures=pictures,
            bytes=sum(row.get("bytes", 0) for row in rows),
            index_sha256=sha256(self.output / INDEX),
        )
        text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(self.output / RECORD, text)
        (self.output / INCOMPLETE).unlink()
        return record


def _pair_parts(source: Source, gt: Picture, settings: PackSettings) -> Iterator[Part]:
    """GT, LR, GT, LR… on the grid of the LR picture."""
    assert source.lr is not None
    assert settings.scale is not None
    lr, scale = to_eight_bit(read_image(source.lr)), settings.scale
    height, width = gt.shape[:2]
    if (height, width) != (scale * lr.shape[0], scale * lr.shape[1]):
        raise ImageError(
            f"'{source.path}' is {width}x{height} and its LR picture {lr.shape[1]}x{lr.shape[0]}, "
            f"not {scale} times smaller."
        )
    for y, x, h, w in windows(height, width, settings.size, settings.step):
        yield Part(1, y, x, gt[y : y + h, x : x + w])
        low, left = y // scale, x // scale
        yield Part(1, low, left, lr[low : low + h // scale, left : left + w // scale])


def _shrink(picture: Picture, height: int, width: int) -> Picture:
    """Lanczos, as Real-ESRGAN's script."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _described(source: Source) -> Row:
    """The beginning of a source's line; a hash is None where the file cannot be read."""
    row: Row = {"folder": source.folder, "name": source.name, "sha256": _digest(source.path)}
    return row if source.lr is None else row | {"lr": source.lr_name, "lr_sha256": _digest(source.lr)}


def _digest(path: Path) -> str | None:
    try:
        return sha256(path)
    except OSError:
        return None


def _item(source: Source, row: Row) -> dict[str, Any]:
    if "error" in row:
        return {"input": str(source.path), "error": row["error"]}
    return {"input": str(source.path), "pictures": len(row["pictures"])}


def pack_text(output: Path, record: PackRecord) -> str:
    """One line for people."""
    failed = f", {record.failed} failed" if record.failed else ""
    return (
        f"{output}: {record.pictures} pictures of {record.sources} files{failed}; "
        f"{record.bytes / 1e6:.1f} MB; train with --set data.path={output}"
    )
