"""Divide without producing NaN, and compare with a rounding tolerance.

On real images, any method can run into 0 / 0 because of dead ReLUs, constant maps or all-zero
windows. tfviz defines the result as 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

_TOLERANCE = 0.02  # relative to the largest value; half-precision rounding errors are smaller


def safe_divide(numerator: Any, denominator: Any) -> Any:
    """Return numerator / denominator, or 0 where the denominator is 0."""
    return ops.divide_no_nan(numerator, denominator)


def unit_range(maps: Any) -> Any:
    """Scale each map in a batch to [0, 1] by its minimum and maximum. A constant map becomes 0."""
    axes = tuple(range(1, len(maps.shape)))
    low = ops.min(maps, axis=axes, keepdims=True)
    high = ops.max(maps, axis=axes, keepdims=True)
    return safe_divide(maps - low, high - low)


def is_near(actual: Any, expected: Any) -> bool:
    """Return whether two arrays have the same shape and agree within half-precision rounding."""
    actual, expected = (np.asarray(ops.cast(x, "float64")) for x in (actual, expected))
    largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    return actual.shape == expected.shape and np.allclose(actual, expected, rtol=0, atol=_TOLERANCE * largest, equal_nan=True)
