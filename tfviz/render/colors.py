"""The colors of a map: three styles, each with its own scale and color map.

    heatmap   |value|, 0 … limit       sequential color map, blended over the picture
    signed    −limit … 0 … limit       diverging color map, blended over the picture
    "grey"    −limit … 0 … limit       zero is mid gray, RGB as the map's channels, not blended

Unless a limit is given, each map is scaled to itself: its limit is a high percentile of |value|, so a few extreme pixels do
not flatten the rest. For a map of up to 200 values, such as a CAM's, that is the largest value. A map that is zero
everywhere takes the color of zero.

Guided backprop and deconvnet are drawn in gray, as in Springenberg et al. (2015) and Zeiler & Fergus (2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Colormap

from tfviz.errors import OptionError, near_matches
from tfviz.render.pictures import Map, Picture, shrunk_or_enlarged

STYLES = ("heatmap", "signed", "grey")
COLOR_MAPS = {"heatmap": "inferno", "signed": "berlin"}
MEANINGS = {  # for legends
    "heatmap": "zero to the strongest of each map",
    "signed": "negative to positive, dark is zero",
    "grey": "negative to positive, gray is zero",
}
PERCENTILES = {"heatmap": 99.5, "signed": 99.5, "grey": 99.0}  # of the sizes of the values that are not zero
METHOD_STYLES = {"saliency": "signed", "guided_backprop": "grey", "deconvnet": "grey", "guided_grad_cam": "grey"}
_LARGEST = float(np.finfo(np.float64).max)


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


def limit_of(values: Map, style: str) -> float:
    """The value at which a map that is scaled to itself takes the strongest color; 0 for a map that is zero everywhere."""
    unit, largest = _unit(values, style)
    sizes = np.abs(unit[unit != 0])
    if not sizes.size:
        return 0.0
    return min(float(np.percentile(sizes, PERCENTILES[style], method="higher")) * largest, _LARGEST)


def gray_map(values: Map, height: int, width: int, limit: float | None = None) -> Picture:
    """The map in grays, (height, width, 3) uint8 RGB, with the channels as RGB."""
    gray = np.rint(128 + 127 * _resized(values, "grey", height, width, limit)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.atleast_3d(gray), (height, width, 3)))


def positions(values: Map, style: str, height: int, width: int, limit: float | None = None) -> npt.NDArray[np.uint8]:
    """Where each pixel's value lies on the color bar of a heatmap or a signed map, 0 … 255, (height, width)."""
    resized = _resized(values, style, height, width, limit)
    return np.rint((resized if style == "heatmap" else (resized + 1) / 2) * 255).astype(np.uint8)


def ramp(style: str, cmap: str | Colormap | None = None) -> npt.NDArray[np.uint8]:
    """The 256 colors of a style from its low to its high end, (256, 3) uint8 RGB.

    cmap: another color map of Matplotlib for heatmaps and signed maps. Raises OptionError for an unknown name.
    """
    if style == "grey":
        return np.repeat(np.arange(256)[:, None], 3, axis=1).astype(np.uint8)
    name = COLOR_MAPS[style] if cmap is None else cmap
    if isinstance(name, Colormap):
        return _ramp(name)
    if name not in colormaps:
        raise OptionError(f"cmap: Matplotlib has no color map {name!r}. {near_matches(str(name), colormaps)}")
    return _ramp(colormaps[name])


def _ramp(colormap: Colormap) -> npt.NDArray[np.uint8]:
    return colormap(np.linspace(0, 1, 256), bytes=True)[:, :3]


def _resized(values: Map, style: str, height: int, width: int, limit: float | None) -> npt.NDArray[np.float32]:
    """The map on its scale, [0, 1] for a heatmap, else [-1, 1], resized once and held to its own range.

    A positive map thus stays positive, although cubic interpolation undershoots.
    """
    scaled = _scaled(values, style, limit).astype(np.float32)
    return np.clip(shrunk_or_enlarged(scaled, height, width), scaled.min(), scaled.max())


def _scaled(values: Map, style: str, limit: float | None) -> npt.NDArray[np.float64]:
    limit = limit_of(values, style) if limit is None else limit
    unit, largest = _unit(values, style)
    if limit == 0 or largest == 0:
        return np.zeros_like(unit)
    return np.clip(unit / (limit / largest), -1, 1)


def _unit(values: Map, style: str) -> tuple[npt.NDArray[np.float64], float]:
    """The map as its style combines the channels, divided by its largest |value|, and that value.

    Divided first, so nothing can overflow or underflow later. Only gray RGB keeps its channels.
    """
    largest = float(np.abs(values).max())
    values = values / largest if largest > 0 else np.zeros_like(values)
    if style == "heatmap":
        return (np.abs(values) if values.ndim == 2 else np.abs(values).max(axis=2)), largest
    if style == "signed":
        return (values if values.ndim == 2 else values.sum(axis=2)), largest
    return (values.mean(axis=2) if values.ndim == 3 and values.shape[2] not in (1, 3) else values), largest
