"""Choose a run's images: balanced across classes, or those that the model gets most wrong.

chosen = tfviz.images_from(validation, n=8, worst=True)
callback = tfviz.SnapshotCallback("grad_cam", chosen, log_dir="runs/1")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import tree

from tfviz.errors import ImageError, LabelsError, OptionError, warn
from tfviz.models.labels import Labels
from tfviz.render.data_kinds import RANKS
from tfviz.snapshots.class_labels import classes_of
from tfviz.snapshots.generators import preserve_global_generators
from tfviz.snapshots.image_source import as_arrays, batches_of, first_rows, is_dataset, rows_of


@dataclass(frozen=True)
class ImageChoice:
    """Images chosen from a data set by `images_from`, with their classes.

    Attributes:
        images: an array of shape (N, H, W, C), or arrays nested like the model's inputs.
        labels: the class of each image, as integers of shape (N,).
        numbers: the position of each image in the data set, as integers of shape (N,).
        pool: the images from which the worst are chosen, or None if the choice is fixed.
    """

    images: Any
    labels: np.ndarray
    numbers: np.ndarray
    pool: ImageChoice | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_rechosen(self) -> bool:
        """Whether the callback reselects the images during training."""
        return self.pool is not None

    def rows(self, rows: np.ndarray) -> ImageChoice:
        """Return some of the images.

        Args:
            rows: indices, with shape (M,).

        Returns:
            The images at these indices.
        """
        return ImageChoice(rows_of(self.images, rows), self.labels[rows], self.numbers[rows])

    def worst(self, scores: np.ndarray) -> ImageChoice:
        """Choose the same number of images from the pool again: those with the lowest margins.

        An image's margin is the score of its class minus the highest score of another class.
        Mistakes have a negative margin. The image with the lowest margin comes first.

        Args:
            scores: the class scores of the pool, with shape (M, classes).

        Returns:
            The chosen images, or the current images if a score isn't finite or there is no pool.

        Raises:
            LabelsError: a label is not one of the model's classes.
        """
        if self.pool is None or not np.isfinite(scores).all():
            return self
        labels = self.pool.labels
        if labels.max() >= scores.shape[1]:
            raise LabelsError(
                f"The model has {scores.shape[1]} classes, but the labels contain class {labels.max()}. Pass the labels that "
                "the model is trained on."
            )
        places = np.arange(len(labels))
        others = scores.astype(np.float64)
        own = others[places, labels].copy()
        others[places, labels] = -np.inf
        order = np.argsort(own - others.max(axis=1), kind="stable")
        return replace(self.pool.rows(order[: len(self)]), pool=self.pool)


def images_from(
    dataset: Any,
    n: int = 8,
    *,
    per_class: bool | None = None,
    worst: bool = False,
    seed: int = 0,
    max_read: int = 1000,
    kind: str | None = None,
) -> ImageChoice:
    """Choose images for `SnapshotCallback`.

    The images are balanced across classes, or are those that the model currently gets most wrong.

    >>> import numpy as np
    >>> labels = np.repeat([0, 1, 2], [10, 4, 1])
    >>> chosen = tfviz.images_from((np.zeros((15, 32, 32, 3), np.float32), labels), n=6)
    >>> chosen.images.shape, chosen.labels
    ((6, 32, 32, 3), array([0, 0, 0, 1, 1, 2]))

    Args:
        dataset: images with labels: a tf.data.Dataset (batched or not) or keras.utils.PyDataset of
            (images, labels), or a tuple of arrays. The labels are class numbers or one-hot rows.
        n: the number of images.
        per_class: whether to choose about the same number of images from each class at random. If
            there are more classes than `n`, one image is chosen from each of `n` random classes.
            This is the default.
        worst: whether to choose the images that the model gets most wrong: those with the lowest
            margin, which is the score of the true class minus the highest score of another class.
            The callback reselects the images at the start and the end of training, and once per
            epoch. Each time, it runs the model on all images that it chooses from. The model must
            be a classifier with one input.
        seed: the random seed.
        max_read: the maximum number of images to read from a dataset, which may be infinite. For
            arrays, it only limits the images that `worst` chooses from.
        kind: "signal" for signals of shape (N, T, C), or "volume" or "video" for volumes or videos
            of shape (N, D, H, W, C).

    Returns:
        The images with their labels. Pass them to `SnapshotCallback` as `images`, and omit `truth`.

    Raises:
        OptionError: an option is invalid.
        ImageError: there are no images.
        LabelsError: the labels are missing, or are not one class per image.
    """
    for name, number in (("n", n), ("max_read", max_read)):
        if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < 1:
            raise OptionError(f"`{name}` must be a positive integer. Received: {number!r}.")
    if per_class is not None and bool(per_class) == bool(worst):
        raise OptionError(f"Set exactly one of `per_class` and `worst`. Received: per_class={per_class}, worst={worst}.")
    if kind not in (None, *RANKS):
        raise OptionError(f"`kind` must be one of {', '.join(map(repr, RANKS))}, or None. Received: {kind!r}.")
    generator = np.random.default_rng(seed)
    found = _read(dataset, max(n, max_read), RANKS.get(kind or ""))
    if not worst:
        return found.rows(_balanced(found.labels, n, generator))
    pool = found.rows(np.sort(generator.permutation(len(found))[:max_read]))
    return replace(pool.rows(_balanced(pool.labels, n, generator)), pool=pool)


def _read(dataset: Any, most: int, rank: int | None) -> ImageChoice:
    """Read a data set and return its labeled images."""
    if is_dataset(dataset):
        with preserve_global_generators():
            images, given = first_rows(batches_of(dataset, rank or 4), most, rank)
    else:
        images, given = _arrays(dataset)
    if given is not None and given.dtype.kind == "f" and given.size == len(given) and (given % 1 == 0).all():
        given = given.astype(np.int64)
    labels = None if given is None else classes_of(given, Labels())
    if labels is None:
        received = "none" if given is None else f"{given.dtype} {given.shape}"
        raise LabelsError(
            "images_from needs one label per image, as class numbers (N,) or one-hot rows (N, classes). Received: "
            f"{received}. Pass (images, labels), or a dataset of such pairs."
        )
    classes = np.array([-1 if label is None else label for label in labels])
    if is_dataset(dataset) and len(classes) >= most and len(set(classes)) == 1:
        warn(
            f"The first {most} images in the dataset all have class {classes[0]}, and no more images are read. Shuffle the "
            "dataset, or increase max_read."
        )
    known = np.flatnonzero(classes >= 0)
    if not len(known):
        raise ImageError("The dataset contains no labeled images. Pass a dataset of (image, label) pairs.")
    return ImageChoice(images, classes, np.arange(len(classes))).rows(known)


def _arrays(dataset: Any) -> tuple[Any, np.ndarray]:
    if not isinstance(dataset, (tuple, list)) or len(dataset) < 2:
        raise LabelsError(
            "images_from needs images with labels: a tf.data.Dataset, a keras.utils.PyDataset, or a tuple (images, labels). "
            f"Received: {type(dataset).__name__}."
        )
    images, labels = as_arrays(dataset[0]), np.asarray(dataset[1])
    counts = {len(array) if array.ndim else 0 for array in (*tree.flatten(images), labels)}
    if len(counts) > 1:
        raise LabelsError(f"Expected one label per image. Received: arrays with {sorted(counts)} rows.")
    return images, labels


def _balanced(labels: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return the indices of `count` images, balanced across classes and sorted by class."""
    shuffled = generator.permutation(len(labels))
    classes = generator.permutation(np.unique(labels))
    order = {label: place for place, label in enumerate(classes)}
    # Sorting the images by their rank within their class alternates between the classes.
    seen = dict.fromkeys(classes, 0)
    ranks = []
    for index in shuffled:
        label = labels[index]
        ranks.append((seen[label], order[label]))
        seen[label] += 1
    chosen = shuffled[sorted(range(len(shuffled)), key=ranks.__getitem__)[:count]]
    return chosen[np.lexsort((chosen, labels[chosen]))]
