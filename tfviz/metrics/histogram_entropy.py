"""Compute the histogram entropy of a map, which eMPRT uses to measure complexity.

Reference: Hedström et al., 2023.

The entropy of a map m is −Σ p ln p, where p is the fraction of the values m / √mean(m²) in each of
100 equal-width bins between the smallest and the largest value.
"""

from __future__ import annotations

import numpy as np

from tfviz.metrics.pixel_maps import pixel_map

BINS = 100


def histogram_entropy(maps: np.ndarray) -> np.ndarray:
    """Compute the histogram entropy of each map.

    Args:
        maps: maps of shape (N, H, W).

    Returns:
        The entropies, with shape (N,) and values in [0, ln 100]. A blank map has entropy 0.
    """
    return np.array([0.0 if pixel_map(one).is_blank else _entropy(one) for one in maps])


def _entropy(values: np.ndarray) -> float:
    values = values.astype(np.float64)
    counts, _ = np.histogram(values / np.sqrt(np.mean(values**2)), BINS)
    shares = counts[counts > 0] / values.size
    return float(-np.sum(shares * np.log(shares)))
