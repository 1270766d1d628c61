"""The pictures of a training set: which ones there are, and their pixels, decoded or from a pack."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from goldeye.errors import InvalidInput, some
from goldeye.images import Picture, find_images, image_size, read_image
from goldeye.images.match import match_pictures

CACHE_BYTES = 512 * 2**20  # decoded pictures kept per process

Key: TypeAlias = Path | int
"""A picture file, or the number of a picture in a pack."""


class Pictures(Protocol):
    """Where pixels come from."""

    def read(self, key: Key) -> Picture:
        """(H, W, 3), perhaps a view of a file, of which only what is used is read."""

    def size(self, key: Key) -> tuple[int, int]:
        """(height, width), without decoding."""

    def name(self, key: Key) -> str:
        """For messages."""


@runtime_checkable
class Checked(Protocol):
    """A store that can tell by itself whether its files are whole."""

    def check(self) -> Iterator[str | None]:
        """For each file: a sentence on what is wrong with it, or None."""


class PictureCache:
    """Decoded pictures, the least recently used dropped once they fill `limit` bytes."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._pictures: OrderedDict[Path, Picture] = OrderedDict()
        self._limit, self._bytes = limit, 0

    def __getstate__(self) -> dict[str, object]:
        """A worker process starts with an empty one."""
        return {"_pictures": OrderedDict(), "_limit": self._limit, "_bytes": 0}

    def read(self, key: Key) -> Picture:
        """The picture of the file `key`, from memory if it is there."""
        path = _file(key)
        if path in self._pictures:
            self._pictures.move_to_end(path)
            return self._pictures[path]
        picture = read_image(path)
        self._pictures[path] = picture
        self._bytes += picture.nbytes
        while self._bytes > self._limit and len(self._pictures) > 1:
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture

    def size(self, key: Key) -> tuple[int, int]:
        """(height, width) from the file's header."""
        return image_size(_file(key))

    def name(self, key: Key) -> str:
        """The path."""
        return str(key)


def _file(key: Key) -> Path:
    if not isinstance(key, Path):
        raise TypeError(f"a path, not {key!r}, names a picture file")
    return key


def require_size(pictures: Pictures, keys: Sequence[Key], crop: int) -> None:
    """Refuse pictures smaller than the crop, by name, before training starts."""
    small = [(key, size) for key in keys if min(size := pictures.size(key)) < crop]
    if small:
        key, (height, width) = small[0]
        more = f" ({len(small) - 1} more are too small)" if len(small) > 1 else ""
        raise InvalidInput(f"'{pictures.name(key)}' is {width}x{height}, smaller than the crop of {crop}{more}.")


# Which pictures --------------------------------------------------------------------------------------------------


def find_photos(folders: Sequence[Path], meta_info: Path | None) -> list[Path]:
    """The pictures of the folders, one folder after the other, or those that `meta_info` lists."""
    if meta_info is None:
        return [path for folder in folders for path in find_images(folder)]
    return _listed(meta_info, [names[0] for names in _read_meta_info(meta_info)], folders)


def find_pairs(folders: Sequence[Path], lr_folders: Sequence[Path], meta_info: Path | None) -> list[tuple[Path, Path]]:
    """(GT, LR) of the folders, folder by folder: by name, or as `meta_info` lists them.

    Names agree without their endings and without a suffix that all LR pictures have (`match_pictures`). A line of
    `meta_info` is `GT, LR`, or `GT` alone for an LR picture of the same name.
    """
    if meta_info is None:
        found = []
        for folder, lr_folder in zip(folders, lr_folders, strict=True):
            gt, lr = f"GT {folder}", f"LR {lr_folder}"
            found += [(pair[gt], pair[lr]) for pair in match_pictures({gt: folder, lr: lr_folder}, {}).values()]
        return found
    rows = _read_meta_info(meta_info)
    gts = _listed(meta_info, [names[0] for names in rows], folders)
    return list(zip(gts, _listed(meta_info, [names[-1] for names in rows], lr_folders), strict=True))


_SIZE = re.compile(r"\s+\(\s*\d+\s*(,\s*\d+\s*)*\)$")


def _read_meta_info(path: Path) -> list[list[str]]:
    """One or two names a line, without the size that may follow: `0001.png (1356,2040,3)`, `gt/1.png, lr/1.png`."""
    if not path.is_file():
        raise InvalidInput(f"There is no file '{path}' (data.meta_info).")
    lines = [_SIZE.sub("", line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    rows = [[name.strip() for name in line.split(", ")] for line in lines if line]
    if not rows:
        raise InvalidInput(f"'{path}' lists no pictures.")
    wrong = next((", ".join(names) for names in rows if len(names) > 2), None)
    if wrong is not None:
        raise InvalidInput(f"A line of '{path}' names more than a GT and an LR picture: '{wrong}'.")
    return rows


def _listed(meta_info: Path, names: Sequence[str], folders: Sequence[Path]) -> list[Path]:
    """Each name in the first folder that has it."""
    found = [next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        where = some([f"'{folder}'" for folder in folders])
        raise InvalidInput(
            f"{len(missing)} of {len(names)} pictures of '{meta_info}' are not in {where}: {some(missing)}."
        )
    return [path for path in found if path is not None]


def require_scale(pictures: Pictures, pairs: Sequence[tuple[Key, Key]], scale: int) -> None:
    """InvalidInput, naming the first wrong pair, unless each GT has exactly `scale` times the sides of its LR."""
    wrong = []
    for gt, lr in pairs:
        (height, width), (low, narrow) = pictures.size(gt), pictures.size(lr)
        if (height, width) != (scale * low, scale * narrow):
            wrong.append(f"'{pictures.name(gt)}' is {width}x{height} and its LR picture {narrow}x{low}")
    if wrong:
        more = f" ({len(wrong) - 1} more pairs are wrong)" if len(wrong) > 1 else ""
        raise InvalidInput(f"{wrong[0]}, not {scale} times smaller{more}.", hint="The recipe's `scale` is that factor.")
