"""What a layer that is run as a whole holds inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from tfviz.graph import keras_graph
from tfviz.graph.kinds import kind_of_function, kind_of_operation
from tfviz.graph.places import Graph, Place


def may_hide_relu(graph: Graph, place: Place) -> bool:
    """Whether a ReLU is, or could be, inside a place that is run as a whole.

    What Keras' own layers hold is seen in their parts (an LSTM has none, unless it was asked for). A user's layer or
    function is traced, and the operations of TensorFlow that it runs are looked at; one that cannot be traced could have one.
    """
    parts = keras_graph.layers_of(place.operation)
    if any(map(_is_relu, parts)):
        return True
    if all(map(is_of_keras, parts)):
        return False
    specs = [tf.TensorSpec(graph.shapes[value], graph.tensors[value].dtype) for value in place.inputs]
    try:
        with keras_graph.untouched(place.operation):
            traced = tf.function(lambda *tensors: place.compute(tensors)).get_concrete_function(*specs)
    except Exception:  # The user's own code: it may raise anything.
        return True
    return _runs_relu(traced.graph.as_graph_def())


def _runs_relu(definition: Any) -> bool:
    """Whether a ReLU is among the operations of a traced function, or of a function that it calls: maximum(x, 0) is one."""
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return any(_is_relu_operation(node, {other.name: other for other in body}) for body in bodies for node in body)


def _is_relu_operation(node: Any, nodes: Mapping[str, Any]) -> bool:
    givers = [nodes.get(name.split(":")[0]) for name in node.input]
    constants = [tf.make_ndarray(giver.attr["value"].tensor) for giver in givers if giver is not None and giver.op == "Const"]
    return node.op in ("Relu", "Relu6") or (node.op == "Maximum" and any(not value.any() for value in constants))


def _is_relu(layer: Any) -> bool:
    activations = [getattr(layer, name, None) for name in ("activation", "recurrent_activation")]
    return kind_of_operation(layer) == "relu" or any(kind_of_function(one) == "relu" for one in activations)


def is_of_keras(layer: Any) -> bool:
    """Whether what a layer computes is Keras' own, and not a user's."""
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.layers.Lambda)


def holds_layers(layer: Any) -> bool:
    """Whether a layer keeps other layers, which its own `call` may run."""
    return any(isinstance(part, keras.Layer) for part in tree.flatten(list(vars(layer).values())))
