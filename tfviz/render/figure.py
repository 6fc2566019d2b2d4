"""A Matplotlib figure of pictures and maps, for notebooks and papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfviz.render.colors import MEANINGS, ramp
from tfviz.render.grid import Grid, grid_of
from tfviz.render.pictures import Picture
from tfviz.render.titles import font, most_lines_of, title_of, wrapped

# Inches. Columns become narrower as they are added, down to what a title needs, so that the figure fits a screen.
WIDEST_FIGURE = 16.0
NARROWEST_COLUMN, HIGHEST_ROW = 1.6, 2.4
MARGIN, GAP = 0.12, 0.08
TEXT_SIZE = 9  # points
LINE = TEXT_SIZE * 1.25 / 72  # inches
LEGEND_LINE, LEGEND_STRIP = 0.2, 0.8
PIXELS_PER_INCH = 200  # of the pictures in it, so that the figure can be printed


def plot(
    images: Any,
    attributions: Mapping[str, Any],
    *,
    captions: Sequence[str | None] | None = None,
    styles: Mapping[str, str] | None = None,
    alpha: float = 0.5,
) -> Figure:
    """Draw pictures down and methods across, the picture itself first.

    Args:
        images: as for `overlay`: (N, H, W, C), or (H, W, C), or a list of pictures of different sizes.
        attributions: method key -> its maps, as for `overlay`. The key in words is the column's title.
        captions: one for each picture, written below it, such as "tabby cat 0.83".
        styles: method key -> style, for those that shall not be drawn as `overlay` would choose.
        alpha: strength of the colors over the pictures, from 0 to 1.

    Returns: a Matplotlib figure that pyplot does not know of. Its axes are the pictures row by row, then the legend.

    Raises: ImageError, OptionError: as `overlay`; captions or styles that do not fit the pictures or methods.
    """
    grid = grid_of(images, attributions, captions, styles)
    layout = _Layout.of(grid)
    figure = Figure(figsize=(layout.width, layout.height))
    FigureCanvasAgg(figure)
    for row in range(len(grid.pictures)):
        size = round(layout.row * PIXELS_PER_INCH), round(layout.column * PIXELS_PER_INCH)
        for column, picture in enumerate(grid.row(row, *size, alpha)):
            axes = layout.axes(figure, row, column, picture)
            if row == 0:
                _write(axes, 0.5, 1, layout.titles[column], above=True)
            if column == 0:
                _write(axes, 0.5, 0, layout.captions[row], above=False)
    _draw_legend(figure, layout, grid.used_styles)
    return figure


@dataclass(frozen=True)
class _Layout:
    """Where things are, in inches; `column` and `row` are the largest size of a picture."""

    column: float
    row: float
    titles: list[str]
    captions: list[str]
    width: float
    height: float

    @classmethod
    def of(cls, grid: Grid) -> _Layout:
        columns = 1 + len(grid.maps)
        column = max(WIDEST_FIGURE / columns - GAP, NARROWEST_COLUMN)
        column = min(column, HIGHEST_ROW * grid.column_width)
        row = column / grid.column_width
        titles = [_fitting(title, column) for title in ("", *map(title_of, grid.maps))]
        captions = [_fitting(caption, column) for caption in grid.captions]
        below = most_lines_of(captions) * LINE
        return cls(
            column,
            row,
            titles,
            captions,
            width=2 * MARGIN + columns * (column + GAP) - GAP,
            height=2 * MARGIN
            + most_lines_of(titles) * LINE
            + GAP
            + len(captions) * (row + below + GAP)
            + len(grid.used_styles) * LEGEND_LINE,
        )

    def axes(self, figure: Figure, row: int, column: int, picture: Picture) -> Axes:
        """Axes of the picture's own shape, at the top of its place and in the middle of its column."""
        height, width = picture.shape[:2]
        scale = min(self.row / height, self.column / width)
        left = MARGIN + column * (self.column + GAP) + (self.column - width * scale) / 2
        step = self.row + most_lines_of(self.captions) * LINE + GAP
        top = self.height - MARGIN - most_lines_of(self.titles) * LINE - GAP - row * step
        axes = self.add(figure, left, top - height * scale, width * scale, height * scale)
        axes.imshow(picture)
        return axes

    def add(self, figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        return axes


def _fitting(text: str, width: float) -> str:
    return "\n".join(wrapped(text, width * 72, font(TEXT_SIZE), most_lines=4))


def _write(axes: Axes, x: float, y: float, text: str, *, above: bool) -> None:
    """`text` as it is (a "$" is no formula), just above or below the point (x, y) of the axes."""
    axes.annotate(
        text,
        (x, y),
        xycoords="axes fraction",
        xytext=(0, 4 if above else -3),
        textcoords="offset points",
        ha="center",
        va="baseline" if above else "top",
        fontproperties=font(TEXT_SIZE),
        parse_math=False,
        linespacing=1.2,
    )


def _draw_legend(figure: Figure, layout: _Layout, styles: Sequence[str]) -> None:
    """What each style's colors mean, a line each, along the bottom."""
    for line, style in enumerate(reversed(styles)):
        axes = layout.add(figure, MARGIN, MARGIN + line * LEGEND_LINE, LEGEND_STRIP, LEGEND_LINE * 0.7)
        axes.imshow(ramp(style)[None], aspect="auto")
        axes.annotate(
            MEANINGS[style],
            (1, 0.45),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontproperties=font(TEXT_SIZE),
        )
