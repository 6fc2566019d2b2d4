"""Check annotated regions and crop them to the part of the image that the model receives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np

from tfviz.errors import OptionError
from tfviz.metrics.pixel_maps import Size
from tfviz.metrics.regions import Box, Regions
from tfviz.models.loading import is_preprocessing_known, preprocessing_of

# In a dict, the coordinates are pixels in the model's images.
AnyRegions: TypeAlias = "Regions | Mapping[int, Sequence[Box] | np.ndarray] | None"


def visible_regions(given: AnyRegions, number: int, model: keras.Model, size: Size, classes: int) -> Regions | None:
    """Check an image's regions and crop them to the part of the image that the model receives.

    Args:
        given: a Regions object, a dict with coordinates in pixels of the model's images, or None.
        number: the index of the image, for error messages.
        model: the model.
        size: the (height, width) of the model's images.
        classes: the number of classes.

    Returns:
        The regions, or None if there are none.

    Raises:
        OptionError: the regions are invalid, or belong to a class that the model does not have.
    """
    if given is None:
        return None
    if not isinstance(given, (Regions, Mapping)):
        raise OptionError(
            f"`boxes` must contain a Regions object, a dict or None for each image. Received: {type(given).__name__} for image "
            f"{number}. Pass Regions({{class: [[x0, y0, x1, y1]]}}, size=(height, width))."
        )
    try:
        regions = given if isinstance(given, Regions) else Regions(given, size)
    except OptionError as error:
        raise OptionError(f"The boxes of image {number} are invalid. {error}") from error
    if wrong := [index for index in regions.classes if not 0 <= index < classes]:
        raise OptionError(
            f"The boxes of image {number} contain class {wrong[0]}, but the model has {classes} classes (0 to {classes - 1}). "
            "Use the model's class numbers."
        )
    if given is regions and is_preprocessing_known(model):
        return regions.cropped(*preprocessing_of(model).crop_box(*regions.size))
    return regions
