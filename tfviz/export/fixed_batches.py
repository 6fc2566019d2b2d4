"""Run batches of any size through a program with a fixed batch size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


def run_in_batches(run: Callable[[Arrays], Arrays], given: Arrays, batch_size: int) -> Arrays:
    """Run a program on all images, in batches of its fixed size.

    Args:
        run: the program, which maps arrays with `batch_size` rows to arrays with the same number of
            rows, all keyed by name.
        given: arrays keyed by name, with one row per image.
        batch_size: the number of images per run.

    Returns:
        The results for all images, keyed by name.
    """
    count = len(next(iter(given.values())))
    parts = []
    for first in range(0, count, batch_size):
        # The last batch is padded with copies of the last image.
        rows = np.minimum(np.arange(first, first + batch_size), count - 1)
        parts.append(run({name: array[rows] for name, array in given.items()}))
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
