"""Draw images and maps as a Matplotlib figure, for notebooks and papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from tfviz.errors import OptionError
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.data_kinds import PLANES, kind_of
from tfviz.render.grid import Attributions, Column, Grid, Scores, grid_of
from tfviz.render.notebook_figure import NotebookFigure
from tfviz.render.overlays import Look, Underlay
from tfviz.render.pictures import Arrays, Picture
from tfviz.render.signals import plot_signals
from tfviz.render.strength import meaning_of
from tfviz.render.titles import font, most_lines_of, widest, wrapped
from tfviz.render.volumes import plot_volumes

# Sizes in inches. To fit a screen, columns get narrower as their number grows, down to the width of
# a title.
WIDEST_FIGURE = 16.0
NARROWEST_COLUMN, HIGHEST_ROW, WIDEST_OWN_TITLE = 1.6, 2.4, 6.0
MARGIN, GAP = 0.12, 0.08
TEXT_SIZE, NUMBER_SIZE = 9, 8  # points
LINE = TEXT_SIZE * 1.25 / 72  # inches
LEGEND_LINE, LEGEND_STRIP = 0.2, 0.8
BAR, BAR_GAP, NUMBER_LINE = 0.07, 0.05, 0.14  # a map's color bar and the numbers below it
PIXELS_PER_INCH = 200  # enough for print


def plot(
    images: Arrays,
    attributions: Attributions,
    *,
    kind: str | None = None,
    slices: Sequence[int] | None = None,
    captions: Sequence[str | None] | None = None,
    scores: Scores | None = None,
    styles: Mapping[str, str] | None = None,
    alpha: float = 0.5,
    underlay: Underlay = "gray",
    scale: str = "map",
    cmap: str | Colormap | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> Figure:
    """Plot a figure with one row per image: the image, then one map per method and target.

    Each map has a color bar and a caption that states its strength (see `tfviz.render.strength`).
    For excitation backprop, the strength is the map's sum. For other methods with several targets,
    it is the map's peak relative to the peak of the highest-scoring target's map, or of the
    strongest map if there are no scores. Maps with a strength below 2% are nearly empty and are
    drawn dimmed.

    Signals are drawn as lines over their maps, and volumes and videos as rows of slices or frames.
    `alpha`, `underlay` and `preprocessing` don't apply to signals.

    Args:
        images: images as for `overlay`; signals as an array of shape (N, T, C), a single signal of
            shape (T, C) or a list of such signals; or volumes or videos as an array of shape
            (N, D, H, W, C) or a list of arrays of shape (D, H, W, C).
        attributions: method -> its maps, as for `overlay`; for several targets, method -> target
            -> maps. The keys become titles. A key of `tfviz.METHODS` becomes the method's name;
            other keys are unchanged.
        kind: "image", "signal", "volume" or "video". If None, the kind is inferred from the shape.
            Arrays of shape (N, D, H, W, 3) are videos. An array with three axes is a single image
            of shape (H, W, C), unless the maps have one row for each of N signals and the array's
            values or shape rule out an image.
        slices: the slices or frames of volumes to draw. None means up to six: evenly spaced slices
            and the slice with the strongest value of the first map.
        captions: the text to write below each image, such as "tabby cat 0.83".
        scores: target -> class scores of shape (N,), such as {"tabby": model.predict(images)[:,
            281]}, written below the maps. For maps without a target, use the method's key.
        styles: method -> style, for methods that should not use their default style.
        alpha: as for `overlay`.
        underlay: "gray" draws the maps over gray images, so that map and image colors don't mix;
            "color" draws them over color images.
        scale: "map" scales each map separately. "image" uses one scale for all targets of an image
            and method.
        cmap: as for `overlay`.
        preprocessing: as for `overlay`.

    Returns:
        A Matplotlib figure that is not registered with pyplot. A notebook displays it as a cell's
        result. Its axes are the images and maps, row by row, then the legend, then the color bars.

    Raises:
        ImageError: as for `overlay`; signals or volumes have the wrong shape; or the number of
            captions or scores differs from the number of images.
        OptionError: as for `overlay`; a key of `scores` or `styles` has no maps; or the kind or a
            slice does not exist.
    """
    look = Look(alpha, underlay, cmap)
    kind = kind_of(images, attributions, kind)
    if slices is not None and kind not in PLANES:
        raise OptionError(f"`slices` applies only to volumes and videos (N, D, H, W, C). Received: {kind}s.")
    if kind == "signal":
        return plot_signals(images, attributions, captions=captions, scores=scores, styles=styles, scale=scale, cmap=cmap)
    if kind in PLANES:
        return plot_volumes(
            images,
            attributions,
            kind=kind,
            slices=slices,
            captions=captions,
            scores=scores,
            styles=styles,
            look=look,
            scale=scale,
            preprocessing=preprocessing,
        )
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
    layout = _Layout.of(grid)
    figure = NotebookFigure(layout.width, layout.height)
    for row in range(len(grid.pictures)):
        _draw_row(figure, layout, grid, row)
    _draw_legend(figure, layout, grid)
    for row in range(len(grid.pictures)):
        for number, column in enumerate(grid.columns, start=1):
            _draw_bar(figure, layout, (row, number), column, look)
    return figure


@dataclass(frozen=True)
class _Layout:
    """A figure's layout, in inches.

    Attributes:
        column: the maximum image width.
        row: the maximum image height.
        titles: the column titles.
        texts: for each row, the texts below its image and maps.
        width: the figure width.
        height: the figure height.
    """

    column: float
    row: float
    titles: list[str]
    texts: list[list[str]]
    width: float
    height: float

    @classmethod
    def of(cls, grid: Grid) -> _Layout:
        count = 1 + len(grid.columns)
        column = max(WIDEST_FIGURE / count - GAP, NARROWEST_COLUMN)
        column = min(column, HIGHEST_ROW * grid.column_width)
        row = column / grid.column_width
        own = [widest(one.title, font(TEXT_SIZE)) / 72 + GAP for one in grid.columns if one.has_own_title]
        column = max(column, min(max(own, default=0.0), WIDEST_OWN_TITLE))
        titles = [_fitting(title, column) for title in ("", *(one.title for one in grid.columns))]
        texts = [[_fitting(text, column) for text in grid.texts(index)] for index in range(len(grid.pictures))]
        layout = cls(column, row, titles, texts, width=2 * MARGIN + count * (column + GAP) - GAP, height=0)
        height = 2 * MARGIN + layout.header + len(texts) * layout.step + len(grid.used_styles) * LEGEND_LINE
        return cls(column, row, titles, texts, layout.width, height)

    @property
    def header(self) -> float:
        return most_lines_of(self.titles) * LINE + GAP

    @property
    def step(self) -> float:
        """The distance between the tops of two consecutive rows."""
        below_pictures = most_lines_of([texts[0] for texts in self.texts]) * LINE
        below_maps = most_lines_of([text for texts in self.texts for text in texts[1:]]) * LINE
        return self.row + max(below_pictures, BAR_GAP + BAR + NUMBER_LINE + below_maps) + GAP

    def box(self, row: int, column: int, picture: Picture) -> tuple[float, float, float, float]:
        """Return the left, bottom, width and height of an image centered at the top of its cell."""
        height, width = picture.shape[:2]
        scale = min(self.row / height, self.column / width)
        left = MARGIN + column * (self.column + GAP) + (self.column - width * scale) / 2
        top = self.height - MARGIN - self.header - row * self.step
        return left, top - height * scale, width * scale, height * scale

    def bar(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return the left, bottom, width and height of the color bar below a map."""
        top = self.height - MARGIN - self.header - row * self.step - self.row - BAR_GAP
        return MARGIN + column * (self.column + GAP), top - BAR, self.column, BAR

    def add(self, figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
        return figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))


