"""Small networks with random weights, one for each common way of building them.

Each is built quickly, ends in logits (most of them before a softmax), and names the layers worth
checking. The reference (tests/support/reference) reads all of them, except where `no` lists a
method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

import tfviz
from tfviz.methods.cam import CAM

# not Guided Grad-CAM
CAMS = tuple(key for key, cls in tfviz.METHODS.items() if CAM in cls.__bases__)
EXCITATIONS = ("excitation_backprop", "contrastive_excitation_backprop")
# without those that read attention
CONVOLUTIONAL = {key: cls for key, cls in tfviz.METHODS.items() if not cls.needs_attention}
GRADIENTS = ("saliency", "gradient_times_input", "guided_backprop", "deconvnet")


@dataclass(frozen=True)
class Case:
    """A network, and what to check on it.

    Attributes:
        build: creates the model.
        cams: layers with height and width.
        cuts: layers for excitation, in addition to the image. If the reference uses another name,
            it is written "tfviz = reference".
        automatic: the automatic layer of a CAM; None if there is none.
        no: methods that cannot explain the network, or that the reference does not cover here.
        merges: whether a BatchNormalization directly follows a linear map.
        seed: a seed for which no map is all zero.
    """

    build: Callable[[], keras.Model]
    cams: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    automatic: str | None = None
    no: tuple[str, ...] = ()
    merges: bool = False
    seed: int = 0


def named(layer: str) -> tuple[str, str]:
    """Return what tfviz and what the reference call a layer."""
    ours, _, theirs = layer.partition(" = ")
    return ours, theirs or ours


def with_random_weights(model: keras.Model, seed: int) -> keras.Model:
    """Set everything to random values, also where Keras starts with 0 or 1.

    BatchNormalization gets scales of either sign.
    """
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "float" not in weight.dtype:
            continue  # A random layer's seed.
        numbers = random.normal(size=weight.shape)
        if "variance" in weight.path:
            numbers = abs(numbers) + 0.5
        elif len(weight.shape) > 1:
            numbers *= np.sqrt(2 / np.prod(weight.shape[:-1]))
        else:
            numbers *= 0.3 if "gamma" not in weight.path else 1.0
        weight.assign(numbers)
    return model


def pictures(model: keras.Model, count: int = 2, seed: int = 1) -> np.ndarray:
    """Return a float32 batch as the model takes it, partly negative; 24 × 20 pixels if free."""
    size = [n or free for n, free in zip(model.input_shape[1:], (24, 20, 3), strict=True)]
    return np.random.default_rng(seed).normal(size=(count, *size)).astype(np.float32)


def _conv_norm(x, filters, name, strides=1, kernel=3):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def plain() -> keras.Model:
    """VGG: ReLU fused into convolutions and Dense."""
    return keras.Sequential([
        keras.Input((20, 17, 3)),
        layers.Conv2D(6, 3, padding="same", activation="relu", name="c1"),
        layers.MaxPooling2D(3, 2, padding="same", name="p1"),
        layers.Conv2D(8, 3, strides=(2, 1), padding="same", activation="relu", name="c2"),
        layers.AveragePooling2D(2, name="p2"),
        layers.Flatten(name="flat"),
        layers.Dense(10, activation="relu", name="d1"),
        layers.Dense(5, activation="softmax", name="out"),
    ])  # fmt: skip


def residual() -> keras.Model:
    """ResNet: BatchNormalization after each convolution, shortcuts, `Activation("relu")`."""
    inputs = keras.Input((18, 18, 3))
    x = layers.Activation("relu", name="r1")(_conv_norm(inputs, 6, "a", strides=2))
    y = layers.Activation("relu", name="r2")(_conv_norm(x, 6, "b"))
    x = layers.Add(name="s1")([_conv_norm(y, 6, "c"), x])
    x = layers.Activation("relu", name="r3")(x)
    short = _conv_norm(x, 8, "short", strides=2, kernel=1)
    x = layers.Activation("relu", name="r4")(layers.Add(name="s2")([_conv_norm(x, 8, "d", strides=2), short]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(x))


def depthwise() -> keras.Model:
    """MobileNet: capped `ReLU` layers, padding, depthwise convolutions, linear bottlenecks."""
    inputs = keras.Input((19, 19, 3))
    x = layers.ZeroPadding2D(((0, 1), (1, 1)), name="pad")(inputs)
    x = layers.Conv2D(6, 3, 2, use_bias=False, name="c1")(x)
    x = short = layers.ReLU(1.5, name="r1")(layers.BatchNormalization(name="n1")(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False, name="w2")(x)
    x = layers.ReLU(1.5, name="r2")(layers.BatchNormalization(name="n2")(x))
    x = layers.Conv2D(6, 1, use_bias=False, name="c3")(x)
    x = layers.Add(name="s3")([layers.BatchNormalization(name="n3")(x), short])
    x = layers.Activation("relu6", name="r4")(layers.Conv2D(8, 3, groups=2, dilation_rate=2, name="c4")(x))
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    x = layers.Conv2D(5, 1, name="head")(layers.Dropout(0.3, name="drop")(x))
    return keras.Model(inputs, layers.Softmax(name="softmax")(layers.Flatten(name="flat")(x)))


def inception() -> keras.Model:
    """Parallel branches, overlapping pooling, dilation; logits average a ReLU (SqueezeNet)."""
    inputs = keras.Input((21, 18, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="c1")(inputs)
    x = layers.MaxPooling2D(3, 2, name="p1")(x)
    left = layers.Conv2D(4, 3, padding="same", dilation_rate=2, activation="relu", name="left")(x)
    middle = layers.Conv2D(5, 1, activation="relu", name="middle")(x)
    right = layers.Conv2D(3, 1, activation="relu", name="right")(layers.MaxPooling2D(3, 1, padding="same", name="p2")(x))
    x = layers.Concatenate(name="cat")([left, middle, right])
    x = layers.AveragePooling2D(2, padding="same", name="p3")(layers.Dropout(0.5, name="drop")(x))
    x = layers.Conv2D(6, 1, activation="relu", name="head")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Activation("softmax", name="softmax")(x))


def preactivation() -> keras.Model:
    """BatchNormalization and ReLU before each convolution, dense links; no final activation."""
    inputs = keras.Input((17, 19, 3))
    x = layers.Conv2D(6, 3, 2, padding="same", name="c1")(inputs)
    y = layers.Activation("relu", name="r1")(layers.BatchNormalization(name="n1")(x))
    x = layers.Add(name="s1")([layers.Conv2D(6, 3, padding="same", name="c2")(y), x])
    y = layers.ReLU(name="r2")(layers.BatchNormalization(name="n2")(x))
    x = layers.Concatenate(name="cat")([x, layers.Conv2D(4, 3, padding="same", name="c3")(y)])
    x = layers.ReLU(name="r3")(layers.BatchNormalization(name="n3")(x))
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="out")(x))


def dense() -> keras.Model:
    """No convolution at all."""
    return keras.Sequential([
        keras.Input((9, 8, 1)),
        layers.Flatten(name="flat"),
        layers.Dense(12, activation="relu", name="d1"),
        layers.Dense(8, activation="tanh", name="d2"),
        layers.Dense(4, activation="sigmoid", name="out"),
    ])  # fmt: skip


def separable() -> keras.Model:
    """Xception: separable convolutions, a free image size."""
    inputs = keras.Input((None, None, 3))
    x = layers.SeparableConv2D(6, 3, padding="same", activation="relu", name="c1")(inputs)
    x = layers.MaxPooling2D(2, name="p1")(x)
    x = layers.SeparableConv2D(8, 3, depth_multiplier=2, strides=2, use_bias=False, name="c2")(x)
    x = layers.ReLU(name="r2")(layers.BatchNormalization(name="n2")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(x))


def operations() -> keras.Model:
    """ReLU and sums as operations of `keras.ops` and `+` in the graph."""
    inputs = keras.Input((16, 16, 3))
    x = short = ops.relu(layers.Conv2D(6, 3, padding="same", name="c1")(inputs))
    x = keras.activations.relu(layers.Conv2D(6, 3, padding="same", name="c2")(x), max_value=1.5)
    x = x + short
    x = ops.relu6(layers.Conv2D(6, 3, strides=2, name="c3")(x))
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, ops.softmax(x))


def nested() -> keras.Model:
    """Transfer learning: augmentation, preprocessing, a backbone and a head as nested models."""
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2)], name="augmentation")
    inputs = keras.Input((18, 16, 3))
    x = layers.Activation("relu", name="r1")(_conv_norm(inputs, 6, "a"))
    block = keras.Sequential([layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")], name="block")
    backbone = keras.Model(inputs, block(x), name="backbone")
    head = keras.Sequential(
        [layers.GlobalAveragePooling2D(name="pool"), layers.Dropout(0.4), layers.Dense(4, name="logits"), layers.Softmax()],
        name="head",
    )
    rescaling = layers.Rescaling(1 / 2, offset=0.5, name="rescaling")
    return keras.Sequential([keras.Input((18, 16, 3)), augmentation, rescaling, backbone, head])


def shared() -> keras.Model:
    """A backbone that is called twice."""
    backbone = keras.Sequential(
        [layers.Conv2D(6, 3, activation="relu", name="conv"), layers.Conv2D(6, 3, strides=2, activation="relu", name="last")],
        name="backbone",
    )
    inputs = keras.Input((16, 16, 3))
    first = backbone(inputs)
    second = backbone(layers.Conv2D(3, 3, padding="same", activation="relu", name="before")(inputs))
    x = layers.Concatenate(name="cat")([first, second])
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(layers.Flatten(name="flat")(x)))


def called() -> keras.Model:
    """A Sequential without an Input, built by a call."""
    model = keras.Sequential(
        [
            layers.Conv2D(6, 3, activation="relu", name="c1"),
            layers.MaxPooling2D(name="p1"),
            layers.Flatten(name="flat"),
            layers.Dense(4, activation="softmax", name="out"),
        ]
    )
    model(np.zeros((1, 12, 12, 3), np.float32))
    return model


def forked() -> keras.Model:
    """Two branches of different depth that meet after their last ReLUs."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="c1")(inputs)
    deep = x
    for i in range(5):
        deep = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"deep{i}")(deep)
    flat = layers.Conv2D(4, 3, padding="same", activation="relu", name="flat")(x)
    for i in range(3):
        flat = layers.Conv2D(4, 1, name=f"flat{i}")(flat)
    x = layers.Add(name="sum")([deep, flat])
    x = layers.GlobalAveragePooling2D(name="pool")(layers.BatchNormalization(name="norm")(x))
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(x))


