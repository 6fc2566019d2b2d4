"""A Matplotlib figure for notebooks that grows to fit a title."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tfviz.notebooks import displayed, is_notebook

MARGIN = 0.12  # inches around a title


class NotebookFigure(Figure):
    """A figure that is not registered with pyplot and has no margin around its axes.

    A notebook displays it as a cell's result, with or without `%matplotlib inline`. IPython calls
    `_repr_png_` only if no backend has registered another formatter for figures.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height))
        FigureCanvasAgg(self)
        self._room = 0.0  # inches that were added above the axes

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=self.dpi)
        return file.getvalue()

    def show(self, warn: bool = True) -> None:
        """Show the figure in a notebook, even from within a loop or a function.

        Args:
            warn: passed to Matplotlib's `Figure.show`, which is called outside of notebooks.
        """
        if is_notebook():
            displayed(self)
        else:
            super().show(warn)

    def suptitle(self, t: str, **options: Any) -> Text:
        """Add a title above the axes and enlarge the figure to fit it.

        Args:
            t: the text.
            **options: options for Matplotlib's `suptitle`. If "x" or "y" is given, or the figure
                has a layout engine, the figure keeps its size.

        Returns:
            The title.
        """
        title = super().suptitle(t, **options)
        if "y" in options or "x" in options or self.get_layout_engine() is not None:
            return title
        box = title.get_window_extent(FigureCanvasAgg(self).get_renderer())
        self._grow(box.width / self.dpi + 2 * MARGIN, box.height / self.dpi + MARGIN)
        title.set_position((0.5, 1 - MARGIN / self.get_figheight()))
        title.set_verticalalignment("top")
        return title

    def _grow(self, width: float, room: float) -> None:
        """Enlarge the figure to at least `width` inches and leave `room` inches above the axes."""
        before = self.get_size_inches()
        after = (max(before[0], width), before[1] + room - self._room)
        self._room = room
        self.set_size_inches(after)
        left = (after[0] - before[0]) / 2
        for axes in self.axes:
            box = axes.get_position(original=True)
            sizes = box.width * before[0] / after[0], box.height * before[1] / after[1]
            axes.set_position(((left + box.x0 * before[0]) / after[0], box.y0 * before[1] / after[1], *sizes))
