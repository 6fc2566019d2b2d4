"""The CAMs that weigh each channel by a run of the network, and combinations of maps."""

from __future__ import annotations

import numpy as np

from .cams import divided, relu
from .network import Network
from .resizing import min_max, resized
from .scores import forward_from, probability, score


def score_cam(
    net: Network,
    images: np.ndarray,
    weights: np.ndarray,
    layer: str,
    kind: str = "probability",
    channels: int | None = None,
) -> np.ndarray:
    """relu(Σ_k w_k A_k); w_k the probability, or the softmax of the scores, of x ⊙ H_k."""
    A = net.forward(images)[net.name_of(layer)]
    H = np.stack([min_max(resized(A[..., k], images.shape[1:3])) for k in range(A.shape[-1])], -1)
    function = probability if kind == "probability" else score
    found = np.stack([function(net, images * H[..., k : k + 1], weights) for k in range(A.shape[-1])], -1)
    is_used = (A.max((1, 2)) > A.min((1, 2))) & chosen_channels(A, channels)
    if kind == "softmax":
        found = np.stack([softmax_of(row, used) for row, used in zip(found, is_used, strict=True)])
    return relu((np.where(is_used, found, 0)[:, None, None] * A).sum(-1))


def ablation_cam(net: Network, images: np.ndarray, weights: np.ndarray, layer: str, channels: int | None = None) -> np.ndarray:
    """relu(Σ_k w_k A_k), w_k = (S − S_k)/|S| with channel k set to 0."""
    name = net.name_of(layer)
    A, S = net.forward(images)[name], score(net, images, weights)
    drops = []
    for k in range(A.shape[-1]):
        without = A.copy()
        without[..., k] = 0
        drops.append(S - (forward_from(net, images, name, without)[net.score] * weights).sum(-1))
    w = np.stack(drops, -1) / np.where(abs(S) < 1e-6, 1, abs(S))[:, None]
    return relu((np.where(chosen_channels(A, channels), w, 0)[:, None, None] * A).sum(-1))


def chosen_channels(A: np.ndarray, channels: int | None) -> np.ndarray:
    """Return which channels have the highest deviation, bool (N, K)."""
    order = np.argsort(-A.std((1, 2)), axis=-1, kind="stable")
    return np.argsort(order, axis=-1) < (channels or A.shape[-1])


def combined(maps: list[np.ndarray], size: tuple[int, ...], combine: str) -> np.ndarray:
    """The mean, maximum or product of maps that are resized to the image, and scaled to [0, 1]."""
    function = {"mean": np.mean, "max": np.max, "product": np.prod}[combine]
    return function([min_max(resized(one, size)) for one in maps], axis=0)


def softmax_of(row: np.ndarray, used: np.ndarray) -> np.ndarray:
    powers = np.where(used, np.exp(row - row[used].max(initial=-1e9)), 0)
    return divided(powers, powers.sum(keepdims=True))
