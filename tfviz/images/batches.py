"""Read images in batches in background threads, keeping a limited number of images in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np

from tfviz.errors import ImageError, OptionError
from tfviz.images.files import read_image
from tfviz.images.preprocessing import Size

_READERS = min(4, os.cpu_count() or 1)
_Source = TypeVar("_Source")


class Preparation(Protocol):
    """An object that converts a file's content to network input, as `Preprocessing` does."""

    def picture(self, content: np.ndarray, /) -> np.ndarray:
        """Return the image that maps are drawn on."""

    def tensor(self, content: np.ndarray, /) -> np.ndarray:
        """Return the network's input in float32."""


@dataclass(frozen=True)
class ImageBatch:
    """Images whose tensors have the same shape.

    Attributes:
        numbers: the images' positions in the list of sources.
        images: the uint8 RGB images that maps are drawn on. Their sizes may differ.
        tensors: the network's input, a float32 array of shape (N, height, width, channels).
        sizes: the (height, width) of each file before cropping.
    """

    numbers: list[int]
    images: list[np.ndarray]
    tensors: np.ndarray
    sizes: list[Size]


def read_batches(
    sources: Sequence[_Source],
    preprocessing: Preparation,
    size: int,
    skip: Callable[[int, ImageError], None],
    *,
    max_side_px: int | None = None,
    read: Callable[..., np.ndarray] = read_image,
) -> Iterator[ImageBatch]:
    """Read images in batches, starting a new batch whenever the tensor shape changes.

    Threads read the next batch while the caller works on the current one.

    Args:
        sources: the images to read, for example file paths.
        preprocessing: converts images to tensors.
        size: the maximum number of images per batch.
        skip: a function that is called with the position and the error of each unusable image.
        max_side_px: the maximum side length, in pixels, of the images that maps are drawn on.
            Larger images are downscaled. None means no limit.
        read: the function that reads a source as a uint8 RGB array of shape (height, width, 3).
            Several threads call it concurrently.

    Yields:
        The batches, in source order.

    Raises:
        OptionError: `size` is less than 1.
    """
    if size < 1:
        raise OptionError(f"The batch size must be at least 1. Received: {size}. Pass the number of images per batch.")

    def one(source: _Source) -> tuple[np.ndarray, np.ndarray, Size] | ImageError:
        try:
            return _prepared(read(source), preprocessing, max_side_px)
        except ImageError as error:
            return error

    found: list[_Read] = []
    for number, prepared in enumerate(_ahead(sources, one, max(size, _READERS))):
        if isinstance(prepared, ImageError):
            skip(number, prepared)
            continue
        if found and found[0][2].shape != prepared[1].shape:
            yield _batch_of(found)
            found = []
        found.append((number, *prepared))
        if len(found) == size:
            yield _batch_of(found)
            found = []
    if found:
        yield _batch_of(found)


_Read = tuple[int, np.ndarray, np.ndarray, Size]
_Prepared = TypeVar("_Prepared")


def _ahead(sources: Sequence[_Source], read: Callable[[_Source], _Prepared], most: int) -> Iterator[_Prepared]:
    """Read up to `most` sources ahead in background threads, and yield the results in order."""
    pool = ThreadPoolExecutor(_READERS)
    try:
        running = deque(pool.submit(read, source) for source in sources[:most])
        for number in range(len(sources)):
            found = running.popleft().result()
            if number + most < len(sources):
                running.append(pool.submit(read, sources[number + most]))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared(rgb: np.ndarray, preprocessing: Preparation, max_side_px: int | None) -> tuple[np.ndarray, np.ndarray, Size]:
    image, (height, width) = preprocessing.picture(rgb), rgb.shape[:2]
    return image if max_side_px is None else shrunk(image, max_side_px), preprocessing.tensor(rgb), (height, width)


def _batch_of(read: list[_Read]) -> ImageBatch:
    numbers, images, tensors, sizes = zip(*read, strict=True)
    return ImageBatch(list(numbers), list(images), np.stack(tensors), list(sizes))


def shrunk(image: np.ndarray, max_side_px: int) -> np.ndarray:
    """Downscale an image whose longer side exceeds `max_side_px` pixels."""
    height, width = image.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))  # (width, height) for cv2
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
