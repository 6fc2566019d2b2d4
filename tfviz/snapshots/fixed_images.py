"""The images that all snapshots of a run are taken of: read once, then fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import ImageError, OptionError
from tfviz.images.image_array import LoadedImages
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.pictures import Picture, pictures_of
from tfviz.runs.schema import MAX_IMAGES, MAX_SIDE_PX
from tfviz.snapshots.datasets import unconnected
from tfviz.snapshots.generators import global_generators_kept

_EXPECTED = "an array (N, height, width, channels), a tf.data.Dataset or a keras.utils.PyDataset"


@dataclass(frozen=True)
class FixedImages:
    """inputs: what the model takes, arrays nested as it takes them. pictures: what maps are drawn over, uint8 RGB.

    shown_input: of a model with several inputs the one that is drawn, among the flat inputs. given: how many images there
    were where that is known without reading on, else as many as were taken. numbers: which of them were taken. labels: what
    a dataset holds beside each of them, or None.
    """

    inputs: Any
    pictures: list[Picture]
    shown_input: int
    given: int
    numbers: np.ndarray
    labels: np.ndarray | None

    def taken_of(self, rows: Any) -> Any:
        """The rows that belong to the images, of one for each that was given."""
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
) -> FixedImages:
    """The first `most` of the images, or as many evenly spread over all.

    Args:
        images: an array (N, H, W, C), arrays nested as the model takes them, or a tf.data.Dataset or PyDataset whose elements
            are images or tuples that begin with images, batched or not.
        pictures: (N, H, W, 3) or (N, H, W, 1) or a list, what to draw over in place of the images; None: the images.
        choose: "first" or "spread", the latter for arrays only.
        preprocessing: how the images were preprocessed; it is undone before they are drawn.

    Raises:
        ImageError: none, or no images, or a picture missing; or more or larger ones than a run holds.
        OptionError: `most` is no number of images.
    """
    if not isinstance(most, (int, np.integer)) or isinstance(most, bool) or most < 1:
        raise OptionError(f"max_images: expected a whole number, 1 at least; got {most!r}")
    given = _count(images)
    numbers = np.arange(int(most)) if choose == "first" else _spread(choose, given, int(most))
    if choose != "first":
        images = _rows(images, numbers)
        pictures = pictures if pictures is None or len(pictures) != given else _rows(pictures, numbers)
    with global_generators_kept():
        inputs, labels = _first(_batches(images), min(int(most), MAX_IMAGES + 1))
    flat = tree.flatten(inputs)
    if len(flat[0]) > MAX_IMAGES:
        raise ImageError(f"A run holds at most {MAX_IMAGES} images; more were given. Give fewer, or max_images={MAX_IMAGES}.")
    count, shown = len(flat[0]), [array.ndim for array in flat].index(4)
    if pictures is None and (channels := flat[shown].shape[3]) not in (1, 3):
        raise ImageError(
            f"Maps are drawn over pictures of 1 or 3 channels; the images have shape {flat[shown].shape}. Give pictures too, "
            f"one for each image, such as pictures=images[..., :{3 if channels > 3 else 1}]"
        )
    drawn = pictures_of(_loaded(images, shown, flat[shown]) if pictures is None else pictures, preprocessing)
    if len(drawn) < count:
        raise ImageError(f"pictures: expected one for each of the {count} images; got {len(drawn)}")
    for number, picture in enumerate(drawn[:count]):
        if max(picture.shape[:2]) > MAX_SIDE_PX:
            height, width = picture.shape[:2]
            raise ImageError(
                f"Image {number} is {height} pixels high and {width} wide; a run holds images of at most {MAX_SIDE_PX} pixels "
                "a side. Give smaller pictures to draw over, pictures=..., or smaller images."
            )
    return FixedImages(inputs, drawn[:count], shown, count if given is None else given, numbers[:count], labels)


def _loaded(images: Any, shown: int, taken: np.ndarray) -> Any:
    """The images that are drawn, with their RGB pictures where `load_images` returned them; else `taken`."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        return images[: len(taken)]
    candidates = [] if isinstance(images, (tf.data.Dataset, keras.utils.PyDataset)) else tree.flatten(images)
    if candidates and isinstance(candidates[shown], LoadedImages):
        return candidates[shown][: len(taken)]
    return taken


