"""Grad-CAM++: Grad-CAM for images that show the class several times.

Answers: where are all the things that the network takes for the class?

    α = G² / (2 G² + (Σ_hw A) G³), 0 where the divisor is 0;   w_k = Σ_hw α · relu(G);   relu(Σ_k w_k A_k)
                          Chattopadhyay et al., 2018, "Grad-CAM++", equations 10 and 19

The paper explains exp(S), whose positive factor exp(S) is left out here: it scales a map and would overflow. α is not
bounded where G is negative and the divisor comes near 0: there single pixels can outshine the rest.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM, spatial_axes
from tfviz.numerics import safe_divide


class GradCAMPlusPlus(CAM):
    """Grad-CAM++ at a layer: (N, h, w) at the layer's own resolution, 0 or more."""

    key: ClassVar[str] = "grad_cam_plus_plus"
    question: ClassVar[str] = "Where are all the things that the network takes for the class?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        axes = spatial_axes(A)
        total = tf.reduce_sum(A, axis=axes, keepdims=True)  # (N, 1, 1, K)
        # α with G² canceled, for it is 0 in float32 where a gradient is small. Where G is 0, so is relu(G).
        weights = tf.reduce_sum(safe_divide(tf.nn.relu(G), 2 + total * G), axis=axes, keepdims=True)
        return tf.reduce_sum(weights * A, axis=-1)
