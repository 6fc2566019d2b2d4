"""LeGrad: the gradient with respect to each block's attention, averaged over blocks.

Question: where would more attention raise the score of the class?

    mean_l mean_heads, queries relu(∂S^l/∂P^l)
        Bousselham et al., 2025, "LeGrad: An Explainability Method for Vision Transformers via
        Feature Formation Sensitivity"

P^l contains block l's attention probabilities. S^l is the score if the head (the final
normalization, the model's own pooling and the classifier) is applied to the output of block l. The
authors' code for CLIP pools before the final normalization and uses only the last blocks; tfviz
keeps the model's order and uses all blocks. The cost is one forward pass, plus one backward pass
per block from that block's output. Early blocks were never trained to feed the head, so they can
add noise.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.attention import Block
from tfviz.graph.backprop import Seed, Values, backpropagate, inputs_of, run
from tfviz.graph.graph import Value
from tfviz.graph.token_grid import TokenGrid
from tfviz.methods.attention import AttentionExplainer


class LeGrad(AttentionExplainer):
    """LeGrad: where would more attention raise the class score?

    Reference: Bousselham et al., 2025, "LeGrad: An Explainability Method for Vision Transformers
    via Feature Formation Sensitivity".

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
        >>> tfviz.LeGrad(model)(images, target=7).shape
        TensorShape([2, 4, 4])
    """

    key: ClassVar[str] = "legrad"
    question: ClassVar[str] = "Where would more attention raise the class score?"

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        grid, _ = self.grid_and_rows(images)
        values = run(inputs_of(self.graph, images), self.graph.before(self.graph.outputs))
        # The seed comes from the model's own outputs, so that all blocks explain the same class.
        seeds = seed(tf.nest.map_structure(lambda value: values[value], self.graph.output_structure))
        blocks = zip(self.transformer.blocks, self.transformer.ends, strict=True)
        maps = [self._of_block(block, end, values, lambda _: seeds, grid) for block, end in blocks]
        return grid.patches(sum(maps) / len(maps)), values

    def _of_block(self, block: Block, end: Value, values: Values, seed: Seed, grid: TokenGrid) -> tf.Tensor:
        """Return relu(∂S^l/∂P^l), averaged over heads and queries, with shape (N, tokens)."""
        graph = self.transformer.read_at(end)
        G = backpropagate(graph, values, seed, [block.probabilities]).gradients[0]
        return tf.reduce_mean(tf.nn.relu(self.heads_of(block, G, grid)), axis=(1, 2))
