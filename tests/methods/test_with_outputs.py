"""One pass returns the model's outputs, the explained class and the map.

All three equal the results of separate calls.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import networks
from support.explainers import KEYS, SAMPLED, built

import tfviz


def images_for(model: keras.Model, count: int = 3) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(count, *model.input_shape[1:])).astype("float32")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("residual")


@pytest.mark.parametrize("key", KEYS)
def test_outputs_class_and_map_equal_separate_results(key: str, model: keras.Model) -> None:
    images = images_for(model)
    explainer = built(key, model)
    outputs, target, attribution = explainer.with_outputs(images)
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_array_equal(target, expected.argmax(axis=-1))
    assert target.dtype == tf.int32
    alone = explainer(images).numpy()
    # Perturbed copies add up the rounding of two functions that are compiled apart.
    tolerance = 4e-6 if key in SAMPLED else 1e-6
    np.testing.assert_allclose(attribution, alone, atol=tolerance * np.abs(alone).max())


@pytest.mark.parametrize("target", [2, [0, 1, 2]])
def test_a_requested_class_is_reported(target: Any, model: keras.Model) -> None:
    images = images_for(model)
    explainer = tfviz.GradCAM(model)
    explained = explainer.with_outputs(images, target)
    np.testing.assert_array_equal(explained.target, np.broadcast_to(target, 3))
    np.testing.assert_array_equal(explained.attribution, explainer(images, target))


@pytest.mark.parametrize("is_function", [True, False])
def test_no_class_is_reported_for_other_targets(is_function: bool, model: keras.Model) -> None:
    weights = np.eye(model.output_shape[-1], dtype="float32")[[1]]
    explained = tfviz.Saliency(model).with_outputs(images_for(model), (lambda z: z[:, 1]) if is_function else weights)
    assert explained.target is None
    np.testing.assert_allclose(explained.attribution, tfviz.Saliency(model)(images_for(model), 1), atol=1e-6)


def test_one_sigmoid_unit_is_reported_unchanged_and_explained_as_two_classes() -> None:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    images = images_for(model, 8)
    outputs, target, _ = tfviz.Saliency(model).with_outputs(images)
    expected = model(images).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_array_equal(target, (expected[:, 0] > 0.5).astype(int))


def test_outputs_keep_the_structure_of_the_model() -> None:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, {"kind": keras.layers.Dense(3, activation="softmax")(pooled), "map": x})
    images = images_for(model)
    explained = tfviz.Saliency(model).with_outputs(images, lambda outputs: outputs["kind"][:, 0])
    assert set(explained.outputs) == {"kind", "map"}
    np.testing.assert_allclose(explained.outputs["map"], model(images)["map"], atol=1e-6)
    chosen = tfviz.Saliency(model, output="kind").with_outputs(images)
    np.testing.assert_allclose(chosen.outputs, model(images)["kind"], atol=1e-6)


def test_both_ways_of_calling_are_compiled_once_each(model: keras.Model) -> None:
    explainer = tfviz.GuidedBackprop(model)
    for count in (1, 2, 5):
        explainer(images_for(model, count))
        explainer.with_outputs(images_for(model, count))
    assert explainer.traces == 2


def test_options_holds_the_given_arguments(model: keras.Model) -> None:
    assert tfviz.GradCAM(model).options == {}
    assert tfviz.ExcitationBackprop(model, None, merge_batch_norm=True).options == {"merge_batch_norm": True}
    name = tfviz.GradCAM(model).layer_path
    assert tfviz.GradCAM(model, name, score="outputs").options == {"layer": name, "score": "outputs"}
    with pytest.raises(TypeError, match="nonsense"):
        tfviz.GradCAM(model, nonsense=1)
