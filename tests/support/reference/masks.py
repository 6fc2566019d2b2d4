"""VisualBackProp (Bojarski et al., 2016): which pixels the deepest feature maps depend on.

Backward from the deepest ReLU map: mask ← mask · channel mean of the ReLU's output, then through
the layers between, up to the image.

* A ReLU counts if its output has height and width that come from the image, unlike one computed
  from globally pooled or reshaped values only (squeeze-and-excitation gates, heads of 1×1
  convolutions). The mask starts with ones at each ReLU that no other such ReLU depends on, so
  everything after the last one (pooling, BatchNorm, Dense and their ReLUs) is ignored.
* In a network without such a ReLU, or with activations="all", the maps are those behind all
  activations, with their positive part. A final softmax or sigmoid does not count, nor does a gate,
  which a Multiply reads beside a map.
* A convolution or pooling scales the mask up, by the transposed convolution with the same window
  and weights of one (average pooling: not divided by the window size). A transposed convolution
  scales it down, by its own transpose with weights of one. Other operations pass the mask
  unchanged.
* Every input of Add, Concatenate and Multiply gets the whole mask (a gate of another height and
  width gets none). At a fork, the returning masks are added.
* At the image there is no product, only min-max scaling per image; a constant mask gives 0.
"""

from __future__ import annotations

import numpy as np

from .arranging import Crop, GlobalMaxPool, MaxPool, Multiply, Pad, Reshape
from .cams import divided
from .gradients import is_other_activation, is_relu
from .linear import AveragePool, Convolution, GlobalAveragePool, TransposedConvolution
from .network import IMAGES, Network, Node, Values
from .windows import Window

FLATTENING = (GlobalAveragePool, GlobalMaxPool, Reshape)


def visual_backprop(net: Network, images: np.ndarray, activations: str | None = None) -> np.ndarray:
    """Return the masks (N,H,W) in [0,1]."""
    values = net.forward(images)
    maps = _maps(net, values, activations)

    def rule(node: Node, mask: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple:
        if node.name in maps:
            return (mask * np.maximum(output, 0).mean(-1),)
        return _mask_rule(node, mask, inputs, output)

    mask = net.walk_back(values, _starts(net, values, maps), rule)[IMAGES]
    low, high = mask.min((1, 2), keepdims=True), mask.max((1, 2), keepdims=True)
    return divided(mask - low, high - low)


def scale_up(mask: np.ndarray, size: tuple[int, int], window: Window) -> np.ndarray:
    """Scale a mask (N,h,w) up to (N, *size): add each value to each pixel its window reads."""
    ones = Convolution(np.ones((*window.kernel, 1, 1)), window)
    return ones.transpose(mask[..., None], (len(mask), *size, 1))[..., 0]


def _mask_rule(node: Node, mask: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple:
    operation = node.operation
    if isinstance(operation, Convolution | MaxPool | AveragePool):
        return (scale_up(mask, inputs[0].shape[1:3], operation.window),)
    if isinstance(operation, TransposedConvolution):
        ones = TransposedConvolution(np.ones((*operation.window.kernel, 1, 1)), operation.window)
        return (ones.transpose(mask[..., None], (*inputs[0].shape[:3], 1))[..., 0],)
    if isinstance(operation, Pad | Crop):
        (back,) = operation.adjoint(mask[..., None], (inputs[0][..., :1],), output[..., :1])
        return (back[..., 0],)
    return tuple(mask if x.ndim == 4 and x.shape[1:3] == mask.shape[1:3] else None for x in inputs)


def _starts(net: Network, values: Values, maps: list[str]) -> Values:
    """Return ones (N,h,w) at the deepest maps."""
    above: set[str] = set()
    for node in reversed(net.nodes):
        if node.name in maps or node.name in above:
            above.update(node.inputs)
    return {name: np.ones(values[name].shape[:3]) for name in maps if name not in above}


def _maps(net: Network, values: Values, activations: str | None) -> list[str]:
    relus, others, spatial = [], [], {IMAGES}
    for node in net.nodes:
        if spatial.isdisjoint(node.inputs) or isinstance(node.operation, FLATTENING) or values[node.name].ndim != 4:
            continue
        spatial.add(node.name)
        if is_relu(node):
            relus.append(node.name)
        elif is_other_activation(node) and not _is_gate(net, node) and (node.name != net.output or net.score == net.output):
            others.append(node.name)
    if not relus and not others:
        raise ValueError("The network has no activation with height and width.")
    return relus if relus and activations is None else relus + others


def _is_gate(net: Network, node: Node) -> bool:
    readers = net.consumers(node.name)
    return any(isinstance(reader.operation, Multiply) and reader.inputs[0] != node.name for reader in readers)
