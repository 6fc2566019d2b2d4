"""Read COCO annotation files with boxes, polygons or run-length-encoded masks.

An annotation's region comes from its polygons or uncompressed run lengths. If it has neither, the
region is its box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.path import Path as Outline

from tfviz.errors import OptionError, shown
from tfviz.metrics.annotations.annotated_image import AnnotatedImage, AnnotatedObject, Size
from tfviz.metrics.annotations.classes import ClassNames
from tfviz.metrics.annotations.json_files import field_of


def read(content: object, path: Path, names: ClassNames) -> list[AnnotatedImage]:
    """Convert a COCO file's content to annotated images.

    Args:
        content: the parsed JSON.
        path: the file, for error messages.
        names: the model's classes.

    Returns:
        The images, in file order.

    Raises:
        OptionError: a required field is missing or invalid.
    """
    where = f"The COCO file {shown(path)}"
    parts = {name: field_of(content, name, list, where) for name in ("images", "annotations", "categories")}
    images: dict[int, AnnotatedImage] = {}
    for one in parts["images"]:
        size = (field_of(one, "height", int, where), field_of(one, "width", int, where))
        images[field_of(one, "id", int, where)] = AnnotatedImage(field_of(one, "file_name", str, where), size)
    categories = {field_of(one, "id", int, where): field_of(one, "name", str, where) for one in parts["categories"]}
    for one in parts["annotations"]:
        image = images.get(field_of(one, "image_id", int, where))
        category = categories.get(field_of(one, "category_id", int, where))
        if image is None or category is None:
            raise OptionError(f"{where} has an annotation that refers to an unknown image or category. Received: {one!s:.120}.")
        index = names.known(category)
        if index is not None:
            image.objects.append(_object(one, index, where))
    return list(images.values())


def _object(annotation: object, index: int, where: str) -> AnnotatedObject:
    shape = annotation.get("segmentation") if isinstance(annotation, Mapping) else None
    if isinstance(shape, list) and shape:
        return AnnotatedObject((index,), mask=partial(_polygons, _corners(shape, where)))
    if isinstance(shape, Mapping) and isinstance(shape.get("counts"), list):
        return AnnotatedObject((index,), mask=partial(_run_lengths, shape["counts"]))
    box = field_of(annotation, "bbox", list, where)
    if len(box) != 4 or not all(isinstance(one, (int, float)) for one in box):
        raise OptionError(f"{where} has a box that is not of the form [x, y, width, height]. Received: {box!r:.120}.")
    x, y, width, height = box
    return AnnotatedObject((index,), [[x, y, x + width, y + height]])


def _corners(shape: Sequence[object], where: str) -> list[np.ndarray]:
    try:
        corners = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in shape]
        if all(len(one) > 2 and np.isfinite(one).all() for one in corners):
            return corners
        reason = None
    except (ValueError, TypeError) as error:
        reason = error
    raise OptionError(
        f"{where} has a polygon that is not of the form [x, y, x, y, x, y, …]. Received: {shape!s:.120}."
    ) from reason


def _polygons(polygons: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """Return a mask of the pixels whose centers lie inside any of the polygons."""
    mask = np.zeros(size, bool)
    for corners in polygons:
        left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
        right, bottom = np.minimum(np.ceil(corners.max(axis=0)), size[::-1]).astype(int)
        x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        inside = Outline(corners).contains_points(np.stack([x.ravel(), y.ravel()], axis=1))
        mask[top : top + x.shape[0], left : left + x.shape[1]] |= inside.reshape(x.shape)
    return mask


def _run_lengths(counts: Sequence[int], size: Size) -> np.ndarray:
    """Decode a mask from the lengths of alternating runs of 0s and 1s in column-major order."""
    lengths = np.asarray(counts, np.int64)
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, np.maximum(lengths, 0))
    # If the total length is wrong, return a mask of the wrong size, which `Regions` rejects.
    return flat.reshape(size[::-1]).T if flat.size == size[0] * size[1] else flat[None]
