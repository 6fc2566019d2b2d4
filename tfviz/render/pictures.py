"""What callers hand over, made into what is drawn: uint8 RGB pictures and finite float64 maps.

Images that `load_images` returned carry their RGB pictures, and those are drawn. Other images are drawn as they are if they
are uint8, or floats in 0–1 or 0–255. Images with negative values, or values above 255, were preprocessed. If the caller
names the preprocessing, it is undone. Otherwise nobody can tell the colors from the numbers (they may be BGR): the images
are stretched to their own range and drawn with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt

from tfviz.errors import ImageError, warn
from tfviz.images.image_array import LoadedImages
from tfviz.images.preprocessing import Preprocessing, named

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB
Arrays: TypeAlias = "npt.ArrayLike | Sequence[npt.ArrayLike]"  # one array, or a list of arrays of different sizes
Map = npt.NDArray[np.float64]  # (h, w) or (h, w, C), finite, as the method returned it

MAX_DRAWN_SIDE_PX = 1600  # larger pictures from files are shrunk before maps are drawn on them


def is_single(images: Arrays) -> bool:
    """Whether `images` is one picture (H, W, C) and not a batch or a list of pictures."""
    return not isinstance(images, list | tuple) and np.ndim(cast(npt.ArrayLike, images)) == 3


def pictures_of(images: Arrays, preprocessing: Preprocessing | str | None = None) -> list[Picture]:
    """`images`, (N, H, W, C) or (H, W, C) or a list of (H, W, C) of any sizes, as uint8 RGB pictures.

    preprocessing: what `overlay` takes. It has no effect on uint8 images and on those that `load_images` returned.
    Raises ImageError for another shape, another number of channels than 1 or 3, NaN, no image at all, or values that the
    preprocessing cannot give.
    """
    if isinstance(images, list | tuple):
        arrays = [_known(image) for image in images]
    else:
        array = _known(cast(npt.ArrayLike, images))
        if array.ndim not in (3, 4):
            raise ImageError(
                f"Expected images of shape (N, height, width, channels) or one of (height, width, channels), "
                f"got shape {array.shape}."
            )
        arrays = [array] if array.ndim == 3 else list(array)
    if not arrays:
        raise ImageError("Expected at least one picture to draw, got none.")
    for array in arrays:
        _check_picture(array)
    if preprocessing is not None:
        arrays = [_undone(array, preprocessing) for array in arrays]
    scale = _scale_of(arrays)
    return [_picture(array, scale) for array in arrays]


def _known(images: npt.ArrayLike) -> npt.NDArray[Any]:
    """The RGB pictures of images that `load_images` returned; other images as they are."""
    if isinstance(images, LoadedImages) and images.pictures is not None:
        return images.pictures
    return np.asarray(images)


def _undone(array: npt.NDArray[Any], preprocessing: Preprocessing | str) -> npt.NDArray[Any]:
    if array.dtype == np.uint8:
        return array
    if isinstance(preprocessing, str):
        preprocessing = named(preprocessing, channels=array.shape[2])
    if preprocessing.channels != array.shape[2]:
        raise ImageError(
            f"preprocessing: it gives {preprocessing.channels} channels, but the images have {array.shape[2]}. Pass the "
            "preprocessing that the images went through."
        )
    pixels = preprocessing.rgb(array)
    if not -_TOLERANCE <= pixels.min() <= pixels.max() <= 255 + _TOLERANCE:
        raise ImageError(
            f"preprocessing: undone, it gives pixels from {pixels.min():.4g} to {pixels.max():.4g} instead of 0-255, so the "
            f"images, with values from {array.min():.4g} to {array.max():.4g}, were not preprocessed this way. Pass the "
            "preprocessing that the images went through."
        )
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


_TOLERANCE = 26.0  # of 255, for images that were augmented after preprocessing


def _scale_of(arrays: Sequence[npt.NDArray[Any]]) -> float | None:
    """What white is in float images, 1 or 255; None, with a warning, if their colors are not known.

    All images of a batch share the scale: a black one in 0–255 may hold no value above 1.
    """
    floats = [array for array in arrays if array.dtype != np.uint8]
    if not floats:
        return 255.0
    lowest = min(float(array.min()) for array in floats)
    highest = max(float(array.max()) for array in floats)
    if 0 <= lowest <= highest <= 255:
        return 1.0 if highest <= 1 else 255.0
    warn(
        f"The images hold values from {lowest:.4g} to {highest:.4g}: they were preprocessed, and their true colors are not "
        "known (red and blue may be exchanged). Pass the RGB images themselves, uint8 or in 0-1, to draw on (for "
        "SnapshotCallback: pictures=...), or the array that tfviz.load_images returned, which carries them, or name how they "
        'were preprocessed: preprocessing="tf", "torch", "caffe" or a tfviz.Preprocessing.'
    )
    return None


def maps_of(attribution: Arrays, *, count: int, single: bool = False) -> list[Map]:
    """`attribution`, (N, h, w) or (N, h, w, C) or a list of (h, w[, C]), as `count` finite maps.

    `single`: the picture came without a batch axis, so that the map may come without one as well.
    Raises ImageError for another shape or count, and for NaN or infinity.
    """
    if isinstance(attribution, list | tuple):
        arrays = [_floats(one) for one in attribution]
    else:
        array = _floats(cast(npt.ArrayLike, attribution))
        arrays = [array] if single and _is_one_map(array.shape) else list(np.atleast_1d(array))
    if len(arrays) != count:
        raise ImageError(f"Expected one map for each picture, got {len(arrays)} maps for {count} pictures.")
    for array in arrays:
        _check_map(array)
    return arrays


def shrunk_or_enlarged(picture: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """A picture or a map, (h, w[, C]) uint8 or float32, at (height, width)."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = height <= picture.shape[0] and width <= picture.shape[1]
    # Cubic, since a 7×7 map enlarged linearly shows a diamond around every cell. OpenCV takes width first.
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized.reshape(height, width, *picture.shape[2:])  # OpenCV drops a channel axis of one


