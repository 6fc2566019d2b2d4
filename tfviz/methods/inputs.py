"""Check images and convert them to tensors before a model runs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import ImageError, warn
from tfviz.graph.graph import Graph, Value


def checked_images(graph: Graph, images: Any) -> list[tf.Tensor]:
    """Check images and return one tensor per model input, in the input's dtype.

    Raises:
        ImageError: the number of inputs, the rank, the size or the channels don't match, or a value
            is NaN or infinite.
    """
    flat = _flatten(graph, images)
    checked = [_checked(graph, value, x) for value, x in zip(graph.inputs, flat, strict=True)]
    counts = [x.shape[0] for x in checked]
    if len({count for count in counts if count is not None}) > 1:
        rows = ", ".join(f"{count} for '{graph.name_of(value)}'" for value, count in zip(graph.inputs, counts, strict=True))
        raise ImageError(f"All inputs must have the same number of images. Received: {rows}. Pass batches of the same size.")
    return checked


def require_no_labels(graph: Graph, images: Any) -> None:
    """Raise ImageError for a tuple such as (images, labels), which datasets often yield."""
    is_pair = isinstance(images, tuple) and len(images) in (2, 3) and all(hasattr(x, "shape") for x in images)
    rank = graph.inputs[0].rank
    if is_pair and rank and len(images[0].shape) == rank and len(images[1].shape) != rank:
        shapes = ", ".join(str(tuple(x.shape)) for x in images)
        raise ImageError(
            f"Expected only images. Received: a tuple of {len(images)} arrays with shapes {shapes}, which looks like images "
            "with labels. Pass only the first element, or pass the dataset to explain()."
        )


def require_dense(images: Any) -> None:
    """Raise ImageError for a ragged or sparse tensor, or an array with masked values."""
    if any(np.ma.is_masked(one) for one in (images if isinstance(images, (list, tuple)) else [images])):
        raise ImageError(
            "Expected a dense array of images. Received: an array with masked values, which a model would read as ordinary "
            "values. Replace them with filled() first."
        )
    if isinstance(images, (tf.RaggedTensor, tf.SparseTensor)):
        kind, recipe = ("ragged", "to_tensor()") if isinstance(images, tf.RaggedTensor) else ("sparse", "tf.sparse.to_dense()")
        raise ImageError(f"Expected a dense array of images. Received: a {kind} tensor. Convert it with {recipe} first.")


def warn_of_preprocessor(model: Any, method: str) -> None:
    """Warn if the model's `predict` method preprocesses images, as in KerasHub models."""
    if getattr(model, "preprocessor", None) is not None:
        warn(
            f"The predict() method of '{getattr(model, 'name', model)}' applies model.preprocessor, but {method} needs "
            "preprocessed images. Pass model.preprocessor(images)."
        )


def _flatten(graph: Graph, images: Any) -> list[Any]:
    if len(graph.inputs) == 1 and not isinstance(images, dict):
        require_no_labels(graph, images)
        return [images[0] if _is_structure_of_one(images) else images]
    if isinstance(images, dict) or isinstance(graph.input_structure, dict):
        return _by_name(graph, images)
    flat = tree.flatten(images) if isinstance(images, (list, tuple)) else [images]
    if len(flat) != len(graph.inputs):
        raise ImageError(
            f"The model '{graph.model_name}' needs {len(graph.inputs)} inputs. Received: {len(flat)}. Pass one batch per "
            "input, arranged like the model's inputs."
        )
    return flat


def _by_name(graph: Graph, images: Any) -> list[Any]:
    """Return the dict entry for each input.

    Like Keras, this accepts a dict even if the model's inputs are a list.
    """
    structure = graph.input_structure
    takes_dict = isinstance(structure, dict)
    names = list(structure) if isinstance(structure, dict) else [graph.name_of(value) for value in graph.inputs]
    if not isinstance(images, dict) or set(images) != set(names):
        got = f"a dict of {', '.join(map(repr, images))}" if isinstance(images, dict) else type(images).__name__
        raise ImageError(
            f"The model '{graph.model_name}' needs a dict with the keys {', '.join(map(repr, names))}. Received: {got}. Pass "
            "one batch per key."
        )
    return tree.flatten(images) if takes_dict else [images[name] for name in names]


def _is_structure_of_one(images: Any) -> bool:
    return isinstance(images, (list, tuple)) and len(images) == 1 and hasattr(images[0], "shape") and len(images[0].shape) == 4


def _checked(graph: Graph, value: Value, images: Any) -> tf.Tensor:
    expected = value.shape
    if images is None:
        raise ImageError(
            f"Input '{graph.name_of(value)}' is None, but tfviz needs a value for each input. Pass an array of shape "
            f"{_shown(expected)}, or build a model without this input."
        )
    require_dense(images)
    if value.dtype == "string":
        return _checked_strings(graph, value, images)
    try:
        array = images if tf.is_tensor(images) else np.asarray(images)
        dtype = tf.as_dtype(array.dtype)
        is_number = dtype.is_integer or dtype.is_floating or dtype.is_bool
    except (ValueError, TypeError):
        is_number = False
    if not is_number:
        raise ImageError(
            f"Expected images as an array of numbers of shape {_shown(expected)}. Received: {_described(images)}. Convert "
            "them to a NumPy array of numbers."
        )
    _check_shape(graph, expected, tuple(array.shape))
    _check_finite(array)
    cast = tf.cast(array, value.dtype or tf.float32)
    _check_range(array, cast)
    return cast


