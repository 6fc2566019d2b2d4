"""Operations that select, move or join values: max pooling, padding, reshaping, Add, Multiply …"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .operation import Operation
from .windows import Window


@dataclass(frozen=True)
class MaxPool(Operation):
    """In ties within a window, the first pixel (row by row) wins."""

    window: Window

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self._stack(x).max(0)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        winner, back = self._stack(x).argmax(0), self.window.padded(np.zeros(x.shape))
        for number, (_, _, where) in enumerate(self.window.positions(x.shape[1:3])):
            back[where] += p * (winner == number)
        return (self.window.unpadded(back, x.shape[1:3]),)

    def _stack(self, x: np.ndarray) -> np.ndarray:
        """(kernel positions, N, h, w, C)."""
        padded = self.window.padded(x, -np.inf)
        return np.stack([padded[where] for _, _, where in self.window.positions(x.shape[1:3])])


@dataclass(frozen=True)
class GlobalMaxPool(Operation):
    """Ties are divided equally, as in TensorFlow's derivative of reduce_max."""

    keepdims: bool = False

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x.max((1, 2), keepdims=self.keepdims)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        winners = x == x.max((1, 2), keepdims=True)
        return (winners * p.reshape(len(x), 1, 1, -1) / winners.sum((1, 2), keepdims=True),)


class Arranging(Operation):
    """Moves values without changing them, so `place` applies to anything shaped like the input."""

    def place(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.place(x)


@dataclass(frozen=True)
class Reshape(Arranging):
    """target: the shape without the batch axis; (-1,) flattens."""

    target: tuple[int, ...] = (-1,)

    def place(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), *self.target)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (p.reshape(inputs[0].shape),)


@dataclass(frozen=True)
class Pad(Arranging):
    """margins: ((top, bottom), (left, right)), filled with zeros."""

    margins: tuple[tuple[int, int], tuple[int, int]]

    def place(self, x: np.ndarray) -> np.ndarray:
        return np.pad(x, ((0, 0), *self.margins, (0, 0)))

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (Crop(self.margins).place(p),)


@dataclass(frozen=True)
class Crop(Arranging):
    """margins: ((top, bottom), (left, right)), removed."""

    margins: tuple[tuple[int, int], tuple[int, int]]

    def place(self, x: np.ndarray) -> np.ndarray:
        (top, bottom), (left, right) = self.margins
        return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (Pad(self.margins).place(p),)


@dataclass(frozen=True)
class Concatenate(Operation):
    axis: int = -1

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs, self.axis)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.split(p, np.cumsum([x.shape[self.axis] for x in inputs])[:-1], self.axis))


class Add(Operation):
    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return sum(inputs)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(summed_to(p, x.shape) for x in inputs)


class Multiply(Operation):
    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        product = inputs[0]
        for x in inputs[1:]:
            product = product * x
        return product

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        def others(left_out: int) -> np.ndarray:
            return self.forward(np.ones(()), *(x for i, x in enumerate(inputs) if i != left_out))

        return tuple(summed_to(p * others(i), x.shape) for i, x in enumerate(inputs))


def summed_to(p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Transpose broadcasting from shape to p's shape (of the same rank)."""
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and p.shape[axis] > 1)
    return p.sum(stretched, keepdims=True)
