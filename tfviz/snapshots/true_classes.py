"""Determine the true class of each image from the user's labels or a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfviz.errors import LabelsError
from tfviz.models.labels import Labels
from tfviz.snapshots.class_labels import classes_of
from tfviz.snapshots.fixed_images import FixedImages


def true_classes(given: npt.ArrayLike | Sequence[str] | None, images: FixedImages, labels: Labels) -> list[int | None] | None:
    """Return the true class of each image, or None if the classes are unknown.

    Args:
        given: a class number, a class name or a one-hot row for each image. None means the
            dataset's labels.
        images: the images, with the dataset's labels.
        labels: the class names.

    Returns:
        The classes, with None for each negative class number.

    Raises:
        LabelsError: `given` does not contain exactly one class for each image.
    """
    if given is None:
        found = None if images.labels is None else classes_of(images.labels, labels)
        return None if found is None else found[: len(images)]
    rows = np.asarray(given)
    if rows.ndim == 0 or len(rows) not in (len(images), images.given):
        raise LabelsError(f"`truth` must have one class for each of the {len(images)} images. Received: shape {rows.shape}.")
    found = classes_of(images.select(rows) if len(rows) == images.given else rows, labels)
    if found is None:
        raise LabelsError(
            f"`truth` must be class numbers or names (N,), or one-hot rows (N, classes). Received: {rows.dtype} of shape "
            f"{rows.shape}."
        )
    return found
