"""Compute histograms of oriented gradients for maps (HOG; Dalal and Triggs, 2005).

The gradients are central differences (0 at the borders). Each gradient votes with its magnitude for
one of 9 bins of 20° in [0°, 180°). Each cell averages the votes from 16×16 pixels. A block of 3×3
cells slides over the map. (Along an axis with fewer than 3 cells, the block contains all of them.)
The vector v of each block is normalized with L2-Hys: it is divided by √(‖v‖² + 1e-10), clipped at
.2, and normalized again. The concatenated blocks form the map's vector.
"""

from __future__ import annotations

import numpy as np

CELL, BINS, BLOCK = 16, 9, 3  # pixels, orientations, cells
_EPSILON, _CUT = 1e-10, 0.2


def hog(maps: np.ndarray) -> np.ndarray:
    """Compute the HOG vector of each map.

    Args:
        maps: (N, H, W) maps in [0, 1].

    Returns:
        The vectors, with shape (N, P). P is 0 if the maps are smaller than a cell.
    """
    cells = hog_cells(maps)
    count, rows, columns, _ = cells.shape
    if not rows or not columns:
        return np.zeros((count, 0))
    size = (min(BLOCK, rows), min(BLOCK, columns))
    blocks = np.lib.stride_tricks.sliding_window_view(cells, size, axis=(1, 2))
    blocks = np.moveaxis(blocks, 3, -1).reshape(*blocks.shape[:3], -1)
    return _normalized(np.minimum(_normalized(blocks), _CUT)).reshape(count, -1)


def hog_cells(maps: np.ndarray) -> np.ndarray:
    """Compute the mean votes in each cell. Incomplete cells at the bottom and right are dropped.

    Args:
        maps: (N, H, W) maps in [0, 1].

    Returns:
        The mean votes, with shape (N, ⌊H/16⌋, ⌊W/16⌋, 9).
    """
    maps = np.asarray(maps, np.float64)
    down, right = np.zeros_like(maps), np.zeros_like(maps)
    down[:, 1:-1] = maps[:, 2:] - maps[:, :-2]
    right[:, :, 1:-1] = maps[:, :, 2:] - maps[:, :, :-2]
    degrees = np.rad2deg(np.arctan2(down, right)) % 180
    bins = np.minimum(degrees // (180 / BINS), BINS - 1)  # rounding can produce 180
    magnitude = np.hypot(down, right)
    return np.stack([_cell_means(np.where(bins == one, magnitude, 0)) for one in range(BINS)], axis=-1)


def _cell_means(x: np.ndarray) -> np.ndarray:
    count, height, width = x.shape
    rows, columns = height // CELL, width // CELL
    cells = x[:, : rows * CELL, : columns * CELL].reshape(count, rows, CELL, columns, CELL)
    return cells.mean(axis=(2, 4))


def _normalized(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.sqrt(np.sum(blocks**2, axis=-1, keepdims=True) + _EPSILON)
