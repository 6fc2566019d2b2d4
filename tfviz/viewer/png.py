"""Whether what was sent is a PNG picture of the right size that can be decoded."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from tfviz.images.formats import describe
from tfviz.runs.schema import ImageSize

_BIT_DEPTH_AT = 24  # in the header of a PNG
_METADATA_BYTES = 1 << 16
# a decoded image may take 64 MiB, many times what was sent
_decoders = threading.BoundedSemaphore(2)


def largest_png_bytes(size: ImageSize) -> int:
    """What a PNG of this size can need at most: four bytes for a pixel, a filter byte for a row,
    and some metadata.
    """
    return size["height"] * (4 * size["width"] + 1) * 101 // 100 + _METADATA_BYTES


def misfit(data: bytes, size: ImageSize) -> str | None:
    """Why the bytes are not a picture of this size, or None. The size is checked before anything is
    decoded.
    """
    found = describe(data)
    if found is None or found.kind != "PNG":
        return f"expected a PNG picture, got {len(data)} bytes that begin with {data[:8]!r}"
    if found.size != (size["height"], size["width"]):
        height, width = found.size or (0, 0)
        return f"expected a picture {size['height']} pixels high and {size['width']} wide, got {height} by {width}"
    if data[_BIT_DEPTH_AT] > 8:
        return f"expected a picture of 8 bits per channel, got {data[_BIT_DEPTH_AT]}"
    if not found.is_whole or not _is_decodable(data):
        return "the PNG is cut short or damaged"
    return None


def _is_decodable(data: bytes) -> bool:
    with _decoders:
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None
        except cv2.error:
            return False
