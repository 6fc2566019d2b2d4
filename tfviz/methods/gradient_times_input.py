"""Gradient × Input: how much each pixel contributes to the score, to first order.

Answers: which pixels contribute to the score?

    images ⊙ ∂S/∂images             Shrikumar et al., 2016, "Not Just a Black Box", section 2

For a ReLU network without biases the map sums to the score. It misleads at pixels whose value is close to 0 for the model
(black, or the mean color where the preprocessing subtracts it): they get 0 however much the score depends on them.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.methods.explainer import like_inputs
from tfviz.methods.gradient import GradientExplainer
from tfviz.nesting import Nested


class GradientTimesInput(GradientExplainer):
    """images ⊙ ∂S/∂images, signed, (N, H, W, C)."""

    key: ClassVar[str] = "gradient_times_input"
    question: ClassVar[str] = "Which pixels contribute to the score?"
    style: ClassVar[str] = "signed"
    accepts_opaque: ClassVar[bool] = True

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs)
        products = [tf.cast(x, g.dtype) * g for x, g in zip(images, backward.gradients, strict=True)]
        return like_inputs(self.graph, products), backward.values
