"""The base class of the class activation maps: activations weighted by gradients."""

from __future__ import annotations

import abc
from typing import ClassVar

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.graph import layer_search
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.graph.layer_search import LayerName
from tfviz.methods.explainer import Explainer
from tfviz.models.labels import LabelSource


class CAM(Explainer):
    """A class activation map at one layer.

    Only the part of the model above the layer is differentiated. `layer_path` holds the path of the
    chosen layer.
    """

    needs_layer: ClassVar[bool] = True
    is_signed: ClassVar[bool] = False  # whether negative values stay

    def __init__(
        self,
        model: keras.Model,
        layer: LayerName = None,
        *,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer and find its layer.

        Args:
            model: a built keras.Model.
            layer: a name, a path into nested models such as "backbone/conv1", or the layer itself.
                None means the last layer with height and width that every path to the output goes
                through. Pooling layers don't count.
            score: "logits" explains the outputs without their final softmax or sigmoid, and
                "outputs" with it.
            output: the output to explain, by name, dict key or number. None keeps all outputs, so
                that the target can be a function of them.
            class_names: the names of the classes, for targets such as "goldfish": a sequence in the
                order of the outputs, or a labels file. None means the names that `load_model`
                found, or ImageNet's for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or it has no feature map.
            UnknownLayerError: there is no such layer, or it has no height and width.
            OptionError: `score` or `output` has an invalid value.
        """
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
        """Compute the map from known values.

        Args:
            known: the known values of the graph, at least its inputs.
            seed: the gradient that starts at the outputs.

        Returns:
            The map (N, h, w), and all values that are known now.
        """
        backward = backpropagate(self.graph, known, seed, [self.layer])
        A, G = backward.values[self.layer], backward.gradients[0]
        weighed = self.weigh(tf.cast(A, tf.float32), tf.cast(G, tf.float32))
        return weighed if self.is_signed else tf.nn.relu(weighed), backward.values

    @abc.abstractmethod
    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        """Compute the map, before its ReLU where it has one.

        Args:
            A: the activations of the layer, (N, h, w, K).
            G: the gradient of the score there, (N, h, w, K).

        Returns:
            The weighted sum over channels, (N, h, w).
        """


def spatial_axes(A: tf.Tensor) -> list[int]:
    """Return the axes of height and width."""
    return list(range(1, len(A.shape) - 1))
