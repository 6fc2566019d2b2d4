"""Subclassed models are traced; if that fails, the error says what works instead."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks
from support.explainers import KEYS, backgrounds_for, built
from support.tape import compiled_gradient

import tfviz

SIZE = (12, 12, 3)


class Block(layers.Layer):
    """A convolution with a ReLU in the layer's own call."""

    def __init__(self) -> None:
        super().__init__(name="block")
        self.conv = layers.Conv2D(4, 3, padding="same", activity_regularizer="l2", name="conv")

    def call(self, x: Any) -> Any:
        return ops.relu(self.conv(x)) + x[..., :1]


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.first = layers.Conv2D(4, 3, activation="relu", name="first")
        self.drop, self.block = layers.Dropout(0.5), Block()
        self.pool, self.out = layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax", name="out")

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.out(self.pool(self.block(self.drop(self.first(x), training=training))))


class Hidden(Subclassed):
    """Calls Python in the middle of TensorFlow code."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return super().call(tf.ensure_shape(tf.py_function(tf.nn.relu, [x], tf.float32), [None, *SIZE]), training=training)


def called(cls: type) -> Any:
    model = cls()
    model(np.zeros((1, *SIZE), np.float32))
    return networks.with_random_weights(model, 0)


def functional(model: Subclassed) -> keras.Model:
    """The same layers in a Functional model."""
    inputs = keras.Input(SIZE)
    x = model.drop(model.first(inputs))
    x = ops.relu(model.block.conv(x)) + x[..., :1]
    return keras.Model(inputs, model.out(model.pool(x)))


IMAGES = np.random.default_rng(0).normal(size=(3, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("method", KEYS)
def test_a_subclassed_model_is_explained_like_its_functional_equivalent(method: str) -> None:
    model = called(Subclassed)
    given = {"backgrounds": backgrounds_for(None, SIZE)} if method == "expected_gradients" else {}
    got, want = (built(method, one, **given)(IMAGES).numpy() for one in (model, functional(model)))
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6 * abs(want).max())


def test_a_layer_inside_a_subclassed_model_has_a_path() -> None:
    model = called(Subclassed)
    assert tfviz.GradCAM(model, "block/conv").layer_path == "block/conv"
    assert tfviz.GradCAM(model, model.block).layer_path == tfviz.GradCAM(model).layer_path


@pytest.mark.parametrize("cls", [Subclassed, Hidden])
def test_a_subclassed_model_is_not_changed(cls: type) -> None:
    model = called(cls)
    model(IMAGES)
    inside = [model.first, model.drop, model.block, model.block.conv, model.pool, model.out]

    def seen() -> list[Any]:
        nodes = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in inside]
        return [nodes, [float(loss) for loss in model.losses], [weight.numpy().tobytes() for weight in model.weights]]

    before = seen()
    assert len(before[1]) == 1, "the layer's own loss"
    tfviz.Saliency(model, score="outputs")(IMAGES)
    if cls is Subclassed:
        tfviz.GuidedBackprop(model)(IMAGES)
    assert seen() == before


def test_weights_of_a_subclassed_model_are_read_live() -> None:
    model = called(Subclassed)
    explainer = tfviz.ExcitationBackprop(model)
    before = explainer(IMAGES, 1).numpy()
    networks.with_random_weights(model, 7)
    after = explainer(IMAGES, 1).numpy()
    assert abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, tfviz.ExcitationBackprop(functional(model))(IMAGES, 1), rtol=1e-4, atol=1e-6)


def test_saliency_works_on_an_opaque_model() -> None:
    model = called(Hidden)
    want = compiled_gradient(lambda x: model(x)[:, 1], IMAGES)
    np.testing.assert_allclose(tfviz.Saliency(model, score="outputs")(IMAGES, 1), want, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", [key for key in KEYS if not tfviz.METHODS[key].accepts_opaque])
def test_the_errors_of_other_methods_suggest_saliency(method: str) -> None:
    with pytest.raises(
        tfviz.UnsupportedModelError, match=r"'subclassed' is a subclassed model \(Hidden\).*'saliency' supports it"
    ):
        built(method, called(Hidden))


def test_a_subclassed_model_that_was_never_called_is_rejected() -> None:
    with pytest.raises(tfviz.UnsupportedModelError, match="The Subclassed model 'subclassed' has never been called"):
        tfviz.GradCAM(Subclassed())


def test_saliency_works_on_any_function_of_the_images() -> None:
    got = tfviz.Saliency(lambda x: tf.reduce_sum(x**2, axis=(1, 2)))(IMAGES, 1).numpy()
    np.testing.assert_allclose(got[..., 1], 2 * IMAGES[..., 1], rtol=1e-6)
    np.testing.assert_array_equal(got[..., [0, 2]], 0)
