"""Spearman's rank correlation, with average ranks for ties."""

from __future__ import annotations

import numpy as np


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Compute Spearman's ρ for two arrays.

    Args:
        a, b: arrays with the same number of entries.

    Returns:
        ρ, from −1 to 1. It is 0 if either array is constant or contains a non-finite value.
    """
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    x, y = average_ranks(a), average_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else 0.0


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of the values, counted from 0 and averaged over ties, as a float64 array."""
    _, inverse, counts = np.unique(np.asarray(values).reshape(-1), return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return (first + (counts - 1) / 2)[inverse.reshape(-1)]
