"""Fill in removed pixels from their neighbors, as ROAD does.

    s_i x_i = Σ_j w_j x_j over the 8 neighbors j inside the image, with s_i = Σ_j w_j,
    w = 1/6 across an edge and 1/12 across a corner; kept pixels are given
        Rong et al., 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods"

The equations of the removed pixels form a symmetric, positive definite system, as long as one pixel
is kept. Conjugate gradients solve it for all images of a batch at once, with a 3 × 3 convolution
instead of a matrix. An image stops at its own tolerance, so it gets the same result in any batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

_TOLERANCE = 1e-6  # of the residual, relative to the right-hand side
_MOST_ITERATIONS = 500
_WEIGHTS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32)[:, :, None, None] / 12


def imputed(images: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Replace the removed pixels of a batch.

    Args:
        images: float32 (N, H, W, C).
        removed: which pixels are removed, bool (N, H, W). Each image keeps at least one.

    Returns:
        float32 (N, H, W, C).
    """
    x, holes = np.transpose(images, (0, 3, 1, 2)), removed[:, None]
    result = _imputed(tf.constant(x, tf.float32), tf.constant(holes, tf.float32))
    return np.transpose(result.numpy(), (0, 2, 3, 1))


@tf.function(input_signature=[tf.TensorSpec((None, None, None, None)), tf.TensorSpec((None, 1, None, None))], autograph=False)
def _imputed(images: tf.Tensor, removed: tf.Tensor) -> tf.Tensor:
    """Impute images (N, C, H, W) by solving A y = b for y = x − the mean of the kept pixels."""
    kept = 1 - removed
    mean = _sum(images * kept) / _sum(kept)
    weight = _neighbors(tf.ones_like(kept[:1]))  # s

    def apply(y: tf.Tensor) -> tf.Tensor:
        return removed * (weight * y - _neighbors(y))

    y = _conjugate_gradients(apply, removed * _neighbors((images - mean) * kept))
    return images * kept + (mean + y) * removed


def _neighbors(x: tf.Tensor) -> tf.Tensor:
    """Compute Σ_j w_j x_j at every pixel of (N, C, H, W)."""
    shape = tf.shape(x)
    flat = tf.reshape(x, (-1, shape[2], shape[3], 1))
    return tf.reshape(tf.nn.conv2d(flat, _WEIGHTS, 1, "SAME"), shape)


def _conjugate_gradients(apply: Callable[[tf.Tensor], tf.Tensor], b: tf.Tensor) -> tf.Tensor:
    """Solve A y = b from y = 0, for every image and channel on its own."""
    limit = _TOLERANCE**2 * _sum(b * b)

    def is_unfinished(_: tf.Tensor, y: tf.Tensor, r: tf.Tensor, p: tf.Tensor, rr: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(rr > limit)

    def step(i: tf.Tensor, y: tf.Tensor, r: tf.Tensor, p: tf.Tensor, rr: tf.Tensor) -> tuple[tf.Tensor, ...]:
        Ap = apply(p)
        # 0 once the image is done, so that it no longer changes
        alpha = tf.where(rr > limit, tf.math.divide_no_nan(rr, _sum(p * Ap)), 0)
        y, r = y + alpha * p, r - alpha * Ap
        new = _sum(r * r)
        return i + 1, y, r, r + tf.math.divide_no_nan(new, rr) * p, new

    start = (tf.constant(0), tf.zeros_like(b), b, b, _sum(b * b))
    return tf.while_loop(is_unfinished, step, start, maximum_iterations=_MOST_ITERATIONS)[1]


def _sum(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x, axis=(2, 3), keepdims=True)
