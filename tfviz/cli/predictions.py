"""What a model says about pictures: one compiled forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfviz.errors import ImageError, UnsupportedModelError
from tfviz.graph.logits import ends_in_sigmoid
from tfviz.reading.read_model import read_model
from tfviz.weights import first_line


class Predictor:
    """The model's outputs as one score for each class.

    `classes` is None where the model has no single output (N, classes). One sigmoid unit counts as two classes, as
    targets do: 0 with 1 − p, and 1 with p.
    """

    def __init__(self, model: Any) -> None:
        shapes = [tuple(tensor.shape) for tensor in model.outputs]
        is_classifier = len(shapes) == 1 and len(shapes[0]) == 2
        self.is_two_sided = shapes == [(None, 1)] and _ends_in_sigmoid(model)
        self.classes: int | None = (2 if self.is_two_sided else shapes[0][1]) if is_classifier else None
        self._forward = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)],
            autograph=False,
        )

    def __call__(self, images: np.ndarray) -> np.ndarray | None:
        """Scores (N, classes), float32, for preprocessed images (N, H, W, C); None where there are no classes.

        Raises ImageError for pictures of a size that the model cannot take.
        """
        if self.classes is None:
            return None
        try:
            outputs = tf.nest.flatten(self._forward(images))[0]
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            size = "x".join(map(str, images.shape[1:3]))
            raise ImageError(f"The model cannot take a picture of {size} pixels ({first_line(error)}).") from error
        scores = np.asarray(outputs, np.float32)
        return np.concatenate([1 - scores, scores], axis=1) if self.is_two_sided else scores


def _ends_in_sigmoid(model: Any) -> bool:
    try:
        return ends_in_sigmoid(read_model(model).graph)
    except UnsupportedModelError:
        return False
