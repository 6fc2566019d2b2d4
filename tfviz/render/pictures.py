"""Convert the caller's arrays to uint8 RGB images and finite float64 maps.

Arrays from `load_images` also hold the original RGB images, which are drawn instead. Other images
are drawn unchanged if they are uint8, or floats in 0–1 or 0–255. Images with negative values or
values above 255 were preprocessed. If the caller passes the preprocessing, it is undone. Otherwise,
the colors are unknown (the channel order may be BGR), a warning is issued, and each image's value
range is stretched to 0–255.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt

from tfviz.errors import ImageError, warn
from tfviz.images.image_array import LoadedImages
from tfviz.images.preprocessing import Preprocessing, named
from tfviz.models import known_preprocessing

if TYPE_CHECKING:
    import keras

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB
# one array, or a list of arrays of different sizes
Arrays: TypeAlias = "npt.ArrayLike | Sequence[npt.ArrayLike]"
Map = npt.NDArray[np.float64]  # (h, w) or (h, w, C), finite, unscaled

MAX_DRAWN_SIDE_PX = 1600  # Larger image files are downscaled before maps are drawn on them.


def is_single(images: Arrays) -> bool:
    """Return whether `images` is a single image of shape (H, W, C), not a batch or a list."""
    return not isinstance(images, list | tuple) and np.ndim(cast(npt.ArrayLike, images)) == 3


def pictures_of(images: Arrays, preprocessing: Preprocessing | str | None = None) -> list[Picture]:
    """Convert images to uint8 RGB arrays.

    Args:
        images: an array of shape (N, H, W, C) or (H, W, C), or a list of images of any sizes.
        preprocessing: as for `overlay`. It does not apply to uint8 images or to images from
            `load_images`.

    Returns:
        The RGB images, as uint8 arrays of shape (H, W, 3).

    Raises:
        ImageError: there are no images; an image has the wrong shape, a number of channels other
            than 1 or 3, or NaN values; or the preprocessing cannot have produced their values.
    """
    if isinstance(images, list | tuple):
        arrays = [_with_loaded_colors(image) for image in images]
    else:
        array = _with_loaded_colors(cast(npt.ArrayLike, images))
        if array.ndim not in (3, 4):
            raise ImageError(
                "Expected images of shape (N, height, width, channels), or one image of shape (height, width, channels). "
                f"Received: shape {array.shape}."
            )
        arrays = [array] if array.ndim == 3 else list(array)
    if not arrays:
        raise ImageError("Expected at least one image to draw. Received: none.")
    for array in arrays:
        _check_picture(array)
    if preprocessing is not None:
        arrays = [_without_preprocessing(array, preprocessing) for array in arrays]
    scale = _scale_of(arrays)
    return [_picture(array, scale) for array in arrays]


def preprocessing_of_images(images: Arrays, models: Iterable[keras.Model]) -> Preprocessing | None:
    """Return the preprocessing that was applied to the images, if it is known.

    Args:
        images: as for `pictures_of`.
        models: the models that the images may have been preprocessed for.

    Returns:
        The preprocessing of the first model whose preprocessing is known, or None if there is no
        such model or the preprocessing cannot have produced the images.
    """
    known = next((one for model in models if (one := known_preprocessing(model))), None)
    arrays = [np.asarray(one) for one in (images if isinstance(images, list | tuple) else [images])]
    return known if known and all(_is_made_by(known, array) for array in arrays) else None


def has_known_colors(images: Arrays) -> bool:
    """Return whether images are drawn unchanged: they are uint8 or come from `load_images`."""
    parts = images if isinstance(images, list | tuple) else [cast(npt.ArrayLike, images)]
    return all(_with_loaded_colors(one).dtype == np.uint8 for one in parts)


def _is_made_by(preprocessing: Preprocessing, array: npt.NDArray[Any]) -> bool:
    if array.ndim == 0 or array.size == 0 or array.shape[-1] != preprocessing.channels:
        return False
    return array.dtype == np.uint8 or _is_in_range(preprocessing.rgb(array))


def _is_in_range(pixels: npt.NDArray[np.float64]) -> bool:
    return bool(-_TOLERANCE <= pixels.min() <= pixels.max() <= 255 + _TOLERANCE)


def _with_loaded_colors(images: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the RGB images in an array from `load_images`, or any other array unchanged."""
    if isinstance(images, LoadedImages) and images.pictures is not None:
        return images.pictures
    return np.asarray(images)