def _count(images: Any) -> int | None:
    """How many images an array holds; None for datasets."""
    if isinstance(images, (tf.data.Dataset, keras.utils.PyDataset)):
        return None
    first = tree.flatten(_as_arrays(images))[0]
    return len(first) if first.ndim else 0


def _spread(choose: str, given: int | None, most: int) -> np.ndarray:
    """The numbers of at most `most` images, evenly spread over those given."""
    if choose != "spread":
        raise OptionError(f"choose: expected 'first' or 'spread'; got {choose!r}")
    if given is None:
        raise OptionError("choose: 'spread' needs all images as an array; a dataset gives its first. Shuffle it instead.")
    return np.unique(np.linspace(0, max(given - 1, 0), min(most, given)).round().astype(int))


def _rows(images: Any, numbers: np.ndarray) -> Any:
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        return [images[number] for number in numbers]
    return tree.map_structure(lambda array: (array if isinstance(array, np.ndarray) else np.asarray(array))[numbers], images)


def _batches(images: Any) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Batches of images, each with what a dataset holds beside them."""
    if isinstance(images, tf.data.Dataset):
        for element in unconnected(images).as_numpy_iterator():
            yield _as_batch(_images_of(element), _labels_of(element))
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


def _as_batch(element: Any, label: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
    """One image becomes a batch of one."""
    element = _as_arrays(element)
    if max(array.ndim for array in tree.flatten(element)) != 3:
        return element, label
    return tree.map_structure(lambda array: array[None], element), None if label is None else label[None]


def _as_arrays(images: Any) -> Any:
    """NumPy arrays, nested as they came; a list of images (H, W, C) is one array."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        if len({np.shape(image) for image in images}) > 1:
            raise ImageError("expected images of one size, as the model takes them; got several sizes. Resize them first")
        images = np.asarray(images)
    is_array = [hasattr(array, "shape") and hasattr(array, "dtype") for array in tree.flatten(images)]
    if not is_array or not all(is_array):
        raise ImageError(f"expected images as {_EXPECTED}; got {type(images).__name__} {str(images)[:60]!r}")
    return tree.map_structure(np.asarray, images)


def _first(batches: Iterator[tuple[Any, np.ndarray | None]], most: int) -> tuple[Any, np.ndarray | None]:
    """The first `most` rows of all batches, as one."""
    kept: list[Any] = []
    labels: list[np.ndarray | None] = []
    count = 0
    for batch, beside in batches:
        _require_images(batch)
        sizes = {len(array) if array.ndim else 0 for array in tree.flatten(batch)}
        if len(sizes) > 1:
            raise ImageError(f"expected as many images for each input of the model; got {sorted(sizes)}")
        kept.append(tree.map_structure(lambda array: array[: most - count], batch))  # noqa: B023
        size = sizes.pop()
        labels.append(beside[: most - count] if beside is not None and beside.shape[:1] == (size,) else None)
        count += size
        if count >= most:
            break
    if count == 0:
        raise ImageError(f"expected at least one image, as {_EXPECTED}; got none")
    try:
        together = tree.map_structure(lambda *parts: np.concatenate(parts), *kept)
    except ValueError as error:
        raise ImageError(f"expected images of one size, as the model takes them; {error}") from error
    return together, None if any(one is None for one in labels) else np.concatenate(labels)  # type: ignore[arg-type]


def _require_images(batch: Any) -> None:
    shapes = [array.shape for array in tree.flatten(batch)]
    if all(len(shape) != 4 for shape in shapes):
        hint = "; of a single image pass image[None]" if len(shapes) == 1 and len(shapes[0]) == 3 else ""
        raise ImageError(f"expected images as {_EXPECTED}; got shapes {', '.join(map(str, shapes))}{hint}")
