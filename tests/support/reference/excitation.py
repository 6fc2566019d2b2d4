"""Excitation backprop (Zhang et al., 2016) and its contrastive variant.

p starts at the logits as the target distribution. Through a linear map y = f(x; W) + b, with a =
max(x, 0):

    p_in = a · fᵀ(W⁺, p / f(a; W⁺)),    0 where the divisor is 0

* Linear maps: Dense, all convolutions (separable: depthwise and pointwise part, one after the
  other), average pooling and global average pooling (W = W⁺ = 1 / number of pixels, without
  padding). The bias takes no part.
* Add: input i gets p · a_i / Σ a, a_i = max(x_i, 0), 0 where Σ a = 0.
* Max pooling, padding, cropping, reshaping, concatenation: their own derivative.
* Activations, BatchNorm, Rescaling, Normalization, Dropout: p unchanged.
* A linear map that reads the image (with only Rescaling, Normalization, BatchNorm, activations,
  Dropout, padding, cropping or reshaping before it): a is its input minus its smallest value, per
  image over all positions and channels. Padded pixels are excluded from the minimum and stay 0.
* merge_batch_norm: if a BatchNorm is the only reader of a convolution's or Dense layer's output, W
  is multiplied by the BatchNorm's scale (per output channel) before W⁺ is taken.
* Contrastive: at the last linear map with weights, p_in(W) − p_in(−W), both with the same p; below
  it as above. A last map with positions whose outputs are averaged is one linear map with the
  average, so p is divided by the responses at all positions at once.
"""

from __future__ import annotations

import numpy as np

from .arranging import Add, Arranging, Concatenate, GlobalMaxPool, MaxPool
from .cams import divided, relu
from .linear import Convolution, Linear
from .network import IMAGES, Network, Node, Values
from .pointwise import Activation, Affine, BatchNorm, Identity
from .windows import Window

PASSING = (Activation, Affine, Identity)
OWN_DERIVATIVE = (MaxPool, GlobalMaxPool, Arranging, Concatenate)


def excitation_backprop(
    net: Network, images: np.ndarray, weights: np.ndarray, layer: str = IMAGES, merge_batch_norm: bool = False
) -> np.ndarray:
    """Return p at the layer's output, per channel; weights (N, classes)."""
    return _excite(net, images, weights, layer, merge_batch_norm, contrastive=False)


def contrastive_excitation_backprop(
    net: Network, images: np.ndarray, weights: np.ndarray, layer: str = IMAGES, merge_batch_norm: bool = False
) -> np.ndarray:
    """Like excitation_backprop, signed."""
    return _excite(net, images, weights, layer, merge_batch_norm, contrastive=True)


def winning(operation: Linear, p: np.ndarray, a: np.ndarray, *, is_averaged: bool = False) -> np.ndarray:
    """Compute a · fᵀ(W⁺, p / f(a; W⁺)) for a ≥ 0, or with p Σ p / Σ (p f) over all positions."""
    positive = operation.positive()
    z = positive.apply(a)
    if not is_averaged:
        return a * positive.transpose(divided(p, z), a.shape)
    totals = (x.sum(tuple(range(1, p.ndim - 1)), keepdims=True) for x in (p, p * z))
    return a * positive.transpose(p * divided(*totals), a.shape)


def excitation_linear(x: np.ndarray, p: np.ndarray, kernel: np.ndarray, window: Window, groups: int = 1) -> np.ndarray:
    """Apply the rule of a non-first convolution; kernel (kh, kw, inputs / groups, outputs)."""
    return winning(Convolution(kernel, window, groups), p, relu(x))


def excitation_add(p: np.ndarray, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    total = sum(relu(x) for x in inputs)
    return tuple(p * divided(relu(x), total) for x in inputs)


def _excite(
    net: Network, images: np.ndarray, weights: np.ndarray, layer: str, merge_batch_norm: bool, contrastive: bool
) -> np.ndarray:
    values, name = net.forward(images), net.name_of(layer)
    shifted = _shifted_images(net, values)
    last = _last_weighted(net) if contrastive else None
    averaged = _averaged(net, last, values) if last else set()

    def rule(node: Node, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple:
        operation = node.operation
        if isinstance(operation, Linear):
            a = shifted.get(node.inputs[0], relu(inputs[0]))
            operation = _merged(net, node) if merge_batch_norm else operation
            if node.name in averaged and node.name != last:
                return (operation.transpose(p, a.shape),)
            p_in = winning(operation, p, a, is_averaged=node.name in averaged)
            return (
                (p_in - winning(operation.negated(), p, a, is_averaged=node.name in averaged),)
                if node.name == last
                else (p_in,)
            )
        if isinstance(operation, Add):
            return excitation_add(p, *inputs)
        if isinstance(operation, OWN_DERIVATIVE):
            return operation.adjoint(p, inputs, output)
        if isinstance(operation, PASSING):
            return (p,)
        raise NotImplementedError(f"Excitation backprop has no rule for {operation}.")

    back = net.walk_back(values, {net.score: np.asarray(weights, np.float64)}, rule)
    return back.get(name, np.zeros_like(values[name]))


def _shifted_images(net: Network, values: Values) -> Values:
    """Return the image and its scaled, padded or reshaped forms, with minimum 0, by name."""
    is_real = {IMAGES: np.ones(values[IMAGES].shape, bool)}
    for node in net.nodes:
        if node.inputs[0] not in is_real:
            continue
        if isinstance(node.operation, PASSING):
            is_real[node.name] = is_real[node.inputs[0]]
        elif isinstance(node.operation, Arranging):
            is_real[node.name] = node.operation.place(is_real[node.inputs[0]])
    return {name: np.where(real, values[name] - _smallest(values[name], real), 0) for name, real in is_real.items()}


def _smallest(x: np.ndarray, real: np.ndarray) -> np.ndarray:
    return np.where(real, x, np.inf).min(tuple(range(1, x.ndim)), keepdims=True)


def _last_weighted(net: Network) -> str:
    """Return the last linear map with weights before the score."""
    needed = {net.score}
    for node in reversed(net.nodes):
        if node.name in needed:
            if isinstance(node.operation, Linear) and node.operation.kernel is not None:
                return node.name
            needed.update(node.inputs)
    raise ValueError("The network has no linear map with weights.")


def _averaged(net: Network, last: str, values: Values) -> set[str]:
    """Return the last map and the averages above it, if there is nothing else but activations."""
    above = list(net.nodes)[[node.name for node in net.nodes].index(last) + 1 :]
    is_average = all(isinstance(node.operation, (*PASSING, Linear, Arranging)) for node in above)
    has_batch_norm = any(isinstance(node.operation, BatchNorm) for node in above)
    return {last, *(node.name for node in above)} if values[last].ndim > 2 and is_average and not has_batch_norm else set()


def _merged(net: Network, node: Node) -> Linear:
    readers = net.consumers(node.name)
    if node.operation.kernel is None or len(readers) != 1 or not isinstance(readers[0].operation, BatchNorm):
        return node.operation
    return node.operation.scaled(readers[0].operation.scale)
