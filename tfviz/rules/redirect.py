"""Replace the gradient of an operation. All gradient changes in tfviz use this module."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfviz.tensorflow_internals import collectable_gradients


def redirect(output: tf.Tensor, inputs: Sequence[tf.Tensor], backward: Callable[[tf.Tensor], Sequence[tf.Tensor]]) -> tf.Tensor:
    """Return `output` unchanged, but with `backward` as its gradient function.

    The output must be computed beforehand, because a `tf.custom_gradient` that reads variables must
    also return gradients for them.

    Args:
        output: the operation's result.
        inputs: the tensors to which gradients are propagated.
        backward: a function that takes the gradient with respect to the output and returns one
            gradient per input. Each gradient is cast to its input's dtype, which may differ from
            the output's.

    Returns:
        A tensor equal to `output`.
    """

    @tf.custom_gradient
    def pass_on(*inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        return tf.identity(output), gradient

    def gradient(p: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Without this dependency, computations that depend only on the inputs would run in the
        # forward pass, and their results would stay in memory until p is available.
        with tf.control_dependencies([p]):
            return tuple(tf.cast(part, x.dtype) for part, x in zip(backward(p), inputs, strict=True))

    with collectable_gradients():
        return pass_on(*inputs)
