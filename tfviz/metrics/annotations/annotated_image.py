"""One image's annotations, as regions of the model's classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfviz.errors import OptionError, shown
from tfviz.metrics.regions import Box, Regions

Size = tuple[int, int]


@dataclass(frozen=True)
class AnnotatedObject:
    """One object, or several of the same class.

    Attributes:
        classes: the classes of the model that are right for it.
        boxes: its boxes [x0, y0, x1, y1]; none if it has a mask.
        mask: draws its mask, bool (height, width), for an image size; None if it has boxes.
    """

    classes: tuple[int, ...]
    boxes: Sequence[Box] = ()
    mask: Callable[[Size], np.ndarray] | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """The objects in one image.

    Attributes:
        name: the image's file name or path, as annotated.
        size: its (height, width) in pixels, as annotated; None if not stated.
        objects: its objects.
        has_extension: whether `name` ends in the extension of the image file.
    """

    name: str
    size: Size | None
    objects: list[AnnotatedObject] = field(default_factory=list)
    has_extension: bool = True

    def regions(self, size: Size, scores: np.ndarray | None = None) -> Regions:
        """Return the regions of the classes.

        Of several classes that are right for an object, the one that the model scores highest
        counts.

        Args:
            size: (height, width) of the image.
            scores: the model's scores for the image, (classes,).

        Returns:
            The regions.

        Raises:
            OptionError: the image has another size than annotated, or a box lies outside it.
        """
        if self.size not in (None, tuple(size)):
            raise OptionError(
                f"'{shown(self.name)}' is annotated as an image of {_by(self.size)} pixels, but has {_by(size)}. Annotate "
                "this image, or evaluate the one that was annotated."
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
        return next(mask for mask in masks if mask.shape != size)  # Regions explains what is wrong
    return np.logical_or.reduce(masks)


def _by(size: Size | None) -> str:
    return "unknown" if size is None else f"{size[1]}x{size[0]}"
