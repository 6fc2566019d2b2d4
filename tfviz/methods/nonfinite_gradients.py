"""Find the step whose backward pass first produces NaN or infinity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.graph.backprop import Seed, Values, inputs_of, run
from tfviz.graph.graph import Graph, Step, Value

_Results = TypeVar("_Results")


@dataclass(frozen=True)
class Origin:
    """The step at which a gradient stops being finite.

    Attributes:
        step: the step whose output gradient is finite but whose input gradient is not.
        is_singular: whether a gradient of ones also leads to NaN or infinity, which means that the
            step has no finite derivative at this input. Otherwise, the gradient overflows.
    """

    step: Step
    is_singular: bool


def origin(graph: Graph, images: Sequence[tf.Tensor], seed: Seed) -> Origin | None:
    """Return the step closest to the outputs at which the gradient stops being finite, or None.

    Args:
        graph: the graph.
        images: one tensor per graph input.
        seed: the score's gradient with respect to the outputs.
    """
    values, gradients = _forward_and_backward(graph, images, seed)
    for step in reversed(graph.before(graph.outputs)):
        received = [gradients.get(value, tf.zeros_like(values[value])) for value in step.outputs]
        if not _are_finite(received) or _are_finite([gradients[v] for v in step.inputs if v in gradients]):
            continue
        if not _are_finite(_through(step, values, received)):
            ones = [tf.ones_like(gradient) for gradient in received]
            return Origin(step, is_singular=not _are_finite(_through(step, values, ones)))
    return None


def _forward_and_backward(graph: Graph, images: Sequence[tf.Tensor], seed: Seed) -> tuple[Values, Values]:
    """Return the tensor of each graph value, and the gradients of those values that have one."""
    steps = graph.before(graph.outputs)
    values: list[Value] = []
    reached: list[Value] = []

    def traced() -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        known = inputs_of(graph, images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x for x in known.values() if x.dtype.is_floating])
            known = run(known, steps)
        outputs = [known[value] for value in graph.outputs]
        seeds = tree.flatten(seed(tree.pack_sequence_as(graph.output_structure, outputs)))
        found = tape.gradient(outputs, list(known.values()), output_gradients=seeds)
        gradients = {v: tf.convert_to_tensor(g) for v, g in zip(known, found, strict=True) if g is not None}
        values.extend(known)
        reached.extend(gradients)
        return list(known.values()), list(gradients.values())

    tensors, gradients = _compiled(traced)
    return dict(zip(values, tensors, strict=True)), dict(zip(reached, gradients, strict=True))


def _through(step: Step, values: Values, received: list[tf.Tensor]) -> list[tf.Tensor]:
    """Propagate the gradient from a step's outputs to its inputs."""

    def traced() -> list[tf.Tensor]:
        inputs = [tf.identity(values[value]) for value in step.inputs]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x for x in inputs if x.dtype.is_floating])
            outputs = step.compute(inputs)
        found = tape.gradient(outputs, inputs, output_gradients=received)
        return [tf.convert_to_tensor(gradient) for gradient in found if gradient is not None]

    return _compiled(traced)


def _compiled(function: Callable[[], _Results]) -> _Results:
    """Compile and run a function. Compilation prunes unused kernel gradients."""
    return tf.function(function, autograph=False).get_concrete_function()()


def _are_finite(tensors: Sequence[tf.Tensor]) -> bool:
    return all(bool(np.isfinite(np.asarray(tf.cast(x, tf.float64))).all()) for x in tensors)
