"""What a layer that is run as a whole holds inside."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from tfviz.graph import keras_graph
from tfviz.graph.kinds import kind_of_function, kind_of_operation


def may_hide_relu(operation: Any) -> bool:
    """Whether a ReLU could be inside a layer that is run as a whole.

    What Keras' own layers hold is seen in their parts (an LSTM has none, unless it was asked for); what a user's layer does
    with the layers inside it is not.
    """
    parts = keras_graph.layers_of(operation)
    return any(_is_relu(part) or (not is_of_keras(part) and holds_layers(part)) for part in parts)


def _is_relu(layer: Any) -> bool:
    activations = [getattr(layer, name, None) for name in ("activation", "recurrent_activation")]
    return kind_of_operation(layer) == "relu" or any(kind_of_function(one) == "relu" for one in activations)


def is_of_keras(layer: Any) -> bool:
    """Whether what a layer computes is Keras' own, and not a user's."""
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.layers.Lambda)


def holds_layers(layer: Any) -> bool:
    """Whether a layer keeps other layers, which its own `call` may run."""
    return any(isinstance(part, keras.Layer) for part in tree.flatten(list(vars(layer).values())))
