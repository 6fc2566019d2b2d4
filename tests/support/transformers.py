"""Small vision transformers with random weights, one for each common way of building them."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from support.networks import with_random_weights

SIZE = (24, 32, 3)  # 3 × 4 patches of 8 × 8
GRID = (3, 4)
GOLDEN = ["vit", "vit_gap", "deit", "dinov2", "dinov3", "cct", "handmade", "grouped", "plain"]


def golden(shared: Path, name: str) -> tuple[keras.Model, dict[str, np.ndarray]]:
    """Return a network of golden/vit and its float64 answers."""
    import keras_hub  # noqa: F401  # registers its layers

    folder = shared / "golden" / "vit"
    if name in ("plain", "cct"):
        namespace: dict[str, Any] = {"__name__": "golden_vit_layers"}
        exec(compile((folder / "custom_layers.py").read_text(), "custom_layers.py", "exec"), namespace)
    model = keras.models.load_model(folder / f"{name}.keras", compile=False)
    return model, dict(np.load(folder / f"{name}.expected.npz"))


def patches(image: Any, name: str = "patches") -> Any:
    x = layers.Conv2D(12, 8, strides=8, name=name)(image)
    return layers.Reshape((12, 12), name="tokens")(x)


def multi_head(x: Any, number: int) -> Any:
    return layers.MultiHeadAttention(2, 6, name=f"attention_{number}")(x, x)


def with_dropout(x: Any, number: int) -> Any:
    return layers.MultiHeadAttention(2, 6, dropout=0.2, name=f"attention_{number}")(x, x)


def flash(x: Any, number: int) -> Any:
    return layers.MultiHeadAttention(2, 6, flash_attention=True, name=f"attention_{number}")(x, x)


def grouped(x: Any, number: int) -> Any:
    return layers.GroupQueryAttention(3, 4, 2, name=f"attention_{number}")(x, x)


def single_head(x: Any, number: int) -> Any:
    queries, values = layers.Dense(12, name=f"query_{number}")(x), layers.Dense(12, name=f"value_{number}")(x)
    return layers.Attention(use_scale=True, name=f"attention_{number}")([queries, values])


def additive(x: Any, number: int) -> Any:
    return layers.AdditiveAttention(name=f"attention_{number}")([x, layers.Dense(12, name=f"value_{number}")(x)])


def by_operation(x: Any, number: int) -> Any:
    heads = [layers.Reshape((12, 2, 6))(layers.Dense(12, name=f"{name}_{number}")(x)) for name in ("q", "k", "v")]
    return layers.Dense(12, name=f"out_{number}")(layers.Reshape((12, 12))(ops.dot_product_attention(*heads)))


def by_hand(x: Any, number: int) -> Any:
    return layers.Dense(12, name=f"out_{number}")(mixed(layers.Dense(36, name=f"qkv_{number}")(x)))


def mixed(joint: Any) -> Any:
    """Attention between joint queries, keys and values (N, 12, 36), by hand."""
    joint = ops.transpose(ops.reshape(joint, (-1, 12, 3, 2, 6)), (2, 0, 3, 1, 4))
    queries, keys, values = joint[0], joint[1], joint[2]
    P = ops.softmax(ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2))) * 6**-0.5)
    return ops.reshape(ops.transpose(ops.matmul(P, values), (0, 2, 1, 3)), (-1, 12, 12))


class TensorFlowAttention(layers.Layer):
    """Attention in TensorFlow code."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.joint = self.add_weight(shape=(12, 36), name="joint")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        queries, keys, values = tf.unstack(tf.reshape(x @ self.joint, [-1, 12, 3, 2, 6]), axis=2)
        P = tf.nn.softmax(tf.einsum("nqhd,nkhd->nhqk", queries, keys) / 6**0.5)
        return tf.reshape(tf.einsum("nhqk,nkhd->nqhd", P, values), [-1, 12, 12])


def in_tensorflow(x: Any, number: int) -> Any:
    return TensorFlowAttention(name=f"attention_{number}")(x)


ATTENTIONS: dict[str, Callable[[Any, int], Any]] = {
    "MultiHeadAttention": multi_head,
    "MultiHeadAttention with dropout": with_dropout,
    "GroupQueryAttention": grouped,
    "Attention": single_head,
    "AdditiveAttention": additive,
    "ops.dot_product_attention": by_operation,
    "by hand": by_hand,
    "in TensorFlow": in_tensorflow,
}


def encoder(
    x: Any,
    attend: Callable[[Any, int], Any] = multi_head,
    blocks: int = 2,
    norm: Callable[..., layers.Layer] = layers.LayerNormalization,
) -> Any:
    """Return the tokens behind pre-normalized blocks and a final normalization."""
    for number in range(blocks):
        x = x + attend(norm(name=f"norm_{number}a")(x), number)
        y = layers.Dense(16, activation="gelu", name=f"up_{number}")(norm(name=f"norm_{number}b")(x))
        x = layers.Add(name=f"sum_{number}")([x, layers.Dense(12, name=f"down_{number}")(y)])
    return norm(name="norm")(x)


