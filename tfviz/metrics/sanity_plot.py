"""Plot the similarities from a sanity check against the randomized layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfviz.metrics.sanity_score import DECIDING, EMPRT, NAMES, UNRELATED, Row
from tfviz.render.notebook_figure import NotebookFigure
from tfviz.render.titles import title_of

# Inches.
COLUMN, ROW, MARGIN, MOST_COLUMNS = 5.0, 3.1, 0.4, 3
# The colors in Okabe and Ito's palette are distinguishable with any form of color vision.
COLORS = {"spearman": "#0072B2", "spearman_abs": "#56B4E9", "ssim": "#E69F00", "hog": "#009E73"}
TITLES = {
    "top_down": "from the output to the input, cumulative",
    "bottom_up": "from the input to the output, cumulative",
    "independent": "one layer at a time",
}


def plot(rows: Sequence[Row]) -> Figure:
    """Plot the similarities for each method and order, with dashed lines for unrelated maps.

    Args:
        rows: the rows of a sanity check.

    Returns:
        The figure.
    """
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    orders = [order for order in TITLES if any(row["test"] == order for row in rows)]
    # Several orders get one column each. With a single order, the methods fill the columns.
    columns = len(orders) if len(orders) > 1 else min(len(methods), MOST_COLUMNS)
    panels = [(method, order) for method in methods for order in orders]
    lines = math.ceil(len(panels) / max(columns, 1))
    figure = NotebookFigure(max(columns, 1) * COLUMN + MARGIN, max(lines, 1) * ROW + MARGIN)
    axes = figure.subplots(max(lines, 1), max(columns, 1), squeeze=False, sharey=True)
    for one in axes[:, 0]:
        one.set_ylabel("similarity to the original map", fontsize=8)
    for one, (method, order) in zip(axes.flat, panels, strict=False):
        _draw(one, [row for row in rows if row["method"] == method], order)
        one.set_title(f"{title_of(method)}: {TITLES[order]}", fontsize=9, loc="left")
    for one in axes.flat[len(panels) :]:
        one.set_axis_off()
    handles, labels = axes[0][0].get_legend_handles_labels()
    if any(row["test"] == UNRELATED for row in rows):
        handles.append(Line2D([], [], color="0.3", linestyle="--", linewidth=0.8))
        labels.append("dashed: maps of two different images")
    figure.legend(handles, labels, loc="lower center", ncols=5 if columns > 1 else 2, fontsize=8, frameon=False)
    room = MARGIN if columns > 1 else 2 * MARGIN
    figure.tight_layout(rect=(0, room / figure.get_figheight(), 1, 1))
    return figure


def _draw(axes: Axes, rows: Sequence[Row], order: str) -> None:
    for measure, color in COLORS.items():
        drawn = [row for row in rows if row["test"] == order and row["measure"] == measure and row["measure"] != EMPRT]
        places = range(len(drawn))
        # For positive maps, both correlations are equal. The correlation that decides the verdict
        # is drawn over the other.
        top = 3 if measure == DECIDING else 2
        axes.plot(
            places, [row["value"] for row in drawn], color=color, marker="o", markersize=3, label=NAMES[measure], zorder=top
        )
        axes.fill_between(places, [row["low"] for row in drawn], [row["high"] for row in drawn], color=color, alpha=0.15)
        for row in rows:
            if row["test"] == UNRELATED and row["measure"] == measure:
                axes.axhline(float(row["value"]), color=color, linestyle="--", linewidth=0.8)
    names = [str(row["randomized"]) for row in rows if row["test"] == order and row["measure"] == "spearman"]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
    axes.set_ylim(-0.3, 1.05)
    axes.tick_params(axis="y", labelsize=8)
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel("randomized up to this layer" if order != "independent" else "randomized layer", fontsize=8)
