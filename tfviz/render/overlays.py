"""Maps in color over the pictures that they explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap

from tfviz.errors import OptionError, near_matches
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.colors import gray_map, positions, ramp, style_of
from tfviz.render.pictures import Arrays, Map, Picture, is_single, maps_of, pictures_of

Underlay = Literal["color", "gray"]
UNDERLAYS = ("color", "gray")
# Over a gray picture, the strength of the colors is alpha to this power, from zero to the strongest value: zeros leave the
# picture clear, and peaks have the colors of the color bar.
_POWERS = (1.4, 0.3)


@dataclass(frozen=True)
class Look:
    """How colors meet the picture; see `overlay`. Raises OptionError for a value that is not possible."""

    alpha: float = 0.5
    underlay: str = "color"
    cmap: str | Colormap | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha: expected a strength from 0 (picture) to 1 (colors), got {self.alpha!r}.")
        if self.underlay not in UNDERLAYS:
            raise OptionError(f"underlay: no such underlay {self.underlay!r}. {near_matches(str(self.underlay), UNDERLAYS)}")
        ramp("heatmap", self.cmap)

    def weights(self, style: str) -> npt.NDArray[np.float32]:
        """How strong each of the 256 colors of a style is over a picture, from 0 to 1."""
        if self.underlay == "color":
            return np.full(256, self.alpha, np.float32)
        places = np.linspace(0, 1, 256) if style == "heatmap" else np.abs(np.linspace(-1, 1, 256))
        low, high = _POWERS
        return np.float32(self.alpha) ** (low + (high - low) * places).astype(np.float32)

    def color_bar(self, style: str) -> npt.NDArray[np.uint8]:
        """The 256 colors of a style as they look over mid gray, (256, 3); without blending for the style "grey"."""
        colors = ramp(style, self.cmap)
        if style == "grey" or self.underlay == "color":
            return colors
        weights = self.weights(style)[:, None]
        return np.rint(weights * colors + (1 - weights) * 128).astype(np.uint8)


def overlay(
    images: Arrays,
    attribution: Arrays,
    *,
    style: str | None = None,
    alpha: float = 0.5,
    underlay: Underlay = "color",
    cmap: str | Colormap | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> Any:
    """Draw each map in color over its picture.

    Args:
        images: (N, H, W, 3) or (N, H, W, 1) images, or one without N, or a list of images of different sizes. Images that
            `load_images` returned are drawn in their true colors. Otherwise uint8 and floats in 0–1 or 0–255 are drawn as
            they are. Negative values and values above 255 need `preprocessing`; without it the colors are unknown, which
            causes a warning.
        attribution: raw maps, one for each image and of any height and width: (N, h, w) or (N, h, w, C).
        style: "heatmap" (|value|; the largest of the channels), "signed" (diverging colors centered on
            zero; summed over channels), "grey" (RGB, zero is gray, drawn in place of the picture), or None to
            choose: "grey" for maps with channels, signed where a value is negative, else heatmap.
        alpha: strength of the colors, from 0 (picture alone) to 1 (colors alone). It does not apply to "grey".
        underlay: "color", or "gray" to draw over the picture in gray, so its own colors do not mix with those of the map.
            The colors are then stronger where the map is.
        cmap: a color map of Matplotlib in place of the default ones. It does not apply to "grey".
        preprocessing: how `images` were preprocessed: a Preprocessing, or "tf", "torch", "caffe", "unit" or "none". It is
            undone before drawing.

    Returns: uint8 RGB pictures of the size of `images`: (N, H, W, 3), or (H, W, 3), or a list, as `images` came.

    Raises:
        ImageError: shapes or counts that do not fit, NaN or infinity, or images that do not fit the preprocessing.
        OptionError: an unknown style, underlay, color map or preprocessing, or an alpha outside [0, 1].
    """
    look = Look(alpha, underlay, cmap)
    pictures = pictures_of(images, preprocessing)
    maps = maps_of(attribution, count=len(pictures), single=is_single(images))
    style = style_of(maps, style)
    drawn = [blended(picture, one, style, look) for picture, one in zip(pictures, maps, strict=True)]
    if is_single(images):
        return drawn[0]
    return drawn if isinstance(images, list | tuple) else np.stack(drawn)


def blended(picture: Picture, values: Map, style: str, look: Look, limit: float | None = None) -> Picture:
    """One map over one picture (H, W, 3); a map in gray takes the picture's place.

    limit: the value of the strongest color; None scales the map to itself.
    """
    height, width = picture.shape[:2]
    if style == "grey":
        return gray_map(values, height, width, limit)
    places = positions(values, style, height, width, limit)
    colors = ramp(style, look.cmap)[places]
    if look.underlay == "color":
        return np.asarray(cv2.addWeighted(colors, look.alpha, picture, 1 - look.alpha, 0), np.uint8)
    weights = look.weights(style)[places][..., None]
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    return np.rint(weights * colors + (1 - weights) * gray).astype(np.uint8)
