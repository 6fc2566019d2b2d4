"""The sliding window of convolutions and pooling, as in TensorFlow (channels last)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A window over rows and columns, with padding "same" or "valid".

    "same" gives ceil(size / stride) outputs. If the padding is odd, the extra row or column comes
    after, not before.
    """

    kernel: Pair
    strides: Pair = (1, 1)
    padding: str = "valid"
    dilation: Pair = (1, 1)

    def reach(self, axis: int) -> int:
        """The number of pixels that the window spans, including holes."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def output_size(self, size: Pair) -> Pair:
        return tuple(self._outputs(size[axis], axis) for axis in (0, 1))

    def pads(self, size: Pair) -> tuple[Pair, Pair]:
        """((top, bottom), (left, right))."""
        return tuple(self._pad(size[axis], axis) for axis in (0, 1))

    def padded(self, x: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Return x (N,H,W,C) with the window's padding."""
        return np.pad(x, ((0, 0), *self.pads(x.shape[1:3]), (0, 0)), constant_values=fill)

    def unpadded(self, x: np.ndarray, size: Pair) -> np.ndarray:
        (top, _), (left, _) = self.pads(size)
        return x[:, top : top + size[0], left : left + size[1]]

    def positions(self, size: Pair) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
        """Yield (i, j, where): `padded[where]` (N,h,w,C) is what kernel position (i, j) reads."""
        outputs = self.output_size(size)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                starts = (i * self.dilation[0], j * self.dilation[1])
                yield i, j, (slice(None), *(self._strided(starts[axis], outputs[axis], axis) for axis in (0, 1)))

    def _outputs(self, size: int, axis: int) -> int:
        if self.padding == "same":
            return -(-size // self.strides[axis])
        return (size - self.reach(axis)) // self.strides[axis] + 1

    def _pad(self, size: int, axis: int) -> Pair:
        if self.padding == "valid":
            return (0, 0)
        total = max((self._outputs(size, axis) - 1) * self.strides[axis] + self.reach(axis) - size, 0)
        return (total // 2, total - total // 2)

    def _strided(self, start: int, count: int, axis: int) -> slice:
        return slice(start, start + (count - 1) * self.strides[axis] + 1, self.strides[axis])
