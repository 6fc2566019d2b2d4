"""The images that all snapshots of a run show: read once, then fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import ImageError, OptionError, near_matches
from tfviz.images.image_array import LoadedImages
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.canvas import Canvas, SignalCanvas, VolumeCanvas
from tfviz.render.data_kinds import KINDS
from tfviz.render.pictures import Picture, pictures_of
from tfviz.runs.schema import MAX_IMAGES, MAX_SIDE_PX
from tfviz.snapshots.datasets import detached_copy
from tfviz.snapshots.generators import preserve_global_generators

RANKS = {"signal": 3, "image": 4, "volume": 5}
_EXPECTED = "an array (N, height, width, channels), a tf.data.Dataset or a keras.utils.PyDataset"


@dataclass(frozen=True)
class FixedImages:
    """The selected images.

    Attributes:
        inputs: arrays nested like the model's inputs.
        canvas: the pictures to draw maps over.
        shown_input: the index of the drawn input among the flat inputs.
        given: the number of images given, if known without reading them all. Otherwise, the number
            selected.
        numbers: the indices of the selected images.
        labels: a dataset's label of each image, or None.
    """

    inputs: Any
    canvas: Canvas
    shown_input: int
    given: int
    numbers: np.ndarray
    labels: np.ndarray | None

    @property
    def pictures(self) -> list[Picture]:
        """The pictures to draw maps over, uint8 RGB."""
        return self.canvas.pictures

    def select(self, rows: Any) -> Any:
        """Return the rows of the selected images, from an array with one row per given image."""
        if (self.numbers == np.arange(len(self))).all():
            return rows[: len(self)]
        return np.asarray(rows)[self.numbers]

    def __len__(self) -> int:
        return len(self.pictures)


def fixed_images(
    images: Any,
    most: int,
    pictures: Any = None,
    *,
    choose: str = "first",
    preprocessing: Preprocessing | str | None = None,
    kind: str | None = None,
) -> FixedImages:
    """Select the first `most` images, or as many evenly spaced ones.

    Args:
        images: an array (N, H, W, C), arrays nested like the model's inputs, or a tf.data.Dataset
            or PyDataset whose elements are images or tuples that start with images, batched or not.
        most: the largest number of images to select.
        pictures: the images to draw maps over, (N, H, W, 3), (N, H, W, 1) or a list. None means
            `images`.
        choose: "first" or "spread", the latter for arrays only.
        preprocessing: how the images were preprocessed. It is undone before they are drawn.
        kind: "image", "signal" for (N, T, C), or "volume" for (N, D, H, W, C). None tells images
            from volumes by their axes.

    Returns:
        The selected images.

    Raises:
        ImageError: there are no images, a picture is missing, or they exceed the limits of a run.
        OptionError: `most`, `choose` or `kind` is invalid.
    """
    if kind not in (None, *KINDS):
        raise OptionError(f"Unknown kind {kind!r}. {near_matches(str(kind), KINDS)}")
    if not isinstance(most, (int, np.integer)) or isinstance(most, bool) or most < 1:
        raise OptionError(f"`max_images` must be a positive integer. Received: {most!r}.")
    rank = RANKS[kind] if kind else None
    given = _count(images)
    numbers = np.arange(int(most)) if choose == "first" else _spread(choose, given, int(most))
    if choose != "first":
        images = _rows(images, numbers)
        pictures = pictures if pictures is None or len(pictures) != given else _rows(pictures, numbers)
    with preserve_global_generators():
        inputs, labels = _first(_batches(images, rank or 4), min(int(most), MAX_IMAGES + 1), rank)
    flat = tree.flatten(inputs)
    if len(flat[0]) > MAX_IMAGES:
        raise ImageError(f"A run holds at most {MAX_IMAGES} images. Pass fewer images, or max_images={MAX_IMAGES}.")
    count, ranks = len(flat[0]), [array.ndim for array in flat]
    rank = rank or next(rank for rank in (4, 5) if rank in ranks)
    shown = ranks.index(rank)
    if pictures is None and rank != 4:
        canvas = SignalCanvas(flat[shown]) if rank == 3 else VolumeCanvas(flat[shown], preprocessing)
        return FixedImages(inputs, canvas, shown, count if given is None else given, numbers[:count], labels)
    if pictures is None and (channels := flat[shown].shape[3]) not in (1, 3):
        raise ImageError(
            f"Maps are drawn over images with 1 or 3 channels. Received: shape {flat[shown].shape}. Also pass pictures to draw "
            f"on, such as pictures=images[..., :{3 if channels > 3 else 1}]."
        )
    drawn = pictures_of(_loaded(images, shown, flat[shown]) if pictures is None else pictures, preprocessing)
    if len(drawn) < count:
        raise ImageError(f"`pictures` must have one picture for each of the {count} images. Received: {len(drawn)}.")
    for number, picture in enumerate(drawn[:count]):
        if max(picture.shape[:2]) > MAX_SIDE_PX:
            height, width = picture.shape[:2]
            raise ImageError(
                f"Image {number} is {width} x {height} pixels; the limit is {MAX_SIDE_PX} per side. Pass smaller images, or "
                "smaller pictures to draw on (pictures=...)."
            )
    return FixedImages(inputs, Canvas(drawn[:count]), shown, count if given is None else given, numbers[:count], labels)


def _loaded(images: Any, shown: int, taken: np.ndarray) -> Any:
    """Return the images to draw. Those from `load_images` include their original RGB pictures."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        return images[: len(taken)]
    candidates = [] if isinstance(images, (tf.data.Dataset, keras.utils.PyDataset)) else tree.flatten(images)
    if candidates and isinstance(candidates[shown], LoadedImages):
        return candidates[shown][: len(taken)]
    return taken


