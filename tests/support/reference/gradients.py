"""Saliency, guided backprop and deconvnet: each operation's adjoint, with a rule at each ReLU.

    Forward x → max(x, 0), backward of p:
        saliency          p · [x > 0]               (the derivative)
        guided backprop   p · [x > 0] · [p > 0]     (for a capped ReLU also [x < max])
        deconvnet         p · [p > 0]

A ReLU with a negative slope does not count as a ReLU here. Like all other activations, it keeps its
derivative. With activations="all", each other activation f except a softmax also has a rule:
        guided backprop   p · max(f'(x), 0) · [p > 0]
        deconvnet         p · [p > 0]
"""

from __future__ import annotations

import numpy as np

from .network import IMAGES, Network, Node, Rule
from .pointwise import Activation, Relu, Softmax


def gradient_rule(node: Node, p: np.ndarray, inputs: tuple, output: np.ndarray) -> tuple:
    return node.operation.adjoint(p, inputs, output)


def guided_relu(p: np.ndarray, x: np.ndarray, relu: Relu | None = None) -> np.ndarray:
    return p * (p > 0) * (relu or Relu()).is_open(x)


def deconvnet_relu(p: np.ndarray) -> np.ndarray:
    return p * (p > 0)


def is_relu(node: Node) -> bool:
    return isinstance(node.operation, Relu) and node.operation.negative_slope == 0


def is_other_activation(node: Node) -> bool:
    return isinstance(node.operation, Activation) and not isinstance(node.operation, Softmax) and not is_relu(node)


def gradient(net: Network, images: np.ndarray, weights: np.ndarray, layer: str = IMAGES) -> np.ndarray:
    """∂ Σ weights · logits / ∂ layer; weights (N, classes)."""
    return _carried_to(net, images, weights, layer, gradient_rule)


def saliency(net: Network, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,H,W,C), signed; weights (N, classes)."""
    return gradient(net, images, weights)


def gradient_times_input(net: Network, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return images * gradient(net, images, weights)


def guided_backprop(net: Network, images: np.ndarray, weights: np.ndarray, activations: str = "relu") -> np.ndarray:
    def rule(node: Node, p: np.ndarray, inputs: tuple, output: np.ndarray) -> tuple:
        if activations == "all" and is_other_activation(node):
            (slope,) = node.operation.adjoint(np.ones_like(p), inputs, output)
            return (np.maximum(p, 0) * np.maximum(slope, 0),)
        if is_relu(node):
            return (guided_relu(p, inputs[0], node.operation),)
        return gradient_rule(node, p, inputs, output)

    return _carried_to(net, images, weights, IMAGES, rule)


def deconvnet(net: Network, images: np.ndarray, weights: np.ndarray, activations: str = "relu") -> np.ndarray:
    def rule(node: Node, p: np.ndarray, inputs: tuple, output: np.ndarray) -> tuple:
        is_redirected = is_relu(node) or (activations == "all" and is_other_activation(node))
        return (deconvnet_relu(p),) if is_redirected else gradient_rule(node, p, inputs, output)

    return _carried_to(net, images, weights, IMAGES, rule)


def _carried_to(net: Network, images: np.ndarray, weights: np.ndarray, layer: str, rule: Rule) -> np.ndarray:
    values, name = net.forward(images), net.name_of(layer)
    back = net.walk_back(values, {net.score: np.asarray(weights, np.float64)}, rule)
    return back.get(name, np.zeros_like(values[name]))
