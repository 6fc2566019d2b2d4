"""Draw a volume or video as a row of slices, then one row of maps per method and target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfviz.errors import ImageError, OptionError
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.data_kinds import PLANES
from tfviz.render.grid import Attributions, Column, Scores, captions_of, columns_of, targets_of
from tfviz.render.notebook_figure import NotebookFigure
from tfviz.render.overlays import Look, blended
from tfviz.render.pictures import Arrays, Map, Picture, pictures_of, shrunk_or_enlarged
from tfviz.render.strength import meaning_of
from tfviz.render.titles import font, wrapped

MOST_SLICES = 6
# inches
LABEL, RIGHT, MARGIN, GAP, BAR = 1.45, 0.7, 0.12, 0.06, 0.1
SLICE_WIDTH, TITLE_LINE = 1.5, 0.22
PIXELS_PER_INCH = 200
TEXT_SIZE, NUMBER_SIZE = 9, 8  # points

_DEPTHS = {"volume": "depth", "video": "frames"}  # names of the first axis

Volume = npt.NDArray[np.uint8]  # (D, H, W, 3), RGB


def volumes_of(volumes: Arrays, preprocessing: Preprocessing | str | None = None, kind: str = "volume") -> list[Volume]:
    """Convert volumes to uint8 RGB arrays.

    Args:
        volumes: an array of shape (N, D, H, W, C), or a list of arrays of shape (D, H, W, C). Gray
            volumes with values outside 0–255, such as Hounsfield units, are rescaled by their
            minimum and maximum.
        preprocessing: as for `plot`.
        kind: "volume" or "video", for messages.

    Returns:
        The volumes.

    Raises:
        ImageError: there are no volumes, or a volume has the wrong shape or contains NaN.
    """
    given: Any = volumes
    arrays = [np.asarray(one) for one in given]
    for array in arrays:
        if array.ndim != 4 or array.size == 0:
            raise ImageError(
                f"Expected a {kind} of shape ({_DEPTHS[kind]}, height, width, channels). Received: shape {array.shape}."
            )
    # A volume is drawn as one tall image, so that its slices share one scale.
    tall = [_in_range(array.reshape(-1, *array.shape[2:])) if preprocessing is None else array for array in arrays]
    tall = [array.reshape(-1, *array.shape[-2:]) for array in tall]
    pictures = pictures_of(tall, preprocessing)
    return [picture.reshape(*array.shape[:3], 3) for picture, array in zip(pictures, arrays, strict=True)]


def _in_range(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rescale a gray volume with values outside 0–255 to 0–1. Leave other volumes unchanged.

    Color volumes are not rescaled, because that would alter their colors.
    """
    if array.dtype == np.uint8 or array.shape[-1] != 1 or not np.isfinite(array).all():
        return array
    low, high = float(array.min()), float(array.max())
    if 0 <= low <= high <= 255:
        return array
    return (array.astype(np.float64) - low) / ((high - low) or 1.0)


def volume_maps(attribution: Arrays, count: int, kind: str = "volume") -> list[npt.NDArray[np.float64]]:
    """Convert an attribution to one map per volume.

    Args:
        attribution: an array or a list with one map per volume. A map has shape (d, h, w) or
            (D, H, W, C), or shape (h, w) if it applies to all slices.
        count: the number of volumes.
        kind: "volume" or "video", for messages.

    Returns:
        The maps, as float64 arrays.

    Raises:
        ImageError: the number of maps is wrong, or a map has the wrong shape or is not finite.
    """
    given: Any = attribution
    arrays = [np.asarray(one, np.float64) for one in given]
    if len(arrays) != count:
        raise ImageError(f"Expected one map per {kind}. Received: {len(arrays)} maps for {count} {kind}s.")
    for array in arrays:
        if array.ndim not in (2, 3, 4) or array.size == 0:
            raise ImageError(
                f"Expected one map per {kind}, of shape ({_DEPTHS[kind]}, height, width), ({_DEPTHS[kind]}, height, width, "
                f"channels), or (height, width) for all {PLANES[kind]}s. Received: shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ImageError(
                "The attribution contains NaN or infinite values, so it cannot be drawn. Check the model's input, weights and "
                "activations for such values."
            )
    return arrays


