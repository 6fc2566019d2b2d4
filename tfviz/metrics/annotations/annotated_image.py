"""Convert the annotations of an image to regions for the model's classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfviz.errors import OptionError, shown
from tfviz.metrics.regions import Box, Regions

Size = tuple[int, int]


@dataclass(frozen=True)
class AnnotatedObject:
    """One annotated object, or several objects of the same class.

    Attributes:
        classes: the model classes that are correct for the object.
        boxes: the boxes [x0, y0, x1, y1]; empty if the object has a mask.
        mask: a function that takes an image size and returns a bool mask of shape (height, width);
            None if the object has boxes.
    """

    classes: tuple[int, ...]
    boxes: Sequence[Box] = ()
    mask: Callable[[Size], np.ndarray] | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """The annotated objects in one image.

    Attributes:
        name: the image's file name or path in the annotations.
        size: the annotated (height, width) in pixels; None if the annotations omit it.
        objects: the objects in the image.
        has_extension: whether `name` includes the image file's extension.
    """

    name: str
    size: Size | None
    objects: list[AnnotatedObject] = field(default_factory=list)
    has_extension: bool = True

    def regions(self, size: Size, scores: np.ndarray | None = None) -> Regions:
        """Convert the annotated objects to regions.

        If several classes are correct for an object, the one with the highest score is used.

        Args:
            size: the image's (height, width).
            scores: the model's scores for the image, with shape (classes,). If None, the first
                class is used.

        Returns:
            The regions.

        Raises:
            OptionError: the image size differs from the annotated size, or a box lies outside the
                image.
        """
        if self.size not in (None, tuple(size)):
            raise OptionError(
                f"In the annotations, '{shown(self.name)}' has {_by(self.size)} pixels, but the image has {_by(size)}. Correct "
                "the annotations, or evaluate the image file that was annotated."
            )
        found: dict[int, list[AnnotatedObject]] = {}
        for one in self.objects:
            best = one.classes[0] if scores is None else max(one.classes, key=lambda index: scores[index])
            found.setdefault(best, []).append(one)
        try:
            return Regions({index: _union(objects, size) for index, objects in found.items()}, size)
        except OptionError as error:
            raise OptionError(f"'{shown(self.name)}': {error}") from error


def _union(objects: Sequence[AnnotatedObject], size: Size) -> list[Box] | np.ndarray:
    boxes = [box for one in objects for box in one.boxes]
    masks = [one.mask(size) for one in objects if one.mask is not None]
    if not masks:
        return boxes
    if boxes:
        masks.append(Regions({0: boxes}, size).mask(0))
    if any(mask.shape != size for mask in masks):
        return next(mask for mask in masks if mask.shape != size)  # `Regions` reports the error
    return np.logical_or.reduce(masks)


def _by(size: Size | None) -> str:
    return "unknown" if size is None else f"{size[1]}x{size[0]}"
