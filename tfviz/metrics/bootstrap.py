"""Confidence intervals of means, by resampling."""

from __future__ import annotations

import numpy as np

DRAWS, LEVEL = 2000, 0.95


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean.

    Args:
        values: (N,) one value per image.
        seed: the seed of the draws.

    Returns:
        (low, high); both NaN for fewer than two values.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
