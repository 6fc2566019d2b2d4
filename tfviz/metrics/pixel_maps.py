"""Convert attributions to pixel maps, which have one signed value per position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfviz.errors import OptionError, near_matches

Size = tuple[int, int]

REDUCTIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda a: a.sum(axis=-1),
    "abs_max": lambda a: np.abs(a).max(axis=-1),
}


@dataclass(frozen=True)
class PixelMap:
    """The map for one image.

    Attributes:
        values: a float32 array of shape (h, w), at the method's resolution.
        is_blank: whether all values are equal or any value is not finite.
    """

    values: np.ndarray
    is_blank: bool

    def resized(self, size: Size) -> np.ndarray:
        """Resize the map bilinearly with half-pixel centers and without antialiasing.

        Args:
            size: the new (height, width) in pixels.

        Returns:
            The resized values, as a float32 array of shape (height, width).
        """
        if self.values.shape == size:
            return self.values
        return tf.image.resize(self.values[None, :, :, None], size, "bilinear").numpy()[0, :, :, 0]


def pixel_map(values: npt.ArrayLike) -> PixelMap:
    """Create a PixelMap from an array of shape (h, w)."""
    array = np.asarray(values, np.float32)
    return PixelMap(array, not np.isfinite(array).all() or bool(array.min() == array.max()))


def pixel_maps(attributions: npt.ArrayLike, reduce: str = "sum") -> list[PixelMap]:
    """Convert a batch of attributions to one map per image.

    Args:
        attributions: an array of shape (N, h, w), or an array of shape (N, h, w, channels), which
            is reduced over the channels.
        reduce: "sum" adds the signed channels; "abs_max" uses the largest absolute value.

    Returns:
        The N maps.

    Raises:
        OptionError: the attributions are not maps, or there is no such reduction.
    """
    array = np.asarray(attributions, np.float32)
    if array.ndim not in (3, 4):
        raise OptionError(
            f"Metrics need maps of shape (N, h, w) or (N, h, w, channels). Received: shape {array.shape}. Explain a layer that "
            "outputs a feature map, such as a convolutional layer."
        )
    return [pixel_map(one) for one in (reduction(reduce)(array) if array.ndim == 4 else array)]


def reduction(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the channel reduction with this name.

    Raises:
        OptionError: there is no such reduction.
    """
    if name not in REDUCTIONS:
        raise OptionError(f"Unknown channel reduction: reduce={name!r}. {near_matches(str(name), REDUCTIONS)}")
    return REDUCTIONS[name]
