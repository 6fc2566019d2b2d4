"""Copy a traced function and replace operations that a runtime does not support.

Each operation in the function's graph is run again in a new graph. Loops are unrolled, and
operations listed in a replacement table are replaced; all others are unchanged. Variables become
constants, and half and double precision become float32. The model and the traced function are not
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfviz.export.lowering.loops import Unroller, run_needed, with_known_shape
from tfviz.graph.conversion import tracing_for_conversion
from tfviz.nesting import Nested
from tfviz.reading import replay
from tfviz.reading.tensorflow_ops import is_shape, is_variable_read
from tfviz.tensorflow_internals import inlined_functions

# (operation, *inputs) -> the operation's outputs, or its only output
Replacement = Callable[..., tf.Tensor | Sequence[tf.Tensor]]

_OTHER_PRECISIONS = (tf.float16, tf.bfloat16, tf.float64)


def traced(
    function: Callable[..., Nested[tf.Tensor]], specs: Sequence[tf.TensorSpec]
) -> tf.types.experimental.ConcreteFunction:
    """Trace a function for the given input specs, and inline the functions that it calls."""
    with inlined_functions(), tracing_for_conversion(in_float32=True):
        # Only calls are inlined. get_concrete_function does not call the outer function, so it
        # remains.
        return tf.function(function, autograph=False).get_concrete_function(*specs)


def lowered(
    function: tf.types.experimental.ConcreteFunction,
    replacements: Mapping[str, Replacement],
    weights: Mapping[int, np.ndarray] | None = None,
) -> tf.types.experimental.ConcreteFunction:
    """Copy a concrete function, turn variables into constants, and replace operations by type.

    Args:
        function: the concrete function.
        replacements: the functions that replace operations, keyed by operation type.
        weights: values that replace those of the variables, keyed by the id of the variable's
            handle.

    Returns:
        A concrete function with the same inputs, outputs and names, in which all floats are
        float32.
    """
    given = function.inputs[: len(function.inputs) - len(function.captured_inputs)]
    specs = [tf.TensorSpec(x.shape, _precision(x.dtype), x.op.name) for x in given]

    def copied(*inputs: tf.Tensor) -> Nested[tf.Tensor]:
        copy = _Copy(function, replacements, weights or {}, inputs[0])
        known = copy.captured | {x.name: tensor for x, tensor in zip(given, inputs, strict=True)}
        return tf.nest.pack_sequence_as(function.structured_outputs, run_needed(function.outputs, known, copy.run))

    return tf.function(copied, autograph=False).get_concrete_function(*specs)


class _Copy:
    """Runs the operations of a function in another graph.

    Attributes:
        captured: the replacements for the function's captured tensors, keyed by name.
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
        self.graph = tf.compat.v1.get_default_graph()
        captures = function.inputs[len(function.inputs) - len(function.captured_inputs) :]
        self.captured = {x.name: _inside(tensor) for x, tensor in zip(captures, function.captured_inputs, strict=True)}

    def run(self, operation: tf.Operation, inputs: list[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Run an operation or its replacement, and return its outputs."""
        if is_variable_read(operation):
            return [self._weight(inputs[0])]
        if is_shape(operation):
            # tf.shape returns a constant if the shape is static.
            return [tf.shape(x, operation.get_attr("out_type")) for x in inputs]
        if self.unroller.runs(operation, inputs):
            return self.unroller.run(operation, inputs)
        if operation.type in self.replacements:
            outputs = self.replacements[operation.type](operation, *inputs)
            return outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return same(operation, inputs)

    def _weight(self, handle: tf.Tensor) -> tf.Tensor:
        """Return the value of a variable as a constant shared by all reads of the variable."""
        if id(handle) not in self.constants:
            variable = next(variable for variable in self.variables if variable.handle is handle)
            with tf.init_scope():
                own = _as_float32(variable.read_value()).numpy()
            with self.graph.as_default():  # so that loops can share the constant
                self.constants[id(handle)] = tf.constant(self.weights.get(id(handle), own))
        return with_known_shape(self.constants[id(handle)])


def same(operation: tf.Operation, inputs: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Run an operation on new inputs in float32, and return its outputs."""
    return replay.run(operation, inputs, _precision)


def _inside(tensor: tf.Tensor) -> tf.Tensor:
    """Convert a captured tensor to a constant in the new graph. Return a variable unchanged."""
    if tensor.dtype == tf.resource or not hasattr(tensor, "numpy"):
        return _as_float32(tensor)
    with tf.init_scope():
        value = _as_float32(tensor).numpy()
    return tf.constant(value)


def _precision(dtype: tf.DType) -> tf.DType:
    return tf.float32 if dtype in _OTHER_PRECISIONS else dtype


def _as_float32(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float32) if tensor.dtype in _OTHER_PRECISIONS else tensor
