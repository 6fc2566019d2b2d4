"""Grad-CAM: which parts of a layer speak for the class.

Answers: where is what the network takes for the class?

    relu(Σ_k mean_hw(G)_k · A_k),  G = ∂S/∂A       Selvaraju et al., 2017, "Grad-CAM", equations 1 and 2

A channel counts by its mean gradient, so that a channel which helps here and hurts there is averaged away: that is how it
misleads on layers far from the output, and where a class appears several times (HiResCAM and Layer-CAM do not average).
One forward pass, and one backward pass through the steps above the layer only.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM, spatial_axes


class GradCAM(CAM):
    """Grad-CAM at a layer: (N, h, w) at the layer's own resolution, 0 or more."""

    key: ClassVar[str] = "grad_cam"
    question: ClassVar[str] = "Where is what the network takes for the class?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        weights = tf.reduce_mean(G, axis=spatial_axes(G), keepdims=True)  # (N, 1, 1, K)
        return tf.reduce_sum(weights * A, axis=-1)
