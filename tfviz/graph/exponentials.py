"""Find handwritten softmaxes and sigmoids, such as exp(x) / sum(exp(x)).

Such code comes in many forms: it may subtract the maximum first or multiply by a reciprocal. This
module therefore runs the steps around each exponential on random numbers. If these steps compute a
softmax or sigmoid, a single step of that type replaces the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from tfviz.graph.backprop import run
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Contraction, Elementwise, Exponential, Linear, Opaque, Sigmoid, Softmax

_REACH = 6  # steps before and after an exponential
_UNKNOWN_SIZE = 3
_TOLERANCES = {"float64": 1e-6, "float32": 1e-5}
_HALF_TOLERANCE = 0.02


def with_probabilities(graph: Graph) -> Graph:
    """Return the graph with each handwritten softmax or sigmoid replaced by a single step."""
    for step in graph.steps:
        if isinstance(step.operation, Exponential):
            graph = _with_function_around(graph, step)
    return graph


def _with_function_around(graph: Graph, exponential: Step) -> Graph:
    # Shifting the inputs does not change a softmax. The search starts with the earliest root, so
    # the softmax step includes any such shift.
    for root in reversed(list(_roots(graph, exponential))):
        for end in _ends(graph, exponential):
            if end.outputs[0].shape == root.shape and (step := _function_of(graph, root, end)):
                return replace(graph, steps=[step if one is end else one for one in graph.steps])
    return graph


def _roots(graph: Graph, exponential: Step) -> Iterator[Value]:
    """Yield the values that an exponential depends on, nearest first."""
    front, seen = list(exponential.inputs), set(exponential.inputs)
    for _ in range(_REACH):
        yield from front
        makers = [graph.producer(value) for value in front]
        behind = [value for step in makers if step is not None and not _is_heavy(step) for value in step.inputs]
        front = [value for value in dict.fromkeys(behind) if value not in seen]
        seen.update(front)


def _ends(graph: Graph, exponential: Step) -> Iterator[Step]:
    """Yield an exponential and the steps that depend on it, nearest first."""
    front, seen = [exponential], {exponential}
    for _ in range(_REACH):
        yield from front
        readers = [reader for step in front for value in step.outputs for reader in graph.consumers(value)]
        front = [step for step in dict.fromkeys(readers) if step not in seen and not _is_heavy(step)]
        seen.update(front)


def _is_heavy(step: Step) -> bool:
    """Return whether a step does more than arithmetic.

    An opaque Keras operation that is not a layer counts as arithmetic.
    """
    is_arithmetic = isinstance(step.layer, keras.Operation) and not isinstance(step.layer, keras.Layer)
    is_opaque = isinstance(step.operation, Opaque) and not is_arithmetic
    return is_opaque or isinstance(step.operation, (Linear, Contraction)) or len(step.outputs) != 1


def _function_of(graph: Graph, root: Value, end: Step) -> Step | None:
    """Return a softmax or sigmoid step if `end` computes one from `root`, else None."""
    parts = graph.before(end.outputs, given=[root])
    known = {root}.union(*(part.outputs for part in parts))
    if any(_is_heavy(part) or not known.issuperset(part.inputs) for part in parts):
        return None
    operation = _operation_of(root, end, parts)
    if operation is None:
        return None

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [run({root: tensors[0]}, parts)[end.outputs[0]]]

    return replace(end, operation=operation, inputs=(root,), compute=compute)


def _operation_of(root: Value, end: Step, parts: list[Step]) -> Elementwise | None:
    dtype = root.dtype or "float32"
    if root.rank < 2 or not tf.as_dtype(dtype).is_floating:
        return None
    shape = [_UNKNOWN_SIZE if size is None else size for size in root.shape]
    try:
        with tf.init_scope():  # runs eagerly, even while a function is being traced
            given = tf.cast(np.random.default_rng(0).normal(size=shape), dtype)
            found = run({root: given}, parts)[end.outputs[0]]
            x, y = (tf.cast(one, tf.float64).numpy() for one in (given, found))
    except Exception:  # If user code cannot run on random numbers, its steps are kept.
        return None
    name, tolerance = end.operation.name, _TOLERANCES.get(dtype, _HALF_TOLERANCE)
    if any(_is_close(y, _softmax(x, axis), tolerance) for axis in range(1, root.rank) if shape[axis] > 1):
        return Softmax(name=name, function="softmax", bounds=(0, 1))
    if _is_close(y, 1 / (1 + np.exp(-x)), tolerance):
        return Sigmoid(name=name, function="sigmoid", bounds=(0, 1), is_activation=True)
    return None


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def _is_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=tolerance)
