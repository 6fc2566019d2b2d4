"""Pictures and maps as one compact picture, for files and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfviz.errors import OptionError
from tfviz.render.colors import MEANINGS, ramp
from tfviz.render.grid import grid_of
from tfviz.render.pictures import Picture
from tfviz.render.titles import font, most_lines_of, title_of, wrapped

# Pixels.
GAP = 6  # between columns
ABOVE_TEXT, BELOW_TEXT = 3, 11  # a caption stands nearer to its own picture than to the next
NARROWEST_COLUMN = 120  # a title's longest word must fit
TEXT_SIZE = 11  # points, which are pixels at 72 dpi
LINE = 14
LEGEND_STRIP = 56
TEXT_COLOR = "#202124"


def contact_sheet(
    images: Any,
    attributions: Mapping[str, Any],
    *,
    captions: Sequence[str | None] | None = None,
    styles: Mapping[str, str] | None = None,
    alpha: float = 0.5,
    row_height: int = 144,
) -> Picture:
    """Draw pictures down and methods across, the picture itself first, as one picture.

    Args:
        images, attributions, captions, styles, alpha: as for `plot`.
        row_height: of the pictures on the sheet, in pixels, 16 at least. A picture wider than 1.5 heights is drawn
            less high.

    Returns: (height, width, 3) uint8 RGB.

    Raises: ImageError, OptionError: as `plot`.
    """
    if row_height < 16:
        raise OptionError(f"row_height: expected 16 pixels or more, got {row_height!r}.")
    grid = grid_of(images, attributions, captions, styles)
    width = round(row_height * grid.column_width)
    columns = _Columns(max(width, NARROWEST_COLUMN), 1 + len(grid.maps))
    strips = [columns.titles([title_of(key) for key in grid.maps])]
    for index, caption in enumerate(grid.captions):
        row = grid.row(index, row_height, width, alpha)
        strips.append(columns.pictures(row, max(len(picture) for picture in row)))
        strips.append(columns.caption(caption))
    strips.extend(columns.legend(style) for style in grid.used_styles)
    return np.concatenate(strips)


@dataclass(frozen=True)
class _Columns:
    """Strips as wide as the sheet; `width` is that of a column."""

    width: int
    count: int

    @property
    def sheet_width(self) -> int:
        return GAP + self.count * (self.width + GAP)

    def middle(self, column: int) -> float:
        return GAP + column * (self.width + GAP) + self.width / 2

    def blank(self, height: int) -> Picture:
        return np.full((height, self.sheet_width, 3), 255, np.uint8)

    def pictures(self, row: Sequence[Picture], height: int) -> Picture:
        strip = self.blank(height)
        for column, picture in enumerate(row):
            left = round(self.middle(column) - picture.shape[1] / 2)
            strip[: picture.shape[0], left : left + picture.shape[1]] = picture
        return strip

    def titles(self, titles: Sequence[str]) -> Picture:
        """One above each column but the first; all end on the same line."""
        fitting = [self.fitting(title) for title in titles]
        strip = self.blank(GAP + most_lines_of(fitting) * LINE + ABOVE_TEXT)
        places = [(self.middle(1 + column), title) for column, title in enumerate(fitting)]
        return _written(strip, places, len(strip) - ABOVE_TEXT - 3, ha="center", va="baseline")

    def caption(self, caption: str) -> Picture:
        fitting = self.fitting(caption)
        strip = self.blank(ABOVE_TEXT + most_lines_of([fitting]) * LINE + BELOW_TEXT)
        return _written(strip, [(self.middle(0), fitting)], ABOVE_TEXT, ha="center", va="top")

    def fitting(self, text: str) -> str:
        return "\n".join(wrapped(text, self.width, font(TEXT_SIZE), most_lines=4))

    def legend(self, style: str) -> Picture:
        strip = self.blank(LINE + GAP)
        steps = np.linspace(0, 255, LEGEND_STRIP).astype(np.uint8)
        strip[2:LINE, GAP : GAP + LEGEND_STRIP] = ramp(style)[steps]
        return _written(strip, [(2 * GAP + LEGEND_STRIP, MEANINGS[style])], 1, ha="left", va="top")


def _written(strip: Picture, places: Sequence[tuple[float, str]], y: float, **align: str) -> Picture:
    """The strip with a text at each x, `y` from the top. Matplotlib writes, since OpenCV has Latin letters only."""
    height, width = strip.shape[:2]
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    canvas = FigureCanvasAgg(figure)
    figure.figimage(strip)
    for x, text in places:
        figure.text(
            x / width,
            1 - y / height,
            text,
            color=TEXT_COLOR,
            fontproperties=font(TEXT_SIZE),
            linespacing=1.2,
            parse_math=False,
            **align,  # type: ignore[arg-type]
        )
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
