"""Sums before a ReLU: one input is recovered when probability comes back, not kept until then."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import networks

import tfviz
from tfviz.methods.explainer import Explainer


def excitation(name: str, key: str = "excitation_backprop") -> Explainer:
    return tfviz.METHODS[key](networks.build(name))


@pytest.mark.parametrize(
    ("name", "found"), [("residual", ["s1", "s2"]), ("preactivation", []), ("operations", []), ("forked", [])]
)
def test_only_sums_before_a_relu_that_returns_nothing_at_zero_are_found(name: str, found: list[str]) -> None:
    assert [step.path for step in excitation(name).excitation._sums] == found


@pytest.mark.parametrize("key", networks.EXCITATIONS)
def test_the_map_is_the_same(key: str) -> None:
    explainer, kept = excitation("residual", key), excitation("residual", key)
    kept.excitation._sums = {}
    images = networks.pictures(explainer.model)
    want = kept(images, 1).numpy()
    assert np.abs(explainer(images, 1) - want).max() <= 1e-6 * np.abs(want).max()


def test_the_recovered_input_is_not_read() -> None:
    known = excitation("residual").excitation._sums
    one = next(iter(known.values()))
    x, y = tf.constant([[3.0, -1.0, 1.0]]), tf.constant([[4.0, 0.0, 1.0]])
    tensors = [x, x]
    tensors[one.number] = tf.fill(x.shape, np.nan)
    parts = one.divided(tensors, y, tf.constant([[1.0, 0.0, 1.0]]))
    np.testing.assert_allclose(parts[one.number], [[0.25, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(parts[1 - one.number], [[0.75, 0, 1]], atol=1e-7)


def test_a_normalization_behind_the_relu_keeps_all_inputs() -> None:
    """It passes on probability where the ReLU is 0."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Add(name="sum")([layers.Conv2D(4, 3, padding="same")(inputs), layers.Conv2D(4, 1)(inputs)])
    x = layers.BatchNormalization()(layers.ReLU()(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    assert not tfviz.ExcitationBackprop(model).excitation._sums


def test_half_precision_keeps_all_inputs() -> None:
    one = next(iter(excitation("residual").excitation._sums.values()))
    x = tf.zeros((1, 2, 2, 3), tf.bfloat16)
    assert not one.fits([x, x], x)
    wide = tf.zeros((1, 2, 2, 3))
    narrow = [wide, wide]
    narrow[one.number] = wide[..., :1]
    assert one.fits([wide, wide], wide)
    assert not one.fits(narrow, wide)
