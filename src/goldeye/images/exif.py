"""EXIF blocks: read from any file, made upright and small, and put into TIFF files.

An EXIF block is a small TIFF file: directories (IFDs) of tagged values that point to each other by offset (CIPA DC-008,
TIFF 6.0 section 2). Here a directory is a dict of tag → (type, little-endian bytes), or tag → directory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

Directory: TypeAlias = "dict[int, tuple[int, bytes] | Directory]"
Read: TypeAlias = Callable[[int, int], bytes]
"""(offset, length) → bytes, fewer at the end of the file."""

ORIENTATION = 0x0112
SOFTWARE = 0x0131

# Bytes of a value, and of the unit that has a byte order, by type: BYTE ASCII SHORT LONG RATIONAL SBYTE UNDEFINED …
_TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4)}
_TYPES |= {10: (8, 4), 11: (4, 4), 12: (8, 8)}
_ASCII, _SHORT, _LONG = 2, 3, 4
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
# Of the first directory only what describes the picture, not how its file stores it: description, maker, model,
# orientation, resolution, software, date, artist, host, copyright, and the two directories.
_DESCRIPTIVE = {0x010E, 0x010F, 0x0110, ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT}
_DESCRIPTIVE |= {SOFTWARE, 0x0132, 0x013B, 0x013C, 0x8298, _EXIF, _GPS}
_OLD_SIZE = frozenset((0xA002, 0xA003))  # the pixel dimensions as text of their own: wrong as soon as the size changes
_MAKER_NOTE = 0x927C  # the maker's own data, of any size
_LONGEST = 65_000  # bytes that a JPEG segment holds, with some room
_MOST = 1_000_000  # bytes of values that are read: entries of a damaged file may overlap without end
_LONGEST_SOFTWARE = 1000  # characters


def upright(block: bytes) -> bytes | None:
    """The same EXIF with orientation 1, without thumbnail and pixel dimensions; None where it cannot be read."""
    return _block(_directory(_sparing(_reader(block))))


def of_tiff(read: Read) -> bytes | None:
    """The EXIF block of a TIFF file, as `upright`; None without one."""
    directory = _directory(_sparing(read))
    # A TIFF file always has a resolution and often an orientation; they alone are no EXIF.
    told = directory.keys() & _DESCRIPTIVE - {ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT}
    return _block(directory) if told else None


def into_tiff(path: Path, block: bytes) -> None:
    """Give a little-endian classic TIFF file the tags of an EXIF block: its first directory is written anew at the end.

    A BigTIFF file (very large pictures) stays as it is.
    """
    described = _directory(_sparing(_reader(block)))
    with path.open("r+b") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        if read(0, 4) != b"II*\0":
            return
        directory = {**_directory(read), **described}
        end = file.seek(0, 2)
        start = end + end % 2  # directories begin at even offsets
        file.write(bytes(start - end) + _pack(directory, start))
        file.seek(4)
        file.write(struct.pack("<I", start))


def signed(block: bytes | None, software: str) -> bytes:
    """The block with `software` as its last Software entry: "what was there; software". None gives a block of its own.

    What was there is dropped where the entry would pass 1,000 characters; a longer `software` is cut off.
    """
    directory = _directory(_sparing(_reader(block))) if block else {}
    software = software.replace("\0", "")[:_LONGEST_SOFTWARE]
    whole = "; ".join(filter(None, (_software(directory), software)))
    if len(whole) > _LONGEST_SOFTWARE:
        whole = software
    entry: Directory = {SOFTWARE: (_ASCII, whole.encode("utf-8", "replace") + b"\0")}
    signed = _block({**directory, **entry}) or _block(entry)
    assert signed is not None
    return signed


def software(block: bytes) -> str | None:
    """The Software entry of an EXIF block; None without one."""
    return _software(_directory(_sparing(_reader(block))))


def _software(directory: Directory) -> str | None:
    kind, text = entry if isinstance(entry := directory.get(SOFTWARE), tuple) else (_ASCII, b"")
    return text.partition(b"\0")[0].decode("utf-8", "replace").strip() or None if kind == _ASCII else None


def _reader(block: bytes) -> Read:
    data = block.removeprefix(b"Exif\0\0")
    return lambda offset, length: data[offset : offset + length]


def _sparing(read: Read) -> Read:
    """Reads nothing that is too long for an EXIF block, and no more than _MOST in all."""
    left = _MOST

    def limited(offset: int, length: int) -> bytes:
        nonlocal left
        if length > min(left, _LONGEST):
            return b""
        left -= length
        return read(offset, length)

    return limited


def _block(directory: Directory, without: frozenset[int] = _OLD_SIZE) -> bytes | None:
    """The EXIF block of the descriptive part of a directory, less the Exif tags `without`; None for none, or too long.

    A block that is too long goes without the maker's own data.
    """
    kept = {tag: value for tag, value in directory.items() if tag in _DESCRIPTIVE}
    if ORIENTATION in kept:
        kept[ORIENTATION] = (_SHORT, struct.pack("<H", 1))
    exif = kept.get(_EXIF)
    if isinstance(exif, dict):
        kept[_EXIF] = {tag: value for tag, value in exif.items() if tag not in without}
        if not kept[_EXIF]:
            del kept[_EXIF]
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + _pack(kept, 8)
    if len(block) > _LONGEST and _MAKER_NOTE not in without:
        return _block(directory, without | {_MAKER_NOTE})
    return block if kept and len(block) <= _LONGEST else None


def _directory(read: Read) -> Directory:
    """The first directory with those it points to; what is damaged is left out."""
    start = read(0, 8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(start[:4])
    if order is None or len(start) < 8:
        return {}
    return _read_directory(read, order, struct.unpack(order + "I", start[4:])[0], depth=2)


def _read_directory(read: Read, order: str, offset: int, depth: int) -> Directory:
    head = read(offset, 2)
    if len(head) < 2:
        return {}
    (entries,) = struct.unpack(order + "H", head)
    table = read(offset + 2, 12 * entries)
    directory: Directory = {}
    for place in range(0, len(table) - 11, 12):
        tag, kind, count = struct.unpack(order + "HHI", table[place : place + 8])
        if kind not in _TYPES:
            continue
        size, unit = _TYPES[kind]
        length = size * count
        field = table[place + 8 : place + 12]
        if tag in (_EXIF, _GPS, _INTEROPERABILITY):
            if depth and length == 4:
                nested = _read_directory(read, order, struct.unpack(order + "I", field)[0], depth - 1)
                if nested:
                    directory[tag] = nested
            continue
        value = field[:length] if length <= 4 else read(struct.unpack(order + "I", field)[0], length)
        if value and len(value) == length:
            directory[tag] = kind, np.frombuffer(value, f"{order}u{unit}").astype(f"<u{unit}").tobytes()
    return directory


def _pack(directory: Directory, start: int) -> bytes:
    """A directory as it lies at offset `start` of a little-endian file, followed by its values."""
    table, values = struct.pack("<H", len(directory)), b""
    first = start + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        place = first + len(values)
        if isinstance(entry, dict):
            kind, count, field, value = _LONG, 1, struct.pack("<I", place), _pack(entry, place)
        else:
            kind, value = entry
            count = len(value) // _TYPES[kind][0]
            field = struct.pack("<I", place)
            if len(value) <= 4:
                field, value = value.ljust(4, b"\0"), b""
        table += struct.pack("<HHI", tag, kind, count) + field
        values += value + bytes(len(value) % 2)
    return table + bytes(4) + values
