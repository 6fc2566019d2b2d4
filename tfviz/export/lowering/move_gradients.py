"""Compute gradients of operations that move, copy or mix elements (see `litert_operations`).

Resizing, mirror padding and slicing are linear and separable. Along each axis, applying the
operation to the identity matrix returns the matrix of the operation. The gradient is multiplied by
the transpose of this matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfviz.export.lowering.graph_copy import Replacement, same

_MAX_AXES = 4  # the number of axes that every LiteRT kernel supports


def _resize(run: Callable[..., tf.Tensor]) -> Replacement:
    def gradient(operation: tf.Operation, p: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        options = {name: operation.get_attr(name) for name in ("align_corners", "half_pixel_centers")}
        for axis in (1, 2):
            n, m = operation.outputs[0].shape[axis], p.shape[axis]
            with tf.init_scope():
                unit = tf.reshape(tf.eye(n), [1, n, 1, n])
                matrix = run(images=unit, size=[m, 1], **options).numpy().reshape(m, n)
            p = _backward_along(axis, p, matrix)
        return p

    return gradient


def _mirror_pad(operation: tf.Operation, p: tf.Tensor, pads: tf.Tensor) -> tf.Tensor:
    mode = operation.get_attr("mode").decode().lower()
    for axis, (before, after) in enumerate(tf.get_static_value(pads)):
        size = operation.outputs[0].shape[axis]
        p = _backward_along(axis, p, np.pad(np.eye(size, dtype="float32"), [(before, after), (0, 0)], mode))
    return p


def _strided_slice(
    operation: tf.Operation, shape: tf.Tensor, begin: tf.Tensor, end: tf.Tensor, strides: tf.Tensor, p: tf.Tensor
) -> tf.Tensor:
    sizes = operation.outputs[0].shape.as_list()
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    bounds = {name: tf.get_static_value(x) for name, x in (("begin", begin), ("end", end), ("strides", strides))}
    with tf.init_scope():
        numbers = tf.reshape(tf.range(np.prod(sizes)), sizes)
        taken = tf.raw_ops.StridedSlice(input=numbers, **bounds, **{name: operation.get_attr(name) for name in names}).numpy()
    rows = [list(dict.fromkeys(places)) for places in np.unravel_index(taken.reshape(-1), sizes)]
    p = tf.reshape(p, [len(row) for row in rows])
    for axis, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        if row == list(range(row[0], row[-1] + 1)):
            p = tf.pad(p, [(row[0], size - 1 - row[-1]) if i == axis else (0, 0) for i in range(len(sizes))])
        else:
            p = _backward_along(axis, p, np.eye(size, dtype="float32")[row])
    return p


def _sum(operation: tf.Operation, x: tf.Tensor, axes: tf.Tensor) -> tf.Tensor | Sequence[tf.Tensor]:
    """Sum a tensor over axes, even if it has more axes than LiteRT supports (for example, after
    `repeat`).

    Adjacent axes are merged if all of them are summed or all of them are kept.
    """
    summed = tf.get_static_value(axes)
    if len(x.shape) <= _MAX_AXES or summed is None:
        return same(operation, [x, axes])
    merged: list[tuple[bool, int]] = []
    for axis, size in enumerate(x.shape):
        is_summed = axis in np.atleast_1d(summed) % len(x.shape)
        if merged and (size == 1 or merged[-1][0] == is_summed):
            merged[-1] = (merged[-1][0], merged[-1][1] * size)
        else:
            merged.append((is_summed, size))
    total = tf.reduce_sum(
        tf.reshape(x, [size for _, size in merged]), axis=[i for i, (is_summed, _) in enumerate(merged) if is_summed]
    )
    return tf.reshape(total, operation.outputs[0].shape)


def _backward_along(axis: int, p: tf.Tensor, matrix: np.ndarray) -> tf.Tensor:
    """Multiply p, of shape (..., m, ...), along an axis by the transpose of an (m, n) matrix."""
    m, n = matrix.shape
    if m == n and (matrix == np.eye(n)).all():
        return p
    shape = p.shape.as_list()
    before, behind = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    back = tf.matmul(
        np.broadcast_to(matrix.T, (before, n, m)) if before > 1 else matrix.T[None], tf.reshape(p, [before, m, behind])
    )
    return tf.reshape(back, [*shape[:axis], n, *shape[axis + 1 :]])


REPLACEMENTS: Mapping[str, Replacement] = {
    "Sum": _sum,
    "ResizeBilinearGrad": _resize(tf.raw_ops.ResizeBilinear),
    "ResizeNearestNeighborGrad": _resize(tf.raw_ops.ResizeNearestNeighbor),
    "ResizeBicubicGrad": _resize(tf.raw_ops.ResizeBicubic),
    "MirrorPadGrad": _mirror_pad,
    "StridedSliceGrad": _strided_slice,
}
