"""Running an explainer over arrays and datasets, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfviz.errors import ImageError, OptionError, TargetError


def explain(explainer: Any, images: Any, target: Any, *, batch_size: int, verbose: int | str, rank: int) -> np.ndarray:
    """See `Explainer.explain`. `rank`: the number of axes of a batch, 4 for images."""
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise OptionError(f"batch_size must be a whole number of images, 1 at least; got {batch_size!r}")
    total = _number_of_images(images, rank)
    rows_of_target = _rows(target)
    bar = keras.utils.Progbar(total, verbose=1 if verbose == "auto" else int(verbose), unit_name="image")
    done, results = 0, []
    for batch in _batches(images, batch_size, rank):
        count = len(batch)
        results.append(np.asarray(explainer(batch, _slice(target, rows_of_target, done, count))))
        done += count
        bar.update(done, finalize=False)
    if not results:
        raise ImageError("expected at least one image, got none")
    if rows_of_target not in (None, 1, done):
        raise TargetError(f"expected {done} targets, one for each image; got {rows_of_target}")
    bar.target = done  # Of a dataset it may not have been known before.
    bar.update(done, finalize=True)
    return np.concatenate(results)


def _batches(images: Any, batch_size: int, rank: int) -> Iterator[Any]:
    if isinstance(images, tf.data.Dataset):
        yield from _dataset_batches(images, batch_size, rank)
    elif isinstance(images, keras.utils.PyDataset):
        for i in range(len(images)):
            yield from _cut(_images_of(images[i]), batch_size)
    elif isinstance(images, np.ndarray) or tf.is_tensor(images):
        yield from _cut(images, batch_size) if images.shape.__len__() == rank else iter([images])
    elif isinstance(images, (list, tuple)):
        yield from _batches(np.asarray(images), batch_size, rank)
    else:
        raise ImageError(f"expected an array of images, a tf.data.Dataset or a keras.utils.PyDataset; got {_shown(images)}")


def _dataset_batches(dataset: tf.data.Dataset, batch_size: int, rank: int) -> Iterator[Any]:
    dataset = dataset.map(lambda *element: _images_of(element if len(element) > 1 else element[0]))
    if not isinstance(dataset.element_spec, tf.TensorSpec):
        raise ImageError(
            "expected a dataset of images, or of tuples that begin with images; its elements are "
            f"{_shown(dataset.element_spec)}. Map it first: dataset.map(lambda element: element['image'])"
        )
    is_batched = len(dataset.element_spec.shape) == rank
    dataset = dataset.rebatch(batch_size) if is_batched else dataset.batch(batch_size)
    yield from dataset.prefetch(1)


def _shown(came: Any) -> str:
    return f"{type(came).__name__} {str(came)[:60]!r}"


def _images_of(element: Any) -> Any:
    return element[0] if isinstance(element, (tuple, list)) else element


def _cut(images: Any, batch_size: int) -> Iterator[Any]:
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size]


def _number_of_images(images: Any, rank: int) -> int | None:
    """How many images there are, where that can be known before they are read."""
    if isinstance(images, tf.data.Dataset):
        spec = images.element_spec
        first = spec[0] if isinstance(spec, tuple) else spec
        count = int(images.cardinality())
        return count if count >= 0 and len(getattr(first, "shape", ())) == rank - 1 else None
    if isinstance(images, keras.utils.PyDataset):
        return None
    return len(images) if hasattr(images, "__len__") else None


def _rows(target: Any) -> int | None:
    """How many rows a target has, when it has one for each image."""
    if target is None or callable(target) or np.ndim(target) == 0:
        return None
    return len(target)


def _slice(target: Any, rows: int | None, start: int, count: int) -> Any:
    if rows is None or rows == 1:
        return target
    part = target[start : start + count]
    if len(part) < count:
        raise TargetError(f"expected one target for each image; got {rows} for {start + count} images or more")
    return part
