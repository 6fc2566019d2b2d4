"""Measure how similar two maps are. If either map is blank, the similarity is 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfviz.metrics.oriented_gradients import hog
from tfviz.metrics.pixel_maps import pixel_map
from tfviz.metrics.rank_correlation import spearman
from tfviz.metrics.structural_similarity import ssim

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([spearman(x, y) for x, y in zip(a, b, strict=True)])


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute Pearson's correlation for each pair of rows.

    Args:
        a, b: arrays of shape (N, P).

    Returns:
        The correlations, with shape (N,) and values in [-1, 1]; 0 where a row is constant or empty.
    """
    if not a.shape[1]:
        return np.zeros(len(a))
    is_constant = (np.ptp(a, axis=1) == 0) | (np.ptp(b, axis=1) == 0)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    is_constant |= lengths == 0
    return np.where(is_constant, 0, np.sum(a * b, axis=1) / np.where(is_constant, 1, lengths))


def blank(maps: np.ndarray) -> np.ndarray:
    """Return a bool array that tells which of the N maps are blank (see `PixelMap`)."""
    return np.array([pixel_map(one).is_blank for one in maps], bool)


def _unit(maps: np.ndarray) -> np.ndarray:
    """Scale each map to [0, 1] by its minimum and maximum. A constant map becomes 0."""
    low, high = (f(maps, axis=(1, 2), keepdims=True).astype(np.float64) for f in (np.min, np.max))
    return (maps - low) / np.where(high > low, high - low, 1)


# Reports contain these names, so renaming any of them is a breaking change.
SIMILARITIES: dict[str, Similarity] = {
    "spearman": _spearman,
    "spearman_abs": lambda a, b: _spearman(abs(a), abs(b)),
    "ssim": lambda a, b: ssim(_unit(a), _unit(b)),
    "ssim_abs": lambda a, b: ssim(_unit(abs(a)), _unit(abs(b))),
    "hog": lambda a, b: pearson(hog(_unit(a)), hog(_unit(b))),
}


def similarity(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the similarity of each pair of maps.

    Args:
        name: a key of SIMILARITIES: "spearman" (signed maps), "spearman_abs" (magnitudes), "ssim",
            "ssim_abs" or "hog".
        a, b: two arrays of maps, both with shape (N, H, W).

    Returns:
        The similarities, with shape (N,). They are at most 1, and 0 where either map is blank.
    """
    is_empty = blank(a) | blank(b)
    shape = (-1, 1, 1)
    a, b = (np.where(is_empty.reshape(shape), 0, maps) for maps in (a, b))
    return np.where(is_empty, 0, SIMILARITIES[name](a, b))
