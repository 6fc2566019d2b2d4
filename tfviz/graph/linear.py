"""Linear maps: what a layer computes before its bias and its activation, for any kernel.

Excitation needs a layer's map with another kernel (the positive part of its own), and every method needs a fused layer's
output before its activation. Both are one row here: a layer class and its map y = f(x; W).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

Map = Callable[[Any, Any, Any], Any]  # (layer, x, kernel) -> y


def _dense(layer: Any, x: Any, kernel: Any) -> Any:
    return ops.matmul(x, kernel)


def _einsum_dense(layer: Any, x: Any, kernel: Any) -> Any:
    return ops.einsum(layer.equation, x, kernel)


def _convolution(layer: Any, x: Any, kernel: Any) -> Any:
    if layer.padding == "causal":  # Conv1D pads by itself, in its `call`.
        x = ops.pad(x, [(0, 0), (layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0), (0, 0)])
        return ops.conv(x, kernel, strides=list(layer.strides), padding="valid", dilation_rate=layer.dilation_rate)
    if _has_a_group_for_each_channel(layer, kernel):
        return _depthwise(layer, x, ops.swapaxes(kernel, -1, -2))
    return layer.convolution_op(x, kernel)


def _has_a_group_for_each_channel(layer: Any, kernel: Any) -> bool:
    """Whether a convolution in two dimensions is a depthwise one by another name, as in ConvNeXt.

    On a CPU TensorFlow has no convolution of groups, and what Keras compiles in its place is many times slower.
    """
    is_depthwise = len(kernel.shape) == 4 and kernel.shape[-2] == 1 and layer.groups == kernel.shape[-1] > 1
    # What TensorFlow's depthwise convolution takes.
    return is_depthwise and len(set(layer.strides)) == 1 and 1 in (max(layer.strides), max(layer.dilation_rate))


def _depthwise(layer: Any, x: Any, kernel: Any) -> Any:
    return ops.depthwise_conv(x, kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate)


def _pointwise(layer: Any, x: Any, kernel: Any) -> Any:
    return ops.conv(x, kernel, strides=1, padding="valid")


def _transposed(layer: Any, x: Any, kernel: Any) -> Any:
    return ops.conv_transpose(
        x,
        kernel,
        strides=list(layer.strides),
        padding=layer.padding,
        output_padding=layer.output_padding,
        dilation_rate=layer.dilation_rate,
    )


def _scale_last(kernel: Any, scale: Any) -> Any:
    return kernel * scale


def scale_depthwise(kernel: Any, scale: Any) -> Any:
    return kernel * ops.reshape(scale, kernel.shape[-2:])


def _scale_transposed(kernel: Any, scale: Any) -> Any:
    return kernel * ops.expand_dims(scale, -1)


@dataclass(frozen=True)
class LinearMap:
    """y = f(x; W), one stage of a layer.

    `kernel_name` is the layer's attribute for W; `has_bias` says whether the layer's bias is added after this stage;
    `scale_outputs(W, s)` is the kernel whose outputs are s times as large, channel by channel.
    """

    apply: Map
    kernel_name: str
    has_bias: bool = True
    scale_outputs: Callable[[Any, Any], Any] = _scale_last

    def kernel(self, layer: Any, dtype: str) -> Any:
        """The live kernel, in the type that the layer computes in."""
        return ops.cast(getattr(layer, self.kernel_name), dtype)

    def forward(self, layer: Any, x: Any) -> Any:
        """What the layer computes up to its activation, in its own compute type."""
        x = ops.cast(x, layer.compute_dtype)
        y = self.apply(layer, x, self.kernel(layer, layer.compute_dtype))
        if self.has_bias and layer.bias is not None:
            y = ops.add(y, ops.cast(layer.bias, layer.compute_dtype))
        return y


class Int8Map(LinearMap):
    """A Dense layer quantised to int8: it computes with whole numbers, and its kernel is the one that they stand for."""

    def kernel(self, layer: Any, dtype: str) -> Any:
        return ops.cast(layer.kernel, dtype) / ops.cast(layer.kernel_scale, dtype)

    def forward(self, layer: Any, x: Any) -> Any:
        # The same layer without its activation. Copying a Keras layer would copy its weights.
        bare = object.__new__(type(layer))
        bare.__dict__.update(layer.__dict__, activation=None)
        return bare.quantized_call(ops.cast(x, layer.compute_dtype))


NOT_LINEAR = LinearMap(lambda layer, x, kernel: x, kernel_name="")  # of a place that is no linear map

_DENSE = (LinearMap(_dense, "kernel"),)
_INT8_DENSE = (Int8Map(_dense, "kernel"),)
_EINSUM = (LinearMap(_einsum_dense, "kernel"),)
_CONVOLUTION = (LinearMap(_convolution, "kernel"),)
_DEPTHWISE = (LinearMap(_depthwise, "kernel", scale_outputs=scale_depthwise),)
_SEPARABLE = (
    LinearMap(_depthwise, "depthwise_kernel", has_bias=False, scale_outputs=scale_depthwise),
    LinearMap(_pointwise, "pointwise_kernel"),
)
_TRANSPOSED = (LinearMap(_transposed, "kernel", scale_outputs=_scale_transposed),)

STAGES: dict[type, tuple[LinearMap, ...]] = {
    layers.Dense: _DENSE,
    layers.EinsumDense: _EINSUM,
    layers.Conv1D: _CONVOLUTION,
    layers.Conv2D: _CONVOLUTION,
    layers.Conv3D: _CONVOLUTION,
    layers.DepthwiseConv1D: _DEPTHWISE,
    layers.DepthwiseConv2D: _DEPTHWISE,
    layers.SeparableConv1D: _SEPARABLE,
    layers.SeparableConv2D: _SEPARABLE,
    layers.Conv1DTranspose: _TRANSPOSED,
    layers.Conv2DTranspose: _TRANSPOSED,
    layers.Conv3DTranspose: _TRANSPOSED,
}


_COMPUTING = ("call", "convolution_op")  # what a subclass overrides to compute something else


def stages_of(operation: Any) -> tuple[LinearMap, ...]:
    """The linear maps that a layer runs one after the other before its activation; () for what is not such a layer.

    A subclass that brings its own `call` or convolution, and a layer quantised otherwise than a Dense to int8, are not
    split: they run as they are.
    """
    for base in _bases(type(operation)):
        mode = getattr(operation, "quantization_mode", None)
        is_changed = any(getattr(type(operation), name, None) is not getattr(base, name, None) for name in _COMPUTING)
        if is_changed or (mode and (mode, base) != ("int8", layers.Dense)):
            return ()
        return _INT8_DENSE if mode else STAGES[base]
    return ()


def _bases(cls: type) -> Iterator[Any]:
    return (base for base in cls.__mro__ if base in STAGES)


def is_linear(activation: Any) -> bool:
    """Whether a layer's `activation` leaves its argument as it is."""
    return activation is None or activation is keras.activations.linear
