"""with_visual_backprop: an ordinary Keras model with one more output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support import networks
from support.networks import NETWORKS

import tfviz

NAMES = [name for name, case in NETWORKS.items() if "visual_backprop" not in case.no and name != "separable"]


@pytest.mark.parametrize("name", NAMES)
def test_the_model_gives_its_own_outputs_and_the_explainers_masks(name: str) -> None:
    model = networks.build(name)
    images = networks.pictures(model)
    outputs, masks = tfviz.with_visual_backprop(model)(images, training=False)
    np.testing.assert_allclose(outputs, model(images, training=False), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(masks, tfviz.VisualBackProp(model)(images), atol=1e-4)


def test_the_output_has_a_name_a_shape_and_a_type() -> None:
    model = networks.build("plain")
    two = tfviz.with_visual_backprop(model)
    assert two.name == model.name
    assert two.output_names == ["out", "visual_backprop"]
    assert two.output_shape == [(None, 5), (None, 20, 17)]
    assert two.get_layer("c1") is model.get_layer("c1")


def forked_outputs(kind: type) -> keras.Model:
    inputs = keras.Input((12, 12, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    parts = [layers.Dense(2, name="kind")(x), layers.Dense(3, name="color")(x)]
    outputs = {"kind": parts[0], "color": parts[1]} if kind is dict else parts
    return networks.with_random_weights(keras.Model(inputs, outputs), 0)


def test_a_list_of_outputs_gets_one_more_element() -> None:
    model = forked_outputs(list)
    images = networks.pictures(model)
    *outputs, masks = tfviz.with_visual_backprop(model)(images)
    assert [output.shape for output in outputs] == [(2, 2), (2, 3)]
    np.testing.assert_allclose(masks, tfviz.VisualBackProp(model)(images), atol=1e-5)


def test_a_dict_of_outputs_gets_one_more_key() -> None:
    model = forked_outputs(dict)
    images = networks.pictures(model)
    outputs = tfviz.with_visual_backprop(model)(images)
    assert set(outputs) == {"kind", "color", "visual_backprop"}
    np.testing.assert_allclose(outputs["visual_backprop"], tfviz.VisualBackProp(model)(images), atol=1e-5)


def test_training_it_trains_the_original_model() -> None:
    model = networks.build("residual")
    two = tfviz.with_visual_backprop(model)
    images, labels = networks.pictures(model, 8), np.arange(8) % 4
    two.compile(keras.optimizers.Adam(0.01), loss=["sparse_categorical_crossentropy", None])
    before = model(images).numpy()
    history = two.fit(images, labels, epochs=4, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert abs(model(images).numpy() - before).max() > 1e-3
    np.testing.assert_allclose(two(images)[1], tfviz.VisualBackProp(model)(images), atol=1e-5)


LOADING = """
import sys
sys.modules["tfviz"] = None  # As on a machine without it.
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
images = np.load(sys.argv[2])
np.savez(sys.argv[3], *model.predict(images, verbose=0))
"""


def test_it_is_saved_and_loaded_without_tfviz(tmp_path: Path) -> None:
    model = networks.build("nested")
    images, two = networks.pictures(model), tfviz.with_visual_backprop(model)
    two.save(tmp_path / "two.keras")
    np.save(tmp_path / "images.npy", images)
    paths = [str(tmp_path / file) for file in ("two.keras", "images.npy", "outputs.npz")]
    subprocess.run([sys.executable, "-c", LOADING, *paths], check=True, cwd=tmp_path, capture_output=True)
    loaded = np.load(paths[2])
    for want, got in zip(two.predict(images, verbose=0), loaded.values(), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_it_is_cloned_with_its_branch() -> None:
    two = tfviz.with_visual_backprop(networks.build("inception"))
    clone = keras.models.clone_model(two)
    clone.set_weights(two.get_weights())
    images = networks.pictures(two)
    np.testing.assert_allclose(clone(images)[1], two(images)[1], atol=1e-6)


def test_it_can_be_explained() -> None:
    model = networks.build("plain")
    two = tfviz.with_visual_backprop(model)
    images = networks.pictures(model)
    got = tfviz.GradCAM(two, "c1", output=0)(images, 1)
    np.testing.assert_allclose(got, tfviz.GradCAM(model, "c1")(images, 1), rtol=1e-4, atol=1e-6)


def test_a_nested_model_is_flattened_with_the_same_layers() -> None:
    model = networks.build("nested")
    two = tfviz.with_visual_backprop(model)
    assert not any(isinstance(layer, keras.Model) for layer in two.layers)
    assert two.get_layer("r1") is model.get_layer("backbone").get_layer("r1")


def block(activation: str) -> keras.Model:
    return keras.Sequential([layers.Conv2D(3, 3, activation=activation, name="conv")])


REFUSED: dict[str, tuple[Any, str]] = {
    "a free image size": (
        lambda: networks.build("separable"),
        r"needs a fixed image size, but this model's input shape is .*any size",
    ),
    "no map": (lambda: networks.build("dense"), "has no ReLU or other activation that outputs a feature map"),
    "one name at two depths": (
        lambda: keras.Sequential([keras.Input((9, 9, 3)), block("relu"), block("relu"), layers.Flatten(), layers.Dense(2)]),
        "cannot be flattened.*unique names",
    ),
    "two inputs": (
        lambda: keras.Model(pair := [keras.Input((9, 9, 3)), keras.Input((9, 9, 3))], block("relu")(layers.Add()(pair))),
        r"supports only models with one input, but this model has 2",
    ),
    "no model": (lambda: "vgg16", "Expected a keras.Model. Received: str"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_model_is_rejected(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(tfviz.UnsupportedModelError, match=message):
        tfviz.with_visual_backprop(build())
