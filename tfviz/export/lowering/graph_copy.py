"""A traced function once more, with other operations in place of those that a target does not have.

The function's graph is run again, operation by operation, into a new graph: most operations as they are, loops written out, and
those in a table of replacements as the table has it. Variables become constants, and what is computed in half or in
double precision is computed in float32. The model, and the function that was traced, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfviz.export.lowering.loops import Unroller, run_needed
from tfviz.graph.backprop import traced_for_float32
from tfviz.nesting import Nested
from tfviz.reading import replay
from tfviz.reading.tensorflow_ops import is_shape, is_variable_read
from tfviz.tensorflow_internals import inlined_functions

Replacement = Callable[..., tf.Tensor | Sequence[tf.Tensor]]  # (operation, *inputs) -> its outputs, or its only one

_OTHER_PRECISIONS = (tf.float16, tf.bfloat16, tf.float64)


def traced(
    function: Callable[..., Nested[tf.Tensor]], specs: Sequence[tf.TensorSpec]
) -> tf.types.experimental.ConcreteFunction:
    """The function's graph for inputs of these shapes, functions that it calls opened."""
    with inlined_functions(), traced_for_float32():
        return tf.function(function, autograph=False).get_concrete_function(*specs)  # no call of a function: it stays one


def lowered(
    function: tf.types.experimental.ConcreteFunction,
    replacements: Mapping[str, Replacement],
    weights: Mapping[int, np.ndarray] | None = None,
) -> tf.types.experimental.ConcreteFunction:
    """The concrete function without variables, and with these replacements by type of operation.

    Args:
        weights: the values of variables that are not to have their own, by the id of their handle.

    Returns: a concrete function of the same inputs and outputs, under the same names; what was not float32 is.
    """
    given = function.inputs[: len(function.inputs) - len(function.captured_inputs)]
    specs = [tf.TensorSpec(x.shape, _precision(x.dtype), x.op.name) for x in given]

    def again(*inputs: tf.Tensor) -> Nested[tf.Tensor]:
        copy = _Copy(function, replacements, weights or {}, inputs[0])
        known = copy.captured | {x.name: tensor for x, tensor in zip(given, inputs, strict=True)}
        return tf.nest.pack_sequence_as(function.structured_outputs, run_needed(function.outputs, known, copy.run))

    return tf.function(again, autograph=False).get_concrete_function(*specs)


class _Copy:
    """Runs the operations of a function into another graph.

    `captured` leads from the names of what the function reads from outside to the new tensors.
    """

    def __init__(
        self,
        function: tf.types.experimental.ConcreteFunction,
        replacements: Mapping[str, Replacement],
        weights: Mapping[int, np.ndarray],
        images: tf.Tensor,
    ) -> None:
        self.replacements, self.weights = replacements, weights
        self.unroller = Unroller(self.run, images)
        self.variables = function.graph.variables
        self.constants: dict[int, tf.Tensor] = {}
        captures = function.inputs[len(function.inputs) - len(function.captured_inputs) :]
        self.captured = {x.name: _inside(tensor) for x, tensor in zip(captures, function.captured_inputs, strict=True)}

    def run(self, operation: tf.Operation, inputs: list[tf.Tensor]) -> Sequence[tf.Tensor]:
        """The outputs of an operation, or of what replaces it."""
        if is_variable_read(operation):
            return [self._weight(inputs[0])]
        if is_shape(operation):
            return [tf.shape(x, operation.get_attr("out_type")) for x in inputs]  # a constant where it is known
        if self.unroller.runs(operation, inputs):
            return self.unroller.run(operation, inputs)
        if operation.type in self.replacements:
            outputs = self.replacements[operation.type](operation, *inputs)
            return outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return same(operation, inputs)

    def _weight(self, handle: tf.Tensor) -> tf.Tensor:
        """The value of a variable as a constant, one for all that read it."""
        if id(handle) not in self.constants:
            variable = next(variable for variable in self.variables if variable.handle is handle)
            with tf.init_scope():
                own = _single(variable.read_value()).numpy()
            self.constants[id(handle)] = tf.constant(self.weights.get(id(handle), own))
        return self.constants[id(handle)]


def same(operation: tf.Operation, inputs: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """The outputs of the same operation on other inputs, in float32."""
    return replay.run(operation, inputs, _precision)


def _inside(tensor: tf.Tensor) -> tf.Tensor:
    """What the function reads from outside: as a constant of the new graph, of whatever size; a variable stays one."""
    if tensor.dtype == tf.resource or not hasattr(tensor, "numpy"):
        return _single(tensor)
    with tf.init_scope():
        value = _single(tensor).numpy()
    return tf.constant(value)


def _precision(dtype: tf.DType) -> tf.DType:
    return tf.float32 if dtype in _OTHER_PRECISIONS else dtype


def _single(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float32) if tensor.dtype in _OTHER_PRECISIONS else tensor
