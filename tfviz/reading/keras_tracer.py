"""The first of two tracers. It runs code on Keras' symbolic tensors and records the operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from tfviz import keras_internals
from tfviz.nesting import Nested
from tfviz.reading.trace import Call, NotReadable, Trace, trace_of_graph


def traced(
    layer: keras.Layer | None, symbols: Nested[keras.KerasTensor], call: Callable[[], Nested[keras.KerasTensor]]
) -> Trace | NotReadable:
    """Trace the operations in a layer's `call` or in a function.

    Tracing fails if the code uses functions from outside Keras, such as `tf.nn.relu`, or reads
    weights in a way that would freeze their current values.

    Args:
        layer: the layer, or None for a function.
        symbols: the symbolic tensors that `call` uses as inputs.
        call: a function that runs the layer's `call`, or an inner layer, on the symbols.

    Returns:
        The trace, or the reason why there is none.
    """
    if layer is not None and keras_internals.owns_variables(layer):
        return NotReadable("owns weights that its code may use directly")
    try:
        trace = trace_of_graph(*keras_internals.symbolic_graph(layer, symbols, call))
    except Exception as error:
        # The user's code was not written for symbolic tensors, so it may raise any exception.
        return NotReadable("cannot be called on Keras' symbolic tensors", error)
    own = {id(one) for one in keras_internals.layers_of(layer)}
    if any(_holds_values(call) for call in trace.calls):
        return NotReadable("computes with tensors that may depend on weights")
    if any(_has_free_size(call, own) for call in trace.calls):
        return NotReadable("uses sizes that are only known at run time")
    return trace


def _holds_values(call: Call) -> bool:
    """Return whether a call received a concrete tensor, which may depend on weights."""
    return any(tf.is_tensor(value) for value in tree.flatten((call.arguments.args, call.arguments.kwargs)))


_SIZES = ("height", "width", "size", "target_shape", "pool_size", "output_size")


def _has_free_size(call: Call, own: set[int]) -> bool:
    """Return whether a call received a size that is known only at run time.

    A reshape is an exception if only the batch size is unknown, because this size can be inferred
    from the others. This function then sets it to -1, but only in the traced operation. Layers that
    the code creates may also receive such sizes. Existing layers, whose ids are in `own`, are not
    checked.
    """
    operation, sizes = call.operation, call.outputs[0].shape
    if isinstance(operation, keras.Layer):
        given = [getattr(operation, name) for name in _SIZES if hasattr(operation, name)]
        return id(operation) not in own and None in tree.flatten(given)
    if None not in (*_shape(operation, "newshape"), *_shape(operation, "shape")):
        return False
    if hasattr(operation, "newshape") and None not in sizes[1:]:
        operation.newshape = (-1, *sizes[1:])
        return False
    return True


def _shape(operation: Any, name: str) -> Sequence[Any]:
    shape = getattr(operation, name, ())
    return shape if isinstance(shape, (tuple, list)) else ()
