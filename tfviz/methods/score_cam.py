"""Score-CAM: channels weighted by the class probability of the image masked with each channel.

Question: which channels of a layer show the features that identify the class?

    relu(Σ_k w_k A_k), w_k = p_t(x ⊙ H_k), H_k = channel k resized to the image, scaled to [0, 1]
        Wang et al., 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural
        Networks"

The authors' code uses these weights. With `weights="softmax"`, the weights are
softmax_k(S(x ⊙ H_k) − S(0)), as in the paper.

The method needs no gradient. The network was not trained on masked images, and channels that keep
most of the image get high weights regardless of their content. Constant channels get a weight of 0.
The cost is one forward pass per channel. The option `channels` limits the number of channels.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfviz.errors import OptionError
from tfviz.methods.channel_copies import ChannelExplainer
from tfviz.methods.interpolation import resized
from tfviz.methods.layer_maps import Layers
from tfviz.methods.masked_image import MaskedImage
from tfviz.methods.perturbation import Context, Sums
from tfviz.models.labels import LabelSource
from tfviz.numerics import safe_divide
from tfviz.seeds import FixedSeed

_WEIGHTS = ("probability", "softmax")


class ScoreCAM(ChannelExplainer):
    """Score-CAM at a layer: which channels show the features that identify the class?

    The map is relu(Σ_k w_k A_k) with w_k = p_t(x ⊙ H_k), the target's probability for the image x
    masked with channel A_k (Wang et al., 2020, "Score-CAM: Score-Weighted Visual Explanations for
    Convolutional Neural Networks").

    Calling the explainer returns a nonnegative attribution of shape (N, h, w) at the layer's
    resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.ScoreCAM(model, layer="block2_pool")(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "score_cam"
    question: ClassVar[str] = "Which channels of a layer show the features that identify the class?"

    def __init__(
        self,
        model: keras.Model,
        layer: Layers = None,
        *,
        weights: str = "probability",
        combine: str = "mean",
        channels: int | None = None,
        batch_size: int = 32,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer and find its layers (see `AblationCAM` for the other arguments).

        Args:
            model: a built keras.Model with exactly one image input.
            layer: the layer, or a list of layers whose maps are combined.
            weights: "probability" weights each channel by the target's probability, as in the
                authors' code; "softmax" uses the softmax of the scores over the channels, as in the
                paper.
            combine: how to combine the maps for a list of layers: "mean", "max" or "product".
            channels: the maximum number of channels to use per layer. The channels with the highest
                standard deviation over the positions are used. None means all channels.
            batch_size: the maximum number of rows to run at once in a call.
            score: "logits" or "outputs".
            output: the name, dict key or index of the output to explain.
            class_names: the class names.

        Raises:
            UnsupportedModelError: the model cannot be traced, or does not have exactly one image
                input.
            UnknownLayerError: there is no such layer, or its axes do not match those of the image.
            OptionError: an option has an invalid value.
        """
        super().__init__(
            model,
            layer,
            combine=combine,
            channels=channels,
            batch_size=batch_size,
            score=score,
            output=output,
            class_names=class_names,
        )
        if weights not in _WEIGHTS:
            raise OptionError(f"`weights` must be 'probability' or 'softmax'. Received: {weights!r}.")
        self._weights = weights
        self._image = MaskedImage(self.graph, self.key)
        self.require_axes_of_an_image()

    def measure(self, images: list[tf.Tensor], context: Context, numbers: tf.Tensor, fixed: FixedSeed) -> tf.Tensor:
        masks: Any = 0
        for i, A in enumerate(context["maps"]):
            own, is_own = self.within(numbers, i)
            shown = self._scaled(tf.gather(A, own, axis=1), images)
            masks += shown * tf.reshape(is_own, [1, -1, *[1] * (len(shown.shape) - 2)])
        rank = len(masks.shape)
        rows = self._image.rows(images, tf.transpose(masks, [1, 0, *range(2, rank)]), None)
        return self.probabilities(rows, fixed) if self._weights == "probability" else self.scores(rows, fixed)

    def weights(self, context: Context, sums: Sums) -> tf.Tensor:
        varies = [tf.reduce_max(A, _axes(A)) > tf.reduce_min(A, _axes(A)) for A in context["maps"]]
        if self._weights == "softmax":
            shares = []
            for S, shown in zip(tf.split(sums, self.widths, axis=1), varies, strict=True):
                highest = tf.reduce_max(tf.where(shown, S, -np.inf), axis=1, keepdims=True)
                powers = tf.where(shown, tf.exp(tf.where(shown, S - highest, 0)), 0)
                shares.append(safe_divide(powers, tf.reduce_sum(powers, axis=1, keepdims=True)))
            return tf.concat(shares, axis=1)
        return tf.where(tf.concat(varies, axis=1), sums, 0)

    def _scaled(self, maps: tf.Tensor, images: list[tf.Tensor]) -> tf.Tensor:
        """Resize channels of shape (N, copies, h, w) to the image size and scale each to [0, 1]."""
        size = self._image.size(images)
        shape = tf.shape(maps)
        flat = resized(tf.reshape(maps, tf.concat([[-1], shape[2:]], 0)), size)
        axes = list(range(1, len(flat.shape)))
        low, high = tf.reduce_min(flat, axes, keepdims=True), tf.reduce_max(flat, axes, keepdims=True)
        scaled = tf.math.divide_no_nan(flat - low, high - low)
        return tf.reshape(scaled, tf.concat([shape[:2], tf.shape(flat)[1:]], 0))


def _axes(A: tf.Tensor) -> list[int]:
    return list(range(2, len(A.shape)))
