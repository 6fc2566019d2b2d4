"""Run a graph place by place, and carry a seed from its outputs back to any value on the way.

Only what happens on the way back differs between methods. A rule sees a place's inputs and its output, and returns the
output, redirected (see `rules.redirect`) where the way back is to differ from the operation's own derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from keras import tree

from tfviz.errors import UnknownLayerError, UnsupportedModelError
from tfviz.graph import keras_graph
from tfviz.graph.places import Graph, Place, Value

Rule = Callable[[Place, Sequence[Any], Any], Any]  # (place, inputs, output) -> output
Rules = Mapping[str, Rule]  # kind of operation -> rule; a kind without one keeps its own derivative
Seed = Callable[[Any], Any]  # outputs -> what starts at the outputs, in the same structure

NO_RULES: Rules = {}

# Under float16 what comes back to single neurons is below its smallest number; a power of two changes no other digit.
_SEED_SCALE = 2**10


@dataclass(frozen=True)
class Backward:
    """What one way there and back gives.

    values: the tensors at all values that were computed. gradients: what came back to each value asked for, shaped like it.
    """

    values: dict[Value, Any]
    gradients: list[Any]


def run(values: dict[Value, Any], places: Sequence[Place], rules: Rules = NO_RULES) -> dict[Value, Any]:
    """Runs these places in order; returns `values` with what they compute."""
    values = dict(values)
    for place in places:
        inputs = [values[value] for value in place.inputs]
        outputs = place.compute(inputs)
        rule = rules.get(place.kind)
        if rule is not None:
            outputs = [keras_graph.with_mask_of(output, rule(place, inputs, output)) for output in outputs]
        values.update(zip(place.outputs, outputs, strict=True))
    return values


def inputs_of(graph: Graph, images: Sequence[Any]) -> dict[Value, Any]:
    """The values that are known at the start: one tensor for each input of the graph."""
    return dict(zip(graph.inputs, images, strict=True))


def backpropagate(graph: Graph, known: dict[Value, Any], seed: Seed, at: Sequence[Value], rules: Rules = NO_RULES) -> Backward:
    """Runs the graph from known values, and carries the seed from its outputs back to the values `at`, by the rules.

    The part below `at` is a plain forward pass, neither recorded nor redirected, and what is known already is not run.

    Raises:
        UnknownLayerError: when a value of `at` has no part in the outputs.
    """
    values = run(known, graph.before(at, given=known))
    # A layer may return the very tensor it got (Dropout, at inference); a tensor of its own keeps the two apart.
    values.update({value: keras_graph.with_mask_of(values[value], tf.identity(values[value])) for value in at})
    behind = graph.after(at)
    rest = graph.before(graph.outputs, given=[value for value in values if value in at or value not in behind])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        watched = [values[value] for value in at]
        tape.watch([tensor for tensor in watched if tensor.dtype.is_floating])
        values = run(values, rest, rules)
    outputs = [values[value] for value in graph.outputs]
    seeds = tree.flatten(seed(tree.pack_sequence_as(graph.output_structure, outputs)))
    scale = _SEED_SCALE if any(tensor.dtype == tf.float16 for tensor in values.values()) else 1
    gradients = tape.gradient(outputs, watched, output_gradients=[scale * s for s in seeds] if scale > 1 else seeds)
    if scale > 1:
        gradients = [None if g is None else tf.cast(g, tf.float32) / scale for g in gradients]
    for number, (value, gradient) in enumerate(zip(at, gradients, strict=True)):
        if gradient is None:
            _require_real(graph, value)
        if gradient is None and value in graph.inputs and len(graph.inputs) > 1:
            gradients[number] = tf.zeros(tf.shape(values[value]))  # One of several inputs may have no part in an output.
        elif gradient is None:
            raise UnknownLayerError(
                f"layer '{name_of(graph, value)}' has no part in the model's output; choose one on the way to it"
            )
    return Backward(values, gradients)


def _require_real(graph: Graph, value: Value) -> None:
    """Raises for pictures in whole numbers, which the outputs do depend on; words beside a picture have no part in a map."""
    tensor = graph.tensors[value]
    is_whole = tensor is not None and not tf.as_dtype(tensor.dtype).is_floating
    is_explained = len(graph.shapes[value]) > 2 or len(graph.inputs) == 1
    if is_whole and is_explained and graph.after([value]).intersection(graph.outputs):
        raise UnsupportedModelError(
            f"'{name_of(graph, value)}' is {tf.as_dtype(tensor.dtype).name}: there is no gradient to whole numbers. Build the "
            "model with a float Input (the same weights fit), name a layer, or use a CAM"
        )


def name_of(graph: Graph, value: Value) -> str:
    """The path of the place that makes a value, or the name of the input that it is."""
    place = graph.producer(value)
    return place.path if place else next(name for name, other in graph.names.items() if other == value)
