"""The only module that touches what TensorFlow keeps private.

`tests/reading/test_tensorflow_internals.py` fails, and names what changed, when a new TensorFlow moves any of this.
"""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import ops

_patching = threading.RLock()
_Function: Any = type(tf.function(lambda: None))


@contextmanager
def inlined_functions() -> Iterator[None]:
    """Lets code that is decorated with tf.function, and is called by this thread, run as a part of what calls it."""
    thread = threading.get_ident()

    def inlined(function: Any, *args: object, **kwargs: object) -> object:
        if threading.get_ident() != thread:
            return original(function, *args, **kwargs)
        return function.python_function(*args, **kwargs)

    with _patching:
        original = _Function.__call__
        _Function.__call__ = inlined
        try:
            yield
        finally:
            _Function.__call__ = original


def has_own_gradient(operation: tf.Operation) -> bool:
    """Whether this is the end of a `tf.custom_gradient`."""
    return "_gradient_op_type" in operation.node_def.attr


def function_graph(operation: tf.Operation, attribute: str) -> Any:
    """The graph of a function that an operation is given, such as the body of a loop; it has `inputs` and `outputs`."""
    return operation.graph._get_function(operation.get_attr(attribute).name).graph


def wrapped(function: Callable[..., Any], specs: list[tf.TensorSpec]) -> Any:
    """A function traced once, whose graph can be pruned to any of its tensors."""
    return tf.compat.v1.wrap_function(function, specs)


def portable_stablehlo(text: str, version: str) -> bytes:
    """A StableHLO program in the form that other versions of StableHLO read."""
    from tensorflow.compiler.mlir.stablehlo import stablehlo

    return bytes(stablehlo.serialize_portable_artifact_str(text, version))


@contextmanager
def collectable_gradients() -> Iterator[None]:
    """Lets the graph that is being traced own the custom gradients that the block adds to it.

    `tf.custom_gradient` leaves an entry in TensorFlow's registry at each trace, which nothing removes and which keeps the
    graph, and the model whose weights it captures, alive. Here the registry refers to the gradient weakly, and its entry
    goes with the graph.
    """
    registry = ops.gradient_registry._registry
    last = next(reversed(registry), None)
    yield
    graph = tf.compat.v1.get_default_graph()
    owned = getattr(graph, "tfviz_gradients", [])
    graph.tfviz_gradients = owned
    # The collector may have removed `last` meanwhile; then the ones before it are weak already.
    added = takewhile(lambda name: name != last and not hasattr(registry[name]["type"], "is_weak"), reversed(registry))
    for name in [name for name in added if "-" in name]:  # numbered; the others are of modules that were imported meanwhile
        function = registry[name]["type"]
        owned.append(function)
        registry[name]["type"] = _weak(weakref.ref(function))
        weakref.finalize(graph, registry.pop, name, None)


def _weak(reference: weakref.ref[Callable[..., Any]]) -> Callable[..., Any]:
    def gradient(operation: tf.Operation, *given: tf.Tensor) -> Any:
        function = reference()
        if function is None:
            raise LookupError("the graph of this gradient is gone")
        return function(operation, *given)

    gradient.is_weak = True  # type: ignore[attr-defined]
    return gradient


def separate_operation_seeds() -> Callable[[], None]:
    """Gives eager operations other seeds where a global seed is set; the function that it returns puts the own ones back.

    Restoring the generator of these seeds would not be enough: TensorFlow caches operations by their seeds, and a cached one
    continues where it was.
    """
    eager = context.context()
    seed, generator = getattr(eager, "_seed", None), getattr(eager, "_rng", None)
    if seed is None:
        return lambda: None
    eager._rng = random.Random(str(seed))
    eager._seed = eager._rng.getrandbits(31)

    def restore() -> None:
        eager._seed, eager._rng = seed, generator

    return restore
