"""The one function through which tfviz changes a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfviz.tensorflow_internals import collectable_gradients


def redirect(output: tf.Tensor, inputs: Sequence[tf.Tensor], backward: Callable[[tf.Tensor], Sequence[tf.Tensor]]) -> tf.Tensor:
    """Return `output` unchanged, but let `backward` compute its gradient.

    The output must be computed outside, because a `tf.custom_gradient` that reads variables also
    has to return gradients for them.

    Args:
        output: the result of the operation, returned unchanged.
        inputs: the tensors that gradients are propagated to.
        backward: maps the gradient at the output to one gradient per input. Each is cast to its
            input's dtype, which may differ from the output's.

    Returns:
        A tensor equal to `output`.
    """

    @tf.custom_gradient
    def pass_on(*inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        return tf.identity(output), gradient

    def gradient(p: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Without this dependency, whatever depends on the inputs alone would be computed in the
        # forward pass and kept in memory until p arrives.
        with tf.control_dependencies([p]):
            return tuple(tf.cast(part, x.dtype) for part, x in zip(backward(p), inputs, strict=True))

    with collectable_gradients():
        return pass_on(*inputs)
