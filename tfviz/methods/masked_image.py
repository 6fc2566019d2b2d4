"""Create masked copies of an image input."""

from __future__ import annotations

import tensorflow as tf

from tfviz.errors import UnsupportedModelError
from tfviz.graph.backprop import Values, inputs_of
from tfviz.graph.channels import has_channels
from tfviz.graph.graph import Graph
from tfviz.methods.baselines import is_image
from tfviz.methods.copies import as_rows
from tfviz.seeds import copied


class MaskedImage:
    """Creates copies of a model's inputs in which the single image input is masked.

    Args:
        graph: the model's graph.
        method: the method key, for the error message.

    Raises:
        UnsupportedModelError: the model does not have exactly one image input.
    """

    def __init__(self, graph: Graph, method: str) -> None:
        images = [i for i, value in enumerate(graph.inputs) if is_image(graph, value)]
        if len(images) != 1:
            raise UnsupportedModelError(
                f"{method} needs exactly one image input, but '{graph.model_name}' has {len(images)}. Use saliency or "
                "integrated_gradients, or build a model in which the other images are constant."
            )
        self._graph, self.number = graph, images[0]

    def size(self, images: list[tf.Tensor]) -> list[int | tf.Tensor]:
        """Return the image size without channels. Sizes unknown at compile time are tensors."""
        x = images[self.number]
        axes = range(1, len(x.shape) - (1 if self._has_channels(x) else 0))
        return [x.shape[i] if x.shape[i] is not None else tf.shape(x)[i] for i in axes]

    def rows(self, images: list[tf.Tensor], masks: tf.Tensor, color: tf.Tensor | float | None) -> Values:
        """Return the graph's input values for copies in which a color replaces masked pixels.

        Args:
            images: one tensor per input, each with N rows.
            masks: how much of each pixel to keep, as float32 of shape (copies, 1 or N, height,
                width, …).
            color: the value of removed pixels, one number or one per channel. None means 0.
        """
        x = images[self.number]
        masks = tf.cast(masks, x.dtype)
        if self._has_channels(x):  # TensorFlow is slow to broadcast along the last axis
            masks = tf.repeat(masks[..., None], x.shape[-1] or tf.shape(x)[-1], axis=-1)
        copies = masks.shape[0] if masks.shape[0] is not None else tf.shape(masks)[0]
        rows = [copied(one, copies) for one in images]
        if color is None:
            shown = x[None] * masks
        else:
            colors = tf.broadcast_to(tf.cast(color, x.dtype), tf.shape(x))
            shown = colors[None] + (x - colors)[None] * masks
        rows[self.number] = as_rows(shown)
        return inputs_of(self._graph, rows)

    def _has_channels(self, x: tf.Tensor) -> bool:
        value = self._graph.inputs[self.number]
        return has_channels(self._graph, value) if value.rank else len(x.shape) > 3