def evenly_spaced(depth: int) -> npt.NDArray[np.int64]:
    """Return the indices of up to six evenly spaced slices, from the first to the last."""
    return np.unique(np.linspace(0, depth - 1, min(depth, MOST_SLICES)).round().astype(int))


def slice_of(values: npt.NDArray[np.float64], index: int, depth: int) -> Map:
    """Return the part of a map that lies over one slice of a volume.

    If the map has fewer slices than the volume, its nearest slice is returned.

    Args:
        values: the map.
        index: the slice's index.
        depth: the number of slices in the volume.

    Returns:
        The part, of shape (h, w) or (h, w, C).
    """
    if values.ndim == 2:
        return values
    return values[int((index + 0.5) * len(values) / depth)]


def plot_volumes(
    volumes: Arrays,
    attributions: Attributions,
    *,
    kind: str,
    slices: Sequence[int] | None,
    captions: Sequence[str | None] | None,
    scores: Scores | None,
    styles: Mapping[str, str] | None,
    look: Look,
    scale: str,
    preprocessing: Preprocessing | str | None,
) -> Figure:
    """Draw maps over volumes or videos (see `plot`).

    Args:
        volumes: see `volumes_of`.
        attributions: see `plot`.
        kind: "volume" or "video".
        slices: the slices to draw. None means up to six: evenly spaced slices and the slice with
            the strongest value of the first map.
        captions: see `plot`.
        scores: see `plot`.
        styles: see `plot`.
        look: how to blend maps with slices.
        scale: see `plot`.
        preprocessing: see `plot`.

    Returns:
        The figure. Its axes are the slices, volume by volume and row by row. Each row of maps is
        followed by its color bar.

    Raises:
        ImageError: see `plot`.
        OptionError: see `plot`, or a slice does not exist.
    """
    drawn = volumes_of(volumes, preprocessing, kind)
    raw = {
        method: {target: volume_maps(one, len(drawn), kind) for target, one in given.items()}
        for method, given in targets_of(attributions).items()
    }
    tall = {method: {target: [_tall(one) for one in maps] for target, maps in given.items()} for method, given in raw.items()}
    columns = columns_of(tall, len(drawn), scores=scores, styles=styles, scale=scale)
    maps = [one for given in raw.values() for one in given.values()]
    shown = [_slices(volume, maps[0][index], slices) for index, volume in enumerate(drawn)]
    texts = captions_of(captions, len(drawn))
    sizes = [(SLICE_WIDTH, SLICE_WIDTH * volume.shape[1] / volume.shape[2]) for volume in drawn]
    steps = [2 * TITLE_LINE + (1 + len(columns)) * (height + GAP) + GAP for _, height in sizes]
    styles_used = list(dict.fromkeys(column.style for column in columns))
    width = LABEL + max(map(len, shown)) * (SLICE_WIDTH + GAP) + RIGHT
    figure = NotebookFigure(width, sum(steps) + TITLE_LINE * len(styles_used) + 2 * MARGIN)
    top = figure.get_figheight() - MARGIN
    for index, volume in enumerate(drawn):
        _write(figure, MARGIN, top - TITLE_LINE + 0.06, texts[index] or f"{kind.capitalize()} {index}", weight="bold")
        y = top - 2 * TITLE_LINE
        for row, column in enumerate([None, *columns]):
            y -= sizes[index][1]
            values = None if column is None else maps[row - 1][index]
            _draw_row(figure, y, sizes[index], volume, shown[index], column, values, index, look, PLANES[kind])
            y -= GAP
        top -= steps[index]
    for number, style in enumerate(reversed(styles_used)):
        meaning = f"Colors: {meaning_of(style, scale, kind)}, over all {PLANES[kind]}s"
        _write(figure, MARGIN, MARGIN + number * TITLE_LINE, meaning)
    return figure


