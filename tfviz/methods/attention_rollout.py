"""Attention rollout: how attention mixes the patches before they reach the head.

Question: which patches does a vision transformer's attention read, regardless of class?

    R = Â_L ⋯ Â_1,  Â = the rows of (mean_heads P + I), each scaled to sum to 1
        Abnar & Zuidema, 2020, "Quantifying Attention Flow in Transformers"

P contains a block's attention probabilities, and I represents its residual connection. The map is
the mean of the rows of R for the tokens that the head reads: the class token's row, or all rows if
the head averages the tokens. The cost is one forward pass. The map ignores the value vectors of the
attention, so it is the same for every class, and it often highlights background that many tokens
attend to.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, inputs_of, run
from tfviz.methods.attention import AttentionExplainer, through_blocks
from tfviz.numerics import safe_divide


class AttentionRollout(AttentionExplainer):
    """Attention rollout: which patches does the attention read, regardless of class?

    The map is computed from the product of the blocks' attention matrices, which are averaged over
    heads and combined with the residual connections (Abnar & Zuidema, 2020, "Quantifying Attention
    Flow in Transformers").

    Calling the explainer returns a nonnegative attribution of shape (N, rows, columns), one number
    per patch. The method is class-agnostic, so it takes no target. The shares of any class token or
    registers are left out, so a map can sum to less than 1.

    Example:

        >>> inputs = keras.Input((32, 32, 3))
        >>> x = keras.layers.Conv2D(8, 8, strides=8)(inputs)
        >>> x = keras.layers.Reshape((16, 8))(x)
        >>> x = x + keras.layers.MultiHeadAttention(2, 4)(x, x)
        >>> x = keras.layers.GlobalAveragePooling1D()(x)
        >>> model = keras.Model(inputs, keras.layers.Dense(10)(x))
        >>> images = np.zeros((2, 32, 32, 3), "float32")
        >>> tfviz.AttentionRollout(model)(images).shape
        TensorShape([2, 4, 4])
    """

    key: ClassVar[str] = "attention_rollout"
    question: ClassVar[str] = "Which patches does a vision transformer's attention read, regardless of class?"
    takes_target: ClassVar[bool] = False

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        grid, rows = self.grid_and_rows(images)
        values = run(inputs_of(self.graph, images), self.graph.before(self.transformer.probabilities))
        heads = [self.heads_of(block, values[block.probabilities], grid) for block in self.transformer.blocks]
        R = through_blocks(rows, list(map(_with_residual, heads)))
        return grid.patches(R), values


def _with_residual(P: tf.Tensor) -> tf.Tensor:
    A = tf.reduce_mean(P, axis=1)
    A += tf.eye(tf.shape(A)[-1])
    return safe_divide(A, tf.reduce_sum(A, axis=-1, keepdims=True))
