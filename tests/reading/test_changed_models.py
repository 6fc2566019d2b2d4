"""A model whose layers change after an explainer was built is read again on the next call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support.zoo import alive, conv, noise

import tfviz

SIZE = (12, 10, 3)


def network() -> keras.Sequential:
    images = noise(*SIZE, count=8)
    normalization = layers.Normalization(name="normalization")
    normalization.adapt(images)
    return alive(
        keras.Sequential(
            [
                keras.Input(SIZE),
                normalization,
                conv(5, "c1"),
                conv(6, "last"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(8, activation="relu", name="d1"),
                layers.Dense(4, name="out"),
            ]
        ),
        1,
    )


def another_head(model: keras.Sequential) -> None:
    model.pop()
    model.add(layers.Dense(3, name="other"))
    model.layers[-1].kernel.assign(np.random.default_rng(3).normal(size=(8, 3)))


def adapter(model: keras.Sequential) -> None:
    layer = model.get_layer("d1")
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.random.default_rng(4).normal(size=layer.lora_kernel_b.shape))


CHANGES: dict[str, Callable[[keras.Sequential], Any]] = {
    "pop and add": another_head,
    "another activation": lambda model: setattr(model.get_layer("c1"), "activation", keras.activations.tanh),
    "quantize": lambda model: model.get_layer("d1").quantize("int8"),
    "enable_lora": adapter,
    "adapt": lambda model: model.get_layer("normalization").adapt(noise(*SIZE, count=8) * 3 + 1),
}


@pytest.mark.parametrize("method", ["saliency", "guided_backprop", "grad_cam", "excitation_backprop"])
@pytest.mark.parametrize("is_called", [False, True], ids=["before the first call", "after a call"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_modified_model_is_explained_as_it_is_now(name: str, is_called: bool, method: str) -> None:
    model, images = network(), noise(*SIZE)
    explainer = tfviz.METHODS[method](model)
    before = tfviz.METHODS[method](model)(images, 1).numpy()
    if is_called:
        explainer(images, 1)
    CHANGES[name](model)
    want = tfviz.METHODS[method](model)(images, 1).numpy()
    assert want.shape != before.shape or abs(want - before).max() > 1e-4 * abs(want).max()
    np.testing.assert_allclose(explainer(images, 1), want, rtol=1e-4, atol=1e-6 * abs(want).max())
    np.testing.assert_allclose(explainer.explain(images, 1, verbose=0), want, rtol=1e-4, atol=1e-6 * abs(want).max())
    np.testing.assert_allclose(explainer.with_outputs(images, 1).outputs, model(images), rtol=0.02, atol=1e-4)


def test_a_modified_model_is_exported_as_it_is_now(tmp_path: Path) -> None:
    model, images = network(), noise(*SIZE)
    explainer = tfviz.Saliency(model)
    explainer(images, 1)
    model.get_layer("c1").activation = keras.activations.tanh
    explainer.export(tmp_path / "explainer")
    got = tfviz.load_explainer(tmp_path / "explainer")(images, 1)
    np.testing.assert_allclose(got, tfviz.Saliency(model)(images, 1), rtol=1e-4, atol=1e-7)


def test_options_are_kept_and_training_changes_nothing() -> None:
    model, images = network(), noise(*SIZE)
    explainer = tfviz.GradCAM(model, "c1", score="outputs")
    explainer(images, 1)
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((2, 4)), verbose=0)
    explainer(images, 1)
    assert explainer.traces == 1
    model.get_layer("d1").activation = keras.activations.tanh
    np.testing.assert_allclose(explainer(images, 1), tfviz.GradCAM(model, "c1")(images, 1), rtol=1e-4, atol=1e-7)
    assert explainer.layer_path == "c1"
    assert explainer.score == "outputs"
    assert explainer.traces == 2


def test_a_removed_layer_is_reported() -> None:
    model = network()
    explainer = tfviz.ExcitationBackprop(model, "out")
    model.pop()
    with pytest.raises(tfviz.UnknownLayerError, match="has no layer 'out'"):
        explainer(noise(*SIZE), 1)


def test_reading_again_leaves_nothing_on_the_layers() -> None:
    """Keras tracks each attribute that is set on a layer, permanently."""
    model, images = network(), noise(*SIZE)
    tfviz.GradCAM(model)(images, 1)
    sizes = [len(layer._tracked) for layer in model.layers]
    ids = [layer._loss_ids for layer in model.layers]
    for _ in range(3):
        tfviz.GradCAM(model)(images, 1)
    assert [len(layer._tracked) for layer in model.layers] == sizes
    assert all(layer._loss_ids is one for layer, one in zip(model.layers, ids, strict=True))
