"""PNG of 8-bit RGB by a fast deflate: a patch is written 2.5 to 3 times as fast as by OpenCV.

ISA-L's deflate (`isal`) at level 1 with the filter "up" for every row was the best of the ways measured
(benchmarks/selection.py). Files of that kind, whoever wrote them, are read without libvips, which takes longer. No
threads are started, so a forked process may write too. The bytes may differ from one kind of processor to another, the
pixels not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

_STRIP = 2**20  # bytes of pixels worked on at a time
_BLOCK = 16  # rows
_UP = 2  # the filter: each byte less the one above it, modulo 256


def write_png(file: BinaryIO, pixels: NDArray[np.uint8]) -> None:
    """Write RGB uint8 (H, W, 3), of any strides, from the file's beginning on; memory is needed for some rows."""
    file.write(_head(pixels))
    stream = isal_zlib.compressobj(1)
    for rows in _filtered(pixels):
        if part := stream.compress(rows):
            file.writelines(_chunk(b"IDAT", part))
    file.writelines((*_chunk(b"IDAT", stream.flush()), *_chunk(b"IEND", b"")))


def _filtered(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Strips of rows (n, 1 + 3W), each beginning with its filter."""
    height, length = pixels.shape[0], 3 * pixels.shape[1]
    count = max(1, _STRIP // length)
    above = np.zeros((1, length), np.uint8)
    for top in range(0, height, count):
        rows = np.ascontiguousarray(pixels[top : top + count]).reshape(-1, length)
        filtered = np.empty((len(rows), 1 + length), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(rows[:1], above, out=filtered[:1, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        above = rows[-1:]
        yield filtered


def _head(pixels: NDArray[np.uint8]) -> bytes:
    """Signature and header."""
    height, width = pixels.shape[:2]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)))


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, bytes, bytes]:
    """Length and kind, content, checksum."""
    check = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind, content, struct.pack(">I", check)


def read_png(file: BinaryIO, pixels: NDArray[np.uint8]) -> bool:
    """Fill uint8 (H, W, 3), C-contiguous, from a file like those of `write_png`; whether it was one.

    False for a file of another size or kind (other filters, any chunk beside the pixels) and for a damaged one: what
    `pixels` then hold means nothing. Memory is needed for some rows.
    """
    head = _head(pixels)
    if file.read(len(head)) != head:
        return False
    rows = pixels.reshape(len(pixels), -1)
    length = 1 + rows.shape[1]
    done, rest = 0, b""
    try:
        for part in _inflated(file, length):
            rest += part
            count = len(rest) // length
            filtered = np.frombuffer(rest, np.uint8, count * length).reshape(count, length)
            if done + count > len(rows) or (filtered[:, 0] != _UP).any():
                return False
            rows[done : done + count] = filtered[:, 1:]
            if done and count:
                rows[done] += rows[done - 1]
            _add_up(rows[done : done + count])
            done += count
            rest = rest[count * length :]
    except (IsalError, _OtherKind):  # type: ignore[misc]  # isal's stubs take the class for an instance
        return False
    return done == len(rows) and not rest


def _add_up(rows: NDArray[np.uint8]) -> None:
    """Each row becomes the sum of those down to it, in few calls: threads that read would wait for each other's.

    First within blocks of rows, for all blocks at once; then each block takes the end of the one before.
    """
    whole = len(rows) // _BLOCK * _BLOCK
    blocks = rows[:whole].reshape(-1, _BLOCK, rows.shape[1])
    for row in range(1, _BLOCK):
        blocks[:, row] += blocks[:, row - 1]
    for block in range(1, len(blocks)):
        blocks[block] += blocks[block - 1, -1]
    for row in range(max(1, whole), len(rows)):
        rows[row] += rows[row - 1]


class _OtherKind(Exception):
    """The file is not one that `read_png` reads."""


def _inflated(file: BinaryIO, first: int) -> Iterator[bytes]:
    """What the IDAT chunks hold, up to the file's end: `first` bytes at most, then in larger parts."""
    stream, limit = isal_zlib.decompressobj(), first
    while True:
        length, kind = struct.unpack(">I4s", _exactly(file, 8))
        if kind not in (b"IDAT", b"IEND") or (kind == b"IEND" and length):
            raise _OtherKind
        check = isal_zlib.crc32(kind)
        while length:
            data = _exactly(file, min(length, _STRIP))
            length -= len(data)
            check = isal_zlib.crc32(data, check)
            full = False  # the stream may then hold more of it
            while (data or full) and not stream.eof:
                part = stream.decompress(data, limit)
                yield part
                full = len(part) == limit
                data, limit = stream.unconsumed_tail, _STRIP
            if data or stream.unused_data:
                raise _OtherKind
        if check != struct.unpack(">I", _exactly(file, 4))[0]:
            raise _OtherKind
        if kind == b"IEND":
            if not stream.eof:
                raise _OtherKind
            return


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _OtherKind
    return data
