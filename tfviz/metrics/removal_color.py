"""The color that replaces a removed pixel."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from tfviz.errors import OptionError
from tfviz.images.preprocessing import named
from tfviz.images.reference_colors import mean_color
from tfviz.models.loading import is_preprocessing_known, preprocessing_of


def removal_color(model: keras.Model, images: object, channels: int, given: npt.ArrayLike | None) -> tuple[np.ndarray, str]:
    """Return the mean color as the model takes it.

    If the preprocessing of the model is not known, the range of the images tells which it is.

    Args:
        model: the model.
        images: all images, (N, H, W, C), if they are an array.
        channels: the number of channels, C.
        given: the color that the user passed: a number, or one per channel; None for the mean
            color.

    Returns:
        float32 (channels,), and a note; "" if the color is certain.

    Raises:
        OptionError: the color has another number of channels, or nothing tells what it is.
    """
    if given is not None:
        return _checked(given, channels), ""
    if is_preprocessing_known(model):
        return mean_color(preprocessing_of(model)), ""
    if not isinstance(images, np.ndarray) or channels not in (1, 3):
        raise OptionError(
            "No preprocessing is known for the model, and it cannot be told from the images. Pass mean_color=, the value that "
            "replaces a removed pixel, such as 0 for images with mean 0."
        )
    low, high = float(images.min()), float(images.max())
    color = np.zeros(channels, np.float32) if low < 0 else mean_color(named("unit" if high <= 1 else "none", None, channels))
    shown = ", ".join(f"{value:.3g}" for value in color)
    return color, (
        f"No preprocessing is known for the model. From the range of the images, {low:.3g} to {high:.3g}, removed pixels are "
        f"set to ({shown}). Pass mean_color= to choose."
    )


def _checked(given: npt.ArrayLike, channels: int) -> np.ndarray:
    color = np.asarray(given, np.float32)
    if color.shape not in ((), (1,), (channels,)) or not np.isfinite(color).all():
        raise OptionError(f"`mean_color` must be a number, or one per channel ({channels}). Received: {given!r}.")
    return np.broadcast_to(color, (channels,))
