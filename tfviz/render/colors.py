"""The colors of a map: three styles, each with its own scale and color map.

    heatmap   |value|, 0 … limit       sequential color map, blended over the picture
    signed    −limit … 0 … limit       diverging color map, blended over the picture
    gray      −limit … 0 … limit       zero is mid gray, RGB as the map's channels, not blended

Each map is scaled by itself. The limit is a high percentile of |value|, so that a few extreme pixels do not flatten the
rest; for a map of up to 200 values, such as a CAM's, it is the largest. A map that is zero everywhere takes the color
of zero.

Guided backprop and deconvnet are drawn in gray, as in Springenberg et al. (2015) and Zeiler & Fergus (2014).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps

from tfviz.errors import OptionError, near_matches
from tfviz.render.pictures import Map, Picture, shrunk_or_enlarged

STYLES = ("heatmap", "signed", "grey")
COLOR_MAPS = {"heatmap": "inferno", "signed": "berlin"}
MEANINGS = {  # for legends
    "heatmap": "zero to the strongest of each map",
    "signed": "negative to positive, black is zero",
    "grey": "negative to positive, gray is zero",
}
PERCENTILES = {"heatmap": 99.5, "signed": 99.5, "grey": 99.0}  # of the sizes of the values that are not zero


def style_of(maps: Sequence[Map], style: str | None = None) -> str:
    """`style` if it is given, else the style that suits the maps of one method.

    Maps with channels are drawn in gray, maps with a negative value as signed, all others as heatmaps.
    Raises OptionError for an unknown style.
    """
    if style is not None:
        if style not in STYLES:
            raise OptionError(f"style: no such style {style!r}. {near_matches(str(style), STYLES)}")
        return style
    if maps[0].ndim == 3:
        return "grey"
    return "signed" if any(one.min() < 0 for one in maps) else "heatmap"


def colored(values: Map, style: str, height: int, width: int) -> Picture:
    """The map in the colors of `style`, (height, width, 3) uint8 RGB.

    The map is scaled, resized once, and held to its own range, so that a positive map stays positive.
    """
    scaled = _scaled(values, style).astype(np.float32)
    resized = np.clip(shrunk_or_enlarged(scaled, height, width), scaled.min(), scaled.max())
    if style == "grey":
        gray = np.rint(128 + 127 * resized).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(np.atleast_3d(gray), (height, width, 3)))
    position = resized if style == "heatmap" else (resized + 1) / 2
    return ramp(style)[np.rint(position * 255).astype(np.uint8)]


@functools.cache
def ramp(style: str) -> npt.NDArray[np.uint8]:
    """The 256 colors of a style from its low to its high end, (256, 3) uint8 RGB."""
    steps = np.arange(256)
    if style == "grey":
        return np.repeat(steps[:, None], 3, axis=1).astype(np.uint8)
    return colormaps[COLOR_MAPS[style]](steps, bytes=True)[:, :3]


def _scaled(values: Map, style: str) -> npt.NDArray[np.float64]:
    """(h, w) or (h, w, C) of any size of value -> [0, 1] for a heatmap, else [-1, 1]; C is kept for gray RGB only."""
    values = _divided(values, np.abs(values).max())  # first, so that nothing below can overflow or underflow
    if style == "heatmap":
        values = np.abs(values) if values.ndim == 2 else np.abs(values).max(axis=2)
    elif style == "signed":
        values = values if values.ndim == 2 else values.sum(axis=2)
    elif values.ndim == 3 and values.shape[2] not in (1, 3):
        values = values.mean(axis=2)
    sizes = np.abs(values[values != 0])
    limit = float(np.percentile(sizes, PERCENTILES[style], method="higher")) if sizes.size else 0.0
    return _divided(np.clip(values, -limit, limit), limit)


def _divided(values: npt.NDArray[np.float64], largest: float) -> npt.NDArray[np.float64]:
    return values / largest if largest > 0 else np.zeros_like(values)
