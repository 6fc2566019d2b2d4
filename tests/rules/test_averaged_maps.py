"""The contrast of a last convolution that is averaged over positions is that of one linear map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.networks import with_random_weights

import tfviz

CLASSES, CHANNELS = 5, 6


def features(inputs: Any) -> Any:
    return layers.Conv2D(CHANNELS, 3, activation="relu", padding="same", name="features")(inputs)


def averaged_then_dense() -> keras.Model:
    inputs = keras.Input((8, 7, 3))
    x = layers.GlobalAveragePooling2D()(features(inputs))
    return with_random_weights(keras.Model(inputs, layers.Dense(CLASSES, name="classes")(x)), 0)


def copied(model: keras.Model, head: Callable[[Any], Any]) -> keras.Model:
    """Rebuild the model with a 1×1 convolution of the same weights before the average."""
    inputs = keras.Input((8, 7, 3))
    convolved = layers.Conv2D(CLASSES, 1, name="classes")(features(inputs))
    built = keras.Model(inputs, head(convolved))
    built.get_layer("features").set_weights(model.get_layer("features").get_weights())
    kernel, bias = model.get_layer("classes").get_weights()
    built.get_layer("classes").set_weights([kernel[None, None], bias])
    return built


HEADS: dict[str, Callable[[Any], Any]] = {
    "average": layers.GlobalAveragePooling2D(),
    "relu, average": lambda x: layers.GlobalAveragePooling2D()(layers.ReLU()(x)),
    "relu, average, softmax": lambda x: layers.Softmax()(layers.GlobalAveragePooling2D()(layers.ReLU()(x))),
    "dropout, kept axes": lambda x: layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(layers.Dropout(0.5)(x))),
    "window of the whole map": lambda x: layers.Flatten()(layers.AveragePooling2D((8, 7))(x)),
    "ops.mean": lambda x: keras.ops.mean(x, axis=(1, 2)),
}


def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (3, 8, 7, 3)).astype("float32")


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("layer", ["features", None])
def test_convolution_then_average_equals_average_then_dense(name: str, layer: str | None) -> None:
    model = averaged_then_dense()
    want = tfviz.ContrastiveExcitationBackprop(model, layer, sum_channels=False)(images(), [0, 3, 4]).numpy()
    head = copied(model, HEADS[name])
    got = tfviz.ContrastiveExcitationBackprop(head, layer, sum_channels=False)(images(), [0, 3, 4])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * abs(want).max())
    assert abs(want).max() > 0


def test_a_mask_over_the_positions_of_a_segmentation_model_is_such_an_average() -> None:
    model = averaged_then_dense()
    want = tfviz.ContrastiveExcitationBackprop(model, "features")(images(), 3).numpy()
    everywhere = tfviz.At(3, np.ones((8, 7)))
    got = tfviz.ContrastiveExcitationBackprop(copied(model, lambda x: x), "features")(images(), everywhere).numpy()
    np.testing.assert_allclose(got / got.max(), want / want.max(), rtol=0, atol=1e-5)


def test_a_maximum_keeps_its_winner() -> None:
    model = copied(averaged_then_dense(), layers.GlobalMaxPooling2D())
    p = tfviz.ContrastiveExcitationBackprop(model, "features", sum_channels=False)(images(), 2).numpy()
    assert (np.abs(p).sum(-1) > 0).sum(axis=(1, 2)).tolist() == [1, 1, 1]


def test_excitation_backprop_itself_divides_position_by_position() -> None:
    model = copied(averaged_then_dense(), HEADS["average"])
    p = tfviz.ExcitationBackprop(model, "features")(images(), 2)
    logits = tf.nn.relu(keras.Model(model.input, model.get_layer("classes").output)(images())[..., 2])
    np.testing.assert_allclose(p, logits / tf.reduce_sum(logits, axis=(1, 2), keepdims=True), rtol=1e-4, atol=1e-6)
