"""The base class of the class activation maps: activations weighted by gradients."""

from __future__ import annotations

import abc
from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.methods.layer_maps import LayerExplainer


class CAM(LayerExplainer):
    """A class activation map at one layer, or a combination of maps at several.

    Only the part of the model above the layer is differentiated. The tokens of a vision transformer
    (N, tokens, K) are read as a map (N, h, w, K) of the patches, without class tokens and
    registers.
    """

    is_signed: ClassVar[bool] = False  # whether negative values stay

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
        backward = backpropagate(self.graph, known, seed, self.layers)
        pairs = zip(self.layers, backward.gradients, strict=True)
        maps = [self._map(*(self.as_map(x, layer, known) for x in (backward.values[layer], G))) for layer, G in pairs]
        return self.combined(maps, known), backward.values

    def _map(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        weighed = self.weigh(A, G)
        return weighed if self.is_signed else tf.nn.relu(weighed)

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
