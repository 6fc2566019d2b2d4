"""Keep the process's global random generators unchanged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from tfviz import keras_internals, tensorflow_internals


@contextmanager
def preserve_global_generators() -> Iterator[None]:
    """Restore the global generators of Python, NumPy, TensorFlow and Keras after the block.

    TensorFlow and Keras have no public function that reads the state of their generators, so this
    function uses their internals. `tests/snapshots/test_fixed_images.py` checks that no generator's
    state changes.
    """
    with ExitStack() as stack:
        for restoring in (_python(), _numpy(), tensorflow_internals.separate_operation_seeds(), _keras()):
            stack.callback(restoring)
        yield


def _python() -> Callable[[], None]:
    state = random.getstate()
    return lambda: random.setstate(state)


def _numpy() -> Callable[[], None]:
    state = np.random.get_state()
    return lambda: np.random.set_state(state)


def _keras() -> Callable[[], None]:
    generator = keras_internals.global_generator()
    state = None if generator is None else generator.state.numpy()

    def restore() -> None:
        if generator is None:
            keras_internals.forget_global_generator()
        elif (generator.state.numpy() != state).any():
            generator.state.assign(state)

    return restore