def _without_preprocessing(array: npt.NDArray[Any], preprocessing: Preprocessing | str) -> npt.NDArray[Any]:
    if array.dtype == np.uint8:
        return array
    if isinstance(preprocessing, str):
        preprocessing = named(preprocessing, channels=array.shape[2])
    if preprocessing.channels != array.shape[2]:
        raise ImageError(
            f"`preprocessing` produces {preprocessing.channels} channels, but the images have {array.shape[2]}. Pass the "
            "preprocessing that was applied to the images."
        )
    pixels = preprocessing.rgb(array)
    if not _is_in_range(pixels):
        raise ImageError(
            f"Undoing `preprocessing` produces pixels from {pixels.min():.4g} to {pixels.max():.4g} instead of 0-255, so the "
            f"images (values from {array.min():.4g} to {array.max():.4g}) were not preprocessed this way. Pass the "
            "preprocessing that was applied to the images."
        )
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


_TOLERANCE = 26.0  # in pixel values, because images may have been augmented after preprocessing


def _scale_of(arrays: Sequence[npt.NDArray[Any]]) -> float | None:
    """Return the value of white in float images, 1 or 255. If it is unknown, warn and return None.

    All images in a batch share one scale, because a dark image in 0–255 may have no value above 1.
    """
    floats = [array for array in arrays if array.dtype != np.uint8]
    if not floats:
        return 255.0
    lowest = min(float(array.min()) for array in floats)
    highest = max(float(array.max()) for array in floats)
    if 0 <= lowest <= highest <= 255:
        return 1.0 if highest <= 1 else 255.0
    warn(
        f"The images have values from {lowest:.4g} to {highest:.4g}, so they were preprocessed. Their true colors are unknown, "
        "and red and blue may be swapped. Pass the array that tfviz.load_images returned, pass RGB images as uint8 or in 0-1 "
        '(to SnapshotCallback as pictures=...), or name the preprocessing: preprocessing="tf", "torch", "caffe" or a '
        "tfviz.Preprocessing."
    )
    return None


def maps_of(attribution: Arrays, *, count: int, single: bool = False) -> list[Map]:
    """Convert an attribution to a list of finite maps.

    Args:
        attribution: an array of shape (N, h, w) or (N, h, w, C), or a list with one map per image.
        count: the expected number of maps.
        single: whether the image has no batch axis. The map may then also lack a batch axis.

    Returns:
        The maps, as float64 arrays.

    Raises:
        ImageError: the number of maps is wrong, or a map has the wrong shape or is not finite.
    """
    if isinstance(attribution, list | tuple):
        arrays = [_floats(one) for one in attribution]
    else:
        array = _floats(cast(npt.ArrayLike, attribution))
        arrays = [array] if single and _is_one_map(array.shape) else list(np.atleast_1d(array))
    if len(arrays) != count:
        raise ImageError(f"Expected one map per image. Received: {len(arrays)} maps for {count} images.")
    for array in arrays:
        _check_map(array)
    return arrays


def shrunk_or_enlarged(picture: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Resize a uint8 or float32 image or map to (height, width)."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = height <= picture.shape[0] and width <= picture.shape[1]
    # Linear interpolation of a 7×7 map would show a diamond around each cell. OpenCV expects the
    # width first.
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized.reshape(height, width, *picture.shape[2:])  # OpenCV drops a one-channel axis


def _check_picture(array: npt.NDArray[Any]) -> None:
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.size == 0:
        raise ImageError(
            "Expected an image of shape (height, width, 3), or (height, width, 1) if it is gray. Received: shape "
            f"{array.shape}."
        )
    if array.dtype != np.uint8 and not np.isfinite(_floats(array)).all():
        raise ImageError("The image contains NaN or infinite values and cannot be drawn. Replace them first.")


def _picture(array: npt.NDArray[Any], white: float | None) -> Picture:
    if array.dtype != np.uint8:
        values = _floats(array)
        array = _stretched(values) if white is None else np.rint(values * (255 / white)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _stretched(values: npt.NDArray[np.float64]) -> Picture:
    # Dividing first prevents overflow when the range is computed.
    values = values / max(np.abs(values).max(), np.finfo(np.float64).tiny)
    span = values.max() - values.min()
    return np.rint((values - values.min()) / (span if span > 0 else 1.0) * 255).astype(np.uint8)


def _floats(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(values).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"Expected an array of numbers. Received: {type(values).__name__} ({error}).") from error


def _is_one_map(shape: Sequence[int]) -> bool:
    """Return whether a shape is that of a single map rather than a batch of one map."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] > 1 and shape[2] in (1, 3))


def _check_map(values: npt.NDArray[np.float64]) -> None:
    if values.ndim not in (2, 3) or values.size == 0:
        raise ImageError(
            f"Expected one map per image, of shape (height, width) or (height, width, channels). Received: shape "
            f"{values.shape}. An attribution without height and width, such as a Dense layer's, cannot be drawn over an image."
        )
    if not np.isfinite(values).all():
        raise ImageError(
            f"The attribution contains NaN or infinite values ({np.count_nonzero(~np.isfinite(values))} of {values.size}), so "
            "it cannot be drawn. Check the model's input, weights and activations for such values."
        )
