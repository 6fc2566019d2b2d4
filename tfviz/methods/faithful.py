"""Whether what was read of a model computes what the model computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import UnsupportedModelError
from tfviz.graph import keras_graph
from tfviz.graph.layers import model_name
from tfviz.graph.places import Graph
from tfviz.graph.walk import inputs_of, run
from tfviz.numerics import is_near


def require_faithful(graph: Graph, images: list[Any]) -> None:
    """Raises where the graph gives other outputs than the model, for the first of these images.

    A graph that Keras recorded is the model. One that was seen by tracing code need not be: the code may ask in Python for
    what is not known before there are images.

    Args:
        graph: the whole graph of a model, its outputs as the model gives them.
        images: one tensor for each input.

    Raises:
        UnsupportedModelError: it does; a model that draws at random is let pass, and one that cannot run these images.
    """
    one = [x[:1] if graph.shapes[value][:1] in ((), (None,)) else x for value, x in zip(graph.inputs, images, strict=True)]
    with keras_graph.untouched(graph.model):
        try:
            want, again = _outputs_of(graph, one), _outputs_of(graph, one)
        except Exception:  # The user's own code: what it cannot run will be said when it is compiled.
            return
        if not all(map(is_near, again, want)):
            return  # it draws at random
        try:
            values = run(inputs_of(graph, one), graph.before(graph.outputs))
        except Exception as error:  # Keras' and TensorFlow's own: a shape that was taken for another.
            raise _unfaithful(graph, images) from error
    if not all(map(is_near, [values[value] for value in graph.outputs], want)):
        raise _unfaithful(graph, images)


def noise_for(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Images of these shapes, a batch of one or as many as the model takes, that draw from no generator of the user's."""
    random, images = np.random.default_rng(0), []
    for value, shape in zip(graph.inputs, shapes, strict=True):
        tensor, count = graph.tensors[value], (graph.shapes[value] or (None,))[0]
        images.append(tf.cast(random.normal(size=(count or 1, *shape)), tf.float32 if tensor is None else tensor.dtype))
    return images


def _unfaithful(graph: Graph, images: list[Any]) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"'{model_name(graph)}' computes something else than what can be read of it, for images {tuple(images[0].shape[1:])}. "
        "Code in one of its layers asks in Python for sizes that are free, or for other things that are known only when it "
        "runs. Give the model images of a fixed size, keras.Input((224, 224, 3)), or use keras.ops.shape(x) there"
    )


def _outputs_of(graph: Graph, images: list[Any]) -> list[Any]:
    given = tree.pack_sequence_as(graph.input_structure, images)
    return list(tree.flatten(graph.model(given, training=False)))
