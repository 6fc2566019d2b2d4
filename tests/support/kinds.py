"""Kinds of networks beyond plain image classifiers, and the ways to build each of them.

A kind is a list of layers. Some of them contain layers or handwritten code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import tfviz
from support import transformers
from support.networks import EXCITATIONS
from support.other_networks import Positions
from support.zoo import alive

Layers = list[layers.Layer]


@dataclass(frozen=True)
class Kind:
    """A kind of network, and what to expect.

    Attributes:
        layers: creates the layers, in order.
        size: of the inputs.
        flat: creates the same network without layers of layers, where another test checks it.
        target: maps the images to what is explained.
        score: maps the outputs to the target's scores (N,). None means that the target is a
            function or a class.
        methods: the methods that explain it.
        errors: methods, and the message of the error that they must raise.
    """

    layers: Callable[[], Layers]
    size: tuple[int, ...] = (12, 10, 3)
    flat: Callable[[], keras.Model] | None = None
    target: Callable[[np.ndarray], Any] = lambda images: 1
    score: Callable[[Any], Any] | None = None
    methods: Sequence[str] = ("guided_backprop", "grad_cam", "excitation_backprop", "visual_backprop")
    errors: dict[str, str] = field(default_factory=dict)

    def images(self) -> np.ndarray:
        return np.random.default_rng(1).normal(size=(2, *self.size)).astype(np.float32)


# --- ways to build it -----------------------------------------------------------------------------


def called(parts: Layers, x: Any) -> Any:
    for layer in parts:
        x = layer(x)
    return x


def functional(kind: Kind) -> keras.Model:
    inputs = keras.Input(kind.size)
    return keras.Model(inputs, called(kind.layers(), inputs))


def nested(kind: Kind) -> keras.Model:
    """A backbone, and a head on top of it."""
    *body, first, last = kind.layers()
    inside, inputs = keras.Input(kind.size), keras.Input(kind.size)
    backbone = keras.Model(inside, called(body, inside), name="backbone")
    return keras.Model(inputs, called([backbone, first, last], inputs))


def sequential(kind: Kind) -> keras.Model:
    return keras.Sequential([keras.Input(kind.size), *kind.layers()])


class Subclassed(keras.Model):
    """Layers that are called in a loop."""

    def __init__(self, parts: Layers) -> None:
        super().__init__()
        self.parts = parts

    def call(self, x: Any) -> Any:
        return called(self.parts, x)

    def get_config(self) -> dict[str, Any]:
        return {}


def subclassed(kind: Kind) -> keras.Model:
    model = Subclassed(kind.layers())
    model(np.zeros((1, *kind.size), np.float32))
    return model


WAYS: dict[str, Callable[[Kind], keras.Model]] = {"nested": nested, "Sequential": sequential, "subclassed": subclassed}


# --- transformers ---------------------------------------------------------------------------------


class Cut(layers.Layer):
    """Cuts images of 24 × 32 into patches of 8 × 8, as the ViT of keras.io does."""

    def call(self, x: Any) -> Any:
        return ops.reshape(ops.transpose(ops.reshape(x, (-1, 3, 8, 4, 8, 3)), (0, 1, 3, 2, 4, 5)), (-1, 12, 192))


class SequencePooling(layers.Layer):
    """Averages the tokens with learned weights, as CCT does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = layers.Dense(1)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.weight.build(shape)

    def call(self, x: Any) -> Any:
        weights = ops.softmax(self.weight(x), axis=1)
        return ops.squeeze(ops.matmul(ops.transpose(weights, (0, 2, 1)), x), axis=1)


def multi_head() -> layers.Layer:
    return layers.MultiHeadAttention(2, 6)


def keras_io() -> Layers:
    head = [layers.LayerNormalization(), layers.Flatten(), layers.Dense(4, activation="softmax")]
    return [Cut(), layers.Dense(12), Positions(), transformers.EncoderBlock(multi_head()), *head]


def cct() -> Layers:
    tokenizer = [layers.Conv2D(12, 3, 4, padding="same", activation="relu"), layers.MaxPooling2D(2), layers.Reshape((12, 12))]
    head = [layers.LayerNormalization(), SequencePooling(), layers.Dense(4, activation="softmax")]
    return [*tokenizer, Positions(), transformers.EncoderBlock(multi_head()), *head]


ON_TOKENS = ("attention_rollout", "gradient_attention", "legrad", "grad_cam", "saliency")
ON_ATTENTION = dict.fromkeys(EXCITATIONS, "is not defined for attention")


def transformer(attention: Callable[[], layers.Layer], flat: Callable[[Any, int], Any]) -> Kind:
    return Kind(
        lambda: transformers.stack(attention),
        transformers.SIZE,
        lambda: transformers.network(flat),
        methods=ON_TOKENS,
        errors=ON_ATTENTION | {"visual_backprop": "is not defined for attention"},
    )


# --- convolutions ---------------------------------------------------------------------------------


class ResponseNormalization(layers.Layer):
    """Local response normalization by hand, as in the Keras ports of AlexNet and GoogLeNet."""

    def call(self, x: Any) -> Any:
        squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (1, 1)])
        return x / (1 + 0.3 * (squares[..., :-2] + squares[..., 1:-1] + squares[..., 2:])) ** 0.75


