"""Access private parts of TensorFlow. No other module uses them.

If a new TensorFlow version changes any of these parts, `tests/reading/test_tensorflow_internals.py`
fails and identifies the change.
"""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import op_def_registry, ops

_patching = threading.RLock()
_Function: Any = type(tf.function(lambda: None))


@contextmanager
def inlined_functions() -> Iterator[None]:
    """Inline the tf.functions that this thread calls within the block."""
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
    """Return whether an operation is the last one of a `tf.custom_gradient` function."""
    return "_gradient_op_type" in operation.node_def.attr


def function_graph(operation: tf.Operation, attribute: str) -> Any:
    """Return the graph for an operation's function attribute, such as a loop body."""
    return operation.graph._get_function(operation.get_attr(attribute).name).graph


def wrapped(function: Callable[..., Any], specs: list[tf.TensorSpec]) -> Any:
    """Trace a function to a graph that can be pruned to any of its tensors."""
    return tf.compat.v1.wrap_function(function, specs)


def saved_model_in(folder: Path) -> Any:
    """Parse the SavedModel protocol buffer in a folder without running the model."""
    return tf.__internal__.saved_model.parse_saved_model(str(folder))


def operation_definition(name: str) -> Any:
    """Return an operation's OpDef, or None if TensorFlow has no such operation."""
    return op_def_registry.get(name)


def portable_stablehlo(text: str, version: str) -> bytes:
    """Serialize a StableHLO program in a format that other StableHLO versions can read."""
    from tensorflow.compiler.mlir.stablehlo import stablehlo

    return bytes(stablehlo.serialize_portable_artifact_str(text, version))


@contextmanager
def collectable_gradients() -> Iterator[None]:
    """Tie the lifetime of custom gradients created in the block to that of the traced graph.

    At each trace, `tf.custom_gradient` adds a permanent entry to TensorFlow's registry. This entry
    keeps the graph alive, and with it the model whose weights the graph captures. For gradients
    that are created in this block, the registry holds only a weak reference, and the entry is
    removed when the graph is deleted.
    """
    registry = ops.gradient_registry._registry
    last = next(reversed(registry), None)
    yield
    graph = tf.compat.v1.get_default_graph()
    owned = getattr(graph, "tfviz_gradients", [])
    graph.tfviz_gradients = owned
    # The entry `last` may have been removed with its graph. In that case, the entries before it are
    # weak.
    added = takewhile(lambda name: name != last and not hasattr(registry[name]["type"], "is_weak"), reversed(registry))
    # Custom gradients have numbered names. Other entries come from modules imported in the
    # meantime.
    for name in [name for name in added if "-" in name]:
        function = registry[name]["type"]
        owned.append(function)
        registry[name]["type"] = _weak(weakref.ref(function))
        weakref.finalize(graph, registry.pop, name, None)


def _weak(reference: weakref.ref[Callable[..., Any]]) -> Callable[..., Any]:
    def gradient(operation: tf.Operation, *given: tf.Tensor) -> Any:
        function = reference()
        if function is None:
            raise LookupError("This gradient's graph no longer exists. Keep a reference to its function.")
        return function(operation, *given)

    gradient.is_weak = True  # type: ignore[attr-defined]
    return gradient


def separate_operation_seeds() -> Callable[[], None]:
    """If a global seed is set, use separate seeds for eager operations.

    Restoring the seed generator alone would not be enough, because TensorFlow caches operations by
    their seeds, and a cached operation continues its random sequence.

    Returns:
        A function that restores the user's seeds.
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
