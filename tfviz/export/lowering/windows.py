"""Extract sliding windows, and apply the transpose, using only slices, padding and sums.

This module is used for exports to runtimes without windowed operations. Sizes, strides and pads
refer to the axes between the batch and channel axes. Shapes must be static.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

Size = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """The windows of a pooling operation or a convolution over an input of `size`."""

    size: Size
    kernel: Size
    strides: Size
    pads: tuple[tuple[int, int], ...]
    dilations: Size

    @classmethod
    def of(cls, operation: tf.Operation | SimpleNamespace, size: Sequence[int], kernel: Sequence[int]) -> Windows:
        """Create the windows of a TensorFlow operation from its strides, padding and dilations."""
        attributes = operation.node_def.attr
        strides = _spatial(operation.get_attr("strides"))
        dilations = _spatial(operation.get_attr("dilations")) if "dilations" in attributes else (1,) * len(kernel)
        padding = operation.get_attr("padding").decode()
        windows = cls(tuple(size), tuple(kernel), strides, ((0, 0),) * len(kernel), dilations)
        if padding == "SAME":
            return windows._padded([_same(n, r, s) for n, r, s in zip(size, windows.extent, strides, strict=True)])
        if padding == "EXPLICIT":
            flat = operation.get_attr("explicit_paddings")[2:-2]
            return windows._padded(list(zip(flat[::2], flat[1::2], strict=True)))
        return windows

    def _padded(self, pads: Sequence[tuple[int, int]]) -> Windows:
        return Windows(self.size, self.kernel, self.strides, tuple(pads), self.dilations)

    @property
    def extent(self) -> Size:
        """The window length along each axis, including gaps from dilation."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def count(self) -> Size:
        """The number of windows along each axis."""
        sides = zip(self.size, self.pads, self.extent, self.strides, strict=True)
        return tuple((n + sum(pad) - r) // s + 1 for n, pad, r, s in sides)

    def offsets(self) -> Iterator[Size]:
        """Yield the position of each element of a window. The last axis varies fastest."""
        return itertools.product(*(range(0, r, d) for r, d in zip(self.extent, self.dilations, strict=True)))

    def elements(self, x: tf.Tensor, fill: float) -> Iterator[tf.Tensor]:
        """For each offset, yield the elements at that offset in all windows.

        They have shape (N, *count, C). Elements outside the input have the value `fill`.
        """
        x = tf.pad(x, [(0, 0), *self.pads, (0, 0)], constant_values=fill) if any(map(any, self.pads)) else x
        for offset in self.offsets():
            ends = (o + (n - 1) * s + 1 for o, n, s in zip(offset, self.count, self.strides, strict=True))
            yield x[(slice(None), *map(slice, offset, ends, self.strides), slice(None))]

    def put_back(self, elements: Sequence[tf.Tensor]) -> tf.Tensor:
        """Apply the transpose of `elements`: add up the elements at their positions in the input.

        The result has shape (N, *size, C).
        """
        for axis in reversed(range(len(self.kernel))):
            k = self.kernel[axis]
            elements = [self._along(axis, elements[first : first + k]) for first in range(0, len(elements), k)]
        return elements[0]

    def _along(self, axis: int, elements: Sequence[tf.Tensor]) -> tf.Tensor:
        """Add up the elements at their positions along one axis.

        Their shape (N, ..., count, ..., C) becomes (N, ..., size, ..., C).
        """
        shape, stride, dilation = elements[0].shape.as_list(), self.strides[axis], self.dilations[axis]
        before, count, behind = math.prod(shape[: axis + 1]), shape[axis + 1], math.prod(shape[axis + 2 :])
        farthest = (self.extent[axis] - 1) // stride
        # Sum the elements whose positions are equal modulo the stride, then interleave the sums.
        sums: list[tf.Tensor | None] = [None] * stride
        for number, element in enumerate(elements):
            steps, rest = divmod(number * dilation, stride)
            element = tf.reshape(element, [before, count, behind])
            moved = tf.pad(element, [(0, 0), (steps, farthest - steps), (0, 0)]) if farthest else element
            sums[rest] = moved if sums[rest] is None else sums[rest] + moved
        spread = sums[0]
        for one in sums[1:]:
            spread = tf.pad(spread, [(0, 0), (0, 0), (0, behind)]) if one is None else tf.concat([spread, one], axis=-1)
        spread = tf.reshape(spread, [before, (count + farthest) * stride, behind])
        first, size = self.pads[axis][0], self.size[axis]
        missing = max(first + size - spread.shape[1], 0)
        spread = tf.pad(spread, [(0, 0), (0, missing), (0, 0)]) if missing else spread
        return tf.reshape(spread[:, first : first + size], [*shape[: axis + 1], size, *shape[axis + 2 :]])

    def spread(self, x: tf.Tensor) -> tf.Tensor:
        """Insert zeros between and around the elements of x, which has shape (N, *count, C).

        Convolving the result with the mirrored kernel computes the gradient.
        """
        ones, none = (1,) * len(self.size), ((0, 0),) * len(self.size)
        reached = tuple((n - 1) * s + 1 for n, s in zip(self.count, self.strides, strict=True))
        x = Windows(reached, ones, self.strides, none, ones).put_back([x])
        pads = [
            (r - 1 - before, n + before - m)
            for r, (before, _), n, m in zip(self.extent, self.pads, self.size, reached, strict=True)
        ]
        x = x[(slice(None), *(slice(max(-b, 0), m + min(a, 0)) for (b, a), m in zip(pads, reached, strict=True)))]
        return tf.pad(x, [(0, 0), *((max(b, 0), max(a, 0)) for b, a in pads), (0, 0)])

    def valid_counts(self) -> np.ndarray:
        """Return the number of input elements in each window, with shape (1, *count, 1)."""
        with tf.init_scope():
            return tf.add_n(list(self.elements(tf.ones([1, *self.size, 1]), 0.0))).numpy()


def _spatial(values: Sequence[int]) -> Size:
    """Return the values for the axes between the batch and channel axes."""
    return tuple(values[1:-1])


def _same(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's "SAME" padding (before, after), with the smaller half before."""
    missing = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return missing // 2, missing - missing // 2
