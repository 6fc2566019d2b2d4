"""XGrad-CAM: Grad-CAM whose weights account for most of the score.

Answers: which positions of a layer raise the score?

    relu(Σ_k w_k · A_k),  w_k = Σ_hw (A_k / Σ_hw A_k) · G_k, 0 where Σ_hw A_k = 0
                          Fu et al., 2020, "Axiom-based Grad-CAM", equation 8

The weight of a channel is its gradient averaged over the positions where the channel is active, so gradients where it is
silent do not count. Misleading where activations have both signs: Σ_hw A_k can be close to 0, and its weight then explodes.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM, spatial_axes
from tfviz.numerics import safe_divide


class XGradCAM(CAM):
    """XGrad-CAM at a layer: (N, h, w) at the layer's own resolution, 0 or more."""

    key: ClassVar[str] = "xgrad_cam"
    question: ClassVar[str] = "Which active positions of a layer raise the score?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        axes = spatial_axes(A)
        shares = safe_divide(A, tf.reduce_sum(A, axis=axes, keepdims=True))
        return tf.reduce_sum(tf.reduce_sum(shares * G, axis=axes, keepdims=True) * A, axis=-1)
