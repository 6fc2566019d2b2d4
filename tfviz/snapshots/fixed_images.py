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
from tfviz.render.pictures import Picture, pictures_of
from tfviz.runs.schema import MAX_IMAGES, MAX_SIDE_PX
from tfviz.snapshots.datasets import unconnected
from tfviz.snapshots.generators import global_generators_kept

_EXPECTED = "an array (N, height, width, channels), a tf.data.Dataset or a keras.utils.PyDataset"


@dataclass(frozen=True)
class FixedImages:
    """inputs: what the model takes, arrays nested as it takes them. pictures: what maps are drawn over, uint8 RGB.

    shown_input: of a model with several inputs the one that is drawn, among the flat inputs. given: how many images there
    were where that is known without reading on, else as many as were taken.
    """

    inputs: Any
    pictures: list[Picture]
    shown_input: int
    given: int

    def __len__(self) -> int:
        return len(self.pictures)


def fixed_images(images: Any, most: int, pictures: Any = None) -> FixedImages:
    """The first `most` of the images.

    Args:
        images: an array (N, H, W, C), arrays nested as the model takes them, or a tf.data.Dataset or PyDataset whose elements
            are images or tuples that begin with images, batched or not.
        pictures: (N, H, W, 3) or (N, H, W, 1) or a list, what to draw over in place of the images; None: the images.

    Raises:
        ImageError: none, or no images, or a picture missing; or more or larger ones than a run holds.
        OptionError: `most` is no number of images.
    """
    if not isinstance(most, (int, np.integer)) or isinstance(most, bool) or most < 1:
        raise OptionError(f"max_images: expected a whole number, 1 at least; got {most!r}")
    with global_generators_kept():
        inputs = _first(_batches(images), min(int(most), MAX_IMAGES + 1))
    flat = tree.flatten(inputs)
    if len(flat[0]) > MAX_IMAGES:
        raise ImageError(f"A run holds at most {MAX_IMAGES} images; more were given. Give fewer, or max_images={MAX_IMAGES}.")
    count, shown = len(flat[0]), [array.ndim for array in flat].index(4)
    if pictures is None and (channels := flat[shown].shape[3]) not in (1, 3):
        raise ImageError(
            f"Maps are drawn over pictures of 1 or 3 channels; the images have shape {flat[shown].shape}. Give pictures too, "
            f"one for each image, such as pictures=images[..., :{3 if channels > 3 else 1}]"
        )
    drawn = pictures_of(_loaded(images, shown, flat[shown]) if pictures is None else pictures)
    if len(drawn) < count:
        raise ImageError(f"pictures: expected one for each of the {count} images; got {len(drawn)}")
    for number, picture in enumerate(drawn[:count]):
        if max(picture.shape[:2]) > MAX_SIDE_PX:
            height, width = picture.shape[:2]
            raise ImageError(
                f"Image {number} is {height} pixels high and {width} wide; a run holds images of at most {MAX_SIDE_PX} pixels "
                "a side. Give smaller pictures to draw over, pictures=..., or smaller images."
            )
    return FixedImages(inputs, drawn[:count], shown, _count(images, count))


def _loaded(images: Any, shown: int, taken: np.ndarray) -> Any:
    """The images that are drawn, with their RGB pictures where `load_images` returned them; else `taken`."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        return images[: len(taken)]
    candidates = [] if isinstance(images, (tf.data.Dataset, keras.utils.PyDataset)) else tree.flatten(images)
    if candidates and isinstance(candidates[shown], LoadedImages):
        return candidates[shown][: len(taken)]
    return taken


def _count(images: Any, taken: int) -> int:
    if isinstance(images, (tf.data.Dataset, keras.utils.PyDataset)):
        return taken
    return len(tree.flatten(_as_arrays(images))[0])


def _batches(images: Any) -> Iterator[Any]:
    if isinstance(images, tf.data.Dataset):
        for element in unconnected(images).as_numpy_iterator():
            yield _as_batch(_images_of(element))
    elif isinstance(images, keras.utils.PyDataset):
        number = 0
        while images.num_batches is None or number < images.num_batches:
            yield _as_arrays(_images_of(images[number]))
            number += 1
    else:
        yield _as_arrays(images)


def _images_of(element: Any) -> Any:
    return element[0] if isinstance(element, (tuple, list)) else element


def _as_batch(element: Any) -> Any:
    """One image becomes a batch of one."""
    element = _as_arrays(element)
    is_single = max(array.ndim for array in tree.flatten(element)) == 3
    return tree.map_structure(lambda array: array[None], element) if is_single else element


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


def _first(batches: Iterator[Any], most: int) -> Any:
    """The first `most` rows of all batches, as one."""
    kept: list[Any] = []
    count = 0
    for batch in batches:
        _require_images(batch)
        sizes = {len(array) if array.ndim else 0 for array in tree.flatten(batch)}
        if len(sizes) > 1:
            raise ImageError(f"expected as many images for each input of the model; got {sorted(sizes)}")
        kept.append(tree.map_structure(lambda array: array[: most - count], batch))  # noqa: B023
        count += sizes.pop()
        if count >= most:
            break
    if count == 0:
        raise ImageError(f"expected at least one image, as {_EXPECTED}; got none")
    try:
        return tree.map_structure(lambda *parts: np.concatenate(parts), *kept)
    except ValueError as error:
        raise ImageError(f"expected images of one size, as the model takes them; {error}") from error


def _require_images(batch: Any) -> None:
    shapes = [array.shape for array in tree.flatten(batch)]
    if all(len(shape) != 4 for shape in shapes):
        hint = "; of a single image pass image[None]" if len(shapes) == 1 and len(shapes[0]) == 3 else ""
        raise ImageError(f"expected images as {_EXPECTED}; got shapes {', '.join(map(str, shapes))}{hint}")
