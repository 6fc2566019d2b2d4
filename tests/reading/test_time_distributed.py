"""A TimeDistributed is read into steps: the layers inside run on (N, time, …)."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support import networks
from support.explainers import KEYS, backgrounds_for, built
from support.zoo import film, noise, time_distributed

import tfviz
from tfviz.reading.reader import graph_of


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return film("softmax")


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    return noise(3, 13, 10, 2)


def explain(method: str, model: Any, films: np.ndarray) -> np.ndarray:
    given = {"backgrounds": backgrounds_for(model, films.shape[1:])} if method == "expected_gradients" else {}
    explainer = built(method, model, **given)
    return explainer(films, 1 if explainer.takes_target else None).numpy()


def test_the_automatic_layer_is_the_last_with_height_and_width_inside(model: keras.Model, films: np.ndarray) -> None:
    """Not the Dense with one result per frame, although time is an axis, too."""
    explainer = tfviz.GradCAM(model)
    assert explainer.layer_path == "frames/around/inner/last"
    assert explainer(films, 1).shape == (2, 3, 4, 6)


def test_a_layer_inside_is_found_by_name_path_and_object(model: keras.Model) -> None:
    inner = model.get_layer("frames").layer.get_layer("inner")
    for layer in ("c2", "inner/c2", "frames/around/inner/c2", inner.get_layer("c2")):
        assert tfviz.GradCAM(model, layer).layer_path == "frames/around/inner/c2"


def test_a_time_distributed_stands_for_its_output(model: keras.Model) -> None:
    graph = graph_of(model)
    assert graph.names["frames"].shape == (None, 3, 6)
    assert graph.names["frames"] == graph.names["frames/around/d1"]


@pytest.mark.parametrize("method", KEYS)
def test_a_batch_of_videos_equals_its_videos_one_by_one(method: str, model: keras.Model, films: np.ndarray) -> None:
    # One video must not affect the other.
    films = films * np.array([1, 100])[:, None, None, None, None]
    together = explain(method, model, films)
    for number in (0, 1):
        alone = explain(method, model, films[number : number + 1])[0]
        np.testing.assert_allclose(together[number], alone, rtol=1e-3, atol=1e-5 * abs(alone).max())


@pytest.mark.parametrize("method", KEYS)
def test_a_video_may_have_any_number_of_frames(method: str) -> None:
    fixed = time_distributed("softmax")
    inputs = keras.Input((None, 12, 10, 2))
    x = layers.TimeDistributed(layers.Conv2D(5, 3, activation="relu", padding="same", name="frame"), name="frames")(inputs)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D(), name="pools")(x)
    free = keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(layers.GlobalAveragePooling1D()(x)))
    free.set_weights(fixed.get_weights())
    films = noise(3, 12, 10, 2)
    got, want = explain(method, free, films), explain(method, fixed, films)
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6 * abs(want).max())
    assert explain(method, free, films[:, :2]).shape[:2] == (2, 2)


def test_the_inner_layer_is_not_changed(model: keras.Model, films: np.ndarray) -> None:
    inside = list(model.get_layer("frames")._flatten_layers())
    before = [(len(one._inbound_nodes), len(one._outbound_nodes)) for one in inside]
    for method in ("saliency", "excitation_backprop", "visual_backprop"):
        explain(method, model, films)
    assert [(len(one._inbound_nodes), len(one._outbound_nodes)) for one in inside] == before


def test_weights_of_the_inner_layer_are_read_live(films: np.ndarray) -> None:
    model = film("softmax")
    explainer = tfviz.ExcitationBackprop(model)
    before = explainer(films, 1).numpy()
    networks.with_random_weights(model, 7)
    after = explainer(films, 1).numpy()
    assert abs(after - before).max() > 1e-3 * before.max()
    np.testing.assert_array_equal(after, tfviz.ExcitationBackprop(model)(films, 1))


def test_a_time_distributed_with_a_mask_is_opaque() -> None:
    inputs = keras.Input((4, 6))
    x = layers.TimeDistributed(layers.Dense(5, activation="relu"), name="steps")(layers.Masking()(inputs))
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(3)(layers.LSTM(4)(x))), 0)
    series = noise(4, 6)
    series[:, 2] = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tfviz.GuidedBackprop(model)
    assert any(
        "cannot redirect ReLUs inside the opaque layer 'steps' (TimeDistributed)" in str(warning.message) for warning in caught
    )
    with pytest.raises(tfviz.UnsupportedModelError, match="Excitation backprop has no rule for"):
        tfviz.ExcitationBackprop(model)
    explanation = tfviz.Saliency(model).with_outputs(series, 1)
    np.testing.assert_allclose(explanation.outputs, model(series), rtol=1e-5)
    assert not explanation.attribution[:, 2].numpy().any(), "what is masked has no part in the output"
    assert explanation.attribution[:, 1].numpy().all()


def test_an_lstm_over_the_frames_raises_no_false_alarm(model: keras.Model, films: np.ndarray) -> None:
    """Warnings are errors here. A Keras layer whose parts contain no ReLU hides none."""
    inputs = keras.Input((3, 13, 10, 2))
    frames = layers.TimeDistributed(model.get_layer("frames").layer, name="frames")(inputs)
    recurrent = keras.Model(inputs, layers.Dense(4)(layers.LSTM(5, name="memory")(frames)))
    assert explain("guided_backprop", recurrent, films).shape == films.shape
    with pytest.raises(tfviz.UnsupportedModelError, match=r"no rule for 'memory' \(LSTM\)"):
        tfviz.ExcitationBackprop(recurrent)
    hidden = keras.Model(inputs, layers.Dense(4)(layers.LSTM(5, activation="relu", name="memory")(frames)))
    with pytest.warns(UserWarning, match=r"cannot redirect ReLUs inside the opaque layer 'memory' \(LSTM\)"):
        tfviz.GuidedBackprop(hidden)