def post_encoder(x: Any, norm: Callable[..., layers.Layer] = layers.LayerNormalization) -> Any:
    """Return the tokens behind blocks that normalize after their sums."""
    for number in range(2):
        x = norm(name=f"n{number}a")(x + multi_head(x, number))
        x = norm(name=f"n{number}b")(x + layers.Dense(12, activation="gelu", name=f"d{number}")(x))
    return x


class HandwrittenNorm(layers.Layer):
    """A normalization by a formula of the tokens and of weights, such as a scale and a shift."""

    def __init__(self, formula: Callable[..., Any], **options: Any) -> None:
        super().__init__(**options)
        self.formula = formula

    def build(self, shape: tuple[int | None, ...]) -> None:
        count = len(signature(self.formula).parameters) - 1
        self.parameters = [self.add_weight(shape=shape[-1:], name=f"weight_{number}") for number in range(count)]

    def call(self, x: Any) -> Any:
        return self.formula(x, *self.parameters)


def centered(x: Any, scale: Any, shift: Any) -> Any:
    difference = x - ops.mean(x, axis=-1, keepdims=True)
    return difference * ops.rsqrt(ops.mean(ops.square(difference), axis=-1, keepdims=True) + 1e-3) * scale + shift


def divided(x: Any, scale: Any, shift: Any) -> Any:
    return scale * (x - ops.mean(x, -1)[..., None]) / ops.sqrt(ops.var(x, axis=-1, keepdims=True) + 1e-3) + shift


def with_moments(x: Any, scale: Any, shift: Any) -> Any:
    mean, variance = ops.moments(x, axes=[-1], keepdims=True)
    return (x - mean) / ops.sqrt(variance + 1e-3) * scale + shift


def as_affine_map(x: Any, scale: Any, shift: Any) -> Any:
    factor = scale * ops.rsqrt(ops.var(x, axis=-1, keepdims=True) + 1e-3)
    return x * factor + (shift - ops.mean(x, axis=-1, keepdims=True) * factor)


def in_tensorflow_code(x: Any, scale: Any, shift: Any) -> Any:
    return tf.nn.batch_normalization(x, *tf.nn.moments(x, [-1], keepdims=True), shift, scale, 1e-3)


def root_mean_square(x: Any, scale: Any) -> Any:
    return x * ops.rsqrt(ops.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale


NORMALIZATIONS: dict[Callable[..., Any], type[layers.Layer]] = {
    **dict.fromkeys([centered, divided, with_moments, as_affine_map, in_tensorflow_code], layers.LayerNormalization),
    root_mean_square: layers.RMSNormalization,
}


def network(attend: Callable[[Any, int], Any] = multi_head, head: str | None = "softmax", seed: int = 0) -> keras.Model:
    """A transformer that averages its tokens."""
    image = keras.Input(SIZE, name="image")
    x = layers.GlobalAveragePooling1D()(encoder(patches(image), attend))
    return with_random_weights(keras.Model(image, layers.Dense(5, activation=head, name="out")(x)), seed)


class Handwritten(layers.Layer):
    """`by_hand` as a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.joint, self.out = layers.Dense(36), layers.Dense(12)

    def build(self, shape: tuple[int | None, ...], _: Any) -> None:
        self.joint.build(shape)
        self.out.build(shape)

    def call(self, x: Any, _: Any) -> Any:
        return self.out(mixed(self.joint(x)))


class SingleHead(layers.Layer):
    """`single_head` as a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value, self.attention = layers.Dense(12), layers.Dense(12), layers.Attention(use_scale=True)

    def build(self, shape: tuple[int | None, ...], _: Any) -> None:
        self.query.build(shape)
        self.value.build(shape)
        self.attention.build([shape, shape])

    def call(self, x: Any, _: Any) -> Any:
        return self.attention([self.query(x), self.value(x)])


class EncoderBlock(layers.Layer):
    """One block of `encoder`."""

    def __init__(self, attention: layers.Layer) -> None:
        super().__init__()
        self.first, self.attention, self.second = layers.LayerNormalization(), attention, layers.LayerNormalization()
        self.up, self.down = layers.Dense(16, activation="gelu"), layers.Dense(12)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.first.build(shape)
        self.attention.build(shape, shape)
        self.second.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], 16))

    def call(self, x: Any) -> Any:
        y = self.first(x)
        x = x + self.attention(y, y)
        return x + self.down(self.up(self.second(x)))

    def get_config(self) -> dict[str, Any]:
        return {}


def stack(attention: Callable[[], layers.Layer]) -> list[layers.Layer]:
    """Return the layers of `network`, one per block."""
    return [
        layers.Conv2D(12, 8, strides=8, name="patches"),
        layers.Reshape((12, 12)),
        EncoderBlock(attention()),
        EncoderBlock(attention()),
        layers.LayerNormalization(),
        layers.GlobalAveragePooling1D(),
        layers.Dense(5, activation="softmax"),
    ]


def images(size: tuple[int, ...] = SIZE, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, *size)).astype(np.float32)