def _check_picture(array: npt.NDArray[Any]) -> None:
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.size == 0:
        raise ImageError(
            f"Expected an image of shape (height, width, 3), or (height, width, 1) for a gray one, got shape {array.shape}."
        )
    if array.dtype != np.uint8 and not np.isfinite(_floats(array)).all():
        raise ImageError("The picture holds NaN or infinite values: it cannot be drawn.")


def _picture(array: npt.NDArray[Any], white: float | None) -> Picture:
    if array.dtype != np.uint8:
        values = _floats(array)
        array = _stretched(values) if white is None else np.rint(values * (255 / white)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _stretched(values: npt.NDArray[np.float64]) -> Picture:
    values = values / max(np.abs(values).max(), np.finfo(np.float64).tiny)  # first, so the range below cannot overflow
    span = values.max() - values.min()
    return np.rint((values - values.min()) / (span if span > 0 else 1.0) * 255).astype(np.uint8)


def _floats(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(values).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"Expected an array of numbers, got {type(values).__name__}: {error}") from error


def _is_one_map(shape: Sequence[int]) -> bool:
    """Whether this is (h, w) or (h, w, C), and not the (1, h, w) that a method returns for a batch of one."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] > 1 and shape[2] in (1, 3))


def _check_map(values: npt.NDArray[np.float64]) -> None:
    if values.ndim not in (2, 3) or values.size == 0:
        raise ImageError(
            f"Expected a map of shape (height, width) or (height, width, channels) for each picture, got shape "
            f"{values.shape}. An attribution without height and width, as at a Dense layer, cannot be drawn over one."
        )
    if not np.isfinite(values).all():
        raise ImageError(
            f"The attribution holds {np.count_nonzero(~np.isfinite(values))} NaN or infinite values of {values.size}: "
            "it cannot be drawn. Look for them in the model's input, weights and activations."
        )
