"""The true class of each image, from the user or from a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfviz.errors import LabelsError
from tfviz.models.labels import Labels
from tfviz.snapshots.fixed_images import FixedImages
from tfviz.target_words import class_named


def true_classes(given: npt.ArrayLike | Sequence[str] | None, images: FixedImages, labels: Labels) -> list[int | None] | None:
    """Return the true class of each image, or None if it is unknown.

    Args:
        given: for each image, a number, a name or a one-hot row. None means the dataset's labels.
        images: the images, with the dataset's labels.
        labels: the names of the classes.

    Returns:
        The classes, with None for each negative number in `given`.

    Raises:
        LabelsError: `given` does not contain exactly one class for each image.
    """
    if given is None:
        found = None if images.labels is None else _classes(images.labels, labels)
        return None if found is None else found[: len(images)]
    rows = np.asarray(given)
    if rows.ndim == 0 or len(rows) not in (len(images), images.given):
        raise LabelsError(f"`truth` must have one class for each of the {len(images)} images. Received: shape {rows.shape}.")
    found = _classes(images.select(rows) if len(rows) == images.given else rows, labels)
    if found is None:
        raise LabelsError(
            f"`truth` must be class numbers or names (N,), or one-hot rows (N, classes). Received: {rows.dtype} {rows.shape}."
        )
    return found


def _classes(rows: np.ndarray, labels: Labels) -> list[int | None] | None:
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
