"""Contrastive excitation backprop: evidence for the class minus evidence against it.

Question: where is the evidence for this class rather than for the others?

    P with W at the last linear map, minus P with −W there; at the end, relu(Σ_channels)
        Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop"

The difference is computed at the input of the last linear map. All rules below that linear map are
linear in P, so a single pass propagates the difference. The method fails if the last linear map has
almost no negative weights. The attribution map does not measure confidence, because its sum is not
fixed.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.graph.graph import Value
from tfviz.methods.excitation_backprop import ExcitationBackprop


class ContrastiveExcitationBackprop(ExcitationBackprop):
    """Contrastive excitation backprop at a layer: where is the evidence for this class alone?

    The map shows the contrastive marginal winning probability, summed over the channels and clipped
    at 0 (Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop").

    Calling the explainer returns a nonnegative attribution of shape (N, h, w), or (N, units) at a
    Dense layer. With `sum_channels=False`, it returns the signed difference for each neuron, with
    shape (N, h, w, K). The layer must come before the last linear map, where the contrast starts.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> explainer = tfviz.ContrastiveExcitationBackprop(model, layer="block1_pool")
        >>> explainer(images, target=7).shape
        TensorShape([2, 48, 48])
    """

    key: ClassVar[str] = "contrastive_excitation_backprop"
    question: ClassVar[str] = "Where is the evidence for this class rather than for the others?"
    contrastive: ClassVar[bool] = True

    def _reduced(self, at: Value, p: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(super()._reduced(at, p)) if self.sum_channels else p
