"""What the class activation maps share: a layer's activations, the score's gradient there, and a sum over channels."""

from __future__ import annotations

import abc

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.graph import layer_search
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.graph.layer_search import LayerName
from tfviz.methods.explainer import Explainer
from tfviz.models.labels import LabelSource


class CAM(Explainer):
    """A class activation map.

    Args:
        layer: name, path into nested models ("backbone/conv1"), the layer object, or None for the last layer with height
            and width that every path to the output goes through, pooling aside.

    `layer_path` says which layer it is. The trunk below the layer is a plain forward pass.
    """

    needs_layer = True

    def __init__(
        self,
        model: keras.Model,
        layer: LayerName = None,
        *,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        super().__init__(model, score=score, output=output, class_names=class_names)
        if layer is None:
            self.layer = layer_search.last_feature_map(self.graph).outputs[0]
        else:
            self.layer = layer_search.find(self.graph, layer)
        self.layer_path = self.graph.name_of(self.layer)
        layer_search.require_height_and_width(self.graph, self.layer, self.layer_path)

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        return self.map_from(inputs_of(self.graph, images), seed)

    def map_from(self, known: Values, seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        """The map (N, h, w), from values that are known already, and all that are known now."""
        backward = backpropagate(self.graph, known, seed, [self.layer])
        A, G = backward.values[self.layer], backward.gradients[0]
        return tf.nn.relu(self.weigh(tf.cast(A, tf.float32), tf.cast(G, tf.float32))), backward.values

    @abc.abstractmethod
    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        """The map (N, h, w) before its ReLU, from activations and gradients (N, h, w, K)."""


def spatial_axes(A: tf.Tensor) -> list[int]:
    """The axes of height and width."""
    return list(range(1, len(A.shape) - 1))
