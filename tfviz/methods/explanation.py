"""What an explainer returns beside the attribution."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfviz.nesting import Nested


class Explanation(NamedTuple):
    """What one forward and backward pass through the model gives.

    Attributes:
        outputs: the model's own outputs, float32, nested as it returns them, with any final softmax or sigmoid.
        target: (N,) int32, the class that is explained; for a method that explains no single class the top class. None where
            the target is a function or weights, and where the outputs are not (N, classes).
        attribution: what a call of the explainer gives.
    """

    outputs: Nested[tf.Tensor]
    target: tf.Tensor | None
    attribution: Nested[tf.Tensor]
