"""The order in which a map ranks the pixels of an image.

Ties are common: a map after a ReLU is 0 in large areas. They are broken by one random permutation,
the same for all images and methods. A map that ranks nothing takes the permutation itself, so it
scores exactly like the random control.
"""

from __future__ import annotations

import numpy as np

from tfviz.metrics.pixel_maps import PixelMap, Size


def tie_permutation(size: Size, seed: int) -> np.ndarray:
    """Return a random permutation of the pixels row · width + column: int (height · width,)."""
    return np.random.default_rng(seed).permutation(size[0] * size[1])


def descending(pixel_map: PixelMap, size: Size, permutation: np.ndarray) -> np.ndarray:
    """Rank the pixels of an image by a map, highest first.

    Args:
        pixel_map: the map.
        size: (height, width) of the image.
        permutation: breaks ties.

    Returns:
        Pixel indices row · width + column: int (height · width,).
    """
    if pixel_map.is_blank:
        return permutation
    values = pixel_map.resized(size).reshape(-1)[permutation]
    return permutation[np.argsort(-values, kind="stable")]
