"""The calls that a model, layer or function makes, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from tfviz import keras_internals
from tfviz.nesting import Nested


@dataclass(frozen=True, eq=False)
class Call:
    """One call to one operation.

    Attributes:
        operation: a Keras layer, a `keras.ops` operation, or a piece of a TensorFlow trace.
        arguments: the arguments, including symbolic tensors.
        outputs: the symbolic tensors that the call returned.
        number: the call's index among all calls of the operation, in call order.
    """

    operation: keras.Operation  # or a `tensorflow_ops.Piece`
    arguments: Any  # keras.src.ops.symbolic_arguments.SymbolicArguments
    outputs: list[keras.KerasTensor]
    number: int = 0

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        return self.arguments.keras_tensors

    @property
    def distinct_inputs(self) -> list[keras.KerasTensor]:
        """The inputs without duplicates.

        Self-attention, for example, reads the same tensor as query and value.
        """
        return list({id(tensor): tensor for tensor in self.inputs}.values())

    def on(self, tensors: Sequence[tf.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call's arguments, with the given tensors in place of `inputs`."""
        return self.arguments.fill_in({id(symbol): x for symbol, x in zip(self.inputs, tensors, strict=True)})


@dataclass(frozen=True, eq=False)
class Trace:
    """A computation represented by a list of calls in execution order.

    Attributes:
        calls: the calls, excluding those of input layers.
        inputs, outputs: the symbolic input and output tensors, nested as in the code. Outputs may
            include other values, such as None.
        is_recorded: whether Keras recorded the calls when the model was created. If False, the
            calls were found by running the code on symbolic tensors.
    """

    calls: list[Call]
    inputs: Nested[keras.KerasTensor]
    outputs: Nested[keras.KerasTensor]
    is_recorded: bool = False

    @property
    def returned(self) -> list[keras.KerasTensor]:
        """The output tensors, excluding other values that the code returns."""
        return [x for x in tree.flatten(self.outputs) if isinstance(x, keras.KerasTensor)]


@dataclass(frozen=True)
class NotReadable:
    """The reason why a model, layer or function has no trace.

    Attributes:
        reason: the reason, phrased to complete a sentence that starts with "it".
        cause: the error raised by the user's code, Keras or TensorFlow, or None if there was none.
    """

    reason: str
    cause: BaseException | None = None


Code = Callable[[Nested[tf.Tensor]], Nested[tf.Tensor]]


def recorded_trace(model: keras.Model) -> Trace:
    """Return the trace that Keras recorded for a Functional or Sequential model."""
    return trace_of_graph(model, keras_internals.call_numbers(model), is_recorded=True)


def trace_of_graph(graph: keras.Model | keras.Function, numbers: Mapping[int, int], *, is_recorded: bool = False) -> Trace:
    """Convert a graph of Keras nodes to a trace.

    Args:
        graph: the model or function that contains the nodes.
        numbers: the result of `keras_internals.call_numbers`.
        is_recorded: whether Keras recorded the graph when the model was created.
    """
    nodes = keras_internals.nodes(graph)
    calls = [Call(node.operation, node.arguments, list(node.outputs), numbers.get(id(node), 0)) for node in nodes]
    inputs, outputs = keras_internals.input_structure(graph), keras_internals.output_structure(graph)
    return Trace(calls, inputs, outputs, is_recorded)


def called(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: list[keras.KerasTensor]) -> Call:
    """Create a call with the given arguments, which may include symbolic tensors."""
    return Call(operation, keras_internals.symbolic_arguments(args, kwargs), outputs)


def inputs_for(trace: Trace, call: Call) -> list[keras.KerasTensor]:
    """Return the symbolic inputs of a call to a nested model, in the order of the model's inputs.

    A model with a list of inputs may be called with a dict, whose keys Keras matches with the
    inputs' names.
    """
    given = call.arguments.args[0] if call.arguments.args else call.arguments.kwargs["inputs"]
    if isinstance(given, dict) and isinstance(trace.inputs, dict):
        return tree.flatten({name: given[name] for name in trace.inputs})
    if isinstance(given, dict):
        symbols = enumerate(tree.flatten(trace.inputs))
        return [given[keras_internals.input_name(symbol, number)] for number, symbol in symbols]
    return tree.flatten(given)


def fitted(symbol: keras.KerasTensor, x: tf.Tensor) -> tf.Tensor:
    """Convert `x` to the dtype and rank of a nested model's input, as Keras does."""
    y = x
    if len(x.shape) == len(symbol.shape) + 1:
        y = keras.ops.squeeze(x, axis=-1)
    elif len(x.shape) == len(symbol.shape) - 1:
        y = keras.ops.expand_dims(x, axis=-1)
    return keras_internals.with_mask_of(x, keras.ops.cast(y, symbol.dtype))
