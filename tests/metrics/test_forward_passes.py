"""Logits and probabilities of every kind of classifier."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from support import networks
from support.classifiers import classifier

from tfviz.metrics.forward_passes import ForwardPasses


@pytest.fixture
def images() -> np.ndarray:
    return networks.pictures(classifier(), 5)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_are_the_outputs(activation: str, images: np.ndarray) -> None:
    model = classifier(activation)
    logits, probabilities = ForwardPasses(model, batch_size=2).all_classes(images)
    np.testing.assert_allclose(probabilities, model(images), atol=1e-6)
    recovered = softmax(logits) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(recovered, probabilities, atol=1e-5)


def test_logits_get_a_softmax(images: np.ndarray) -> None:
    model = classifier(None)
    logits, probabilities = ForwardPasses(model).all_classes(images)
    np.testing.assert_allclose(logits, model(images), atol=1e-5)
    np.testing.assert_allclose(probabilities, softmax(np.asarray(model(images))), atol=1e-6)


def test_joined_heads_keep_their_own_probabilities(images: np.ndarray) -> None:
    inputs = keras.Input((13, 17, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    heads = [layers.Dense(2, activation="softmax")(x), layers.Dense(3, activation="softmax")(x)]
    model = networks.with_random_weights(keras.Model(inputs, layers.Concatenate()(heads)), 0)
    logits, probabilities = ForwardPasses(model).all_classes(images)
    np.testing.assert_allclose(probabilities, model(images), atol=1e-6)
    np.testing.assert_allclose(softmax(logits[:, :2]), probabilities[:, :2], atol=1e-5)


def test_one_class_is_a_column(images: np.ndarray) -> None:
    passes = ForwardPasses(classifier(), batch_size=2)
    outputs = passes.one_class(iter(images), 3)
    assert len(outputs) == 5
    np.testing.assert_allclose([outputs.logits, outputs.probabilities], passes.all_classes(images)[:, :, 3], atol=1e-6)
    assert len(passes.one_class(iter(()), 3)) == 0


def test_half_precision_and_integer_images_are_accepted() -> None:
    half = keras.Sequential([keras.Input((8, 8, 3), dtype="float16"), layers.Flatten(), layers.Dense(3)])
    whole = keras.Sequential(
        [keras.Input((8, 8, 3), dtype="uint8"), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)]
    )
    for model in (half, whole):
        images = np.full((2, 8, 8, 3), 3.0, np.float32)
        assert ForwardPasses(model).all_classes(images).shape == (2, 2, 3)
