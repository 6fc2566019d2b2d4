"""Scores and probabilities; `weights` (N, classes) are those of the logits."""

from __future__ import annotations

import numpy as np

from .network import IMAGES, Network
from .pointwise import Softmax


def score(net: Network, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (net.logits(images) * weights).sum(-1)


def probability(net: Network, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The model's own softmax or sigmoid; the softmax of a model that ends in logits."""
    values = net.forward(images)
    outputs = values[net.output]
    return ((Softmax().forward(outputs) if net.output == net.score else outputs) * weights).sum(-1)


def against(logits: np.ndarray, classes: np.ndarray, rivals: int = 3, alpha: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return S_c − α Σ_j p_j S_j / Σ_j p_j, (N,), and its gradient at the logits (N, classes)."""
    scores, gradients = [], []
    for S, c in zip(logits, classes, strict=True):
        others = sorted((j for j in range(len(S)) if j != c), key=lambda j: (abs(S[j] - S[c]), j))[:rivals]
        q = Softmax().forward(S[others])  # p_j / Σ p_j
        mean = (q * S[others]).sum()
        scores.append(S[c] - alpha * mean)
        gradients.append(np.eye(len(S))[c])
        gradients[-1][others] -= alpha * q * (1 + S[others] - mean)
    return np.stack(scores), np.stack(gradients)


def forward_from(net: Network, images: np.ndarray, name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """Return all values of the network, with one of them replaced."""
    values = {IMAGES: np.asarray(images, np.float64)}
    for node in net.nodes:
        is_replaced = node.name == name
        values[node.name] = value if is_replaced else node.operation.forward(*(values[one] for one in node.inputs))
    return values
