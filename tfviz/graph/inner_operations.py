"""What TensorFlow runs in a place that is run as a whole: seen by tracing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfviz.graph import keras_graph
from tfviz.graph.inner_layers import holds_relu, is_of_keras
from tfviz.graph.places import Graph, Place

_OF_FUNCTIONS = ("Map", "VectorizedMap", "Scan", "AssociativeScan", "Cond", "Switch", "WhileLoop", "ForiLoop")
_PASSED_OVER = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "Transpose", "StopGradient")


def may_hide_relu(graph: Graph, place: Place) -> bool:
    """Whether a ReLU is, or could be, inside a place that is run as a whole.

    What Keras' own layers hold is seen in their parts (an LSTM has none, unless it was asked for). A user's layer or
    function is traced, and the operations of TensorFlow that it runs are looked at; one that cannot be traced could have one.
    """
    if place.function is None and holds_relu(place.operation):
        return True
    if not isinstance(place.operation, keras.Layer) and place.function is None:
        if not _runs_functions(place.operation):
            return False
    elif place.function is None and all(map(is_of_keras, keras_graph.layers_of(place.operation))):
        return False
    function = traced(graph, place)
    return function is None or _runs_relu(function.graph.as_graph_def())


def _runs_functions(operation: Any) -> bool:
    """Whether an operation that is no layer runs functions of the user's: a loop, a condition."""
    return getattr(operation, "runs_functions", type(operation).__name__ in _OF_FUNCTIONS)


def last_operation(graph: Graph, place: Place) -> str:
    """The operation of TensorFlow that gives a place's first output, "softmax" for one; "" where it cannot be traced."""
    function = traced(graph, place)
    operation = function.outputs[0].op if function is not None and function.outputs else None
    while operation is not None and operation.type in _PASSED_OVER:
        operation = operation.inputs[0].op
    return "" if operation is None else operation.type.lower()


def traced(graph: Graph, place: Place) -> Any | None:
    """A place as a graph of TensorFlow; None where its code cannot be run on symbolic tensors."""
    tensors = [graph.tensors[value] for value in place.inputs]
    dtypes = [tf.float32 if tensor is None else tensor.dtype for tensor in tensors]
    specs = [tf.TensorSpec(graph.shapes[value] or None, dtype) for value, dtype in zip(place.inputs, dtypes, strict=True)]
    try:
        with keras_graph.untouched(place.operation):
            return tf.function(lambda *given: place.compute(given), autograph=False).get_concrete_function(*specs)
    except Exception:  # The user's own code: it may raise anything.
        return None


def _runs_relu(definition: Any) -> bool:
    """Whether a ReLU is among the operations of a traced function, or of a function that it calls: maximum(x, 0) is one."""
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return any(_is_relu_operation(node, {other.name: other for other in body}) for body in bodies for node in body)


def _is_relu_operation(node: Any, nodes: Mapping[str, Any]) -> bool:
    givers = [nodes.get(name.split(":")[0]) for name in node.input]
    constants = [tf.make_ndarray(giver.attr["value"].tensor) for giver in givers if giver is not None and giver.op == "Const"]
    return node.op in ("Relu", "Relu6") or (node.op == "Maximum" and any(not value.any() for value in constants))
