"""The first tracer: code run on Keras' symbolic tensors, whose operations say what they do."""

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
    """The trace of what a layer does in `call`.

    Args:
        layer: the layer; None for a function.
        symbols: the symbolic tensors that `call` starts from.
        call: runs the layer's own `call`, or a layer inside it, on the symbols. It cannot be seen where it goes through other
            functions than Keras' own (`tf.nn.relu`), or reads weights in a way that would freeze their present value.
    """
    if layer is not None and keras_internals.owns_variables(layer):
        return NotReadable("has weights of its own, which its code may read in any way")
    try:
        trace = trace_of_graph(*keras_internals.symbolic_graph(layer, symbols, call))
    except Exception as error:  # The user's own code, run on what it was not written for: it may raise anything.
        return NotReadable("cannot be called on Keras' symbolic tensors", error)
    own = {id(one) for one in keras_internals.layers_of(layer)}
    if any(_holds_values(call) for call in trace.calls):
        return NotReadable("computes with tensors that may have been made of weights")
    if any(_has_free_size(call, own) for call in trace.calls):
        return NotReadable("uses sizes that are known only when it runs")
    return trace


def _holds_values(call: Call) -> bool:
    """Whether a call was given a tensor of values, which may have been computed from weights."""
    return any(tf.is_tensor(value) for value in tree.flatten((call.arguments.args, call.arguments.kwargs)))


_SIZES = ("height", "width", "size", "target_shape", "pool_size", "output_size")


def _has_free_size(call: Call, own: set[int]) -> bool:
    """Whether a call was given a shape with a size that is not known before there are images.

    The batch size in a reshape is what the other sizes leave, so that is set instead: the operation is the trace's own. A
    layer may have been made for the call, of such sizes; `own` has the ids of those that were not.
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
