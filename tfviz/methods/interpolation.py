"""Resize maps bilinearly, one axis at a time, with half-pixel centers and clamped borders.

Values are interpolated as a + (b − a) · t, so equal neighbors stay equal. The code uses only
gathers and arithmetic, because every export format supports these. The last axis is resized first,
so that the other axes can be gathered in long rows instead of single values.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def resized(maps: tf.Tensor, size: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Resize maps of shape (N, …) to (N, *size)."""
    for axis, new in reversed(list(enumerate(size, start=1))):
        if not (isinstance(new, int) and maps.shape[axis] == new):
            old = maps.shape[axis] if maps.shape[axis] is not None else tf.shape(maps)[axis]
            maps = _interpolated(maps, tf.range(new), new, old, axis)
    return maps


def resized_and_cropped(grids: tf.Tensor, size: Sequence[int], offsets: tf.Tensor, crop: Sequence[int]) -> tf.Tensor:
    """Resize each grid to `size` and crop it.

    Args:
        grids: the grids, with shape (copies, …).
        size: the new size, one number per axis after the first.
        offsets: the first position of each crop along each axis, as int32 of shape (copies, axes).
        crop: the crop size.

    Returns:
        The crops, with shape (copies, *crop).
    """
    for axis, (new, length) in reversed(list(enumerate(zip(size, crop, strict=True), start=1))):
        positions = offsets[:, axis - 1, None] + tf.range(length)[None]
        grids = _interpolated(grids, positions, new, grids.shape[axis], axis)
    return grids


def _interpolated(x: tf.Tensor, positions: tf.Tensor, new: int | tf.Tensor, old: int | tf.Tensor, axis: int) -> tf.Tensor:
    """Interpolate values at the given positions along an axis resized from `old` to `new`.

    Args:
        x: the values, with shape (N, …).
        positions: int32 positions on the new axis, with shape (length,), or (N, length) if they
            differ by row.
        new, old: the axis sizes after and before resizing.
        axis: the axis, at least 1.
    """
    scale = tf.cast(old, tf.float32) / tf.cast(new, tf.float32)
    source = tf.maximum((tf.cast(positions, tf.float32) + 0.5) * scale - 0.5, 0)
    low = tf.minimum(tf.cast(source, tf.int32), tf.cast(old, tf.int32) - 1)
    high = tf.minimum(low + 1, tf.cast(old, tf.int32) - 1)
    batch_dims = len(positions.shape) - 1
    a, b = (tf.gather(x, index, axis=axis, batch_dims=batch_dims) for index in (low, high))
    before, after = axis if batch_dims == 0 else axis - 1, len(x.shape) - axis - 1
    t = source - tf.cast(low, tf.float32)
    leading = [1] * before if batch_dims == 0 else [-1] + [1] * before
    length = positions.shape[-1] if positions.shape[-1] is not None else tf.shape(positions)[-1]
    t = tf.reshape(t, [*leading, length, *[1] * after])
    return a + (b - a) * tf.cast(t, a.dtype)
