"""Annotated regions: boxes or masks that show where each class is in an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfviz.errors import OptionError

Box = Sequence[float]  # [x0, y0, x1, y1]

_ROUNDING_PX = 1  # annotated boxes may extend this far beyond their image


@dataclass(frozen=True)
class Regions:
    """The annotated regions of one image, at the original image size.

    Each annotated class has one region: the union of its boxes, or a mask. A box [x0, y0, x1, y1]
    covers columns x0 to x1 − 1 and rows y0 to y1 − 1, so its width is x1 − x0. A box with
    fractional coordinates covers every pixel that it touches. Coordinates are pixels in the
    original image, before any resizing or cropping for the model. A mask is a boolean array of the
    same size as the original image. For an image without annotations, `classes` is empty.

    Args:
        classes: a dict that maps each class index to a list of boxes or to a mask of shape (height,
            width).
        size: the original image's (height, width) in pixels.

    Raises:
        OptionError: a class has no box, a box is empty or outside the image, or a mask is empty or
            differs from the image in size.

    Example:

        >>> from tfviz.metrics.regions import Regions
        >>> regions = Regions({3: [[0, 0, 2, 4], [8, 0, 10, 4]]}, size=(6, 10))
        >>> int(regions.mask(3).sum())
        16
    """

    classes: Mapping[int, Sequence[Box] | np.ndarray]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise OptionError(f"The image size must be (height, width) in pixels. Received: size={self.size!r}.")
        for index in self.classes:
            self.mask(index)

    def mask(self, index: int) -> np.ndarray:
        """Return a class's region as a mask.

        Args:
            index: the class.

        Returns:
            The mask, as a bool array of shape (height, width) at the original image size.

        Raises:
            OptionError: the class has no region in this image, or its region is invalid.
        """
        if index not in self.classes:
            known = ", ".join(map(str, self.classes)) or "none"
            raise OptionError(f"Class {index} has no region in this image. Choose a class with regions: {known}.")
        region = self.classes[index]
        if _is_mask(region):
            return _checked_mask(np.asarray(region), index, self.size)
        if len(region) == 0:
            raise OptionError(f"Class {index} has no boxes. Received: an empty list. Omit the class, or add its boxes.")
        mask = np.zeros(self.size, bool)
        for box in region:
            left, top, right, bottom = _pixels(box, index, self.size)
            mask[top:bottom, left:right] = True
        return mask

    def area(self, index: int) -> int:
        """Return a class's area in pixels. A pixel in several boxes is counted once per box.

        Args:
            index: the class.

        Returns:
            The sum of the box areas, or the mask's area.
        """
        region = self.classes[index]
        if _is_mask(region):
            return int(np.sum(region))
        boxes = (_pixels(box, index, self.size) for box in region)
        return sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)

    def cropped(self, top: int, left: int, bottom: int, right: int) -> Regions:
        """Crop the regions to a part of the image. Classes outside the crop are omitted.

        Args:
            top, left, bottom, right: the crop's edges in pixels of the original image.

        Returns:
            The regions as masks with the crop's size.
        """
        masks = {index: self.mask(index)[top:bottom, left:right] for index in self.classes}
        return Regions({index: mask for index, mask in masks.items() if mask.any()}, (bottom - top, right - left))


def _is_mask(region: Sequence[Box] | np.ndarray) -> bool:
    return isinstance(region, np.ndarray) and region.dtype == bool


def _checked_mask(mask: np.ndarray, index: int, size: tuple[int, int]) -> np.ndarray:
    if mask.shape != tuple(size):
        raise OptionError(
            f"The mask for class {index} must have the size (height, width) of the original image, {tuple(size)}. Received: "
            f"shape {mask.shape}. Resize the mask."
        )
    if not mask.any():
        raise OptionError(f"The mask for class {index} covers no pixels. Omit this class for this image.")
    return mask


def _pixels(box: Box, index: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box as integer edges (left, top, right, bottom); right and bottom are exclusive."""
    try:
        x0, y0, x1, y1 = (float(value) for value in box)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"A box for class {index} must consist of four numbers, [x0, y0, x1, y1]. Received: {box!r}."
        ) from error
    height, width = size
    is_finite = all(map(math.isfinite, (x0, y0, x1, y1)))
    if not is_finite or min(x0, y0) < -_ROUNDING_PX or x1 > width + _ROUNDING_PX or y1 > height + _ROUNDING_PX:
        raise OptionError(
            f"A box for class {index} extends beyond the {width}x{height} image. Received: {list(box)!r}. Pass "
            "boxes as [x0, y0, x1, y1] in pixels of the original image."
        )
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(width, math.ceil(x1)), min(height, math.ceil(y1))
    if x0 >= x1 or y0 >= y1 or left >= right or top >= bottom:
        raise OptionError(
            f"A box for class {index} covers no pixels. Received: {list(box)!r}. Pass boxes as [x0, y0, x1, y1] with x0 < x1 "
            "and y0 < y1, not as width and height."
        )
    return left, top, right, bottom
