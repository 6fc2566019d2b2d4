"""A target for autoencoders: the reconstruction error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from tfviz.errors import TargetError
from tfviz.nesting import Nested
from tfviz.target_functions.array_target import Array, ArrayTarget, Shapes, floats, require_one_output


@dataclass(frozen=True, eq=False)
class ReconstructionError(ArrayTarget):
    """The negative mean squared error between the output and the original images.

    With this target for autoencoders, a map shows which pixels help to reconstruct the image. An
    image's score is −mean((y − original)²). A higher score means a better reconstruction, so pixels
    with positive attributions improve it. The original is treated as a constant, so attributions
    include only the effect of the input through the network.

    Args:
        original: the images to reconstruct, with the same shape as the output, (N, …), or with
            shape (1, …) to use one original for all images. For a plain autoencoder, pass the input
            images.

    Raises:
        TargetError: the original has the wrong shape, or is not finite.

    Example:

        >>> images = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
        >>> coder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1)])
        >>> tfviz.Saliency(coder)(images, tfviz.ReconstructionError(images)).shape
        TensorShape([2, 8, 8, 1])
    """

    original: Array

    array_fields: ClassVar[tuple[str, ...]] = ("original",)

    def __post_init__(self) -> None:
        expected = "the originals in the output's shape: (N, …), or (1, …) for all images"
        object.__setattr__(self, "original", floats(self.original, expected, ranks=()))

    def __call__(self, outputs: Nested[tf.Tensor]) -> tf.Tensor:
        """Compute the negative mean squared error for each image.

        Args:
            outputs: the reconstructions, with shape (N, …).

        Returns:
            The scores, with shape (N,).
        """
        difference = tf.cast(outputs, tf.float32) - tf.cast(self.original, tf.float32)
        return -tf.reduce_mean(tf.square(difference), axis=list(range(1, len(difference.shape))))

    def require_fit(self, outputs: Shapes) -> None:
        """Check that the output has the same shape as the originals.

        Args:
            outputs: the output shapes, or () for an unknown shape.

        Raises:
            TargetError: the model has several outputs, or its output has another shape.
        """
        require_one_output(self, outputs)
        size: tuple[int, ...] = tuple(self.original.shape[1:])
        fits = len(outputs) == len(size) + 1 and all(n in (None, m) for n, m in zip(outputs[1:], size, strict=True))
        if outputs and not fits:
            raise TargetError(
                f"ReconstructionError needs the originals in the output's shape {outputs}, one per image. Received: shape "
                f"{tuple(self.original.shape)}."
            )
