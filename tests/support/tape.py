"""Gradients to compare with, by a tape that runs compiled.

A tape that runs eagerly computes the gradients of kernels too, which nobody asks for here (see
`graph.backprop`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import tree

# What TensorFlow changes in a graph before it runs; without these a second route runs the kernels
# that an eager run does, but those that nobody asks for are left out.
CHANGES = ("arithmetic_optimization", "constant_folding", "layout_optimizer", "remapping", "shape_optimization")


def compiled(function: Callable[..., Any], *given: Any) -> Any:
    """function(*given), compiled."""
    tensors = tree.map_structure(tf.convert_to_tensor, list(given))
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(dict.fromkeys(CHANGES, False))
    try:
        return tf.function(function, autograph=False).get_concrete_function(*tensors)(*tensors)
    finally:
        tf.config.optimizer.set_experimental_options({name: before.get(name) for name in CHANGES})


def compiled_gradient(score: Callable[[Any], tf.Tensor], x: Any, seed: Any = None) -> Any:
    """The gradient of score(x) at x: a tensor, or tensors nested in any way.

    Args:
        seed: what starts at the score, shaped like it; None is one for each of its numbers.
    """

    def gradient(x: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = score(x)
        return tape.gradient(y, x, output_gradients=seed)

    return compiled(gradient, x)