def _draw_row(figure: Figure, layout: _Layout, grid: Grid, row: int) -> None:
    size = round(layout.row * PIXELS_PER_INCH), round(layout.column * PIXELS_PER_INCH)
    for column, picture in enumerate(grid.row(row, *size)):
        left, bottom, width, height = layout.box(row, column, picture)
        axes = layout.add(figure, left, bottom, width, height)
        axes.set_axis_off()
        axes.imshow(picture)
        if row == 0:
            _write(axes, layout.titles[column], 1, 4 / 72)
        below = bottom - (layout.bar(row, column)[1] - NUMBER_LINE) if column else 0.0
        _write(axes, layout.texts[row][column], 0, -3 / 72 - below)


def _fitting(text: str, width: float) -> str:
    return "\n".join(wrapped(text, width * 72, font(TEXT_SIZE), most_lines=4))


def _write(axes: Axes, text: str, y: float, offset: float) -> None:
    """Write centered text `offset` inches above or below the edge `y` of the axes.

    A "$" is drawn literally instead of starting a formula.
    """
    if not text:
        return
    axes.annotate(
        text,
        (0.5, y),
        xycoords="axes fraction",
        xytext=(0, offset * 72),
        textcoords="offset points",
        ha="center",
        va="baseline" if offset > 0 else "top",
        fontproperties=font(TEXT_SIZE),
        parse_math=False,
        linespacing=1.2,
    )


def _draw_bar(figure: Figure, layout: _Layout, cell: tuple[int, int], column: Column, look: Look) -> None:
    """Draw a map's color bar, with the corresponding values at both ends."""
    limit = column.limits[cell[0]]
    ends = (0.0 if column.style == "heatmap" else -limit, limit)
    axes = layout.add(figure, *layout.bar(*cell))
    axes.imshow(look.color_bar(column.style)[None], aspect="auto", extent=(0, 1, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([0, 1], [f"{end:.3g}" for end in ends], fontproperties=font(NUMBER_SIZE))
    axes.tick_params(length=0, pad=1.5)
    low, high = axes.get_xticklabels()
    low.set_horizontalalignment("left")
    high.set_horizontalalignment("right")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_legend(figure: Figure, layout: _Layout, grid: Grid) -> None:
    """Draw the legend at the bottom, with one line per style."""
    for line, style in enumerate(reversed(grid.used_styles)):
        axes = layout.add(figure, MARGIN, MARGIN + line * LEGEND_LINE, LEGEND_STRIP, LEGEND_LINE * 0.7)
        axes.set_axis_off()
        axes.imshow(grid.look.color_bar(style)[None], aspect="auto")
        axes.annotate(
            meaning_of(style, grid.scale),
            (1, 0.45),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontproperties=font(TEXT_SIZE),
        )
