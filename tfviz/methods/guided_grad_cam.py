"""Guided Grad-CAM: guided backprop's detail, restricted to Grad-CAM's regions.

Question: which fine structures belong to the class?

    guided backprop · Grad-CAM resized to the image
        Selvaraju et al., 2017, "Grad-CAM", section 3.2

Both methods share one forward pass; Grad-CAM repeats only the steps above its layer. Grad-CAM's map
is resized bilinearly. In a model with several image inputs, the attribution is 0 for each input
that the layer does not depend on. As in guided backprop, the fine structures barely depend on the
class; only their position does.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.errors import UnknownLayerError
from tfviz.graph.activations import with_activations
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.graph.channels import has_channels, map_axes
from tfviz.graph.graph import Value
from tfviz.methods.explainer import like_inputs
from tfviz.methods.grad_cam import GradCAM
from tfviz.methods.gradient import warn_of_integers
from tfviz.methods.interpolation import resized
from tfviz.methods.layer_maps import Layers
from tfviz.methods.redirection import warn_without_relu
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested
from tfviz.rules.activations import ALL_GUIDED, redirects_all
from tfviz.rules.relu import GUIDED


class GuidedGradCAM(GradCAM):
    """Guided backprop times Grad-CAM: which fine structures belong to the class?

    Reference: Selvaraju et al., 2017, "Grad-CAM", section 3.2.

    Calling the explainer returns a signed attribution of shape (N, H, W, C). For a vector input,
    which has no spatial extent, the attribution is guided backprop alone. For an image input that
    the layer does not depend on, it is 0.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.GuidedGradCAM(model, layer="block2_pool")(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "guided_grad_cam"
    question: ClassVar[str] = "Which fine structures belong to the class?"
    style: ClassVar[str] = "grey"

    def __init__(
        self,
        model: keras.Model,
        layer: Layers = None,
        *,
        combine: str = "mean",
        activations: str = "relu",
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer and find its layer (see `GradCAM` for the arguments).

        Args:
            model: a built keras.Model.
            layer: the layer for Grad-CAM: a name, a path into nested models, or the layer itself.
                None selects the last layer with height and width that every path to the output goes
                through. Pooling layers don't count. A list of layers combines their maps.
            combine: how to combine the maps for a list of layers: "mean", "max" or "product".
            activations: "relu" redirects ReLUs, as in the paper. "all" also redirects all other
                elementwise activations (see `GuidedBackprop`).
            score: "logits" or "outputs".
            output: the name, dict key or index of the output to explain.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or it has no feature map.
            UnknownLayerError: there is no such layer, or its axes do not match those of the image.
            OptionError: `activations`, `score` or `output` has an invalid value.
        """
        is_for_all = redirects_all(activations)
        super().__init__(model, layer, combine=combine, score=score, output=output, class_names=class_names)
        self.seen = [value for value in self.graph.inputs if self.graph.after([value]).intersection(self.layers)]
        if not any(map(self._has_positions, self.seen)):
            raise UnknownLayerError(
                f"Layer '{self.layer_path}' has shape {self.layer.shape}, but the image has shape "
                f"{self.graph.inputs[0].shape}. Their axes do not match, so the map cannot mask the image. Choose a "
                "convolutional layer."
            )
        self.redirected = with_activations(self.graph) if is_for_all else self.graph
        self.redirections = ALL_GUIDED if is_for_all else GUIDED
        warn_without_relu(self.redirected, self.key)
        warn_of_integers(self.graph, self.key)

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        guided = backpropagate(self.redirected, inputs_of(self.graph, images), seed, self.graph.inputs, self.redirections)
        cam, values = self.map_from(guided.values, seed)
        pairs = zip(self.graph.inputs, guided.gradients, strict=True)
        return like_inputs(self.graph, [self._masked(value, tf.cast(g, tf.float32), cam) for value, g in pairs]), values

    def _masked(self, value: Value, gradient: tf.Tensor, cam: tf.Tensor) -> tf.Tensor:
        if not self._has_positions(value):
            return gradient
        if value not in self.seen:
            return tf.zeros_like(gradient)
        axes = range(1, len(cam.shape))
        cam = resized(cam, [gradient.shape[i] if gradient.shape[i] is not None else tf.shape(gradient)[i] for i in axes])
        return gradient * (cam[..., None] if has_channels(self.graph, value) else cam)

    def _has_positions(self, value: Value) -> bool:
        """Return whether an input has spatial positions for the map to mask. A vector has none."""
        return map_axes(self.graph, value) == self.map_axes_of(self.layer)
