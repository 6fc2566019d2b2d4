"""Draw signals over their maps, with one panel per signal, method and target.

The background shows the map at its original resolution, and the signal is a line over it. Multiple
channels are drawn as bands on one scale. If the method returns one map per channel, each band shows
its channel's map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from tfviz.errors import ImageError
from tfviz.render.colors import ramp
from tfviz.render.grid import Attributions, Column, Scores, captions_of, columns_of, own_style, targets_of
from tfviz.render.notebook_figure import NotebookFigure
from tfviz.render.pictures import Arrays, Map
from tfviz.render.strength import meaning_of
from tfviz.render.titles import font

Signal = npt.NDArray[np.float64]  # (T, C)

# These color maps have no dark ends, so a black line stays visible.
LIGHT_MAPS = {"heatmap": "YlOrRd", "signed": "RdBu_r"}
LIGHT_PARTS = {"heatmap": slice(0, 200), "signed": slice(28, 228)}
# inches
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 8.0, 0.95, 0.75, 0.3, 0.3
PANEL, BAND, HIGHEST_PANEL = 1.15, 0.35, 8.0
TITLE_LINE, GAP, BAR = 0.25, 0.12, 0.1
MOST_LABELED = 16  # the maximum number of labeled channels
TEXT_SIZE, NUMBER_SIZE = 9, 8  # points


def signals_of(signals: Arrays) -> list[Signal]:
    """Convert signals to float64 arrays of shape (T, C).

    Args:
        signals: an array of shape (N, T, C), a single signal of shape (T, C), or a list of signals
            of any lengths.

    Returns:
        The signals.

    Raises:
        ImageError: there are no signals, or a signal has the wrong shape or contains NaN.
    """
    if isinstance(signals, list | tuple):
        arrays = [np.asarray(one, np.float64) for one in signals]
    else:
        array = np.asarray(signals, np.float64)
        arrays = [array] if array.ndim == 2 else list(array)
    if not arrays:
        raise ImageError("Expected at least one signal to draw. Received: none.")
    for array in arrays:
        if array.ndim != 2 or array.size == 0:
            raise ImageError(f"Expected a signal of shape (time, channels). Received: shape {array.shape}.")
        if not np.isfinite(array).all():
            raise ImageError("The signal contains NaN or infinite values and cannot be drawn. Replace them first.")
    return arrays


def signal_maps(attribution: Arrays, signals: Sequence[Signal]) -> list[Map]:
    """Convert an attribution to a list with one map per signal.

    Args:
        attribution: an array of shape (N, t) or (N, T, C), or a list of arrays of shape (t,) or
            (T, C).
        signals: the signals.

    Returns:
        The maps, as float64 arrays of shape (1, t), or (C, T) for a map with channels.

    Raises:
        ImageError: the number of maps is wrong, or a map has the wrong shape or is not finite.
    """
    single = len(signals) == 1 and not isinstance(attribution, list | tuple) and np.ndim(attribution) == 1  # type: ignore[arg-type]
    given: Any = [attribution] if single else attribution
    arrays = [np.asarray(one, np.float64) for one in given]
    if len(arrays) != len(signals):
        raise ImageError(f"Expected one map per signal. Received: {len(arrays)} maps for {len(signals)} signals.")
    for array, signal in zip(arrays, signals, strict=True):
        fits = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == signal.shape[1])
        if not fits or array.size == 0:
            raise ImageError(
                f"Expected one map per signal, of shape (time,) or (time, {signal.shape[1]}). Received: shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ImageError(
                "The attribution contains NaN or infinite values, so it cannot be drawn. Check the model's input, weights and "
                "activations for such values."
            )
    return [array[None] if array.ndim == 1 else array.T for array in arrays]


def plot_signals(
    signals: Arrays,
    attributions: Attributions,
    *,
    captions: Sequence[str | None] | None,
    scores: Scores | None,
    styles: Mapping[str, str] | None,
    scale: str,
    cmap: str | Colormap | None,
) -> Figure:
    """Draw signals over their maps (see `plot`).

    Args:
        signals: see `signals_of`.
        attributions: see `plot`.
        captions: see `plot`.
        scores: see `plot`.
        styles: see `plot`. "grey" is replaced by "signed".
        scale: see `plot`.
        cmap: see `plot`.

    Returns:
        The figure. Its axes are the panels, signal by signal, each followed by its color bar.

    Raises:
        ImageError: see `plot`.
        OptionError: see `plot`.
    """
    lines = signals_of(signals)
    maps = {
        method: {target: signal_maps(one, lines) for target, one in given.items()}
        for method, given in targets_of(attributions).items()
    }
    chosen = {method: dict(styles or {}).get(method) or own_style(method.replace("-", "_")) for method in maps}
    in_color = {method: "signed" if style == "grey" else style for method, style in chosen.items() if style}
    unknown = {key: style for key, style in dict(styles or {}).items() if key not in maps}
    columns = columns_of(maps, len(lines), scores=scores, styles={**in_color, **unknown}, scale=scale)
    texts = captions_of(captions, len(lines))
    heights = [_panel_height(line) for line in lines]
    each = [TITLE_LINE + len(columns) * (TITLE_LINE + height + GAP) + BOTTOM for height in heights]
    legend = _legend(columns, lines, scale)
    figure = NotebookFigure(WIDTH, TOP + sum(each) + len(legend) * TITLE_LINE)
    top = figure.get_figheight() - TOP
    for index, line in enumerate(lines):
        y = top - TITLE_LINE
        _write(figure, LEFT, y + 0.08, texts[index] or f"Signal {index}", weight="bold")
        for number, column in enumerate(columns):
            y -= TITLE_LINE + heights[index]
            _write(figure, LEFT, y + heights[index] + 0.06, _title(column, index))
            axes = _axes(figure, LEFT, y, WIDTH - LEFT - RIGHT, heights[index])
            _draw_panel(axes, line, column, index, cmap)
            _draw_bar(_axes(figure, WIDTH - RIGHT + 0.1, y, BAR, heights[index]), column, index, cmap)
            axes.tick_params(labelbottom=number == len(columns) - 1)
            y -= GAP
        axes.set_xlabel("time step", fontproperties=font(NUMBER_SIZE), labelpad=1)
        top -= each[index]
    for number, text in enumerate(reversed(legend)):
        _write(figure, LEFT, 0.1 + number * TITLE_LINE, text)
    return figure


def _legend(columns: Sequence[Column], lines: Sequence[Signal], scale: str) -> list[str]:
    styles = dict.fromkeys(column.style for column in columns)
    meanings = [f"Background: {signal_meaning(style, scale)}" for style in styles]
    bands = ["Lines: all channels of a signal on one scale"] if max(line.shape[1] for line in lines) > 1 else []
    return [*meanings, *bands]


def signal_meaning(style: str, scale: str) -> str:
    """Return the legend text for a style and a scale when maps are drawn behind black lines."""
    return meaning_of(style, scale, "signal").replace("dark is zero", "white is zero")


def _title(column: Column, index: int) -> str:
    words = [column.title.replace("\n", ", "), column.notes[index].replace("\n", ", ")]
    return " – ".join(filter(None, words))


def _panel_height(line: Signal) -> float:
    return min(max(PANEL, BAND * line.shape[1]), HIGHEST_PANEL)


def _draw_panel(axes: Axes, line: Signal, column: Column, index: int, cmap: str | Colormap | None) -> None:
    steps = len(line)
    low, high = _draw_lines(axes, line)
    axes.set_xlim(-0.5, steps - 0.5)
    axes.set_ylim(low, high)
    axes.imshow(
        column.maps[index] if column.style == "signed" else np.abs(column.maps[index]),
        extent=(-0.5, steps - 0.5, low, high),
        aspect="auto",
        interpolation="nearest",
        cmap=signal_colors(column.style, cmap),
        vmin=_ends(column, index)[0],
        vmax=_ends(column, index)[1],
        zorder=0,
    )
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(font(NUMBER_SIZE))


def _draw_lines(axes: Axes, line: Signal) -> tuple[float, float]:
    """Draw the channels and return the limits of the vertical axis."""
    steps, channels = line.shape
    low, high = line.min(axis=0), line.max(axis=0)
    span = float((high - low).max()) or 1.0
    if channels == 1:
        axes.plot(np.arange(steps), line[:, 0], color="black", linewidth=0.8)
        return float(low[0]) - 0.05 * span, float(high[0]) + 0.05 * span
    for channel in range(channels):
        band = channels - 1 - channel  # The first channel is at the top, like the map's first row.
        shifted = band + 0.5 + 0.9 * (line[:, channel] - (low + high)[channel] / 2) / span
        axes.plot(np.arange(steps), shifted, color="black", linewidth=0.7)
    labeled = range(0, channels, -(-channels // MOST_LABELED))
    axes.set_yticks([channels - 0.5 - channel for channel in labeled], [f"channel {channel}" for channel in labeled])
    return 0.0, float(channels)


def _draw_bar(axes: Axes, column: Column, index: int, cmap: str | Colormap | None) -> None:
    low, high = _ends(column, index)
    colors = np.linspace(low, high, 256)[:, None]
    axes.imshow(colors, aspect="auto", extent=(0, 1, 0, 1), origin="lower", cmap=signal_colors(column.style, cmap))
    axes.set_xticks([])
    axes.set_yticks([0, 1], [f"{low:.3g}", f"{column.limits[index]:.3g}"], fontproperties=font(NUMBER_SIZE))
    axes.yaxis.tick_right()
    axes.tick_params(length=0, pad=2)
    bottom, top = axes.get_yticklabels()
    bottom.set_verticalalignment("bottom")
    top.set_verticalalignment("top")


def _ends(column: Column, index: int) -> tuple[float, float]:
    limit = column.limits[index] or 1.0  # An all-zero map is drawn in the color for zero.
    return (-limit if column.style == "signed" else 0.0), limit


def signal_colors(style: str, cmap: str | Colormap | None) -> Colormap:
    """Return a style's color map for maps behind black lines.

    Args:
        style: "heatmap" or "signed".
        cmap: a Matplotlib color map to use instead of the default.

    Returns:
        The color map.
    """
    if cmap is not None:
        return ListedColormap(ramp(style, cmap) / 255)
    return ListedColormap(ramp(style, LIGHT_MAPS[style])[LIGHT_PARTS[style]] / 255)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _write(figure: Figure, left: float, bottom: float, text: str, weight: str = "normal") -> None:
    across, up = figure.get_size_inches()
    properties = font(TEXT_SIZE).copy()
    properties.set_weight(weight)
    figure.text(left / across, bottom / up, text, fontproperties=properties, parse_math=False)
