"""Which input of an operation carries the signal, and which only weight it.

In a product the signal is weighted by gates, as in squeeze-and-excitation and in attention over positions. Where all
inputs of a sum or a difference but one are constants, that one carries the signal.
"""

from __future__ import annotations

from dataclasses import replace

from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Difference,
    Elementwise,
    Identity,
    Move,
    Normalization,
    Operation,
    Product,
    Relu,
    Sum,
)


def with_carriers(graph: Graph) -> Graph:
    """The graph with the signal marked in each product, and in each operation that reads constants beside it."""
    constants = graph.constants
    steps = []
    for step in graph.steps:
        operation = _with_constants(step, constants)
        if isinstance(operation, Product) and len(step.inputs) > 1:
            operation = replace(operation, carrier=_signal_of(graph, step, constants))
        steps.append(step if operation is step.operation else replace(step, operation=operation))
    return replace(graph, steps=steps)


def _with_constants(step: Step, constants: set[Value]) -> Operation:
    """The operation as it is where all inputs but one are constants: a sum is then an affine map, and so is a difference."""
    operation = step.operation
    varying = [i for i, value in enumerate(step.inputs) if value not in constants]
    if len(varying) != 1 or len(step.inputs) < 2:
        return operation
    (carrier,) = varying
    word = operation.name.lower()
    if isinstance(operation, Sum):
        return Elementwise(name=operation.name, function=word, is_affine=True, carrier=carrier)
    if isinstance(operation, Difference):
        sign = 1 if carrier == 0 else -1
        return Elementwise(name=operation.name, function=word, is_affine=True, sign=sign, carrier=carrier)
    if isinstance(operation, Normalization) and carrier != 0:
        return Elementwise(name=operation.name, function=word, sign=0, carrier=carrier)  # c / x
    return operation


def _signal_of(graph: Graph, step: Step, constants: set[Value]) -> int:
    """Which input of a product carries the signal: not the one that was squeezed, nor the one out of a sigmoid.

    A gate holds one number for each channel, (N, 1, 1, C) or (N, C) (Hu et al., 2018, "Squeeze-and-Excitation Networks"), or
    one for each pixel, (N, H, W, 1) (Woo et al., 2018, "CBAM"), or as many as the signal; and a sigmoid or a softmax made it,
    perhaps resized since. Of x · sigmoid(x) and x · g(x), an activation or a normalization written out, the factor x is the
    signal. Where nothing tells, it is the first, as people write it.
    """
    rank = max(value.rank for value in step.inputs)

    def gate_likeness(i: int) -> tuple[bool, int, int, float, bool]:
        value = step.inputs[i]
        missing = rank - value.rank
        ones = sum(size == 1 for size in value.shape[1:])
        others = [other for j, other in enumerate(step.inputs) if j != i]
        is_made_of_signal = bool(graph.after([other for other in others if other is not value]) & {value})
        return value in constants, missing + ones, missing, _makes_gates(graph, value), is_made_of_signal

    return min(range(len(step.inputs)), key=gate_likeness)


def _makes_gates(graph: Graph, value: Value) -> float:
    """How surely the operation that made a value is the end of a gate.

    Bounds of 0 and 1 make a gate; a ReLU capped at 6 is part of a sigmoid that is written out, or an activation.
    """
    step = graph.producer(value)
    while step is not None and _hands_on(step.operation) and len(step.inputs) == 1:
        step = graph.producer(step.inputs[0])
    if step is None:
        return 0
    if isinstance(step.operation, Elementwise):
        return 1 if step.operation.bounds == (0, 1) else 0
    return 0.5 if isinstance(step.operation, Relu) and step.operation.max_value == 6 else 0


def _hands_on(operation: Operation) -> bool:
    is_scale = isinstance(operation, Elementwise) and operation.is_affine and operation.sign > 0
    return is_scale or isinstance(operation, (Identity, Move, Normalization))
