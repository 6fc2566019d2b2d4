"""Run a graph place by place, and carry a seed from its outputs back to any value on the way.

Only what happens on the way back differs between methods. A rule sees a place's inputs and its output, and returns the
output, redirected (see `rules.redirect`) where the way back is to differ from the operation's own derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
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

# Under float16 what comes back to single neurons is below its smallest number, or where a score is large above its largest:
# then the second is taken. A power of two changes no other digit.
_SEED_SCALES = 2.0**10, 2.0**-6


_in_float32: ContextVar[bool] = ContextVar("in_float32", default=False)


@contextmanager
def traced_for_float32() -> Iterator[None]:
    """For a trace whose half precision becomes float32 later: nothing needs a scale there."""
    token = _in_float32.set(True)
    try:
        yield
    finally:
        _in_float32.reset(token)


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
    Called eagerly, it compiles itself.

    Raises:
        UnknownLayerError: when a value of `at` has no part in the outputs.
    """
    if not tf.executing_eagerly():
        return _backpropagate(graph, known, seed, at, rules)

    # An eager tape computes the gradients of kernels too, which nobody asked for; compiled, they are left out. TensorFlow
    # 2.21 corrupts the heap where it computes that of a 1x1 convolution of stride 2 on some processors.
    def traced() -> tuple[dict[Value, Any], dict[Value, Any], list[Any]]:
        backward = _backpropagate(graph, known, seed, at, rules)
        return backward.values, keras_graph.masks_on(backward.values), backward.gradients

    values, masks, gradients = tf.function(traced, autograph=False).get_concrete_function()()
    return Backward(keras_graph.with_masks(values, masks), gradients)


def _backpropagate(graph: Graph, known: dict[Value, Any], seed: Seed, at: Sequence[Value], rules: Rules) -> Backward:
    values = run(known, graph.before(at, given=known))
    # A layer may return the very tensor it got (Dropout, at inference); a tensor of its own keeps the two apart.
    values.update({value: keras_graph.with_mask_of(values[value], tf.identity(values[value])) for value in at})
    behind = graph.after(at)
    rest = graph.before(graph.outputs, given=[value for value in values if value in at or value not in behind])
    is_half = not _in_float32.get() and any(tensor is not None and tensor.dtype == "float16" for tensor in graph.tensors)
    with tf.GradientTape(watch_accessed_variables=False, persistent=is_half) as tape:
        watched = [values[value] for value in at]
        tape.watch([tensor for tensor in watched if tensor.dtype.is_floating])
        values = run(values, rest, rules)
    outputs = [values[value] for value in graph.outputs]
    seeds = tree.flatten(seed(tree.pack_sequence_as(graph.output_structure, outputs)))

    def scaled_by(scale: float) -> list[Any]:
        found = tape.gradient(outputs, watched, output_gradients=[tf.cast(scale, s.dtype) * s for s in seeds])
        return [None if g is None else tf.cast(g, tf.float32) / scale for g in found]

    try:
        if is_half:
            gradients = _first_finite(*(partial(scaled_by, scale) for scale in _SEED_SCALES))
        else:
            gradients = tape.gradient(outputs, watched, output_gradients=seeds)
    except LookupError as error:
        raise UnsupportedModelError(
            f"TensorFlow has no gradient for an operation between '{name_of(graph, at[0])}' and the output ({error}). Choose a "
            "layer above it"
        ) from error
    for number, (value, gradient) in enumerate(zip(at, gradients, strict=True)):
        if gradient is None:
            _require_real(graph, value)
        if gradient is None and value in graph.inputs and len(graph.inputs) > 1:
            gradients[number] = tf.zeros(tf.shape(values[value]))  # One of several inputs may have no part in an output.
        elif gradient is None and graph.after([value]).intersection(graph.outputs):
            raise UnsupportedModelError(
                f"no gradient comes back to '{name_of(graph, value)}': something between it and the output has none (rounding, "
                "a comparison, a cast to whole numbers, stop_gradient …). Choose a layer above it"
            )
        elif gradient is None:
            raise UnknownLayerError(
                f"layer '{name_of(graph, value)}' has no part in the model's output; choose one on the way to it"
            )
    return Backward(values, gradients)


def _first_finite(way: Callable[[], list[Any]], other: Callable[[], list[Any]]) -> list[Any]:
    """What one way gives, or the other where that is not finite; the other is run then only."""
    first = way()
    real = [x for x in first if x is not None]
    is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in real]) if real else tf.constant(True)
    chosen = iter(tf.cond(is_finite, lambda: real, lambda: [x for x in other() if x is not None]))
    return [None if x is None else next(chosen) for x in first]


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
