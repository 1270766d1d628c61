"""Files that are whole or absent: everything Goldeye writes goes through a temporary name and a rename."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from goldeye.errors import InvalidInput


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path with the same ending beside `path`; on success it is flushed and renamed to `path`.

    On an exception nothing is left behind and an earlier `path` stays as it was. Without `durable` it is not flushed to
    the disk, so that a power cut may empty it: for many small files, which one `os.sync` then makes safe together.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The whole stem would make a name too long where the given one is nearly that.
    key = f"{path.stem[:40]}.{zlib.crc32(path.name.encode(errors='surrogateescape')):08x}.{os.getpid()}"
    temporary = path.with_name(f".{key}.tmp{path.suffix}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # what the user's umask gives a new file; safetensors would close it to others
        yield temporary
        temporary.chmod(mode)
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None:  # a full disk
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep other Goldeye commands from writing into `folder` (made if missing) as long as the block runs.

    InvalidInput when one already does. The lock ends with the process, however that ends. Nothing is locked where the
    system or the storage knows no such locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(
                f"Another goldeye command is writing into '{folder}'.", hint="Wait for its end, or use another folder."
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys left as given; NaN and Infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON Lines: one object a line, in ASCII (no character that some reader takes for the end of a line)."""
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file up to its end or its first damaged line; no file has none."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                if not isinstance(row, dict):
                    break
                rows.append(row)
    return rows


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
