"""The CAMs: A the layer's activations (N,h,w,K), G = ∂S/∂A; every map (N,h,w), ≥ 0."""

from __future__ import annotations

import numpy as np

from .gradients import gradient
from .network import Network


def grad_cam(net: Network, images: np.ndarray, weights: np.ndarray, layer: str) -> np.ndarray:
    """relu(Σ_k mean_hw(G)_k A_k)."""
    A, G = _activations_and_gradient(net, images, weights, layer)
    return relu((G.mean((1, 2), keepdims=True) * A).sum(-1))


def grad_cam_plus_plus(net: Network, images: np.ndarray, weights: np.ndarray, layer: str) -> np.ndarray:
    """α = G² / (2G² + (Σ_hw A) G³), 0 where the divisor is 0; relu(Σ_k (Σ_hw α relu(G))_k A_k)."""
    A, G = _activations_and_gradient(net, images, weights, layer)
    alpha = divided(G**2, 2 * G**2 + A.sum((1, 2), keepdims=True) * G**3)
    return relu(((alpha * relu(G)).sum((1, 2), keepdims=True) * A).sum(-1))


def layer_cam(net: Network, images: np.ndarray, weights: np.ndarray, layer: str) -> np.ndarray:
    """relu(Σ_k relu(G_k) A_k)."""
    A, G = _activations_and_gradient(net, images, weights, layer)
    return relu((relu(G) * A).sum(-1))


def hires_cam(net: Network, images: np.ndarray, weights: np.ndarray, layer: str) -> np.ndarray:
    """relu(Σ_k G_k A_k)."""
    A, G = _activations_and_gradient(net, images, weights, layer)
    return relu((G * A).sum(-1))


def xgrad_cam(net: Network, images: np.ndarray, weights: np.ndarray, layer: str) -> np.ndarray:
    """relu(Σ_k (Σ_hw A_k G_k / Σ_hw A_k) A_k), 0 where the divisor is 0."""
    A, G = _activations_and_gradient(net, images, weights, layer)
    return relu((divided((A * G).sum((1, 2), keepdims=True), A.sum((1, 2), keepdims=True)) * A).sum(-1))


def eigen_cam(net: Network, images: np.ndarray, layer: str) -> np.ndarray:
    """A v of the first right singular vector v of A, Σ v ≥ 0."""
    return first_component(net.forward(images)[net.name_of(layer)])


def eigen_grad_cam(net: Network, images: np.ndarray, weights: np.ndarray, layer: str) -> np.ndarray:
    """The same of A ⊙ G."""
    A, G = _activations_and_gradient(net, images, weights, layer)
    return first_component(A * G)


def first_component(A: np.ndarray) -> np.ndarray:
    maps = []
    for a in A.reshape(len(A), -1, A.shape[-1]):
        v = np.linalg.svd(a, full_matrices=False)[2][0]
        maps.append(a @ (v if v.sum() >= 0 else -v))
    return np.stack(maps).reshape(A.shape[:-1])


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


def _activations_and_gradient(
    net: Network, images: np.ndarray, weights: np.ndarray, layer: str
) -> tuple[np.ndarray, np.ndarray]:
    return net.forward(images)[net.name_of(layer)], gradient(net, images, weights, layer)
