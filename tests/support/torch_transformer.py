"""A vision transformer in PyTorch, and the methods that read attention, by the papers' formulas."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import torch
from torch import nn


class Attention(nn.Module):
    """Multi-head self-attention that keeps its probabilities P (N, heads, queries, keys)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        queries, keys, values = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        self.P = torch.softmax(queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5, -1)
        return self.out((self.P @ values).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, epsilon: float) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, epsilon), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, epsilon)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class VisionTransformer(nn.Module):
    """A ViT whose head reads the class token, or the mean of all tokens if there is none.

    Args:
        grid: rows and columns of the patches.
        has_class_token: whether it has a class token and position embeddings.
        epsilon: of the normalizations.
    """

    def __init__(self, grid: tuple[int, int], *, has_class_token: bool, epsilon: float) -> None:
        super().__init__()
        self.grid, self.prefix = grid, int(has_class_token)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 12)) if has_class_token else None
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.positions = nn.Embedding(1 + grid[0] * grid[1], 12) if has_class_token else None
        self.blocks = nn.ModuleList(Block(12, 2, 16, epsilon) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(12, epsilon), nn.Linear(12, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.positions.weight
        self.ends = []
        for block in self.blocks:
            x = block(x)
            self.ends.append(x)
        return self.classified(x)

    def classified(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of a head that reads these tokens."""
        return self.head(self.pooled(self.norm(tokens)))

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what the classifier reads: (N, tokens, …) → (N, …)."""
        return tokens[:, 0] if self.prefix else tokens.mean(1)

    def as_map(self, tokens: torch.Tensor) -> torch.Tensor:
        """Arrange the patches (N, tokens, K) as (N, K, rows, columns)."""
        return tokens[:, self.prefix :].unflatten(1, self.grid).permute(0, 3, 1, 2)

    def probabilities(self) -> list[torch.Tensor]:
        return [block.attention.P for block in self.blocks]


def with_weights_of(model: keras.Model, network: VisionTransformer) -> VisionTransformer:
    """Copy the weights of a Keras model, whose order is the same."""
    with torch.no_grad():
        for parameter, values in zip(network.parameters(), model.get_weights(), strict=True):
            if values.ndim == 4:
                values = values.transpose(3, 2, 0, 1)
            elif values.shape != parameter.shape:  # a transposed kernel, or an axis of heads
                values = values.reshape(parameter.shape[::-1]).T
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return network.eval()


def attention_rollout(network: VisionTransformer, images: torch.Tensor, target: int) -> torch.Tensor:
    """Â = rownorm(mean_heads P + I); R = Â_L ⋯ Â_1 (Abnar and Zuidema, 2020)."""
    network(images)
    identity = torch.eye(network.blocks[0].attention.P.shape[-1])
    R = identity
    for P in network.probabilities():
        A = P.mean(1) + identity
        R = A / A.sum(-1, keepdim=True) @ R
    return network.pooled(R)


def gradient_attention(network: VisionTransformer, images: torch.Tensor, target: int) -> torch.Tensor:
    """Ā = mean_heads relu(∂S/∂P ⊙ P); R ← R + Ā R (Chefer et al., 2021)."""
    score = network(images)[:, target].sum()
    R = torch.eye(network.blocks[0].attention.P.shape[-1])
    for P, G in zip(network.probabilities(), torch.autograd.grad(score, network.probabilities()), strict=True):
        R = R + (P * G).clamp(min=0).mean(1) @ R
    return network.pooled(R)


def legrad(network: VisionTransformer, images: torch.Tensor, target: int) -> torch.Tensor:
    """mean_blocks mean_heads,queries relu(∂S^l/∂P^l) (Bousselham et al., 2025)."""
    network(images)
    scores = [network.classified(tokens)[:, target].sum() for tokens in network.ends]
    gradients = [
        torch.autograd.grad(score, P, retain_graph=True)[0] for score, P in zip(scores, network.probabilities(), strict=True)
    ]
    return torch.stack([G.clamp(min=0).mean((1, 2)) for G in gradients]).mean(0)


METHODS: dict[str, Callable[[VisionTransformer, torch.Tensor, int], torch.Tensor]] = {
    "attention_rollout": attention_rollout,
    "gradient_attention": gradient_attention,
    "legrad": legrad,
}
