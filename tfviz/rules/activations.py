"""Guided backprop's and deconvnet's rules for all elementwise activations.

    deconvnet           p → p · [p > 0]
    guided backprop     p → p · [p > 0] · max(f′(x), 0)

f is the activation, x its input, and p the gradient with respect to its output. For f = ReLU, these
are the papers' rules (see `rules.relu`); for other activations, they generalize those rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfviz.errors import OptionError
from tfviz.graph.backprop import Rules
from tfviz.graph.graph import Step
from tfviz.graph.operations import Activation
from tfviz.rules.redirect import redirect
from tfviz.rules.relu import DECONVNET, GUIDED


def _guided(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    # The activation runs between two redirections: p passes through [p > 0], f′ and [p · f′ > 0].
    carrier = step.operation.signal or 0
    x = inputs[carrier]
    x = redirect(x, [x], lambda p: [tf.nn.relu(p)])
    (y,) = step.compute([*inputs[:carrier], x, *inputs[carrier + 1 :]])
    return redirect(y, [y], lambda p: [tf.nn.relu(p)])


def _deconvnet(step: Step, inputs: Sequence[tf.Tensor], output: tf.Tensor) -> tf.Tensor:
    return redirect(output, [inputs[step.operation.signal or 0]], lambda p: [tf.nn.relu(p)])


ALL_GUIDED: Rules = {**GUIDED, Activation: _guided}
ALL_DECONVNET: Rules = {**DECONVNET, Activation: _deconvnet}


def redirects_all(activations: str) -> bool:
    """Return whether `activations` is "all" rather than "relu".

    Raises:
        OptionError: `activations` is neither "relu" nor "all".
    """
    if activations not in ("relu", "all"):
        raise OptionError(f"`activations` must be 'relu' or 'all'. Received: {activations!r}.")
    return activations == "all"
