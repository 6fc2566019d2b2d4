"""The rules of guided backprop and deconvnet for ReLUs, and their generalization.

    plain gradient      p → p · [x > 0]
    deconvnet           p → p · [p > 0]                 Zeiler & Fergus, 2014
    guided backprop     p → p · [p > 0] · [x > 0]       Springenberg et al., 2015

x is the input of the ReLU, and p is the gradient at its output. All other operations, including
other activations, keep their own derivative.

With `activations="all"`, which goes beyond the papers, other activations f follow the same idea:

    deconvnet           p → p · [p > 0]
    guided backprop     p → p · [p > 0] · max(f′(x), 0)
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfviz.errors import OptionError
from tfviz.graph.backprop import Rules
from tfviz.graph.graph import Step
from tfviz.graph.operations import Activation, Relu
from tfviz.rules.redirect import redirect


def _guided(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    # Applied after the ReLU. The ReLU's own derivative then adds [x > 0], and [x < max] if capped.
    return redirect(output, [output], lambda p: [tf.nn.relu(p)])


def _deconvnet(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    return redirect(output, inputs, lambda p: [tf.nn.relu(p)])


def _guided_activation(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    # The function runs between two redirections, so p passes [p > 0], f′ and then [p · f′ > 0].
    carrier = step.operation.signal or 0
    x = inputs[carrier]
    x = redirect(x, [x], lambda p: [tf.nn.relu(p)])
    (y,) = step.compute([*inputs[:carrier], x, *inputs[carrier + 1 :]])
    return redirect(y, [y], lambda p: [tf.nn.relu(p)])


def _deconvnet_activation(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    return redirect(output, [inputs[step.operation.signal or 0]], lambda p: [tf.nn.relu(p)])


GUIDED: Rules = {Relu: _guided}
DECONVNET: Rules = {Relu: _deconvnet}
_FOR_ACTIVATIONS = {_guided: _guided_activation, _deconvnet: _deconvnet_activation}


def for_all_activations(rules: Rules) -> Rules:
    """Add the rule for other activations to the rule of guided backprop or deconvnet."""
    return {**rules, Activation: _FOR_ACTIVATIONS[rules[Relu]]}


def redirects_all(activations: str) -> bool:
    """Return whether the option `activations` is "all" rather than "relu".

    Raises:
        OptionError: it is neither.
    """
    if activations not in ("relu", "all"):
        raise OptionError(f"`activations` must be 'relu' or 'all'. Received: {activations!r}.")
    return activations == "all"
