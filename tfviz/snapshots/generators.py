"""The random numbers of the user's process, left as they were."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from keras.src.backend.common import global_state
from tensorflow.python.eager import context

_KERAS = "global_seed_generator"


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Puts the global generators of Python, NumPy, TensorFlow and Keras back, whatever was drawn from them in the block.

    TensorFlow and Keras have no public way to read theirs; `tests/snapshots/test_fixed_images.py` fails when one moves.
    """
    with ExitStack() as stack:
        for restoring in (_python(), _numpy(), _tensorflow(), _keras()):
            stack.callback(restoring)
        yield


def _python() -> Callable[[], None]:
    state = random.getstate()
    return lambda: random.setstate(state)


def _numpy() -> Callable[[], None]:
    state = np.random.get_state()
    return lambda: np.random.set_state(state)


def _tensorflow() -> Callable[[], None]:
    """Of the seeds that eager operations get where a global one was set; in the block it is another.

    To put the generator of these seeds back would not be enough: TensorFlow keeps operations, by their seeds, and one that is
    kept goes on where it was.
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


def _keras() -> Callable[[], None]:
    generator = global_state.get_global_attribute(_KERAS)
    state = None if generator is None else generator.state.numpy()

    def restore() -> None:
        if generator is None:
            global_state.set_global_attribute(_KERAS, None)
        elif (generator.state.numpy() != state).any():
            generator.state.assign(state)

    return restore
