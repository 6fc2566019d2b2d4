"""Convert outputs to probabilities for methods that measure how a probability changes."""

from __future__ import annotations

import tensorflow as tf

from tfviz.graph.backprop import Values, run
from tfviz.graph.graph import Graph, Value
from tfviz.graph.logits import has_two_classes, is_probability
from tfviz.nesting import Nested


def probabilities(values: Values, whole: Graph, graph: Graph) -> Nested[tf.Tensor]:
    """Return the model's outputs with class scores converted to probabilities.

    Args:
        values: the values computed so far.
        whole: the model's graph with its final activation.
        graph: the graph whose outputs are the score.

    Returns:
        The model's outputs in float32. A softmax is applied to outputs of shape (N, classes) that
        have no final activation, and a single sigmoid unit p becomes the two classes 1 − p and p.
        Other outputs are unchanged.
    """
    values = run(values, whole.before(whole.outputs, given=values))
    outputs = whole.output_structure
    if not isinstance(outputs, Value):
        return tf.nest.map_structure(lambda value: tf.cast(values[value], tf.float32), outputs)
    p = tf.cast(values[outputs], tf.float32)
    if has_two_classes(graph):
        return tf.concat([1 - p, p], axis=-1)
    has_classes = len(p.shape) == 2 and p.shape[-1] != 1
    return tf.nn.softmax(p) if has_classes and not is_probability(whole, outputs) else p
