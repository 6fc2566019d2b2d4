"""Grad-CAM++: Grad-CAM for images that show several instances of the class.

Question: where are all instances of the class?

    α = G² / (2 G² + (Σ_hw A) G³), 0 where the divisor is 0
    w_k = Σ_hw α · relu(G);  relu(Σ_k w_k A_k)
        Chattopadhyay et al., 2018, "Grad-CAM++", equations 10 and 19

The paper explains exp(S) instead of S. This multiplies the map by the positive factor exp(S), which
tfviz omits because it could overflow. If a channel's activations have a negative sum, α is
unbounded where the divisor is close to 0. Single positions can then dominate the channel's weight.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM, spatial_axes
from tfviz.numerics import safe_divide


class GradCAMPlusPlus(CAM):
    """Grad-CAM++ at a layer: where are all instances of the class?

    Reference: Chattopadhyay et al., 2018, "Grad-CAM++", equations 10 and 19.

    Calling the explainer returns a nonnegative attribution of shape (N, h, w) at the layer's
    resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> explainer = tfviz.GradCAMPlusPlus(model, layer="block2_pool")
        >>> explainer(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "grad_cam_plus_plus"
    question: ClassVar[str] = "Where are all instances of the class?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        axes = spatial_axes(A)
        total = tf.reduce_sum(A, axis=axes, keepdims=True)  # (N, 1, 1, K)
        # G² is canceled in α, because it underflows in float32 for small gradients. Where G is 0,
        # relu(G) is 0 too.
        weights = tf.reduce_sum(safe_divide(tf.nn.relu(G), 2 + total * G), axis=axes, keepdims=True)
        return tf.reduce_sum(weights * A, axis=-1)
