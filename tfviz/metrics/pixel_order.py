"""Rank the pixels of an image by a map.

Ties are common, because many maps end in a ReLU and are 0 in large areas. One random permutation,
shared by all images and methods, breaks ties. A blank map ranks the pixels in the permutation's
order, so it scores exactly like the random control.
"""

from __future__ import annotations

import numpy as np

from tfviz.metrics.pixel_maps import PixelMap, Size


def tie_permutation(size: Size, seed: int) -> np.ndarray:
    """Return a random permutation of the pixel indices, with shape (height · width,)."""
    return np.random.default_rng(seed).permutation(size[0] * size[1])


def descending(pixel_map: PixelMap, size: Size, permutation: np.ndarray) -> np.ndarray:
    """Rank the pixels of an image by the values of a map, highest first.

    Args:
        pixel_map: the map.
        size: the image's (height, width).
        permutation: the pixel order that breaks ties.

    Returns:
        The pixel indices, row · width + column, as an int array of shape (height · width,).
    """
    if pixel_map.is_blank:
        return permutation
    values = pixel_map.resized(size).reshape(-1)[permutation]
    return permutation[np.argsort(-values, kind="stable")]
