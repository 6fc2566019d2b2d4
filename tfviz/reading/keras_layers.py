"""Translate Keras layers, with one row in TABLE per layer class.

A row converts a layer to typed operations (see `graph.operations`). A layer with a kernel becomes a
chain: the linear map (or two, for a separable convolution), then the fused activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tfviz import keras_internals
from tfviz.graph.operations import (
    Choice,
    Concatenate,
    Contraction,
    Crop,
    Difference,
    Elementwise,
    Extent,
    Identity,
    Linear,
    Move,
    Normalization,
    Opaque,
    OpaqueAttention,
    Operation,
    Pad,
    Product,
    Relu,
    Reshape,
    Resize,
    Softmax,
    Sum,
    Transpose,
    Upsample,
    Window,
)
from tfviz.reading.stages import Compute, Stage
from tfviz.reading.trace import NotReadable

# The base class keras.Layer does not declare its subclasses' attributes.
Layer: TypeAlias = Any
Row = Callable[[Layer], "Operation | list[Stage]"]


_LAST = "channels_last"  # explicit, because keras.json may set a different default

# --- linear maps ----------------------------------------------------------------------------------


def _dense(layer: Layer) -> list[Stage]:
    linear = _linear(layer, lambda x, kernel: ops.matmul(x, kernel), "kernel", _scale_last)
    if not layer.quantization_mode:
        return [_forward(layer, linear)]
    # An int8 layer computes with integers, whereas the methods' rules use the dequantized kernel.
    return [Stage(replace(linear, read_kernel=lambda dtype: _dequantized(layer, dtype)), _quantized(layer))]


def _dequantized(layer: Layer, dtype: str) -> tf.Tensor:
    return ops.cast(layer.kernel, dtype) / ops.cast(layer.kernel_scale, dtype)


def _quantized(layer: Layer) -> Compute:
    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        # `bare` is the layer without its activation. Copying a Keras layer would copy its weights.
        bare = object.__new__(type(layer))
        bare.__dict__.update(layer.__dict__, activation=None)
        return [bare.quantized_call(ops.cast(tensors[0], layer.compute_dtype))]

    return compute


def _einsum_dense(layer: Layer) -> list[Stage]:
    linear = _linear(layer, lambda x, kernel: ops.einsum(layer.equation, x, kernel), "kernel", None)
    return [_forward(layer, replace(linear, mixes_pixels=not _only_mixes_channels(layer.equation)))]


def _only_mixes_channels(equation: str) -> bool:
    """Return whether an einsum with a kernel changes only the last axis, as in "...c,cd->...d"."""
    inputs, outputs = equation.replace(" ", "").replace("...", ".").split("->")
    x, kernel = inputs.split(",")
    positions = x[:-1]
    return outputs.startswith(positions) and not set(positions) & set(kernel)


def _convolution(layer: Layer) -> list[Stage]:
    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if layer.padding == "causal":  # Conv1D pads in `call`, not in `convolution_op`.
            x = ops.pad(x, [(0, 0), (layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0), (0, 0)])
            return ops.conv(
                x, kernel, strides=list(layer.strides), padding="valid", dilation_rate=layer.dilation_rate, data_format=_LAST
            )
        if _is_depthwise(layer, kernel):
            return _apply_depthwise(layer, x, ops.swapaxes(kernel, -1, -2))
        return layer.convolution_op(x, kernel)

    return [_forward(layer, replace(_linear(layer, apply, "kernel", _scale_last), extent=_extent(layer)))]


def _is_depthwise(layer: Layer, kernel: tf.Tensor) -> bool:
    """Return whether a grouped 2D convolution can run as a depthwise convolution, as in ConvNeXt.

    TensorFlow has no grouped convolution for CPUs, and the replacement that Keras compiles is many
    times slower.
    """
    has_one_channel_groups = len(kernel.shape) == 4 and kernel.shape[-2] == 1 and layer.groups == kernel.shape[-1] > 1
    # TensorFlow's depthwise convolution supports only these strides and dilations.
    return has_one_channel_groups and len(set(layer.strides)) == 1 and 1 in (max(layer.strides), max(layer.dilation_rate))


def _apply_depthwise(layer: Layer, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return ops.depthwise_conv(
        x, kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate, data_format=_LAST
    )


def _depthwise_map(layer: Layer, kernel_name: str) -> Linear:
    linear = _linear(layer, lambda x, kernel: _apply_depthwise(layer, x, kernel), kernel_name, scale_depthwise)
    return replace(linear, extent=_extent(layer))


def _depthwise(layer: Layer) -> list[Stage]:
    return [_forward(layer, _depthwise_map(layer, "kernel"))]


def _separable(layer: Layer) -> list[Stage]:
    def apply_pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return ops.conv(x, kernel, strides=1, padding="valid", data_format=_LAST)

    pointwise = _linear(layer, apply_pointwise, "pointwise_kernel", _scale_last)
    return [_forward(layer, _depthwise_map(layer, "depthwise_kernel"), has_bias=False), _forward(layer, pointwise)]


def _transposed(layer: Layer) -> list[Stage]:
    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return ops.conv_transpose(
            x,
            kernel,
            strides=list(layer.strides),
            padding=layer.padding,
            output_padding=layer.output_padding,
            dilation_rate=layer.dilation_rate,
            data_format=_LAST,
        )

    extent = replace(_extent(layer), is_transposed=True)
    return [_forward(layer, replace(_linear(layer, apply, "kernel", _scale_transposed), extent=extent))]


def _scale_last(kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return kernel * scale


def scale_depthwise(kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Scale each output channel of a (height, width, channels, multiplier) depthwise kernel."""
    return kernel * ops.reshape(scale, kernel.shape[-2:])


