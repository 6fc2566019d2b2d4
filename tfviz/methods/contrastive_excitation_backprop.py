"""Contrastive excitation backprop: what speaks for this class and not for its opposite.

Answers: where is the evidence for this class rather than for the others?

    P with W at the last linear map, minus P with −W there; relu(Σ_channels) at the end
                          Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop"

The two are subtracted at the input of the last linear map, and the difference goes down once: below, everything is linear
in P. One pass, then, as for the plain form. It misleads where the last linear map has almost no negative weights, and it
says nothing about how sure the network is: the map sums to no fixed number.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.graph.graph import Value
from tfviz.methods.excitation_backprop import ExcitationBackprop


class ContrastiveExcitationBackprop(ExcitationBackprop):
    """Contrastive marginal winning probability at a layer.

    Options as for ExcitationBackprop. Returns (on a call) (N, h, w), 0 or more; (N, units) at a Dense layer; with
    sum_channels=False the signed difference at each neuron.
    """

    key: ClassVar[str] = "contrastive_excitation_backprop"
    question: ClassVar[str] = "Where is the evidence for this class rather than for the others?"
    contrastive: ClassVar[bool] = True

    def _reduced(self, at: Value, p: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(super()._reduced(at, p)) if self.sum_channels else p
