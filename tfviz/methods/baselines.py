"""Create baselines: uninformative images where the path to an explained image starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tfviz.errors import ImageError, OptionError, near_matches
from tfviz.graph.graph import Graph, Value
from tfviz.images.preprocessing import Preprocessing
from tfviz.images.reference_colors import black, mean_color, white
from tfviz.models import known_preprocessing
from tfviz.numeric_options import finite_array

Baseline: TypeAlias = "str | np.ndarray | tf.Tensor"
NAMES = ("black", "mean", "white", "blur")
_BLUR_SIGMA = 0.05  # as a fraction of the image height


def checked_baselines(given: Baseline | list[Baseline], model: keras.Model) -> list[Baseline]:
    """Check the baselines and return them as a list.

    Raises:
        OptionError: the list is empty, a name is unknown, or a baseline is "white" but the model's
            preprocessing is unknown.
    """
    baselines = list(given) if isinstance(given, (list, tuple)) else [given]
    if not baselines:
        raise OptionError(f"`baseline` is an empty list. Pass an array, or one of: {', '.join(NAMES)}.")
    for one in baselines:
        if isinstance(one, str) and one not in NAMES:
            raise OptionError(f"Unknown baseline {one!r}. {near_matches(one, NAMES)}")
        if isinstance(one, str) and one == "white":
            _require_preprocessing(model)
    return [one if isinstance(one, str) else finite_array("baseline", one) for one in baselines]


def baseline_for(one: Baseline, model: keras.Model, images: tf.Tensor, first: tf.Variable | None = None) -> tf.Tensor:
    """Return a baseline for each image.

    Args:
        one: a name, or an array with one baseline for all images or one per image.
        model: the model. If its preprocessing is unknown, black and the mean color are 0.
        images: one model input, with shape (N, …).
        first: the index of the first image's baseline in an array with one baseline per image. None
            means 0.

    Returns:
        The baselines, broadcastable to the images.

    Raises:
        ImageError: an array's shape does not match the images.
    """
    if isinstance(one, str):
        if one == "blur":
            return blurred(images)
        return (
            tf.constant(_COLORS[one](preprocessing), images.dtype)
            if (preprocessing := known_preprocessing(model))
            else tf.zeros([], images.dtype)
        )
    array = tf.cast(one, images.dtype)
    size = tuple(images.shape[1:])
    if len(array.shape) == len(size):
        array = array[None]
    fits = len(array.shape) == len(size) + 1
    if not fits or any(n is not None and n != m for n, m in zip(size, array.shape[1:], strict=True)):
        raise ImageError(
            f"The baseline has shape {tuple(np.shape(one))}, but the images have shape {tuple(images.shape)}. Pass one "
            "baseline for all images or one per image, with the same size as the images."
        )
    return array if array.shape[0] == 1 else tf.gather(array, tf.range(tf.shape(images)[0]) + (0 if first is None else first))


_COLORS: dict[str, Callable[[Preprocessing], np.ndarray]] = {"black": black, "mean": mean_color, "white": white}


def _require_preprocessing(model: keras.Model) -> None:
    if known_preprocessing(model) is None:
        raise OptionError(
            f"The baseline 'white' depends on the preprocessing, which is unknown for the model '{model.name}'. Pass the "
            "baseline as an array, or load the model with tfviz.load_model(..., preprocessing=...)."
        )


def color_to_remove_with(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Return the color for removed pixels as a tensor of shape (channels,) or ().

    This is the mean color after preprocessing, or 0 if the preprocessing is unknown.
    """
    return baseline_for("mean", model, images)


def blurred(images: tf.Tensor) -> tf.Tensor:
    """Blur images with a Gaussian whose standard deviation is 5% of the image height."""
    height = images.shape[1]
    if len(images.shape) != 4 or height is None:
        raise ImageError(
            "The baseline 'blur' needs images of shape (N, height, width, channels) with a known size. Received: shape "
            f"{tuple(images.shape)}. Pass another baseline."
        )
    sigma = _BLUR_SIGMA * height
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    x = tf.cast(images, tf.float32)
    for axis in (1, 2):
        x = _filtered(x, weights / weights.sum(), axis)
    return tf.cast(x, images.dtype)


def _filtered(x: tf.Tensor, weights: np.ndarray, axis: int) -> tf.Tensor:
    """Filter a tensor along one axis.

    The border is mirrored, including the edge pixel (dcba | abcd).
    """
    size, reach = x.shape[axis], len(weights) // 2
    positions = np.arange(-reach, size + reach) % (2 * size)
    padded = tf.gather(x, np.minimum(positions, 2 * size - 1 - positions), axis=axis)
    taps = [weight * tf.gather(padded, np.arange(i, i + size), axis=axis) for i, weight in enumerate(weights)]
    return tf.add_n(taps)


def interpolates(value: Value) -> bool:
    """Return whether an input can be interpolated.

    Floats can be interpolated, but integers such as token IDs can't.
    """
    return value.dtype is None or tf.as_dtype(value.dtype).is_floating


def first_image(graph: Graph) -> int:
    """Return the index of the first image input, or 0 if there is none."""
    return next((i for i, value in enumerate(graph.inputs) if is_image(graph, value)), 0)


def is_image(graph: Graph, value: Value) -> bool:
    """Return whether an input is a float tensor with spatial axes, such as height and width."""
    return interpolates(value) and value.rank in (0, 3, 4, 5)
