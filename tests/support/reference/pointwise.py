"""Elementwise operations (softmax: per vector): activations and affine maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .operation import Operation


@dataclass(frozen=True)
class Affine(Operation):
    """x · scale + shift along the channels: BatchNormalization at inference, Normalization,
    Rescaling.
    """

    scale: np.ndarray
    shift: np.ndarray

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x * self.scale + self.shift

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (p * self.scale,)


class BatchNorm(Affine):
    """An Affine that can be folded into the linear map before it (merge_batch_norm)."""


class Identity(Operation):
    """Dropout and similar layers at inference."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (p,)


class Activation(Operation):
    """Any activation function."""


@dataclass(frozen=True)
class Relu(Activation):
    """Keras' ReLU: x above `threshold` up to `max_value`, else negative_slope · (x − threshold)."""

    max_value: float | None = None
    negative_slope: float = 0.0
    threshold: float = 0.0

    def is_open(self, x: np.ndarray) -> np.ndarray:
        """Return where x passes unchanged: above the threshold and below the cap."""
        return (x > self.threshold) & (x < np.inf if self.max_value is None else x < self.max_value)

    def forward(self, x: np.ndarray) -> np.ndarray:
        y = np.where(x > self.threshold, x, self.negative_slope * (x - self.threshold))
        return y if self.max_value is None else np.minimum(y, self.max_value)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        below = inputs[0] <= self.threshold
        return (p * (self.is_open(inputs[0]) + self.negative_slope * below),)


@dataclass(frozen=True)
class Smooth(Activation):
    """An elementwise activation, given with its derivative."""

    function: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.function(x)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (p * self.derivative(inputs[0]),)


class Softmax(Activation):
    """Along the last axis."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        y = np.exp(x - x.max(-1, keepdims=True))
        return y / y.sum(-1, keepdims=True)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (output * (p - (p * output).sum(-1, keepdims=True)),)


class Sigmoid(Activation):
    def forward(self, x: np.ndarray) -> np.ndarray:
        return sigmoid(x)

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        return (p * output * (1 - output),)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2


def silu_derivative(x: np.ndarray) -> np.ndarray:
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)))


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def activation_named(name: str) -> Operation:
    """Return the activation that Keras calls `name`."""
    if name not in ACTIVATIONS:
        raise NotImplementedError(f"The reference has no activation {name!r}; it knows {sorted(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


ACTIVATIONS: dict[str, Operation] = {
    "linear": Identity(),
    "relu": Relu(),
    "relu6": Relu(max_value=6.0),
    "leaky_relu": Relu(negative_slope=0.2),
    "softmax": Softmax(),
    "sigmoid": Sigmoid(),
    "tanh": Smooth(np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "silu": Smooth(lambda x: x * sigmoid(x), silu_derivative),
    "elu": Smooth(elu, lambda x: np.exp(np.minimum(x, 0))),
}
