"""Pictures from disk, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from tfviz.cli.jobs import Job
from tfviz.errors import ImageError
from tfviz.images import read_image
from tfviz.preprocessing import Preprocessing
from tfviz.render.pictures import MAX_DRAWN_SIDE_PX


@dataclass(frozen=True)
class Picture:
    """A picture that was read: `shown`, uint8 RGB, is what maps are drawn on; `tensor` what the model takes."""

    job: Job
    shown: np.ndarray
    tensor: np.ndarray


def read_batches(
    jobs: Iterable[Job], preprocessing: Preprocessing, size: int, fail: Callable[[Job, ImageError], None]
) -> Iterator[list[Picture]]:
    """Batches of at most `size` pictures whose tensors have one shape. A file that cannot be used goes to `fail`."""
    batch: list[Picture] = []
    for job in jobs:
        try:
            picture = _read(job, preprocessing)
        except ImageError as error:
            fail(job, error)
            continue
        if batch and batch[0].tensor.shape != picture.tensor.shape:
            yield batch
            batch = []
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _read(job: Job, preprocessing: Preprocessing) -> Picture:
    rgb = read_image(job.path)
    return Picture(job, _shrunk(preprocessing.picture(rgb)), preprocessing.tensor(rgb))


def _shrunk(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    share = MAX_DRAWN_SIDE_PX / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
