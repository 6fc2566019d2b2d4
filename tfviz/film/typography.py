"""Write text on pictures. Each text is rendered only once, and the result is cached.

Matplotlib renders the text, because OpenCV draws only ASCII. At 72 dots per inch, one point is one
pixel, so sizes are the same in both units.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import RendererAgg

from tfviz.errors import shown
from tfviz.render.pictures import Picture
from tfviz.render.titles import font, wrapped
from tfviz.runs.schema import MAX_TEXT

Color = tuple[int, int, int]
Align = Literal["left", "center", "right"]
_DOTS_PER_INCH = 72
_CACHED_TEXTS = 512  # Most texts in a film are the same in many frames.


def text_width(text: str, size: int) -> int:
    """Return the width of a line of text in pixels."""
    return math.ceil(_RENDERER.get_text_width_height_descent(_drawable(text), font(size), False)[0])


def line_height(size: int) -> int:
    """Return the distance from one line of text to the next in pixels."""
    return round(1.3 * size)


def write_line(
    picture: Picture, text: str, x: int, top: int, size: int, color: Color, *, align: Align = "left", width: int | None = None
) -> None:
    """Write one line of text on `picture` in place. Text beyond the picture's edges is clipped.

    Args:
        picture: the picture, as uint8 RGB.
        text: the text.
        x: the left edge, center or right edge of the line, depending on `align`.
        top: the top of the line, which is `line_height(size)` high.
        size: the text size in pixels.
        color: the text color, RGB.
        align: the alignment at `x`.
        width: the maximum width in pixels. Longer text is cut off and ends with "…". None means the
            picture width.
    """
    (line, *_) = wrapped(_drawable(text), width or picture.shape[1], font(size), most_lines=1) or [""]
    if line:
        coverage = _coverage(line, size)
        left = x - {"left": 0, "center": coverage.shape[1] // 2, "right": coverage.shape[1]}[align]
        _blend(picture, coverage, top, left, color)


def _drawable(text: str) -> str:
    """Escape control characters and truncate the text, because long text is slow to render."""
    return shown(text[:MAX_TEXT])


@functools.lru_cache(_CACHED_TEXTS)
def _coverage(line: str, size: int) -> npt.NDArray[np.uint8]:
    """Return how much of each pixel the letters cover, from 0 to 255."""
    height, width = line_height(size), text_width(line, size) + 2
    renderer = RendererAgg(width, height, _DOTS_PER_INCH)
    renderer.draw_text(renderer.new_gc(), 1, size, line, font(size), 0)
    return np.array(renderer.buffer_rgba())[..., 3]


def _blend(picture: Picture, coverage: npt.NDArray[np.uint8], top: int, left: int, color: Color) -> None:
    rows = slice(max(top, 0), max(min(top + coverage.shape[0], picture.shape[0]), 0))
    columns = slice(max(left, 0), max(min(left + coverage.shape[1], picture.shape[1]), 0))
    region = picture[rows, columns]
    alpha = coverage[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None] / np.float32(255)
    region[:] = np.rint(region + (np.array(color, np.float32) - region) * alpha)


_RENDERER = RendererAgg(1, 1, _DOTS_PER_INCH)
