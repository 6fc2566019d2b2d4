"""Encode pictures and maps as data URLs for web pages, within a size limit."""

from __future__ import annotations

import base64
import math
import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt

from tfviz.render.colors import positions
from tfviz.render.pictures import Map, Picture, shrunk_or_enlarged

# (side, quality) pairs, best first. A picture has the area of a square with this side length in
# pixels. The quality is a JPEG quality or a number of colors. An odd number of colors includes a
# signed map's color for zero.
_MAPS = ((320, 65), (256, 65), (224, 65), (224, 33), (224, 17), (192, 17), (160, 17), (128, 17), (96, 17), (64, 17))
_PICTURES = ((320, 88), (320, 75), (256, 75), (224, 75), (224, 60), (192, 60), (160, 50), (128, 50), (96, 50), (64, 40))
_TRANSPARENT = np.zeros((1, 4), np.uint8)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # the PNG color type
_LEVEL = 6  # compression level; 9 takes ten times as long for 5% fewer bytes


def encoded_picture(picture: Picture, most_bytes: int) -> str:
    """Encode a picture as a JPEG data URL, at the best quality that fits the size limit.

    Args:
        picture: the picture, as a uint8 RGB array of shape (H, W, 3).
        most_bytes: the maximum file size in bytes.

    Returns:
        The data URL.
    """
    for side, quality in _PICTURES:
        file = _jpeg(picture, side, quality)
        if len(file) <= most_bytes:
            break
    return _data_url(file, "jpeg")


def encoded_map(
    values: Map, style: str, colors: npt.NDArray[np.uint8], limit: float, covered: npt.NDArray[np.bool_], most_bytes: int
) -> str:
    """Encode a map as a transparent PNG data URL, at the best quality that fits the size limit.

    Args:
        values: the map, of shape (h, w) or (h, w, C).
        style: "heatmap" or "signed".
        colors: the style's 256 colors, as a uint8 RGBA array of shape (256, 4).
        limit: the value drawn in the strongest color.
        covered: a mask of shape (H, W) that marks the pixels of the picture covered by the map.
        most_bytes: the maximum file size in bytes.

    Returns:
        The data URL.
    """
    for side, count in _MAPS:
        size = _fitting(covered.shape, side)
        steps = np.rint(positions(values, style, *size, limit) / 255 * (count - 1)).astype(np.uint8)
        steps[cv2.resize(covered.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) == 0] = count
        file = _png(steps, np.concatenate([colors[np.rint(np.linspace(0, 255, count)).astype(int)], _TRANSPARENT]))
        if len(file) <= most_bytes:
            break
    return _data_url(file, "png")


def encoded_bar(colors: npt.NDArray[np.uint8]) -> str:
    """Encode a color bar as a data URL. The colors are a uint8 RGBA array of shape (256, 4)."""
    return _data_url(_png(np.arange(256, dtype=np.uint8)[None], colors), "png")


def _fitting(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return a height and width with the aspect ratio of `size` and an area of side**2 pixels."""
    scale = side / math.sqrt(size[0] * size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _jpeg(picture: Picture, side: int, quality: int) -> bytes:
    if picture.shape[0] * picture.shape[1] > side**2:
        picture = shrunk_or_enlarged(picture, *_fitting(picture.shape, side))
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _png(indices: npt.NDArray[np.uint8], colors: npt.NDArray[np.uint8]) -> bytes:
    """Encode an image as a palette PNG, a format that OpenCV cannot write."""
    height, width = indices.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", colors[:, :3].tobytes()), (b"tRNS", colors[:, 3].tobytes())]
    parts += [(b"IDAT", _compressed(indices)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(*part) for part in parts)


def _compressed(indices: npt.NDArray[np.uint8]) -> bytes:
    """Compress the rows with PNG filter 0 (none) or 2 (up), whichever gives the smaller result."""
    above = np.concatenate([np.zeros_like(indices[:1]), indices[:-1]])
    rows = {0: indices, 2: indices - above}
    files = [zlib.compress(np.insert(row, 0, kind, axis=1).tobytes(), _LEVEL) for kind, row in rows.items()]
    return min(files, key=len)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _data_url(file: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file).decode('ascii')}"
