"""The user's model is never changed, and always explained in its current state."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks, reference
from support.explainers import KEYS, TARGETED, built
from support.networks import NETWORKS
from support.purity import assert_untouched, regularized, snapshot

import tfviz
from tfviz.graph.operations import Relu
from tfviz.methods.explainer import Explainer


def explain(method: str, model: keras.Model, target: Any = None, **options: Any) -> np.ndarray:
    explainer = built(method, model, **options)
    return explainer(networks.pictures(model), target if explainer.takes_target else None).numpy()


@pytest.mark.parametrize("method", KEYS)
def test_the_model_is_untouched_by_every_method(method: str) -> None:
    for model in (regularized(), networks.build("nested"), networks.build("shared")):
        before = snapshot(model)
        explain(method, model)
        assert_untouched(model, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_untouched_through_an_explainers_life(name: str) -> None:
    model = networks.build(name)
    before = snapshot(model)
    explainer = tfviz.GuidedBackprop(model)
    explainer.explain(networks.pictures(model, 3), [0, 1, 2], batch_size=2, verbose=0)
    explainer(networks.pictures(model), lambda outputs: outputs[:, 0])
    del explainer
    assert_untouched(model, before)


@pytest.mark.parametrize("method", TARGETED)
def test_the_model_is_untouched_after_a_target_function_has_failed(method: str) -> None:
    def failing(outputs: tf.Tensor) -> tf.Tensor:
        raise KeyError("no such class")

    model = regularized()
    before = snapshot(model)
    with pytest.raises(KeyError, match="no such class"):
        explain(method, model, failing)
    assert_untouched(model, before)


@pytest.mark.parametrize("method", KEYS)
def test_after_a_failure_the_model_is_untouched_and_the_explainer_works(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = regularized()
    before, images = snapshot(model), networks.pictures(model)
    explainer = built(method, model)
    step = next(step for step in explainer.graph.steps if step.path == "relu")
    with monkeypatch.context() as patch:
        patch.setitem(vars(step), "compute", lambda inputs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            explainer(images)
    assert_untouched(model, before)
    np.testing.assert_array_equal(explainer(images), built(method, model)(images))


@pytest.mark.parametrize("method", ["guided_backprop", "excitation_backprop", "visual_backprop"])
def test_the_model_is_untouched_after_a_rule_has_failed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> Any:
        raise RuntimeError("a rule failed")

    patched = {
        "guided_backprop": ("tfviz.methods.guided_backprop.GuidedBackprop.rules", {Relu: failing}),
        "excitation_backprop": ("tfviz.rules.excitation.through_positive_map", failing),
        "visual_backprop": ("tfviz.methods.visual_backprop.masks_of_inputs", failing),
    }
    model = regularized()
    before = snapshot(model)
    with monkeypatch.context() as patch:
        patch.setattr(*patched[method])
        with pytest.raises(RuntimeError, match="a rule failed"):
            explain(method, model)
    assert_untouched(model, before)
    explain(method, model)


def test_a_layer_that_counts_its_calls_does_not_count_those_of_tfviz() -> None:
    class Counting(layers.Layer):
        def build(self, shape: Any) -> None:
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x: Any) -> Any:
            self.count.assign_add(1.0)
            self.add_loss(keras.ops.sum(x))
            return x * 2.0

    model = keras.Sequential([keras.Input((8, 8, 3)), Counting(), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])
    images = networks.pictures(model)
    model(images)
    before = snapshot(model)
    assert np.isfinite(tfviz.Saliency(model)(images)).all()
    assert_untouched(model, before)


def test_random_layers_stay_off_and_keep_their_seeds() -> None:
    model = networks.build("nested")
    before = snapshot(model)
    assert len(model.variables) > len(model.weights), "the network has random layers, which keep a seed"
    np.testing.assert_array_equal(explain("saliency", model, 0), explain("saliency", model, 0))
    assert_untouched(model, before)


# --- with_visual_backprop -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise", "inception", "operations", "called"])
def test_with_visual_backprop_does_not_change_the_model(name: str) -> None:
    model = networks.build(name)
    before = snapshot(model)
    for _ in range(3):
        tfviz.with_visual_backprop(model)
    assert_untouched(model, before)


@pytest.mark.parametrize("name", ["nested", "shared"])
def test_with_visual_backprop_of_a_nested_model_only_adds_a_node(name: str) -> None:
    model = networks.build(name)
    before = snapshot(model)
    tfviz.with_visual_backprop(model)
    del before["nodes"]
    assert_untouched(model, before)


def test_with_visual_backprop_keeps_the_losses_of_a_nested_models_last_call() -> None:
    model = regularized()
    before = snapshot(model)
    tfviz.with_visual_backprop(model)
    del before["nodes"]
    assert_untouched(model, before)


def test_with_visual_backprop_does_not_change_the_model_if_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> Any:
        raise RuntimeError("a rule failed")

    monkeypatch.setattr("tfviz.methods.visual_backprop._scaled", failing)
    model = networks.build("residual")
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="a rule failed"):
        tfviz.with_visual_backprop(model)
    assert_untouched(model, before)


# --- weights are read live ------------------------------------------------------------------------


def compare(explainer: Explainer, model: keras.Model, **options: Any) -> np.ndarray:
    """Return the attribution for class 1, after comparing it with the reference."""
    images, net = networks.pictures(model), reference.Network(model)
    weights = np.eye(net.logits(images).shape[1])[[1, 1]]
    got = explainer(images, 1 if explainer.takes_target else None).numpy()
    arguments = [net, images, weights] if explainer.takes_target else [net, images]
    want = getattr(reference, explainer.key)(*arguments, **options)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())
    return got


LIVE: dict[str, dict[str, Any]] = {
    "saliency": {},
    "guided_backprop": {},
    "deconvnet": {},
    "grad_cam": {"layer": "r4"},
    "excitation_backprop": {"merge_batch_norm": True},
    "contrastive_excitation_backprop": {"layer": "r1"},
    "visual_backprop": {},
}


@pytest.mark.parametrize("method", LIVE)
def test_an_explainer_built_before_the_weights_change_shows_the_change(method: str) -> None:
    model, options = networks.build("residual"), LIVE[method]
    cut = {"sum_channels": False} if "excitation" in method else {}
    explainer = tfviz.METHODS[method](model, **options, **cut)
    first = compare(explainer, model, **options)
    networks.with_random_weights(model, seed=20)
    second = compare(explainer, model, **options)
    assert abs(first - second).max() > 0.01 * abs(first).max()
    assert explainer.traces == 1


def test_an_explainer_built_before_fit_shows_the_network_after_it() -> None:
    model = networks.build("residual")
    explainer = tfviz.ExcitationBackprop(model, "r1", sum_channels=False)
    before = compare(explainer, model, layer="r1")
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(networks.pictures(model, 8), np.arange(8) % 4, epochs=2, batch_size=4, verbose=0)
    assert abs(compare(explainer, model, layer="r1") - before).max() > 1e-3 * abs(before).max()
