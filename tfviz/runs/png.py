"""Check uploaded PNG images. Their size is checked before they are decoded."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from tfviz.images.formats import describe
from tfviz.runs.schema import ImageSize

_BIT_DEPTH_AT = 24  # the bit depth's offset in a PNG header; a truncated header may end before it
_METADATA_BYTES = 1 << 16
# A decoded image may need 64 MiB, many times the upload size, so at most two are decoded at once.
_decoders = threading.BoundedSemaphore(2)


def largest_png_bytes(size: ImageSize) -> int:
    """Return the maximum PNG file size: four bytes per pixel, one per row, and some overhead."""
    return size["height"] * (4 * size["width"] + 1) * 101 // 100 + _METADATA_BYTES


def fault_of(data: bytes, size: ImageSize) -> str | None:
    """Describe the fault in an image, or return None if the bytes are a PNG image of this size.

    The size is checked before decoding.
    """
    fault = header_fault(data, size)
    return "The PNG image is truncated or damaged." if fault is None and not _is_decodable(data) else fault


def header_fault(data: bytes, size: ImageSize) -> str | None:
    """Describe the fault in the header, or return None if the header fits this image size."""
    found = describe(data)
    if found is None or found.kind != "PNG":
        return f"Expected a PNG image. Received: {len(data)} bytes that start with {data[:8]!r}."
    if found.size != (size["height"], size["width"]):
        height, width = found.size or (0, 0)
        return f"Expected an image {size['width']} pixels wide and {size['height']} high. Received: {width} by {height}."
    if len(data) > _BIT_DEPTH_AT and data[_BIT_DEPTH_AT] > 8:
        return f"Expected an image with 8 bits per channel. Received: {data[_BIT_DEPTH_AT]} bits."
    if not found.is_whole:
        return "The PNG image is truncated or damaged."
    return None


def _is_decodable(data: bytes) -> bool:
    with _decoders:
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None
        except cv2.error:
            return False
