"""A target for embedding models: the similarity to a reference embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfviz.errors import TargetError
from tfviz.nesting import Nested
from tfviz.target_functions.array_target import Array, ArrayTarget, Shapes, floats, require_one_output


@dataclass(frozen=True, eq=False)
class Similarity(ArrayTarget):
    """The cosine similarity between the output and a reference embedding.

    This target is for models that output an embedding of shape (N, D), normalized or not. With this
    target, a map shows what makes an image similar to another image. The score is the cosine y · r
    / (|y| |r|), which is between −1 and 1, or 0 if y = 0. For a siamese network, explain the branch
    that computes the embedding.

    Args:
        reference: one reference embedding for all images, with shape (D,), or one per image, with
            shape (N, D).

    Raises:
        TargetError: the reference has the wrong shape, is zero, or is not finite.

    Example:

        >>> images = np.random.default_rng(0).random((3, 8, 8, 1), "float32")
        >>> parts = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
        >>> embed = keras.Sequential(parts)
        >>> target = tfviz.Similarity(embed(images[:1])[0])
        >>> tfviz.Saliency(embed)(images[1:], target).shape
        TensorShape([2, 8, 8, 1])
    """

    reference: Array

    array_fields: ClassVar[tuple[str, ...]] = ("reference",)

    def __post_init__(self) -> None:
        reference = floats(self.reference, "a reference embedding of shape (D,), or (N, D) for one per image", (1, 2))
        if isinstance(reference, np.ndarray) and not np.abs(reference).max(axis=1).min() > 0:
            raise TargetError("The reference embedding is zero, so cosine similarity is undefined. Pass another reference.")
        object.__setattr__(self, "reference", reference)

    def __call__(self, outputs: Nested[tf.Tensor]) -> tf.Tensor:
        """Compute the cosine similarity of each output to its reference.

        Args:
            outputs: the embeddings, with shape (N, D).

        Returns:
            The scores, with shape (N,).
        """
        y, r = (tf.math.l2_normalize(_scaled(tf.cast(x, tf.float32)), axis=-1) for x in (outputs, self.reference))
        return tf.reduce_sum(y * r, axis=-1)

    def require_fit(self, outputs: Shapes) -> None:
        """Check that the output is an embedding of the same length as the reference.

        Args:
            outputs: the output shapes, or () for an unknown shape.

        Raises:
            TargetError: the model has several outputs, or its output has another shape.
        """
        length = int(self.reference.shape[1])
        require_one_output(self, outputs)
        if isinstance(outputs, tuple) and outputs and (len(outputs) != 2 or outputs[1] not in (None, length)):
            raise TargetError(
                f"Similarity needs an output of shape (N, {length}), like the reference. The model's output is {outputs}. "
                "Compute the reference with the same model."
            )


def _scaled(x: tf.Tensor) -> tf.Tensor:
    """Divide each row by its largest absolute value, so that squares don't over- or underflow."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(x), axis=-1, keepdims=True))
    return tf.math.divide_no_nan(x, largest)
