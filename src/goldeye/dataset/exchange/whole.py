"""Folders that are whole or absent: they are made beside their place and renamed."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput


def check_free(out: Path, dataset: Dataset, *, folder: bool) -> None:
    """Raise InvalidInput unless `out` is absent (or an empty folder) and outside of the dataset's own folders."""
    if out.is_symlink() or (out.exists() and not (folder and out.is_dir() and not any(out.iterdir()))):
        raise InvalidInput(f"'{out}' is there already.", hint="Choose another place, or remove it first.")
    for name in ("images", "labels"):
        own = (dataset.path / name).resolve()
        if own == out.resolve() or own in out.resolve().parents:
            raise InvalidInput(f"'{out}' lies in the dataset's own folder '{own}'.", hint="Choose another place.")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`; on success it becomes `out`, which must be absent or empty.

    On an exception nothing is left behind.
    """
    target = out.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".goldeye-export.{zlib.crc32(os.fsencode(target.name)):08x}.tmp"
    remove(temporary)  # left by a process that was killed, and found again by its name
    temporary.mkdir()
    try:
        yield temporary
        flush()
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    finally:
        remove(temporary)


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """As `whole_folder`, but an earlier `target` makes room, and comes back when the new one cannot take its place."""
    old = _put_away(target)
    try:
        with whole_folder(target) as temporary:
            yield temporary
            if target.exists():
                target.rename(old)
    except BaseException:
        bring_back(target)
        raise
    remove(old)


def bring_back(target: Path) -> None:
    """Undo the first half of a replacement that did not reach its second: `target` is there again if it ever was."""
    old = _put_away(target)
    if old.is_dir() and not old.is_symlink() and not os.path.lexists(target):
        old.rename(target)
    remove(old)


def _put_away(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def remove(path: Path) -> None:
    """Remove a folder if it is there; where a link is in its place, the link alone."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def flush() -> None:
    """Bring what was written to the disk: one call for many small files."""
    if hasattr(os, "sync"):
        os.sync()


def link_or_copy(source: Path, target: Path) -> None:
    """The same picture under another name: a hard link where the file system allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)
