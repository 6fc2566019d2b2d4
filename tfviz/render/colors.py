"""Map values to colors in three styles, each with a different scale and color map.

    "heatmap"   |value|, 0 … limit       sequential color map, blended with the image
    "signed"    −limit … 0 … limit       diverging color map, blended with the image
    "grey"      −limit … 0 … limit       zero is mid gray, channels are RGB, not blended

By default, each map is scaled separately. Its limit is a high percentile of |value|, so that a few
extreme pixels do not make the rest look flat. For a heatmap or signed map with at most 200 values,
such as a CAM, the limit is the largest |value|. An all-zero map is drawn in the color for zero.

Guided backprop and deconvnet are drawn in gray, as in Springenberg et al. (2015) and Zeiler &
Fergus (2014).
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
    "heatmap": "zero to the strongest value of each map",
    "signed": "negative to positive, dark is zero",
    "grey": "negative to positive, gray is zero",
}
# Percentiles of the nonzero absolute values.
PERCENTILES = {"heatmap": 99.5, "signed": 99.5, "grey": 99.0}
METHOD_STYLES = {
    **dict.fromkeys(("saliency", "gradient_times_input", "integrated_gradients", "expected_gradients"), "signed"),
    **dict.fromkeys(("smooth_grad", "occlusion", "eigen_grad_cam"), "signed"),
    **dict.fromkeys(("guided_backprop", "deconvnet", "guided_grad_cam"), "grey"),
}
_LARGEST = float(np.finfo(np.float64).max)


def style_of(maps: Sequence[Map], style: str | None = None) -> str:
    """Return the style for a method's maps.

    Args:
        maps: the maps.
        style: the style to use. None selects "grey" for maps with channels, "signed" for maps with
            a negative value, and "heatmap" for all others.

    Returns:
        The name of the style.

    Raises:
        OptionError: the style is unknown.
    """
    if style is not None:
        if style not in STYLES:
            raise OptionError(f"Unknown style {style!r}. {near_matches(str(style), STYLES)}")
        return style
    if maps[0].ndim == 3:
        return "grey"
    return "signed" if any(one.min() < 0 for one in maps) else "heatmap"


def limit_of(values: Map, style: str) -> float:
    """Return the limit of the color scale for one map, or 0 if the map is all zeros."""
    unit, largest = _unit(values, style)
    sizes = np.abs(unit[unit != 0])
    if not sizes.size:
        return 0.0
    return min(float(np.percentile(sizes, PERCENTILES[style], method="higher")) * largest, _LARGEST)


def gray_map(values: Map, height: int, width: int, limit: float | None = None) -> Picture:
    """Draw a map in the "grey" style, giving a uint8 RGB picture of the requested size."""
    gray = np.rint(128 + 127 * _resized(values, "grey", height, width, limit)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.atleast_3d(gray), (height, width, 3)))


def positions(values: Map, style: str, height: int, width: int, limit: float | None = None) -> npt.NDArray[np.uint8]:
    """Return each pixel's position on the color bar, from 0 to 255.

    The style must be "heatmap" or "signed".
    """
    resized = _resized(values, style, height, width, limit)
    return np.rint((resized if style == "heatmap" else (resized + 1) / 2) * 255).astype(np.uint8)


def ramp(style: str, cmap: str | Colormap | None = None) -> npt.NDArray[np.uint8]:
    """Return a style's 256 colors, from low to high.

    Args:
        style: the name of the style.
        cmap: a Matplotlib color map to use instead of the default. It does not apply to "grey".

    Returns:
        The RGB colors, as a uint8 array of shape (256, 3).

    Raises:
        OptionError: Matplotlib has no color map with this name.
    """
    if style == "grey":
        return np.repeat(np.arange(256)[:, None], 3, axis=1).astype(np.uint8)
    name = COLOR_MAPS[style] if cmap is None else cmap
    if isinstance(name, Colormap):
        return _ramp(name)
    if name not in colormaps:
        raise OptionError(f"Unknown Matplotlib color map {name!r}. {near_matches(str(name), colormaps)}")
    return _ramp(colormaps[name])


def _ramp(colormap: Colormap) -> npt.NDArray[np.uint8]:
    return colormap(np.linspace(0, 1, 256), bytes=True)[:, :3]


def _resized(values: Map, style: str, height: int, width: int, limit: float | None) -> npt.NDArray[np.float32]:
    """Scale a map to [0, 1] (heatmaps) or [-1, 1] (other styles), and resize it.

    The resized map is clipped to the range of the scaled map, because cubic interpolation could
    otherwise produce negative values in a positive map.
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
    """Divide a map by its largest |value| and combine its channels. Return the map and that value.

    Dividing first prevents overflow and underflow in later steps. Only the "grey" style keeps three
    channels separate.
    """
    largest = float(np.abs(values).max())
    values = values / largest if largest > 0 else np.zeros_like(values)
    if style == "heatmap":
        return (np.abs(values) if values.ndim == 2 else np.abs(values).max(axis=2)), largest
    if style == "signed":
        return (values if values.ndim == 2 else values.sum(axis=2)), largest
    return (values.mean(axis=2) if values.ndim == 3 and values.shape[2] not in (1, 3) else values), largest
