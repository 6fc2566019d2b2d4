"""Plot an evaluation as a Matplotlib figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfviz.render.notebook_figure import NotebookFigure

_COLUMNS = 3
_WIDTH, _BAR, _FRAME, _CURVES_HEIGHT = 4.2, 0.22, 0.9, 3.2  # inches
_METHOD, _CONTROL = "#31688e", "#a0a0a0"


def figure_of(
    rows: Sequence[dict[str, Any]], curves: Mapping[str, Mapping[str, np.ndarray]], *, has_bars: bool = True
) -> Figure:
    """Draw a bar chart for each measure, then a line plot for each measure that has curves.

    Args:
        rows: the rows of an `Evaluation`.
        curves: the evaluation's curves.
        has_bars: whether to draw the bar charts.

    Returns:
        The figure.
    """
    measures = list(dict.fromkeys(row["metric"] for row in rows)) if has_bars else []
    longest = max((sum(row["metric"] == key for row in rows) for key in measures), default=1)
    bars, lines = math.ceil(len(measures) / _COLUMNS), math.ceil(len(curves) / _COLUMNS)
    heights = [_FRAME + _BAR * longest] * bars + [_CURVES_HEIGHT] * lines
    figure = NotebookFigure(_WIDTH * _COLUMNS, sum(heights))
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights)
    for number, key in enumerate(measures):
        _draw_bars(figure.add_subplot(grid[divmod(number, _COLUMNS)]), [row for row in rows if row["metric"] == key])
    controls = {row["method"] for row in rows if row["is_control"]}
    for number, key in enumerate(curves):
        row, column = divmod(number, _COLUMNS)
        _draw_curves(figure.add_subplot(grid[bars + row, column]), key, curves[key], controls)
    return figure


def _draw_bars(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw a bar with an interval for each method. A hollow bar marks an inconclusive result."""
    labels = [row["method"] if row["layer"] is None else f"{row['method']} ({row['layer']})" for row in rows]
    for y, row in enumerate(rows):
        color = _CONTROL if row["is_control"] else _METHOD
        is_hollow = row["decides"] is False
        axes.barh(y, row["value"], color="none" if is_hollow else color, edgecolor=color)
        if not math.isnan(row["low"]):
            axes.plot([row["low"], row["high"]], [y, y], color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.invert_yaxis()
    direction = "higher" if rows[0]["higher_is_better"] else "lower"
    axes.set_title(f"{rows[0]['metric']} ({direction} is better)", fontsize=9)
    if any(row["decides"] is False for row in rows):
        axes.set_xlabel("hollow: no better than random", fontsize=7)


def _draw_curves(axes: Axes, key: str, curves: Mapping[str, np.ndarray], controls: set[str]) -> None:
    for label, points in curves.items():
        color, line = (_CONTROL, "--") if label in controls else (None, "-")
        axes.plot(points[:, 0], points[:, 1], label=label, linewidth=1, color=color, linestyle=line)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # a truncated axis exaggerates differences
    axes.set_title(key, fontsize=9)
    axes.set_xlabel("fraction of pixels", fontsize=7)
    axes.legend(fontsize=5)
