"""Signals, volumes and videos in .npy files, for networks whose input is not an image.

`Arrays` takes the place of `Preprocessing`: arrays are passed to the network unchanged.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfviz.errors import ImageError, first_line, shown
from tfviz.images.files import file_bytes
from tfviz.render.canvas import Canvas, canvas_of

_KINDS = {3: "signal", 5: "volume"}  # keyed by the rank of a batch


@dataclass(frozen=True)
class Arrays:
    """How to read and draw array files.

    Attributes:
        shape: of one array, (T, C) or (D, H, W, C), with None for any size.
        kind: "signal" or "volume".
    """

    shape: tuple[int | None, ...]
    kind: str

    def read(self, path: str | Path) -> np.ndarray:
        """Read an array file as float32.

        Args:
            path: the .npy file.

        Returns:
            The array, (T, C) or (D, H, W, C).

        Raises:
            ImageError: the file cannot be read, or the array does not fit the network.
        """
        data = file_bytes(Path(path))
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)  # objects would run code
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise ImageError(f"{shown(path)} cannot be read ({first_line(error)}). Save one array with np.save.") from error
        fits = isinstance(array, np.ndarray) and array.dtype.kind in "biuf" and array.ndim == len(self.shape)
        if not (fits and array.size and all(own in (None, n) for own, n in zip(self.shape, array.shape, strict=True))):
            expected = ", ".join("any" if n is None else str(n) for n in self.shape)
            raise ImageError(
                f"{shown(path)} does not fit the network, whose input is one {self.kind} of shape ({expected}). "
                f"Received: {getattr(array, 'dtype', 'several arrays')} {getattr(array, 'shape', '')}."
            )
        if not np.isfinite(array).all():
            raise ImageError(f"{shown(path)} contains NaN or infinite values, so it cannot be explained. Remove them.")
        return np.asarray(array, np.float32)

    def canvas(self, array: np.ndarray | None = None) -> Canvas:
        """Return the canvas for one array, or for zeros."""
        blank = np.zeros([n or 1 for n in self.shape])
        return canvas_of([blank if array is None else array], self.kind)

    def picture(self, array: np.ndarray) -> np.ndarray:
        """Return the array unchanged. `canvas` draws it."""
        return array

    def tensor(self, array: np.ndarray) -> np.ndarray:
        """Return the network's input: the array unchanged."""
        return array


def arrays_of(model: keras.Model) -> Arrays | None:
    """Return how to read a model's array files, or None if its input isn't a signal or volume."""
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) not in _KINDS:
        return None
    return Arrays(shapes[0][1:], _KINDS[len(shapes[0])])