class Scaled(layers.Layer):
    """Divides an embedding by its length, by hand."""

    def call(self, x: Any) -> Any:
        return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6)


def head(rank: int, units: int = 4, activation: str | None = "softmax") -> Layers:
    pool = {1: layers.GlobalAveragePooling1D, 2: layers.GlobalAveragePooling2D, 3: layers.GlobalAveragePooling3D}[rank]
    return [pool(), layers.Dense(units, activation=activation)]


def smooth() -> Layers:
    first = [layers.Conv2D(6, 3, padding="same"), layers.Activation("gelu")]
    return [*first, layers.Conv2D(6, 3, 2, activation="silu"), *head(2)]


def normalized() -> Layers:
    first = [layers.Conv2D(6, 3, padding="same", activation="relu"), ResponseNormalization()]
    return [*first, layers.Conv2D(6, 3, 2, activation="relu"), *head(2)]


def signals() -> Layers:
    first = [layers.Conv1D(6, 5, activation="relu", padding="same"), layers.MaxPooling1D(2)]
    return [*first, layers.Conv1D(6, 3, activation="relu"), *head(1)]


def volumes() -> Layers:
    return [layers.Conv3D(5, 3, 2, padding="same", activation="relu"), layers.Conv3D(5, 2, activation="relu"), *head(3)]


def frames() -> Layers:
    frame = [keras.Input((12, 10, 2)), layers.Conv2D(5, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    return [layers.TimeDistributed(keras.Sequential(frame)), *head(1)]


def recurrent() -> Layers:
    return [layers.ConvLSTM2D(4, 3, return_sequences=True), layers.Conv3D(5, (1, 3, 3), activation="relu"), *head(3)]


def embedding() -> Layers:
    return [layers.Conv2D(6, 3, activation="relu"), *head(2, 5, None), Scaled()]


def autoencoder() -> Layers:
    coder = [layers.Conv2D(6, 3, 2, "same", activation="relu"), layers.Conv2D(4, 3, padding="same", activation="relu")]
    return [*coder, layers.Conv2DTranspose(3, 3, 2, "same")]


class Predictions(layers.Layer):
    """Boxes and class scores, one of each per position."""

    def call(self, x: Any) -> dict[str, Any]:
        x = ops.reshape(x, (-1, 6, 7))
        return {"boxes": x[..., :4], "scores": x[..., 4:]}


def detector() -> Layers:
    first = [layers.Conv2D(6, 3, 2, activation="relu"), layers.Conv2D(6, 3, activation="relu")]
    return [*first, layers.Conv2D(7, 1), Predictions()]


def segmenter() -> Layers:
    coder = [layers.Conv2D(6, 3, 2, "same", activation="relu"), layers.Conv2D(6, 3, padding="same", activation="relu")]
    return [*coder, layers.UpSampling2D(), layers.Conv2D(4, 1, activation="softmax")]


def regression() -> Layers:
    return [layers.Conv2D(6, 3, activation="relu"), *head(2, 1, None)]


KINDS: dict[str, Kind] = {
    "MultiHeadAttention": transformer(multi_head, transformers.multi_head),
    "GroupQueryAttention": transformer(lambda: layers.GroupQueryAttention(3, 4, 2), transformers.grouped),
    "Attention": transformer(transformers.SingleHead, transformers.single_head),
    "attention by hand": transformer(transformers.Handwritten, transformers.by_hand),
    "keras.io ViT": Kind(
        keras_io,
        transformers.SIZE,
        methods=ON_TOKENS,
        errors=ON_ATTENTION | {"visual_backprop": "is not defined for attention"},
    ),
    "CCT": Kind(cct, transformers.SIZE, methods=(*ON_TOKENS, "visual_backprop"), errors=ON_ATTENTION),
    "SiLU and GELU": Kind(smooth),
    "local response normalization by hand": Kind(normalized),
    "1-D": Kind(signals, (24, 3)),
    "3-D": Kind(volumes, (8, 8, 6, 2)),
    "video, TimeDistributed": Kind(frames, (3, 12, 10, 2)),
    "video, ConvLSTM": Kind(
        recurrent,
        (3, 9, 8, 2),
        methods=("saliency", "grad_cam"),
        errors=dict.fromkeys((*EXCITATIONS, "visual_backprop"), r"\(ConvLSTM2D\)"),
    ),
    "embedding": Kind(embedding, target=lambda images: tfviz.Similarity(np.array([1, -2, 3, 1, 0], np.float32))),
    "autoencoder": Kind(
        autoencoder,
        target=tfviz.ReconstructionError,
        methods=("guided_backprop", "layer_cam", "excitation_backprop", "visual_backprop"),
    ),
    "detection": Kind(detector, target=lambda images: tfviz.Detection((0, 0, 1, 1), 2)),
    "segmentation": Kind(segmenter, target=lambda images: tfviz.At(1, (5, 4)), score=lambda outputs: outputs[:, 5, 4, 1]),
    "regression": Kind(regression, target=lambda images: 0),
}


def built(kind: Kind) -> keras.Model:
    """Build the functional model, or the flat one, with random weights."""
    return alive((kind.flat or (lambda: functional(kind)))())
