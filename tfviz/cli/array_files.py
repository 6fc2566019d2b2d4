"""Read signals, volumes and videos from .npy files, for networks whose input is not an image.

For these inputs, `Arrays` replaces `Preprocessing`. It passes arrays to the network unchanged.
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
from tfviz.render.data_kinds import kind_of_batch


@dataclass(frozen=True)
class Arrays:
    """Reads and draws array files.

    Attributes:
        shape: the shape of one array, (T, C) or (D, H, W, C), with None for axes of any size.
        kind: "signal", "volume" or "video".
    """

    shape: tuple[int | None, ...]
    kind: str

    def read(self, path: str | Path) -> np.ndarray:
        """Read an array file as float32.

        Args:
            path: the .npy file.

        Returns:
            The array, of shape (T, C) or (D, H, W, C).

        Raises:
            ImageError: the file cannot be read, or the array is not a valid input for the network.
        """
        data = file_bytes(Path(path))
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)  # Loading objects could run code.
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise ImageError(
                f"{shown(path)} cannot be read ({first_line(error)}). Save a single array to this file with np.save."
            ) from error
        fits = isinstance(array, np.ndarray) and array.dtype.kind in "biuf" and array.ndim == len(self.shape)
        if not (fits and array.size and all(own in (None, n) for own, n in zip(self.shape, array.shape, strict=True))):
            expected = ", ".join("any" if n is None else str(n) for n in self.shape)
            raise ImageError(
                f"{shown(path)} does not match the network, which expects one {self.kind} of shape ({expected}). Received: "
                f"{getattr(array, 'dtype', 'several arrays')} {getattr(array, 'shape', '')}."
            )
        if not np.isfinite(array).all():
            raise ImageError(f"{shown(path)} contains NaN or infinite values, so it cannot be explained. Remove them.")
        return np.asarray(array, np.float32)

    def canvas(self, array: np.ndarray | None = None) -> Canvas:
        """Return a canvas that shows the array, or zeros if there is none."""
        blank = np.zeros([n or 1 for n in self.shape])
        return canvas_of([blank if array is None else array], self.kind)

    def picture(self, array: np.ndarray) -> np.ndarray:
        """Return the array unchanged, because `canvas` draws it later."""
        return array

    def tensor(self, array: np.ndarray) -> np.ndarray:
        """Return the array unchanged, as the network's input."""
        return array


def arrays_of(model: keras.Model) -> Arrays | None:
    """Return the `Arrays` for a model, or None if its input is an image or of another kind."""
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    kind = kind_of_batch(shapes[0]) if len(shapes) == 1 else None
    if kind is None or kind == "image":
        return None
    return Arrays(shapes[0][1:], kind)
