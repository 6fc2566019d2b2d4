"""Compile an explainer's computations, once per image size and kind of target."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, cast

import tensorflow as tf

from tfviz.graph.graph import Graph
from tfviz.nesting import Nested
from tfviz.target_functions.array_target import ArrayTarget
from tfviz.targets import Prepared

MOST_KEPT = 32  # each new lambda passed as a target adds one

Images = list[tf.Tensor]
Computation = Callable[..., Nested[tf.Tensor]]  # (images, target) -> results
BoundCall = Callable[[], Nested[tf.Tensor]]


class CompiledFunctions:
    """The compiled functions of an explainer, at most `MOST_KEPT`; the oldest is dropped first.

    Attributes:
        traces: the number of functions traced so far.
    """

    def __init__(self) -> None:
        self.traces = 0
        self._known: dict[Any, Callable[..., Any]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def run(self, computation: Computation, graph: Graph, images: Images, target: Prepared) -> Nested[tf.Tensor]:
        """Compile and run a computation (see `bound`)."""
        return self.bound(computation, graph, images, target)()

    def bound(self, computation: Computation, graph: Graph, images: Images, target: Prepared) -> BoundCall:
        """Compile a computation for this image size and kind of target, with its arguments bound.

        Compilation happens here, in Python. The returned call runs in TensorFlow, so another thread
        may make it.

        Args:
            computation: takes the images and the target.
            graph: the graph that takes the images.
            images: one tensor per input.
            target: a prepared target (see `targets.prepare`).

        Returns:
            A function without arguments that returns the results of the computation.
        """
        sizes = [tuple(x.shape[1:]) for x in images]
        form = _form(target)
        key = (computation.__name__, tuple(sizes), form)
        if key not in self._known:
            while len(self._known) >= MOST_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = self._compiled(computation, _specs(graph, sizes), target)
        if isinstance(target, ArrayTarget):
            return partial(self._known[key], images, [tf.convert_to_tensor(array) for array in target.arrays])
        arguments = (images, target) if isinstance(target, tf.Tensor) else (images,)
        return partial(self._known[key], *arguments)

    def _compiled(self, computation: Computation, specs: list[tf.TensorSpec], target: Prepared) -> Callable[..., Any]:
        def with_given_target(images: Images, given: tf.Tensor) -> Nested[tf.Tensor]:
            self.traces += 1
            return computation(images, given)

        def with_given_arrays(images: Images, arrays: list[tf.Tensor]) -> Nested[tf.Tensor]:
            self.traces += 1
            return computation(images, cast("ArrayTarget", target).with_arrays(arrays))

        def with_this_target(images: Images) -> Nested[tf.Tensor]:
            self.traces += 1
            return computation(images, target)

        if isinstance(target, tf.Tensor):
            spec = tf.TensorSpec([None] * len(target.shape), target.dtype)
            return tf.function(with_given_target, autograph=False).get_concrete_function(specs, spec)
        if isinstance(target, ArrayTarget):
            arrays = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in target.arrays]
            return tf.function(with_given_arrays, autograph=False).get_concrete_function(specs, arrays)
        return tf.function(with_this_target, autograph=False).get_concrete_function(specs)


def _form(target: Prepared) -> Hashable:
    """Return what a compiled function depends on: a target's kind, rather than its numbers."""
    if isinstance(target, ArrayTarget):
        return target.form
    return target.dtype if isinstance(target, tf.Tensor) else target


def _specs(graph: Graph, sizes: Sequence[tuple[int | None, ...]]) -> list[tf.TensorSpec]:
    pairs = zip(graph.inputs, sizes, strict=True)
    return [tf.TensorSpec((None, *size), value.dtype or "float32") for value, size in pairs]
