"""How probability passes through a linear map with nonnegative weights."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfviz import keras_internals
from tfviz.numerics import safe_divide


def divided_by_all_positions(p: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Divide p by the responses z of each channel at all positions at once: p · Σ p / Σ (p · z)."""
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

    With `map_dtype`, f and fᵀ are computed in that dtype, and only the division in float32.
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
