"""Half precision: gradients neither underflow nor overflow."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.zoo import alive, conv, noise

import tfviz

SIZE = (16, 16, 3)


@pytest.fixture(autouse=True)
def half() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def angles(scale: float) -> keras.Model:
    """A regression with outputs in large or small units."""
    inputs = keras.Input(SIZE)
    x = layers.GlobalAveragePooling2D()(conv(8, "last")(inputs))
    x = layers.Rescaling(scale)(layers.Dense(2, activation="tanh", name="out")(x))
    return alive(keras.Model(inputs, layers.Activation("linear", dtype="float32")(x)), 1)


def in_float32(model: keras.Model, scale: float) -> keras.Model:
    keras.config.set_dtype_policy("float32")
    twin = angles(scale)
    keras.config.set_dtype_policy("mixed_float16")
    twin.set_weights(model.get_weights())
    return twin


@pytest.mark.parametrize("method", ["saliency", "guided_backprop", "grad_cam", "hires_cam", "guided_grad_cam"])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 180.0, 2000.0])
def test_a_score_of_any_size_has_its_gradient(scale: float, method: str) -> None:
    model, images = angles(scale), noise(*SIZE)
    got, want = (tfviz.METHODS[method](one)(images, 1).numpy() for one in (model, in_float32(model, scale)))
    assert np.isfinite(got).all()
    assert np.linalg.norm(got - want) < 0.05 * np.linalg.norm(want)


def test_large_output_weights_have_their_gradient() -> None:
    model, images = angles(1.0), noise(*SIZE)
    got = tfviz.Saliency(model)(images, np.full((2, 2), 3000.0)).numpy()
    want = tfviz.Saliency(model)(images, np.full((2, 2), 1.0)).numpy() * 3000
    assert np.linalg.norm(got - want) < 0.05 * np.linalg.norm(want)


def test_an_overflow_of_the_compute_dtype_is_reported() -> None:
    model, images = angles(6e4), noise(*SIZE)
    model.get_layer("last").kernel.assign(model.get_layer("last").kernel * 1e3)
    model.get_layer("out").kernel.assign(model.get_layer("out").kernel * 1e-6)
    huge = np.full((2, 2), 6e4)
    with pytest.warns(
        UserWarning, match=r"2 of 2 maps of saliency contain NaN or infinity\. .*'(float32|mixed_bfloat16)'"
    ) as caught:
        tfviz.Saliency(model)(images, huge)
    assert caught[0].filename == __file__


def test_outputs_that_are_not_finite_are_named_as_the_reason() -> None:
    model, images = angles(1.0), noise(*SIZE)
    model.get_layer("last").bias.assign(np.full(8, np.nan))
    for explain in (tfviz.Saliency(model), tfviz.GradCAM(model).explain):
        with pytest.warns(
            UserWarning,
            match=r"NaN or infinity\. These values originate in the output of 'last' and reach the network's output",
        ):
            explain(images, 1)


def test_a_relu_with_another_dtype_than_its_input_is_redirected() -> None:
    inputs = keras.Input(SIZE)
    x = layers.MaxPooling2D()(conv(8, "c1", activation=None)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.ReLU(dtype="float32", name="relu")(x))
    model = alive(keras.Model(inputs, layers.Dense(3, dtype="float32")(x)), 1)
    for method in ("deconvnet", "guided_backprop", "excitation_backprop"):
        attribution = tfviz.METHODS[method](model)(noise(*SIZE), 1).numpy()
        assert np.isfinite(attribution).all()
        assert np.any(attribution)
    assert tf.is_tensor(tfviz.Deconvnet(model)(noise(*SIZE), 1))
