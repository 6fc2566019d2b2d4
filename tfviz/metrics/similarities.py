"""How similar two maps are, by five measures; a pair with a blank map has the similarity 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfviz.metrics.blankness import is_blank
from tfviz.metrics.correlation import pearson, spearman
from tfviz.metrics.oriented_gradients import hog
from tfviz.metrics.structural_similarity import ssim

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _rows(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(len(maps), -1)


def _unit(maps: np.ndarray) -> np.ndarray:
    """Scale each map to [0, 1] by its minimum and maximum; a constant map becomes 0."""
    low, high = (f(maps, axis=(1, 2), keepdims=True).astype(np.float64) for f in (np.min, np.max))
    return (maps - low) / np.where(high > low, high - low, 1)


# The names are part of reports, so renaming one is a breaking change.
SIMILARITIES: dict[str, Similarity] = {
    "spearman": lambda a, b: spearman(_rows(a), _rows(b)),
    "spearman_abs": lambda a, b: spearman(_rows(abs(a)), _rows(abs(b))),
    "ssim": lambda a, b: ssim(_unit(a), _unit(b)),
    "ssim_abs": lambda a, b: ssim(_unit(abs(a)), _unit(abs(b))),
    "hog": lambda a, b: pearson(hog(_unit(a)), hog(_unit(b))),
}


def similarity(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare each map with its partner.

    Args:
        name: a key of SIMILARITIES: "spearman" (signed maps), "spearman_abs" (magnitudes), "ssim",
            "ssim_abs" or "hog".
        a, b: (N, H, W) maps of the same size.

    Returns:
        (N,) similarities, at most 1; 0 where either map is blank.
    """
    is_empty = is_blank(a) | is_blank(b)
    shape = (-1, 1, 1)
    a, b = (np.where(is_empty.reshape(shape), 0, maps) for maps in (a, b))
    return np.where(is_empty, 0, SIMILARITIES[name](a, b))
