"""Occlusion: how much the score drops when a window of the image is covered.

Question: which regions does the score need?

    the mean, over the windows that cover a pixel, of S(x) − S(x with the window covered)
        Zeiler & Fergus, 2014, "Visualizing and Understanding Convolutional Networks", section 4.2

The method needs no gradient, so it works on any model. The network was not trained on images with
covered windows, and a window's edges can themselves raise or lower the score. Occlusion misses
evidence that occurs in two places, because covering one of them changes little.
"""

from __future__ import annotations

import math
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfviz.graph.backprop import Values
from tfviz.methods.copies import as_copies
from tfviz.methods.perturbation import Context, Sums
from tfviz.methods.removal import RemovalExplainer
from tfviz.models.labels import LabelSource
from tfviz.numeric_options import positive_integer
from tfviz.numerics import safe_divide
from tfviz.seeds import FixedSeed

_WINDOWS_PER_HEIGHT = 7


class Occlusion(RemovalExplainer):
    """The drop in score when a window is covered: which regions does the score need?

    Reference: Zeiler & Fergus, 2014, "Visualizing and Understanding Convolutional Networks",
    section 4.2.

    Calling the explainer returns a signed attribution of shape (N, H, W), which is positive where
    covering the image lowers the score.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.Occlusion(model, window=32)(images, target=7).shape
        TensorShape([2, 96, 96])
    """

    key: ClassVar[str] = "occlusion"
    question: ClassVar[str] = "Which regions does the score need?"
    style: ClassVar[str] = "signed"

    def __init__(
        self,
        model: keras.Model,
        *,
        window: int | None = None,
        stride: int | None = None,
        value: float | np.ndarray | None = None,
        batch_size: int = 32,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer.

        Args:
            model: a built keras.Model with exactly one image input.
            window: the side length of the square window in pixels. None means a seventh of the
                height, rounded up.
            stride: the step between windows in pixels. None means half the window, rounded up.
            value: the value of covered pixels in the model's value range, one number or one per
                channel. None means the mean color, or 0 if the model's preprocessing is unknown.
            batch_size: the maximum number of rows to run at once in a call.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or does not have exactly one image
                input.
            OptionError: an option has an invalid value.
        """
        super().__init__(model, value=value, batch_size=batch_size, score=score, output=output, class_names=class_names)
        self._window = None if window is None else positive_integer("window", window)
        self._stride = None if stride is None else positive_integer("stride", stride)

    def copies_per_image(self, images: list[tf.Tensor]) -> int | tf.Tensor:
        return _product(self._windows(images))

    def start(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> tuple[Context, Sums]:
        size = self.image.size(images)
        return {"score": self.scores(values, fixed)}, tf.zeros([tf.shape(images[0])[0], *size])

    def add(self, images: list[tf.Tensor], context: Context, sums: Sums, numbers: tf.Tensor, fixed: FixedSeed) -> Sums:
        covered = self._covered(images, numbers)
        scores = self.scores(self.rows_with(images, 1 - covered), fixed)
        drops = context["score"][None] - as_copies(scores, fixed.copies)
        return sums + tf.tensordot(drops, covered, [[0], [0]])

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> tf.Tensor:
        counts: tf.Tensor = tf.ones([])
        for size, windows in zip(self.image.size(images), self._windows(images), strict=True):
            inside = self._inside(images, tf.range(windows), size)
            counts = counts[..., None] * tf.reduce_sum(inside, 0)
        return safe_divide(sums, counts[None])

    def _covered(self, images: list[tf.Tensor], numbers: tf.Tensor) -> tf.Tensor:
        """Return masks of shape (copies, height, width, …) that are 1 at covered pixels."""
        masks: tf.Tensor = tf.ones_like(numbers, tf.float32)
        left = _product(self._windows(images))
        for size, windows in zip(self.image.size(images), self._windows(images), strict=True):
            left //= windows
            masks = masks[..., None] * tf.reshape(
                self._inside(images, (numbers // left) % windows, size),
                [-1, *[1] * (len(masks.shape) - 1), size],
            )
        return masks

    def _inside(self, images: list[tf.Tensor], places: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
        """Return masks of shape (places, size) that are 1 inside each window along one axis."""
        window, stride = self._window_and_stride(images)
        distance = tf.range(size)[None] - stride * places[:, None]
        return tf.cast((distance >= 0) & (distance < window), tf.float32)

    def _windows(self, images: list[tf.Tensor]) -> list[int | tf.Tensor]:
        """Return the number of windows along each axis. The border may cut off the last window."""
        window, stride = self._window_and_stride(images)
        return [_most(_ceil_divide(size - window, stride), 0) + 1 for size in self.image.size(images)]

    def _window_and_stride(self, images: list[tf.Tensor]) -> tuple[int | tf.Tensor, int | tf.Tensor]:
        height = self.image.size(images)[-2:][0]  # a time series has only a length
        window = self._window or _ceil_divide(height, _WINDOWS_PER_HEIGHT)
        return window, self._stride or _ceil_divide(window, 2)


def _ceil_divide(a: int | tf.Tensor, b: int | tf.Tensor) -> int | tf.Tensor:
    return -(-a // b)


def _most(a: int | tf.Tensor, b: int) -> int | tf.Tensor:
    return max(a, b) if isinstance(a, int) else tf.maximum(a, b)


def _product(sizes: list[int | tf.Tensor]) -> int | tf.Tensor:
    return math.prod(sizes) if all(isinstance(n, int) for n in sizes) else tf.reduce_prod(tf.stack(sizes))
