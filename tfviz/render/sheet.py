"""Draw images and maps as one compact picture, for files and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from tfviz.errors import OptionError
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.grid import Attributions, Scores, grid_of
from tfviz.render.overlays import Look, Underlay
from tfviz.render.pictures import Arrays, Picture
from tfviz.render.strength import meaning_of
from tfviz.render.titles import font, most_lines_of, widest, wrapped

# Pixels.
GAP = 6  # between columns
ABOVE_TEXT, BELOW_TEXT = 3, 11  # A caption is closer to its own image than to the next image.
# The longest word of a built-in title must fit. A custom title gets room for all of its text.
NARROWEST_COLUMN, WIDEST_OWN_TITLE = 120, 420
TEXT_SIZE = 11  # points, which are pixels at 72 dpi
LINE = 14
LEGEND_STRIP = 56
TEXT_COLOR = "#202124"


def contact_sheet(
    images: Arrays,
    attributions: Attributions,
    *,
    captions: Sequence[str | None] | None = None,
    scores: Scores | None = None,
    styles: Mapping[str, str] | None = None,
    alpha: float = 0.5,
    underlay: Underlay = "gray",
    scale: str = "map",
    cmap: str | Colormap | None = None,
    preprocessing: Preprocessing | str | None = None,
    row_height: int = 144,
) -> Picture:
    """Draw a picture with one row per image: the image, then one map per method and target.

    Args:
        images, attributions, captions, scores, styles: as for `plot`.
        alpha, underlay, scale, cmap, preprocessing: as for `plot`.
        row_height: the image height on the sheet in pixels, at least 16. An image wider than 1.5
            times its height is drawn at a smaller height.

    Returns:
        The picture, as a uint8 RGB array of shape (height, width, 3).

    Raises:
        ImageError: as for `plot`.
        OptionError: as for `plot`, or `row_height` is too small.
    """
    if row_height < 16:
        raise OptionError(f"`row_height` must be at least 16 pixels. Received: {row_height!r}.")
    look = Look(alpha, underlay, cmap)
    grid = grid_of(
        images,
        attributions,
        captions=captions,
        scores=scores,
        styles=styles,
        look=look,
        scale=scale,
        preprocessing=preprocessing,
    )
    width = round(row_height * grid.column_width)
    own = [round(widest(one.title, font(TEXT_SIZE))) for one in grid.columns if one.has_own_title]
    room = max(width, NARROWEST_COLUMN, min(max(own, default=0), WIDEST_OWN_TITLE))
    columns = _Columns(room, 1 + len(grid.columns))
    strips = [columns.titles([column.title for column in grid.columns])]
    for index in range(len(grid.pictures)):
        row = grid.row(index, row_height, width)
        strips.append(columns.pictures(row, max(len(picture) for picture in row)))
        strips.append(columns.texts(grid.texts(index)))
    strips.extend(columns.legend(look.color_bar(style), meaning_of(style, scale)) for style in grid.used_styles)
    return np.concatenate(strips)


@dataclass(frozen=True)
class _Columns:
    """The sheet's columns, each `width` pixels wide. Most methods return one horizontal strip."""

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
        """Write a title above each map column, aligning the last lines on a common baseline."""
        fitting = [self.fitting(title) for title in titles]
        strip = self.blank(GAP + most_lines_of(fitting) * LINE + ABOVE_TEXT)
        placed = [(self.middle(1 + column), title) for column, title in enumerate(fitting)]
        return _with_texts(strip, placed, len(strip) - ABOVE_TEXT - 3, ha="center", va="baseline")

    def texts(self, texts: Sequence[str]) -> Picture:
        """Draw a caption below each column."""
        fitting = [self.fitting(text) for text in texts]
        strip = self.blank(ABOVE_TEXT + most_lines_of(fitting) * LINE + BELOW_TEXT)
        placed = [(self.middle(column), text) for column, text in enumerate(fitting)]
        return _with_texts(strip, placed, ABOVE_TEXT, ha="center", va="top")

    def fitting(self, text: str) -> str:
        return "\n".join(wrapped(text, self.width, font(TEXT_SIZE), most_lines=4))

    def legend(self, colors: npt.NDArray[np.uint8], meaning: str) -> Picture:
        strip = self.blank(LINE + GAP)
        steps = np.linspace(0, 255, LEGEND_STRIP).astype(np.uint8)
        strip[2:LINE, GAP : GAP + LEGEND_STRIP] = colors[steps]
        return _with_texts(strip, [(2 * GAP + LEGEND_STRIP, meaning)], 1, ha="left", va="top")


def _with_texts(strip: Picture, placed: Sequence[tuple[float, str]], y: float, **align: str) -> Picture:
    """Write texts `y` pixels from the top. This uses Matplotlib, as OpenCV draws only ASCII."""
    height, width = strip.shape[:2]
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    canvas = FigureCanvasAgg(figure)
    figure.figimage(strip)
    for x, text in placed:
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
