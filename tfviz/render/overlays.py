"""Draw maps in color over the images that they explain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
# Over a gray image, a color's weight is alpha**power. These are the powers for zero and for the
# strongest value. With them, zeros leave the image visible, and peaks match the color bar.
_POWERS = (1.4, 0.3)


@dataclass(frozen=True)
class Look:
    """Settings that control how maps are blended with images (see `overlay`).

    Attributes:
        alpha: the color strength.
        underlay: how to show the image under the map, "color" or "gray".
        cmap: a Matplotlib color map to use instead of the default.

    Raises:
        OptionError: a value is invalid.
    """

    alpha: float = 0.5
    underlay: str = "color"
    cmap: str | Colormap | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"`alpha` must be between 0 (image only) and 1 (colors only). Received: {self.alpha!r}.")
        if self.underlay not in UNDERLAYS:
            raise OptionError(f"Unknown underlay {self.underlay!r}. {near_matches(str(self.underlay), UNDERLAYS)}")
        ramp("heatmap", self.cmap)

    def powers(self, style: str) -> npt.NDArray[np.float32]:
        """Return the power p for each of a style's 256 colors. A color's weight is alpha**p."""
        if self.underlay == "color":
            return np.ones(256, np.float32)
        distances = np.linspace(0, 1, 256) if style == "heatmap" else np.abs(np.linspace(-1, 1, 256))
        low, high = _POWERS
        return (low + (high - low) * distances).astype(np.float32)

    def weights(self, style: str) -> npt.NDArray[np.float32]:
        """Return the weight of each of a style's 256 colors over an image, from 0 to 1."""
        return np.float32(self.alpha) ** self.powers(style)

    def below(self, picture: Picture) -> Picture:
        """Return the picture to draw under a map, in color or in gray."""
        if self.underlay == "color":
            return picture
        return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    def color_bar(self, style: str) -> npt.NDArray[np.uint8]:
        """Return a style's 256 colors, blended with mid gray if the images are drawn in gray."""
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
    """Draw each map in color over its image.

    Args:
        images: an array of shape (N, H, W, 3) or (N, H, W, 1), one image without the batch axis, or
            a list of images, which may differ in size. Images from `load_images` are drawn in their
            original colors. Other images are drawn unchanged if they are uint8, or floats in 0–1 or
            0–255. Images with negative values or values above 255 need `preprocessing`. Without it,
            their colors are unknown and a warning is issued.
        attribution: one raw map per image, as an array of shape (N, h, w) or (N, h, w, C). The maps
            may have any height and width.
        style: "heatmap" (|value|, the maximum over channels), "signed" (diverging colors around
            zero, the sum over channels) or "grey" (channels as RGB, zero is gray, drawn instead of
            the image). None selects "grey" for maps with channels, "signed" for maps with a
            negative value, and "heatmap" for all others.
        alpha: the color strength, from 0 (image only) to 1 (colors only). It does not apply to
            "grey".
        underlay: "color", or "gray" to show the image in gray, so that its colors don't mix with
            the map's colors. The colors are then stronger where the map is stronger.
        cmap: a Matplotlib color map to use instead of the default. It does not apply to "grey".
        preprocessing: the preprocessing that was applied to `images`: a Preprocessing, or "tf",
            "torch", "caffe", "unit" or "none". It is undone before drawing.

    Returns:
        uint8 RGB pictures of the same sizes as the images: an array of shape (N, H, W, 3), one of
        shape (H, W, 3) for a single image, or a list if `images` is a list.

    Raises:
        ImageError: the number of maps differs from the number of images; an image or map has the
            wrong shape or is not finite; or the images do not match the preprocessing.
        OptionError: the style, underlay, color map or preprocessing is unknown, or alpha is outside
            [0, 1].
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
    """Draw one map over one image. A map in the "grey" style replaces the image.

    Args:
        picture: the image, of shape (H, W, 3).
        values: the map.
        style: the map's style.
        look: how to blend the map with the image.
        limit: the value drawn in the strongest color. If None, the map is scaled separately.

    Returns:
        The picture, as a uint8 RGB array of shape (H, W, 3).
    """
    height, width = picture.shape[:2]
    if style == "grey":
        return gray_map(values, height, width, limit)
    indices = positions(values, style, height, width, limit)
    if look.underlay == "color":
        colors = ramp(style, look.cmap)[indices]
        return np.asarray(cv2.addWeighted(colors, look.alpha, picture, 1 - look.alpha, 0), np.uint8)
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return _over_gray(ramp(style, look.cmap).tobytes(), look.weights(style).tobytes()).take(
        indices.astype(np.uint16) << 8 | gray, axis=0
    )


@lru_cache(maxsize=8)
def _over_gray(colors: bytes, weights: bytes) -> npt.NDArray[np.uint8]:
    """Blend each of 256 colors with each of 256 grays, giving shape (256 * 256, 3).

    The arguments are bytes because arrays and color maps aren't hashable.
    """
    color = np.frombuffer(colors, np.uint8).reshape(256, 1, 3)
    weight = np.frombuffer(weights, np.float32).reshape(256, 1, 1)
    gray = np.arange(256, dtype=np.float32)[:, None]
    return np.rint(weight * color + (1 - weight) * gray).astype(np.uint8).reshape(-1, 3)
