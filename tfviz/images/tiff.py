"""Read a TIFF file's size and number of pages, and check that its data is complete.

libtiff reads missing data as black and only prints a message. This module therefore checks all
strip and tile offsets, the Deflate checksums, and the decoded lengths of LZW and PackBits data.
docs/limits.md lists the damage that remains undetected.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from tfviz.images import lzw

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 256, 257, 258, 259
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANES = 273, 277, 278, 279, 284
_FILL_ORDER, _PHOTOMETRIC = 266, 262
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # the field types that are read
_NONE, _LZW, _DEFLATE, _PACKBITS = 1, 5, (8, 32946), 32773
_YCBCR = 6  # Color may be subsampled, so the stored size is not computed.
_MOST_PAGES = 65536
_IS_NO_PAGE = 0b101  # a thumbnail, a pyramid level or a transparency mask

Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Tiff:
    """Properties read from a TIFF file's directories.

    Attributes:
        size: (height, width) of the first page, or None if not declared.
        is_whole: whether the first page's data is complete.
        pages: the number of pages.
    """

    size: tuple[int, int] | None
    is_whole: bool
    pages: int


class _DirectoryError(Exception):
    """Raised if a directory lies outside the file or has an unsupported structure."""


def read_tiff(data: bytes) -> Tiff:
    """Read a TIFF or BigTIFF file's directories."""
    try:
        directories = _directories(data)
    except (_DirectoryError, struct.error):
        return Tiff(None, False, 1)
    first = directories[0]
    size = (first[_HEIGHT][0], first[_WIDTH][0]) if first.get(_WIDTH) and first.get(_HEIGHT) else None
    pages = sum(not _first(one, _SUBFILE_TYPE, 0) & _IS_NO_PAGE for one in directories)
    return Tiff(size, size is not None and _is_whole(data, first, *size), max(pages, 1))


def _directories(data: bytes) -> list[Tags]:
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    at = _unpacked(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)[0]
    found: list[Tags] = []
    seen: set[int] = set()
    while at and at not in seen and len(found) < _MOST_PAGES:
        seen.add(at)
        try:
            tags, at = _directory(data, at, order, is_big)
        except (_DirectoryError, struct.error):
            if not found:
                raise
            break
        found.append(tags)
    if not found:
        raise _DirectoryError
    return found


def _directory(data: bytes, at: int, order: str, is_big: bool) -> tuple[Tags, int]:
    """Return the tags of a directory, and the offset of the next one (0 if there is none)."""
    count_format, entry_format, offset_format = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    (count,) = _unpacked(order + count_format, data, at)
    at += struct.calcsize(order + count_format)
    inline = struct.calcsize(order + offset_format)
    length = struct.calcsize(order + entry_format) + inline
    if at + count * length > len(data):
        raise _DirectoryError
    tags: Tags = {}
    for entry in range(at, at + count * length, length):
        tag, kind, values = _unpacked(order + entry_format, data, entry)
        if kind in _NUMBERS:
            size = struct.calcsize(order + _NUMBERS[kind]) * values
            start = entry + length - inline
            if size > inline:
                (start,) = _unpacked(order + offset_format, data, start)
            if start + size <= len(data):
                tags[tag] = _unpacked(f"{order}{values}{_NUMBERS[kind]}", data, start)
    return tags, _unpacked(order + offset_format, data, at + count * length)[0]


def _unpacked(layout: str, data: bytes, at: int) -> tuple[int, ...]:
    if at + struct.calcsize(layout) > len(data):
        raise _DirectoryError
    return struct.unpack_from(layout, data, at)


def _is_whole(data: bytes, tags: Tags, height: int, width: int) -> bool:
    """Return whether all strips or tiles of a page are in the file without detectable damage."""
    is_tiled = _TILE_OFFSETS in tags
    offsets = tags.get(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS, ())
    counts = tags.get(_TILE_COUNTS if is_tiled else _STRIP_COUNTS, ())
    sizes = _stored_sizes(tags, height, width, is_tiled)
    compression = _first(tags, _COMPRESSION, _NONE)
    if not counts and compression == _NONE:  # uncompressed files may omit the counts
        counts = tuple(sizes)
    if len(offsets) < len(sizes) or len(counts) < len(sizes):
        return False
    view, most = memoryview(data), max(sizes)
    is_followed = _first(tags, _FILL_ORDER, 1) == 1 and _first(tags, _PHOTOMETRIC, 0) != _YCBCR
    for at, count, size in zip(offsets, counts, sizes, strict=False):
        if at + count > len(data):
            return False
        if compression == _NONE and count < size:
            return False
        if compression in _DEFLATE and not _inflates_to(view[at : at + count], size):
            return False
        if compression == _PACKBITS and not _unpacks_to(view[at : at + count], {size, most}):
            return False
        if compression == _LZW and is_followed and not lzw.is_intact(data[at : at + count], {size, most}):
            return False
    return True


def _stored_sizes(tags: Tags, height: int, width: int, is_tiled: bool) -> list[int]:
    """Return the uncompressed size of each strip or tile in bytes."""
    samples = _first(tags, _SAMPLES, 1)
    planes = samples if _first(tags, _PLANES, 1) == 2 else 1
    bits = _first(tags, _BITS, 1) * (samples // planes)
    if is_tiled:
        high, wide = _first(tags, _TILE_HEIGHT, 0), _first(tags, _TILE_WIDTH, 0)
        if not high or not wide:
            return [1]
        return [high * ((wide * bits + 7) // 8)] * (-(-height // high) * -(-width // wide) * planes)
    rows = min(_first(tags, _ROWS_PER_STRIP, height), height) or height
    row_bytes = (width * bits + 7) // 8
    return [min(rows, height - top) * row_bytes for top in range(0, height, rows)] * planes


def _inflates_to(packed: memoryview, size: int) -> bool:
    """Return whether Deflate data is complete and valid, and inflates to at least `size` bytes."""
    inflater, length = zlib.decompressobj(), 0
    try:
        rest: bytes | memoryview = packed
        while not inflater.eof and length <= 2 * size:
            part = inflater.decompress(rest, 1 << 16)
            rest = inflater.unconsumed_tail
            length += len(part)
            if not part and not rest:
                break
    except zlib.error:
        return False
    return inflater.eof and length >= size


def _unpacks_to(packed: memoryview, sizes: set[int]) -> bool:
    """Return whether PackBits data unpacks to one of `sizes`, in bytes.

    A padding byte may follow the data.
    """
    at = length = 0
    while at < len(packed) - (length in sizes):
        run = packed[at]
        at += 1
        if run < 128:
            at += run + 1
            length += run + 1
        elif run > 128:
            at += 1
            length += 257 - run
    return length in sizes and at <= len(packed)


def _first(tags: Tags, tag: int, default: int) -> int:
    return tags[tag][0] if tags.get(tag) else default
