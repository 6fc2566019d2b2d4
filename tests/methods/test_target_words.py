"""Targets in words: names of classes and "top2", in Python as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support import networks

import tfviz
from tfviz.models import labels, loading
from tfviz.models.labels import Labels

NAMES = ["tench", "goldfish, Carassius auratus", "crane", "crane", "tabby, tabby cat"]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(inputs)
    x = layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return networks.with_random_weights(keras.Model(inputs, x), 1)


@pytest.fixture(scope="module")
def images(model: keras.Model) -> np.ndarray:
    return networks.pictures(model, 3)


@pytest.mark.parametrize("method", ["grad_cam", "excitation_backprop", "saliency", "guided_grad_cam"])
def test_a_name_is_its_class(model: keras.Model, images: np.ndarray, method: str) -> None:
    want = tfviz.explain(model, images, method, 1)
    np.testing.assert_array_equal(tfviz.METHODS[method](model, class_names=NAMES)(images, target="goldfish"), want)
    np.testing.assert_array_equal(tfviz.explain(model, images, method, "Carassius_Auratus", class_names=NAMES), want)
    np.testing.assert_array_equal(tfviz.explain(model, images, method, "1"), want)


def test_each_image_may_have_a_name_of_its_own(model: keras.Model, images: np.ndarray) -> None:
    explainer = tfviz.GradCAM(model, class_names=dict(enumerate(NAMES)))
    words = ["tench", "tabby", "goldfish"]
    np.testing.assert_array_equal(explainer(images, words), explainer(images, [0, 4, 1]))
    np.testing.assert_array_equal(
        explainer.explain(images, tuple(words), batch_size=2, verbose=0), explainer(images, [0, 4, 1])
    )
    np.testing.assert_array_equal(explainer(images, np.array(words)), explainer(images, [0, 4, 1]))
    assert explainer.with_outputs(images, "tabby").target.numpy().tolist() == [4, 4, 4]


@pytest.mark.parametrize("method", ["grad_cam", "contrastive_excitation_backprop", "saliency"])
def test_the_highest_classes_are_each_images_own(model: keras.Model, images: np.ndarray, method: str) -> None:
    explainer = tfviz.METHODS[method](model)
    ranked = np.argsort(-model.predict(images, verbose=0), axis=1, kind="stable")
    found = explainer(images, target="top3")
    assert list(found) == ["top1", "top2", "top3"]
    for place, maps in enumerate(found.values()):
        np.testing.assert_allclose(maps, explainer(images, ranked[:, place]), rtol=1e-5, atol=1e-7)
    again = explainer.explain(images, "Top3", batch_size=2, verbose=0)
    assert all(np.allclose(again[name], found[name], rtol=1e-5, atol=1e-7) for name in found)
    traces = explainer.traces
    explainer(images, target="top2")
    assert explainer.traces == traces
    outputs = explainer.with_outputs(images, "top2")
    np.testing.assert_array_equal(outputs["top2"].target, ranked[:, 1])


def test_top_is_the_top_class(model: keras.Model, images: np.ndarray) -> None:
    explainer = tfviz.GradCAM(model)
    for word in ("top", "top1"):
        np.testing.assert_allclose(explainer(images, word), explainer(images), rtol=1e-6)


def test_what_several_targets_give_can_be_plotted(model: keras.Model, images: np.ndarray) -> None:
    figure = tfviz.plot(np.clip(images, 0, 1), {"grad_cam": tfviz.GradCAM(model)(images, "top2")}, scale="image")
    assert [axes.texts[0].get_text() for axes in figure.axes[1:3]] == ["Grad-CAM\ntop1", "Grad-CAM\ntop2"]


def test_the_names_that_load_model_knows_are_used(tmp_path: Path, model: keras.Model, images: np.ndarray) -> None:
    model.save(tmp_path / "m.keras")
    named = tfviz.load_model(tmp_path / "m.keras", labels=NAMES)
    np.testing.assert_array_equal(tfviz.GradCAM(named)(images, "goldfish"), tfviz.GradCAM(named)(images, 1))
    with pytest.raises(tfviz.TargetError, match="No class is named 'goldfish'"):
        tfviz.GradCAM(named, class_names=list("abcde"))(images, "goldfish")


def test_a_class_at_positions_may_be_named() -> None:
    inputs = keras.Input((8, 7, 3))
    model = networks.with_random_weights(keras.Model(inputs, layers.Conv2D(3, 1)(layers.Conv2D(4, 3)(inputs))), 0)
    images, where = networks.pictures(model, 2), np.ones((6, 5))
    explainer = tfviz.Saliency(model, class_names=["road", "sky", "car"])
    np.testing.assert_array_equal(explainer(images, tfviz.At("sky", where)), explainer(images, tfviz.At(1, where)))
    both = explainer(images, tfviz.At(["sky", "car"], where))
    np.testing.assert_array_equal(both, explainer(images, tfviz.At([1, 2], where)))


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("goldfsh", {"class_names": NAMES}, r"No class is named 'goldfsh'\. Did you mean 'goldfish'"),
        (["tench", "taby", "tench"], {"class_names": NAMES}, r"No class is named 'taby'\. Did you mean 'tabby'"),
        ("crane", {"class_names": NAMES}, r"Several classes are named 'crane': 2, 3\. Pass the class number"),
        ("goldfish", {}, r"No class is named 'goldfish'\. .*class_names"),
        ("top6", {}, "'top6' is out of range. Choose from top1 to top5, because the model has 5 classes"),
        ("top0", {}, "'top0' is out of range. Choose from top1 to top5"),
        ("7", {}, r"'7' is out of range. The model has 5 classes \(0 to 4\)"),
        (["tench", "tench"], {"class_names": NAMES}, "Expected .*per image. Received: 2"),
    ],
)
def test_what_no_class_is_called_is_refused(
    model: keras.Model, images: np.ndarray, target: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.GradCAM(model, **options)(images, target)
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.explain(model, images, "grad_cam", target, **options)


def test_ranks_need_one_output_of_classes() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(inputs)
    flat = layers.GlobalAveragePooling2D()(x)
    for outputs, message in (([layers.Dense(2)(flat), layers.Dense(2)(flat)], "2 outputs"), (x, "tfviz.At")):
        model = keras.Model(inputs, outputs)
        with pytest.raises(tfviz.TargetError, match=message):
            tfviz.Saliency(model)(np.ones((1, 8, 8, 3), np.float32), "top2")


@pytest.mark.parametrize(
    "name", ["VGG16", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "EfficientNetV2B0", "ConvNeXtTiny"]
)
def test_a_network_that_keras_itself_built_has_imagenets_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "imagenet_labels", lambda: Labels(("tench", "goldfish")))
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Dense(1000)(layers.GlobalAveragePooling2D()(inputs))
    own = {"MobileNetV2": "mobilenetv2_1.00_224", "NASNetMobile": "NASNet", "EfficientNetV2B0": "efficientnetv2-b0"}
    own |= {"ConvNeXtTiny": "convnext_tiny"}
    assert loading.labels_of(keras.Model(inputs, outputs, name=own.get(name, name.lower()))).index("goldfish") == 1
    assert not loading.labels_of(keras.Model(inputs, outputs, name="functional_3"))
    ten = layers.Dense(10)(layers.GlobalAveragePooling2D()(inputs))
    assert not loading.labels_of(keras.Model(inputs, ten, name="vgg16"))
    assert labels.imagenet_labels is not loading.imagenet_labels
