"""Keras 2 files give the outputs that they gave in Keras 2.

Each layer, argument and function in LAYERS and FUNCTIONS is saved by tf_keras as .h5 and as .keras
with random weights, and compared with tf_keras itself.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support.zoo import noise

import tfviz

K = pytest.importorskip("tf_keras")
L = K.layers
Build = Callable[[Any], Any]
IMAGE, SERIES, FILM, LINE, VECTOR = (6, 5, 4), (6, 4), (3, 6, 5, 2), (8, 4), (6,)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def both_ends(layer: Any) -> Build:
    """Call a layer with two inputs on x and another map of x."""
    return lambda x: layer([x, L.Dense(4)(x)])


def attention(**options: Any) -> Build:
    return lambda x: L.MultiHeadAttention(2, 3, **options)(x, L.Dense(4)(x))


def stacked(x: Any) -> Any:
    return L.RNN([L.LSTMCell(3), L.GRUCell(4), L.LSTMCell(2)])(x)


def with_states(x: Any) -> Any:
    out, *states = L.LSTM(4, return_state=True)(x)
    return L.LSTM(4)(x, initial_state=states) + out


def bidirectional_with_states(x: Any) -> Any:
    out, *states = L.Bidirectional(L.GRU(3, return_state=True))(x)
    return L.Concatenate()([out, L.Bidirectional(L.GRU(3))(x, initial_state=states)])


def adapted(**options: Any) -> Build:
    def build(x: Any) -> Any:
        layer = L.Normalization(**options)
        if not options.get("mean"):
            layer.adapt(noise(*IMAGE) * 3 + 1)
        return layer(x)

    return build


def nested(x: Any) -> Any:
    """Put a frozen layer in a nested model, and call the model twice.

    Keras 2 lists the arrays of frozen layers last.
    """
    inputs = K.Input(IMAGE)
    first, second = L.Conv2D(4, 3, padding="same"), L.Conv2D(4, 3, padding="same")
    second.trainable = False
    inner = K.Model(inputs, L.BatchNormalization()(second(first(inputs))) + second(inputs))
    return L.Concatenate()([inner(x), inner(inner(x))])


def frozen(x: Any) -> Any:
    inputs = K.Input(IMAGE)
    inner = K.Model(inputs, L.BatchNormalization()(L.Conv2D(4, 3)(inputs)))
    inner.trainable = False
    return inner(x)


def branches(x: Any) -> Any:
    """Use layers of one shape at one depth in another order than they were created."""
    a, b, c = (L.Conv2D(4, 3, padding="same") for _ in range(3))
    return L.Concatenate()([c(x), a(x), b(x)])


def sequential(x: Any) -> Any:
    inner = K.Sequential([L.Conv2D(4, 3, padding="same"), L.BatchNormalization(), K.Sequential([L.Conv2D(4, 1), L.ReLU()])])
    return L.TimeDistributed(L.Dense(3))(L.Reshape((6, 20))(inner(x)))


def deep(x: Any) -> Any:
    return L.TimeDistributed(K.Sequential([L.Conv2D(3, 3), L.BatchNormalization(), L.Flatten(), L.Dense(2)]))(x)


LAYERS: dict[str, tuple[Build, tuple[int, ...]]] = {
    # activations
    **{
        f"activation {name}": (lambda x, name=name: L.Activation(name)(x), IMAGE)
        for name in (
            [
                "relu",
                "elu",
                "selu",
                "gelu",
                "swish",
                "mish",
                "sigmoid",
                "tanh",
                "softplus",
                "softsign",
                "exponential",
                "linear",
                "softmax",
                "hard_sigmoid",
            ]
        )
    },
    "activation tf.nn.relu": (lambda x: L.Conv2D(3, 3, activation=tf.nn.relu)(x), IMAGE),
    "activation tf.nn.silu": (lambda x: L.Conv2D(3, 3, activation=tf.nn.silu)(x), IMAGE),
    "activation tf.nn.leaky_relu": (lambda x: L.Conv2D(3, 3, activation=tf.nn.leaky_relu)(x), IMAGE),
    "activation tf.nn.relu6": (lambda x: L.Conv2D(3, 3, activation=tf.nn.relu6)(x), IMAGE),
    "activation in dense": (lambda x: L.Dense(3, activation="hard_sigmoid")(x), IMAGE),
    "LeakyReLU": (lambda x: L.LeakyReLU()(x), IMAGE),
    "LeakyReLU alpha": (lambda x: L.LeakyReLU(alpha=0.05)(x), IMAGE),
    "ReLU": (lambda x: L.ReLU()(x), IMAGE),
    "ReLU every argument": (lambda x: L.ReLU(max_value=0.8, negative_slope=0.1, threshold=0.2)(x), IMAGE),
    "ELU alpha": (lambda x: L.ELU(alpha=0.4)(x), IMAGE),
    "PReLU": (lambda x: L.PReLU()(x), IMAGE),
    "PReLU shared_axes": (lambda x: L.PReLU(shared_axes=[1, 2])(x), IMAGE),
    "ThresholdedReLU": (lambda x: L.ThresholdedReLU(theta=0.3)(x), IMAGE),
    "Softmax": (lambda x: L.Softmax()(x), IMAGE),
    "Softmax axis list": (lambda x: L.Softmax(axis=[1, 2])(x), IMAGE),
    # convolutions
    "Conv1D": (lambda x: L.Conv1D(4, 3, dilation_rate=2, groups=2)(x), LINE),
    "Conv1D causal": (lambda x: L.Conv1D(3, 3, padding="causal", activation="relu")(x), LINE),
    "Conv2D": (lambda x: L.Conv2D(4, (3, 2), strides=(2, 1), padding="same", groups=2, use_bias=False)(x), IMAGE),
    "Conv2D dilation": (lambda x: L.Conv2D(4, 2, dilation_rate=(2, 1))(x), IMAGE),
    "Conv2D regularized": (
        lambda x: L.Conv2D(4, 2, kernel_regularizer=K.regularizers.L1L2(0.1, 0.2), kernel_constraint=K.constraints.MaxNorm(2))(
            x
        ),
        IMAGE,
    ),
    "Conv2D initializers": (
        lambda x: L.Conv2D(4, 2, kernel_initializer="he_normal", bias_initializer=K.initializers.Constant(2))(x),
        IMAGE,
    ),
    "Conv3D": (lambda x: L.Conv3D(3, 2, padding="same")(x), FILM),
    "Conv1DTranspose": (lambda x: L.Conv1DTranspose(3, 3, strides=2, output_padding=1, padding="same")(x), LINE),
    "Conv2DTranspose": (lambda x: L.Conv2DTranspose(3, 3, strides=2, padding="same")(x), IMAGE),
    "Conv2DTranspose valid": (lambda x: L.Conv2DTranspose(3, 3, strides=2)(x), IMAGE),
    "Conv2DTranspose output_padding": (lambda x: L.Conv2DTranspose(3, 3, strides=2, output_padding=1)(x), IMAGE),
    "Conv2DTranspose output_padding same": (
        lambda x: L.Conv2DTranspose(3, (3, 5), strides=(3, 2), output_padding=(0, 1), padding="same")(x),
        IMAGE,
    ),
    "Conv2DTranspose dilation": (lambda x: L.Conv2DTranspose(3, 3, dilation_rate=2)(x), IMAGE),
    "Conv3DTranspose": (lambda x: L.Conv3DTranspose(3, 2, strides=2)(x), FILM),
    "DepthwiseConv1D": (lambda x: L.DepthwiseConv1D(3, depth_multiplier=2)(x), LINE),
    "DepthwiseConv2D depth_multiplier": (lambda x: L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")(x), IMAGE),
    "DepthwiseConv2D dilation": (lambda x: L.DepthwiseConv2D(2, dilation_rate=2, depthwise_initializer="he_uniform")(x), IMAGE),
    "SeparableConv1D": (lambda x: L.SeparableConv1D(3, 3, depth_multiplier=2, depthwise_initializer="ones")(x), LINE),
    "SeparableConv2D": (lambda x: L.SeparableConv2D(3, 3, depth_multiplier=2, pointwise_initializer="ones")(x), IMAGE),
    "SeparableConv2D dilation": (lambda x: L.SeparableConv2D(3, 2, dilation_rate=2, use_bias=False)(x), IMAGE),
    "Dense": (lambda x: L.Dense(3, kernel_regularizer="l2", activation="softmax")(x), IMAGE),
    "EinsumDense": (lambda x: L.EinsumDense("abcd,de->abce", (None, 5, 3), bias_axes="e", activation="relu")(x), IMAGE),
    "Embedding": (lambda x: L.Embedding(7, 3, input_length=6)(tf.cast(tf.abs(x) * 2, "int32")), VECTOR),
    "Embedding mask_zero": (
        lambda x: L.LSTM(3)(L.Embedding(7, 3, mask_zero=True)(tf.cast(tf.abs(x) * 2, "int32"))),
        VECTOR,
    ),
    # normalization
    "BatchNormalization": (lambda x: L.BatchNormalization()(x), IMAGE),
    "BatchNormalization axis": (lambda x: L.BatchNormalization(axis=1, epsilon=0.1, momentum=0.5)(x), IMAGE),
    "BatchNormalization no scale": (lambda x: L.BatchNormalization(scale=False)(x), IMAGE),
    "BatchNormalization no center": (lambda x: L.BatchNormalization(center=False)(x), SERIES),
    "BatchNormalization synchronized": (lambda x: L.BatchNormalization(synchronized=True)(x), IMAGE),
    "SyncBatchNormalization": (lambda x: L.experimental.SyncBatchNormalization()(x), IMAGE),
    "LayerNormalization": (lambda x: L.LayerNormalization()(x), IMAGE),
    "LayerNormalization axes": (lambda x: L.LayerNormalization(axis=[1, 3], epsilon=0.1)(x), IMAGE),
    "LayerNormalization no center": (lambda x: L.LayerNormalization(center=False)(x), IMAGE),
    "LayerNormalization no scale": (lambda x: L.LayerNormalization(scale=False, epsilon=1e-6)(x), IMAGE),
    "GroupNormalization": (lambda x: L.GroupNormalization(2)(x), IMAGE),
    "GroupNormalization axis": (lambda x: L.GroupNormalization(3, axis=1, epsilon=0.1, scale=False)(x), IMAGE),
    "GroupNormalization instance": (lambda x: L.GroupNormalization(-1)(x), IMAGE),
    "UnitNormalization": (lambda x: L.UnitNormalization()(x), IMAGE),
    "UnitNormalization axes": (lambda x: L.UnitNormalization(axis=[1, 2])(x), IMAGE),
    "Normalization": (adapted(), IMAGE),
    "Normalization axis": (adapted(axis=(1, 3)), IMAGE),
    "Normalization no axis": (adapted(axis=None), IMAGE),
    "Normalization given": (adapted(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 9.0, 0.25]), IMAGE),
    "Normalization invert": (adapted(mean=2.0, variance=4.0, invert=True, axis=None), IMAGE),
    # pooling
    **{
        f"{kind}{place}": (lambda x, kind=kind, place=place: getattr(L, kind + place)(2, padding="same")(x), size)
        for kind in ("MaxPooling", "AveragePooling")
        for place, size in (("1D", LINE), ("2D", IMAGE), ("3D", FILM))
    },
    "MaxPooling2D strides": (lambda x: L.MaxPooling2D((3, 2), strides=(1, 2), padding="valid")(x), IMAGE),
    **{
        f"Global{kind}Pooling{place} keepdims={keep}": (
            lambda x, kind=kind, place=place, keep=keep: getattr(L, f"Global{kind}Pooling{place}")(keepdims=keep)(x),
            size,
        )
        for kind in ("Max", "Average")
        for place, size in (("1D", LINE), ("2D", IMAGE), ("3D", FILM))
        for keep in (False, True)
    },
    # shapes
    "UpSampling1D": (lambda x: L.UpSampling1D(3)(x), LINE),
    **{
        f"UpSampling2D {name}": (lambda x, name=name: L.UpSampling2D((2, 3), interpolation=name)(x), IMAGE)
        for name in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area")
    },
    "UpSampling3D": (lambda x: L.UpSampling3D((1, 2, 3))(x), FILM),
    "ZeroPadding1D": (lambda x: L.ZeroPadding1D((1, 2))(x), LINE),
    "ZeroPadding2D": (lambda x: L.ZeroPadding2D(((1, 0), (2, 3)))(x), IMAGE),
    "ZeroPadding2D one number": (lambda x: L.ZeroPadding2D(2)(x), IMAGE),
    "ZeroPadding3D": (lambda x: L.ZeroPadding3D((1, 0, 2))(x), FILM),
    "Cropping1D": (lambda x: L.Cropping1D((1, 2))(x), LINE),
    "Cropping2D": (lambda x: L.Cropping2D(((1, 0), (2, 1)))(x), IMAGE),
    "Cropping3D": (lambda x: L.Cropping3D((1, 1, 2))(x), FILM),
    "Flatten": (lambda x: L.Flatten()(x), IMAGE),
    "Permute": (lambda x: L.Permute((3, 1, 2))(x), IMAGE),
    "Reshape": (lambda x: L.Reshape((-1, 10))(x), IMAGE),
    "RepeatVector": (lambda x: L.RepeatVector(3)(x), VECTOR),
    "Identity": (lambda x: L.Identity()(x), IMAGE),
    # merging
    **{
        name: (both_ends(getattr(L, name)()), IMAGE)
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    },
    "Concatenate axis": (both_ends(L.Concatenate(axis=1)), IMAGE),
    "Dot axes": (both_ends(L.Dot(axes=(1, 1))), SERIES),
    "Dot normalize": (both_ends(L.Dot(axes=2, normalize=True)), SERIES),
    "Dot negative": (both_ends(L.Dot(axes=-1)), SERIES),
    "Dot of vectors": (lambda x: L.Dot(axes=1)([x, L.Dense(6)(x)]), VECTOR),
    # attention
    "Attention": (both_ends(L.Attention()), SERIES),
    "Attention use_scale": (both_ends(L.Attention(use_scale=True)), SERIES),
    "Attention concat": (both_ends(L.Attention(score_mode="concat")), SERIES),
    "Attention dropout": (both_ends(L.Attention(dropout=0.3)), SERIES),
    "Attention causal": (lambda x: L.Attention()([x, L.Dense(4)(x)], use_causal_mask=True), SERIES),
    "Attention scores": (lambda x: L.Attention()([x, x], return_attention_scores=True), SERIES),
    "AdditiveAttention": (both_ends(L.AdditiveAttention()), SERIES),
    "AdditiveAttention no scale": (both_ends(L.AdditiveAttention(use_scale=False)), SERIES),
    "MultiHeadAttention": (attention(), SERIES),
    "MultiHeadAttention value_dim": (attention(value_dim=5, output_shape=7, use_bias=False, dropout=0.2), SERIES),
    "MultiHeadAttention axes": (attention(attention_axes=(1, 2)), IMAGE),
    "MultiHeadAttention mask": (
        lambda x: L.MultiHeadAttention(2, 3)(x, L.Dense(4)(x), key=x, use_causal_mask=True, return_attention_scores=True),
        SERIES,
    ),
    "MultiHeadAttention attention_mask": (
        lambda x: L.MultiHeadAttention(2, 3)(x, x, attention_mask=tf.matmul(x, x, transpose_b=True) > 0),
        SERIES,
    ),
    # recurrent
    **{
        f"{name} {argument}": (
            lambda x, name=name, options=options: getattr(L, name)(3, **options)(x),
            SERIES,
        )
        for name in ("LSTM", "GRU", "SimpleRNN")
        for argument, options in {
            "": {},
            "sequences": {"return_sequences": True, "go_backwards": True},
            "unroll": {"unroll": True, "activation": "relu"},
            "no bias": {"use_bias": False, "dropout": 0.1, "recurrent_dropout": 0.1},
            "state": {"return_state": True},
        }.items()
    },
    "LSTM hard_sigmoid": (lambda x: L.LSTM(3, recurrent_activation="hard_sigmoid", implementation=1)(x), SERIES),
    "LSTM no unit_forget_bias": (lambda x: L.LSTM(3, unit_forget_bias=False)(x), SERIES),
    "GRU reset_after=False": (lambda x: L.GRU(3, reset_after=False)(x), SERIES),
    "GRU reset_after=False hard": (lambda x: L.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid")(x), SERIES),
    "initial_state": (with_states, SERIES),
    "RNN cell": (lambda x: L.RNN(L.GRUCell(3, reset_after=False), return_sequences=True)(x), SERIES),
    "StackedRNNCells": (stacked, SERIES),
    "Bidirectional": (lambda x: L.Bidirectional(L.LSTM(3, return_sequences=True))(x), SERIES),
    "Bidirectional sum": (lambda x: L.Bidirectional(L.GRU(3), merge_mode="sum")(x), SERIES),
    "Bidirectional backward_layer": (
        lambda x: L.Bidirectional(L.LSTM(3), backward_layer=L.GRU(2, go_backwards=True))(x),
        SERIES,
    ),
    "Bidirectional initial_state": (bidirectional_with_states, SERIES),
    "ConvLSTM1D": (lambda x: L.ConvLSTM1D(2, 2)(x), (3, 6, 2)),
    "ConvLSTM2D": (lambda x: L.ConvLSTM2D(2, 3, padding="same", return_sequences=True)(x), FILM),
    "ConvLSTM2D dropout": (lambda x: L.ConvLSTM2D(2, 3, dropout=0.1, recurrent_activation="sigmoid")(x), FILM),
    "Masking": (lambda x: L.LSTM(3)(L.Masking(0.5)(x * 0 + 0.5 * tf.sign(x))), SERIES),
    "TimeDistributed": (lambda x: L.TimeDistributed(L.Conv2D(3, 2, activation="relu"))(x), FILM),
    "TimeDistributed model": (deep, FILM),
    # preprocessing and regularization
    "Rescaling": (lambda x: L.Rescaling(1 / 127.5, offset=-1)(x), IMAGE),
    "Rescaling lists": (lambda x: L.Rescaling([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0])(x), IMAGE),
    **{
        f"Resizing {name}": (lambda x, name=name: L.Resizing(9, 4, interpolation=name)(x), IMAGE)
        for name in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area")
    },
    "Resizing crop": (lambda x: L.Resizing(4, 4, crop_to_aspect_ratio=True)(x), (9, 6, 3)),
    "Resizing crop wide": (lambda x: L.Resizing(5, 3, crop_to_aspect_ratio=True)(x), (7, 10, 3)),
    "CenterCrop": (lambda x: L.CenterCrop(3, 2)(x), IMAGE),
    "CenterCrop of a smaller one": (lambda x: L.CenterCrop(9, 8)(x), IMAGE),
    "RandomCrop": (lambda x: L.RandomCrop(3, 2)(x), IMAGE),
    "RandomCrop of a smaller one": (lambda x: L.RandomCrop(9, 8)(x), IMAGE),
    "RandomFlip": (lambda x: L.RandomFlip("vertical", seed=3)(x), IMAGE),
    "RandomRotation": (lambda x: L.RandomRotation(0.2, fill_mode="nearest")(x), IMAGE),
    "RandomZoom": (lambda x: L.RandomZoom((-0.2, 0.3), width_factor=0.1)(x), IMAGE),
    "RandomTranslation": (lambda x: L.RandomTranslation(0.2, 0.1)(x), IMAGE),
    "RandomContrast": (lambda x: L.RandomContrast(0.2)(x), IMAGE),
    "RandomBrightness": (lambda x: L.RandomBrightness(0.2, value_range=(0, 1))(x), IMAGE),
    "RandomHeight": (lambda x: L.RandomHeight(0.2)(x), IMAGE),
    "RandomWidth": (lambda x: L.RandomWidth(0.2)(x), IMAGE),
    "Discretization": (lambda x: L.Discretization([-1.0, 0.0, 0.5])(x), IMAGE),
    "Discretization one_hot": (lambda x: L.Discretization([-1.0, 0.0, 0.5], output_mode="one_hot")(x[:, :1]), VECTOR),
    "CategoryEncoding": (lambda x: L.CategoryEncoding(9, output_mode="multi_hot")(tf.cast(tf.abs(x), "int32")), VECTOR),
    "Dropout": (lambda x: L.Dropout(0.3, noise_shape=(None, 1, 1, 4))(x), IMAGE),
    "SpatialDropout1D": (lambda x: L.SpatialDropout1D(0.3)(x), LINE),
    "SpatialDropout2D": (lambda x: L.SpatialDropout2D(0.3)(x), IMAGE),
    "SpatialDropout3D": (lambda x: L.SpatialDropout3D(0.3)(x), FILM),
    "GaussianDropout": (lambda x: L.GaussianDropout(0.3)(x), IMAGE),
    "GaussianNoise": (lambda x: L.GaussianNoise(0.3)(x), IMAGE),
    "AlphaDropout": (lambda x: L.AlphaDropout(0.3)(x), IMAGE),
    "ActivityRegularization": (lambda x: L.ActivityRegularization(0.1)(x), IMAGE),
    # models
    "nested": (nested, IMAGE),
    "frozen": (frozen, IMAGE),
    "branches": (branches, IMAGE),
    "sequential": (sequential, IMAGE),
    "mixed precision": (lambda x: L.Conv2D(3, 2, dtype="mixed_float16")(x), IMAGE),
}

FUNCTIONS: dict[str, tuple[Build, tuple[int, ...]]] = {
    # elementwise
    **{
        f"tf.math.{name}": (lambda x, name=name: getattr(tf.math, name)(x), IMAGE)
        for name in words(
            "abs asinh atan ceil cos cosh erf exp expm1 floor log_sigmoid negative reciprocal_no_nan "
            "rint round sigmoid sign sin sinh softplus softsign square tan tanh erfc is_finite is_nan "
            "cumsum reduce_logsumexp reduce_std reduce_variance reduce_prod reduce_euclidean_norm "
            "argmax argmin"
        )
    },
    **{
        f"tf.math.{name} of positive": (lambda x, name=name: getattr(tf.math, name)(tf.abs(x) + 1.1), IMAGE)
        for name in ["acosh", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "lgamma", "digamma"]
    },
    **{
        f"tf.math.{name} of two": (lambda x, name=name: getattr(tf.math, name)(x, L.Dense(4)(x)), IMAGE)
        for name in words(
            "add subtract multiply divide maximum minimum squared_difference greater greater_equal less "
            "less_equal equal not_equal atan2 divide_no_nan multiply_no_nan floordiv floormod mod "
            "truediv xdivy"
        )
    },
    "operators": (lambda x: -x + 2.0 - 1.0 / (abs(x) + 1.0) * 0.5 + x**2 + (x // 0.5) + (x % 0.7), IMAGE),
    "reflected operators": (lambda x: 2.0 - (1.0 / (2.0 + x * x)) + 3.0 * x + 2.0**x, IMAGE),
    "comparisons": (lambda x: tf.cast((x > 0) & (x < 1) | ~(x >= -1) ^ (x <= -2), "float32"), IMAGE),
    "tf.pow": (lambda x: tf.pow(tf.abs(x), 0.3), IMAGE),
    "whole numbers": (lambda x: tf.cast(tf.cast(x * 9, "int32") // 2 % 3, "float32") / 2, IMAGE),
    "division of whole numbers": (lambda x: tf.cast(tf.cast(x * 9, "int32") / 4, "float32"), IMAGE),
    "mean of whole numbers": (lambda x: tf.cast(tf.reduce_mean(tf.cast(x * 9, "int32"), axis=1), "float32"), IMAGE),
    "tf.clip_by_value": (lambda x: tf.clip_by_value(x, -0.5, 0.7), IMAGE),
    "tf.clip_by_value of tensors": (lambda x: tf.clip_by_value(x, tf.reduce_mean(x) - 0.5, 0.7), IMAGE),
    "tf.clip_by_norm": (lambda x: tf.clip_by_norm(x, 2.0, axes=[3]), IMAGE),
    "tf.cast": (lambda x: tf.cast(tf.cast(x * 3, "uint8"), tf.float16), IMAGE),
    "tf.where": (lambda x: tf.where(x > 0, x, 0.5), IMAGE),
    "tf.where of two": (lambda x: tf.where(x > 0, x, -2.0 * x), IMAGE),
    # activations
    **{
        f"tf.nn.{name}": (lambda x, name=name: getattr(tf.nn, name)(x), IMAGE)
        for name in words(
            "relu relu6 elu selu silu swish crelu gelu leaky_relu softmax log_softmax sigmoid tanh softplus softsign"
        )
    },
    "tf.nn.gelu approximate": (lambda x: tf.nn.gelu(x, approximate=True), IMAGE),
    "tf.nn.leaky_relu alpha": (lambda x: tf.nn.leaky_relu(x, 0.03), IMAGE),
    "tf.nn.silu beta": (lambda x: tf.nn.silu(x, beta=0.3), IMAGE),
    "tf.nn.softmax axis": (lambda x: tf.nn.softmax(x, axis=1), IMAGE),
    "tf.nn.l2_normalize": (lambda x: tf.nn.l2_normalize(x, axis=-1), IMAGE),
    "tf.math.l2_normalize epsilon": (lambda x: tf.math.l2_normalize(x, axis=[1, 2], epsilon=1.0), IMAGE),
    "tf.nn.lrn": (lambda x: tf.nn.local_response_normalization(x, depth_radius=1, bias=2.0, alpha=0.3, beta=0.7), IMAGE),
    "tf.nn.bias_add": (lambda x: tf.nn.bias_add(x, [1.0, 2.0, 3.0, 4.0]), IMAGE),
    "tf.nn.batch_normalization": (
        lambda x: tf.nn.batch_normalization(x, tf.reduce_mean(x), tf.reduce_mean(x * x), 0.3, 2.0, 0.001),
        IMAGE,
    ),
    "tf.nn.moments": (lambda x: tf.nn.moments(x, axes=[1, 2], keepdims=True), IMAGE),
    "tf.keras.activations": (lambda x: K.activations.relu(x, alpha=0.1, max_value=1.0, threshold=0.1), IMAGE),
    **{
        f"activations.{name}": (lambda x, name=name: getattr(K.activations, name)(x), IMAGE)
        for name in words("elu selu gelu swish mish sigmoid hard_sigmoid tanh softplus softsign exponential softmax relu")
    },
    **{
        f"backend.{name}": (lambda x, name=name: getattr(K.backend, name)(x), IMAGE)
        for name in words(
            "abs square exp sign round sum mean max min relu elu sigmoid hard_sigmoid tanh softmax "
            "softplus softsign flatten batch_flatten l2_normalize std var sin cos prod"
        )
    },
    "backend.concatenate": (lambda x: K.backend.concatenate([x, x * 2], axis=1), IMAGE),
    "backend.permute_dimensions": (lambda x: K.backend.permute_dimensions(x, (0, 2, 1, 3)), IMAGE),
    "backend.expand_dims": (lambda x: K.backend.expand_dims(x, 1), IMAGE),
    "backend.clip": (lambda x: K.backend.clip(x, -0.4, 0.6), IMAGE),
    "backend.resize_images": (lambda x: K.backend.resize_images(x, 2, 3, "channels_last", "bilinear"), IMAGE),
    "backend.batch_dot": (lambda x: K.backend.batch_dot(x, x, axes=(2, 2)), SERIES),
    # convolutions and pooling
    "tf.nn.conv2d": (lambda x: tf.nn.conv2d(x, tf.ones([2, 3, 4, 3]) * 0.3, strides=[1, 2, 1, 1], padding="SAME"), IMAGE),
    "tf.nn.depthwise_conv2d": (lambda x: tf.nn.depthwise_conv2d(x, tf.ones([2, 2, 4, 1]), [1, 1, 1, 1], "VALID"), IMAGE),
    "tf.nn.max_pool2d": (lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"), IMAGE),
    "tf.nn.avg_pool2d": (lambda x: tf.nn.avg_pool2d(x, [3, 2], [1, 2], "VALID"), IMAGE),
    "tf.nn.max_pool": (lambda x: tf.nn.max_pool(x, ksize=3, strides=2, padding="SAME"), IMAGE),
    "tf.nn.space_to_depth": (lambda x: tf.nn.space_to_depth(x[:, :, :4], 2), IMAGE),
    "tf.nn.depth_to_space": (lambda x: tf.nn.depth_to_space(x, 2), IMAGE),
    # reductions
    **{
        f"tf.reduce_{name}": (lambda x, name=name: getattr(tf, f"reduce_{name}")(x, axis=[1, 2], keepdims=True), IMAGE)
        for name in ("sum", "mean", "max", "min", "prod", "logsumexp")
    },
    "tf.reduce_mean of all": (lambda x: x - tf.reduce_mean(x), IMAGE),
    "tf.reduce_all": (lambda x: tf.cast(tf.reduce_all(x > -1.0, axis=1), "float32"), IMAGE),
    "tf.norm": (lambda x: tf.norm(x, axis=-1, keepdims=True), IMAGE),
    # shapes
    "slice": (lambda x: x[:, 1:4, ..., ::-1], IMAGE),
    "slice of one": (lambda x: x[:, 2, None, :, 1], IMAGE),
    "slice by a tensor": (lambda x: x[:, : tf.shape(x)[1] // 2], IMAGE),
    "size known through a tensor": (lambda x: L.Dense(2)(L.Flatten()(x[:, : tf.shape(x)[1] // 2])), IMAGE),
    "sizes known through tensors": (
        lambda x: L.Dense(2)(L.Flatten()(tf.reshape(x, [-1, tf.shape(x)[1] * tf.shape(x[:, :, 1:])[2], 4])[:, 1:])),
        IMAGE,
    ),
    "boolean mask as product": (lambda x: x * tf.cast(x > 0, x.dtype), IMAGE),
    "tf.slice": (lambda x: tf.slice(x, [0, 1, 0, 0], [-1, 2, -1, 3]), IMAGE),
    "tf.strided_slice": (lambda x: tf.strided_slice(x, [0, 0, 0, 0], [2, 6, 5, 4], [1, 2, 2, 1]), IMAGE),
    "tf.concat": (lambda x: tf.concat([x, 2.0 * x, x], axis=1), IMAGE),
    "tf.stack": (lambda x: tf.stack([x, 2.0 * x], axis=2), IMAGE),
    "tf.unstack": (lambda x: tf.unstack(x, axis=1)[1], IMAGE),
    "tf.split": (lambda x: tf.split(x, 2, axis=-1), IMAGE),
    "tf.split sizes": (lambda x: tf.split(x, [1, 3], axis=-1)[1], IMAGE),
    "tf.reshape": (lambda x: tf.reshape(x, [-1, 30, 4]), IMAGE),
    "tf.reshape by a shape": (lambda x: tf.reshape(x, [tf.shape(x)[0], 30, 4]), IMAGE),
    "tf.transpose": (lambda x: tf.transpose(x, [0, 3, 1, 2]), IMAGE),
    "tf.squeeze": (lambda x: tf.squeeze(x[:, :1], axis=1), IMAGE),
    "tf.squeeze axes": (lambda x: tf.squeeze(x[:, :1, :1], axis=[1, 2]), IMAGE),
    "tf.expand_dims": (lambda x: tf.expand_dims(x, axis=-1), IMAGE),
    "tf.newaxis": (lambda x: x[:, tf.newaxis], IMAGE),
    "tf.tile": (lambda x: tf.tile(x, [1, 2, 1, 3]), IMAGE),
    "tf.repeat": (lambda x: tf.repeat(x, 2, axis=1), IMAGE),
    "tf.pad": (lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]], constant_values=0.3), IMAGE),
    "tf.pad reflect": (lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]], "REFLECT"), IMAGE),
    "tf.pad symmetric": (lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]], mode="SYMMETRIC"), IMAGE),
    "tf.reverse": (lambda x: tf.reverse(x, axis=[1, 3]), IMAGE),
    "tf.roll": (lambda x: tf.roll(x, shift=2, axis=1), IMAGE),
    "tf.gather": (lambda x: tf.gather(x, [2, 0, 1], axis=1), IMAGE),
    "tf.gather batch_dims": (lambda x: tf.gather(x, tf.argmax(x, axis=1), axis=1, batch_dims=1), VECTOR),
    "tf.one_hot": (lambda x: tf.one_hot(tf.argmax(x, axis=-1), 4), IMAGE),
    "tf.broadcast_to": (lambda x: x * tf.ones_like(x) + tf.zeros_like(x), IMAGE),
    "tf.sort": (lambda x: tf.sort(x, axis=1, direction="DESCENDING"), IMAGE),
    "tf.math.top_k": (lambda x: tf.math.top_k(x, k=2)[0], IMAGE),
    "tf.identity": (lambda x: tf.identity(x), IMAGE),
    "tf.stop_gradient": (lambda x: tf.stop_gradient(x), IMAGE),
    "tf.add_n": (lambda x: tf.add_n([x, x * 2.0, x]), IMAGE),
    # products
    "tf.matmul": (lambda x: tf.matmul(x, x, transpose_b=True), SERIES),
    "tf.matmul transpose_a": (lambda x: x @ tf.matmul(x, x, transpose_a=True), SERIES),
    "tf.tensordot": (lambda x: tf.tensordot(x, tf.ones([4, 3]), axes=1), SERIES),
    "tf.linalg.normalize": (lambda x: tf.linalg.normalize(x, axis=-1)[0], SERIES),
    "tf.linalg.diag_part": (lambda x: tf.linalg.diag_part(tf.matmul(x, x, transpose_b=True)), SERIES),
    # images
    **{
        f"tf.image.resize {name}": (lambda x, name=name: tf.image.resize(x, (9, 4), method=name), IMAGE)
        for name in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "gaussian", "mitchellcubic", "area")
    },
    "tf.image.resize antialias": (lambda x: tf.image.resize(x, (3, 4), antialias=True), IMAGE),
    "tf.image.resize preserve_aspect_ratio": (lambda x: tf.image.resize(x, (9, 9), preserve_aspect_ratio=True), IMAGE),
    "tf.image.resize by a shape": (lambda x: tf.image.resize(x, tf.shape(x)[1:3] * 2), IMAGE),
    "tf.image.resize_with_pad": (lambda x: tf.image.resize_with_pad(x, 8, 8), IMAGE),
    "tf.compat.v1.image.resize_bilinear": (
        lambda x: tf.compat.v1.image.resize_bilinear(x, (9, 4), align_corners=True),
        IMAGE,
    ),
    "tf.compat.v1.image.resize_images": (lambda x: tf.compat.v1.image.resize_images(x, (9, 4)), IMAGE),
    **{
        f"tf.image.{name}": (lambda x, name=name: getattr(tf.image, name)(x), (6, 5, 3))
        for name in [
            "flip_left_right",
            "flip_up_down",
            "rgb_to_grayscale",
            "rot90",
            "transpose",
            "per_image_standardization",
            "rgb_to_yuv",
        ]
    },
    "tf.image.adjust_brightness": (lambda x: tf.image.adjust_brightness(x, 0.3), (6, 5, 3)),
    "tf.image.adjust_contrast": (lambda x: tf.image.adjust_contrast(x, 0.3), (6, 5, 3)),
    "tf.image.central_crop": (lambda x: tf.image.central_crop(x, 0.5), IMAGE),
    "tf.image.crop_to_bounding_box": (lambda x: tf.image.crop_to_bounding_box(x, 1, 2, 3, 2), IMAGE),
    "tf.image.convert_image_dtype": (lambda x: tf.image.convert_image_dtype(x, "float16"), IMAGE),
    "tf.image.extract_patches": (
        lambda x: tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID"),
        IMAGE,
    ),
    "tf.image.image_gradients": (lambda x: tf.image.image_gradients(x), IMAGE),
    "tf.image.sobel_edges": (lambda x: tf.image.sobel_edges(x), IMAGE),
    **{
        f"preprocess_input of {name}": (
            lambda x, name=name: getattr(K.applications, name).preprocess_input(x),
            (6, 5, 3),
        )
        for name in ("vgg16", "resnet_v2", "densenet", "mobilenet_v3", "nasnet")
    },
}


def old_and_files(build: Build, size: tuple[int, ...], folder: Path) -> tuple[Any, list[Path]]:
    """Return a tf_keras network with random weights, and its .h5 and .keras files."""
    inputs = K.Input(size)
    old = K.Model(inputs, build(inputs))
    random = np.random.default_rng(3)
    for weight in old.weights:
        if weight.dtype.is_floating:
            values = random.normal(size=weight.shape) * (0.4 if weight.shape.rank > 1 else 0.2)
            weight.assign(abs(values) + 0.5 if "variance" in weight.name or "gamma" in weight.name else values)
    for layer in old.layers:
        if isinstance(layer, L.Normalization):
            layer.finalize_state()
    paths = [folder / "old.h5", folder / "old.keras"]
    if any("getitem" in layer.name for layer in old.layers) and "__ellipsis__" in old.to_json():
        paths.pop()  # tf_keras cannot write an ellipsis to it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 warns about its own file format
        for path in paths:
            old.save(path)
    return old, paths


def assert_same(build: Build, size: tuple[int, ...], folder: Path) -> None:
    old, paths = old_and_files(build, size, folder)
    images = noise(*size) * 2
    wanted = tf.nest.flatten(old(images, training=False))
    for path in paths:
        got = tf.nest.flatten(tfviz.load_model(path)(images, training=False))
        assert len(got) == len(wanted)
        again = folder / "again.keras"
        tfviz.load_model(path).save(again)
        got += tf.nest.flatten(tfviz.load_model(again)(images, training=False))
        for one, want in zip(got, [*wanted, *wanted], strict=True):
            want = tf.cast(want, "float32").numpy()
            np.testing.assert_allclose(tf.cast(one, "float32"), want, rtol=1e-4, atol=1e-5 * max(1, abs(want).max()))


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_computes_the_same_outputs(case: str, tmp_path: Path) -> None:
    assert_same(*LAYERS[case], tmp_path)


@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_function_computes_the_same_outputs(case: str, tmp_path: Path) -> None:
    assert_same(*FUNCTIONS[case], tmp_path)
