"""Divide an image into a grid of cells."""

from __future__ import annotations

import numpy as np

from tfviz.metrics.pixel_maps import Size


def cells(size: Size, count: int) -> np.ndarray:
    """Assign each pixel to a cell in a count × count grid, with cells numbered in raster order.

    The cell edges are at ⌊i · height / count⌋ and ⌊j · width / count⌋.

    Args:
        size: the image's (height, width) in pixels.
        count: the number of cells along each axis.

    Returns:
        An int array of shape (height, width) with each pixel's cell number, from 0 to count² − 1.
    """
    rows, columns = (_parts(length, count) for length in size)
    return rows[:, None] * count + columns


def _parts(length: int, count: int) -> np.ndarray:
    edges = np.arange(1, count) * length // count
    return np.searchsorted(edges, np.arange(length), side="right")


def sums(values: np.ndarray, cell_of: np.ndarray, count: int) -> np.ndarray:
    """Sum a map over each cell.

    The map has shape (height, width). The result is a float64 array of shape (count²,).
    """
    return np.bincount(cell_of.reshape(-1), weights=values.reshape(-1).astype(np.float64), minlength=count**2)
