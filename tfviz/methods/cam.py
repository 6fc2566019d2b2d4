"""The base class for class activation maps, which weight activations by gradients."""

from __future__ import annotations

import abc
from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.methods.layer_maps import LayerExplainer


class CAM(LayerExplainer):
    """A method that computes a class activation map at one layer or combines the maps from several.

    Gradients are computed only through the part of the model above the layer. A vision
    transformer's patch tokens are rearranged into a map of shape (N, h, w, K). Class tokens and
    registers are excluded.
    """

    is_signed: ClassVar[bool] = False  # whether to keep negative values

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        return self.map_from(inputs_of(self.graph, images), seed)

    def map_from(self, known: Values, seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        """Compute the map from the graph values computed so far.

        Args:
            known: the graph values computed so far, at least the inputs.
            seed: the score's gradient with respect to the outputs.

        Returns:
            The map, with shape (N, h, w), and all graph values computed so far.
        """
        backward = backpropagate(self.graph, known, seed, self.layers)
        pairs = zip(self.layers, backward.gradients, strict=True)
        maps = [self._map(*(self.as_map(x, layer, known) for x in (backward.values[layer], G))) for layer, G in pairs]
        return self.combined(maps, known), backward.values

    def _map(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        weighed = self.weigh(A, G)
        return weighed if self.is_signed else tf.nn.relu(weighed)

    @abc.abstractmethod
    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        """Compute the map before any final ReLU.

        Args:
            A: the layer's activations, with shape (N, h, w, K).
            G: the score's gradient with respect to the activations, with shape (N, h, w, K).

        Returns:
            The weighted sum over channels, with shape (N, h, w).
        """


def spatial_axes(A: tf.Tensor) -> list[int]:
    """Return the indices of the spatial axes, such as height and width."""
    return list(range(1, len(A.shape) - 1))
