"""Eigen-Grad-CAM: the pattern that dominates a layer's contributions to the score.

Question: which positions share the layer's main contribution to the score?

    (A ⊙ G) v, where v is the first right singular vector of A ⊙ G (not centered), with Σ v ≥ 0
        Muhammad & Yeasin, 2020, "Eigen-CAM", applied to A ⊙ G

The map is signed, because channels that raise the score and channels that lower it can share a
component. If the first two singular values are close, the map can switch between two patterns for
similar images.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM
from tfviz.methods.principal_component import first_component


class EigenGradCAM(CAM):
    """Eigen-Grad-CAM: which positions of a layer share its main contribution to the score?

    The map is the projection of A ⊙ G onto its first principal component, where A contains the
    layer's activations and G = ∂S/∂A. This applies Eigen-CAM (Muhammad & Yeasin, 2020) to A ⊙ G
    instead of A.

    Calling the explainer returns a signed attribution of shape (N, h, w) at the layer's resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.EigenGradCAM(model, layer="block2_pool")(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "eigen_grad_cam"
    question: ClassVar[str] = "Which positions share the layer's main contribution to the score?"
    style: ClassVar[str] = "signed"
    is_signed: ClassVar[bool] = True

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        return first_component(A * G)
