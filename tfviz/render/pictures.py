"""What callers hand over, made into what is drawn: uint8 RGB pictures and finite float64 maps.

Images that `load_images` returned carry their RGB pictures, and those are drawn. Any other image may be uint8 (taken as
it is) or float. Floats within [0, 1] are taken as they are; other floats are stretched from their own smallest to their own
largest value, for display only. Negative values, or values above 255, were preprocessed in a way that nobody can tell
from the numbers, BGR among them: they are drawn with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tfviz.errors import ImageError, warn
from tfviz.images.image_array import LoadedImages

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB
Map = npt.NDArray[np.float64]  # (h, w) or (h, w, C), finite, as the method returned it

MAX_DRAWN_SIDE_PX = 1600  # larger pictures from files are shrunk before maps are drawn on them


def is_single(images: Any) -> bool:
    """Whether `images` is one picture (H, W, C) and not a batch or a list of pictures."""
    return not isinstance(images, list | tuple) and np.ndim(images) == 3


def pictures_of(images: Any) -> list[Picture]:
    """`images`, (N, H, W, C) or (H, W, C) or a list of (H, W, C) of any sizes, as uint8 RGB pictures.

    Raises ImageError for another shape, another number of channels than 1 or 3, NaN, or no picture at all.
    """
    if isinstance(images, list | tuple):
        arrays = [_known(image) for image in images]
    else:
        array = _known(images)
        if array.ndim not in (3, 4):
            raise ImageError(
                f"Expected pictures of shape (N, height, width, channels) or one of (height, width, channels), "
                f"got shape {array.shape}."
            )
        arrays = [array] if array.ndim == 3 else list(array)
    if not arrays:
        raise ImageError("Expected at least one picture to draw, got none.")
    pictures = [_picture(array) for array in arrays]
    _warn_of_unknown_colors(arrays)
    return pictures


def _known(images: Any) -> npt.NDArray[Any]:
    """The RGB pictures of images that `load_images` returned; other images as they are."""
    if isinstance(images, LoadedImages) and images.pictures is not None:
        return images.pictures
    return np.asarray(images)


def _warn_of_unknown_colors(arrays: Sequence[npt.NDArray[Any]]) -> None:
    lowest = min(float(array.min()) for array in arrays)
    highest = max(float(array.max()) for array in arrays)
    if lowest < 0 or highest > 255:
        warn(
            f"The images hold values from {lowest:.4g} to {highest:.4g}: they were preprocessed, and their true colors are not "
            "known (red and blue may be exchanged). Pass the RGB images themselves, uint8 or in 0-1, to draw on (for "
            "SnapshotCallback: pictures=...), or the array that tfviz.load_images returned, which carries them."
        )


def maps_of(attribution: Any, *, count: int, single: bool = False) -> list[Map]:
    """`attribution`, (N, h, w) or (N, h, w, C) or a list of (h, w[, C]), as `count` finite maps.

    `single`: the picture came without a batch axis, so that the map may come without one as well.
    Raises ImageError for another shape or count, and for NaN or infinity.
    """
    if isinstance(attribution, list | tuple):
        arrays = [_floats(one) for one in attribution]
    else:
        array = _floats(attribution)
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


def _picture(array: npt.NDArray[Any]) -> Picture:
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.size == 0:
        raise ImageError(
            f"Expected a picture of shape (height, width, 3), or (height, width, 1) for a gray one, got shape {array.shape}."
        )
    if array.dtype != np.uint8:
        array = _stretched(_floats(array))
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _stretched(values: npt.NDArray[np.float64]) -> Picture:
    if not np.isfinite(values).all():
        raise ImageError("The picture holds NaN or infinite values: it cannot be drawn.")
    if values.min() < 0 or values.max() > 1:
        values = values / np.abs(values).max()  # first, so that the range below cannot overflow
        span = values.max() - values.min()
        values = (values - values.min()) / (span if span > 0 else 1.0)
    return np.rint(values * 255).astype(np.uint8)


def _floats(values: Any) -> npt.NDArray[np.float64]:
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
