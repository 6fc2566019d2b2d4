"""SquareGrad: the mean of a method's squared maps over noisy copies of the image.

Question: which pixels have a strong effect of either sign when the image is slightly noisy?

    mean_k M(x + ε_k)², ε_k ~ N(0, σ²), σ = noise · (max x − min x)
        Hooker et al., 2019, "A Benchmark for Interpretability Methods in Deep Neural Networks",
        section 4.1

The signs are lost, so evidence for and against the class looks the same. The cost is `samples`
times that of the base method.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
from keras import tree

from tfviz.methods.noise import NoiseExplainer
from tfviz.methods.perturbation import Context, Sums
from tfviz.nesting import Nested


class SquareGrad(NoiseExplainer):
    """The mean of a method's squared maps over noisy copies: which pixels have a strong effect?

    The map is the mean of M(x + ε)², where M is the base method and ε is Gaussian noise (Hooker et
    al., 2019, "A Benchmark for Interpretability Methods in Deep Neural Networks").

    Calling the explainer returns a nonnegative attribution with the same shape as the base
    method's.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.SquareGrad(model, samples=4)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "square_grad"
    question: ClassVar[str] = "Which pixels have a strong effect of either sign when the image is slightly noisy?"

    def with_maps(self, sums: Sums, maps: Nested[tf.Tensor]) -> Sums:
        return tree.map_structure(lambda total, m: total + tf.reduce_sum(m * m, 0), sums, maps)

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> Nested[tf.Tensor]:
        return tree.map_structure(lambda total: total / self._samples, sums)
