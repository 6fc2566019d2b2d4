"""Scale a mask back through a resize, such as a Resizing or CenterCrop layer."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfviz.graph.graph import Step
from tfviz.rules.pixel_permutation import Size, Tensor

_MOST_BYTES = 1 << 27  # the maximum memory for the images that are resized at once


def resized_back(step: Step, mask: Tensor, size: Size) -> Tensor:
    """Return the mask at the input of a resize, given the mask at its output.

    Each input pixel gets the weighted mean of the output pixels that read it, or 0 if there are
    none. The weights are the interpolation weights; negative weights (bicubic) count as 0.

    Args:
        step: a step that resizes 2-D maps.
        mask: the mask at the step's output, of shape (N, height, width, 1).
        size: the (height, width) of the input.

    Returns:
        The mask, of shape (N, height, width, 1).
    """
    dtype = keras.backend.standardize_dtype(mask.dtype)
    rows, columns = (_weights(step, size, axis).astype(dtype) for axis in (0, 1))
    back = ops.matmul(ops.matmul(rows, mask[..., 0]), columns.T)
    return back[..., None]


def _weights(step: Step, size: Size, axis: int) -> np.ndarray:
    """Return the weight of each output row (or column) for each input row (or column).

    The weights of an input row sum to 1, or to 0 if no output row reads it.

    Interpolation treats rows, columns and channels separately. The resize therefore runs on batches
    of images in which each channel is 1 in one input row and 0 elsewhere.
    """
    n, channels = size[axis], step.inputs[0].shape[-1] or 1
    count = -(-n // channels)  # images, each with one input row per channel
    rows = np.eye(count * channels, n, dtype=np.float32).reshape(count, channels, n).transpose(0, 2, 1)
    units = np.expand_dims(rows, 2 - axis)  # (images, n, 1, channels) or (images, 1, n, channels)
    most = max(1, _MOST_BYTES // (4 * math.prod(size) * channels))
    found = np.concatenate([_resized(step, units[k : k + most], size).max(axis=2 - axis) for k in range(0, count, most)])
    # (input rows, output rows)
    weights = np.maximum(found.transpose(0, 2, 1).reshape(count * channels, -1)[:n], 0)
    totals = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)


def _resized(step: Step, units: np.ndarray, size: Size) -> np.ndarray:
    """Repeat images whose height or width is 1 to fill `size`, then resize them."""
    images = np.broadcast_to(units, (len(units), *size, units.shape[-1]))
    with tf.init_scope(), tf.device("CPU"):
        (found,) = step.compute([tf.constant(images, step.inputs[0].dtype or "float32")])
        return tf.cast(found, tf.float32).numpy()