def _count(images: Any) -> int | None:
    """Return the number of images in an array, or None for datasets."""
    if isinstance(images, (tf.data.Dataset, keras.utils.PyDataset)):
        return None
    first = tree.flatten(_as_arrays(images))[0]
    return len(first) if first.ndim else 0


def _spread(choose: str, given: int | None, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced indices of the given images."""
    if choose != "spread":
        raise OptionError(f"`choose` must be 'first' or 'spread'. Received: {choose!r}.")
    if given is None:
        raise OptionError("choose='spread' needs all images in an array. Received: a dataset. Shuffle the dataset instead.")
    return np.unique(np.linspace(0, max(given - 1, 0), min(most, given)).round().astype(int))


def _rows(images: Any, numbers: np.ndarray) -> Any:
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        return [images[number] for number in numbers]
    return tree.map_structure(lambda array: (array if isinstance(array, np.ndarray) else np.asarray(array))[numbers], images)


def _batches(images: Any, rank: int) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Yield batches of images with a dataset's labels."""
    if isinstance(images, tf.data.Dataset):
        for element in detached_copy(images).as_numpy_iterator():
            yield _as_batch(_images_of(element), _labels_of(element), rank)
    elif isinstance(images, keras.utils.PyDataset):
        number = 0
        while images.num_batches is None or number < images.num_batches:
            element = images[number]
            yield _as_arrays(_images_of(element)), _labels_of(element)
            number += 1
    else:
        yield _as_arrays(images), None


def _labels_of(element: Any) -> np.ndarray | None:
    is_pair = isinstance(element, (tuple, list)) and len(element) > 1
    return np.asarray(element[1]) if is_pair and not isinstance(element[1], (dict, list, tuple)) else None


def _images_of(element: Any) -> Any:
    return element[0] if isinstance(element, (tuple, list)) else element


def _as_batch(element: Any, label: np.ndarray | None, rank: int) -> tuple[Any, np.ndarray | None]:
    """Turn a single image into a batch of one."""
    element = _as_arrays(element)
    if max(array.ndim for array in tree.flatten(element)) != rank - 1:
        return element, label
    return tree.map_structure(lambda array: array[None], element), None if label is None else label[None]


def _as_arrays(images: Any) -> Any:
    """Convert to NumPy arrays, nested like `images`. A list of images becomes one array."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        if len({np.shape(image) for image in images}) > 1:
            raise ImageError("All images in a list must have the same size. Received: several sizes. Resize them first.")
        images = np.asarray(images)
    is_array = [hasattr(array, "shape") and hasattr(array, "dtype") for array in tree.flatten(images)]
    if not is_array or not all(is_array):
        raise ImageError(f"Expected images as {_EXPECTED}. Received: {type(images).__name__} {str(images)[:60]!r}.")
    return tree.map_structure(np.asarray, images)


def _first(batches: Iterator[tuple[Any, np.ndarray | None]], most: int, rank: int | None) -> tuple[Any, np.ndarray | None]:
    """Join the first `most` rows of the batches."""
    kept: list[Any] = []
    labels: list[np.ndarray | None] = []
    count = 0
    for batch, beside in batches:
        _require_images(batch, rank)
        sizes = {len(array) if array.ndim else 0 for array in tree.flatten(batch)}
        if len(sizes) > 1:
            raise ImageError(f"All inputs of the model need the same number of images. Received: {sorted(sizes)}.")
        kept.append(tree.map_structure(lambda array: array[: most - count], batch))  # noqa: B023
        size = sizes.pop()
        labels.append(beside[: most - count] if beside is not None and beside.shape[:1] == (size,) else None)
        count += size
        if count >= most:
            break
    if count == 0:
        raise ImageError(f"Expected at least one image, as {_EXPECTED}. Received: none.")
    try:
        together = tree.map_structure(lambda *parts: np.concatenate(parts), *kept)
    except ValueError as error:
        raise ImageError(f"All images must have the size that the model takes ({error}). Resize them first.") from error
    return together, None if any(one is None for one in labels) else np.concatenate(labels)  # type: ignore[arg-type]


def _require_images(batch: Any, rank: int | None) -> None:
    shapes = [array.shape for array in tree.flatten(batch)]
    if all(len(shape) not in ((4, 5) if rank is None else (rank,)) for shape in shapes):
        is_single = len(shapes) == 1 and len(shapes[0]) == 3
        hint = ' For a single image, pass image[None]; for signals (N, T, C), pass kind="signal".' if is_single else ""
        raise ImageError(f"Expected images as {_EXPECTED}. Received: shapes {', '.join(map(str, shapes))}.{hint}")
