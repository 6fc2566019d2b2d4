"""Gradient attention: attention weighted by what it contributes to the score.

Question: which patches support the class, by the attention that raises its score?

    R ← R + Ā R from the first block to the last, R = I at the start
    Ā = mean_heads relu(∂S/∂P ⊙ P)
        Chefer et al., 2021, "Generic Attention-model Explainability", equations 5 and 6

P holds the attention probabilities of a block, and ∂S/∂P also covers its effect through later blocks.
The map is the mean of those rows of R whose final token the head reads. The cost is one forward and one
backward pass through the blocks. If the head averages tokens, each patch also carries the constant 1 /
tokens of I, and the explanation is what varies on top of it. Negative gradients are cut off, so
evidence against the class does not show.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.methods.attention import AttentionExplainer, heads_of, through_blocks


class GradientAttention(AttentionExplainer):
    """Gradient attention: which patches support the class, by the attention that raises its score?

    Chefer et al., 2021, "Generic Attention-model Explainability", equations 5 and 6, for
    self-attention.

    Calling it returns the attribution (N, rows, columns), nonnegative, one number per patch.

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
    question: ClassVar[str] = "Which patches support the class, by the attention that raises its score?"

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        grid, rows = self.grid_and_rows(images)
        at = self.transformer.probabilities
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, at)
        pairs = zip(at, backward.gradients, strict=True)
        R = through_blocks(rows, [_with_identity(backward.values[value], G) for value, G in pairs])
        return grid.patches(R), backward.values


def _with_identity(P: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
    A = tf.reduce_mean(tf.nn.relu(heads_of(G) * heads_of(P)), axis=1)
    return A + tf.eye(tf.shape(A)[-1])