def _scale_transposed(kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return kernel * ops.expand_dims(scale, -1)


def _linear(layer: Layer, apply: Callable[..., tf.Tensor], kernel_name: str, scale_outputs: Any) -> Linear:
    return Linear(
        name=_name(layer),
        apply=apply,
        read_kernel=lambda dtype: ops.cast(getattr(layer, kernel_name), dtype),
        scale_outputs=scale_outputs,
    )


def _forward(layer: Layer, linear: Linear, *, has_bias: bool = True) -> Stage:
    """Create the stage that runs a linear map with the layer's dtype and bias."""

    def read_bias(dtype: str) -> tf.Tensor | None:
        return ops.cast(layer.bias, dtype) if has_bias and layer.bias is not None else None

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        dtype = layer.compute_dtype
        y, bias = linear.apply(ops.cast(tensors[0], dtype), linear.read_kernel(dtype)), read_bias(dtype)
        return [y if bias is None else ops.add(y, bias)]

    return Stage(replace(linear, read_bias=read_bias), compute)


def _extent(layer: Layer) -> Extent:
    size = tuple(layer.kernel_size)
    dilation = _tuple(getattr(layer, "dilation_rate", 1), len(size))
    return Extent(size=size, strides=_tuple(layer.strides, len(size)), padding=layer.padding, dilation=dilation)


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * rank


# --- everything else ------------------------------------------------------------------------------


def _relu(layer: Layer) -> Operation:
    if layer.negative_slope:
        return Elementwise(name=_name(layer), function="leaky_relu", is_activation=True)
    return Relu(name=_name(layer), max_value=None if layer.max_value is None else float(layer.max_value))


def _activation(layer: Layer) -> Operation:
    return Elementwise(name=_name(layer), function=_name(layer).lower(), is_activation=True)


def _affine(layer: Layer) -> Operation:
    return Elementwise(name=_name(layer), function=_name(layer).lower(), is_affine=True)


def _rescaling(layer: Layer) -> Operation:
    sign = -1 if np.any(np.asarray(layer.scale) < 0) else 1
    return Elementwise(name=_name(layer), function="rescaling", is_affine=True, sign=sign)


def _batch_norm(layer: Layer) -> Operation:
    def channel_scale() -> tf.Tensor:
        scale = tf.math.rsqrt(tf.cast(layer.moving_variance, tf.float32) + layer.epsilon)
        return scale * tf.cast(layer.gamma, tf.float32) if layer.scale else scale

    def channel_shift() -> tf.Tensor:
        shift = -tf.cast(layer.moving_mean, tf.float32) * channel_scale()
        return shift + tf.cast(layer.beta, tf.float32) if layer.center else shift

    name, is_last = _name(layer), layer.axis in (-1, layer.input_spec.ndim - 1)
    if not is_last:
        return Normalization(name=name, is_batch_norm=True)
    return Normalization(name=name, channel_scale=channel_scale, channel_shift=channel_shift, is_batch_norm=True)


def _pool(is_max: bool) -> Row:
    def row(layer: Layer) -> Operation:
        size = getattr(layer, "pool_size", None)
        if size is None:
            return Window(name=_name(layer), is_max=is_max)
        size = tuple(size) if isinstance(size, (tuple, list)) else (size,) * 2
        strides = size if layer.strides is None else _tuple(layer.strides, len(size))
        extent = Extent(size=size, strides=strides, padding=layer.padding, dilation=(1,) * len(size))
        return Window(name=_name(layer), is_max=is_max, extent=extent)

    return row


def _of(cls: type[Operation]) -> Row:
    return lambda layer: cls(name=_name(layer))


def _pairs(amounts: Any) -> tuple[tuple[int, int], ...]:
    """Convert padding or cropping in any of Keras' formats to a pair (before, after) per axis."""
    one_axis = not isinstance(amounts[0], (tuple, list))
    return (tuple(amounts),) if one_axis else tuple(map(tuple, amounts))


def _zero_padding(layer: Layer) -> Operation:
    return Pad(name=_name(layer), amounts=_pairs(layer.padding))


def _cropping(layer: Layer) -> Operation:
    return Crop(name=_name(layer), amounts=_pairs(layer.cropping))


def _up_sampling(layer: Layer) -> Operation:
    rank = layer.input_spec.ndim - 2
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return Resize(name=_name(layer))
    return Upsample(name=_name(layer), factors=_tuple(layer.size, rank))


def _permute(layer: Layer) -> Operation:
    return Transpose(name=_name(layer), order=(0, *layer.dims))


def _concatenate(layer: Layer) -> Operation:
    return Concatenate(name=_name(layer), axis=layer.axis)


def _softmax(layer: Layer) -> Operation:
    return Softmax(name=_name(layer), function="softmax", bounds=(0, 1))


def _scaled_sum(layer: Layer) -> list[Stage]:
    """Translate x + scale · y, the scaled residual connection in InceptionResNetV2."""
    scale = Elementwise(name=_name(layer), function="scale", is_affine=True)
    return [
        Stage(scale, lambda tensors: [tensors[0] * layer.scale], reads=(1,)),
        Stage(Sum(name=_name(layer)), lambda tensors: [tensors[0] + tensors[1]], reads=(0, 2)),
    ]


def _rows(row: Row, names: str) -> dict[type, Row]:
    """Return a dict that maps each named layer class to the row. Skip classes that Keras lacks."""
    return {getattr(layers, name): row for name in names.split() if hasattr(layers, name)}


TABLE: dict[type, Row] = {
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
    **_rows(_convolution, "Conv1D Conv2D Conv3D"),
    **_rows(_depthwise, "DepthwiseConv1D DepthwiseConv2D"),
    **_rows(_separable, "SeparableConv1D SeparableConv2D"),
    **_rows(_transposed, "Conv1DTranspose Conv2DTranspose Conv3DTranspose"),
    layers.ReLU: _relu,
    **_rows(_activation, "LeakyReLU PReLU ELU"),
    layers.Softmax: _softmax,
    **_rows(_pool(is_max=True), "MaxPooling1D MaxPooling2D MaxPooling3D GlobalMaxPooling1D GlobalMaxPooling2D"),
    **_rows(_pool(is_max=True), "GlobalMaxPooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D"),
    **_rows(_pool(is_max=False), "AveragePooling1D AveragePooling2D AveragePooling3D GlobalAveragePooling1D"),
    **_rows(_pool(is_max=False), "GlobalAveragePooling2D GlobalAveragePooling3D AdaptiveAveragePooling1D"),
    **_rows(_pool(is_max=False), "AdaptiveAveragePooling2D AdaptiveAveragePooling3D"),
    **_rows(_of(Sum), "Add Average"),
    **_rows(_of(Choice), "Maximum Minimum"),
    layers.Multiply: _of(Product),
    layers.Subtract: _of(Difference),
    layers.Dot: _of(Contraction),
    layers.BatchNormalization: _batch_norm,
    **_rows(_of(Normalization), "LayerNormalization GroupNormalization UnitNormalization RMSNormalization"),
    layers.Rescaling: _rescaling,
    layers.Normalization: _affine,
    # These layers do nothing at inference, unlike Solarization and RandomCrop.
    **_rows(_of(Identity), "Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout"),
    **_rows(_of(Identity), "GaussianDropout GaussianNoise ActivityRegularization Masking RandomBrightness"),
    **_rows(_of(Identity), "RandomColorDegeneration RandomColorJitter RandomContrast RandomErasing RandomElasticTransform"),
    **_rows(_of(Identity), "RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective"),
    **_rows(_of(Identity), "RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear"),
    **_rows(_of(Identity), "RandomTranslation RandomZoom AugMix CutMix MixUp RandAugment"),
    **_rows(_of(Reshape), "Flatten Reshape"),
    layers.RepeatVector: _of(Move),
    layers.Permute: _permute,
    layers.Concatenate: _concatenate,
    **_rows(_of(Resize), "Resizing CenterCrop"),
    **_rows(_zero_padding, "ZeroPadding1D ZeroPadding2D ZeroPadding3D"),
    **_rows(_cropping, "Cropping1D Cropping2D Cropping3D"),
    **_rows(_up_sampling, "UpSampling1D UpSampling2D UpSampling3D"),
}

# These layers are in keras.applications, but Keras does not export them.
_UNEXPORTED: dict[str, Row] = {"LayerScale": _affine, "StochasticDepth": _of(Identity), "CustomScaleLayer": _scaled_sum}

_ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention, layers.Attention, layers.AdditiveAttention)
_RECURRENT = (layers.RNN, layers.Bidirectional)

