"""Trace an opaque operation to determine what it contains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf

from tfviz import keras_internals
from tfviz.graph.graph import Value
from tfviz.graph.operations import Elementwise, Relu
from tfviz.reading import tensorflow_ops
from tfviz.reading.keras_layers import is_keras_layer, stages_of
from tfviz.reading.keras_ops import operation_of_function
from tfviz.reading.stages import Compute


@dataclass(frozen=True, eq=False)
class TracedContents:
    """The contents of a user's layer or function, as determined by tracing.

    Code that cannot be traced is assumed to contain a ReLU.

    Attributes:
        layer: the layer, or None for any other operation that runs user functions.
        compute: a function that runs the layer or function.
        specs: the input tensor specs.
        is_pointwise: whether the operation is known to process each pixel separately, like an
            activation function.
        always_mixes_pixels: whether the operation is known to mix pixels, like attention.
    """

    layer: keras.Layer | None
    compute: Compute
    specs: list[tf.TensorSpec]
    is_pointwise: bool = False
    always_mixes_pixels: bool = False

    @classmethod
    def of(
        cls, layer: keras.Layer | None, compute: Compute, inputs: Sequence[Value], *, is_pointwise: bool = False
    ) -> TracedContents:
        """Describe the contents of `compute` for inputs shaped and typed like the given values."""
        specs = [tf.TensorSpec(value.shape or None, value.dtype or "float32") for value in inputs]
        return cls(layer, compute, specs, is_pointwise)

    @cached_property
    def may_hide_relu(self) -> bool:
        """Whether the operation contains, or could contain, a ReLU.

        Built-in layers are checked part by part. For example, an LSTM contains a ReLU only if the
        user chose it as an activation.
        """
        parts = keras_internals.layers_of(self.layer)
        if any(map(_is_relu, parts)):
            return True
        is_built_in = bool(parts) and all(map(is_keras_layer, parts))
        return not is_built_in and (self._function is None or tensorflow_ops.runs_relu(self._function))

    @cached_property
    def mixes_pixels(self) -> bool:
        """Whether an output pixel depends on other pixels, or False if this is unknown."""
        if self.always_mixes_pixels:
            return True
        if self.is_pointwise or self._function is None:
            return False
        return tensorflow_ops.mixes_pixels(self._function, len(self.specs))

    @cached_property
    def last_operation(self) -> Elementwise | None:
        """The elementwise function that computes the first output, or None if it is unknown."""
        return None if self._function is None else tensorflow_ops.last_operation(self._function)

    @cached_property
    def _function(self) -> Any:
        """The concrete function traced from `compute`, or None if it cannot be traced."""
        try:
            with keras_internals.untouched(self.layer):
                return tf.function(lambda *given: self.compute(given), autograph=False).get_concrete_function(*self.specs)
        except Exception:  # User code may raise any exception. Only details in a warning are lost.
            return None


def _is_relu(layer: keras.Layer) -> bool:
    functions = [getattr(layer, name, None) for name in ("activation", "recurrent_activation")]
    operations = [
        *(stage.operation for stage in stages_of(layer) or ()),
        *(operation_of_function(one, "") for one in functions if one is not None),
    ]
    return any(isinstance(operation, Relu) for operation in operations)
