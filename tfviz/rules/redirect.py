"""The one way in which tfviz changes a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfviz.tensorflow_internals import collectable_gradients


def redirect(output: tf.Tensor, inputs: Sequence[tf.Tensor], backward: Callable[[tf.Tensor], Sequence[tf.Tensor]]) -> tf.Tensor:
    """`output`, unchanged; backward, `backward(p)` returns what each of the inputs receives of p.

    A layer may compute in another dtype than the one before it: what comes back is cast to that of each input.

    The output is computed outside, so that no variable is read in here: a `tf.custom_gradient` that reads one has to
    return a gradient for it.
    """

    @tf.custom_gradient
    def pass_on(*inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        return tf.identity(output), gradient

    def gradient(p: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # What is computed from the inputs alone could run along with the forward pass, and would then be kept in memory
        # until p arrives.
        with tf.control_dependencies([p]):
            return tuple(tf.cast(part, x.dtype) for part, x in zip(backward(p), inputs, strict=True))

    with collectable_gradients():
        return pass_on(*inputs)
