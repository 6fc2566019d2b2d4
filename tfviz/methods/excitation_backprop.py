"""Excitation backprop: the probability that each neuron contributes to the class.

Question: where is the evidence for the class?

    P(input) = Σ_outputs P(output) · the input's share of the output's excitation
        Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop"
        (marginal winning probability)

Probability is propagated down from the logits. Each neuron divides its probability among its inputs
in proportion to activation times positive weight (see `rules.excitation`). In a network without
negative activations, the probabilities sum to 1 at every cut through the network. The cost is one
forward pass and, for each linear map, one additional pass with the positive weights and one with
their transpose. In cluttered images, regions that excite every class appear in each class's map.
The contrastive variant removes these regions. BatchNormalization is ignored unless
`merge_batch_norm` is set.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import tree

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

_LEAST_PROBABILITY = 0.5  # a smaller sum triggers a warning


class ExcitationBackprop(Explainer):
    """Excitation backprop at a layer: where is the evidence for the class?

    The map shows the marginal winning probability, summed over the channels (Zhang et al., 2016,
    "Top-down Neural Attention by Excitation Backprop").

    Calling the explainer returns a nonnegative attribution of shape (N, h, w), or (N, units) at a
    Dense layer. With `sum_channels=False`, it returns the probability of each neuron, with shape
    (N, h, w, K).

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> explainer = tfviz.ExcitationBackprop(model, layer="block1_pool")
        >>> explainer(images, target=7).shape
        TensorShape([2, 48, 48])
    """

    key: ClassVar[str] = "excitation_backprop"
    question: ClassVar[str] = "Where is the evidence for the class?"
    needs_layer: ClassVar[bool] = False
    reads_kernels: bool = True
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
        """Prepare the explainer and check that each operation above the layer has a rule.

        Args:
            model: a built keras.Model.
            layer: a name, a path into nested models such as "backbone/conv1", or the layer itself.
                If None, the image is explained.
            merge_batch_norm: whether to fold each BatchNormalization into the linear map directly
                before it. The positive part of the weights is then computed from the folded
                weights. The authors' code does not fold.
            sum_channels: whether to sum over channels. If False, each neuron's value is returned.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or an operation has no rule.
            UnknownLayerError: there is no such layer, or the method cannot use it.
            OptionError: `score` or `output` has an invalid value.
        """
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
                f"Layer '{self.layer_path}' comes after the last linear map, where the contrast starts. Choose a layer before "
                "that linear map."
            )

    @property
    def explained(self) -> list[Value]:
        return self.at

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        rules = self.excitation.rules(images)
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.at, rules)
        found = dict(zip(self.at, backward.gradients, strict=True))
        if self.at[0] in self.graph.inputs:  # the rules may not reach the other inputs
            found = {x: found.get(x, tf.zeros(tf.shape(image))) for x, image in zip(self.graph.inputs, images, strict=True)}
        return like_inputs(self.graph, [self._reduced(at, tf.cast(p, tf.float32)) for at, p in found.items()]), backward.values

    def _check_batch(self, images: list[tf.Tensor], target: targets.Target, attribution: Nested[tf.Tensor]) -> None:
        """Warn once if some maps have lost more than half of their probability."""
        if self._has_warned_of_loss or self.contrastive or not _is_one_class(target):
            return
        maps = [np.asarray(one) for one in tree.flatten(attribution)]
        arrived = np.sum([one.reshape(len(one), -1).sum(axis=1) for one in maps], axis=0)
        # Blank maps get a separate warning.
        is_lost = (arrived > 0) & (arrived < _LEAST_PROBABILITY)
        if is_lost.any():
            self._has_warned_of_loss = True
            warn(
                f"{int(is_lost.sum())} of {len(arrived)} maps of {self.key} at '{self.layer_path}' lost more than half of the "
                f"probability. Their sums range from {arrived[is_lost].min():.2g} to {arrived[is_lost].max():.2g} instead of "
                "being 1. Probability is lost at neurons without a positive excitation, often in models with normalization "
                "layers or depthwise convolutions. Explain a higher layer (`tfviz layers` lists the layers), or treat the maps "
                "as incomplete evidence."
            )

    _has_warned_of_loss = False

    def _explained_inputs(self) -> list[Value]:
        """Return the image inputs and any other inputs to which the rules propagate probability."""
        rank = max(value.rank for value in self.graph.inputs)
        images = [value for value in self.graph.inputs if value.rank == rank]
        excitation = Excitation(self.graph)
        explained = [value for value in self.graph.inputs if value in images or _has_rules(excitation, value)]
        if unexplained := [self.graph.name_of(value) for value in self.graph.inputs if value not in explained]:
            names = ", ".join(map(repr, unexplained))
            warn(
                f"Excitation backprop has no rule for an operation between the output and {names}, so the attribution for "
                "these inputs is 0. The attribution for the images is not affected."
            )
        return explained

    def _reduced(self, at: Value, p: tf.Tensor) -> tf.Tensor:
        is_summed = self.sum_channels and len(p.shape) > 2 and has_channels(self.graph, at)
        return tf.reduce_sum(p, axis=-1) if is_summed else p


def _has_rules(excitation: Excitation, value: Value) -> bool:
    """Return whether a value is a float and all operations from it to the outputs have rules."""
    try:
        excitation.require_rules([value])
    except UnsupportedModelError:
        return False
    return value.dtype is None or tf.as_dtype(value.dtype).is_floating


def _is_one_class(target: targets.Target) -> bool:
    """Return whether a target selects one class per image, so that the probability starts at 1."""
    if target is None or isinstance(target, targets.Rank):
        return True
    is_plain = isinstance(target, (int, np.integer, list, tuple, np.ndarray)) or tf.is_tensor(target)
    return is_plain and np.issubdtype(np.asarray(target).dtype, np.integer)
