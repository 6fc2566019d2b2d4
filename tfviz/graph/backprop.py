"""Run a graph step by step and backpropagate a seed from its outputs to any value.

Methods differ only in the backward pass. A rule receives the inputs and the output of a step and
returns the output. To replace the operation's derivative with another gradient, the rule redirects
the output (see `rules.redirect`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import tensorflow as tf
from keras import tree

from tfviz import keras_internals
from tfviz.errors import UnknownLayerError, UnsupportedModelError
from tfviz.graph.conversion import is_traced_for_float32
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Operation
from tfviz.nesting import Nested

Values = dict[Value, tf.Tensor]
# (step, inputs, output) -> output
Rule = Callable[[Step, Sequence[tf.Tensor], tf.Tensor], tf.Tensor]
Rules = Mapping[type[Operation], Rule]  # operations without a rule use their own derivative
Seed = Callable[[Nested[tf.Tensor]], Nested[tf.Tensor]]  # outputs -> seed, in the same structure

NO_RULES: Rules = {}

# In float16, gradients with respect to single neurons can underflow, so seeds are scaled up. If the
# gradients overflow, the second scale is used. Scaling by powers of two causes no rounding.
_SEED_SCALES = 2.0**10, 2.0**-6


@dataclass(frozen=True)
class Backward:
    """The result of one forward and backward pass.

    Attributes:
        values: the computed tensors, keyed by value.
        gradients: the gradient with respect to each requested value, with the same shape as the
            value.
    """

    values: Values
    gradients: list[tf.Tensor]


def rule_for(rules: Mapping[type[Operation], Rule], operation: Operation) -> Rule | None:
    """Return the rule for an operation's type or nearest base type, or None if there is none."""
    return next((rules[cls] for cls in type(operation).__mro__ if cls in rules), None)


def run(values: Values, steps: Sequence[Step], rules: Rules = NO_RULES) -> Values:
    """Run the steps in order and return `values` with the steps' results added."""
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
    """Return the initial values, which map each graph input to its tensor."""
    return dict(zip(graph.inputs, images, strict=True))


def backpropagate(graph: Graph, known: Values, seed: Seed, at: Sequence[Value], rules: Rules = NO_RULES) -> Backward:
    """Run the graph from known values and backpropagate the seed to the values in `at`.

    Steps before `at` run as a plain forward pass, without a gradient tape or rules. Known values
    are not recomputed. In eager mode, the computation is compiled first.

    Args:
        graph: the graph to run.
        known: the tensors computed so far, keyed by value, including each input's tensor (see
            `inputs_of`).
        seed: a function that maps the outputs to the initial gradient.
        at: the values to return gradients for.
        rules: the backward rules by operation type.

    Returns:
        The computed values, and the gradient with respect to each value in `at`.

    Raises:
        UnknownLayerError: a value in `at` does not contribute to the outputs.
        UnsupportedModelError: no gradient reaches a value in `at`.
    """
    if not tf.executing_eagerly():
        return _backpropagate(graph, known, seed, at, rules)
    found: list[Value] = []

    # An eager tape also computes unused kernel gradients, which compilation prunes. On some
    # processors, TensorFlow 2.21 corrupts the heap when it computes the kernel gradient of a 1×1
    # convolution with stride 2.
    def traced() -> tuple[list[tf.Tensor], dict[int, tf.Tensor], list[tf.Tensor]]:
        backward = _backpropagate(graph, known, seed, at, rules)
        found.extend(backward.values)
        tensors = list(backward.values.values())
        return tensors, keras_internals.masks_on(tensors), backward.gradients

    tensors, masks, gradients = tf.function(traced, autograph=False).get_concrete_function()()
    keras_internals.set_masks(tensors, masks)
    return Backward(dict(zip(found, tensors, strict=True)), gradients)


def _backpropagate(graph: Graph, known: Values, seed: Seed, at: Sequence[Value], rules: Rules) -> Backward:
    starts = _independent(graph, at)
    values = run(known, graph.before(starts, given=known))
    # A layer may return its input tensor, as Dropout does at inference. If the tensor is copied,
    # the tape treats the two values as different tensors.
    values.update({value: keras_internals.with_mask_of(values[value], tf.identity(values[value])) for value in starts})
    behind = graph.after(starts)
    given = [value for value in values if value in starts or value not in behind]
    rest = graph.before([*graph.outputs, *at], given=given)
    is_half = not is_traced_for_float32() and graph.is_half_precision()
    with tf.GradientTape(watch_accessed_variables=False, persistent=is_half) as tape:
        tape.watch([values[value] for value in starts if values[value].dtype.is_floating])
        values = run(values, rest, rules)
    watched = [values[value] for value in at]
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
            f"TensorFlow cannot differentiate an operation between '{graph.name_of(at[0])}' and the output ({error}). Choose a "
            "layer after that operation."
        ) from error
    filled = [_required(graph, value, g, values) for value, g in zip(at, gradients, strict=True)]
    return Backward(values, filled)


def _independent(graph: Graph, values: Sequence[Value]) -> list[Value]:
    """Return the values that do not depend on any of the others."""
    reached: set[Value] = set(values)
    dependent: set[Value] = set()
    for step in graph.steps:
        if reached.intersection(step.inputs):
            dependent.update(step.outputs)
            reached.update(step.outputs)
    return [value for value in values if value not in dependent]


def _first_finite(
    first: Callable[[], list[tf.Tensor | None]], second: Callable[[], list[tf.Tensor | None]]
) -> list[tf.Tensor | None]:
    """Return the first result if it is finite. Otherwise, compute and return the second."""
    results = first()
    known = [x for x in results if x is not None]
    is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in known]) if known else tf.constant(True)
    chosen = iter(tf.cond(is_finite, lambda: known, lambda: [x for x in second() if x is not None]))
    return [None if x is None else next(chosen) for x in results]


def _required(graph: Graph, value: Value, gradient: tf.Tensor | None, values: Values) -> tf.Tensor:
    """Return the gradient with respect to a value.

    If the value is one of several inputs and no gradient reaches it, return zeros.
    """
    if gradient is not None:
        return tf.convert_to_tensor(gradient)  # tf.gather returns IndexedSlices
    contributes = bool(graph.after([value]).intersection(graph.outputs))
    if contributes:
        _require_floats(graph, value)
    if value in graph.inputs and len(graph.inputs) > 1:
        return tf.zeros(tf.shape(values[value]))
    if contributes:
        raise UnsupportedModelError(
            f"No gradient reaches '{graph.name_of(value)}'. An operation between it and the output is not differentiable "
            "(for example, rounding, a comparison, a cast to integers or stop_gradient). Choose a layer after that operation."
        )
    raise UnknownLayerError(
        f"Layer '{graph.name_of(value)}' does not contribute to the model's output. Choose a layer that does."
    )


def _require_floats(graph: Graph, value: Value) -> None:
    """Raise UnsupportedModelError for integer images, but allow integer tokens alongside images."""
    is_integer = value.dtype is not None and not tf.as_dtype(value.dtype).is_floating
    if is_integer and (value.rank > 2 or len(graph.inputs) == 1):
        raise UnsupportedModelError(
            f"Input '{graph.name_of(value)}' has dtype {value.dtype}, but integers have no gradient. Build the model with a "
            "float Input and the same weights, choose a layer, or use a CAM."
        )
