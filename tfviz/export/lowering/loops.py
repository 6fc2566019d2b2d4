"""Unroll the loops and inline the conditionals in a traced graph.

Neither LiteRT nor ONNX supports the operations in a loop's gradient. A loop whose length depends
only on input sizes, as in recurrent layers, is therefore replaced with copies of its body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfviz.errors import ExportError
from tfviz.export.lowering import tensor_lists
from tfviz.export.lowering.tensor_lists import TensorList
from tfviz.graph.conversion import LOOP_OVER_COPIES
from tfviz.reading import replay
from tfviz.reading.tensorflow_ops import is_constant, is_shape
from tfviz.tensorflow_internals import function_graph

_LOOPS, _BRANCHES = ("While", "StatelessWhile"), ("If", "StatelessIf")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_MAX_STEPS = 1000
# Operations that select part of a shape, and the value that marks an unknown batch size.
_PARTS, _FREE = ("StridedSlice", "GatherV2", "Slice", "Unpack"), -9
_INSTEAD = "Export with format='stablehlo' or format='saved_model', which support such loops."

RunOne = Callable[[tf.Operation, list[Any]], Sequence[Any]]


def run_needed(outputs: Sequence[tf.Tensor], known: dict[str, Any], run_one: RunOne) -> list[Any]:
    """Run the operations that `outputs` depend on, and return the replacements for `outputs`.

    This function determines the execution order itself, because a graph's operations are not always
    in execution order: TensorFlow adds inputs to a loop when it builds the loop's gradient.

    Args:
        outputs: the tensors to replace.
        known: the replacements for tensors, keyed by the tensor's name. All results are added to
            this dict.
        run_one: a function that runs one operation on its replaced inputs.

    Returns:
        The replacements for `outputs`.
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


def without_loops(function: tf.types.experimental.ConcreteFunction) -> Callable[..., Any]:
    """Return a function with the same results and variables but no loops, ready for tracing."""
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    captured = {own.name: variables.get(id(outer), outer) for outer, own in function.graph.captures}
    given = function.inputs[: len(function.inputs) - len(function.captured_inputs)]

    def unrolled(*inputs: tf.Tensor) -> Any:
        def run_one(operation: tf.Operation, inputs: list[Any]) -> Sequence[Any]:
            return (unroller if unroller.runs(operation, inputs) else replay).run(operation, inputs)

        unroller = Unroller(run_one, inputs[0])
        known = captured | {x.name: tensor for x, tensor in zip(given, inputs, strict=True)}
        return tf.nest.pack_sequence_as(function.structured_outputs, run_needed(function.outputs, known, run_one))

    return unrolled


class Unroller:
    """Runs loops, conditionals, function calls and tensor-list operations.

    Args:
        run_one: a function that runs any other operation.
        batch: one of the model's inputs, whose batch size replaces unknown sizes in the trace.
    """

    def __init__(self, run_one: RunOne, batch: tf.Tensor) -> None:
        self.run_one, self.batch = run_one, batch
        self.values: dict[int, tuple[tf.Tensor, np.ndarray | None]] = {}

    def runs(self, operation: tf.Operation, inputs: Sequence[Any]) -> bool:
        """Return whether `run` handles this operation."""
        has_list = any(isinstance(x, TensorList) for x in inputs)
        return has_list or operation.type in (*tensor_lists.OPERATIONS, *_LOOPS, *_BRANCHES, *_CALLS)

    def run(self, operation: tf.Operation, inputs: list[Any]) -> Sequence[Any]:
        """Run an operation and return its outputs.

        Raise ExportError for a loop whose length depends on the image values.
        """
        if operation.type in _LOOPS:
            return self._loop(operation, inputs)
        if operation.type in _BRANCHES:
            return self._branch(operation, inputs)
        if operation.type in _CALLS:
            return self._call(operation, "f", inputs)
        if operation.type in tensor_lists.OPERATIONS:
            names = [argument.name for argument in operation.op_def.input_arg]
            inputs = [self._with_batch_size(x) if name == "element_shape" else x for name, x in zip(names, inputs, strict=True)]
            outputs = tensor_lists.OPERATIONS[operation.type](operation, lambda x: self._known(operation, x), *inputs)
            return outputs if isinstance(outputs, list) else [outputs]
        if operation.type == "AddN":
            return [tensor_lists.total(inputs)]
        if operation.type == "ZerosLike":
            return [TensorList((None,) * len(inputs[0].items), inputs[0].shape)]
        return inputs  # Identity and similar operations

    def _with_batch_size(self, shape: tf.Tensor) -> tf.Tensor:
        """Replace the unknown sizes in a shape with the batch size."""
        known = tf.get_static_value(shape)
        if known is None or known.ndim == 0 or (known >= 0).all():
            return shape
        return tf.where(known < 0, tf.shape(self.batch, shape.dtype)[0], known)

    def _loop(self, operation: tf.Operation, inputs: list[Any]) -> list[Any]:
        if operation.name.rpartition("/")[2].startswith(LOOP_OVER_COPIES):
            return self._kept(operation, inputs)
        for _ in range(_MAX_STEPS + 1):
            if not self._known(operation, self._call(operation, "cond", inputs)[0]):
                return inputs
            inputs = self._call(operation, "body", inputs)
        raise ExportError(
            f"'{operation.name}' is a loop with more than {_MAX_STEPS} steps, which is too many to unroll. {_INSTEAD}"
        )

    def _kept(self, operation: tf.Operation, inputs: list[Any]) -> list[Any]:
        """Copy a loop without unrolling it. Only values that change become loop variables."""
        graph = function_graph(operation, "body")
        changed = [i for i, (x, y) in enumerate(zip(graph.inputs, graph.outputs, strict=True)) if x is not y]

        def with_state(state: Sequence[tf.Tensor]) -> list[Any]:
            now = dict(zip(changed, state, strict=True))
            return [now.get(i, x if _is_variable(x) else with_known_shape(x)) for i, x in enumerate(inputs)]

        def step(*state: tf.Tensor) -> list[tf.Tensor]:
            after = self._call(operation, "body", with_state([tf.ensure_shape(x, x.shape) for x in state]))
            return [after[i] for i in changed]

        found = tf.while_loop(
            lambda *state: self._call(operation, "cond", with_state(state))[0],
            step,
            [inputs[i] for i in changed],
            parallel_iterations=1,
            name=LOOP_OVER_COPIES,
        )
        return with_state(found)

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
                f"'{operation.name}' belongs to a loop whose number of steps depends on the image values. {_INSTEAD}"
            )
        return value.tolist()

    def _value(self, x: tf.Tensor) -> np.ndarray | None:
        """Return the value of a tensor in the new graph, or None if it depends on the inputs."""
        if id(x) not in self.values:  # storing x keeps its id unique
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


def with_known_shape(x: tf.Tensor) -> tf.Tensor:
    """Set the static shape of an outer tensor that is read by a loop body.

    tf2onnx cannot infer the shapes of such tensors.
    """
    return x if getattr(x, "graph", None) is tf.compat.v1.get_default_graph() else tf.ensure_shape(x, x.shape)


def _is_variable(x: tf.Tensor | tf.Variable) -> bool:
    return isinstance(x, tf.Variable) or x.dtype == tf.resource
