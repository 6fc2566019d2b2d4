"""Build networks whose layers are initialized from given arrays.

Building a network and then loading its weights requires memory for two sets of weights, and most of
the time is spent on drawing random initial weights. In this module, each layer instead uses the
given arrays as its initial weights, and each array is released after use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy as np

# TensorFlow's buffer alignment. TensorFlow uses memory with this alignment without copying it.
_ALIGNMENT_BYTES = 64

# Maps a layer's name to the layer's arrays, keyed by weight name. An array may have any shape and
# number type, but its elements must be in the same order as the weight's.
Start = MutableMapping[str, dict[str, np.ndarray]]


def starting_from(arrays: Start) -> Callable[[Any, Any], Any]:
    """Return a function that calls a layer and initializes its weights from `arrays`.

    Pass the function to `networks.build`. Each array is removed from the mapping when it is used.
    """

    def call(layer: Any, x: Any) -> Any:
        with _initializers(layer, arrays.pop(layer.name, {})):
            return layer(x)

    return call


@contextmanager
def _initializers(layer: Any, arrays: dict[str, np.ndarray]) -> Iterator[None]:
    """Use `arrays` as a layer's initializers within the block, then restore the original ones."""
    names = [f"{weight}_initializer" for weight in arrays]
    own = {name: getattr(layer, name) for name in names}
    for name, weight in zip(names, list(arrays), strict=True):
        setattr(layer, name, _initializer(arrays, weight))
    try:
        yield
    finally:
        for name, initializer in own.items():
            setattr(layer, name, initializer)


def _initializer(arrays: dict[str, np.ndarray], weight: str) -> Callable[..., Any]:
    def initialize(shape: tuple[int, ...], dtype: Any = None) -> Any:
        return _tensor(arrays.pop(weight), tuple(shape), dtype)

    return initialize


def _tensor(array: np.ndarray, shape: tuple[int, ...], dtype: Any) -> Any:
    """Copy the array into aligned memory and return a tensor backed by that memory."""
    import tensorflow as tf

    number = np.dtype(dtype or "float32")
    memory = np.empty(array.size * number.itemsize + _ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT_BYTES
    copy = memory[start : start + array.size * number.itemsize].view(number)
    np.copyto(copy.reshape(array.shape), array, casting="unsafe")
    return tf.experimental.dlpack.from_dlpack(copy.reshape(shape).__dlpack__())
