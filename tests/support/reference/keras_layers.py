"""Convert one Keras layer or graph operation to the reference's operations, by its config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arranging import Add, Concatenate, Crop, GlobalMaxPool, MaxPool, Multiply, Pad, Reshape
from .linear import AveragePool, Convolution, Dense, GlobalAveragePool, Linear, TransposedConvolution
from .operation import Operation
from .pointwise import Affine, BatchNorm, Identity, Relu, Softmax, activation_named
from .windows import Window


def operations_of(layer: Any) -> list[Operation]:
    """Return a layer's operations in order: Conv2D(activation="relu") is [Convolution, Relu]."""
    kind = type(layer).__name__
    if kind not in READERS:
        raise NotImplementedError(f"The reference has no operation for {kind} ({layer.name!r}).")
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise NotImplementedError(f"The reference computes channels last only; {layer.name!r} is channels first.")
    return READERS[kind](layer)


def numbers(weight: Any) -> np.ndarray:
    return np.asarray(weight, np.float64)


def _bias(layer: Any) -> np.ndarray | None:
    return numbers(layer.bias) if layer.use_bias else None


def _window(layer: Any) -> Window:
    return Window(tuple(layer.kernel_size), tuple(layer.strides), layer.padding, tuple(layer.dilation_rate))


def _pool_window(layer: Any) -> Window:
    return Window(tuple(layer.pool_size), tuple(layer.strides), layer.padding)


def _with_activation(layer: Any, *maps: Linear) -> list[Operation]:
    activation = activation_named(layer.activation.__name__)
    return [*maps] if isinstance(activation, Identity) else [*maps, activation]


def _depthwise(kernel: Any, window: Window, bias: np.ndarray | None = None) -> Convolution:
    """Express Keras' depthwise kernel (kh, kw, inputs, multiplier) as a grouped convolution."""
    kernel = numbers(kernel)
    kh, kw, inputs, multiplier = kernel.shape
    return Convolution(kernel.reshape(kh, kw, 1, inputs * multiplier), window, inputs, bias)


def _conv2d(layer: Any) -> list[Operation]:
    return _with_activation(layer, Convolution(numbers(layer.kernel), _window(layer), layer.groups, _bias(layer)))


def _depthwise_conv2d(layer: Any) -> list[Operation]:
    return _with_activation(layer, _depthwise(layer.kernel, _window(layer), _bias(layer)))


def _separable_conv2d(layer: Any) -> list[Operation]:
    depthwise = _depthwise(layer.depthwise_kernel, _window(layer))
    pointwise = Convolution(numbers(layer.pointwise_kernel), Window((1, 1)), bias=_bias(layer))
    return _with_activation(layer, depthwise, pointwise)


def _conv2d_transpose(layer: Any) -> list[Operation]:
    if layer.output_padding is not None:
        raise NotImplementedError(f"The reference has no output_padding ({layer.name!r}).")
    return _with_activation(layer, TransposedConvolution(numbers(layer.kernel), _window(layer), _bias(layer)))


def _dense(layer: Any) -> list[Operation]:
    return _with_activation(layer, Dense(numbers(layer.kernel), _bias(layer)))


def _batch_norm(layer: Any) -> list[Operation]:
    scale = 1 / np.sqrt(numbers(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * numbers(layer.gamma)
    shift = -numbers(layer.moving_mean) * scale
    return [BatchNorm(scale, shift + numbers(layer.beta) if layer.center else shift)]


def _normalization(layer: Any) -> list[Operation]:
    scale = 1 / np.sqrt(numbers(layer.variance))
    return [Affine(scale, -numbers(layer.mean) * scale)]


def _identity(_: Any) -> list[Operation]:
    return [Identity()]


READERS: dict[str, Callable[[Any], list[Operation]]] = {
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise_conv2d,
    "SeparableConv2D": _separable_conv2d,
    "Conv2DTranspose": _conv2d_transpose,
    "Dense": _dense,
    "AveragePooling2D": lambda layer: [AveragePool(_pool_window(layer))],
    "MaxPooling2D": lambda layer: [MaxPool(_pool_window(layer))],
    "GlobalAveragePooling2D": lambda layer: [GlobalAveragePool(layer.keepdims)],
    "GlobalMaxPooling2D": lambda layer: [GlobalMaxPool(layer.keepdims)],
    "BatchNormalization": _batch_norm,
    "Normalization": _normalization,
    "Rescaling": lambda layer: [Affine(numbers(layer.scale), numbers(layer.offset))],
    "Activation": lambda layer: [activation_named(layer.activation.__name__)],
    "ReLU": lambda layer: [Relu(layer.max_value, layer.negative_slope or 0.0, layer.threshold or 0.0)],
    "LeakyReLU": lambda layer: [Relu(negative_slope=layer.negative_slope)],
    "Softmax": lambda _: [Softmax()],
    "Relu": lambda _: [Relu()],
    "Relu6": lambda _: [Relu(max_value=6.0)],
    "Add": lambda _: [Add()],
    "Multiply": lambda _: [Multiply()],
    "Concatenate": lambda layer: [Concatenate(layer.axis)],
    "Flatten": lambda _: [Reshape()],
    "Reshape": lambda layer: [Reshape(tuple(layer.target_shape))],
    "ZeroPadding2D": lambda layer: [Pad(layer.padding)],
    "Cropping2D": lambda layer: [Crop(layer.cropping)],
    "Dropout": _identity,
    "SpatialDropout2D": _identity,
    "GaussianNoise": _identity,
    "RandomFlip": _identity,
    "RandomRotation": _identity,
}