def _tall(values: npt.NDArray[np.float64]) -> Map:
    return values if values.ndim == 2 else values.reshape(-1, *values.shape[2:])


def _slices(volume: Volume, values: npt.NDArray[np.float64], slices: Sequence[int] | None) -> list[int]:
    depth = len(volume)
    if slices is not None:
        wrong = [index for index in slices if not 0 <= index < depth]
        if wrong or not len(slices):
            raise OptionError(f"`slices` must be numbers from 0 to {depth - 1}. Received: {list(slices)}.")
        return [int(index) for index in slices]
    chosen = evenly_spaced(depth)
    if values.ndim > 2:
        peaks = [np.abs(slice_of(values, index, depth)).max() for index in range(depth)]
        strongest = [index for index in range(depth) if peaks[index] == max(peaks)]
        if not set(strongest) & set(chosen.tolist()):
            middle = strongest[len(strongest) // 2]
            chosen[np.abs(chosen - middle).argmin()] = middle
    return sorted(set(chosen.tolist()))


def _draw_row(
    figure: Figure,
    y: float,
    size: tuple[float, float],
    volume: Volume,
    shown: Sequence[int],
    column: Column | None,
    values: npt.NDArray[np.float64] | None,
    index: int,
    look: Look,
    plane: str,
) -> None:
    """Draw a labeled row of slices, or of maps over the slices followed by a color bar."""
    label = f"{plane.capitalize()}s" if column is None else "\n".join(filter(None, (column.title, column.notes[index])))
    if values is not None and values.ndim == 2:
        label += f"\none map for all {plane}s"
    lines = wrapped(label, (LABEL - MARGIN - GAP) * 72, font(TEXT_SIZE), most_lines=6)
    _write(figure, MARGIN, y + size[1] / 2, "\n".join(lines), va="center")
    for number, chosen in enumerate(shown):
        axes = _axes(figure, LABEL + number * (SLICE_WIDTH + GAP), y, *size)
        axes.set_axis_off()
        axes.imshow(_picture(volume, chosen, column, values, index, size, look), aspect="auto")
        if column is None:
            axes.set_title(f"{plane} {chosen} (0–{len(volume) - 1})", fontproperties=font(NUMBER_SIZE), pad=3)
    if column is not None:
        left = LABEL + len(shown) * (SLICE_WIDTH + GAP)
        _draw_bar(_axes(figure, left, y, BAR, size[1]), column, column.limits[index], look)


def _picture(
    volume: Volume,
    chosen: int,
    column: Column | None,
    values: npt.NDArray[np.float64] | None,
    index: int,
    size: tuple[float, float],
    look: Look,
) -> Picture:
    width, height = (max(1, round(side * PIXELS_PER_INCH)) for side in size)
    picture = shrunk_or_enlarged(volume[chosen], height, width)
    if column is None or values is None:
        return picture
    return blended(picture, slice_of(values, chosen, len(volume)), column.style, look, column.limits[index])


def _draw_bar(axes: Axes, column: Column, limit: float, look: Look) -> None:
    low = 0.0 if column.style == "heatmap" else -limit
    axes.imshow(look.color_bar(column.style)[:, None], aspect="auto", extent=(0, 1, 0, 1), origin="lower")
    axes.set_xticks([])
    axes.set_yticks([0, 1], [f"{low:.3g}", f"{limit:.3g}"], fontproperties=font(NUMBER_SIZE))
    axes.yaxis.tick_right()
    axes.tick_params(length=0, pad=2)
    bottom, top = axes.get_yticklabels()
    bottom.set_verticalalignment("bottom")
    top.set_verticalalignment("top")


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _write(figure: Figure, left: float, bottom: float, text: str, weight: str = "normal", va: str = "baseline") -> None:
    across, up = figure.get_size_inches()
    properties = font(TEXT_SIZE).copy()
    properties.set_weight(weight)
    figure.text(left / across, bottom / up, text, fontproperties=properties, parse_math=False, va=va)