# A subclass that overrides one of these changes the computation.
_COMPUTING = ("call", "convolution_op")


def stages_of(layer: keras.Layer) -> list[Stage] | None:
    """Return a layer's stages without its fused activation, or None if they are unknown.

    The stages are unknown for subclasses that override `call` or the convolution, and for quantized
    layers with a kernel, except an int8 Dense layer.
    """
    for cls in type(layer).__mro__:
        row = TABLE.get(cls) or (_UNEXPORTED.get(cls.__name__) if is_from_keras(cls) else None)
        if row is not None:
            is_overridden = any(getattr(type(layer), name, None) is not getattr(cls, name, None) for name in _COMPUTING)
            if is_overridden or not _is_readable_as(cls, layer):
                return None
            made = row(layer)
            return made if isinstance(made, list) else [Stage(made)]
    return None


def _is_readable_as(cls: type, layer: keras.Layer) -> bool:
    mode = getattr(layer, "quantization_mode", None)
    return not mode or cls not in LINEAR or (mode, cls) == ("int8", layers.Dense)


LINEAR = frozenset(
    cls for cls, row in TABLE.items() if row in (_dense, _einsum_dense, _convolution, _depthwise, _separable, _transposed)
)


def opaque_operation(layer: keras.Operation, why: NotReadable) -> Operation:
    """Return the opaque operation for a layer that could not be traced."""
    name = type(layer).__name__
    if is_attention(layer) or not isinstance(layer, keras.Layer):
        return OpaqueAttention(name=name, reason=why.reason, cause=why.cause)
    holds_attention = any(isinstance(part, _ATTENTION) for part in keras_internals.layers_of(layer))
    return Opaque(name=name, reason=why.reason, cause=why.cause, holds_attention=holds_attention)


