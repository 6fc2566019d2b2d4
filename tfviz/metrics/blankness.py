"""Blank maps: those with a value that is not finite, or with all values equal."""

from __future__ import annotations

import numpy as np


def is_blank(maps: np.ndarray) -> np.ndarray:
    """Return which maps say nothing: (N,) bool for maps (N, ...)."""
    flat = np.asarray(maps).reshape(len(maps), -1)
    with np.errstate(invalid="ignore"):
        return ~np.isfinite(flat).all(axis=1) | (np.ptp(flat, axis=1) == 0)