def transposed() -> keras.Model:
    """Upsampling by transposed convolutions before the head."""
    return keras.Sequential([
        keras.Input((12, 13, 3)),
        layers.Normalization(mean=[0.1, 0.2, -0.3], variance=[1.0, 2.0, 0.5], name="norm"),
        layers.Conv2D(6, 3, strides=2, activation="relu", name="down"),
        layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu", name="up"),
        layers.Conv2DTranspose(4, (3, 2), name="wide"),
        layers.BatchNormalization(name="wide_norm"),
        layers.LeakyReLU(0.2, name="leaky"),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(4, activation="softmax", name="out"),
    ])  # fmt: skip


def gated() -> keras.Model:
    """Squeeze-and-excitation, and a smooth activation."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="c1")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="excite")(layers.Conv2D(3, 1, activation="relu", name="g1")(gate))
    x = layers.Multiply(name="scaled")([x, gate])
    x = layers.Activation("silu", name="swish")(layers.Conv2D(6, 3, strides=2, name="c2")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(x))


NETWORKS: dict[str, Case] = {
    "plain": Case(plain, ("c1", "p1", "c2"), ("c1", "p1", "c2", "p2", "flat", "d1"), "c2", seed=2),
    "residual": Case(residual, ("a_norm", "s1", "r4"), ("r1", "s1", "r3", "short_norm", "r4"), "r4", merges=True),
    "depthwise": Case(depthwise, ("r1", "n3", "r4"), ("r1", "r2", "s3", "r4"), "r4", merges=True, seed=3),
    "inception": Case(inception, ("p1", "cat", "head"), ("p1", "left", "cat", "p3"), "head"),
    "preactivation": Case(preactivation, ("c1", "cat", "r3"), ("r1", "s1", "cat"), "r3"),
    "dense": Case(dense, cuts=("d1", "d2"), no=(*CAMS, "guided_grad_cam", "visual_backprop")),
    "separable": Case(separable, ("c1", "r2"), ("c1", "p1", "r2"), "r2", merges=True),
    "operations": Case(operations, ("c2", "c3"), ("c2", "c3"), "relu6"),
    "nested": Case(
        nested, ("backbone/r1", "backbone/block/conv"), ("backbone/r1", "backbone"), "backbone/block/conv", merges=True
    ),
    "shared": Case(
        shared,
        ("backbone:0/last = backbone/last", "backbone:1/conv = backbone#1/conv", "cat"),
        ("before", "backbone:0/conv = backbone/conv", "cat"),
        "cat",
    ),
    "called": Case(called, ("c1", "p1"), ("c1", "flat"), "c1"),
    "forked": Case(forked, ("c1", "deep2", "norm"), ("c1", "deep2"), "norm"),
    "transposed": Case(
        transposed, ("down", "up", "leaky"), ("down", "up"), "leaky", no=("visual_backprop",), merges=True, seed=4
    ),
    "gated": Case(gated, ("c1", "scaled", "c2"), (), "swish", no=EXCITATIONS, seed=1),
}


def build(name: str) -> keras.Model:
    """Build a new network with that name, always with the same weights."""
    return with_random_weights(NETWORKS[name].build(), NETWORKS[name].seed)
