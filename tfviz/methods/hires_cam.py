"""HiResCAM: class activation maps that show what the score is made of.

Answers: which positions of a layer raise the score?

    relu(Σ_k G_k · A_k)                     Draelos & Carin, 2020, "Use HiResCAM instead of Grad-CAM", equation 3

Where everything above the layer is linear, the map before its ReLU sums to the score, up to the bias. Above a nonlinear
head it is first-order only, and can be patchy. Directly before a LayerNormalization it is rounding noise: scaling a pixel
changes nothing there, so that Σ_k G_k · A_k is 0. Choose the normalization itself.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM


class HiResCAM(CAM):
    """HiResCAM at a layer: (N, h, w) at the layer's own resolution, 0 or more."""

    key: ClassVar[str] = "hires_cam"
    question: ClassVar[str] = "Which places of a layer raise the score?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(G * A, axis=-1)
