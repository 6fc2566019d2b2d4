"""Compute a map's histogram entropy, which eMPRT uses to measure complexity.

Reference: Hedström et al., 2023.

A map m has the entropy −Σ p ln p, where p is the fraction of the values m / √mean(m²) in each of
100 equal bins between the smallest and the largest value.
"""

from __future__ import annotations

import numpy as np

from tfviz.metrics.pixel_maps import pixel_map

BINS = 100


def histogram_entropy(maps: np.ndarray) -> np.ndarray:
    """Compute each map's histogram entropy.

    Args:
        maps: (N, H, W) maps.

    Returns:
        (N,) entropies in [0, ln 100]; 0 for a blank map.
    """
    return np.array([0.0 if pixel_map(one).is_blank else _entropy(one) for one in maps])


def _entropy(values: np.ndarray) -> float:
    values = values.astype(np.float64)
    counts, _ = np.histogram(values / np.sqrt(np.mean(values**2)), BINS)
    shares = counts[counts > 0] / values.size
    return float(-np.sum(shares * np.log(shares)))
