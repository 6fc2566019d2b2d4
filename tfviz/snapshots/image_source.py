"""Read images and their labels from arrays and datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import ImageError
from tfviz.snapshots.datasets import detached_copy

EXPECTED = "an array (N, height, width, channels), a tf.data.Dataset or a keras.utils.PyDataset"


def is_dataset(images: Any) -> bool:
    """Return whether the images are in a dataset rather than in arrays."""
    return isinstance(images, (tf.data.Dataset, keras.utils.PyDataset))


def count_of(images: Any) -> int | None:
    """Return the number of images in an array, or None for datasets."""
    if is_dataset(images):
        return None
    first = tree.flatten(as_arrays(images))[0]
    return len(first) if first.ndim else 0


def rows_of(images: Any, numbers: np.ndarray) -> Any:
    """Return the images at these indices, with the same nesting."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        return [images[number] for number in numbers]
    return tree.map_structure(lambda array: (array if isinstance(array, np.ndarray) else np.asarray(array))[numbers], images)


def batches_of(images: Any, rank: int) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Yield each batch of images with its labels, or with None if it has no labels."""
    if isinstance(images, tf.data.Dataset):
        for element in detached_copy(images).as_numpy_iterator():
            yield _as_batch(_images_of(element), _labels_of(element), rank)
    elif isinstance(images, keras.utils.PyDataset):
        number = 0
        while images.num_batches is None or number < images.num_batches:
            element = images[number]
            yield as_arrays(_images_of(element)), _labels_of(element)
            number += 1
    else:
        yield as_arrays(images), None


def _labels_of(element: Any) -> np.ndarray | None:
    is_pair = isinstance(element, (tuple, list)) and len(element) > 1
    return np.asarray(element[1]) if is_pair and not isinstance(element[1], (dict, list, tuple)) else None


def _images_of(element: Any) -> Any:
    return element[0] if isinstance(element, (tuple, list)) else element


def _as_batch(element: Any, label: np.ndarray | None, rank: int) -> tuple[Any, np.ndarray | None]:
    """Convert a dataset element to arrays, making a single image a batch of one."""
    element = as_arrays(element)
    if max(array.ndim for array in tree.flatten(element)) != rank - 1:
        return element, label
    return tree.map_structure(lambda array: array[None], element), None if label is None else label[None]


def as_arrays(images: Any) -> Any:
    """Convert images to NumPy arrays with the same nesting. A list of images becomes one array."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        if len({np.shape(image) for image in images}) > 1:
            raise ImageError(
                "All images in a list must have the same size. Received: images of several sizes. Resize them first."
            )
        images = np.asarray(images)
    is_array = [hasattr(array, "shape") and hasattr(array, "dtype") for array in tree.flatten(images)]
    if not is_array or not all(is_array):
        raise ImageError(f"Expected images as {EXPECTED}. Received: {type(images).__name__} {str(images)[:60]!r}.")
    # np.asarray would drop the pictures that load_images attaches through a subclass.
    return tree.map_structure(np.asanyarray, images)


def first_rows(batches: Iterator[tuple[Any, np.ndarray | None]], most: int, rank: int | None) -> tuple[Any, np.ndarray | None]:
    """Return the first `most` images and, if every batch has labels, the labels of these images."""
    kept: list[Any] = []
    labels: list[np.ndarray | None] = []
    count = 0
    for batch, beside in batches:
        _require_images(batch, rank)
        sizes = {len(array) if array.ndim else 0 for array in tree.flatten(batch)}
        if len(sizes) > 1:
            raise ImageError(f"All model inputs must have the same number of images. Received: {sorted(sizes)}.")
        kept.append(tree.map_structure(lambda array: array[: most - count], batch))  # noqa: B023
        size = sizes.pop()
        labels.append(beside[: most - count] if beside is not None and beside.shape[:1] == (size,) else None)
        count += size
        if count >= most:
            break
    if count == 0:
        raise ImageError(f"Expected at least one image, as {EXPECTED}. Received: none.")
    try:
        together = tree.map_structure(lambda *parts: np.concatenate(parts), *kept)
    except ValueError as error:
        raise ImageError(f"All images must have the model's input size ({error}). Resize them first.") from error
    return together, None if any(one is None for one in labels) else np.concatenate(labels)  # type: ignore[arg-type]


def _require_images(batch: Any, rank: int | None) -> None:
    shapes = [array.shape for array in tree.flatten(batch)]
    if all(len(shape) not in ((4, 5) if rank is None else (rank,)) for shape in shapes):
        is_single = len(shapes) == 1 and len(shapes[0]) == 3
        hint = ' For a single image, pass image[None]; for signals (N, T, C), pass kind="signal".' if is_single else ""
        raise ImageError(f"Expected images as {EXPECTED}. Received: shapes {', '.join(map(str, shapes))}.{hint}")
