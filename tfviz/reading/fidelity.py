"""Whether what was read computes what the user's code computes."""

from __future__ import annotations

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
    """Whether the calls of a trace, one after the other, give what the whole function gives; not tried for a free size."""
    symbols = tree.flatten(trace.inputs)
    if any(None in symbol.shape[1:] for symbol in symbols):
        return True
    given = noise([((2, *symbol.shape[1:]), symbol.dtype) for symbol in symbols])
    values = {id(symbol): x for symbol, x in zip(symbols, given, strict=True)}
    for call in trace.calls:
        args, kwargs = call.arguments.fill_in(values)
        extra = {"training": False} if isinstance(call.operation, keras.Layer) else {}
        outputs = [x for x in tree.flatten(call.operation(*args, **{**extra, **kwargs})) if tf.is_tensor(x)]
        values.update({id(symbol): x for symbol, x in zip(call.outputs, outputs, strict=True)})
    got = [values[id(symbol)] for symbol in tree.flatten(trace.outputs)]
    return _are_near(got, tree.flatten(function(*given)))


def require_faithful(graph: Graph, images: Sequence[tf.Tensor]) -> None:
    """Raises where the graph gives other outputs than the model, for the first of these images.

    A graph that Keras recorded is the model. One that was seen by tracing code need not be: the code may ask in Python for
    what is not known before there are images.

    Args:
        graph: the whole graph of a model, its outputs as the model gives them.
        images: one tensor for each input.

    Raises:
        UnsupportedModelError: it does. A model that draws at random passes, and one that cannot run these images.
    """
    pairs = zip(graph.inputs, images, strict=True)
    one = [x[:1] if value.shape[:1] in ((), (None,)) else x for value, x in pairs]
    with keras_internals.untouched(graph.model):
        try:
            want, again = _outputs_of(graph, one), _outputs_of(graph, one)
        except Exception:  # What the user's code cannot run is reported when it is compiled.
            return
        if not _are_near(again, want):
            return  # it draws at random
        try:
            values = run(inputs_of(graph, one), graph.before(graph.outputs))
        except Exception as error:  # Keras' and TensorFlow's own: a shape that was taken for another.
            raise _unfaithful(graph, images) from error
    if not _are_near([values[value] for value in graph.outputs], want):
        raise _unfaithful(graph, images)


def noise_for(graph: Graph, sizes: Sequence[tuple[int | None, ...]]) -> list[tf.Tensor]:
    """Noise images of these sizes, a batch of one or as many as the model takes."""
    pairs = zip(graph.inputs, sizes, strict=True)
    return noise([(((value.shape or (None,))[0] or 1, *size), value.dtype or "float32") for value, size in pairs])


def noise(specs: Sequence[tuple[tuple[int | None, ...], str]]) -> list[tf.Tensor]:
    """Normal noise for each (shape, dtype); of integers 0 and 1 above all. It draws from no generator of the user's."""
    random = np.random.default_rng(0)
    return [tf.cast(random.normal(size=[n or 1 for n in shape]), dtype) for shape, dtype in specs]


def _are_near(got: Sequence[object], want: Sequence[object]) -> bool:
    return len(got) == len(want) and all(map(is_near, got, want))


def _unfaithful(graph: Graph, images: Sequence[tf.Tensor]) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"'{graph.model_name}' computes something else than what was read of it, for images of shape "
        f"{tuple(images[0].shape[1:])}. Code in one of its layers asks in Python for sizes that are free, or for other things "
        "that are known only when it runs. Give the model images of a fixed size, keras.Input((224, 224, 3)), or use "
        "keras.ops.shape(x) there."
    )


def _outputs_of(graph: Graph, images: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    given = tree.pack_sequence_as(graph.input_structure, images)
    return list(tree.flatten(graph.model(given, training=False)))
