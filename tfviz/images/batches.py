"""Image files in batches: a bounded number of images is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tfviz.errors import ImageError, OptionError
from tfviz.images.files import read_image
from tfviz.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class ImageBatch:
    """Images whose tensors have one shape.

    numbers: their positions among the paths that were given.
    images: what maps are drawn on, uint8 RGB, each of its own size.
    tensors: what the network takes, float32 (N, height, width, channels).
    """

    numbers: list[int]
    images: list[np.ndarray]
    tensors: np.ndarray


def read_batches(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    size: int,
    skip: Callable[[int, ImageError], None],
    *,
    max_side_px: int | None = None,
) -> Iterator[ImageBatch]:
    """Reads the images at `paths` in batches of at most `size`. A batch ends early where the shape of the tensors changes.

    Args:
        skip: called with the number of each file that cannot be used, and the error.
        max_side_px: larger images are scaled down to this before maps are drawn on them; None keeps their size.

    Raises OptionError for a size below 1.
    """
    if size < 1:
        raise OptionError(f"The batch size must be 1 or more; got {size}.")
    read: list[tuple[int, np.ndarray, np.ndarray]] = []
    for number, path in enumerate(paths):
        try:
            image, tensor = _read(path, preprocessing, max_side_px)
        except ImageError as error:
            skip(number, error)
            continue
        if read and read[0][2].shape != tensor.shape:
            yield _batch_of(read)
            read = []
        read.append((number, image, tensor))
        if len(read) == size:
            yield _batch_of(read)
            read = []
    if read:
        yield _batch_of(read)


def _read(path: Path, preprocessing: Preprocessing, max_side_px: int | None) -> tuple[np.ndarray, np.ndarray]:
    rgb = read_image(path)
    image = preprocessing.picture(rgb)
    return image if max_side_px is None else shrunk(image, max_side_px), preprocessing.tensor(rgb)


def _batch_of(read: list[tuple[int, np.ndarray, np.ndarray]]) -> ImageBatch:
    numbers, images, tensors = zip(*read, strict=True)
    return ImageBatch(list(numbers), list(images), np.stack(tensors))


def shrunk(image: np.ndarray, max_side_px: int) -> np.ndarray:
    """The image scaled down so that no side is longer than `max_side_px`; a smaller image as it is."""
    height, width = image.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))  # cv2 takes the width first
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
