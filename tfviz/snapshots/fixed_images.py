"""Select and draw the images shown in a run's snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import tree

from tfviz.errors import ImageError, OptionError, near_matches
from tfviz.images.image_array import LoadedImages
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.canvas import Canvas, canvas_of
from tfviz.render.data_kinds import KINDS, RANKS, kind_of_batch
from tfviz.render.pictures import Arrays, Picture, has_known_colors, pictures_of, preprocessing_of_images
from tfviz.runs.schema import MAX_IMAGES, MAX_SIDE_PX
from tfviz.snapshots.generators import preserve_global_generators
from tfviz.snapshots.image_choice import ImageChoice
from tfviz.snapshots.image_source import batches_of, count_of, first_rows, is_dataset, rows_of


@dataclass(frozen=True)
class FixedImages:
    """The selected images and the pictures to draw maps over.

    Attributes:
        inputs: arrays nested like the model's inputs.
        canvas: the pictures to draw maps over.
        shown_input: the index of the drawn input among the flattened inputs.
        given: the number of images that the user passed, if it can be determined without reading
            them all. Otherwise, the number selected.
        numbers: the indices of the selected images.
        labels: the label of each image in the dataset, or None.
        positions: the images' positions in the data set if the run reselects its images, or None.
        undrawn: the images to draw once the model is known, or None if they are drawn already.
            The pictures are black until the images are drawn.
    """

    inputs: Any
    canvas: Canvas
    shown_input: int
    given: int
    numbers: np.ndarray
    labels: np.ndarray | None
    positions: list[int] | None = None
    undrawn: Arrays | None = None

    @property
    def pictures(self) -> list[Picture]:
        """The pictures to draw maps over, as uint8 RGB arrays."""
        return self.canvas.pictures

    def select(self, rows: Any) -> Any:
        """Select the rows for the selected images from an array with one row per given image."""
        if (self.numbers == np.arange(len(self))).all():
            return rows[: len(self)]
        return np.asarray(rows)[self.numbers]

    def drawn_for(self, models: Iterable[keras.Model]) -> FixedImages:
        """Return a copy whose images are drawn after undoing the models' preprocessing."""
        if self.undrawn is None:
            return self
        pictures = pictures_of(self.undrawn, preprocessing_of_images(self.undrawn, models))
        return replace(self, canvas=Canvas(pictures[: len(self)]), undrawn=None)

    def __len__(self) -> int:
        return len(self.pictures)


