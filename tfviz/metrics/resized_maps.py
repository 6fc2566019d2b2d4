"""From raw attributions to one map per image, at the size of the image."""

from __future__ import annotations

import cv2
import numpy as np


def resized_maps(attribution: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sum attributions over channels and resize them bilinearly, with half-pixel centers.

    Args:
        attribution: (N, h, w, C) or (N, h, w).
        size: (height, width) of the images.

    Returns:
        (N, height, width) maps, float32.
    """
    maps = np.asarray(attribution, np.float32)
    if maps.ndim == 4:
        maps = maps.sum(axis=-1)
    if maps.shape[1:] == tuple(size):
        return maps
    return np.stack([cv2.resize(one, tuple(size)[::-1], interpolation=cv2.INTER_LINEAR) for one in maps])
