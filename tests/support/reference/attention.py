"""The methods that read attention, for `support.transformers.network`, in float64.

The forward pass is written out in NumPy from the model's weights. Gradients at the attention
probabilities are central differences: one entry of P is changed, and everything behind it follows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import keras
import numpy as np

_STEP = 1e-5
_gelu = np.vectorize(lambda x: x * (1 + erf(x / 2**0.5)) / 2)

Change = dict[int, np.ndarray]  # block -> what is added to its P
Result = tuple[np.ndarray, list[np.ndarray]]


class Transformer:
    """A transformer of pre-normalized blocks with `MultiHeadAttention`, in NumPy.

    Args:
        model: a model with the layer names of `support.transformers.encoder`.
        pool: maps the normalized tokens (N, tokens, K) to what the classifier reads.
        reads: the tokens that the pooling reads.
    """

    def __init__(self, model: keras.Model, pool: Callable[[np.ndarray], np.ndarray], reads: list[int]) -> None:
        self.model, self.pool, self.reads = model, pool, reads
        self.blocks = sum(layer.name.startswith("attention_") for layer in model.layers)

    def weights(self, name: str) -> list[np.ndarray]:
        return [np.asarray(weight, np.float64) for weight in self.model.get_layer(name).get_weights()]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        gamma, beta = self.weights(name)
        centered = x - x.mean(-1, keepdims=True)
        return gamma * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-3) + beta

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        kernel, bias = self.weights(name)
        return x @ kernel + bias

    def tokens(self, images: np.ndarray) -> np.ndarray:
        kernel, bias = self.weights("patches")
        side = kernel.shape[0]
        rows, columns = images.shape[1] // side, images.shape[2] // side
        cut = images.reshape(len(images), rows, side, columns, side, -1).transpose(0, 1, 3, 2, 4, 5)
        return cut.reshape(len(images), rows * columns, -1) @ kernel.reshape(-1, kernel.shape[-1]) + bias

    def run(
        self, images: np.ndarray, change: Change | None = None, until: int | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the logits, and P of each block; `until` lets the head read an earlier block."""
        x, found = self.tokens(images.astype(np.float64)), []
        for number in range(self.blocks if until is None else until + 1):
            y = self.norm(f"norm_{number}a", x)
            wq, bq, wk, bk, wv, bv, wo, bo = self.weights(f"attention_{number}")
            queries, keys, values = (np.einsum("ntk,khd->nhtd", y, w) + b[:, None] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
            scores = np.einsum("nhqd,nhkd->nhqk", queries, keys) / queries.shape[-1] ** 0.5
            P = np.exp(scores - scores.max(-1, keepdims=True))
            P /= P.sum(-1, keepdims=True)
            found.append(P)
            P = P + (change or {}).get(number, 0)
            x = x + np.einsum("nhqk,nhkd,hdo->nqo", P, values, wo) + bo
            x = x + self.dense(f"down_{number}", _gelu(self.dense(f"up_{number}", self.norm(f"norm_{number}b", x))))
        return self.dense("out", self.pool(self.norm("norm", x))), found

    def gradient(self, images: np.ndarray, target: int, block: int, until: int | None = None) -> np.ndarray:
        """Return ∂S/∂P of a block, (N, heads, queries, keys)."""
        shape = self.run(images)[1][block].shape
        found = np.zeros(shape)
        for place in np.ndindex(*shape[1:]):
            change = np.zeros(shape)
            change[(slice(None), *place)] = _STEP
            up, down = (self.run(images, {block: sign * change}, until)[0][:, target] for sign in (1, -1))
            found[(slice(None), *place)] = (up - down) / (2 * _STEP)
        return found


def attention_rollout(net: Transformer, images: np.ndarray) -> np.ndarray:
    R: np.ndarray | float = 1.0
    for P in net.run(images)[1]:
        A = P.mean(1) + np.eye(P.shape[-1])
        A /= A.sum(-1, keepdims=True)
        R = A @ R if isinstance(R, np.ndarray) else A
    return R[:, net.reads].mean(1)


def gradient_attention(net: Transformer, images: np.ndarray, target: int) -> np.ndarray:
    R = np.eye(net.run(images)[1][0].shape[-1])
    for number, P in enumerate(net.run(images)[1]):
        A = np.maximum(net.gradient(images, target, number) * P, 0).mean(1)
        R = R + A @ R
    return R[:, net.reads].mean(1)


def legrad(net: Transformer, images: np.ndarray, target: int) -> np.ndarray:
    maps = [np.maximum(net.gradient(images, target, number, number), 0).mean((1, 2)) for number in range(net.blocks)]
    return np.mean(maps, axis=0)
