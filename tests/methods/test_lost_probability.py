"""Excitation backprop says when a map lost more than half of its probability."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import tfviz

LOST = "lost more than half of the probability"


def network(lost: float) -> keras.Model:
    """Build a network that loses this share of the probability of class 0 on its way to the image.

    The second channel is active because of its bias alone, and its weights are negative.
    """
    image = keras.Input((4, 4, 1))
    x = layers.Conv2D(2, 1, activation="relu", name="conv")(image)
    model = keras.Model(image, layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x)))
    model.get_layer("conv").set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 2.0])])
    model.get_layer("logits").set_weights([np.eye(2), np.zeros(2)])
    values = model.get_layer("conv")(images())
    first, second = np.asarray(values).mean(axis=(0, 1, 2))
    model.get_layer("logits").set_weights([np.array([[(1 - lost) / first, 0], [lost / second, 1]]), np.zeros(2)])
    return model


def images() -> np.ndarray:
    return np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4, 1)


@pytest.mark.parametrize("call", ["one batch", "many images"])
def test_it_warns_once_when_more_than_half_is_lost(call: str) -> None:
    explainer = tfviz.ExcitationBackprop(network(0.75))
    run = explainer if call == "one batch" else lambda *args: explainer.explain(*args, verbose=0)
    with pytest.warns(
        UserWarning, match=f"1 of 1 maps of excitation_backprop at 'image' {LOST}.*0.25 instead of being 1.*higher"
    ):
        attribution = run(images(), 0)
    np.testing.assert_allclose(np.sum(attribution), 0.25, rtol=1e-5)
    run(images(), 0)  # Warnings are errors here.


@pytest.mark.parametrize("target", [np.array([[0.3, 0.0]]), lambda outputs: 0.3 * outputs[:, 0]])
def test_it_does_not_warn_if_little_is_lost_or_the_target_is_not_one_class(target: object) -> None:
    tfviz.ExcitationBackprop(network(0.25))(images(), 0)  # Warnings are errors here.
    tfviz.ExcitationBackprop(network(0.75))(images(), target)


def test_the_contrast_has_no_sum_to_compare_with() -> None:
    explainer = tfviz.ContrastiveExcitationBackprop(network(0.75))
    assert explainer(images(), 0).shape == (1, 4, 4)
