"""Fill in removed pixels from their neighbors, as ROAD does.

    s_i x_i = Σ_j w_j x_j over the 8 neighbors j inside the image, with s_i = Σ_j w_j,
    w = 1/6 across an edge and 1/12 across a corner; kept pixels are fixed
        Rong et al., 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods"

The equations for the removed pixels form a symmetric positive definite system if at least one pixel
is kept. The conjugate gradient method solves it for all images in a batch at once, with a 3 × 3
convolution instead of a matrix. The iteration stops separately for each image and channel once the
residual is below the tolerance, so an image's result does not depend on the batch.

Without a preconditioner, values propagate by one pixel per iteration, so a large hole needs
hundreds of iterations. A multigrid preconditioner, which approximately solves the same equations at
1/2, 1/4, … of the resolution, reduces this number to about twenty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

_TOLERANCE = 1e-6  # for the residual, relative to the right-hand side
_MOST_ITERATIONS = 500
_WEIGHTS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32)[:, :, None, None] / 12
_LEVELS = 6  # in the multigrid cycle
_DAMPING = 0.8  # for its Jacobi steps
_STEPS_AT_THE_TOP = 6


def imputed(images: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Fill in the removed pixels in a batch of images.

    Args:
        images: the images, a float32 array of shape (N, H, W, C).
        removed: a bool array of shape (N, H, W) that marks the removed pixels. Each image must keep
            at least one pixel.

    Returns:
        The filled-in images, as a float32 array of shape (N, H, W, C).
    """
    return _imputed(tf.constant(images, tf.float32), tf.constant(removed[..., None], tf.float32)).numpy()


@tf.function(input_signature=[tf.TensorSpec((None, None, None, None)), tf.TensorSpec((None, None, None, 1))], autograph=False)
def _imputed(images: tf.Tensor, removed: tf.Tensor) -> tf.Tensor:
    """Solve A y = b, where y is the removed pixels minus the mean of the kept pixels."""
    kept = 1 - removed
    mean = _sum(images * kept) / _sum(kept)
    y = _conjugate_gradients(_levels(removed), removed * _neighbors((images - mean) * kept))
    return images * kept + (mean + y) * removed


@dataclass(frozen=True)
class _Level:
    """The equations at one resolution, with A x = removed · (weight · x − Σ_j w_j x_j).

    Attributes:
        removed: an array of shape (N, h, w, 1) that is 1 where a pixel is removed.
        weight: the sums s of the neighbor weights, with shape (1, h, w, 1).
    """

    removed: tf.Tensor
    weight: tf.Tensor

    def apply(self, x: tf.Tensor) -> tf.Tensor:
        return self.removed * (self.weight * x - _neighbors(x))

    def jacobi(self, residual: tf.Tensor) -> tf.Tensor:
        return _DAMPING * self.removed * tf.math.divide_no_nan(residual, self.weight)


def _levels(removed: tf.Tensor) -> list[_Level]:
    """Return the equations for all levels, each at half the resolution of the previous one.

    A coarse pixel is removed if all its fine pixels are removed.
    """
    masks = [removed]
    for _ in range(_LEVELS - 1):
        masks.append(-tf.nn.max_pool2d(-masks[-1], 2, 2, "SAME"))
    return [_Level(mask, _neighbors(tf.ones_like(mask[:1]))) for mask in masks]


def _neighbors(x: tf.Tensor) -> tf.Tensor:
    """Compute Σ_j w_j x_j at every pixel."""
    kernel = tf.broadcast_to(_WEIGHTS, (3, 3, tf.shape(x)[-1], 1))
    return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")


def _conjugate_gradients(levels: list[_Level], b: tf.Tensor) -> tf.Tensor:
    """Solve A y = b for each image and channel separately, starting from y = 0."""
    limit = _TOLERANCE**2 * _sum(b * b)

    def is_unfinished(y: tf.Tensor, r: tf.Tensor, p: tf.Tensor, rz: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(_sum(r * r) > limit)

    def step(y: tf.Tensor, r: tf.Tensor, p: tf.Tensor, rz: tf.Tensor) -> tuple[tf.Tensor, ...]:
        Ap = levels[0].apply(p)
        # The step is 0 where the iteration has converged, so these values no longer change.
        alpha = tf.where(_sum(r * r) > limit, tf.math.divide_no_nan(rz, _sum(p * Ap)), 0)
        y, r = y + alpha * p, r - alpha * Ap
        z = _cycle(levels, r)
        new = _sum(r * z)
        return y, r, z + tf.math.divide_no_nan(new, rz) * p, new

    z = _cycle(levels, b)
    start = (tf.zeros_like(b), b, z, _sum(b * z))
    return tf.while_loop(is_unfinished, step, start, maximum_iterations=_MOST_ITERATIONS)[0]


def _cycle(levels: list[_Level], residual: tf.Tensor) -> tf.Tensor:
    """Solve A z = residual approximately with a symmetric multigrid cycle."""
    level, *coarser = levels
    residual *= level.removed
    z = level.jacobi(residual)
    if not coarser:
        for _ in range(_STEPS_AT_THE_TOP):
            z += level.jacobi(residual - level.apply(z))
        return z
    correction = _cycle(coarser, _added_up(residual - level.apply(z)))
    z += level.removed * _spread(correction, tf.shape(residual))
    return z + level.jacobi(residual - level.apply(z))


def _added_up(x: tf.Tensor) -> tf.Tensor:
    """Sum each block of 2 × 2 pixels."""
    shape = tf.shape(x)
    even = tf.pad(x, [[0, 0], [0, shape[1] % 2], [0, shape[2] % 2], [0, 0]])
    return 4 * tf.nn.avg_pool2d(even, 2, 2, "VALID")


def _spread(x: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Copy each value to its block of 2 × 2 pixels. This is the transpose of `_added_up`."""
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)[:, : shape[1], : shape[2]]


def _sum(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x, axis=(1, 2), keepdims=True)
