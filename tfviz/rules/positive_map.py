"""Propagate probability through linear maps with nonnegative weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from tfviz import keras_internals
from tfviz.graph.graph import Step
from tfviz.graph.operations import Linear
from tfviz.numerics import safe_divide


def divided_by_all_positions(p: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Divide p by the responses z jointly over all positions in a channel: p · Σ p / Σ (p · z)."""
    axes = list(range(1, len(p.shape) - 1))
    return p * safe_divide(*(tf.reduce_sum(x, axis=axes, keepdims=True) for x in (p, p * z)))


def through_positive_map(
    a: tf.Tensor,
    p: tf.Tensor,
    positive_map: Callable[[tf.Tensor], tf.Tensor],
    divide: Callable[..., tf.Tensor] = safe_divide,
    map_dtype: tf.DType | None = None,
) -> tf.Tensor:
    """Compute a · fᵀ(p / f(a)) for a linear f with nonnegative weights, in at least float32.

    If `map_dtype` is given, f and fᵀ use that dtype, and only the division uses float32.
    """
    dtype, precise = a.dtype, precise_dtype(a)
    a, p = keras_internals.with_mask_of(a, tf.cast(a, map_dtype or precise)), tf.cast(p, precise)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(a)
        z = positive_map(a)
    share = tf.cast(divide(p, tf.cast(z, precise)), z.dtype)
    return tf.cast(a * tape.gradient(z, a, output_gradients=share), dtype)


def precise_dtype(a: tf.Tensor) -> tf.DType:
    return tf.float64 if a.dtype == tf.float64 else tf.float32


class PositiveKernels:
    """Computes the positive parts of kernels and caches the results for constant kernels.

    Args:
        scales: for each linear map with a merged BatchNormalization, a function that returns the
            channel scales.
    """

    def __init__(self, scales: Mapping[Step, Callable[[], tf.Tensor]]) -> None:
        self._scales = scales
        self.held: dict[tuple[Step, str, int], tf.Variable] = {}

    def read(self, step: Step[Linear], dtype: str, sign: int) -> tf.Tensor:
        """Return the positive part of `sign` · W."""
        if not step.operation.is_constant:
            return self._compute(step, dtype, sign)
        if (step, dtype, sign) not in self.held:
            with tf.init_scope():
                self.held[step, dtype, sign] = tf.Variable(self._compute(step, dtype, sign), trainable=False)
        return tf.convert_to_tensor(self.held[step, dtype, sign])

    def _compute(self, step: Step[Linear], dtype: str, sign: int) -> tf.Tensor:
        kernel = step.operation.read_kernel(dtype)
        if step in self._scales and step.operation.scale_outputs is not None:
            kernel = step.operation.scale_outputs(kernel, self._scales[step]())
        return tf.nn.relu(kernel if sign > 0 else -kernel)
