"""Loops and conditions of a traced graph, written out: neither LiteRT nor ONNX has what the gradient of a loop needs.

A loop whose length follows from the sizes of its inputs, as that of a recurrent layer does, becomes so many copies of its body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfviz.errors import ExportError
from tfviz.export.lowering import tensor_lists
from tfviz.export.lowering.tensor_lists import TensorList
from tfviz.reading import replay
from tfviz.reading.tensorflow_ops import is_constant, is_shape
from tfviz.tensorflow_internals import function_graph

_LOOPS, _BRANCHES = ("While", "StatelessWhile"), ("If", "StatelessIf")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_MOST_STEPS = 1000
_PARTS, _FREE = ("StridedSlice", "GatherV2", "Slice", "Unpack"), -9  # of a shape, in which the size of the batch may be free
_INSTEAD = "format='stablehlo' and format='saved_model' hold it"

RunOne = Callable[[tf.Operation, list[Any]], Sequence[Any]]


def run_needed(outputs: Sequence[tf.Tensor], known: dict[str, Any], run_one: RunOne) -> list[Any]:
    """What replaces some tensors of a graph, and runs all that they need first.

    TensorFlow adds inputs to a loop when it makes its gradient, so that the order of a graph's operations need not be one in
    which they can run.

    Args:
        known: from the names of tensors to what replaces them; gets all that is run.
    """
    waiting = [x.op for x in reversed(outputs) if x.name not in known]
    while waiting:
        operation = waiting[-1]
        missing = [x.op for x in operation.inputs if x.name not in known]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        if operation.outputs and operation.outputs[0].name not in known:
            results = run_one(operation, [known[x.name] for x in operation.inputs])
            known.update({x.name: y for x, y in zip(operation.outputs, results, strict=True)})
    return [known[x.name] for x in outputs]


def written_out(function: tf.types.experimental.ConcreteFunction) -> Callable[..., Any]:
    """The function without loops, for another trace; it reads the same variables."""
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    captured = {own.name: variables.get(id(outer), outer) for outer, own in function.graph.captures}
    given = function.inputs[: len(function.inputs) - len(function.captured_inputs)]

    def again(*inputs: tf.Tensor) -> Any:
        def run_one(operation: tf.Operation, inputs: list[Any]) -> Sequence[Any]:
            return (unroller if unroller.runs(operation, inputs) else replay).run(operation, inputs)

        unroller = Unroller(run_one, inputs[0])
        known = captured | {x.name: tensor for x, tensor in zip(given, inputs, strict=True)}
        return tf.nest.pack_sequence_as(function.structured_outputs, run_needed(function.outputs, known, run_one))

    return again


class Unroller:
    """Runs loops, conditions, calls and operations on lists of tensors.

    Args:
        run_one: runs any other operation.
        batch: the images, one tensor of them. A size that the trace left free is their number.
    """

    def __init__(self, run_one: RunOne, batch: tf.Tensor) -> None:
        self.run_one, self.batch = run_one, batch
        self.values: dict[int, tuple[tf.Tensor, np.ndarray | None]] = {}

    def runs(self, operation: tf.Operation, inputs: Sequence[Any]) -> bool:
        """Whether this is an operation for `run`."""
        has_list = any(isinstance(x, TensorList) for x in inputs)
        return has_list or operation.type in (*tensor_lists.OPERATIONS, *_LOOPS, *_BRANCHES, *_CALLS)

    def run(self, operation: tf.Operation, inputs: list[Any]) -> Sequence[Any]:
        """The outputs of the operation. Raises ExportError for a loop whose length depends on the images."""
        if operation.type in _LOOPS:
            return self._loop(operation, inputs)
        if operation.type in _BRANCHES:
            return self._branch(operation, inputs)
        if operation.type in _CALLS:
            return self._call(operation, "f", inputs)
        if operation.type in tensor_lists.OPERATIONS:
            names = [argument.name for argument in operation.op_def.input_arg]
            inputs = [self._whole(x) if name == "element_shape" else x for name, x in zip(names, inputs, strict=True)]
            outputs = tensor_lists.OPERATIONS[operation.type](operation, lambda x: self._known(operation, x), *inputs)
            return outputs if isinstance(outputs, list) else [outputs]
        if operation.type == "AddN":
            return [tensor_lists.total(inputs)]
        if operation.type == "ZerosLike":
            return [TensorList((None,) * len(inputs[0].items), inputs[0].shape)]
        return inputs  # Identity and its like

    def _whole(self, shape: tf.Tensor) -> tf.Tensor:
        """A shape with the number of images for the size that is free in it."""
        known = tf.get_static_value(shape)
        if known is None or known.ndim == 0 or (known >= 0).all():
            return shape
        return tf.where(known < 0, tf.shape(self.batch, shape.dtype)[0], known)

    def _loop(self, operation: tf.Operation, inputs: list[Any]) -> list[Any]:
        for _ in range(_MOST_STEPS + 1):
            if not self._known(operation, self._call(operation, "cond", inputs)[0]):
                return inputs
            inputs = self._call(operation, "body", inputs)
        raise ExportError(f"'{operation.name}' is a loop of more than {_MOST_STEPS} steps, too long to write out; {_INSTEAD}")

    def _branch(self, operation: tf.Operation, inputs: list[Any]) -> list[Any]:
        condition, *given = inputs
        is_met = self._value(condition)
        if is_met is not None:
            return self._call(operation, "then_branch" if is_met else "else_branch", given)
        both = zip(*(self._call(operation, name, given) for name in ("then_branch", "else_branch")), strict=True)
        return [tf.where(condition, x, y) for x, y in both]

    def _call(self, operation: tf.Operation, attribute: str, inputs: list[Any]) -> list[Any]:
        graph = function_graph(operation, attribute)
        known = {x.name: given for x, given in zip(graph.inputs, inputs, strict=True)}
        return run_needed(graph.outputs, known, self.run_one)

    def _known(self, operation: tf.Operation, x: tf.Tensor) -> Any:
        value = self._value(x)
        if value is None:
            raise ExportError(
                f"'{operation.name}' is a loop, or a part of one, whose length depends on the images and not on their size "
                f"alone; {_INSTEAD}"
            )
        return value.tolist()

    def _value(self, x: tf.Tensor) -> np.ndarray | None:
        """What a tensor of the new graph holds, where it does not depend on the inputs; None where it does."""
        if id(x) not in self.values:  # x is kept, and with it its id
            self.values[id(x)] = x, self._computed(x)
        return self.values[id(x)][1]

    def _computed(self, x: tf.Tensor) -> np.ndarray | None:
        static = tf.get_static_value(x)
        if static is not None:
            return np.asarray(static)
        given = [self._value(one) for one in x.op.inputs]
        if given and x.op.type in _PARTS and is_shape(x.op.inputs[0].op):
            given[0] = np.array([_FREE if n is None else n for n in x.op.inputs[0].op.inputs[0].shape])
        if not given or is_constant(x.op) or any(value is None for value in given):
            return None
        with tf.init_scope():
            given = [tf.constant(value, one.dtype) for value, one in zip(given, x.op.inputs, strict=True)]
            value = np.asarray(replay.run(x.op, given)[x.value_index])
        return None if x.op.type in _PARTS and (value == _FREE).any() else value
