"""The base class for methods that use a vision transformer's attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfviz.errors import ImageError, UnsupportedModelError
from tfviz.graph.attention import Block, Transformer, blocks_of, is_windowed
from tfviz.graph.graph import Graph
from tfviz.graph.layer_search import attention_blocks
from tfviz.graph.token_grid import Sizes, TokenGrid, known_sizes, position_counts, token_grids, tokens_read
from tfviz.methods.explainer import Explainer
from tfviz.models.labels import LabelSource

_INSTEAD = "Use saliency, or a class activation map such as grad_cam."


class AttentionExplainer(Explainer):
    """A method that computes one value per patch from a vision transformer's attention.

    Each block's attention probabilities P have shape (N, heads, queries, keys). P is taken after
    the softmax and before any dropout.
    """

    needs_attention: ClassVar[bool] = True

    def __init__(
        self,
        model: keras.Model,
        *,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer and find the attention blocks.

        Args:
            model: a built keras.Model with attention between all patches of the image.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, it has no attention between all
                patches, or its outputs depend on more than the last block's tokens.
            OptionError: `score` or `output` has an invalid value.
        """
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.transformer = Transformer(self.graph, _global_blocks(self.graph, self.key))
        self.grids: dict[tuple[tuple[int, ...], ...], tuple[TokenGrid, np.ndarray]] = {}
        if sizes := known_sizes(self.graph):
            self._grid_for(sizes)

    def grid_and_rows(self, images: Sequence[tf.Tensor]) -> tuple[TokenGrid, np.ndarray]:
        """Return which tokens are patches, and how much weight the head gives each token.

        Args:
            images: one tensor per input.

        Returns:
            The grid, and weights of shape (tokens,) that sum to 1. All tokens read by the head have
            the same weight, and all others have weight 0.

        Raises:
            ImageError: the image size is unknown.
        """
        sizes = [tuple(x.shape[1:]) for x in images]
        if any(None in size for size in sizes):
            raise ImageError(
                f"{self.key} needs the image size at compile time. Received: images of shape {images[0].shape} inside a "
                "tf.function. Give that function an input_signature with height and width, or call the explainer outside it."
            )
        return self._grid_for(sizes)

    def _grid_for(self, sizes: Sizes) -> tuple[TokenGrid, np.ndarray]:
        key = tuple(map(tuple, sizes))
        if key not in self.grids:
            grid = self._common_grid(sizes)
            read = tokens_read(self.graph, self.transformer.final, grid.count, sizes)
            rows = np.zeros(grid.count, np.float32)
            rows[read] = 1 / len(read)
            self.grids[key] = grid, rows
        return self.grids[key]

    def _common_grid(self, sizes: Sizes) -> TokenGrid:
        """Return the token grid shared by all blocks.

        Raises:
            UnsupportedModelError: there is no grid, the grid changes between blocks, or a block has
                fewer queries or keys than patches.
        """
        graph, blocks = self.graph, self.transformer.blocks
        grids = token_grids(graph, [block.stream for block in blocks], sizes)
        counts = position_counts(graph, [value for block in blocks for value in block.scores.inputs], sizes)
        first = grids.get(blocks[0].stream)
        if first is None:
            raise UnsupportedModelError(
                f"{self.key} cannot arrange the tokens '{graph.name_of(blocks[0].stream)}' of '{graph.model_name}' as a grid, "
                f"because the layers before them do not produce one token per patch. {_INSTEAD}"
            )
        for block in blocks:
            seen = [counts.get(value, len(first.index)) for value in block.scores.inputs]
            if grids.get(block.stream, first).count != first.count or min(seen) < len(first.index):
                raise self._not_global(block)
        return first

    def heads_of(self, block: Block, P: tf.Tensor, grid: TokenGrid) -> tf.Tensor:
        """Cast a block's probabilities or their gradient to float32, adding a heads axis if needed.

        Args:
            block: the block.
            P: the probabilities or the gradient, with shape (N, heads, queries, keys), or (N,
                queries, keys) for a single head.
            grid: the token grid.

        Returns:
            A float32 tensor of shape (N, heads, queries, keys).

        Raises:
            UnsupportedModelError: the number of keys differs from the number of tokens.
        """
        if P.shape[-1] not in (None, grid.count):
            raise self._not_global(block)
        P = tf.cast(P, tf.float32)
        return P if len(P.shape) == 4 else P[:, None]

    def _not_global(self, block: Block) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"{self.key} needs attention between all patches in each block, but the queries or keys in '{block.step.path}' are "
            f"not the patches (as in SegFormer). {_INSTEAD}"
        )


def through_blocks(rows: np.ndarray, matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """Compute the product rowsᵀ A_L ⋯ A_1 for each image, starting with the last block.

    Args:
        rows: the weight of each row of A_L, with shape (tokens,).
        matrices: A_1 … A_L, each of shape (N, queries, keys).

    Returns:
        One weight per image and token, with shape (N, tokens).
    """
    weights = tf.constant(rows)[None, None]  # (1, 1, tokens), then (N, 1, tokens)
    for A in reversed(matrices):
        weights = tf.matmul(tf.broadcast_to(weights, tf.concat([tf.shape(A)[:1], [1, len(rows)]], 0)), A)
    return weights[:, 0]


def _global_blocks(graph: Graph, method: str) -> list[Block]:
    """Return the graph's attention blocks.

    Raises:
        UnsupportedModelError: there are no attention blocks, a block attends within windows, or the
            blocks do not all have the same tokens.
    """
    blocks = blocks_of(graph)
    if not blocks:
        is_hidden = attention_blocks(graph, graph.inputs[0]) > 0
        why = "tfviz cannot read the attention between tokens in" if is_hidden else "there is no attention between tokens in"
        raise UnsupportedModelError(f"{method} supports only vision transformers, but {why} '{graph.model_name}'. {_INSTEAD}")
    for block in blocks:
        if is_windowed(graph, block):
            raise UnsupportedModelError(
                f"{method} needs attention between all patches, but '{block.step.path}' attends within windows of the image "
                f"(as in Swin), so its probabilities don't relate all patches. {_INSTEAD}"
            )
        if block.stream.rank != 3 or block.stream.shape[2] != blocks[0].stream.shape[2] or len(_token_counts(blocks)) > 1:
            raise UnsupportedModelError(
                f"{method} needs the same tokens in each block, but '{block.step.path}' attends to a tensor of shape "
                f"{block.stream.shape}. {_INSTEAD}"
            )
    return blocks


def _token_counts(blocks: Sequence[Block]) -> set[int]:
    """Return the distinct key counts of the blocks, ignoring unknown ones."""
    return {keys for block in blocks if (keys := block.probabilities.shape[-1]) is not None}
