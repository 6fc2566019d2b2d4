"""Eigen-Grad-CAM: the pattern that dominates a layer's contributions to the score.

Answers: which positions share the layer's main contribution to the score?

    (A ⊙ G) v,  v = first right singular vector of A ⊙ G, not centered, sign chosen so that Σ v ≥ 0
                          Muhammad & Yeasin, 2020, "Eigen-CAM", applied to A ⊙ G as pytorch-grad-cam introduced it

Signed: channels that raise the score and channels that lower it can share the component. Misleading where the first two
singular values are close, because the map then switches between two patterns for similar images.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM
from tfviz.methods.eigen_cam import first_component


class EigenGradCAM(CAM):
    """Eigen-Grad-CAM at a layer: (N, h, w) at the layer's own resolution, signed."""

    key: ClassVar[str] = "eigen_grad_cam"
    question: ClassVar[str] = "Which positions share the layer's main contribution to the score?"
    style: ClassVar[str] = "signed"
    is_signed: ClassVar[bool] = True

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        return first_component(A * G)
