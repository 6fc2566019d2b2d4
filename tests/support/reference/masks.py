"""VisualBackProp (Bojarski et al., 2016): which pixels the deepest feature maps were made from.

Backwards from the deepest ReLU map: mask ← mask · mean over channels of the ReLU's output, then
through the layers between, up to the image.

* A ReLU counts where its output has height and width that come from the image's: not one computed
  from globally pooled or reshaped values only (squeeze-and-excitation gates, heads of 1×1
  convolutions). The mask starts as ones at each ReLU from whose output no other such ReLU is
  computed, so what follows the last one (pooling, BatchNorm, Dense and their ReLUs) plays no part.
* A convolution or pooling scales the mask up: the transpose of the convolution with the same window
  whose weights are all one (average pooling: not divided by the window's size). A transposed
  convolution scales it down, by the transpose of itself with weights of one. Other operations pass
  the mask as it is.
* Every input of Add, Concatenate and Multiply gets the whole mask (a gate of another height and
  width gets none); at a fork the masks coming back are added.
* At the image there is no product, only min-max per image; a constant mask gives 0.
"""

from __future__ import annotations

import numpy as np

from .arranging import Crop, GlobalMaxPool, MaxPool, Pad, Reshape
from .cams import divided
from .gradients import is_relu
from .linear import AveragePool, Convolution, GlobalAveragePool, TransposedConvolution
from .network import IMAGES, Network, Node, Values
from .windows import Window

FLATTENING = (GlobalAveragePool, GlobalMaxPool, Reshape)


def visual_backprop(net: Network, images: np.ndarray) -> np.ndarray:
    """(N,H,W) in [0,1]."""
    values = net.forward(images)
    mask = net.walk_back(values, _starts(net, values), _mask_rule)[IMAGES]
    low, high = mask.min((1, 2), keepdims=True), mask.max((1, 2), keepdims=True)
    return divided(mask - low, high - low)


def scale_up(mask: np.ndarray, size: tuple[int, int], window: Window) -> np.ndarray:
    """mask (N,h,w) to (N, *size): each value added to every pixel that its window reads."""
    ones = Convolution(np.ones((*window.kernel, 1, 1)), window)
    return ones.transpose(mask[..., None], (len(mask), *size, 1))[..., 0]


def _mask_rule(node: Node, mask: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple:
    operation = node.operation
    if is_relu(node):
        return (mask * output.mean(-1),)
    if isinstance(operation, Convolution | MaxPool | AveragePool):
        return (scale_up(mask, inputs[0].shape[1:3], operation.window),)
    if isinstance(operation, TransposedConvolution):
        ones = TransposedConvolution(np.ones((*operation.window.kernel, 1, 1)), operation.window)
        return (ones.transpose(mask[..., None], (*inputs[0].shape[:3], 1))[..., 0],)
    if isinstance(operation, Pad | Crop):
        (back,) = operation.adjoint(mask[..., None], (inputs[0][..., :1],), output[..., :1])
        return (back[..., 0],)
    return tuple(mask if x.ndim == 4 and x.shape[1:3] == mask.shape[1:3] else None for x in inputs)


def _starts(net: Network, values: Values) -> Values:
    """Ones (N,h,w) at the deepest ReLU maps."""
    maps = _relu_maps(net, values)
    above: set[str] = set()
    for node in reversed(net.nodes):
        if node.name in maps or node.name in above:
            above.update(node.inputs)
    return {name: np.ones(values[name].shape[:3]) for name in maps if name not in above}


def _relu_maps(net: Network, values: Values) -> list[str]:
    maps, spatial = [], {IMAGES}
    for node in net.nodes:
        if spatial.isdisjoint(node.inputs) or isinstance(node.operation, FLATTENING) or values[node.name].ndim != 4:
            continue
        spatial.add(node.name)
        if is_relu(node):
            maps.append(node.name)
    if not maps:
        raise ValueError("The network has no ReLU with height and width.")
    return maps