def fixed_images(
    images: Any,
    most: int,
    pictures: Any = None,
    *,
    choose: str = "first",
    preprocessing: Preprocessing | str | None = None,
    models: Iterable[keras.Model] | None = (),
    kind: str | None = None,
) -> FixedImages:
    """Select at most `most` images: the first ones, or evenly spaced ones.

    Args:
        images: an array of shape (N, H, W, C), arrays nested like the model's inputs, or a
            tf.data.Dataset or PyDataset (batched or not) whose elements are images or tuples that
            start with images. If `images_from` chose the images, all of them are selected.
        most: the maximum number of images to select.
        pictures: the images to draw maps over, as an array of shape (N, H, W, 3) or (N, H, W, 1) or
            as a list. None means `images`.
        choose: "first" or, for arrays only, "spread".
        preprocessing: how the images were preprocessed. This is undone before drawing them. None
            means the preprocessing that is known for `models`.
        models: the models that the images were preprocessed for, or None if the caller calls
            `drawn_for` later.
        kind: "image", "signal" for shape (N, T, C), or "volume" or "video" for shape
            (N, D, H, W, C). If None, images and volumes are distinguished by their number of axes,
            and arrays of shape (N, D, H, W, 3) are videos.

    Returns:
        The selected images.

    Raises:
        ImageError: there are no images, a picture is missing, or the images exceed a run's limits.
        OptionError: `most`, `choose` or `kind` is invalid.
    """
    if isinstance(images, ImageChoice):
        chosen = fixed_images(images.images, len(images), pictures, preprocessing=preprocessing, models=models, kind=kind)
        return replace(chosen, labels=images.labels, positions=images.numbers.tolist() if images.is_rechosen else None)
    if kind not in (None, *KINDS):
        raise OptionError(f"Unknown data kind {kind!r}. {near_matches(str(kind), KINDS)}")
    if not isinstance(most, (int, np.integer)) or isinstance(most, bool) or most < 1:
        raise OptionError(f"`max_images` must be a positive integer. Received: {most!r}.")
    rank = RANKS[kind] if kind else None
    given = count_of(images)
    numbers = np.arange(int(most)) if choose == "first" else _spread(choose, given, int(most))
    if choose != "first":
        images = rows_of(images, numbers)
        pictures = pictures if pictures is None or len(pictures) != given else rows_of(pictures, numbers)
    with preserve_global_generators():
        inputs, labels = first_rows(batches_of(images, rank or 4), min(int(most), MAX_IMAGES + 1), rank)
    flat = tree.flatten(inputs)
    if len(flat[0]) > MAX_IMAGES:
        raise ImageError(f"A run can have at most {MAX_IMAGES} images. Pass fewer images, or max_images={MAX_IMAGES}.")
    count, ranks = len(flat[0]), [array.ndim for array in flat]
    rank = rank or next(rank for rank in (4, 5) if rank in ranks)
    shown = ranks.index(rank)
    if pictures is None and rank != 4:
        canvas = canvas_of(flat[shown], kind or kind_of_batch(flat[shown].shape) or "volume", preprocessing)
        return FixedImages(inputs, canvas, shown, count if given is None else given, numbers[:count], labels)
    if pictures is None and (channels := flat[shown].shape[3]) not in (1, 3):
        raise ImageError(
            f"Maps are drawn over images with 1 or 3 channels. Received: shape {flat[shown].shape}. Pass pictures to draw on "
            f"as well, such as pictures=images[..., :{3 if channels > 3 else 1}]."
        )
    undrawn = None
    if pictures is None:
        pictures = _loaded(images, shown, flat[shown])
        if preprocessing is None and models is not None:
            preprocessing = preprocessing_of_images(pictures, models)
        elif preprocessing is None and not has_known_colors(pictures):
            undrawn, pictures = pictures, [np.asarray(image) * 0 for image in pictures]
    drawn = pictures_of(pictures, preprocessing)
    if len(drawn) < count:
        raise ImageError(f"`pictures` must have one picture for each of the {count} images. Received: {len(drawn)} pictures.")
    for number, picture in enumerate(drawn[:count]):
        if max(picture.shape[:2]) > MAX_SIDE_PX:
            height, width = picture.shape[:2]
            raise ImageError(
                f"Image {number} has {width} x {height} pixels, but each side may have at most {MAX_SIDE_PX}. Pass smaller "
                "images, or smaller pictures to draw on (pictures=...)."
            )
    given = count if given is None else given
    return FixedImages(inputs, Canvas(drawn[:count]), shown, given, numbers[:count], labels, undrawn=undrawn)


def _loaded(images: Any, shown: int, taken: np.ndarray) -> Any:
    """Return the images to draw, with their RGB pictures if `load_images` returned them."""
    if isinstance(images, (list, tuple)) and all(np.ndim(image) == 3 for image in images):
        return images[: len(taken)]
    candidates = [] if is_dataset(images) else tree.flatten(images)
    if candidates and isinstance(candidates[shown], LoadedImages):
        return candidates[shown][: len(taken)]
    return taken


def _spread(choose: str, given: int | None, most: int) -> np.ndarray:
    """Return the indices of at most `most` evenly spaced images."""
    if choose != "spread":
        raise OptionError(f"`choose` must be 'first' or 'spread'. Received: {choose!r}.")
    if given is None:
        raise OptionError("choose='spread' needs all images in an array. Received: a dataset. Shuffle the dataset instead.")
    return np.unique(np.linspace(0, max(given - 1, 0), min(most, given)).round().astype(int))
