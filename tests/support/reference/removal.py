"""Occlusion and RISE: parts of the image replaced by one color."""

from __future__ import annotations

import numpy as np

from .cams import divided
from .network import Network
from .resizing import resized
from .scores import probability, score


def occlusion(
    net: Network,
    images: np.ndarray,
    weights: np.ndarray,
    window: int | None = None,
    stride: int | None = None,
    value: float | np.ndarray = 0.0,
) -> np.ndarray:
    """The mean, over the windows that cover a pixel, of S(x) − S(x with the window covered)."""
    height, width = images.shape[1:3]
    window = window or -(-height // 7)
    stride = stride or -(-window // 2)
    sums, counts = np.zeros(images.shape[:3]), np.zeros((height, width))
    for top in corners(height, window, stride):
        for left in corners(width, window, stride):
            covered = images.astype(np.float64).copy()
            covered[:, top : top + window, left : left + window] = value
            drop = score(net, images, weights) - score(net, covered, weights)
            sums[:, top : top + window, left : left + window] += drop[:, None, None]
            counts[top : top + window, left : left + window] += 1
    return divided(sums, counts[None])


def corners(length: int, window: int, stride: int) -> list[int]:
    """0, s, 2s, … until a window reaches the border."""
    found = [0]
    while found[-1] + window < length:
        found.append(found[-1] + stride)
    return found


def rise(
    net: Network,
    images: np.ndarray,
    weights: np.ndarray,
    masks: np.ndarray,
    kept: float = 0.5,
    value: float | np.ndarray = 0.0,
) -> np.ndarray:
    """The mean of p(x ⊙ M + μ (1 − M)) M, divided by the probability of a cell to be kept."""
    total = np.zeros(images.shape[:3])
    for mask in masks.astype(np.float64)[..., None]:
        p = probability(net, images * mask + np.asarray(value) * (1 - mask), weights)
        total += p[:, None, None] * mask[..., 0]
    return total / (len(masks) * kept)


def rise_masks(seed: int, samples: int, cells: int, kept: float, size: tuple[int, ...]) -> np.ndarray:
    """Random grids, enlarged to one more cell than the image has, and cropped at random."""
    random = np.random.Generator(np.random.Philox(seed))
    grids = random.random((samples, *[cells] * len(size))) < kept
    shifts = random.random((samples, len(size)))
    sides = [-(-n // cells) for n in size]
    masks = []
    for grid, shift in zip(grids, shifts, strict=True):
        large = resized(grid[None].astype(np.float64), tuple((cells + 1) * side for side in sides))[0]
        starts = [int(one * side) for one, side in zip(shift, sides, strict=True)]
        masks.append(large[tuple(slice(start, start + n) for start, n in zip(starts, size, strict=True))])
    return np.stack(masks)
