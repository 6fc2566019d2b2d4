"""Find handwritten softmaxes and sigmoids, such as exp(x) / sum(exp(x)) or (1 + tanh(x / 2)) / 2.

Such code has many forms: it may subtract the maximum first, use another base or multiply by a
reciprocal. This module therefore runs the steps around each exponential, and those before each
output, on random numbers. If these steps compute softmax(k·x) or sigmoid(k·x) for some number k, a
single step of that type replaces the last of them. Other steps that compute probabilities are not
replaced, but `computes_probabilities` reports them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import keras
import numpy as np
import tensorflow as tf

from tfviz.graph.backprop import run
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Contraction, Elementwise, Exponential, Identity, Linear, Move, Opaque, Sigmoid, Softmax

_REACH = 6  # steps before and after an exponential
_UNKNOWN_SIZE = 3
_TOLERANCES = {"float64": 1e-6, "float32": 1e-5}
_HALF_TOLERANCE = 0.02
_MOST_ELEMENTS = 2**24  # Larger values are not tried.
_LARGE_INPUT = 50.0
_SATURATION = 0.03


def with_probabilities(graph: Graph) -> Graph:
    """Return the graph with each handwritten softmax or sigmoid replaced by a single step."""
    for step in graph.steps:
        if isinstance(step.operation, Exponential):
            graph = _with_function_around(graph, step, list(_ends(graph, step)))
    for output in dict.fromkeys(graph.outputs):
        end = _before_moves(graph, output)
        if end is not None and not _is_heavy(end) and not isinstance(end.operation, (Softmax, Sigmoid)):
            graph = _with_function_around(graph, end, [end])
    return graph


def _before_moves(graph: Graph, output: Value) -> Step | None:
    step = graph.producer(output)
    while step is not None and isinstance(step.operation, (Identity, Move)) and len(step.inputs) == 1:
        step = graph.producer(step.inputs[0])
    return step


def _with_function_around(graph: Graph, step: Step, ends: Sequence[Step]) -> Graph:
    scaled: list[tuple[Step, list[Step]]] = []
    # A shift of the inputs does not change a softmax. Start with the earliest root, so that the
    # softmax includes such a shift.
    for root in reversed(list(_roots(graph, step))):
        for end in ends:
            if end.outputs[0].shape == root.shape and (found := _function_of(graph, root, end)):
                if len(found) == 1:
                    return _replaced(graph, end, found)
                scaled.append((end, found))
    return _replaced(graph, *scaled[0]) if scaled else graph


def _replaced(graph: Graph, old: Step, new: list[Step]) -> Graph:
    return replace(graph, steps=[one for step in graph.steps for one in (new if step is old else [step])])


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
    """Return whether a step is more than arithmetic.

    An opaque Keras operation that is not a layer counts as arithmetic.
    """
    is_arithmetic = isinstance(step.layer, keras.Operation) and not isinstance(step.layer, keras.Layer)
    is_opaque = isinstance(step.operation, Opaque) and not is_arithmetic
    return is_opaque or isinstance(step.operation, (Linear, Contraction)) or len(step.outputs) != 1


def _function_of(graph: Graph, root: Value, end: Step) -> list[Step] | None:
    """Return steps that compute `end` from `root` as a softmax or sigmoid, or None.

    These are the softmax or sigmoid, and a multiplication before it if its scale is not 1.
    """
    parts = _arithmetic(graph, root, end.outputs[0])
    found = None if parts is None else _operation_of(root, end, parts)
    if parts is None or found is None:
        return None
    operation, scale = found
    scaled = root if scale == 1 else Value(root.shape, root.dtype)

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        x = tensors[0] if scale == 1 else tensors[0] / scale
        return [run({root: x}, parts)[end.outputs[0]]]

    function = replace(end, operation=operation, inputs=(scaled,), compute=compute)
    if scale == 1:
        return [function]
    multiply = Elementwise(name="Multiply", function="multiply", sign=1 if scale > 0 else -1, is_affine=True)
    multiplication = Step(
        path=f"{end.path}/logits",
        operation=multiply,
        inputs=(root,),
        outputs=(scaled,),
        compute=lambda tensors: [tensors[0] * scale],
    )
    return [multiplication, function]


def _arithmetic(graph: Graph, root: Value, end: Value) -> list[Step] | None:
    """Return the steps that compute `end` from `root`, or None if there is more than arithmetic."""
    parts = _parts(graph, root, end)
    return None if parts is None or any(map(_is_heavy, parts)) else parts


def _parts(graph: Graph, root: Value, end: Value) -> list[Step] | None:
    """Return the steps that compute `end` from `root`, or None if they need other values."""
    parts = graph.before([end], given=[root])
    known = {root}.union(*(part.outputs for part in parts))
    return parts if all(known.issuperset(part.inputs) for part in parts) else None


def _operation_of(root: Value, end: Step, parts: list[Step]) -> tuple[Elementwise, float] | None:
    """Return the operation and the scale k of its input, or None if neither function matches."""
    dtype, shape = root.dtype or "float32", _known_shape(root)
    x = np.random.default_rng(0).normal(size=shape)
    results = _results(root, end.outputs[0], parts, [x])
    if results is None:
        return None
    ((x, y),) = results
    if not np.isfinite(y).all():
        return None
    name, tolerance = end.operation.name, _TOLERANCES.get(dtype)
    for axis in (axis for axis in range(1, root.rank) if shape[axis] > 1):
        for k in [1.0] if tolerance is None else [1.0, _slope(x, _log(y), axis)]:
            if k and _is_close(y, _softmax(k * x, axis), tolerance):
                return Softmax(name=name, function="softmax", bounds=(0, 1)), k
    for k in [1.0] if tolerance is None else [1.0, _slope(x, _log(y) - _log(1 - y))]:
        if k and _is_close(y, 1 / (1 + np.exp(-k * x)), tolerance):
            return Sigmoid(name=name, function="sigmoid", bounds=(0, 1), is_activation=True), k
    return None


def _known_shape(value: Value) -> list[int]:
    return [_UNKNOWN_SIZE if size is None else size for size in value.shape]


def _results(
    root: Value, end: Value, parts: list[Step], inputs: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Run the steps on each array. Return the arrays as the steps read them, and the outputs."""
    dtype = root.dtype or "float32"
    if root.rank < 2 or not tf.as_dtype(dtype).is_floating or prod(_known_shape(root)) > _MOST_ELEMENTS:
        return None
    try:
        with tf.init_scope():  # runs eagerly, even while a function is being traced
            given = [tf.cast(x, dtype) for x in inputs]
            found = [run({root: x}, parts)[end] for x in given]
            return [(tf.cast(x, tf.float64).numpy(), tf.cast(y, tf.float64).numpy()) for x, y in zip(given, found, strict=True)]
    except Exception:  # If user code cannot run on such numbers, its steps are kept.
        return None


