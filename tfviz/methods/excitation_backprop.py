"""Excitation backprop: how likely each neuron is to be behind the class.

Answers: where is the evidence for the class, by how strongly neurons excite each other?

    P(input) = Σ_outputs P(output) · share of the input in the output's excitation     (marginal winning probability)
                          Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop"

A probability goes from the logits down: each neuron passes its own on to those below in proportion to activation times
positive weight (see `rules.excitation`). On a network without negative activations it sums to 1 at every cut. One forward
pass, and for each linear map one more with the positive weights and its transpose. It misleads on cluttered images:
what excites every class lights up for each (the contrastive form takes it away), and through BatchNormalization, which
only `merge_batch_norm` takes into account.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.errors import UnknownLayerError, UnsupportedModelError, warn
from tfviz.graph import layer_search
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.graph.channels import has_channels, require_channels_last
from tfviz.graph.graph import Value
from tfviz.graph.layer_search import LayerName
from tfviz.methods.explainer import Explainer, like_inputs
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested
from tfviz.rules.excitation import Excitation


class ExcitationBackprop(Explainer):
    """Marginal winning probability at a layer.

    Args:
        layer: name, path into nested models, the layer object, or None for the image.
        merge_batch_norm: fold a BatchNormalization that alone follows a linear map into the map before its positive part
            is taken, as if the network had been trained without. False is what the authors' code does.
        sum_channels: True gives (N, h, w); False the probability of each neuron, (N, h, w, K).

    Returns (on a call) (N, h, w), 0 or more; (N, units) at a Dense layer.
    """

    key: ClassVar[str] = "excitation_backprop"
    question: ClassVar[str] = "Where is the evidence for the class?"
    needs_layer: ClassVar[bool] = False
    contrastive: ClassVar[bool] = False

    def __init__(
        self,
        model: keras.Model,
        layer: LayerName = None,
        *,
        merge_batch_norm: bool = False,
        sum_channels: bool = True,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.at = self._explained_inputs() if layer is None else [layer_search.find(self.graph, layer)]
        self.layer_path = "image" if layer is None else self.graph.name_of(self.at[0])
        self.sum_channels = sum_channels
        if layer is not None and sum_channels:
            require_channels_last(self.graph, self.at[0], self.layer_path)
        self.excitation = Excitation(self.graph, merge_batch_norm=merge_batch_norm, contrastive=self.contrastive)
        self.excitation.require_rules(self.at)
        if self.contrastive and not self.excitation.is_below_last_map(self.at):
            raise UnknownLayerError(
                f"Layer '{self.layer_path}' lies behind the last linear map, where the contrast begins. Choose a layer "
                "before it."
            )

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        rules = self.excitation.rules(images)
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.at, rules)
        found = dict(zip(self.at, backward.gradients, strict=True))
        if self.at[0] in self.graph.inputs:  # others beside the images may have no rules
            found = {x: found.get(x, tf.zeros(tf.shape(image))) for x, image in zip(self.graph.inputs, images, strict=True)}
        return like_inputs(self.graph, [self._reduced(at, tf.cast(p, tf.float32)) for at, p in found.items()]), backward.values

    def _explained_inputs(self) -> list[Value]:
        """The images; and the other inputs as far as there are rules on their way."""
        rank = max(value.rank for value in self.graph.inputs)
        images = [value for value in self.graph.inputs if value.rank == rank]
        excitation = Excitation(self.graph)
        explained = [value for value in self.graph.inputs if value in images or _has_rules(excitation, value)]
        if left := [self.graph.name_of(value) for value in self.graph.inputs if value not in explained]:
            warn(
                f"Excitation backprop has no rule on the way to {', '.join(map(repr, left))}, beside the images. The "
                "attribution there is 0 throughout."
            )
        return explained

    def _reduced(self, at: Value, p: tf.Tensor) -> tf.Tensor:
        is_summed = self.sum_channels and len(p.shape) > 2 and has_channels(self.graph, at)
        return tf.reduce_sum(p, axis=-1) if is_summed else p


def _has_rules(excitation: Excitation, value: Value) -> bool:
    """Whether every operation on the way from the outputs to a value has a rule, and floats come back to it."""
    try:
        excitation.require_rules([value])
    except UnsupportedModelError:
        return False
    return value.dtype is None or tf.as_dtype(value.dtype).is_floating
