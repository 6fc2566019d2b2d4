"""Convert labels to class numbers."""

from __future__ import annotations

import numpy as np

from tfviz.models.labels import Labels
from tfviz.target_words import class_named


def classes_of(rows: np.ndarray, labels: Labels) -> list[int | None] | None:
    """Return the class of each row, with None for negative numbers.

    Args:
        rows: class numbers or names of shape (N,), or one-hot rows of shape (N, classes).
        labels: the class names.

    Returns:
        The classes, or None if a row does not contain exactly one class.
    """
    rows = rows[:, 0] if rows.ndim == 2 and rows.shape[1] == 1 else rows
    if rows.dtype.kind in "US":
        return [class_named(str(word), lambda: labels, len(labels) or None) for word in rows]
    if rows.dtype.kind not in "biuf" or not np.isin(rows, rows.astype(np.int64)).all():
        return None
    if rows.ndim == 2:
        is_one_hot = np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all()
        return [int(one) for one in rows.argmax(axis=1)] if is_one_hot else None
    is_number = rows.ndim == 1 and (rows.dtype.kind != "f" or np.isin(rows, (0, 1)).all())
    return [int(one) if one >= 0 else None for one in rows] if is_number else None
