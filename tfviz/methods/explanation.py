"""An explainer's result together with the model's outputs."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfviz.nesting import Nested


class Explanation(NamedTuple):
    """An attribution together with the model's outputs and the explained classes.

    Attributes:
        outputs: the model's outputs, including any final softmax or sigmoid, as float32 and nested
            as the model returns them.
        target: the explained class of each image, or its top class for a method without a target,
            as int32 of shape (N,). None if the target is a function or weights, or if the outputs
            do not have shape (N, classes).
        attribution: the result of calling the explainer.
    """

    outputs: Nested[tf.Tensor]
    target: tf.Tensor | None
    attribution: Nested[tf.Tensor]
