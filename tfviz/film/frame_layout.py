"""Lay out a film's frames, in pixels.

    epoch 3   step 1,250   loss 0.4123                          the caption
            Grad-CAM  VBP            Grad-CAM  VBP              titles
    image 0   map     map    image 1   map     map              groups: an image and its maps
    heart 0.93               star 0.61                          predictions
    image 2   map     map    image 3   map     map
    ring 0.55                disc 0.97
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~              the loss, with the current step

The number of columns is chosen to bring the frame's aspect ratio as close as possible to a
screen's. The height and width are even, as H.264 requires.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tfviz.errors import OptionError
from tfviz.film.typography import line_height
from tfviz.render.titles import font, wrapped

NARROWEST_PX, WIDEST_PX = 160, 3840
LEAST_TILE_PX = 24
MOST_TITLE_LINES = 3
TILE_GAP = 4
NARROWEST, WIDEST = 0.6, 2.0  # limits of a tile's width / height; images outside them leave gaps
_SCREEN = 16 / 9


@dataclass(frozen=True)
class Box:
    """A rectangle, defined by its top left corner and its size."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class FrameLayout:
    """The layout of a film's frames.

    Attributes:
        sizes: the (height, width) of each image.
        methods: the number of maps per image.
        columns: the number of groups in each row.
        width: the frame width.
        titles: the method titles, drawn above the maps in up to MOST_TITLE_LINES lines.
    """

    sizes: Sequence[tuple[int, int]]
    methods: int
    columns: int
    width: int
    titles: tuple[str, ...] = ()

    @property
    def text(self) -> int:
        """The text size in pixels."""
        return min(max(round(self.width / 75), 10), 30)

    @property
    def margin(self) -> int:
        return self.text

    @property
    def line(self) -> int:
        return line_height(self.text)

    @property
    def tile_width(self) -> int:
        gaps = (self.columns - 1) * self.margin + self.columns * self.methods * TILE_GAP
        return (self.width - 2 * self.margin - gaps) // (self.columns * (1 + self.methods))

    @property
    def tile_height(self) -> int:
        aspect = max(width / height for height, width in self.sizes)
        return round(self.tile_width / min(max(aspect, NARROWEST), WIDEST))

    @property
    def group_width(self) -> int:
        return self.tile_width + self.methods * (self.tile_width + TILE_GAP)

    @property
    def rows(self) -> int:
        return math.ceil(len(self.sizes) / self.columns)

    @property
    def height(self) -> int:
        height = self.curve.top + self.curve.height + self.margin
        return height + height % 2

    @property
    def caption_top(self) -> int:
        return self.margin // 2

    @property
    def titles_top(self) -> int:
        return self.caption_top + self.line + self.margin // 2

    def title_lines(self, title: str) -> list[str]:
        """Wrap a title to the tile width."""
        return wrapped(title, self.tile_width, font(self.text), most_lines=MOST_TITLE_LINES)

    @functools.cached_property
    def tiles_top(self) -> int:
        """The top edge of the tiles, below the titles."""
        lines = max((len(self.title_lines(title)) for title in self.titles), default=1) if self.tile_width > 0 else 1
        return self.titles_top + lines * self.line

    @property
    def curve(self) -> Box:
        """The box for the loss curve."""
        top = self.tiles_top + self.rows * self._row_height
        return Box(top, self.margin, 3 * self.line, self.width - 2 * self.margin)

    @property
    def _row_height(self) -> int:
        return self.tile_height + self.line + self.margin // 2

    def group_left(self, image: int) -> int:
        """Return the left edge of an image's group. Groups in a row are evenly spaced."""
        room = self.width - 2 * self.margin - self.columns * self.group_width
        gap = room / (self.columns - 1) if self.columns > 1 else 0
        start = self.margin if self.columns > 1 else self.margin + room // 2
        return round(start + image % self.columns * (self.group_width + gap))

    def tile(self, image: int, column: int) -> Box:
        """Return the tile for an image (column 0) or for one of its maps (columns 1 and up)."""
        left = self.group_left(image) + column * (self.tile_width + TILE_GAP)
        top = self.tiles_top + image // self.columns * self._row_height
        return Box(top, left, self.tile_height, self.tile_width)

    def picture(self, image: int, column: int) -> Box:
        """Return the box for a picture, centered in its tile, with the image's aspect ratio."""
        tile, (height, width) = self.tile(image, column), self.sizes[image]
        scale = min(tile.height / height, tile.width / width)
        size = (min(max(1, round(height * scale)), tile.height), min(max(1, round(width * scale)), tile.width))
        return Box(tile.top + (tile.height - size[0]) // 2, tile.left + (tile.width - size[1]) // 2, *size)


def layout_for(sizes: Sequence[tuple[int, int]], titles: Sequence[str], width: int) -> FrameLayout:
    """Choose the layout whose aspect ratio is closest to a screen's.

    Args:
        sizes: the (height, width) of each image.
        titles: the method titles.
        width: the frame width.

    Returns:
        The layout.

    Raises:
        OptionError: the width is out of range, or too small for this number of images and maps.
    """
    if not NARROWEST_PX <= width <= WIDEST_PX:
        raise OptionError(f"`width` must be between {NARROWEST_PX} and {WIDEST_PX} pixels. Received: {width!r}.")
    possible = (
        FrameLayout(sizes, len(titles), columns, width + width % 2, tuple(titles)) for columns in range(1, len(sizes) + 1)
    )
    fitting = [layout for layout in possible if min(layout.tile_width, layout.tile_height) >= LEAST_TILE_PX]
    if not fitting:
        raise OptionError(
            f"{len(sizes)} images with {len(titles)} maps each do not fit into a width of {width} pixels. "
            "Choose fewer images or methods, or a larger `width`."
        )
    return min(fitting, key=lambda layout: abs(math.log(layout.width / layout.height / _SCREEN)))
