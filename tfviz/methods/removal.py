"""The base class for methods that replace parts of the image with one color."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfviz.errors import OptionError
from tfviz.graph.backprop import Values
from tfviz.graph.channels import has_channels
from tfviz.methods.baselines import color_to_remove_with
from tfviz.methods.masked_image import MaskedImage
from tfviz.methods.perturbation import SampledExplainer
from tfviz.models.labels import LabelSource
from tfviz.numeric_options import finite_array


class RemovalExplainer(SampledExplainer):
    """A method that runs copies of the image in which one color replaces masked pixels.

    Attributes:
        image: the image input.
    """

    accepts_opaque = True

    def __init__(
        self,
        model: keras.Model,
        *,
        value: float | np.ndarray | None,
        batch_size: int,
        score: str,
        output: str | int | None,
        class_names: LabelSource,
    ) -> None:
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.use_batch_size(batch_size)
        self.image = MaskedImage(self.graph, self.key)
        self._value = None if value is None else self._as_color(value)

    def _as_color(self, value: float | np.ndarray) -> np.ndarray:
        color = finite_array("value", value)
        image = self.graph.inputs[self.image.number]
        channels = image.shape[-1] if image.rank and has_channels(self.graph, image) else None
        if color.ndim > 1 or (color.ndim and channels not in (None, len(color))):
            raise OptionError(
                f"`value` must be one number, or one number per image channel. Received: shape {color.shape} for images of "
                f"shape {image.shape}."
            )
        return color

    def rows_with(self, images: list[tf.Tensor], masks: tf.Tensor) -> Values:
        """Return the inputs for copies in which masked pixels are replaced.

        Args:
            images: one tensor per input, each with N rows.
            masks: how much of each pixel to keep, as float32 of shape (copies, height, width, …).

        Returns:
            The graph's input values, one row per copy of each image.
        """
        color = color_to_remove_with(self.model, images[self.image.number]) if self._value is None else self._value
        return self.image.rows(images, masks[:, None], color)
