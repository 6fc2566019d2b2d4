"""Find which input of an operation carries the signal.

In a product, gates weight the signal, as in squeeze-and-excitation and spatial attention. If all
but one input of a sum or difference are constants, the remaining input is the signal. In a
handwritten normalization, x − mean(x), the signal is x.
"""

from __future__ import annotations

from dataclasses import replace

from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Difference,
    Elementwise,
    Identity,
    Moments,
    Move,
    Normalization,
    Operation,
    Product,
    Relu,
    Sum,
    Window,
)


def with_carriers(graph: Graph) -> Graph:
    """Mark the signal input of each product and of each operation that also reads constants."""
    constants = graph.constants
    steps = []
    for step in graph.steps:
        operation = _centered(graph, step) or _with_constants(step, constants)
        if isinstance(operation, Product) and len(step.inputs) > 1:
            operation = replace(operation, carrier=_signal_of(graph, step, constants))
        steps.append(step if operation is step.operation else replace(step, operation=operation))
    return replace(graph, steps=steps)


def _centered(graph: Graph, step: Step) -> Operation | None:
    """Return a normalization if a step subtracts the mean, sum or maximum of its first input."""
    if not isinstance(step.operation, Difference) or len(step.inputs) != 2:
        return None
    signal, value = step.inputs
    while (producer := graph.producer(value)) is not None and isinstance(producer.operation, (Identity, Move, Elementwise)):
        value = producer.inputs[0]
    is_centered = producer is not None and producer.inputs[0] is signal and _is_statistic(producer, value)
    return Normalization(name=step.operation.name) if is_centered else None


def _is_statistic(step: Step, value: Value) -> bool:
    """Return whether a value is a mean, sum or maximum over entire axes."""
    if isinstance(step.operation, Moments):
        return value is step.outputs[0]
    return isinstance(step.operation, Window) and step.operation.extent is None


def _with_constants(step: Step, constants: set[Value]) -> Operation:
    """Return the step's operation. A sum or difference with constants becomes an affine map."""
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
    """Return the index of a product's signal: the input that is not a gate.

    A gate has one number per channel, with shape (N, 1, 1, C) or (N, C) (Hu et al., 2018,
    "Squeeze-and-Excitation Networks"), one number per pixel, with shape (N, H, W, 1) (Woo et al.,
    2018, "CBAM"), or as many numbers as the signal. It comes from a sigmoid or a softmax and may be
    resized. In a handwritten activation or normalization, x · sigmoid(x) or x · g(x), the factor x
    is the signal. Without other evidence, the first factor is assumed to be the signal, following
    common practice.
    """
    rank = max(value.rank for value in step.inputs)

    def gate_likeness(i: int) -> tuple[bool, int, int, float, bool]:
        value = step.inputs[i]
        missing = rank - value.rank
        ones = sum(size == 1 for size in value.shape[1:])
        others = [other for j, other in enumerate(step.inputs) if j != i]
        depends_on_signal = bool(graph.after([other for other in others if other is not value]) & {value})
        return value in constants, missing + ones, missing, _gate_score(graph, value), depends_on_signal

    return min(range(len(step.inputs)), key=gate_likeness)


def _gate_score(graph: Graph, value: Value) -> float:
    """Score how likely a value is to be a gate, judging by the operation that computed it.

    A function with values in [0, 1] scores 1. A ReLU capped at 6 scores 0.5, because it may be
    either part of a handwritten hard sigmoid or an activation.
    """
    step = graph.producer(value)
    while step is not None and _passes_gate_on(step.operation) and len(step.inputs) == 1:
        step = graph.producer(step.inputs[0])
    if step is None:
        return 0
    if isinstance(step.operation, Elementwise):
        return 1 if step.operation.bounds == (0, 1) else 0
    return 0.5 if isinstance(step.operation, Relu) and step.operation.max_value == 6 else 0


def _passes_gate_on(operation: Operation) -> bool:
    is_scale = isinstance(operation, Elementwise) and operation.is_affine and operation.sign > 0
    return is_scale or isinstance(operation, (Identity, Move, Normalization))
