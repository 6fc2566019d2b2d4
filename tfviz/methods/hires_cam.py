"""HiResCAM: class activation maps that add up to the score.

Question: which positions of a layer raise the score?

    relu(Σ_k G_k · A_k)
        Draelos & Carin, 2020, "Use HiResCAM instead of Grad-CAM", equation 3

If the model above the layer is linear, the map before the formula's ReLU sums to the score, up to
the bias. With a nonlinear head, the map is a first-order approximation and can be patchy. Directly
before a LayerNormalization, the map contains only rounding errors: scaling a position's activations
does not change the score, so Σ_k G_k · A_k is 0. Choose the normalization layer instead.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM


class HiResCAM(CAM):
    """HiResCAM at a layer: which positions raise the score?

    The map is relu(Σ_k G_k · A_k), where A_k is channel k of the activations A, and G = ∂S/∂A
    (Draelos & Carin, 2020, "Use HiResCAM instead of Grad-CAM", equation 3).

    Calling the explainer returns a nonnegative attribution of shape (N, h, w) at the layer's
    resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> explainer = tfviz.HiResCAM(model, layer="block2_pool")
        >>> explainer(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "hires_cam"
    question: ClassVar[str] = "Which positions of a layer raise the score?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(G * A, axis=-1)
