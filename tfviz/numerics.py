"""Divisions that stay finite, and comparisons that allow for rounding.

0 / 0 comes up in every method on real images: a dead ReLU, a flat map, a window of zeros. Everywhere in tfviz it is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

_TOLERANCE = 0.02  # of the largest value; half precision rounds by less


def safe_divide(numerator: Any, denominator: Any) -> Any:
    """numerator / denominator, and 0 where the denominator is 0."""
    return ops.divide_no_nan(numerator, denominator)


def unit_range(maps: Any) -> Any:
    """Each map of (N, ...) brought to [0, 1] by its own smallest and largest value; a constant map gives 0."""
    axes = tuple(range(1, len(maps.shape)))
    low = ops.min(maps, axis=axes, keepdims=True)
    high = ops.max(maps, axis=axes, keepdims=True)
    return safe_divide(maps - low, high - low)


def is_near(got: Any, want: Any) -> bool:
    """Whether two arrays of one shape hold the same, within what types of half precision round off."""
    got, want = (np.asarray(ops.cast(x, "float64")) for x in (got, want))
    largest = np.max(np.abs(want), initial=0, where=np.isfinite(want))
    return got.shape == want.shape and np.allclose(got, want, rtol=0, atol=_TOLERANCE * largest, equal_nan=True)
