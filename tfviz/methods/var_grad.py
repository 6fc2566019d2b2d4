"""VarGrad: the variance of a method's maps over noisy copies of the image.

Question: where does the map change most when the image is slightly noisy?

    mean_k M(x + ε_k)² − (mean_k M(x + ε_k))², ε_k ~ N(0, σ²), σ = noise · (max x − min x)
        Adebayo et al., 2018, "Local Explanation Methods for Deep Neural Networks Lack Sensitivity
        to Parameter Values", section 2

A pixel with a strong but constant effect has a variance of 0. The map shows where the network is
sensitive to noise rather than what it relies on. The cost is `samples` times that of the base
method.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
from keras import tree

from tfviz.methods.noise import NoiseExplainer
from tfviz.methods.perturbation import Context, Sums
from tfviz.nesting import Nested


class VarGrad(NoiseExplainer):
    """The variance of a method's maps over noisy copies: where do they change most?

    The map is the variance of M(x + ε), where M is the base method and ε is Gaussian noise (Adebayo
    et al., 2018, "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter
    Values").

    Calling the explainer returns a nonnegative attribution with the same shape as the base
    method's.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.VarGrad(model, samples=4)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "var_grad"
    question: ClassVar[str] = "Where does the map change most when the image is slightly noisy?"

    def nothing(self, empty: Nested[tf.Tensor]) -> Sums:
        return {"count": tf.zeros([]), "mean": empty, "squares": tree.map_structure(tf.zeros_like, empty)}

    def with_maps(self, sums: Sums, maps: Nested[tf.Tensor]) -> Sums:
        # E[M²] − E[M]² would lose digits to cancellation, so squared deviations are merged instead:
        # Chan et al., 1983, "Algorithms for Computing the Sample Variance".
        before = sums["count"]
        added = tf.cast(tf.shape(tree.flatten(maps)[0])[0], tf.float32)
        count = before + added
        shifts = tree.map_structure(lambda mean, m: tf.reduce_mean(m, 0) - mean, sums["mean"], maps)
        mean = tree.map_structure(lambda mean, shift: mean + shift * (added / count), sums["mean"], shifts)

        def merged(squares: tf.Tensor, m: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
            own = tf.reduce_sum((m - tf.reduce_mean(m, 0)) ** 2, 0)
            return squares + own + shift**2 * (before * added / count)

        return {"count": count, "mean": mean, "squares": tree.map_structure(merged, sums["squares"], maps, shifts)}

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> Nested[tf.Tensor]:
        return tree.map_structure(lambda squares: squares / self._samples, sums["squares"])
