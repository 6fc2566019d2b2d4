"""Gradient × Input: how much each pixel contributes to the score, to first order.

Question: which pixels contribute to the score?

    images ⊙ ∂S/∂images
        Shrikumar et al., 2016, "Not Just a Black Box", section 2

For a ReLU network without biases, the map sums to the score. Pixels whose preprocessed value is
close to 0 (black, or the mean color if the preprocessing subtracts it) get almost no attribution,
no matter how much the score depends on them.
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
    """The image times the score's gradient: which pixels contribute to the score?

    The map is images ⊙ ∂S/∂images (Shrikumar et al., 2016, "Not Just a Black Box", section 2).

    Calling the explainer returns a signed attribution of shape (N, H, W, C).

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.GradientTimesInput(model)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "gradient_times_input"
    question: ClassVar[str] = "Which pixels contribute to the score?"
    style: ClassVar[str] = "signed"
    accepts_opaque: ClassVar[bool] = True

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs)
        pairs = zip(images, backward.gradients, strict=True)
        products = [g if x.dtype == tf.string else tf.cast(x, g.dtype) * g for x, g in pairs]
        return like_inputs(self.graph, products), backward.values
