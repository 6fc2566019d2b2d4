"""VisualBackProp's rules: how a one-channel mask is scaled back through each operation.

The theory in Bojarski et al., 2016/2018, "VisualBackProp: efficient visualization of CNNs", follows
the paths from an input pixel to an output. A pixel is relevant if paths lead from it through active
neurons; the weights are ignored. Each rule therefore depends only on which inputs an output reads.

    Linear, Window      A transposed convolution with weights of one and the operation's kernel
                        size, strides, padding and dilation scales the mask to the exact input size.
                        This is the paper's rule ("deconvolution"). The paper does not cover
                        pooling, which is treated as a window. For a transposed convolution, the
                        rule is a convolution with ones. The input of a global pooling layer
                        gets no mask, because the single output pixel has no spatial extent.
    Sum, Concatenate    Every input gets the full mask, because a path leads through each. If
                        several operations read a value, their masks are added. The paper covers
                        only networks without branches. A one-pixel input that is broadcast to all
                        pixels gets no mask.
    Product             The signal gets the mask. The gate gets no mask, because it was reduced to
                        one pixel and has no spatial extent.
    Pad, Crop           The mask is cropped where the input was padded, and padded with zeros where
                        the input was cropped.
    Upsample            Each pixel gets the mean over its copies: the transpose of copying, scaled
                        so that the mask keeps its magnitude.
    Resize              Each pixel gets the mean over the output pixels that read it, weighted by
                        the interpolation weights.
    other Move          (flips, transposes, slices, splits, reshapes …) Each pixel gets the mean
                        over its copies, or 0 if it has none.
    all others          (activations, normalization, 1×1 maps) The mask stays unchanged if the
                        operation keeps height and width.

An opaque operation that keeps height and width can still contain a convolution. Its TensorFlow
operations are therefore inspected. If any of them mixes pixels, an error is raised.

The rules use `keras.ops` and work on both eager and symbolic tensors, so the mask can become a
branch of a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from keras import ops

from tfviz.errors import UnsupportedModelError
from tfviz.graph.graph import Step
from tfviz.graph.operations import (
    Concatenate,
    Crop,
    Extent,
    Linear,
    Move,
    Operation,
    Pad,
    Reshape,
    Resize,
    Sum,
    Upsample,
    Window,
)
from tfviz.rules.pixel_permutation import Size, Tensor, moved_back
from tfviz.rules.receptive_field import require_one_pixel
from tfviz.rules.resize import resized_back

_LAST = "channels_last"  # explicit, because keras.json may set a different default


def masks_of_inputs(step: Step, mask: Tensor, sizes: Sequence[Size], output: int = 0) -> list[Tensor | None]:
    """Return the mask at each of a step's inputs, given the mask at one of its outputs.

    Args:
        step: the step.
        mask: the mask at the output, of shape (N, height, width, 1).
        sizes: the (height, width) of each input.
        output: the index of the output.

    Returns:
        One mask per input, or None for an input that gets no mask.

    Raises:
        UnsupportedModelError: there is no rule for how the step moves or mixes pixels.
    """
    require_one_pixel(step)
    if _is_pixel_permutation(step, mask, sizes):
        return [moved_back(step, mask, sizes, number, output) for number in range(len(sizes))]
    # A flat vector has no positions, but the map that a Reshape restores from it does.
    carriers = step.inputs if isinstance(step.operation, Reshape) else step.signal_inputs
    pairs = zip(step.inputs, sizes, strict=True)
    return [
        _time_distributed_back(step, mask, size) if value in carriers and _receives_mask(step, mask, size) else None
        for value, size in pairs
    ]


def _receives_mask(step: Step, mask: Tensor, size: Size) -> bool:
    """Return whether an input has spatial positions that the output keeps."""
    operation, here, behind = step.operation, size[step.time_axes :], tuple(mask.shape[1 + step.time_axes : -1])
    if here == behind:
        return len(here) > 0
    is_broadcast = isinstance(operation, Sum) and all(n == 1 for n in here)
    is_pooled_to_one = isinstance(operation, Window) and operation.extent is None and all(n == 1 for n in behind)
    return len(here) > 0 and not is_broadcast and not is_pooled_to_one


def _is_pixel_permutation(step: Step, mask: Tensor, sizes: Sequence[Size]) -> bool:
    """Return whether the step is a move whose pixels are tracked individually."""
    operation = step.operation
    if not isinstance(operation, Move) or isinstance(operation, (Pad, Crop, Upsample, Resize)):
        return False
    ranks = [value.rank for value in step.inputs]
    # Concatenation along channels usually does not move pixels.
    if isinstance(operation, Concatenate) and operation.axis in (-1, ranks[0] - step.time_axes - 1):
        return any(rank != len(size) + 2 for rank, size in zip(ranks, sizes, strict=True))
    return all(len(size) > step.time_axes for size in (mask.shape[1:-1], *sizes))


def _time_distributed_back(step: Step, mask: Tensor, size: Size) -> Tensor:
    """Scale the mask back, separately for each time step inside a TimeDistributed layer."""
    times = size[: step.time_axes]
    if not times:
        return _back_of_size(step, mask, size)
    back = _back_of_size(step, ops.reshape(mask, (-1, *mask.shape[1 + len(times) :])), size[len(times) :])
    return ops.reshape(back, (-1, *size, 1))


def _back_of_size(step: Step, mask: Tensor, size: Size) -> Tensor:
    back = resized_back(step, mask, size) if _is_resize(step, size) else _back(step.operation, mask, size)
    if tuple(back.shape[1:-1]) != tuple(size):
        raise UnsupportedModelError(
            f"VisualBackProp cannot scale its mask back through {step.label}, from {tuple(mask.shape[1:-1])} to {tuple(size)}. "
            "Rules exist for convolutions, pooling, padding, cropping, resizing, upsampling and operations that move pixels. "
            "Use a gradient method such as guided_backprop or grad_cam."
        )
    return back


def _is_resize(step: Step, size: Size) -> bool:
    """Return whether a step resizes 2-D maps. Keras has no resize for other ranks."""
    return isinstance(step.operation, Resize) and len(size) == 2


@singledispatch
def _back(operation: Operation, mask: Tensor, size: Size) -> Tensor:
    """Return the mask at an operation's input. Without a registered rule, the mask is unchanged."""
    return mask


