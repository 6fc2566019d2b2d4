"""The base class of the class activation maps: activations weighted by gradients."""

from __future__ import annotations

import abc
from typing import ClassVar

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.errors import ImageError
from tfviz.graph import layer_search
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.graph.layer_search import LayerName
from tfviz.graph.token_grid import TokenGrid, token_grids
from tfviz.methods.explainer import Explainer
from tfviz.models.labels import LabelSource


class CAM(Explainer):
    """A class activation map at one layer.

    Only the part of the model above the layer is differentiated. `layer_path` holds the path of the
    chosen layer. The tokens of a vision transformer (N, tokens, K) are read as a map (N, h, w, K)
    of the patches, without class tokens and registers.
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
                through. Pooling layers don't count. In a vision transformer it is the first
                normalization of the last attention block.
            score: "logits" explains the outputs before their final softmax or sigmoid; "outputs"
                explains them with it.
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
            self.layer = layer_search.automatic_layer(self.graph).outputs[0]
        else:
            self.layer = layer_search.find(self.graph, layer)
        self.layer_path = self.graph.name_of(self.layer)
        layer_search.require_height_and_width(self.graph, self.layer, self.layer_path)
        self.has_tokens = layer_search.may_be_tokens(self.graph, self.layer)
        self.grids: dict[tuple[tuple[int, ...], ...], TokenGrid | None] = {}

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
        A, G = (self.as_map(x, known) for x in (backward.values[self.layer], backward.gradients[0]))
        weighed = self.weigh(A, G)
        return weighed if self.is_signed else tf.nn.relu(weighed), backward.values

    def as_map(self, x: tf.Tensor, known: Values) -> tf.Tensor:
        """Return activations or gradients of the layer in float32, tokens arranged as a map.

        Args:
            x: (N, h, w, K), or (N, tokens, K).
            known: the known values of the graph, at least its inputs.

        Returns:
            The map (N, h, w, K), float32; for tokens, of the patches alone.

        Raises:
            ImageError: the layer holds tokens, and the size of the images is not known.
        """
        x = tf.cast(x, tf.float32)
        if not self.has_tokens:
            return x
        sizes = tuple(tuple(known[value].shape[1:]) for value in self.graph.inputs)
        if any(None in size for size in sizes):
            raise ImageError(
                f"{self.key} needs the image size at compile time, because layer '{self.layer_path}' holds tokens. Received "
                f"images of size {sizes[0]} inside a tf.function. Give that function an input_signature with height and width."
            )
        if sizes not in self.grids:
            self.grids[sizes] = token_grids(self.graph, [self.layer], sizes).get(self.layer)
        grid = self.grids[sizes]
        return x if grid is None else grid.patches(x)

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
