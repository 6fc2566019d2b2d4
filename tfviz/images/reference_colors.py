"""Compute the colors that replace removed pixels: the mean color, black and white.

The mean color is the average color of the training images. If the preprocessing subtracts a mean,
the mean color is 0. Otherwise, it is the ImageNet mean.
"""

from __future__ import annotations

import numpy as np

from tfviz.images.preprocessing import Preprocessing

_IMAGENET_RGB = (124, 116, 104)
_GRAY_FROM_RGB = (0.299, 0.587, 0.114)  # luminance (ITU-R BT.601), as for image files


def mean_color(preprocessing: Preprocessing) -> np.ndarray:
    """Return the mean color in the network's value range.

    Args:
        preprocessing: the network's preprocessing.

    Returns:
        A float32 array of shape (channels,), in channel order. The color is 0 if the preprocessing
        subtracts a mean, and the preprocessed RGB color (124, 116, 104) otherwise.
    """
    if preprocessing.mean is not None:
        return np.zeros(preprocessing.channels, np.float32)
    return _preprocessed(np.array(_IMAGENET_RGB), preprocessing)


def black(preprocessing: Preprocessing) -> np.ndarray:
    """Return black (pixel value 0) in the network's value range.

    Args:
        preprocessing: the network's preprocessing.

    Returns:
        A float32 array of shape (channels,), in channel order.
    """
    return _preprocessed(np.zeros(3), preprocessing)


def white(preprocessing: Preprocessing) -> np.ndarray:
    """Return white (pixel value 255) in the network's value range.

    Args:
        preprocessing: the network's preprocessing.

    Returns:
        A float32 array of shape (channels,), in channel order.
    """
    return _preprocessed(np.full(3, 255), preprocessing)


def _preprocessed(rgb: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    if preprocessing.channel_order == "gray":
        color = (rgb @ np.array(_GRAY_FROM_RGB))[None]
    else:
        color = rgb[::-1] if preprocessing.channel_order == "BGR" else rgb
    return np.asarray(preprocessing.numbers(color.astype(np.float32)), np.float32)
