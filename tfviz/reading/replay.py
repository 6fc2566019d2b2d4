"""Rerun a traced function's operations on new tensors.

Dtypes and sizes depend on the new inputs, weights are read at run time, and gradient tapes record
each operation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import tensorflow as tf

from tfviz.reading.tensorflow_ops import is_constant, is_variable_read, takes_functions
from tfviz.variable_copies import variable_to_read

RunOne = Callable[[tf.Operation, list[tf.Tensor]], Sequence[tf.Tensor]]


class Replay:
    """A function that recomputes some of a traced function's tensors from others.

    Args:
        function: a function traced by `tf.compat.v1.wrap_function`.
        reads: the graph tensors that a call's arguments replace, in order. A tensor appears twice
            if the last operation reads it twice.
        outputs: the tensors that a call returns. A single operation computes all of them.
    """

    def __init__(self, function: Any, reads: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> None:
        self.reads, self.outputs = list(reads), list(outputs)
        variables = {id(variable.handle): variable for variable in function.graph.variables}
        self.given = {own.name: variables.get(id(outer), outer) for outer, own in function.graph.captures}
        self.operations = self._needed()

    def _needed(self) -> list[tf.Operation]:
        """Return the operations that must run, in execution order."""
        known, found, wanted = {*self.given, *(x.name for x in self.reads)}, {}, [x.op for x in self.outputs]
        while wanted:
            operation = wanted.pop()
            if operation.name not in found:
                found[operation.name] = operation
                wanted += [x.op for x in operation.inputs if x.name not in known]
        order = self.outputs[0].graph.get_operations()
        return [operation for operation in order if operation.name in found]

    def __call__(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        given = {name: variable_to_read(x) if isinstance(x, tf.Variable) else x for name, x in self.given.items()}
        known = given | {x.name: tensor for x, tensor in zip(self.reads, tensors, strict=True)}
        *before, last = self.operations
        run_all(before, known)
        found = run(last, self._inputs_of_last(last, known, tensors))
        known.update({x.name: y for x, y in zip(last.outputs, found, strict=True)})
        for x in self.outputs:
            shape = tf.TensorShape([None, *x.shape[1:]]) if x.shape.rank else None
            # Restore sizes that are unknown here, as after a resize to another map's size. However,
            # a layer may have declared a wrong shape, so check that the shapes are compatible.
            if shape is not None and not hasattr(known[x.name], "numpy") and known[x.name].shape.is_compatible_with(shape):
                known[x.name].set_shape(shape)
        return [known[x.name] for x in self.outputs]

    def _inputs_of_last(
        self, last: tf.Operation, known: Mapping[str, tf.Tensor], tensors: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Return the last operation's inputs. In `x + x`, each operand gets a separate tensor."""
        names, given = [x.name for x in self.reads], list(tensors)
        inputs = []
        for x in last.inputs:
            inputs.append(given.pop(names.index(x.name)) if x.name in names else known[x.name])
            if x.name in names:
                names.remove(x.name)
        return inputs


def can_run(operation: tf.Operation) -> bool:
    """Return whether an operation can run outside its graph.

    Operations that call functions, such as loops, cannot.
    """
    return hasattr(tf.raw_ops, operation.type) and not takes_functions(operation)


def run_all(operations: Sequence[tf.Operation], known: dict[str, tf.Tensor], run_one: RunOne | None = None) -> None:
    """Run operations in order and add their outputs to `known`.

    Args:
        operations: the operations to run, taken from the traced graph.
        known: the new tensors, keyed by the graph tensors' names.
        run_one: a function that runs one operation on its new inputs. If None, `run` is used.
    """
    for operation in operations:
        outputs = (run_one or run)(operation, [known[x.name] for x in operation.inputs])
        known.update({x.name: y for x, y in zip(operation.outputs, outputs, strict=True)})


def run(
    operation: tf.Operation, inputs: Sequence[tf.Tensor], dtype_of: Callable[[tf.DType], tf.DType] = lambda dtype: dtype
) -> Sequence[tf.Tensor]:
    """Run an operation on new inputs and return its outputs.

    Args:
        operation: the operation in the traced graph.
        inputs: the new inputs.
        dtype_of: a function that maps each dtype in the operation's attributes to the dtype to
            compute in.
    """
    if is_constant(operation):
        value = tf.make_ndarray(operation.get_attr("value"))
        return [tf.constant(value, dtype_of(operation.outputs[0].dtype))]
    if is_variable_read(operation) and isinstance(inputs[0], tf.Variable):
        return [inputs[0].read_value()]  # so that an exported function tracks the variable
    given, rest = [], list(inputs)
    for argument in operation.op_def.input_arg:
        if argument.number_attr or argument.type_list_attr:
            count = _length(operation, argument)
            given.append(rest[:count])
            rest = rest[count:]
        else:
            given.append(rest.pop(0))
    parameters, attributes = _parameters(operation)
    named = {parameter: _attribute(operation, name, dtype_of) for parameter, name in attributes.items()}
    kwargs = dict(zip(parameters, given, strict=True)) | named
    outputs = getattr(tf.raw_ops, operation.type)(**kwargs, name=operation.name)
    if isinstance(outputs, tf.Operation) or outputs is None:
        return []
    return [outputs] if tf.is_tensor(outputs) else tf.nest.flatten(outputs)


def _attribute(operation: tf.Operation, name: str, dtype_of: Callable[[tf.DType], tf.DType]) -> Any:
    value = operation.get_attr(name)
    if isinstance(value, tf.DType):
        return dtype_of(value)
    is_list = isinstance(value, list) and bool(value) and isinstance(value[0], tf.DType)
    return [dtype_of(dtype) for dtype in value] if is_list else value


def _length(operation: tf.Operation, argument: Any) -> int:
    if argument.number_attr:
        return int(operation.get_attr(argument.number_attr))
    return len(operation.get_attr(argument.type_list_attr))


def _parameters(operation: tf.Operation) -> tuple[list[str], dict[str, str]]:
    """Return the names of the Python parameters for an operation's inputs and attributes.

    The inputs' names are a list. The attributes' names are a dict from parameter name to attribute
    name.
    """
    known, definition = _arguments_of(operation.type), operation.op_def
    given = {name for one in definition.input_arg for name in (one.type_attr, one.number_attr, one.type_list_attr)}
    inputs = [argument.name for argument in definition.input_arg]
    attributes = [attribute.name for attribute in definition.attr if attribute.name in known or attribute.name not in given]
    # Some inputs and attributes have different names in Python. Match these names in order.
    renamed = iter([name for name in known if name not in (*inputs, *attributes)])
    parameters = [name if name in known else next(renamed) for name in (*inputs, *attributes)]
    return parameters[: len(inputs)], dict(zip(parameters[len(inputs) :], attributes, strict=True))


@cache
def _arguments_of(kind: str) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(getattr(tf.raw_ops, kind)).parameters if name != "name")


def function_between(function: Any, reads: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> Callable[..., Any]:
    """Return a function that computes the tensors `outputs` of a trace from the tensors `reads`.

    The function is a `Replay` if its operations can run outside the graph, otherwise a pruned
    trace.
    """
    found = Replay(function, reads, outputs)
    return found if all(map(can_run, found.operations)) else function.prune(list(reads), list(outputs))
