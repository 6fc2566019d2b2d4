"""Replace operations that LiteRT does not support, most of them gradients.

REPLACEMENTS (see `graph_copy`) maps each TensorFlow operation type to a function of the operation
and its new inputs. All replacements return the same results as TensorFlow, even where several
results would be valid. For example, if several elements of a max-pooling window equal its maximum,
the first one receives the entire gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfviz.export.lowering import activation_gradients, move_gradients
from tfviz.export.lowering.graph_copy import Replacement, same
from tfviz.export.lowering.windows import Windows


def _max_pool_gradient(operation: tf.Operation, x: tf.Tensor, y: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    windows, left, shares = _pooling(operation, x), p, []
    for element in windows.elements(x, x.dtype.min):
        wins = tf.equal(element, y)
        shares.append(tf.where(wins, left, tf.zeros_like(left)))
        # The first maximum receives the whole gradient, as in TensorFlow.
        left = tf.where(wins, tf.zeros_like(left), left)
    return windows.put_back(shares)


def _max_pool_3d(operation: tf.Operation, x: tf.Tensor) -> tf.Tensor:
    first, *others = _pooling(operation, x).elements(x, x.dtype.min)
    for element in others:
        first = tf.maximum(first, element)
    return first


def _average_pool_gradient(operation: tf.Operation, size: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    windows = _pooling(operation, operation.outputs[0])
    share = p / windows.valid_counts()
    return windows.put_back([share for _ in windows.offsets()])


def _average_pool_3d(operation: tf.Operation, x: tf.Tensor) -> tf.Tensor:
    windows = _pooling(operation, x)
    return tf.add_n(list(windows.elements(x, 0.0))) / windows.valid_counts()


def _pooling(operation: tf.Operation, x: tf.Tensor) -> Windows:
    return Windows.of(operation, x.shape[1:-1], operation.get_attr("ksize")[1:-1])


def _depthwise_input_gradient(operation: tf.Operation, size: tf.Tensor, kernel: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    *sides, channels, multiplier = kernel.shape
    windows = Windows.of(operation, operation.outputs[0].shape[1:-1], sides)
    mirrored = tf.reshape(tf.reverse(kernel, [0, 1]), [*sides, channels * multiplier, 1])
    spread = windows.spread(p)
    back = tf.nn.depthwise_conv2d(spread, mirrored, [1, 1, 1, 1], "VALID", dilations=windows.dilations)
    if multiplier == 1:
        return back
    return tf.reduce_sum(tf.reshape(back, [*back.shape[:-1], channels, multiplier]), axis=-1)


def _convolution(operation: tf.Operation, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor | Sequence[tf.Tensor]:
    groups = x.shape[-1] // kernel.shape[2]
    if groups == 1:
        return same(operation, [x, kernel])
    parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
    return tf.concat([same(operation, part)[0] for part in parts], axis=-1)


def _convolution_input_gradient(
    operation: tf.Operation, size: tf.Tensor, kernel: tf.Tensor, p: tf.Tensor
) -> tf.Tensor | Sequence[tf.Tensor]:
    groups = operation.outputs[0].shape[-1] // kernel.shape[2]
    windows = Windows.of(operation, operation.outputs[0].shape[1:-1], kernel.shape[:2])
    is_plain = operation.get_attr("padding") != b"EXPLICIT" and set(windows.dilations) == {1}
    if groups == 1 and is_plain and set(windows.kernel) != {1}:
        return same(operation, [size, kernel, p])
    parts = zip(tf.split(kernel, groups, axis=-1), tf.split(windows.spread(p), groups, axis=-1), strict=True)
    return tf.concat([_input_gradient(kernel, spread, windows) for kernel, spread in parts], axis=-1)


def _input_gradient(kernel: tf.Tensor, spread: tf.Tensor, windows: Windows) -> tf.Tensor:
    mirrored = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
    return tf.nn.conv2d(spread, mirrored, 1, "VALID", dilations=windows.dilations)


def _integer_product(operation: tf.Operation, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor | Sequence[tf.Tensor]:
    """Multiply the int8 matrices of a quantized Dense layer in float32.

    The result is exact, because float32 represents all integers below 2^24 exactly.
    """
    if operation.outputs[0].dtype != tf.int32:
        return same(operation, [x, y])
    adjoint = {"adjoint_a": operation.get_attr("adj_x"), "adjoint_b": operation.get_attr("adj_y")}
    return tf.cast(tf.matmul(tf.cast(x, tf.float32), tf.cast(y, tf.float32), **adjoint), tf.int32)


REPLACEMENTS: Mapping[str, Replacement] = {
    "MaxPoolGrad": _max_pool_gradient,
    "MaxPool3D": _max_pool_3d,
    "MaxPool3DGrad": _max_pool_gradient,
    "AvgPoolGrad": _average_pool_gradient,
    "AvgPool3D": _average_pool_3d,
    "AvgPool3DGrad": _average_pool_gradient,
    "Conv2D": _convolution,
    "Conv2DBackpropInput": _convolution_input_gradient,
    "DepthwiseConv2dNativeBackpropInput": _depthwise_input_gradient,
    "BatchMatMulV3": _integer_product,
    **activation_gradients.REPLACEMENTS,
    **move_gradients.REPLACEMENTS,
}
