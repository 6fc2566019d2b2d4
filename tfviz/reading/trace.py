"""What a model, a layer or a function runs, as a list of calls."""

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
    """One call of one operation.

    Attributes:
        operation: a Keras layer, an operation of `keras.ops`, or a piece of a TensorFlow trace.
        arguments: what it was given, symbolic tensors among it.
        outputs: the symbolic tensors that it gave.
        number: the position among the calls of the operation, in the order in which they were made.
    """

    operation: keras.Operation  # or a `tensorflow_ops.Piece`
    arguments: Any  # keras.src.ops.symbolic_arguments.SymbolicArguments
    outputs: list[keras.KerasTensor]
    number: int = 0

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        return self.arguments.keras_tensors

    def on(self, tensors: Sequence[tf.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the same call on other tensors, one for each of `inputs`."""
        return self.arguments.fill_in({id(symbol): x for symbol, x in zip(self.inputs, tensors, strict=True)})


@dataclass(frozen=True, eq=False)
class Trace:
    """A computation as calls in the order in which they run.

    Attributes:
        calls: the calls; inputs are none.
        inputs, outputs: the symbolic tensors that go in and come out, nested as the code nests them.
        is_recorded: whether Keras recorded it when the model was made; otherwise it was seen by running the code on symbols.
    """

    calls: list[Call]
    inputs: Nested[keras.KerasTensor]
    outputs: Nested[keras.KerasTensor]
    is_recorded: bool = False


@dataclass(frozen=True)
class NotReadable:
    """Why something has no trace.

    Attributes:
        reason: the end of a sentence that begins with "it".
        cause: what the user's code, Keras or TensorFlow raised; None where nothing failed.
    """

    reason: str
    cause: BaseException | None = None


Code = Callable[[Nested[tf.Tensor]], Nested[tf.Tensor]]


def recorded_trace(model: keras.Model) -> Trace:
    """The trace that Keras keeps of a Functional or Sequential model (see `keras_internals.functional_of`)."""
    return trace_of_graph(model, keras_internals.call_numbers(model), is_recorded=True)


def trace_of_graph(graph: keras.Model | keras.Function, numbers: Mapping[int, int], *, is_recorded: bool = False) -> Trace:
    """A graph of Keras' nodes as a trace; `numbers` as `keras_internals.call_numbers` gives them."""
    nodes = keras_internals.nodes(graph)
    calls = [Call(node.operation, node.arguments, list(node.outputs), numbers.get(id(node), 0)) for node in nodes]
    inputs, outputs = keras_internals.input_structure(graph), keras_internals.output_structure(graph)
    return Trace(calls, inputs, outputs, is_recorded)


def called(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: list[keras.KerasTensor]) -> Call:
    """A call with these arguments, symbolic tensors among them."""
    return Call(operation, keras_internals.symbolic_arguments(args, kwargs), outputs)


def inputs_for(trace: Trace, call: Call) -> list[keras.KerasTensor]:
    """The symbolic tensors that a call gives to a nested model, in the order of the model's own inputs.

    A dict may be given to a model that takes a list: Keras then goes by the names of the inputs.
    """
    given = call.arguments.args[0] if call.arguments.args else call.arguments.kwargs["inputs"]
    if isinstance(given, dict) and isinstance(trace.inputs, dict):
        return tree.flatten({name: given[name] for name in trace.inputs})
    if isinstance(given, dict):
        symbols = enumerate(tree.flatten(trace.inputs))
        return [given[keras_internals.input_name(symbol, number)] for number, symbol in symbols]
    return tree.flatten(given)


def fitted(symbol: keras.KerasTensor, x: tf.Tensor) -> tf.Tensor:
    """x in the type and rank of a nested model's symbolic input, as Keras brings it there when it calls the model."""
    y = x
    if len(x.shape) == len(symbol.shape) + 1:
        y = keras.ops.squeeze(x, axis=-1)
    elif len(x.shape) == len(symbol.shape) - 1:
        y = keras.ops.expand_dims(x, axis=-1)
    return keras_internals.with_mask_of(x, keras.ops.cast(y, symbol.dtype))
