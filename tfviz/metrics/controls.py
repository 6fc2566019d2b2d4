"""Control maps, which know nothing about the network. A useful metric scores them worse.

A metric that cannot tell a method from `random` says nothing about that method. `center` and
`edges` show how far the habits of photographers and the contours of objects alone go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from tfviz.metrics.pixel_maps import PixelMap, pixel_map

# image (H, W, C), permutation of its pixels -> map
ControlMap = Callable[[np.ndarray, np.ndarray], PixelMap]


def random(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """Rank the pixels by the permutation that breaks ties."""
    ranks = np.empty(len(permutation), np.float32)
    ranks[permutation] = np.arange(len(permutation), 0, -1)
    return pixel_map(ranks.reshape(image.shape[:2]))


def center(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """An isotropic Gaussian at the center, with a standard deviation of height / 4."""
    height, width = image.shape[:2]
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    return pixel_map(np.exp(-(y**2 + x**2) / (2 * (height / 4) ** 2)))


def edges(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """The magnitude of the Sobel gradient of the mean over channels."""
    gray = np.asarray(image, np.float32).mean(axis=-1)
    return pixel_map(np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)))


def constant(image: np.ndarray, permutation: np.ndarray) -> PixelMap:
    """A blank map."""
    return pixel_map(np.ones(image.shape[:2]))


RANDOM = "random"
CONTROLS: Mapping[str, ControlMap] = {RANDOM: random, "center": center, "edges": edges, "constant": constant}
