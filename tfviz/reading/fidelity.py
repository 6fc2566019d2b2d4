"""Check that a graph computes the same results as the user's code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.graph.backprop import inputs_of, run
from tfviz.graph.graph import Graph
from tfviz.numerics import is_near
from tfviz.reading.trace import Trace


def computes_as(trace: Trace, function: Callable[..., object]) -> bool:
    """Return whether a trace reproduces a function's results.

    If any size except the batch size is unknown, return True without checking.
    """
    symbols = tree.flatten(trace.inputs)
    if any(None in symbol.shape[1:] for symbol in symbols):
        return True
    try:
        return _compute_alike(trace, function, symbols, batch=2)
    except Exception:
        # Attention with masked windows needs a batch size that is a multiple of the window count.
        batch = math.lcm(2, *(symbol.shape[0] or 1 for symbol in symbols if symbol.shape))
        if batch == 2:
            raise
        return _compute_alike(trace, function, symbols, batch)


def _compute_alike(trace: Trace, function: Callable[..., object], symbols: Sequence[keras.KerasTensor], batch: int) -> bool:
    given = noise([(tuple(n or batch for n in symbol.shape), symbol.dtype) for symbol in symbols])
    values = {id(symbol): x for symbol, x in zip(symbols, given, strict=True)}
    for call in trace.calls:
        args, kwargs = call.arguments.fill_in(values)
        extra = {"training": False} if isinstance(call.operation, keras.Layer) else {}
        outputs = [x for x in tree.flatten(call.operation(*args, **{**extra, **kwargs})) if tf.is_tensor(x)]
        values.update({id(symbol): x for symbol, x in zip(call.outputs, outputs, strict=True)})
    actual = [values[id(symbol)] for symbol in trace.returned]
    return _are_near(actual, [x for x in tree.flatten(function(*given)) if tf.is_tensor(x)])


def require_faithful(graph: Graph, images: Sequence[tf.Tensor]) -> None:
    """Check that a traced graph and its model return the same outputs for the first image.

    A graph that Keras recorded is exact. A traced graph may compute different outputs, because code
    can branch in Python on values that are only known at run time. The check is skipped for models
    that draw random numbers or cannot process these images.

    Args:
        graph: a model's graph, with all outputs unchanged.
        images: one tensor per input.

    Raises:
        UnsupportedModelError: the outputs differ.
    """
    pairs = zip(graph.inputs, images, strict=True)
    one = [x[:1] if value.shape[:1] in ((), (None,)) else x for value, x in pairs]
    with keras_internals.untouched(graph.model):
        try:
            expected, repeated = _outputs_of(graph, one), _outputs_of(graph, one)
        except Exception:  # Errors in the user's code are reported when the explainer is compiled.
            return
        if not _are_near(repeated, expected):
            return  # the model draws random numbers
        try:
            values = run(inputs_of(graph, one), graph.before(graph.outputs))
        except Exception as error:  # Keras or TensorFlow raises an error if shapes do not match.
            raise _unfaithful(graph, images) from error
    if not _are_near([values[value] for value in graph.outputs], expected):
        raise _unfaithful(graph, images)


def noise_for(graph: Graph, sizes: Sequence[tuple[int | None, ...]]) -> list[tf.Tensor]:
    """Return noise images of the given sizes.

    The batch size is 1 unless the model has a fixed batch size.
    """
    pairs = zip(graph.inputs, sizes, strict=True)
    return noise([(((value.shape or (None,))[0] or 1, *size), value.dtype or "float32") for value, size in pairs])


def noise(specs: Sequence[tuple[tuple[int | None, ...], str]]) -> list[tf.Tensor]:
    """Return normally distributed noise, or empty strings, for each (shape, dtype) pair.

    The global random number generators are not used.
    """
    random = np.random.default_rng(0)
    sizes = [[n or 1 for n in shape] for shape, _ in specs]
    pairs = zip(sizes, (dtype for _, dtype in specs), strict=True)
    return [tf.fill(size, "") if dtype == "string" else tf.cast(random.normal(size=size), dtype) for size, dtype in pairs]


def _are_near(actual: Sequence[object], expected: Sequence[object]) -> bool:
    return len(actual) == len(expected) and all(map(is_near, actual, expected))


def _unfaithful(graph: Graph, images: Sequence[tf.Tensor]) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The graph that tfviz read from '{graph.model_name}' does not reproduce the model's outputs for images of shape "
        f"{tuple(images[0].shape[1:])}. One of the model's layers branches in Python on a size or another value that is known "
        "only at run time. Build the model with a fixed image size, such as keras.Input((224, 224, 3)), or use "
        "keras.ops.shape(x) in that layer."
    )


def _outputs_of(graph: Graph, images: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    given = tree.pack_sequence_as(graph.input_structure, images)
    return list(tree.flatten(graph.model(given, training=False)))
