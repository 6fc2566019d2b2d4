"""The rules of VisualBackProp: how a mask of one channel goes back through each kind of operation.

Bojarski et al., 2016/2018, "VisualBackProp: efficient visualization of CNNs". Their theory follows the
paths from an input pixel to an output: a pixel matters as far as paths lead from it through active places, and the mask
leaves the weights out of account. So every rule here asks only which inputs an output could see.

    linear, pooling     a transposed convolution whose weights are all one: same kernel, stride, padding and dilation, and
                        exactly the size of the operation's input. The paper's own rule (its "deconvolution"); pooling,
                        which their network has none of, is a window of its own
    transposed convolution
                        the convolution with ones: the transpose of the rule above
    add, concatenate    every input gets the whole mask: a path leads into each. Masks that meet at a fork are summed, as
                        paths are. The paper has chains only. An input of one pixel, which is added to all, gets nothing
    multiply            the gated branch gets it, the gate nothing: a gate was squeezed to a pixel, so that its place in the
                        picture is gone
    padding, cropping   cropping, padding with zeros: what was padded is no part of the picture, of what was cropped
                        nothing is seen
    upsampling          the mean over the copies of a pixel: the transpose of copying, so scaled that the mask keeps its size
    other moves         (flips, transpositions, slices, splits, reshapes …) the mask goes back to where its pixels came from:
                        again the mean over the copies of a pixel, and 0 where there are none
    whatever else keeps height and width (activations, normalization, one-by-one maps): the mask as it is

A layer that is run as a whole keeps height and width too, and may hold a convolution all the same. TensorFlow's operations
in it are looked at, and where one of them reads more than one pixel, it is refused.

They are written with `keras.ops`, for tensors and symbolic tensors alike, so that the mask can be a branch of a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers, ops

from tfviz.errors import UnsupportedModelError
from tfviz.graph.gating import gated_input
from tfviz.graph.places import Graph, Place
from tfviz.rules.mixing import require_one_by_one
from tfviz.rules.moves import Size, moved_back

_POOLS = ("max_pool", "average_pool")
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_PADDING = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
_CROPPING = (layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)
_UPSAMPLING = (layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D)
_OWN_RULE = (*_PADDING, *_CROPPING, *_UPSAMPLING)
_INTERPOLATING = ("Resizing", "CenterCrop", "Resize")


def masks_of_inputs(graph: Graph, place: Place, mask: Any, sizes: Sequence[Size], output: int = 0) -> list[Any]:
    """What each input of a place gets of the mask (N, height, width, 1) at one of its outputs; None for nothing.

    Args:
        sizes: (height, width) of each input.
        output: the number of the output.

    Raises:
        UnsupportedModelError: for an operation that changes the size, or moves pixels, in a way that is not known.
    """
    if place.kind in ("other", "linear"):
        require_one_by_one(graph, place)
    if place.kind == "multiply":
        gated = gated_input(graph, place)
        return [mask if i == gated else None for i in range(len(sizes))]
    if _moves(graph, place, mask, sizes):
        return [moved_back(graph, place, mask, sizes, number, output) for number in range(len(sizes))]
    return [_back_over_time(place, mask, size) if _has_part(place, mask, size) else None for size in sizes]


def _has_part(place: Place, mask: Any, size: Size) -> bool:
    """Whether an input has places, and more than one where the output of a sum has."""
    here, behind = size[place.series_axes :], tuple(mask.shape[1 + place.series_axes : -1])
    is_one_for_all = place.kind == "add" and here != behind and all(n == 1 for n in here)
    return len(here) > 0 and not is_one_for_all


def _moves(graph: Graph, place: Place, mask: Any, sizes: Sequence[Size]) -> bool:
    """Whether the mask goes back by where the pixels came from."""
    operation, name = place.operation, type(place.operation).__name__
    if place.kind != "reshape" or isinstance(operation, _OWN_RULE) or name in ("Pad", *_INTERPOLATING):
        return False
    ranks = [len(graph.shapes[value]) for value in place.inputs]
    if name == "Concatenate" and operation.axis in (-1, ranks[0] - place.series_axes - 1):  # of channels, as most are
        return any(rank != len(size) + 2 for rank, size in zip(ranks, sizes, strict=True))
    return all(len(size) > place.series_axes for size in (mask.shape[1:-1], *sizes))


def _back_over_time(place: Place, mask: Any, size: Size) -> Any:
    """Back through one step of a series after the other, where the place is inside a TimeDistributed."""
    steps = size[: place.series_axes]
    if not steps:
        return _back(place, mask, size)
    back = _back(place, ops.reshape(mask, (-1, *mask.shape[1 + len(steps) :])), size[len(steps) :])
    return ops.reshape(back, (-1, *size, 1))


def _back(place: Place, mask: Any, size: Size) -> Any:
    operation = place.operation
    window = _window(place)
    if isinstance(operation, _TRANSPOSED) and place.kind == "linear":  # Not at an activation that is fused into it.
        return _scale_down(operation, mask)
    if window is not None:
        return scale_up(mask, size, *window)
    if isinstance(operation, _PADDING):
        return _crop(mask, operation.padding)
    if type(operation).__name__ == "Pad" and len(operation.pad_width) == len(mask.shape):  # `keras.ops.pad`
        return _crop_pairs(mask, operation.pad_width[1:-1])
    if isinstance(operation, _CROPPING):
        return _pad(mask, operation.cropping)
    if isinstance(operation, _UPSAMPLING):
        factors = _tuple(operation.size, len(size))
        return scale_down_by_mean(mask, factors)
    if tuple(mask.shape[1:-1]) != tuple(size):
        raise _unknown(place, mask, size)
    return mask


def _unknown(place: Place, mask: Any, size: Size) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"VisualBackProp does not know how to scale its mask back through '{place.path}' "
        f"({type(place.operation).__name__}), from {tuple(mask.shape[1:-1])} to {tuple(size)}; it knows convolutions, pooling, "
        "padding, cropping, upsampling and what moves pixels in a picture. Use a gradient method such as guided_backprop or "
        "grad_cam"
    )


def _window(place: Place) -> tuple[Size, Size, str | Size, Size] | None:
    """kernel size, strides, padding, dilation of a sliding window; None for what has none."""
    operation = place.operation
    size = getattr(operation, "pool_size" if place.kind in _POOLS else "kernel_size", None)
    # The second stage of a separable convolution has a kernel of one pixel.
    is_pointwise = place.linear_map.kernel_name == "pointwise_kernel"
    if size is None or is_pointwise or place.kind not in ("linear", *_POOLS):
        return None
    rank = len(size) if isinstance(size, (tuple, list)) else 2
    size = _tuple(size, rank)
    strides = size if operation.strides is None else _tuple(operation.strides, rank)
    return size, strides, operation.padding, _tuple(getattr(operation, "dilation_rate", 1), rank)


def _tuple(value: Any, rank: int) -> Size:
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * rank


def scale_up(mask: Any, size: Size, kernel: Size, strides: Size, padding: str | Size, dilation: Size) -> Any:
    """The transposed convolution with ones that takes a mask back to `size`, the input of the forward window.

    It is written as a convolution over the mask spread out by its strides: a window of ones is its own mirror image.

    Args:
        mask: (N, height, width, 1), the size of the forward window's output.
        padding: "valid", "same", "causal" (one dimension), or how much there was before the first element, along each axis.
    """
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if max(strides) > 1:
        mask = _spread(mask, strides)
    before = _padded_before(tuple(mask.shape[1:-1]), size, reach, strides, padding)
    # Forward, output o reads the inputs from o · stride − before on. Back, then, input i reads from i + before down.
    if any(m > n + b for m, n, b in zip(mask.shape[1:-1], size, before, strict=True)):
        mask = mask[(slice(None), *(slice(0, n + b) for n, b in zip(size, before, strict=True)))]
    pads = [(r - 1 - b, n + b - m) for r, b, n, m in zip(reach, before, size, mask.shape[1:-1], strict=True)]
    if max(reach) > 1 and pads == [((r - 1) // 2, r // 2) for r in reach]:
        return ops.conv(mask, _ones(kernel, dilation), padding="same")
    if any(map(any, pads)):
        mask = ops.pad(mask, [(0, 0), *pads, (0, 0)])
    return ops.conv(mask, _ones(kernel, dilation), padding="valid") if max(reach) > 1 else mask


def _spread(mask: Any, strides: Size) -> Any:
    """Each element followed by stride − 1 zeros, along one axis after the other."""
    sizes = list(mask.shape[1:-1])
    for axis, stride in enumerate(strides):
        if stride > 1:
            rest = math.prod(sizes[axis + 1 :])
            mask = ops.pad(ops.reshape(mask, (-1, sizes[axis], 1, rest)), [(0, 0), (0, 0), (0, stride - 1), (0, 0)])
            sizes[axis] *= stride
    return ops.reshape(mask, (-1, *sizes, 1))


def _padded_before(spread: Size, size: Size, reach: Size, strides: Size, padding: str | Size) -> Size:
    """How many elements of padding the forward window read before the first of its input, along each axis."""
    if isinstance(padding, tuple):
        return padding
    if padding == "valid":
        return (0,) * len(size)
    if padding == "causal":
        return tuple(r - 1 for r in reach)
    # As TensorFlow pads: what the last window lacks, the smaller half of it before.
    return tuple(max(m - s + r - n, 0) // 2 for m, s, r, n in zip(spread, strides, reach, size, strict=True))


def _ones(kernel: Size, dilation: Size) -> np.ndarray:
    """Ones at the places that a dilated kernel reads, zeros between them."""
    weights = np.zeros([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)], "float32")
    weights[tuple(slice(None, None, d) for d in dilation)] = 1
    return weights[..., None, None]


def _scale_down(layer: Any, mask: Any) -> Any:
    """Back through a transposed convolution: the convolution with ones."""
    kernel = _ones(tuple(layer.kernel_size), _tuple(layer.dilation_rate, len(layer.kernel_size)))
    return ops.conv(mask, kernel, strides=list(layer.strides), padding=layer.padding)


def scale_down_by_mean(mask: Any, factors: Size) -> Any:
    """Back through upsampling: every element gets what its copies hold, on average."""
    return ops.average_pool(mask, factors, strides=factors, padding="valid")


def _crop(mask: Any, amounts: Any) -> Any:
    return _crop_pairs(mask, _pairs(amounts, mask))


def _crop_pairs(mask: Any, pairs: Any) -> Any:
    sizes = mask.shape[1:-1]
    return mask[(slice(None), *(slice(b, n - a) for (b, a), n in zip(pairs, sizes, strict=True)))]


def _pad(mask: Any, amounts: Any) -> Any:
    return ops.pad(mask, [(0, 0), *_pairs(amounts, mask), (0, 0)])


def _pairs(amounts: Any, mask: Any) -> list[tuple[int, int]]:
    """Padding or cropping as Keras keeps it, as (before, after) for each axis."""
    one_axis = len(mask.shape) == 3
    return [tuple(amounts)] if one_axis else [tuple(pair) for pair in amounts]