@_back.register(Linear)
def _(operation: Linear, mask: Tensor, size: Size) -> Tensor:
    return mask if operation.extent is None else _through_window(mask, size, operation.extent)


@_back.register(Window)
def _(operation: Window, mask: Tensor, size: Size) -> Tensor:
    return mask if operation.extent is None else _through_window(mask, size, operation.extent)


@_back.register(Pad)
def _(operation: Pad, mask: Tensor, size: Size) -> Tensor:
    sizes = mask.shape[1:-1]
    return mask[(slice(None), *(slice(b, n - a) for (b, a), n in zip(operation.amounts, sizes, strict=True)))]


@_back.register(Crop)
def _(operation: Crop, mask: Tensor, size: Size) -> Tensor:
    return ops.pad(mask, [(0, 0), *operation.amounts, (0, 0)])


@_back.register(Upsample)
def _(operation: Upsample, mask: Tensor, size: Size) -> Tensor:
    """Return the mean over the copies of each element."""
    return ops.average_pool(mask, operation.factors, strides=operation.factors, padding="valid", data_format=_LAST)


def _through_window(mask: Tensor, size: Size, extent: Extent) -> Tensor:
    if extent.is_transposed:  # its rule is a convolution with ones
        return ops.conv(
            mask, _ones(extent.size, extent.dilation), strides=list(extent.strides), padding=extent.padding, data_format=_LAST
        )
    return scale_up(mask, size, extent)


def scale_up(mask: Tensor, size: Size, extent: Extent) -> Tensor:
    """Scale a mask up to `size` with a transposed convolution whose kernel contains only ones.

    A window of ones is symmetric, so this equals a plain convolution over the mask with zeros
    inserted for the strides.

    Args:
        mask: the mask at the output of the forward window, of shape (N, height, width, 1).
        size: the (height, width) of the forward window's input.
        extent: the forward window.

    Returns:
        The mask at the input, of shape (N, *size, 1).
    """
    kernel, strides, padding, dilation = extent.size, extent.strides, extent.padding, extent.dilation
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if max(strides) > 1:
        mask = _spread(mask, strides)
    before = _padded_before(tuple(mask.shape[1:-1]), size, reach, strides, padding)
    # In the forward pass, output o reads inputs starting at o · stride − before. In the backward
    # pass, input i therefore reads up to i + before.
    if any(m > n + b for m, n, b in zip(mask.shape[1:-1], size, before, strict=True)):
        mask = mask[(slice(None), *(slice(0, n + b) for n, b in zip(size, before, strict=True)))]
    pads = [(r - 1 - b, n + b - m) for r, b, n, m in zip(reach, before, size, mask.shape[1:-1], strict=True)]
    if max(reach) > 1 and pads == [((r - 1) // 2, r // 2) for r in reach]:
        return ops.conv(mask, _ones(kernel, dilation), padding="same", data_format=_LAST)
    if any(map(any, pads)):
        mask = ops.pad(mask, [(0, 0), *pads, (0, 0)])
    return ops.conv(mask, _ones(kernel, dilation), padding="valid", data_format=_LAST) if max(reach) > 1 else mask


def _spread(mask: Tensor, strides: Size) -> Tensor:
    """Insert stride − 1 zeros after each element, one axis at a time."""
    sizes = list(mask.shape[1:-1])
    for axis, stride in enumerate(strides):
        if stride > 1:
            rest = math.prod(sizes[axis + 1 :])
            mask = ops.pad(ops.reshape(mask, (-1, sizes[axis], 1, rest)), [(0, 0), (0, 0), (0, stride - 1), (0, 0)])
            sizes[axis] *= stride
    return ops.reshape(mask, (-1, *sizes, 1))


def _padded_before(spread: Size, size: Size, reach: Size, strides: Size, padding: str | Size) -> Size:
    """Return the padding of the forward window before the first input, along each axis."""
    if isinstance(padding, tuple):
        return padding
    if padding == "valid":
        return (0,) * len(size)
    if padding == "causal":
        return tuple(r - 1 for r in reach)
    # TensorFlow's "same" adds the padding that the last window needs, with the smaller half first.
    return tuple(max(m - s + r - n, 0) // 2 for m, s, r, n in zip(spread, strides, reach, size, strict=True))


def _ones(kernel: Size, dilation: Size) -> np.ndarray:
    """Return a kernel with ones where a dilated kernel reads and zeros elsewhere."""
    weights = np.zeros([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)], "float32")
    weights[tuple(slice(None, None, d) for d in dilation)] = 1
    return weights[..., None, None]
