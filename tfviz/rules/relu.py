"""Guided backprop's and deconvnet's rules for ReLUs.

    plain gradient      p → p · [x > 0]
    deconvnet           p → p · [p > 0]                 Zeiler & Fergus, 2014
    guided backprop     p → p · [p > 0] · [x > 0]       Springenberg et al., 2015

x is the ReLU's input, and p is the gradient with respect to its output. All other operations,
including other activations, keep their derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfviz.graph.backprop import Rules
from tfviz.graph.graph import Step
from tfviz.graph.operations import Relu
from tfviz.rules.redirect import redirect


def _guided(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    # This applies after the ReLU, whose own derivative adds [x > 0] and, if capped, [x < max].
    return redirect(output, [output], lambda p: [tf.nn.relu(p)])


def _deconvnet(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    return redirect(output, inputs, lambda p: [tf.nn.relu(p)])


GUIDED: Rules = {Relu: _guided}
DECONVNET: Rules = {Relu: _deconvnet}
