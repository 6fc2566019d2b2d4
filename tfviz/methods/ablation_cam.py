"""Ablation-CAM: channels weighted by how much the score drops without them.

Question: which channels of a layer does the score need?

    relu(Σ_k w_k A_k), w_k = (S − S_k) / |S|, S_k = the score with channel k set to 0
        Desai & Ramaswamy, 2020, "Ablation-CAM: Visual Explanations for Deep Convolutional Network
        via Gradient-free Localization"

The paper divides by S instead of |S|, which reverses the signs of all weights if S is negative. If
|S| < 1e-6, w_k is S − S_k, without the division.

The method needs no gradient. Redundant channels can replace each other, so none of them gets a high
weight. The cost is one forward pass per channel through the part of the model above the layer. The
option `channels` limits the number of channels.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz.graph.backprop import Values, run
from tfviz.methods.channel_copies import ChannelExplainer
from tfviz.methods.perturbation import Context, Sums
from tfviz.seeds import FixedSeed, copied

_SMALLEST = 1e-6


class AblationCAM(ChannelExplainer):
    """Ablation-CAM at a layer: which channels does the score need?

    The map is relu(Σ_k w_k A_k) with w_k = (S − S_k) / |S|, where A_k is channel k, S is the score,
    and S_k is the score with channel k set to 0 (Desai & Ramaswamy, 2020, "Ablation-CAM: Visual
    Explanations for Deep Convolutional Network via Gradient-free Localization").

    Calling the explainer returns a nonnegative attribution of shape (N, h, w) at the layer's
    resolution.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.AblationCAM(model, layer="block2_pool")(images, target=7).shape
        TensorShape([2, 24, 24])
    """

    key: ClassVar[str] = "ablation_cam"
    question: ClassVar[str] = "Which channels of a layer does the score need?"

    def shared(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> Context:
        known = run(values, self.graph.before(self.graph.outputs, given=values))
        return {"score": self.scores(known, fixed), "kept": [known[value] for value in self._kept()]}

    def measure(self, images: list[tf.Tensor], context: Context, numbers: tf.Tensor, fixed: FixedSeed) -> tf.Tensor:
        values = dict(zip(self._kept(), (copied(x, fixed.copies) for x in context["kept"]), strict=True))
        for layer in self._in_order():
            values = run(values, self.graph.before([layer], given=values))
            for number, one in enumerate(self.layers):
                if one is layer:
                    mask = self._mask(values[layer], context["chosen"][number], numbers, number)
                    values[layer] = values[layer] * mask
        return self.scores(values, fixed)

    def weights(self, context: Context, sums: Sums) -> tf.Tensor:
        S = context["score"][:, None]
        drops, size = S - sums, tf.abs(S)
        return tf.where(size < _SMALLEST, drops, drops / tf.maximum(size, _SMALLEST))

    def _mask(self, A: tf.Tensor, chosen: tf.Tensor, numbers: tf.Tensor, number: int) -> tf.Tensor:
        """Return a mask that is 0 for each row's ablated channel and 1 for all other channels."""
        own, is_own = self.within(numbers, number)
        without = tf.one_hot(tf.transpose(tf.gather(chosen, own, axis=1)), A.shape[-1]) * is_own[:, None, None]
        rows = tf.reshape(without, [-1, *[1] * (len(A.shape) - 2), A.shape[-1]])
        return tf.cast(1 - rows, A.dtype)

    def _in_order(self) -> list:
        order = {value: i for i, step in enumerate(self.graph.steps) for value in step.outputs}
        return sorted(dict.fromkeys(self.layers), key=lambda value: order.get(value, -1))

    def _kept(self) -> list:
        """Return the graph values that each run reuses.

        These are the outputs of the lowest explained layers, and any other values that later steps
        read.
        """
        first = [v for v in self.layers if v not in self.graph.after([u for u in self.layers if u is not v])]
        behind = self.graph.after(first)
        steps = self.graph.before([*self.graph.outputs, *self.layers], given=first)
        rest = [step for step in steps if behind.intersection(step.outputs)]
        made = {value for step in rest for value in step.outputs}
        read = dict.fromkeys([*first, *(value for step in rest for value in step.inputs if value not in made)])
        return list(read)
