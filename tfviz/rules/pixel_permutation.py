"""Track a map's pixels through an operation that moves, copies or drops elements.

Flips, transposes, slices, splits and reshapes don't need separate rules. The operation runs once on
a map in which each pixel's value is its index. The result shows where each pixel ends up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias, Union

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfviz.errors import UnsupportedModelError
from tfviz.graph.graph import Step

Size = tuple[int, ...]
Tensor: TypeAlias = Union[tf.Tensor, keras.KerasTensor]  # noqa: UP007
_BASE = 128


def moved_back(step: Step, mask: Tensor, sizes: Sequence[Size], number: int, output: int) -> Tensor | None:
    """Return the mask at one input. Each pixel gets the mean over its copies in the output.

    Args:
        step: a step that moves, copies or drops elements.
        mask: the mask at one output, of shape (N, height, width, 1).
        sizes: the (height, width) of each input.
        number: the index of the input.
        output: the index of the output.

    Returns:
        The mask, of shape (N, height, width, 1), or None if the output contains no pixel from this
        input.
    """
    channels = [value.shape[1 + len(size) :] for value, size in zip(step.inputs, sizes, strict=True)]
    shapes = [(*size, *(n or 1 for n in rest)) for size, rest in zip(sizes, channels, strict=True)]
    size, out = sizes[number], tuple(mask.shape[1:-1])
    table = _readers(step, shapes, len(size), number, output, out)  # (pixels, copies)
    if not table.any():
        return None
    if size == out and table.shape[1] == 1 and np.array_equal(table[:, 0], np.arange(1, len(table) + 1)):
        return mask
    # The table uses 0 for "no pixel", so a zero is inserted before the first pixel of the mask.
    flat = ops.pad(ops.reshape(mask, (-1, math.prod(out))), [(0, 0), (1, 0)])
    moved = ops.reshape(ops.take(flat, table.reshape(-1), axis=1), (-1, *table.shape))
    counts = np.maximum((table > 0).sum(axis=1), 1).astype("float32")
    return ops.reshape(ops.sum(moved, axis=-1) / counts, (-1, *size, 1))


def _readers(step: Step, shapes: Sequence[Size], axes: int, number: int, output: int, size: Size) -> np.ndarray:
    """Return the positions of the copies of each input pixel in one output.

    Args:
        step: a step that moves, copies or drops elements.
        shapes: the shape of each input, without the batch axis.
        axes: the number of spatial axes in the input.
        number: the index of the input.
        output: the index of the output.
        size: the height and width of the output.

    Returns:
        Indices of output pixels, with shape (input pixels, maximum number of copies). They start at
        1 and are padded with 0.
    """
    pixels = int(np.prod(shapes[number][:axes]))
    numbers = np.arange(1, pixels + 1).reshape(*shapes[number][:axes], *(1,) * (len(shapes[number]) - axes))
    given = [np.broadcast_to(numbers if i == number else 0, shape)[None] for i, shape in enumerate(shapes)]
    with tf.init_scope(), tf.device("CPU"):
        found = _moved(step, given, output)
    if found.shape[: 1 + len(size)] != (1, *size):
        raise UnsupportedModelError(
            f"Step {step.label} maps one image to an array of shape {found.shape}, so it mixes the images in a batch. Change "
            "the step so that it keeps the batch axis, or use a gradient method such as guided_backprop or grad_cam."
        )
    found = found.reshape(int(np.prod(size)), -1)  # (output pixels, channels)
    if (found == found[:, :1]).all():
        found = found[:, :1]
    return _table(found, pixels)


def _moved(step: Step, given: Sequence[np.ndarray], output: int) -> np.ndarray:
    """Run a step on integers digit by digit, because the step's dtype may have low precision."""
    dtypes = [value.dtype or "float32" for value in step.inputs]

    def run(arrays: Sequence[np.ndarray]) -> np.ndarray:
        tensors = [tf.constant(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
        return tf.cast(step.compute(tensors)[output], tf.int64).numpy()

    # The step may add values such as padding, which are subtracted afterward.
    added = run([np.zeros_like(one) for one in given])
    moved, digit = np.zeros(added.shape, np.int64), 1
    while any(one.max() >= digit for one in given):
        moved += digit * (run([one // digit % _BASE for one in given]) - added)
        digit *= _BASE
    return moved


def _table(found: np.ndarray, pixels: int) -> np.ndarray:
    """Build the table for `_readers` from the source pixel of each output element (0 for none)."""
    reader = np.broadcast_to(np.arange(len(found))[:, None], found.shape)
    is_read = found > 0
    # The pairs are sorted by source pixel.
    pairs = np.unique((found[is_read] - 1).astype(np.int64) * len(found) + reader[is_read])
    source, reader = np.divmod(pairs, len(found))
    counts = np.bincount(source, minlength=pixels)
    table = np.zeros((pixels, max(counts.max(), 1)), np.int32)
    table[source, np.arange(len(source)) - (np.cumsum(counts) - counts)[source]] = reader + 1
    return table
