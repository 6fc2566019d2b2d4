"""Scale a mask back through a resize, such as a Resizing or CenterCrop layer."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfviz.graph.graph import Step
from tfviz.rules.pixel_permutation import Size, Tensor


def resized_back(step: Step, mask: Tensor, size: Size) -> Tensor:
    """Return the mask at a resize's input.

    Each input pixel gets the weighted mean of the output pixels that read it, or 0 if there are
    none. The weights are the interpolation weights; negative weights (bicubic) count as 0.

    Args:
        step: a step that resizes 2-D maps.
        mask: the mask at the step's output, (N, height, width, 1).
        size: the input's (height, width).

    Returns:
        The mask, (N, height, width, 1).
    """
    dtype = keras.backend.standardize_dtype(mask.dtype)
    rows, columns = (_weights(step, size, axis).astype(dtype) for axis in (0, 1))
    back = ops.matmul(ops.matmul(rows, mask[..., 0]), columns.T)
    return back[..., None]


def _weights(step: Step, size: Size, axis: int) -> np.ndarray:
    """Return the weights of output rows (or columns) for each input row. They sum to 1 or 0.

    Interpolation treats rows and columns separately. The resize therefore runs on a batch with one
    image per input row, which is 1 in that row and 0 elsewhere.
    """
    channels, dtype = step.inputs[0].shape[-1] or 1, step.inputs[0].dtype or "float32"
    units = np.expand_dims(np.eye(size[axis], dtype=np.float32), 2 - axis)  # (n, n, 1) or (n, 1, n)
    images = np.broadcast_to(units[..., None], (size[axis], *size, channels))
    with tf.init_scope(), tf.device("CPU"):
        (found,) = step.compute([tf.constant(images, dtype)])
        found = tf.cast(found, tf.float32).numpy()[..., 0]
    weights = np.maximum(found.max(axis=2 - axis), 0)  # (input rows, output rows)
    totals = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
