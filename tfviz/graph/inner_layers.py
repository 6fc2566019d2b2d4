"""What a layer that is run as a whole holds inside."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from tfviz.graph import keras_graph
from tfviz.graph.kinds import kind_of_function, kind_of_operation


def holds_relu(operation: Any) -> bool:
    """Whether an operation, or a layer inside it, is a ReLU or has one as its activation."""
    return any(map(_is_relu, keras_graph.layers_of(operation)))


def _is_relu(layer: Any) -> bool:
    activations = [getattr(layer, name, None) for name in ("activation", "recurrent_activation")]
    return kind_of_operation(layer) == "relu" or any(kind_of_function(one) == "relu" for one in activations)


def is_of_keras(layer: Any) -> bool:
    """Whether what a layer computes is Keras' own, and not a user's."""
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.layers.Lambda)


def is_run_as_a_whole(layer: Any) -> bool:
    """Whether no more is seen of a layer of Keras than its symbolic calls show: recurrent layers, attention."""
    return is_of_keras(layer) and not isinstance(layer, (keras.Model, keras.layers.SpectralNormalization))


def holds_layers(layer: Any) -> bool:
    """Whether a layer keeps other layers, which its own `call` may run."""
    return any(isinstance(part, keras.Layer) for part in tree.flatten(list(vars(layer).values())))
