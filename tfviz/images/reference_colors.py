"""Colors that stand for "nothing here" in a network's input: the mean color and black.

A pixel is removed by setting it to the mean color, the input value of the average training image.
Preprocessing that subtracts a mean has that color at 0. For all others it is the mean of ImageNet.
"""

from __future__ import annotations

import numpy as np

from tfviz.images.preprocessing import Preprocessing

_IMAGENET_RGB = (124, 116, 104)
_GRAY_FROM_RGB = (0.299, 0.587, 0.114)  # luminance, ITU-R BT.601, as image files are converted


def mean_color(preprocessing: Preprocessing) -> np.ndarray:
    """Return the mean color as the network takes it.

    Args:
        preprocessing: how the network takes its images.

    Returns:
        float32 (channels,), in channel order: 0 if the preprocessing subtracts a mean, otherwise
        the preprocessed RGB (124, 116, 104).
    """
    if preprocessing.mean is not None:
        return np.zeros(preprocessing.channels, np.float32)
    return _preprocessed(np.array(_IMAGENET_RGB), preprocessing)


def black(preprocessing: Preprocessing) -> np.ndarray:
    """Return black, pixel value 0, as the network takes it.

    Args:
        preprocessing: how the network takes its images.

    Returns:
        float32 (channels,), in channel order.
    """
    return _preprocessed(np.zeros(3), preprocessing)


def _preprocessed(rgb: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    if preprocessing.channel_order == "gray":
        color = (rgb @ np.array(_GRAY_FROM_RGB))[None]
    else:
        color = rgb[::-1] if preprocessing.channel_order == "BGR" else rgb
    return np.asarray(preprocessing.numbers(color.astype(np.float32)), np.float32)
