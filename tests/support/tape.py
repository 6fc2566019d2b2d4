"""Reference gradients from a tape that runs compiled.

In eager mode a tape also computes kernel gradients, which nobody needs here (see `graph.backprop`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import tree

# TensorFlow's graph optimizations. Without them, a second route runs the same kernels as in eager
# mode, except those that nobody needs.
CHANGES = ("arithmetic_optimization", "constant_folding", "layout_optimizer", "remapping", "shape_optimization")


def compiled(function: Callable[..., Any], *given: Any) -> Any:
    """Run function(*given) compiled."""
    tensors = tree.map_structure(tf.convert_to_tensor, list(given))
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(dict.fromkeys(CHANGES, False))
    try:
        return tf.function(function, autograph=False).get_concrete_function(*tensors)(*tensors)
    finally:
        tf.config.optimizer.set_experimental_options({name: before.get(name) for name in CHANGES})


def compiled_gradient(score: Callable[[Any], tf.Tensor], x: Any, seed: Any = None) -> Any:
    """Return the gradient of score(x) at x, a tensor or nested tensors.

    Args:
        score: the function to differentiate.
        x: where to differentiate.
        seed: the gradient at the score, with the same shape; None is all ones.
    """

    def gradient(x: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = score(x)
        return tape.gradient(y, x, output_gradients=seed)

    return compiled(gradient, x)
