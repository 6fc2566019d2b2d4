"""SmoothGrad: the mean of a method's maps over noisy copies of the image.

Question: which pixels stand out even when the image is slightly noisy?

    mean_k M(x + ε_k), ε_k ~ N(0, σ²), σ = noise · (max x − min x)
        Smilkov et al., 2017, "SmoothGrad: removing noise by adding noise", section 3

Averaging suppresses the noise in gradient maps, but it also blurs them. The network was not trained
on the noisy images. With strong noise, the network no longer recognizes the class, and the map
explains a different prediction. The cost is `samples` times that of the base method.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
from keras import tree

from tfviz.methods.explainer import Explainer
from tfviz.methods.noise import NoiseExplainer
from tfviz.methods.perturbation import Context, Sums
from tfviz.nesting import Nested


class SmoothGrad(NoiseExplainer):
    """The mean of a method's maps over noisy copies: which pixels stand out despite noise?

    The map is the mean of M(x + ε), where M is the base method and ε is Gaussian noise (Smilkov et
    al., 2017, "SmoothGrad: removing noise by adding noise").

    Calling the explainer returns an attribution with the same shape as the base method's.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.SmoothGrad(model, "guided_backprop", samples=4)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "smooth_grad"
    question: ClassVar[str] = "Which pixels stand out even when the image is slightly noisy?"
    style: ClassVar[str] = "signed"

    def style_for(self, base: Explainer) -> str:
        return base.style

    def with_maps(self, sums: Sums, maps: Nested[tf.Tensor]) -> Sums:
        return tree.map_structure(lambda total, m: total + tf.reduce_sum(m, 0), sums, maps)

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> Nested[tf.Tensor]:
        return tree.map_structure(lambda total: total / self._samples, sums)
