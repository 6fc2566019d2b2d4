"""Networks whose layers start from given arrays.

A network that is built first and filled afterwards is in memory twice: its random weights, whose
drawing takes longest, and the arrays. Here each layer takes its arrays as its first values, and the
arrays are let go one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy as np

# of TensorFlow's own buffers; memory that is laid out so is taken over without a copy
_ALIGNMENT_BYTES = 64

# layer -> weight -> the array, in the layer's memory order but of any shape and type of number
Start = MutableMapping[str, dict[str, np.ndarray]]


def starting_from(arrays: Start) -> Callable[[Any, Any], Any]:
    """A way to call layers (see `networks.build`) that takes what they start from out of
    `arrays`.
    """

    def call(layer: Any, x: Any) -> Any:
        with _initializers(layer, arrays.pop(layer.name, {})):
            return layer(x)

    return call


@contextmanager
def _initializers(layer: Any, arrays: dict[str, np.ndarray]) -> Iterator[None]:
    """The layer builds itself from `arrays` meanwhile; its own initializers, which are saved with
    it, come back.
    """
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
    """The array as a tensor, copied once, into memory that TensorFlow takes over."""
    import tensorflow as tf

    number = np.dtype(dtype or "float32")
    memory = np.empty(array.size * number.itemsize + _ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT_BYTES
    copy = memory[start : start + array.size * number.itemsize].view(number)
    np.copyto(copy.reshape(array.shape), array, casting="unsafe")
    return tf.experimental.dlpack.from_dlpack(copy.reshape(shape).__dlpack__())