def is_attention(layer: keras.Operation) -> bool:
    """Return whether a layer is one of Keras' attention layers."""
    return isinstance(layer, _ATTENTION)


def may_be_masked(model: keras.Model) -> bool:
    """Return whether any layer in a model creates a mask, which Keras' attention would read."""
    parts = keras_internals.layers_of(model)
    return any(isinstance(part, layers.Masking) or getattr(part, "mask_zero", False) for part in parts)


def mixes_all_pixels(layer: keras.Operation) -> bool:
    """Return whether each output position of a layer may depend on all input positions."""
    return isinstance(layer, (*_ATTENTION, *_RECURRENT))


def is_from_keras(cls: type) -> bool:
    """Return whether a class is part of Keras."""
    return cls.__module__.startswith("keras.")


def is_keras_layer(layer: keras.Layer) -> bool:
    """Return whether a layer is part of Keras and is not a Lambda layer, which runs user code."""
    return is_from_keras(type(layer)) and not isinstance(layer, layers.Lambda)


def can_only_be_traced_by_keras(layer: keras.Layer) -> bool:
    """Return whether only Keras can trace a layer, as with most built-in layers."""
    return is_keras_layer(layer) and not isinstance(layer, (keras.Model, layers.SpectralNormalization, *_ATTENTION))


def is_activation(layer: object) -> bool:
    """Return whether a layer is an Activation layer, which only applies its `activation`."""
    return isinstance(layer, layers.Activation)


def time_distributed_layer(layer: keras.Operation) -> keras.Layer | None:
    """Return the layer inside a TimeDistributed layer, or None for any other layer."""
    is_plain = isinstance(layer, layers.TimeDistributed) and type(layer).call is layers.TimeDistributed.call
    return layer.layer if is_plain else None


def _name(layer: Layer) -> str:
    return type(layer).__name__
