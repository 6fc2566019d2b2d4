"""Run a graph step by step, and carry a seed from its outputs back to any value on the way.

Methods differ only in what happens on the way back. A rule sees a step's inputs and its output, and returns the output,
redirected (see `rules.redirect`) where the way back is to differ from the operation's own derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

import tensorflow as tf
from keras import tree

from tfviz import keras_internals
from tfviz.errors import UnknownLayerError, UnsupportedModelError
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Operation
from tfviz.nesting import Nested

Values = dict[Value, tf.Tensor]
Rule = Callable[[Step, Sequence[tf.Tensor], tf.Tensor], tf.Tensor]  # (step, inputs, output) -> output
Rules = Mapping[type[Operation], Rule]  # an operation without a rule keeps its own derivative
Seed = Callable[[Nested[tf.Tensor]], Nested[tf.Tensor]]  # outputs -> what starts at the outputs, in the same structure

NO_RULES: Rules = {}

# Under float16 what comes back to single neurons is below its smallest number, or where a score is large above its largest:
# then the second scale is taken. A power of two changes no other digit.
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
    """What one forward and backward pass gives.

    Attributes:
        values: the tensors at all values that were computed.
        gradients: what came back to each value asked for, shaped like it.
    """

    values: Values
    gradients: list[tf.Tensor]


def rule_for(rules: Mapping[type[Operation], Rule], operation: Operation) -> Rule | None:
    """The rule of the operation's type, or of the type that this one is a kind of."""
    return next((rules[cls] for cls in type(operation).__mro__ if cls in rules), None)


def run(values: Values, steps: Sequence[Step], rules: Rules = NO_RULES) -> Values:
    """Runs these steps in order; returns `values` with what they compute."""
    values = dict(values)
    for step in steps:
        inputs = [values[value] for value in step.inputs]
        outputs = step.compute(inputs)
        rule = rule_for(rules, step.operation)
        if rule is not None:
            outputs = [keras_internals.with_mask_of(output, rule(step, inputs, output)) for output in outputs]
        values.update(zip(step.outputs, outputs, strict=True))
    return values


def inputs_of(graph: Graph, images: Sequence[tf.Tensor]) -> Values:
    """The values that are known at the start: one tensor for each input of the graph."""
    return dict(zip(graph.inputs, images, strict=True))


def backpropagate(graph: Graph, known: Values, seed: Seed, at: Sequence[Value], rules: Rules = NO_RULES) -> Backward:
    """Runs the graph from known values, and carries the seed from its outputs back to the values `at`, by the rules.

    The part below `at` is a plain forward pass, neither recorded nor redirected, and what is known already is not run.
    Called eagerly, it compiles itself.

    Raises:
        UnknownLayerError: when a value of `at` does not contribute to the outputs.
        UnsupportedModelError: when nothing can come back to a value of `at`.
    """
    if not tf.executing_eagerly():
        return _backpropagate(graph, known, seed, at, rules)
    found: list[Value] = []

    # An eager tape also computes the gradients of kernels, which nobody asked for; compiled, they are left out. TensorFlow
    # 2.21 corrupts the heap where it computes that of a 1×1 convolution of stride 2 on some processors.
    def traced() -> tuple[list[tf.Tensor], dict[int, tf.Tensor], list[tf.Tensor]]:
        backward = _backpropagate(graph, known, seed, at, rules)
        found.extend(backward.values)
        tensors = list(backward.values.values())
        return tensors, keras_internals.masks_on(tensors), backward.gradients

    tensors, masks, gradients = tf.function(traced, autograph=False).get_concrete_function()()
    keras_internals.set_masks(tensors, masks)
    return Backward(dict(zip(found, tensors, strict=True)), gradients)


def _backpropagate(graph: Graph, known: Values, seed: Seed, at: Sequence[Value], rules: Rules) -> Backward:
    values = run(known, graph.before(at, given=known))
    # A layer may return the very tensor that it received (Dropout, at inference); a tensor of its own keeps the two apart.
    values.update({value: keras_internals.with_mask_of(values[value], tf.identity(values[value])) for value in at})
    behind = graph.after(at)
    rest = graph.before(graph.outputs, given=[value for value in values if value in at or value not in behind])
    is_half = not _in_float32.get() and graph.is_half_precision()
    with tf.GradientTape(watch_accessed_variables=False, persistent=is_half) as tape:
        watched = [values[value] for value in at]
        tape.watch([tensor for tensor in watched if tensor.dtype.is_floating])
        values = run(values, rest, rules)
    outputs = [values[value] for value in graph.outputs]
    seeds = tree.flatten(seed(tree.pack_sequence_as(graph.output_structure, outputs)))

    def scaled_by(scale: float) -> list[tf.Tensor | None]:
        found = tape.gradient(outputs, watched, output_gradients=[tf.cast(scale, s.dtype) * s for s in seeds])
        return [None if g is None else tf.cast(g, tf.float32) / scale for g in found]

    try:
        if is_half:
            gradients = _first_finite(*(partial(scaled_by, scale) for scale in _SEED_SCALES))
        else:
            gradients = tape.gradient(outputs, watched, output_gradients=seeds)
    except LookupError as error:
        raise UnsupportedModelError(
            f"TensorFlow has no gradient for an operation between '{graph.name_of(at[0])}' and the output ({error}). Choose a "
            "layer above that operation."
        ) from error
    filled = [_required(graph, value, g, values) for value, g in zip(at, gradients, strict=True)]
    return Backward(values, filled)


def _first_finite(
    way: Callable[[], list[tf.Tensor | None]], other: Callable[[], list[tf.Tensor | None]]
) -> list[tf.Tensor | None]:
    """What one way gives, or the other where that is not finite; the other is run then only."""
    first = way()
    real = [x for x in first if x is not None]
    is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in real]) if real else tf.constant(True)
    chosen = iter(tf.cond(is_finite, lambda: real, lambda: [x for x in other() if x is not None]))
    return [None if x is None else next(chosen) for x in first]


def _required(graph: Graph, value: Value, gradient: tf.Tensor | None, values: Values) -> tf.Tensor:
    """What came back to a value; zeros for one of several inputs that does not contribute to the outputs."""
    if gradient is not None:
        return tf.convert_to_tensor(gradient)  # tf.gather gives IndexedSlices
    contributes = bool(graph.after([value]).intersection(graph.outputs))
    if contributes:
        _require_floats(graph, value)
    if value in graph.inputs and len(graph.inputs) > 1:
        return tf.zeros(tf.shape(values[value]))
    if contributes:
        raise UnsupportedModelError(
            f"No gradient comes back to '{graph.name_of(value)}': something between it and the output has none (rounding, a "
            "comparison, a cast to integers, stop_gradient …). Choose a layer above it."
        )
    raise UnknownLayerError(
        f"Layer '{graph.name_of(value)}' does not contribute to the model's output. Choose a layer that does."
    )


def _require_floats(graph: Graph, value: Value) -> None:
    """Raises for integer images on which the outputs depend; words beside an image have no part in a map."""
    is_integer = value.dtype is not None and not tf.as_dtype(value.dtype).is_floating
    if is_integer and (value.rank > 2 or len(graph.inputs) == 1):
        raise UnsupportedModelError(
            f"'{graph.name_of(value)}' is {value.dtype}, and integers have no gradient. Build the model with a float Input "
            "(the same weights fit), name a layer, or use a CAM."
        )
