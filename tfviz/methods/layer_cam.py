"""Layer-CAM: class activation maps that stay sharp on lower layers.

Answers: which elements of a layer speak for the class, and where are they?

    relu(Σ_k relu(G_k) · A_k)               Jiang et al., 2021, "LayerCAM", equations 5 and 6

Each element counts by its own positive gradient, so that the map keeps its detail on layers of higher resolution.
Negative gradients play no part: what speaks against the class does not darken what speaks for it.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM


class LayerCAM(CAM):
    """Layer-CAM at a layer: (N, h, w) at the layer's own resolution, 0 or more."""

    key: ClassVar[str] = "layer_cam"
    question: ClassVar[str] = "Which elements of a layer speak for the class?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.nn.relu(G) * A, axis=-1)
