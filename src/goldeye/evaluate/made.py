"""A folder of pictures that remembers what each was made from, so that only what has changed is made again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from goldeye.errors import InvalidInput, some
from goldeye.evaluate.pairing import by_name
from goldeye.files import atomic_path, read_rows, sha256, write_lines
from goldeye.images import Picture, find_images, read_image, write_image

RECORD = ".made.jsonl"
SHOWN_BY_BROWSERS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def key_of(value: Any) -> str:
    """Hex SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class MadePictures:
    """The pictures of a folder by name (the path inside it without ending), each with its row of the record.

    A row is {"name", "file", "key" (what it was made from), "sha256" (of the picture), …}. A picture that was changed
    or removed since is none. A row without a hash stands there before its picture does, so that after a kill, too, the
    record names every file that was made here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows = {row["name"]: row for row in read_rows(folder / RECORD) if _is_row(row)}
        self._known: dict[str, bool] = {}

    def row(self, name: str) -> dict[str, Any]:
        """What the record says of a picture that `has` found."""
        return self._rows[name]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of all finished pictures."""
        return [row for row in self._rows.values() if "sha256" in row]

    def path(self, name: str) -> Path:
        return self.folder / str(self._rows[name]["file"])

    def there(self, name: str) -> bool:
        """Whether the picture is there as it was made, from whatever."""
        if name not in self._rows:
            return False
        if name not in self._known:
            path = self.path(name)
            self._known[name] = path.is_file() and sha256(path) == self._rows[name].get("sha256")
        return self._known[name]

    def require_own(self) -> None:
        """InvalidInput where pictures lie in the folder that are not of this record: they are somebody's own."""
        own = {str(row["file"]) for row in self._rows.values()}
        strange = [name for name in _pictures_in(self.folder) if name not in own]
        if strange:
            raise InvalidInput(
                f"'{self.folder}' has pictures that no benchmark made, which would be in the way: {some(strange)}.",
                hint="Choose another output folder, or move them away.",
            )

    def start(self, keys: Mapping[str, str]) -> list[str]:
        """Remove the pictures of the record that were not made from `keys` ({name: key}); returns what is to be made.

        Files that the record does not name stay.
        """
        kept = {name: row for name, row in self._rows.items() if row["key"] == keys.get(name) and self.there(name)}
        for name in self._rows.keys() - kept.keys():
            self.path(name).unlink(missing_ok=True)
        self._rows = kept
        write_lines(self.folder / RECORD, list(self._rows.values()))  # without the line that a killed process tore
        return [name for name in keys if name not in self._rows]

    def write(self, name: str, key: str, picture: Picture, **more: Any) -> None:
        """Keep an array as PNG."""
        path = self.folder / f"{name}.png"
        self._add(name, key, path)
        write_image(path, picture)
        self._add(name, key, path, sha256=sha256(path), **more)

    def copy(self, name: str, key: str, source: Path) -> None:
        """Keep a picture file: byte for byte where a browser can show it, else as PNG. ImageError for a damaged one."""
        picture = read_image(source)
        if source.suffix.lower() not in SHOWN_BY_BROWSERS:
            self.write(name, key, picture)
            return
        path = self.folder / f"{name}{source.suffix.lower()}"
        self._add(name, key, path)
        with atomic_path(path, durable=False) as temporary:
            shutil.copyfile(source, temporary)
        self._add(name, key, path, sha256=sha256(path))

    def _add(self, name: str, key: str, path: Path, **more: Any) -> None:
        row = {"name": name, "file": path.relative_to(self.folder).as_posix(), "key": key, **more}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / RECORD).open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(json.dumps(row) + "\n")
        self._rows[name], self._known[name] = row, "sha256" in more


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether a line of a record names a picture inside its folder."""
    if not {"name", "file", "key"} <= row.keys():
        return False
    file = PurePosixPath(str(row["file"]))
    return not file.is_absolute() and ".." not in file.parts


def _pictures_in(folder: Path) -> list[str]:
    """Paths inside the folder of the pictures there, which may be none."""
    try:
        return [path.relative_to(folder).as_posix() for path in find_images(folder)]
    except InvalidInput:
        return []


def pictures_by_name(folder: Path, suffix: str = "") -> dict[str, Path]:
    """{path inside the folder without ending and `suffix`: picture}; InvalidInput for two of one name.

    Pictures whose names lack the suffix are passed over.
    """
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder '{folder}'.")
    return by_name(folder, suffix)[0]
