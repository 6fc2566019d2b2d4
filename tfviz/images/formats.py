"""Read the format and size from an image file's container, and check that the data is complete.

Decoders handle truncated files differently. Some fail, while others fill the rest with gray and
report nothing. This module therefore looks for the end of the data in the container. Bytes after
that end are allowed, because cameras and phones append previews and videos.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from tfviz.images.tiff import read_tiff

FORMATS = "JPEG, PNG, BMP, WebP or TIFF"
EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff"})

_PNG_START = b"\x89PNG\r\n\x1a\n"
# Any marker except those that are allowed inside compressed data (stuffed zero, restart, fill
# byte).
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_JPEG_START, _JPEG_END, _JPEG_SCAN = 0xD8, 0xD9, 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Container:
    """Properties read from an image file's container.

    Attributes:
        kind: the format, such as "JPEG".
        size: (height, width) in pixels as stored, before any EXIF rotation, or None if not
            declared.
        is_whole: False if the data ends before the image is complete, or if a checksum is wrong.
            Always True for BMP, whose decoder rejects missing data.
        pages: the number of pages or animation frames in the file.
        scans: the number of JPEG scans. The decoder processes the full image once per scan.
        bits: the number of significant bits per channel that the file declares, or None.
        white_is_zero: whether 0 stands for white instead of black, as in some TIFF files.
    """

    kind: str
    size: tuple[int, int] | None
    is_whole: bool
    pages: int = 1
    scans: int = 1
    bits: int | None = None
    white_is_zero: bool = False


def describe(data: bytes) -> Container | None:
    """Inspect an image file's bytes. Return None if its format is not supported."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG_START):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        tiff = read_tiff(data)
        return Container("TIFF", tiff.size, tiff.is_whole, tiff.pages, white_is_zero=tiff.white_is_zero)
    return None


def _jpeg(data: bytes) -> Container:
    """Inspect a JPEG segment by segment, so that a thumbnail's end marker is ignored."""
    size, at, scans = None, 0, 0
    while marker := _JPEG_MARKER.search(data, at):
        code, at = marker[1][0], marker.end()
        if code == _JPEG_END:
            return Container("JPEG", size, size is not None, scans=scans)
        if code == _JPEG_START:
            continue
        if code in _JPEG_FRAMES:
            size = _big(data, at + 3, 2), _big(data, at + 5, 2)
        scans += code == _JPEG_SCAN
        at += _big(data, at, 2)
    return Container("JPEG", size, False, scans=scans)


def _png(data: bytes) -> Container:
    size = _big(data, 20, 4), _big(data, 16, 4)
    at, view, frames, bits = len(_PNG_START), memoryview(data), 1, None
    while at + 12 <= len(data):
        name, end = data[at + 4 : at + 8], at + 8 + _big(data, at, 4)
        is_critical = name[:1].isupper()
        if is_critical and zlib.crc32(view[at + 4 : end]) != _big(data, end, 4):
            break
        if name == b"IEND":
            return Container("PNG", size, True, pages=frames, bits=bits)
        if name == b"acTL":
            frames = max(1, _big(data, at + 8, 4))
        if name == b"sBIT":
            bits = max(data[at + 8 : end], default=None)
        at = end + 4
    return Container("PNG", size, False)


def _webp(data: bytes) -> Container:
    chunk, is_whole = data[12:16], len(data) >= _little(data, 4, 4) + 8
    if chunk == b"VP8X":
        size = _little(data, 27, 3) + 1, _little(data, 24, 3) + 1
    elif chunk == b"VP8L":  # 14 bits of width - 1, then 14 bits of height - 1
        bits = _little(data, 21, 4)
        size = (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    else:
        size = _little(data, 28, 2) & 0x3FFF, _little(data, 26, 2) & 0x3FFF
    is_animated = chunk == b"VP8X" and bool(data[20:21] and data[20] & 2)
    return Container("WebP", size, is_whole, pages=data.count(b"ANMF") if is_animated else 1)


def _bmp(data: bytes) -> Container:
    if _little(data, 14, 4) == 12:  # the OS/2 header, with 16-bit sizes
        return Container("BMP", (_little(data, 20, 2), _little(data, 18, 2)), True)
    # The height is negative if the rows are stored from top to bottom.
    height = int.from_bytes(data[22:26], "little", signed=True)
    return Container("BMP", (abs(height), _little(data, 18, 4)), True)


def _big(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "big")


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")
