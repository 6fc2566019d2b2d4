"""Run an explainer on arrays and datasets, in batches of limited size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.errors import ImageError, OptionError, TargetError
from tfviz.graph.graph import Graph
from tfviz.methods.blank_maps import nonfinite_rows, warn_of, zero_rows
from tfviz.methods.devices import Part, in_turn, on_all_devices
from tfviz.methods.inputs import checked_images, require_dense, require_no_labels
from tfviz.numeric_options import positive_integer

_INFINITE = "The dataset is infinite (it repeats without a count), so explaining it would never finish."
_EXPECTED_ELEMENTS = "Expected a dataset of images, or of tuples that start with the images."


def explain(explainer: Any, images: Any, target: Any, *, batch_size: int, verbose: int | str, devices: str | None) -> Any:
    """Explain images batch by batch, with a progress bar (see `Explainer.explain`)."""
    if devices not in (None, "all"):
        raise OptionError(f'`devices` must be "all" or None. Received: {devices!r}.')
    batch_size = positive_integer("batch_size", batch_size)
    explainer._read_again_if_changed()
    try:
        return _explained(explainer, images, target, batch_size, verbose, devices)
    finally:
        explainer.start_at(None)


def _explained(explainer: Any, images: Any, target: Any, batch_size: int, verbose: int | str, devices: str | None) -> Any:
    reader = BatchReader(explainer.graph, batch_size)
    outputs = explainer._output_shapes()
    rows_of_target = targets.rows(target, outputs)
    bar = _Bar(reader.count(images), 1 if verbose == "auto" else int(verbose), explainer)
    done, results, empty = 0, [], None

    def parts() -> Iterator[Part]:
        first = 0
        for batch in reader.batches(images):
            count = len(tree.flatten(batch)[0])
            flat = checked_images(explainer.graph, batch)
            bar.start(flat)
            yield Part(first, flat, targets.rows_from(target, outputs, first, count))
            first += count

    found = on_all_devices(explainer, parts(), batch_size) if devices else in_turn(explainer, parts(), batch_size, bar.advance)
    for part, attribution in found:
        explainer._check_batch(part.images, part.target, attribution)
        results.append(tree.map_structure(np.asarray, attribution))
        rows = zero_rows(results[-1]) | nonfinite_rows(results[-1])
        if empty is None and rows.any():
            i = int(rows.argmax())
            empty = [x[i : i + 1] for x in part.images], targets.rows_from(target, outputs, done + i, 1)
        done += len(rows)
        bar.reach(done)
    if not results:
        raise ImageError("Expected at least one image. Received: none. Pass images or a non-empty dataset.")
    if rows_of_target not in (None, done):
        raise TargetError(
            f"Expected one target per image, {done} in total. Received: {rows_of_target} targets. Pass a single target to use "
            "it for all images."
        )
    bar.end(done)
    attributions = tree.map_structure(lambda *parts: np.concatenate(parts), *results)
    if empty is not None:
        warn_of(explainer, attributions, *empty)
    return attributions


class _Bar:
    """A Keras progress bar that counts images or, for some methods, perturbed copies of them."""

    def __init__(self, images: int | None, verbose: int, explainer: Any) -> None:
        self._images, self._explainer, self._copies, self._rows = images, explainer, 1, 0
        unit = "row" if explainer.takes_copies else "image"
        self._bar = keras.utils.Progbar(images, verbose=verbose, unit_name=unit)

    def start(self, batch: list[tf.Tensor]) -> None:
        """Set the number of copies per image and the total of the bar."""
        if self._explainer.takes_copies:
            self._copies = int(self._explainer.copies_per_image(batch))
            self._bar.target = None if self._images is None else self._images * self._copies

    def advance(self, rows: int) -> None:
        self._rows += rows
        self._bar.update(self._rows, finalize=False)

    def reach(self, images: int) -> None:
        self._rows = images * self._copies
        self._bar.update(self._rows, finalize=False)

    def end(self, images: int) -> None:
        self._bar.target = images * self._copies  # a dataset's length may have been unknown
        self._bar.update(self._bar.target, finalize=True)


class BatchReader:
    """Splits images from any supported source into batches for a model.

    A batch is one array or, for a model with several inputs, arrays nested like the inputs.
    """

    def __init__(self, graph: Graph, batch_size: int) -> None:
        self.graph, self.batch_size = graph, batch_size
        self.is_nested = len(graph.inputs) > 1
        # Assume that an untraceable model expects images.
        self.rank = graph.inputs[0].rank or 4

    def batches(self, images: Any) -> Iterator[Any]:
        require_dense(images)
        if not self.is_nested:
            require_no_labels(self.graph, images)
        if isinstance(images, tf.data.Dataset):
            yield from self._from_dataset(images)
        elif isinstance(images, keras.utils.PyDataset):
            yield from self._from_py_dataset(images)
        elif isinstance(images, np.ndarray) or tf.is_tensor(images) or self.is_nested:
            yield from self._cut(images)
        elif isinstance(images, (list, tuple)):
            yield from self._cut(np.asarray(images))
        else:
            raise ImageError(
                "Expected an array of images, a tf.data.Dataset or a keras.utils.PyDataset. Received: "
                f"{_shown(images)}. Convert it with np.asarray, or wrap it in a dataset."
            )

    def count(self, images: Any) -> int | None:
        """Return the number of images, or None if it cannot be determined without reading them."""
        if isinstance(images, tf.data.Dataset):
            count, spec = int(images.cardinality()), tree.flatten(images.element_spec)[0]
            is_single = len(getattr(spec, "shape", ())) == self.rank - 1
            return count if count >= 0 and is_single else None
        if isinstance(images, (keras.utils.PyDataset, tf.RaggedTensor, tf.SparseTensor)):
            return None
        first = tree.flatten(images)[0] if self.is_nested else images
        return len(first) if hasattr(first, "__len__") else None

    def _from_dataset(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ImageError(f"{_INFINITE} Pass a finite part, such as dataset.take(100).")
        dataset = dataset.map(lambda *element: _images_of(element if len(element) > 1 else element[0]))
        if not self.is_nested and not isinstance(dataset.element_spec, tf.TensorSpec):
            raise ImageError(
                f"{_EXPECTED_ELEMENTS} Received elements: {_shown(dataset.element_spec)}. Map them first: "
                "dataset.map(lambda element: element['image'])."
            )
        is_batched = len(tree.flatten(dataset.element_spec)[0].shape) == self.rank
        dataset = dataset.rebatch(self.batch_size) if is_batched else dataset.batch(self.batch_size)
        yield from dataset.prefetch(1)

    def _from_py_dataset(self, dataset: keras.utils.PyDataset) -> Iterator[Any]:
        if dataset.num_batches is None:
            raise ImageError(f"{_INFINITE} Define `__len__` to give it a finite number of batches.")
        for i in range(dataset.num_batches):
            images = _images_of(dataset[i])
            if not self.is_nested and not hasattr(images, "shape"):
                raise ImageError(
                    f"{_EXPECTED_ELEMENTS} Received a batch of type {type(images).__name__}. Return the images, or a tuple "
                    "that starts with them, from `__getitem__`."
                )
            yield from self._cut(images)

    def _cut(self, images: Any) -> Iterator[Any]:
        first = tree.flatten(images)[0] if self.is_nested else images
        if len(first.shape) != self.rank:
            yield images  # the explainer then reports the wrong rank
            return
        for start in range(0, len(first), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield tree.map_structure(lambda array: None if array is None else array[rows], images)  # noqa: B023


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _images_of(element: Any) -> Any:
    return element[0] if isinstance(element, (tuple, list)) else element
