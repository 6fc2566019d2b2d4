"""Compile an explainer's computations, once per image size and target kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from tfviz.graph.graph import Graph
from tfviz.nesting import Nested
from tfviz.target_functions.array_target import ArrayTarget
from tfviz.targets import Prepared

MOST_KEPT = 32  # limits memory, because each new lambda passed as a target adds a function

Images = list[tf.Tensor]
Computation = Callable[..., Nested[tf.Tensor]]  # (images, target) -> results
BoundCall = Callable[..., Nested[tf.Tensor]]
Compiler = Callable[[Computation, "list[tf.TensorSpec]", Prepared], Callable[..., Any]]


class CompiledFunctions:
    """A cache of the last `MOST_KEPT` functions compiled for an explainer.

    Args:
        compiled: a function that compiles a computation. If None, the method `compiled` is used.

    Attributes:
        traces: the number of functions traced so far.
    """

    def __init__(self, compiled: Compiler | None = None) -> None:
        self._compiled = compiled or self.compiled
        self.traces = 0
        self._known: dict[Any, Callable[..., Any]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def run(self, computation: Computation, graph: Graph, images: Images, target: Prepared) -> Nested[tf.Tensor]:
        """Run a computation, compiling it first if necessary (see `bound`)."""
        return self.bound(computation, graph, images, target)()

    def bound(self, computation: Computation, graph: Graph, images: Images, target: Prepared) -> BoundCall:
        """Compile a computation for this image size and target kind, and bind its arguments.

        Compilation happens during this call and runs Python code. The returned function runs only
        TensorFlow code, so another thread can call it.

        Args:
            computation: a function of the images and the target.
            graph: the graph that the computation uses.
            images: one tensor per input.
            target: a prepared target (see `targets.prepare`).

        Returns:
            A function that can be called without arguments and returns the computation's results.
        """
        sizes = [tuple(x.shape[1:]) for x in images]
        form = _form(target)
        key = (computation.__name__, tuple(sizes), form)
        if key not in self._known:
            while len(self._known) >= MOST_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = self._compiled(computation, _specs(graph, sizes), target)
        return partial(self._known[key], images, given_tensors(target))

    def compiled(self, computation: Computation, specs: list[tf.TensorSpec], target: Prepared) -> Callable[..., Any]:
        """Compile a computation as a single function."""

        def compute(images: Images, given: list[tf.Tensor]) -> Nested[tf.Tensor]:
            self.traces += 1
            return computation(images, with_given(target, given))

        return tf.function(compute, autograph=False).get_concrete_function(specs, given_specs(target))


def given_tensors(target: Prepared) -> list[tf.Tensor]:
    """Return the target's tensors, which are passed to the compiled function as inputs."""
    if isinstance(target, ArrayTarget):
        return [tf.convert_to_tensor(array) for array in target.arrays]
    return [target] if isinstance(target, tf.Tensor) else []


def given_specs(target: Prepared) -> list[tf.TensorSpec]:
    """Return specs for the tensors returned by `given_tensors`."""
    if isinstance(target, ArrayTarget):
        return [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in target.arrays]
    return [tf.TensorSpec([None] * len(target.shape), target.dtype)] if isinstance(target, tf.Tensor) else []


def with_given(target: Prepared, given: list[tf.Tensor]) -> Prepared:
    """Return the target with its tensors replaced by `given`."""
    if isinstance(target, ArrayTarget):
        return target.with_arrays(given)
    return given[0] if isinstance(target, tf.Tensor) else target


def _form(target: Prepared) -> Hashable:
    """Return a target's kind without its values. Compiled functions depend only on the kind."""
    if isinstance(target, ArrayTarget):
        return target.form
    return target.dtype if isinstance(target, tf.Tensor) else target


def _specs(graph: Graph, sizes: Sequence[tuple[int | None, ...]]) -> list[tf.TensorSpec]:
    pairs = zip(graph.inputs, sizes, strict=True)
    return [tf.TensorSpec((None, *size), value.dtype or "float32") for value, size in pairs]
