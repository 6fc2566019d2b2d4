"""Divide probability at sums before a ReLU without keeping all inputs in memory.

A residual block computes y = relu(Σ x_i). To divide p, excitation backprop needs every x_i. The
next layer keeps y in memory in any case. Where y > 0, one input can be recovered as y minus the sum
of the others. Where y = 0, p is 0, because the rules for the layers above multiply by y.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Identity, Linear, Move, Relu, Sum, Window
from tfviz.numerics import safe_divide


@dataclass(frozen=True)
class SumBeforeRelu:
    """A sum with one input that can be recovered from the following ReLU's output.

    Attributes:
        step: the sum.
        number: the index of the recoverable input.
        behind: the ReLU's output.
    """

    step: Step
    number: int
    behind: Value

    def fits(self, tensors: Sequence[tf.Tensor], output: tf.Tensor) -> bool:
        """Return whether the recoverable input is float32 and has the same shape as the output."""
        x = tensors[self.number]
        is_broadcast = len(x.shape) != len(output.shape) or any(n != m for n, m in zip(x.shape, output.shape, strict=True))
        return x.dtype == output.dtype == tf.float32 and not is_broadcast

    def divided(self, tensors: Sequence[tf.Tensor], y: tf.Tensor, p: tf.Tensor) -> list[tf.Tensor]:
        """Divide p among the inputs in proportion to their positive parts.

        Args:
            tensors: the inputs. The recoverable input is not read.
            y: the ReLU's output.
            p: the probability at the sum.
        """
        nothing = tf.zeros_like(y)
        others = [nothing if i == self.number else x for i, x in enumerate(tensors)]
        recovered = tf.nn.relu(y - self.step.compute(others)[0])
        excited = [tf.nn.relu(x) for x in others]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(excited)
            total = self.step.compute(excited)[0]
        share = safe_divide(p, total + recovered)
        zero = tf.UnconnectedGradients.ZERO
        parts = tape.gradient(total, excited, output_gradients=share, unconnected_gradients=zero)
        return [
            recovered * share if i == self.number else a * part for i, (a, part) in enumerate(zip(excited, parts, strict=True))
        ]


def sums_before_relus(graph: Graph, image: Collection[Value], averaged: Collection[Step]) -> dict[Step, SumBeforeRelu]:
    """Map each sum with a recoverable input to its `SumBeforeRelu`.

    Args:
        graph: the graph.
        image: the values before the first linear map, which can receive probability where they are
            0.
        averaged: the averages that pass on probability even where their input is 0.
    """
    found = {}
    for step in graph.steps:
        relu = _relu_behind(graph, step) if isinstance(step.operation, Sum) else None
        free = [i for i, value in enumerate(step.inputs) if _is_only_read_by(graph, value, step)]
        if relu is not None and free and _returns_nothing_at_zero(graph, relu.outputs[0], image, averaged):
            found[step] = SumBeforeRelu(step, free[0], relu.outputs[0])
    return found


def _relu_behind(graph: Graph, step: Step) -> Step | None:
    readers = graph.consumers(step.outputs[0])
    is_single = len(readers) == 1 and step.outputs[0] not in graph.outputs
    is_uncapped = is_single and isinstance(readers[0].operation, Relu) and readers[0].operation.max_value is None
    return readers[0] if is_uncapped else None


def _is_only_read_by(graph: Graph, value: Value, step: Step) -> bool:
    return graph.consumers(value) == [step] and step.inputs.count(value) == 1 and value not in graph.outputs


def _returns_nothing_at_zero(graph: Graph, value: Value, image: Collection[Value], averaged: Collection[Step]) -> bool:
    """Return whether the probability at a value is always 0 where the value is 0."""
    if value in graph.outputs or value in image:
        return False
    for reader in graph.consumers(value):
        operation = reader.operation
        multiplies = isinstance(operation, (Linear, Sum)) or (isinstance(operation, Window) and not operation.is_max)
        if multiplies and reader not in averaged:
            continue
        passes_on = isinstance(operation, (Relu, Identity, Move)) or (isinstance(operation, Window) and operation.is_max)
        if not passes_on or not all(_returns_nothing_at_zero(graph, one, image, averaged) for one in reader.outputs):
            return False
    return True


def divided_among(step: Step, inputs: Sequence[tf.Tensor], p: tf.Tensor) -> list[tf.Tensor]:
    """Divide p among a sum's inputs in proportion to their positive parts."""
    excited = [tf.nn.relu(x) for x in inputs]
    with tf.GradientTape(watch_accessed_variables=False) as tape:  # the sum may broadcast and cast
        tape.watch(excited)
        total = step.compute(excited)[0]
    # In x + x, both operands are the same tensor, and only one of them receives the gradient.
    zero = tf.UnconnectedGradients.ZERO
    parts = tape.gradient(total, excited, output_gradients=safe_divide(p, total), unconnected_gradients=zero)
    return [a * part for a, part in zip(excited, parts, strict=True)]
