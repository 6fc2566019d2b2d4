"""Eigen-CAM: the dominant pattern in a layer, regardless of class.

Question: which positions of a layer respond most, regardless of class?

    A v, where v is the first right singular vector of A (positions × channels, not centered), with
    Σ v ≥ 0
        Muhammad & Yeasin, 2020, "Eigen-CAM: Class Activation Map using Principal Components"

The cost is one forward pass up to the layer. The method needs no target and no gradient. The map
shows the dominant pattern even if the network's prediction does not depend on it.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, inputs_of, run
from tfviz.methods.cam import CAM
from tfviz.methods.principal_component import first_component


class EigenCAM(CAM):
    """Eigen-CAM at a layer: which positions respond most, regardless of class?

    The map is the projection of the layer's activations onto their first principal component
    (Muhammad & Yeasin, 2020, "Eigen-CAM").

    Calling the explainer returns an attribution of shape (N, h, w) at the layer's resolution. The
    method is class-agnostic, so it takes no target. The map is nonnegative if the layer's
    activations are, such as after a ReLU. At other layers, it can have negative values.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.EigenCAM(model, layer="block2_pool")(images).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "eigen_cam"
    question: ClassVar[str] = "Which positions of a layer respond most, regardless of class?"
    takes_target: ClassVar[bool] = False

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        values = run(inputs_of(self.graph, images), self.graph.before(self.layers))
        maps = [self.weigh(self.as_map(values[layer], layer, values)) for layer in self.layers]
        return self.combined(maps, values), values

    def weigh(self, A: tf.Tensor, G: tf.Tensor | None = None) -> tf.Tensor:
        return first_component(A)
