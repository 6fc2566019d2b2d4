"""The rules of guided backprop and deconvnet: what a ReLU lets back.

    plain gradient      p → p · [x > 0]
    deconvnet           p → p · [p > 0]                 Zeiler & Fergus, 2014
    guided backprop     p → p · [p > 0] · [x > 0]       Springenberg et al., 2015

x is what the ReLU got, p what comes back to it. Everything else keeps its own derivative, other activations too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfviz.graph.places import Place
from tfviz.graph.walk import Rules
from tfviz.rules.redirect import redirect


def _guided(place: Place, inputs: Sequence[Any], output: Any) -> Any:
    # Placed after the ReLU, whose own derivative then adds [x > 0], and [x < max] where it is capped.
    return redirect(output, [output], lambda p: [tf.nn.relu(p)])


def _deconvnet(place: Place, inputs: Sequence[Any], output: Any) -> Any:
    return redirect(output, inputs, lambda p: [tf.nn.relu(p)])


GUIDED: Rules = {"relu": _guided}
DECONVNET: Rules = {"relu": _deconvnet}