def _checked_strings(graph: Graph, value: Value, strings: Any) -> tf.Tensor:
    """Check the values of an input of strings, such as the categories for a `StringLookup`."""
    try:
        tensor = tf.convert_to_tensor(strings, tf.string)
    except (ValueError, TypeError):
        raise ImageError(
            f"Input '{graph.name_of(value)}' takes an array of strings of shape {_shown(value.shape)}. Received: "
            f"{_described(strings)}. Convert the values to strings."
        ) from None
    _check_shape(graph, value.shape, tuple(tensor.shape))
    return tensor


def _described(images: Any) -> str:
    """Describe a value that is no array of numbers."""
    kind = type(images).__name__
    if hasattr(images, "dtype"):
        return f"{kind} with dtype {images.dtype}"
    shapes = [tuple(x.shape) for x in images if hasattr(x, "shape")] if isinstance(images, (list, tuple)) else []
    other = next((shape for shape in shapes if shape != shapes[0]), None)
    if other is not None:
        return f"{kind} of arrays with different shapes, such as {shapes[0]} and {other}"
    return kind


def has_fixed_batch(graph: Graph) -> bool:
    """Return whether a model accepts only one batch size.

    A Sequential model built by calling it records the batch size of that call but accepts any size.
    """
    expected = graph.inputs[0].shape
    return bool(expected) and expected[0] is not None and not isinstance(graph.model, keras.Sequential)


def _check_shape(graph: Graph, expected: tuple[int | None, ...], shape: tuple[int | None, ...]) -> None:
    if expected and len(shape) == len(expected) - 1:
        raise ImageError(
            f"The model '{graph.model_name}' needs batches of shape {_shown(expected)}. Received: one image of shape {shape}. "
            "Pass image[None]."
        )
    if has_fixed_batch(graph) and shape and None not in (expected[0], shape[0]) and shape[0] != expected[0]:
        raise ImageError(
            f"The model '{graph.model_name}' was built for a fixed batch of {expected[0]} images. Received: {shape[0]}. Pass a "
            f"batch of that size, or set batch_size={expected[0]} in explain()."
        )
    fits = not expected or len(shape) == len(expected)
    if fits and expected:
        fits = all(None in (n, m) or n == m for n, m in zip(expected[1:], shape[1:], strict=True))
    if not fits:
        raise ImageError(
            f"The model '{graph.model_name}' needs images of shape {_shown(expected)}. Received: {_shown(shape)}. Resize the "
            "images and check the number of channels, or load the image files with tfviz.load_images, which produces this "
            "shape."
        )
    if shape and shape[0] == 0:
        raise ImageError(f"Expected at least one image. Received: an empty batch of shape {shape}.")


def _check_finite(array: np.ndarray | tf.Tensor) -> None:
    bad = _rows_without_finite_values(array)
    if bad:
        found = (
            f"Images {', '.join(map(str, bad[:8]))} in the batch contain"
            if len(bad) > 1
            else f"Image {bad[0]} in the batch contains"
        )
        raise ImageError(
            f"{found} NaN or infinity, which would make the attribution NaN. Check the preprocessing for errors such as "
            "division by zero."
        )


def _check_range(given: np.ndarray | tf.Tensor, cast: tf.Tensor) -> None:
    """Raise ImageError for values outside the input dtype's range, such as 1e300 for float32."""
    if cast.dtype in (tf.as_dtype(given.dtype), tf.bool) or not hasattr(cast, "numpy"):
        return
    if cast.dtype.is_floating:
        is_outside = bool(_rows_without_finite_values(cast))
    else:
        values = np.asarray(given).astype("float64")
        is_outside = bool(values.min() < cast.dtype.min or values.max() > cast.dtype.max)
    if is_outside:
        values = np.asarray(given).astype("float64")
        raise ImageError(
            f"The model's input dtype is {cast.dtype.name}, which represents values up to {cast.dtype.max:.6g}. Received: "
            f"{tf.as_dtype(given.dtype).name} values from {values.min():.6g} to {values.max():.6g}. Check the image "
            "preprocessing."
        )


def _rows_without_finite_values(array: np.ndarray | tf.Tensor) -> list[int]:
    """Return the indices of images that contain NaN or infinity, or [] for symbolic tensors."""
    if not tf.as_dtype(array.dtype).is_floating or (tf.is_tensor(array) and not hasattr(array, "numpy")):
        return []
    values = np.asarray(array)
    # np.isfinite works on bfloat16 and float8, although NumPy does not classify them as
    # floating-point types.
    is_finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    return [int(i) for i in np.flatnonzero(~is_finite)]


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('N' if i == 0 and n is None else str(n) for i, n in enumerate(shape))})"
