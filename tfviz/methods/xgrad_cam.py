"""XGrad-CAM: Grad-CAM with gradients weighted by activation before they are averaged.

Question: which active positions of a layer raise the score?

    relu(Σ_k w_k · A_k), w_k = Σ_hw (A_k / Σ_hw A_k) · G_k, and 0 where Σ_hw A_k = 0
        Fu et al., 2020, "Axiom-based Grad-CAM", equation 8

A channel's weight is the mean of its gradients, weighted by its activations, so gradients at
inactive positions don't count. If a channel's activations have both signs, Σ_hw A_k can be close to
0, which makes the channel's weight arbitrarily large.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM, spatial_axes
from tfviz.numerics import safe_divide


class XGradCAM(CAM):
    """XGrad-CAM at a layer: which active positions raise the score?

    The map is relu(Σ_k w_k · A_k) with w_k = Σ_hw (A_k / Σ_hw A_k) · G_k, where A_k is channel k of
    the activations A, and G = ∂S/∂A (Fu et al., 2020, "Axiom-based Grad-CAM", equation 8).

    Calling the explainer returns a nonnegative attribution of shape (N, h, w) at the layer's
    resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.XGradCAM(model, layer="block2_pool")(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "xgrad_cam"
    question: ClassVar[str] = "Which active positions of a layer raise the score?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        axes = spatial_axes(A)
        shares = safe_divide(A, tf.reduce_sum(A, axis=axes, keepdims=True))
        return tf.reduce_sum(tf.reduce_sum(shares * G, axis=axes, keepdims=True) * A, axis=-1)
