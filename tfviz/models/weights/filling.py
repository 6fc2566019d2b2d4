"""Build networks whose layers start from given arrays.

Building a network and then loading its weights needs memory for two sets of weights, and most of
the time is spent drawing random weights. Here, each layer uses its arrays as initial values
instead, and each array is released after use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy as np

# TensorFlow's buffer alignment; TensorFlow uses aligned memory without a copy
_ALIGNMENT_BYTES = 64

# Layer -> weight -> array of any shape and number type, in the layer's memory order.
Start = MutableMapping[str, dict[str, np.ndarray]]


def starting_from(arrays: Start) -> Callable[[Any, Any], Any]:
    """Return a function for `networks.build` that calls layers and initializes them from `arrays`.

    Each array is removed from the mapping when it is used.
    """

    def call(layer: Any, x: Any) -> Any:
        with _initializers(layer, arrays.pop(layer.name, {})):
            return layer(x)

    return call


@contextmanager
def _initializers(layer: Any, arrays: dict[str, np.ndarray]) -> Iterator[None]:
    """Initialize the layer from `arrays` within the block, then restore its initializers."""
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
    """Copy the array into aligned memory and return a tensor that uses this memory."""
    import tensorflow as tf

    number = np.dtype(dtype or "float32")
    memory = np.empty(array.size * number.itemsize + _ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT_BYTES
    copy = memory[start : start + array.size * number.itemsize].view(number)
    np.copyto(copy.reshape(array.shape), array, casting="unsafe")
    return tf.experimental.dlpack.from_dlpack(copy.reshape(shape).__dlpack__())
