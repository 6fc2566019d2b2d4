"""Layer-CAM: class activation maps that stay sharp at lower layers.

Question: which elements of a layer support the class?

    relu(Σ_k relu(G_k) · A_k)
        Jiang et al., 2021, "LayerCAM", equations 5 and 6

Each element is weighted by its own positive gradient, so the map stays detailed at high-resolution
layers. Negative gradients are dropped, so evidence against the class does not cancel evidence for
it.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM


class LayerCAM(CAM):
    """Layer-CAM at a layer: which elements support the class?

    The map is relu(Σ_k relu(G_k) · A_k), where A_k is channel k of the activations A, and G = ∂S/∂A
    (Jiang et al., 2021, "LayerCAM", equations 5 and 6).

    Calling the explainer returns a nonnegative attribution of shape (N, h, w) at the layer's
    resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> explainer = tfviz.LayerCAM(model, layer="block2_pool")
        >>> explainer(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "layer_cam"
    question: ClassVar[str] = "Which elements of a layer support the class?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.nn.relu(G) * A, axis=-1)
