"""The rules of VisualBackProp: how a mask of one channel goes back through each kind of operation.

Bojarski et al., 2016/2018, "VisualBackProp: efficient visualization of CNNs". Their theory follows the paths from an
input pixel to an output: a pixel matters as far as paths lead from it through active neurons, and the mask leaves the weights
out of account. So every rule here asks only which inputs an output can read.

    Linear, Window      a transposed convolution whose weights are all one: same kernel, strides, padding and dilation, and
                        exactly the size of the operation's input. The paper's own rule (its "deconvolution"); pooling,
                        which their network has none of, is a window like any other. Through a transposed convolution, the
                        convolution with ones
    Sum, Concatenate    every input gets the whole mask: a path leads into each. Masks that meet at a fork are summed, as
                        paths are. The paper has chains only. An input of one pixel, which is added to all, gets nothing
    Product             the signal gets the mask, the gate nothing: a gate was squeezed to one pixel and has lost its position
    Pad, Crop           cropping, padding with zeros: what was padded is no part of the image, and nothing was read of what
                        was cropped
    Upsample            the mean over the copies of a pixel: the transpose of copying, scaled so that the mask keeps its size
    other Move          (flips, transpositions, slices, splits, reshapes …) the mask goes back to where its pixels came from:
                        again the mean over the copies of a pixel, and 0 where there are none
    everything else that keeps height and width (activations, normalization, 1×1 maps): the mask unchanged

An opaque operation keeps height and width, too, and may hold a convolution all the same: the TensorFlow operations in it are
looked at, and where one of them reads more than one pixel, it is refused.

The rules are written with `keras.ops`, for tensors and symbolic tensors alike, so the mask can be a branch of a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from keras import ops

from tfviz.errors import UnsupportedModelError
from tfviz.graph.graph import Step
from tfviz.graph.operations import Concatenate, Crop, Extent, Linear, Move, Operation, Pad, Resize, Sum, Upsample, Window
from tfviz.rules.pixel_permutation import Size, Tensor, moved_back
from tfviz.rules.receptive_field import require_one_pixel

_LAST = "channels_last"  # said each time: keras.json may name the other order as the default


def masks_of_inputs(step: Step, mask: Tensor, sizes: Sequence[Size], output: int = 0) -> list[Tensor | None]:
    """What each input of a step gets of the mask (N, height, width, 1) at one of its outputs; None for nothing.

    Args:
        step: the step.
        mask: the mask at its output.
        sizes: (height, width) of each input.
        output: the number of the output.

    Raises:
        UnsupportedModelError: for an operation that changes the size, or moves pixels, in a way that is not known.
    """
    require_one_pixel(step)
    if _moves(step, mask, sizes):
        return [moved_back(step, mask, sizes, number, output) for number in range(len(sizes))]
    carriers = step.signal_inputs
    pairs = zip(step.inputs, sizes, strict=True)
    return [
        _back_over_time(step, mask, size) if value in carriers and _has_part(step, mask, size) else None
        for value, size in pairs
    ]


def _has_part(step: Step, mask: Tensor, size: Size) -> bool:
    """Whether an input has positions, and more than one where the output of a sum has."""
    here, behind = size[step.time_axes :], tuple(mask.shape[1 + step.time_axes : -1])
    is_one_for_all = isinstance(step.operation, Sum) and here != behind and all(n == 1 for n in here)
    return len(here) > 0 and not is_one_for_all


def _moves(step: Step, mask: Tensor, sizes: Sequence[Size]) -> bool:
    """Whether the mask goes back by where the pixels came from."""
    operation = step.operation
    if not isinstance(operation, Move) or isinstance(operation, (Pad, Crop, Upsample, Resize)):
        return False
    ranks = [value.rank for value in step.inputs]
    if isinstance(operation, Concatenate) and operation.axis in (-1, ranks[0] - step.time_axes - 1):  # of channels, as most are
        return any(rank != len(size) + 2 for rank, size in zip(ranks, sizes, strict=True))
    return all(len(size) > step.time_axes for size in (mask.shape[1:-1], *sizes))


def _back_over_time(step: Step, mask: Tensor, size: Size) -> Tensor:
    """Back through one time step of a series after the other, where the step is inside a TimeDistributed."""
    times = size[: step.time_axes]
    if not times:
        return _back_of_size(step, mask, size)
    back = _back_of_size(step, ops.reshape(mask, (-1, *mask.shape[1 + len(times) :])), size[len(times) :])
    return ops.reshape(back, (-1, *size, 1))


def _back_of_size(step: Step, mask: Tensor, size: Size) -> Tensor:
    back = _back(step.operation, mask, size)
    if tuple(back.shape[1:-1]) != tuple(size):
        raise UnsupportedModelError(
            f"VisualBackProp cannot scale its mask back through {step.label}, from {tuple(mask.shape[1:-1])} to {tuple(size)}. "
            "It has rules for convolutions, pooling, padding, cropping, upsampling and what moves pixels in an image. Use a "
            "gradient method such as guided_backprop or grad_cam."
        )
    return back


@singledispatch
def _back(operation: Operation, mask: Tensor, size: Size) -> Tensor:
    """The mask at the input of an operation: unchanged where it keeps height and width."""
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
    """Every element gets what its copies hold, on average."""
    return ops.average_pool(mask, operation.factors, strides=operation.factors, padding="valid", data_format=_LAST)


def _through_window(mask: Tensor, size: Size, extent: Extent) -> Tensor:
    if extent.is_transposed:  # the convolution with ones
        return ops.conv(
            mask, _ones(extent.size, extent.dilation), strides=list(extent.strides), padding=extent.padding, data_format=_LAST
        )
    return scale_up(mask, size, extent)


def scale_up(mask: Tensor, size: Size, extent: Extent) -> Tensor:
    """The transposed convolution with ones that takes a mask back to `size`, the input of the forward window.

    It is written as a convolution over the mask spread out by its strides: a window of ones is its own mirror image.

    Args:
        mask: (N, height, width, 1), the size of the forward window's output.
        size: height and width of the forward window's input.
        extent: the forward window.
    """
    kernel, strides, padding, dilation = extent.size, extent.strides, extent.padding, extent.dilation
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if max(strides) > 1:
        mask = _spread(mask, strides)
    before = _padded_before(tuple(mask.shape[1:-1]), size, reach, strides, padding)
    # Forward, output o reads the inputs from o · stride − before on. Back, then, input i reads from i + before down.
    if any(m > n + b for m, n, b in zip(mask.shape[1:-1], size, before, strict=True)):
        mask = mask[(slice(None), *(slice(0, n + b) for n, b in zip(size, before, strict=True)))]
    pads = [(r - 1 - b, n + b - m) for r, b, n, m in zip(reach, before, size, mask.shape[1:-1], strict=True)]
    if max(reach) > 1 and pads == [((r - 1) // 2, r // 2) for r in reach]:
        return ops.conv(mask, _ones(kernel, dilation), padding="same", data_format=_LAST)
    if any(map(any, pads)):
        mask = ops.pad(mask, [(0, 0), *pads, (0, 0)])
    return ops.conv(mask, _ones(kernel, dilation), padding="valid", data_format=_LAST) if max(reach) > 1 else mask


def _spread(mask: Tensor, strides: Size) -> Tensor:
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
    """Ones at the positions that a dilated kernel reads, zeros between them."""
    weights = np.zeros([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)], "float32")
    weights[tuple(slice(None, None, d) for d in dilation)] = 1
    return weights[..., None, None]
