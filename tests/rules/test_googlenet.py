"""Excitation backprop on a small GoogLeNet with handwritten local response normalization.

The second route rewrites each layer's gradient by hand (`support.rewritten`). There, the
normalization is one layer through which p passes unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks, rewritten

import tfviz

Function = Callable[[Any], Any]
RADIUS, BIAS, ALPHA, BETA = 2, 1.0, 0.3, 0.75
EXCITATIONS = {"excitation_backprop": rewritten.Excitation, "contrastive_excitation_backprop": rewritten.Contrastive}


def by_slices(x: Any) -> Any:
    """As in the Keras ports of GoogLeNet and AlexNet."""
    channels = x.shape[-1]
    squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (RADIUS, RADIUS)])
    scale = BIAS
    for i in range(2 * RADIUS + 1):
        scale = scale + ALPHA * squares[..., i : i + channels]
    return x / scale**BETA


def by_power(x: Any) -> Any:
    squares = ops.pad(x * x, [(0, 0), (0, 0), (0, 0), (RADIUS, RADIUS)])
    total = sum(squares[..., i : i + x.shape[-1]] for i in range(2 * RADIUS + 1))
    return x * ops.power(BIAS + ALPHA * total, -BETA)


def by_logarithm(x: Any) -> Any:
    squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (RADIUS, RADIUS)])
    total = sum(squares[..., i : i + x.shape[-1]] for i in range(2 * RADIUS + 1))
    return ops.multiply(ops.exp(-BETA * ops.log(BIAS + ALPHA * total)), x)


def by_pooling(x: Any) -> Any:
    window = 2 * RADIUS + 1
    mean = _channel_mean(ops.expand_dims(ops.square(x), -1), window)
    return x / ops.power(BIAS + ALPHA * window * mean, BETA)


def _channel_mean(squares: Any, window: int) -> Any:
    padded = ops.pad(squares, [(0, 0), (0, 0), (0, 0), (RADIUS, RADIUS), (0, 0)])
    return ops.average_pool(padded, (1, 1, window), strides=1, padding="valid")[..., 0]


def by_convolution(x: Any) -> Any:
    channels = x.shape[-1]
    band = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels))) <= RADIUS
    return x / (BIAS + ALPHA * ops.matmul(ops.square(x), band.astype("float32"))) ** BETA


def in_tensorflow(x: Any) -> Any:
    squares = tf.pad(tf.square(x), [(0, 0), (0, 0), (0, 0), (RADIUS, RADIUS)])
    total = tf.add_n([squares[..., i : i + x.shape[-1]] for i in range(2 * RADIUS + 1)])
    return x / tf.pow(BIAS + ALPHA * total, BETA)


def by_the_operation(x: Any) -> Any:
    return tf.nn.local_response_normalization(x, RADIUS, BIAS, ALPHA, BETA)


WAYS: dict[str, Function] = {
    function.__name__: function
    for function in (by_slices, by_power, by_logarithm, by_pooling, by_convolution, in_tensorflow, by_the_operation)
}


class ResponseNormalization(layers.Layer):
    """One layer per way of writing it."""

    def __init__(self, way: str, **options: Any) -> None:
        super().__init__(**options)
        self.way = way

    def call(self, x: Any) -> Any:
        return WAYS[self.way](x)


def inception(x: Any, filters: tuple[int, ...], name: str) -> Any:
    def conv(count: int, size: int, part: str) -> layers.Layer:
        return layers.Conv2D(count, size, padding="same", activation="relu", name=f"{name}_{part}")

    first, reduce3, three, reduce5, five, pool = filters
    return layers.Concatenate(name=name)([
        conv(first, 1, "1x1")(x),
        conv(three, 3, "3x3")(conv(reduce3, 1, "3x3_reduce")(x)),
        conv(five, 5, "5x5")(conv(reduce5, 1, "5x5_reduce")(x)),
        conv(pool, 1, "pool_proj")(layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)),
    ])  # fmt: skip


def googlenet(way: str, activation: str | None = "softmax") -> keras.Model:
    """Build a small GoogLeNet with an auxiliary classifier that nothing explains."""
    inputs = keras.Input((40, 36, 3))
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(8, 7, 2, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = ResponseNormalization(way, name="norm1")(x)
    x = layers.Conv2D(8, 1, activation="relu", name="conv2_reduce")(x)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="conv2")(x)
    x = ResponseNormalization(way, name="norm2")(x)
    x = inception(x, (4, 4, 6, 2, 3, 3), "inception_3a")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool3")(x)
    x = inception(x, (5, 4, 6, 2, 3, 3), "inception_4a")
    beside = layers.Dense(5, activation=activation, name="auxiliary")(layers.Flatten()(ops.sin(x)))
    x = layers.AveragePooling2D((5, 5), 1, name="pool5")(x)
    x = layers.Dropout(0.4)(layers.Flatten()(x))
    return networks.with_random_weights(
        keras.Model(inputs, [layers.Dense(5, activation=activation, name="classes")(x), beside]), 5
    )


def twin_of(model: keras.Model, way: str) -> keras.Model:
    twin = googlenet(way, activation=None)
    twin.set_weights(model.get_weights())
    return keras.Model(twin.input, twin.output[0])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", EXCITATIONS)
def test_excitation_at_the_image_and_at_pool3_equals_the_second_route(method: str, way: str) -> None:
    model = googlenet(way)
    images = networks.pictures(model)
    twin, weights = twin_of(model, way), np.eye(5, dtype="float32")[[3, 1]]
    arguments = (images,) if method.startswith("contrastive") else ()
    with EXCITATIONS[method](twin, *arguments) as second:
        at_pool3, (at_image,) = second.back(images, lambda outputs: weights, ["pool3"])
    for layer, want in ((None, at_image), ("pool3", at_pool3[0])):
        got = tfviz.METHODS[method](model, layer, output=0, sum_channels=False)(images, [3, 1])
        assert np.any(want)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


def test_the_sum_at_every_cut_is_one_minus_what_was_lost_above_it() -> None:
    """Probability is lost only where nothing excites an output of a linear map or a sum."""
    way = "by_slices"
    model = googlenet(way)
    images, names = networks.pictures(model), {layer.name for layer in model.layers}
    weights = np.eye(5, dtype="float32")[[3, 1]]
    with rewritten.Excitation(twin_of(model, way)) as second:
        at_cuts, _ = second.back(images, lambda outputs: weights, at=None)
        operations, lost = [operation.name for operation, *_ in second.calls], second.lost
        sums = dict(zip([operations[number] for number in second.cuts()], (np.sum(p) for p in at_cuts), strict=True))
    assert {"pool1", "norm1", "conv2_reduce", "conv2", "norm2", "inception_3a", "pool3", "inception_4a", "pool5"} <= sums.keys()
    for name, total in sums.items():
        kept = len(images) - sum(lost.get(above, 0) for above in operations[operations.index(name) + 1 :])
        np.testing.assert_allclose(total, kept, rtol=1e-4, err_msg=name)
        if name in names:
            got = tfviz.ExcitationBackprop(model, name, output=0, sum_channels=False)(images, [3, 1])
            np.testing.assert_allclose(np.sum(got), kept, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_compute_the_same_normalization(way: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 7)).astype("float32")
    np.testing.assert_allclose(WAYS[way](tf.constant(x)), by_the_operation(tf.constant(x)), rtol=1e-4, atol=1e-6)


def test_an_image_beside_the_explained_one_needs_no_rule() -> None:
    """Statistics of the image that join the network later, by operations without a rule."""
    inputs = keras.Input((12, 10, 3))
    vector = keras.Input((4,))
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(inputs)
    features = layers.Flatten()(x)
    statistics = ops.sin(ops.mean(inputs, axis=(1, 2)))
    x = layers.Dense(5)(layers.Concatenate()([features, statistics, ops.cos(vector)]))
    model = networks.with_random_weights(keras.Model([inputs, vector], x), 2)
    images = [np.random.default_rng(1).uniform(size=size).astype("float32") for size in ((2, 12, 10, 3), (2, 4))]
    joined = np.concatenate([np.sin(images[0].mean((1, 2))), np.cos(images[1])], -1)
    a = np.asarray(keras.Model(inputs, features)(images[0]))
    positive = np.maximum(np.asarray(model.layers[-1].kernel)[:, 3], 0)
    z = a @ positive[: a.shape[1]] + np.maximum(joined, 0) @ positive[a.shape[1] :]
    want = (a * positive[: a.shape[1]] / z[:, None]).reshape(2, 10, 8, 6)
    got = tfviz.ExcitationBackprop(model, "conv", sum_channels=False)(images, 3)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-6)
