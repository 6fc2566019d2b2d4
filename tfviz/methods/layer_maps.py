"""The base class for methods that compute a map at one layer or combine maps from several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

import keras
import tensorflow as tf

from tfviz.errors import ImageError, OptionError, UnknownLayerError
from tfviz.graph import layer_search
from tfviz.graph.backprop import Values
from tfviz.graph.channels import map_axes
from tfviz.graph.graph import Value
from tfviz.graph.layer_search import LayerName
from tfviz.graph.token_grid import TokenGrid, token_grids
from tfviz.methods.explainer import Explainer
from tfviz.methods.interpolation import resized
from tfviz.models.labels import LabelSource
from tfviz.numerics import unit_range

Layers: TypeAlias = "LayerName | Sequence[str | keras.Layer]"

_COMBINED: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "mean": lambda maps: tf.reduce_mean(maps, 0),
    "max": lambda maps: tf.reduce_max(maps, 0),
    "product": lambda maps: tf.reduce_prod(maps, 0),
}


class LayerExplainer(Explainer):
    """A method that computes a map at one layer or combines the maps from several layers.

    Attributes:
        layers: the layers' outputs in the graph.
        layer: the first layer's output.
        layer_path: the layers' paths, joined with commas.
    """

    needs_layer: ClassVar[bool] = True

    def __init__(
        self,
        model: keras.Model,
        layer: Layers = None,
        *,
        combine: str = "mean",
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer and find its layers.

        Args:
            model: a built keras.Model.
            layer: a name, a path into nested models such as "backbone/conv1", or the layer itself.
                None selects the last layer with height and width that every path to the output goes
                through. Pooling layers don't count. In a vision transformer, None selects the last
                attention block's first normalization. A list of layers combines their maps.
            combine: how to combine the maps for a list of layers: "mean", "max" or "product". Each
                map is first resized to the image and scaled to [0, 1] by its minimum and maximum.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or it has no feature map.
            UnknownLayerError: there is no such layer, or it has no height and width.
            OptionError: `score`, `output`, `combine` or the list of layers has an invalid value.
        """
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.is_combined = isinstance(layer, (list, tuple))
        if combine not in _COMBINED:
            raise OptionError(f"`combine` must be one of {', '.join(_COMBINED)}. Received: {combine!r}.")
        self._combine = combine
        if isinstance(layer, (list, tuple)):
            if not layer:
                raise OptionError("`layer` is an empty list. Pass at least one layer.")
            self.layers = [layer_search.find(self.graph, one) for one in layer]
        elif layer is None:
            self.layers = [layer_search.automatic_layer(self.graph).outputs[0]]
        else:
            self.layers = [layer_search.find(self.graph, layer)]
        self.layer = self.layers[0]
        paths = [self.graph.name_of(value) for value in self.layers]
        self.layer_path = ", ".join(paths)
        for value, path in zip(self.layers, paths, strict=True):
            layer_search.require_height_and_width(self.graph, value, path)
        if self.is_combined:
            self.require_axes_of_an_image()
        self._grids: dict[tuple[Value, tuple[tuple[int, ...], ...]], TokenGrid | None] = {}

    @property
    def explained(self) -> list[Value]:
        return self.layers

    def as_map(self, x: tf.Tensor, layer: Value, known: Values) -> tf.Tensor:
        """Cast a layer's activations or gradients to float32 and arrange any tokens as a map.

        Args:
            x: the activations or gradients, with shape (N, h, w, K) or (N, tokens, K).
            layer: the layer.
            known: the graph values computed so far, at least the inputs.

        Returns:
            A float32 map of shape (N, h, w, K). For tokens, it contains only the patches.

        Raises:
            ImageError: the layer's output consists of tokens, and the image size is unknown.
        """
        x = tf.cast(x, tf.float32)
        if not layer_search.may_be_tokens(self.graph, layer):
            return x
        sizes = tuple(tuple(known[value].shape[1:]) for value in self.graph.inputs)
        if any(None in size for size in sizes):
            raise ImageError(
                f"{self.key} needs the image size at compile time, because the output of layer '{self.layer_path}' consists "
                f"of tokens. Received: images of shape {sizes[0]} inside a tf.function. Give that function an input_signature "
                "with height and width."
            )
        if (layer, sizes) not in self._grids:
            self._grids[layer, sizes] = token_grids(self.graph, [layer], sizes).get(layer)
        grid = self._grids[layer, sizes]
        return x if grid is None else grid.patches(x)

    def require_axes_of_an_image(self) -> None:
        """Check that each map can be resized to the image size.

        Raises:
            UnknownLayerError: a layer's axes do not match those of the image.
        """
        axes = {map_axes(self.graph, value) for value in self.graph.inputs if value.rank}
        for layer in self.layers:
            if self.map_axes_of(layer) not in axes or self.map_axes_of(layer) != self.map_axes_of(self.layer):
                raise UnknownLayerError(
                    f"Layer '{self.graph.name_of(layer)}' has shape {layer.shape}, but the image has shape "
                    f"{self.graph.inputs[0].shape}. Their axes do not match, so {self.key} cannot resize the map to the image. "
                    "Choose a convolutional layer."
                )

    def map_axes_of(self, layer: Value) -> int:
        """Return the number of axes in a layer's map.

        Args:
            layer: the layer.

        Returns:
            The number of axes, such as 2 for height and width.
        """
        return 2 if layer_search.may_be_tokens(self.graph, layer) else map_axes(self.graph, layer)

    def combined(self, maps: list[tf.Tensor], known: Values) -> tf.Tensor:
        """Return a single layer's map or, for a list of layers, the combined map.

        Args:
            maps: one map of shape (N, h, w) per layer.
            known: the graph values, at least the inputs.

        Returns:
            The map, with shape (N, h, w). For a list of layers, it is resized to the image and has
            shape (N, H, W).
        """
        if not self.is_combined:
            return maps[0]
        axes = len(maps[0].shape) - 1
        image = next(x for x in self.graph.inputs if map_axes(self.graph, x) == axes)
        size = [n if n is not None else tf.shape(known[image])[i] for i, n in enumerate(known[image].shape)][1 : axes + 1]
        return _COMBINED[self._combine](tf.stack([unit_range(resized(one, size)) for one in maps]))
