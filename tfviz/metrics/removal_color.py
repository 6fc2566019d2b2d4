"""Choose the color that replaces removed pixels."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from tfviz.errors import OptionError
from tfviz.images.preprocessing import named
from tfviz.images.reference_colors import mean_color
from tfviz.models.loading import is_preprocessing_known, preprocessing_of


def removal_color(model: keras.Model, images: object, channels: int, given: npt.ArrayLike | None) -> tuple[np.ndarray, str]:
    """Return the color that replaces removed pixels, in the model's value range.

    If the model's preprocessing is unknown, the color is inferred from the images' value range.

    Args:
        model: the model.
        images: all images; the color can be inferred only from an array of shape (N, H, W, C).
        channels: the number of channels, C.
        given: the color chosen by the user, as one number or one per channel; None for the mean
            color.

    Returns:
        The color, as a float32 array of shape (channels,), and a note, which is empty unless the
        color was inferred.

    Raises:
        OptionError: the number of channels is wrong, or the color cannot be inferred.
    """
    if given is not None:
        return _checked(given, channels), ""
    if is_preprocessing_known(model):
        return mean_color(preprocessing_of(model)), ""
    if not isinstance(images, np.ndarray) or channels not in (1, 3):
        raise OptionError(
            "The model's preprocessing is unknown and cannot be inferred from the images. Pass mean_color=, the value that "
            "replaces removed pixels (for example, 0 for images with mean 0)."
        )
    low, high = float(images.min()), float(images.max())
    color = np.zeros(channels, np.float32) if low < 0 else mean_color(named("unit" if high <= 1 else "none", None, channels))
    shown = ", ".join(f"{value:.3g}" for value in color)
    return color, (
        f"The model's preprocessing is unknown. Because the image values range from {low:.3g} to {high:.3g}, removed pixels "
        f"are set to ({shown}). Pass mean_color= to choose another color."
    )


def _checked(given: npt.ArrayLike, channels: int) -> np.ndarray:
    color = np.asarray(given, np.float32)
    if color.shape not in ((), (1,), (channels,)) or not np.isfinite(color).all():
        raise OptionError(f"`mean_color` must be one number, or one per channel ({channels}). Received: {given!r}.")
    return np.broadcast_to(color, (channels,))
