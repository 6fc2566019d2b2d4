"""Excitation and negation: rejected, or handled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support.zoo import alive, conv, head_of, noise

import tfviz

SIZE = (10, 9, 3)
METHODS = ("excitation_backprop", "contrastive_excitation_backprop")

TURNED: dict[str, Callable[[Any], Any]] = {
    "-x": lambda x: -x,
    "1 - x": lambda x: 1.0 - x,
    "x * -1": lambda x: x * -1.0,
    "-2 * x": lambda x: -2.0 * x,
    "x / -2": lambda x: x / -2.0,
    "a factor for each channel": lambda x: x * np.array([1, -1, 1, 1, 1, 1], "float32"),
    "Rescaling": lambda x: layers.Rescaling(-1.0)(x),
    "in TensorFlow": lambda x: layers.Lambda(lambda x: tf.subtract(1.0, x), output_shape=(10, 9, 6))(x),
    "tf.negative": lambda x: layers.Lambda(tf.negative, output_shape=(10, 9, 6))(x),
}


def crelu(turned: Callable[[Any], Any]) -> keras.Model:
    """The positive and negative part of each map (Shang et al., 2016)."""
    inputs = keras.Input(SIZE)
    x = conv(6, "c1", activation=None)(inputs)
    x = layers.Concatenate()([layers.ReLU()(x), layers.ReLU()(turned(x))])
    return alive(keras.Model(inputs, head_of(conv(5, "last")(x), None)), 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", TURNED)
def test_operations_that_negate_have_no_rule(name: str, method: str) -> None:
    model = crelu(TURNED[name])
    with pytest.raises(tfviz.UnsupportedModelError, match=r"has no rule for .* because this operation negates its input"):
        tfviz.METHODS[method](model)
    assert np.any(tfviz.METHODS[method](model, "last")(noise(*SIZE), 1))
    assert np.any(tfviz.GuidedBackprop(model)(noise(*SIZE), 1))


@pytest.mark.parametrize("kept", [lambda x: x * 2.0 - 1.0, lambda x: x / 2.0, lambda x: layers.Rescaling(2.0, -1.0)(x)])
def test_operations_that_keep_the_sign_pass_the_probability(kept: Callable[[Any], Any]) -> None:
    model, images = crelu(kept), noise(*SIZE)
    assert np.any(tfviz.ExcitationBackprop(model)(images, 1))


@pytest.mark.parametrize(
    "turned, shift", [(lambda x: 1.0 - x, 1.0), (lambda x: -x, 0.0), (lambda x: layers.Rescaling(-1.0, 0.5)(x), 0.5)]
)
def test_an_image_may_be_negated_before_the_first_linear_map(turned: Callable[[Any], Any], shift: float) -> None:
    """White on black instead of black on white."""
    inputs = keras.Input(SIZE)
    model = alive(keras.Model(inputs, head_of(conv(5, "last")(turned(inputs)), None)), 1)
    plain = keras.Model(x := keras.Input(SIZE), model.layers[-1](model.layers[-2](model.get_layer("last")(x))))
    images = noise(*SIZE)
    for method in METHODS:
        got, want = tfviz.METHODS[method](model)(images, 1), tfviz.METHODS[method](plain)(shift - images, 1)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


# --- one sigmoid unit, whose class 0 comes back with a minus --------------------------------------


def averaged(units: int, activation: str | None) -> keras.Model:
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(units, 1, use_bias=False, name="z")(conv(5, "last")(inputs))
    return keras.Model(inputs, layers.Activation(activation or "linear")(layers.GlobalAveragePooling2D()(x)))


def summed(units: int, activation: str | None) -> keras.Model:
    inputs = keras.Input(SIZE)
    x = conv(5, "last")(inputs)
    one, two = conv(4, "a")(x), conv(4, "b")(x)
    parts = [
        layers.Dense(units, use_bias=False, name=f"z{i}")(layers.GlobalMaxPooling2D()(y)) for i, y in enumerate((one, two))
    ]
    return keras.Model(inputs, layers.Activation(activation or "linear")(layers.Add()(parts)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("build", [averaged, summed])
def test_one_sigmoid_unit_after_an_average_or_sum_is_explained_as_two_classes(build: Any, target: int, method: str) -> None:
    model, twin = alive(build(1, "sigmoid"), 3), build(2, None)
    for mine, its in zip(twin.weights, model.weights, strict=True):
        weights = its - ops.mean(its) if "z" in its.path.split("/")[0] else its
        its.assign(weights)
        mine.assign(weights if mine.shape == its.shape else ops.concatenate([-weights, weights], axis=-1))
    images = noise(*SIZE)
    got, want = (tfviz.METHODS[method](one)(images, target).numpy() for one in (model, twin))
    assert np.any(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * want.max())


# --- what loses or takes probability --------------------------------------------------------------


@pytest.mark.parametrize(
    "spread", [lambda x: x + np.ones((1, 6, 5, 1), "float32"), lambda x: ops.multiply(np.ones((1, 6, 5, 1), "float32"), x)]
)
def test_broadcasting_loses_no_probability(spread: Callable[[Any], Any]) -> None:
    inputs = keras.Input(SIZE)
    x = spread(layers.GlobalAveragePooling2D(keepdims=True)(conv(5, "last")(inputs)))
    model = alive(keras.Model(inputs, head_of(conv(4, "above")(x), None)), 1)
    for weight in model.weights:
        weight.assign(abs(weight))
    np.testing.assert_allclose(np.sum(tfviz.ExcitationBackprop(model)(noise(*SIZE), 1), (1, 2)), 1, rtol=1e-4)


def test_a_sum_of_a_map_with_itself_loses_no_probability() -> None:
    def build(double: Callable[[Any], Any]) -> keras.Model:
        inputs = keras.Input(SIZE)
        return alive(keras.Model(inputs, head_of(conv(4, "above")(double(conv(5, "last")(inputs))), None)), 1)

    want = tfviz.ExcitationBackprop(build(lambda x: 2.0 * x))(noise(*SIZE), 1)
    for double in (lambda x: x + x, lambda x: layers.Add()([x, x])):
        np.testing.assert_allclose(tfviz.ExcitationBackprop(build(double))(noise(*SIZE), 1), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_padding_is_not_part_of_the_image_whatever_its_value(value: float) -> None:
    """A convolution that reads padding divides p among image pixels regardless of its value."""
    inputs = keras.Input(SIZE)
    x = ops.pad(inputs, [[0, 0], [2, 2], [2, 2], [0, 0]], constant_values=value)
    # every position is excited, regardless of the input
    x = layers.Conv2D(4, 5, activation="exponential", name="all")(x)
    model = alive(keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(x))), 1)
    for weight in model.weights:
        weight.assign(abs(weight) * 0.01)
    np.testing.assert_allclose(np.sum(tfviz.ExcitationBackprop(model)(noise(*SIZE), 1), (1, 2)), 1, rtol=1e-3)


def test_masked_time_steps_receive_nothing() -> None:
    series = abs(noise(7, 5, count=1))
    series[:, 4:] = 0
    inside = keras.Sequential([keras.Input((7, 5)), layers.Masking(), layers.Dense(6, "relu", name="d")], name="inside")
    inputs = keras.Input((7, 5))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(inside(inputs))))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).uniform(0.1, 1, weight.shape))
    p = tfviz.ExcitationBackprop(model, "inside/d")(series, 1).numpy()[0]
    np.testing.assert_array_equal(p[4:], 0)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)


def test_batch_norms_are_merged_inside_a_time_distributed_or_reported() -> None:
    frame = keras.Sequential(
        [keras.Input(SIZE), layers.Conv2D(4, 3, name="c"), layers.BatchNormalization(axis=3, name="n"), layers.ReLU()]
    )
    inputs = keras.Input((2, *SIZE))
    film = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling3D()(layers.TimeDistributed(frame)(inputs))))
    assert len(tfviz.ExcitationBackprop(film, merge_batch_norm=True).excitation.batch_norms) == 1
    x = keras.Input(SIZE)
    other = keras.Model(x, head_of(layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(x)), None))
    with pytest.warns(UserWarning, match=r"does not merge 'batch_norm.*'\. Only a BatchNormalization over the last axis"):
        tfviz.ExcitationBackprop(other, merge_batch_norm=True)
    x = keras.Input(SIZE)
    mixed = layers.EinsumDense("abcd,ed->abce", (10, 9, 3), name="mixed")(x)
    einsum = keras.Model(x, head_of(layers.BatchNormalization()(mixed), None))
    with pytest.warns(UserWarning, match="merge_batch_norm=True does not merge"):
        tfviz.ExcitationBackprop(einsum, merge_batch_norm=True)
