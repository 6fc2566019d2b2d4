"""Maps in color over the pictures that they explain."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from tfviz.errors import OptionError
from tfviz.render.colors import colored, style_of
from tfviz.render.pictures import Map, Picture, is_single, maps_of, pictures_of


def overlay(images: Any, attribution: Any, *, style: str | None = None, alpha: float = 0.5) -> Any:
    """Draw each map in color over its picture.

    Args:
        images: (N, H, W, 3) or (N, H, W, 1) pictures, or one without N, or a list of pictures of different sizes.
            The result of `load_images` is drawn in its true colors, whatever the preprocessing. Of other arrays, uint8
            and floats in [0, 1] are shown as they are, other floats are stretched to their own range. Negative values
            and values above 255 cause a warning: nothing tells their colors.
        attribution: raw maps, one for each picture and of any height and width: (N, h, w) or (N, h, w, C).
        style: "heatmap" (|value|; the largest of the channels), "signed" (diverging colors centered on
            zero; summed over channels), "grey" (RGB, zero is gray, drawn in place of the picture), or None to
            choose: gray for maps with channels, signed where a value is negative, else heatmap.
        alpha: strength of the colors, from 0 (picture alone) to 1 (colors alone). It does not apply to gray.

    Returns: uint8 RGB pictures of the size of `images`: (N, H, W, 3), or (H, W, 3), or a list, as `images` came.

    Raises:
        ImageError: shapes or counts that do not fit, NaN or infinity.
        OptionError: an unknown style, or an alpha outside [0, 1].
    """
    pictures = pictures_of(images)
    maps = maps_of(attribution, count=len(pictures), single=is_single(images))
    style = style_of(maps, style)
    drawn = [blended(picture, one, style, alpha) for picture, one in zip(pictures, maps, strict=True)]
    if is_single(images):
        return drawn[0]
    return drawn if isinstance(images, list | tuple) else np.stack(drawn)


def blended(picture: Picture, values: Map, style: str, alpha: float) -> Picture:
    """One map over one picture (H, W, 3): (1 − alpha) · picture + alpha · colors; gray takes the picture's place."""
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha: expected a strength from 0 (picture) to 1 (colors), got {alpha!r}.")
    colors = colored(values, style, *picture.shape[:2])
    if style == "grey":
        return colors
    return np.asarray(cv2.addWeighted(colors, alpha, picture, 1 - alpha, 0), np.uint8)
