"""Find the calls that a model, layer or function makes.

The calls come from the graph that Keras recorded or, if there is none, from tracing the code.

Code is traced with Keras' symbolic tensors first, because Keras records each `keras.ops` operation
that runs on them. TensorFlow traces code that uses other functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from tfviz import keras_internals
from tfviz.nesting import Nested
from tfviz.reading import keras_ops, keras_tracer, tensorflow_tracer
from tfviz.reading.keras_layers import can_only_be_traced_by_keras
from tfviz.reading.trace import Call, NotReadable, Trace, recorded_trace

Runner = Callable[..., Any]  # a layer, or its `call` method


def calls_of(
    readable: keras.Model | Call | Callable[[Any], Any],
    like: keras.KerasTensor | None = None,
    *,
    by_tensorflow: bool = True,
    free_tokens: bool = False,
) -> Trace | NotReadable:
    """Trace a model, a layer call, or a function of one tensor.

    Args:
        readable: a model, a layer call, or (with `like`) a function.
        like: a symbolic tensor to call the function on.
        by_tensorflow: whether to let TensorFlow trace code that Keras cannot trace.
        free_tokens: whether to leave the number of tokens unknown when tracing a call.

    Returns:
        The trace, or the reason why there is none.
    """
    if isinstance(readable, Call):
        return _inside_call(readable, by_tensorflow, free_tokens)
    if like is not None:
        return _inside_function(readable, like, by_tensorflow)
    return _inside_model(readable)


def _inside_model(model: Any) -> Trace | NotReadable:
    functional = keras_internals.functional_of(model)
    if functional is not None:
        return recorded_trace(functional)
    if not isinstance(model, keras.Model):
        return NotReadable("is not a keras.Model")
    if not model.built:
        return NotReadable("has never been called")
    symbols = symbolic_images(model)
    if symbols is None:
        return NotReadable("has an unknown input shape")
    return _traced(model, symbols, lambda run, tensors, **options: run(tensors, **options), by_tensorflow=True)


def symbolic_images(model: keras.Model) -> Nested[keras.KerasTensor] | None:
    """Return symbolic inputs for a built model, or None if their shape is unknown."""
    # A Functional or Sequential subclass that overrides `call` has recorded inputs too.
    known = keras_internals.recorded_inputs(model)
    if known is not None:
        return tree.map_structure(lambda x: keras.KerasTensor((None, *x.shape[1:]), x.dtype), known)
    shape = (model.get_build_config() or {}).get("input_shape")
    return shape and tree.map_shape_structure(lambda size: keras.KerasTensor((None, *size[1:])), shape)


def _inside_call(call: Call, by_tensorflow: bool, free_tokens: bool) -> Trace | NotReadable:
    layer, distinct = call.operation, call.distinct_inputs
    shapes = [with_free_tokens(tensor.shape) if free_tokens else tensor.shape for tensor in distinct]
    symbols = [keras.KerasTensor(shape, dtype=tensor.dtype) for shape, tensor in zip(shapes, distinct, strict=True)]

    def run_on(run: Runner, tensors: Sequence[tf.Tensor], **options: Any) -> Any:
        given = {id(symbol): x for symbol, x in zip(distinct, tensors, strict=True)}
        args, kwargs = call.on([given[id(symbol)] for symbol in call.inputs])
        return run(*args, **{**kwargs, **options})

    if isinstance(layer, keras.Layer):
        found = _traced(layer, symbols, run_on, by_tensorflow)
    elif by_tensorflow:  # see keras_ops.is_attention
        found = tensorflow_tracer.traced(
            None, symbols, lambda x: run_on(keras_ops.exact_attention(layer), list(tree.flatten(x)))
        )
    else:
        found = NotReadable("is read with TensorFlow")
    if isinstance(found, Trace) and len(found.returned) != len(call.outputs):
        return NotReadable("returns a different number of tensors when traced")
    return found


def with_free_tokens(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Replace the token count in a shape (N, tokens, K) with None. Leave other shapes unchanged."""
    return (shape[0], None, shape[2]) if len(shape) == 3 else tuple(shape)


def declares_wrong_tokens(call: Call) -> bool:
    """Return whether a layer turns an image into a different number of tokens than it declares.

    For example, KerasHub's DINOv3 declares as many rows as columns even for nonsquare images, and
    KerasHub's SigLIP declares a class token that it does not have. Sizes recorded after such a
    layer are unreliable.
    """
    shapes = [tensor.shape for tensor in (*call.inputs, *call.outputs)]
    if [len(shape) for shape in shapes] != [4, 3] or any(None in shape[1:] for shape in shapes):
        return False
    image = tf.zeros((1, *shapes[0][1:]), call.inputs[0].dtype)
    try:
        with keras_internals.untouched(call.operation):
            args, kwargs = call.on([image])
            return tuple(call.operation(*args, **kwargs).shape[1:]) != tuple(shapes[1][1:])
    except Exception:  # If the code cannot run, the error is reported when the code is read.
        return False


def _inside_function(function: Callable[[Any], Any], like: keras.KerasTensor, by_tensorflow: bool) -> Trace | NotReadable:
    symbol = keras.KerasTensor(like.shape, dtype=like.dtype)
    found = keras_tracer.traced(None, symbol, lambda: function(symbol))
    if isinstance(found, Trace) or not by_tensorflow:
        return found
    return _with_cause(found, tensorflow_tracer.traced(None, symbol, function))


def step_of(layer: keras.Layer, series: keras.KerasTensor) -> Trace | NotReadable:
    """Trace a TimeDistributed layer's inner layer for one time step."""
    inside = layer.layer
    step = keras.KerasTensor((None, *series.shape[2:]), dtype=series.dtype)
    return keras_tracer.traced(layer, [step], lambda: inside(step))


def _traced(layer: keras.Layer, symbols: Any, call: Callable[..., Any], by_tensorflow: bool) -> Trace | NotReadable:
    """Trace a layer.

    `call(run, tensors, **options)` passes the tensors and options to `run`, which is either the
    layer or its `call` method.
    """
    options = {"training": False} if takes_training(layer) else {}
    found = keras_tracer.traced(layer, symbols, lambda: call(layer.call, symbols, **options))
    if isinstance(found, Trace) or not by_tensorflow or can_only_be_traced_by_keras(layer):
        return found
    # Call the layer itself, as users do. Without training=False, random augmentation would be
    # active.
    return _with_cause(found, tensorflow_tracer.traced(layer, symbols, lambda tensors: call(layer, tensors, training=False)))


def _with_cause(first: NotReadable, second: Trace | NotReadable) -> Trace | NotReadable:
    """Return the second tracer's result.

    If the second tracer failed without an error, add the first tracer's error as the cause.
    """
    if isinstance(second, Trace) or second.cause is not None:
        return second
    return NotReadable(second.reason, first.cause)


def takes_training(operation: object) -> bool:
    """Return whether an operation is a layer whose `call` takes a `training` argument."""
    return isinstance(operation, keras.Layer) and "training" in inspect.signature(operation.call).parameters
