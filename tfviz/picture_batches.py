"""Picture files, read a bounded number at a time, for a network that takes one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfviz.errors import ImageError, OptionError
from tfviz.images import read_image
from tfviz.preprocessing import Preprocessing


@dataclass(frozen=True)
class PictureBatch:
    """Some of the pictures.

    numbers: their places among the paths that were given.
    pictures: what maps are drawn on, uint8 RGB, each of its own size.
    tensors: what the network takes, float32 (N, height, width, channels).
    """

    numbers: list[int]
    pictures: list[np.ndarray]
    tensors: np.ndarray


def read_batches(
    paths: Sequence[Path], preprocessing: Preprocessing, size: int, skip: Callable[[ImageError], None]
) -> Iterator[PictureBatch]:
    """Batches of at most `size` pictures; `skip` gets the error about each file that cannot be used.

    Raises OptionError for a size below 1.
    """
    if size < 1:
        raise OptionError(f"The batch size must be 1 or more; got {size}.")
    for start in range(0, len(paths), size):
        read: dict[int, np.ndarray] = {}
        for number, path in enumerate(paths[start : start + size], start):
            try:
                read[number] = read_image(path)
            except ImageError as error:
                skip(error)
        if read:
            pictures = [preprocessing.picture(rgb) for rgb in read.values()]
            yield PictureBatch(list(read), pictures, np.stack([preprocessing.tensor(rgb) for rgb in read.values()]))
