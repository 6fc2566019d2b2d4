"""Bilinear resizing, and scaling to [0, 1]."""

from __future__ import annotations

import numpy as np

from .cams import divided


def resized(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize (N, h, w) bilinearly, with half-pixel centers and clamped borders."""
    for axis, new in enumerate(size, start=1):
        old = maps.shape[axis]
        rows = []
        for i in range(new):
            source = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
            low = int(source)
            a, b = np.take(maps, low, axis), np.take(maps, min(low + 1, old - 1), axis)
            rows.append(a + (b - a) * (source - low))
        maps = np.stack(rows, axis)
    return maps


def min_max(maps: np.ndarray) -> np.ndarray:
    """Scale each map to [0, 1]; a constant map becomes 0."""
    axes = tuple(range(1, maps.ndim))
    low, high = maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
    return divided(maps - low, high - low)
