"""Gradient attention: attention weighted by its contribution to the score.

Question: which patches support the class through attention?

    R = I, then R ← R + Ā R from the first block to the last
    Ā = mean_heads relu(∂S/∂P ⊙ P)
        Chefer et al., 2021, "Generic Attention-model Explainability", equations 5 and 6

P contains a block's attention probabilities, and ∂S/∂P includes their effect through later blocks.
The map is the mean of the rows of R for the tokens that the head reads. The cost is one forward and
one backward pass through the blocks. If the head averages the tokens, I adds the same constant to
each patch (1 / the number of tokens), and only the variation around this constant is meaningful.
Negative gradients are dropped, so the map does not show evidence against the class.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.methods.attention import AttentionExplainer, through_blocks


class GradientAttention(AttentionExplainer):
    """Gradient attention: which patches support the class through attention?

    Reference: Chefer et al., 2021, "Generic Attention-model Explainability", equations 5 and 6, for
    self-attention.

    Calling the explainer returns a nonnegative attribution of shape (N, rows, columns), one number
    per patch.

    Example:

        >>> inputs = keras.Input((32, 32, 3))
        >>> x = keras.layers.Conv2D(8, 8, strides=8)(inputs)
        >>> x = keras.layers.Reshape((16, 8))(x)
        >>> x = x + keras.layers.MultiHeadAttention(2, 4)(x, x)
        >>> x = keras.layers.GlobalAveragePooling1D()(x)
        >>> model = keras.Model(inputs, keras.layers.Dense(10)(x))
        >>> images = np.zeros((2, 32, 32, 3), "float32")
        >>> tfviz.GradientAttention(model)(images, target=7).shape
        TensorShape([2, 4, 4])
    """

    key: ClassVar[str] = "gradient_attention"
    question: ClassVar[str] = "Which patches support the class through attention?"

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        grid, rows = self.grid_and_rows(images)
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.transformer.probabilities)
        weighted = [
            self.heads_of(block, G, grid) * self.heads_of(block, backward.values[block.probabilities], grid)
            for block, G in zip(self.transformer.blocks, backward.gradients, strict=True)
        ]
        R = through_blocks(rows, list(map(_with_identity, weighted)))
        return grid.patches(R), backward.values


def _with_identity(weighted: tf.Tensor) -> tf.Tensor:
    A = tf.reduce_mean(tf.nn.relu(weighted), axis=1)
    return A + tf.eye(tf.shape(A)[-1])
