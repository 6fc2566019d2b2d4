"""Signal and gate of a product, in either order, wherever the gate comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from support.zoo import alive, conv, head_of, noise

import tfviz

SIZE = (12, 10, 3)


def squeezed(x: Any) -> Any:
    return layers.Dense(6, "sigmoid", name="g")(layers.GlobalAveragePooling2D(keepdims=True)(x))


def squeezed_flat(x: Any) -> Any:
    return layers.Reshape((1, 1, 6))(layers.Dense(6, "sigmoid", name="g")(layers.GlobalAveragePooling2D()(x)))


def of_positions(x: Any) -> Any:
    return layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="g")(x)


def scaled_up(x: Any) -> Any:
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="g")(layers.MaxPooling2D(2)(x))
    return layers.Dropout(0.3)(layers.UpSampling2D(2)(gate))


def of_both(x: Any) -> Any:
    return layers.Conv2D(6, 1, activation="sigmoid", name="g")(x)


def residual(x: Any) -> Any:
    """Residual attention: 1 + gate."""
    return 1.0 + layers.Conv2D(6, 1, activation="sigmoid", name="g")(x)


def among_positions(x: Any) -> Any:
    flat = layers.Reshape((120, 1))(layers.Conv2D(1, 1, name="g")(x))
    return layers.Reshape((12, 10, 1))(layers.Softmax(axis=1)(flat))


def by_hand(x: Any) -> Any:
    return ops.relu6(layers.Conv2D(6, 1, name="g")(x) + 3.0) * (1 / 6)


GATES: list[Callable[[Any], Any]] = [
    squeezed, squeezed_flat, of_positions, scaled_up, of_both, residual, among_positions, by_hand,
]  # fmt: skip


def gated(gate: Callable[[Any], Any], is_first: bool) -> keras.Model:
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(6, 3, padding="same", name="c1")(inputs)
    x = layers.LeakyReLU(0.1, name="leaky")(x)
    pair = [gate(x), x] if is_first else [x, gate(x)]
    x = layers.Multiply(name="gated")(pair)
    return alive(keras.Model(inputs, head_of(conv(5, "last")(x), "softmax")), 2)


@pytest.mark.parametrize("gate", GATES)
def test_the_order_of_the_factors_changes_nothing(gate: Callable[[Any], Any]) -> None:
    first, second = gated(gate, True), gated(gate, False)
    for mine, its in zip(first.weights, second.weights, strict=True):
        assert mine.shape == its.shape
    images = noise(*SIZE)
    for key in ("excitation_backprop", "contrastive_excitation_backprop", "visual_backprop"):
        target = None if key == "visual_backprop" else 1
        got, want = (tfviz.METHODS[key](model)(images, target).numpy() for model in (first, second))
        assert np.any(want)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())


@pytest.mark.parametrize("gate", GATES)
def test_the_signal_receives_all_of_the_probability(gate: Callable[[Any], Any]) -> None:
    model, images = gated(gate, True), noise(*SIZE)
    whole = tfviz.ExcitationBackprop(model, "gated")(images, 1).numpy()
    np.testing.assert_allclose(tfviz.ExcitationBackprop(model, "leaky")(images, 1), whole, rtol=1e-4, atol=1e-6)


def test_an_image_is_the_signal_and_its_mask_the_gate() -> None:
    image, mask = keras.Input((12, 10, 3), name="image"), keras.Input((12, 10, 1), name="mask")
    for pair in ([image, mask], [mask, image]):
        model = keras.Model([image, mask], head_of(conv(5, "last")(layers.Multiply()(pair)), None))
        alive(model)
        at_image, at_mask = tfviz.ExcitationBackprop(model)([noise(12, 10, 3), np.ones((2, 12, 10, 1))], 1)
        np.testing.assert_allclose(np.sum(at_image, (1, 2)), 1, rtol=1e-4)
        assert not np.any(at_mask)


def test_the_contrast_does_not_start_at_a_gate() -> None:
    inputs = keras.Input(SIZE)
    maps = layers.Conv2D(3, 1, name="maps")(conv(6, "last")(inputs))
    gate = layers.Dense(3, "sigmoid", name="g")(layers.GlobalAveragePooling2D(keepdims=True)(maps))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Multiply()([maps, gate])))
    explainer = tfviz.ContrastiveExcitationBackprop(alive(model, 1))
    assert [step.path for step in explainer.excitation.last_maps] == ["maps"]
