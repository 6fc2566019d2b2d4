"""Batches of any length through a program that takes so many images at once and no other number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


def run_in_batches(run: Callable[[Arrays], Arrays], given: Arrays, batch_size: int) -> Arrays:
    """The results by name for all images.

    Args:
        run: the program, from arrays of `batch_size` rows to arrays of `batch_size` rows.
        given: arrays by name, with a row for each image.
    """
    count = len(next(iter(given.values())))
    parts = []
    for first in range(0, count, batch_size):
        # At the end the last image stands in for those that are missing.
        rows = np.minimum(np.arange(first, first + batch_size), count - 1)
        parts.append(run({name: array[rows] for name, array in given.items()}))
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
