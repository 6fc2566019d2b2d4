"""Grad-CAM: the regions of a layer that support the class.

Question: which regions of a layer support the class?

    relu(Σ_k mean_hw(G)_k · A_k),  G = ∂S/∂A
        Selvaraju et al., 2017, "Grad-CAM", equations 1 and 2

Each channel is weighted by its mean gradient. If a channel raises the score in one place and lowers
it in another, its gradients cancel. The map is therefore unreliable at layers far from the output
and for images with several instances of the class; HiResCAM and Layer-CAM do not average gradients.
The cost is one forward pass, and one backward pass through the steps above the layer.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.methods.cam import CAM, spatial_axes


class GradCAM(CAM):
    """Grad-CAM at a layer: which regions support the class?

    The map is relu(Σ_k mean_hw(G)_k · A_k), where A_k is channel k of the activations A, and G =
    ∂S/∂A (Selvaraju et al., 2017, "Grad-CAM", equations 1 and 2).

    Calling the explainer returns a nonnegative attribution of shape (N, h, w) at the layer's
    resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> explainer = tfviz.GradCAM(model, layer="block2_pool")
        >>> explainer(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "grad_cam"
    question: ClassVar[str] = "Which regions of a layer support the class?"

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        weights = tf.reduce_mean(G, axis=spatial_axes(G), keepdims=True)  # (N, 1, 1, K)
        return tf.reduce_sum(weights * A, axis=-1)
