"""Linear maps y = f(x; W) + b with their transposes fᵀ: convolutions, Dense, average pooling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .operation import Operation
from .windows import Window


class Linear(Operation):
    """`apply` is f without bias, `transpose` is fᵀ. A map without weights has no kernel; W = W⁺."""

    kernel: np.ndarray | None
    bias: np.ndarray | None

    def apply(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def transpose(self, p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """p has the shape of the output; shape: of the input, (N, ...)."""
        raise NotImplementedError

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.apply(x) if self.bias is None else self.apply(x) + self.bias

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self.transpose(p, inputs[0].shape),)

    def positive(self) -> Linear:
        """Return the map with W⁺ = max(W, 0), without bias."""
        return self if self.kernel is None else replace(self, kernel=np.maximum(self.kernel, 0), bias=None)

    def negated(self) -> Linear:
        """Return the map with −W, without bias."""
        return replace(self, kernel=-self.kernel, bias=None)

    def scaled(self, scale: np.ndarray) -> Linear:
        """Return the map with its output channels multiplied by scale (channels,), without bias."""
        return replace(self, kernel=self.kernel * scale, bias=None)


@dataclass(frozen=True)
class Convolution(Linear):
    """kernel (kh, kw, inputs / groups, outputs); a depthwise convolution has as many groups as
    inputs.
    """

    kernel: np.ndarray
    window: Window
    groups: int = 1
    bias: np.ndarray | None = None

    def apply(self, x: np.ndarray) -> np.ndarray:
        size, padded = x.shape[1:3], self.window.padded(x)
        y = np.zeros((len(x), *self.window.output_size(size), self.kernel.shape[-1]))
        for i, j, where in self.window.positions(size):
            y += self._mix(padded[where], self.kernel[i, j])
        return y

    def transpose(self, p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        size, padded = shape[1:3], self.window.padded(np.zeros(shape))
        for i, j, where in self.window.positions(size):
            padded[where] += self._mix_back(p, self.kernel[i, j])
        return self.window.unpadded(padded, size)

    def _mix(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if self.groups == 1:
            return x @ weights
        y = np.einsum("nhwgc,cgo->nhwgo", self._grouped(x), self._grouped(weights))
        return y.reshape(*y.shape[:3], -1)

    def _mix_back(self, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if self.groups == 1:
            return p @ weights.T
        x = np.einsum("nhwgo,cgo->nhwgc", self._grouped(p), self._grouped(weights))
        return x.reshape(*x.shape[:3], -1)

    def _grouped(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-1], self.groups, -1)


@dataclass(frozen=True)
class TransposedConvolution(Linear):
    """kernel (kh, kw, outputs, inputs): the transpose of the convolution that has this kernel and
    window.
    """

    kernel: np.ndarray
    window: Window
    bias: np.ndarray | None = None

    def apply(self, x: np.ndarray) -> np.ndarray:
        size = tuple(self._output_size(x.shape[1 + axis], axis) for axis in (0, 1))
        return self._convolution().transpose(x, (len(x), *size, self.kernel.shape[2]))

    def transpose(self, p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return self._convolution().apply(p)

    def scaled(self, scale: np.ndarray) -> Linear:
        return replace(self, kernel=self.kernel * scale[:, None], bias=None)

    def _convolution(self) -> Convolution:
        return Convolution(self.kernel, self.window)

    def _output_size(self, size: int, axis: int) -> int:
        stride = self.window.strides[axis]
        overhang = max(self.window.reach(axis) - stride, 0) if self.window.padding == "valid" else 0
        return size * stride + overhang


@dataclass(frozen=True)
class Dense(Linear):
    """kernel (inputs, outputs), applied along the last axis."""

    kernel: np.ndarray
    bias: np.ndarray | None = None

    def apply(self, x: np.ndarray) -> np.ndarray:
        return x @ self.kernel

    def transpose(self, p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return p @ self.kernel.T


class Weightless(Linear):
    kernel = None
    bias = None


@dataclass(frozen=True)
class AveragePool(Weightless):
    """Padding does not count: at a border the sum is divided by the number of real pixels."""

    window: Window

    def apply(self, x: np.ndarray) -> np.ndarray:
        size, padded = x.shape[1:3], self.window.padded(x)
        return sum(padded[where] for _, _, where in self.window.positions(size)) / self._counts(size)

    def transpose(self, p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        size, padded = shape[1:3], self.window.padded(np.zeros(shape))
        for _, _, where in self.window.positions(size):
            padded[where] += p / self._counts(size)
        return self.window.unpadded(padded, size)

    def _counts(self, size: tuple[int, int]) -> np.ndarray:
        padded = self.window.padded(np.ones((1, *size, 1)))
        return sum(padded[where] for _, _, where in self.window.positions(size))


@dataclass(frozen=True)
class GlobalAveragePool(Weightless):
    keepdims: bool = False

    def apply(self, x: np.ndarray) -> np.ndarray:
        return x.mean((1, 2), keepdims=self.keepdims)

    def transpose(self, p: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        n, height, width, channels = shape
        return np.broadcast_to(p.reshape(n, 1, 1, channels) / (height * width), shape)
