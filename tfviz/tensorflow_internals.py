"""The only module that touches what TensorFlow keeps private.

`tests/test_tensorflow_internals.py` fails, and names what changed, when a new TensorFlow moves any of this.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

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


def wrapped(function: Callable[..., Any], specs: list[tf.TensorSpec]) -> Any:
    """A function traced once, whose graph can be pruned to any of its tensors."""
    return tf.compat.v1.wrap_function(function, specs)


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