def computes_probabilities(graph: Graph, output: Value) -> bool:
    """Return whether a layer's outputs are turned into probabilities.

    Probabilities lie between 0 and 1. They sum to 1 along the last axis, go from 0 to 1 as their
    input increases, or are computed from an exponential.
    """
    root = _source(graph, output)
    parts = _parts(graph, root, output) if root else None
    if root is None or not parts:
        return False
    shape = _known_shape(root)
    large = np.full(shape, _LARGE_INPUT)
    results = _results(root, output, parts, [np.random.default_rng(0).normal(size=shape), large, -large])
    if results is None:
        return False
    y, high, low = (y for _, y in results)
    if not all(np.isfinite(one).all() and one.min() >= 0 and one.max() <= 1 + _HALF_TOLERANCE for one in (y, high, low)):
        return False
    sums_to_one = y.ndim > 1 and y.shape[-1] > 1 and np.allclose(y.sum(-1), 1, rtol=0, atol=_HALF_TOLERANCE)
    increases = high.min() > 1 - _SATURATION and low.max() < _SATURATION
    return bool(sums_to_one or increases) or any(isinstance(part.operation, Exponential) for part in parts)


def _source(graph: Graph, output: Value) -> Value | None:
    """Return the only layer output or input that an output is computed from, or None."""
    sources: set[Value] = set()
    wanted, seen = [output], set()
    while wanted:
        value = wanted.pop()
        step = graph.producer(value)
        if step is None or (_is_heavy(step) and not _is_opaque_on_scores(step)):
            sources.add(value)
        elif step not in seen:
            seen.add(step)
            wanted += step.inputs
    return sources.pop() if len(sources) == 1 else None


def _is_opaque_on_scores(step: Step) -> bool:
    """Return whether an opaque step computes one number from each class score."""
    return isinstance(step.operation, Opaque) and all(x.rank == 2 and x.shape == step.outputs[0].shape for x in step.inputs)


def _log(y: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(y, np.finfo(np.float32).tiny))


def _slope(x: np.ndarray, y: np.ndarray, axis: int | None = None) -> float:
    """Return the k for which k·x is nearest to y up to a shift along an axis, or 0 if none is."""
    if x.shape != y.shape:
        return 0.0
    if axis is not None:
        x, y = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    return float((x * y).sum() / (x * x).sum())


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def _is_close(found: np.ndarray, expected: np.ndarray, tolerance: float | None) -> bool:
    is_close = found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=tolerance or _HALF_TOLERANCE)
    return is_close and np.ptp(found) > 0
