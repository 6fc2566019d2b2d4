"""Read image files in batches, with a bounded number of images in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tfviz.errors import ImageError, OptionError
from tfviz.images.files import read_image
from tfviz.images.preprocessing import Preprocessing, Size


@dataclass(frozen=True)
class ImageBatch:
    """Images whose tensors have the same shape.

    Attributes:
        numbers: their positions among the given paths.
        images: the images that maps are drawn on, uint8 RGB, each in its own size.
        tensors: the network's input, float32 (N, height, width, channels).
        sizes: (height, width) of each file, before any crop.
    """

    numbers: list[int]
    images: list[np.ndarray]
    tensors: np.ndarray
    sizes: list[Size]


def read_batches(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    size: int,
    skip: Callable[[int, ImageError], None],
    *,
    max_side_px: int | None = None,
) -> Iterator[ImageBatch]:
    """Read the images at `paths` in batches. A batch also ends where the tensor shape changes.

    Args:
        paths: the image files.
        preprocessing: converts images to tensors.
        size: the largest number of images per batch.
        skip: called with the position and error of each file that cannot be used.
        max_side_px: the size to which larger images are reduced before maps are drawn on them; None
            means no limit.

    Yields:
        The batches, in the order of the paths.

    Raises:
        OptionError: `size` is less than 1.
    """
    if size < 1:
        raise OptionError(f"The batch size must be at least 1. Received: {size}. Pass the number of images per batch.")
    read: list[_Read] = []
    for number, path in enumerate(paths):
        try:
            image, tensor, original = _read(path, preprocessing, max_side_px)
        except ImageError as error:
            skip(number, error)
            continue
        if read and read[0][2].shape != tensor.shape:
            yield _batch_of(read)
            read = []
        read.append((number, image, tensor, original))
        if len(read) == size:
            yield _batch_of(read)
            read = []
    if read:
        yield _batch_of(read)


_Read = tuple[int, np.ndarray, np.ndarray, Size]


def _read(path: Path, preprocessing: Preprocessing, max_side_px: int | None) -> tuple[np.ndarray, np.ndarray, Size]:
    rgb = read_image(path)
    image, (height, width) = preprocessing.picture(rgb), rgb.shape[:2]
    return image if max_side_px is None else shrunk(image, max_side_px), preprocessing.tensor(rgb), (height, width)


def _batch_of(read: list[_Read]) -> ImageBatch:
    numbers, images, tensors, sizes = zip(*read, strict=True)
    return ImageBatch(list(numbers), list(images), np.stack(tensors), list(sizes))


def shrunk(image: np.ndarray, max_side_px: int) -> np.ndarray:
    """Reduce an image to `max_side_px` on its longer side. Smaller images are unchanged."""
    height, width = image.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))  # cv2 takes width first
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
