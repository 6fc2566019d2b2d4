"""Control maps, which do not depend on the network. A useful metric ranks them below the methods.

If a metric cannot distinguish a method from `random`, its score for that method is meaningless. The
controls `center` and `edges` show what scores center bias and object contours achieve on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from tfviz.metrics.pixel_maps import PixelMap, pixel_map

# image (H, W, C), permutation of its pixels -> map
ControlMap = Callable[[np.ndarray, np.ndarray], PixelMap]


def random(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """Return a map that ranks the pixels in the order of the tie-breaking permutation."""
    ranks = np.empty(len(permutation), np.float32)
    ranks[permutation] = np.arange(len(permutation), 0, -1)
    return pixel_map(ranks.reshape(image.shape[:2]))


def center(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """Return a centered isotropic Gaussian with a standard deviation of height / 4."""
    height, width = image.shape[:2]
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    return pixel_map(np.exp(-(y**2 + x**2) / (2 * (height / 4) ** 2)))


def edges(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """Return the magnitude of the Sobel gradient of the channel-averaged image."""
    gray = np.asarray(image, np.float32).mean(axis=-1)
    return pixel_map(np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)))


def constant(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """Return a constant map, which counts as blank."""
    return pixel_map(np.ones(image.shape[:2]))


RANDOM = "random"
CONTROLS: Mapping[str, ControlMap] = {RANDOM: random, "center": center, "edges": edges, "constant": constant}
