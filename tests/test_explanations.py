"""explain and explain_file: one call for arrays, and one for a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfviz
from tfviz import explanations
from tfviz.errors import ImageError, TargetError
from tfviz.images import read_image, write_image
from tfviz.images.preprocessing import Preprocessing
from tfviz.models import load_model, preprocessing_of
from tfviz.render import overlay, standardized


def picture(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, activation="relu", name="features"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    path = tmp_path_factory.mktemp("model") / "m.keras"
    network.save(path)
    return load_model(path, preprocessing="tf", labels=["cat", "dog", "bird"])


def test_guided_backprop_is_cropped_and_standardized(tmp_path: Path, model: keras.Model) -> None:
    source = write_image(tmp_path / "plane.png", picture())
    written = tfviz.explain_file(source, tmp_path / "vis.png", model=model, method="guided_backprop", target="dog")
    crop = Preprocessing((32, 32), formula="x/127.5 - 1", resize="short side 32, center crop 32")
    expected = standardized(np.asarray(tfviz.GuidedBackprop(model)(crop.tensor(picture())[None], 1))[0])
    assert written == tmp_path / "vis.png"
    assert np.array_equal(read_image(written), expected) and expected.shape == (32, 32, 3)
    other = tfviz.explain_file(source, tmp_path / "o.png", model=model, method="guided_backprop", target=2)
    assert not np.array_equal(read_image(other), expected)


def test_grad_cam_is_drawn_over_the_whole_image(tmp_path: Path, model: keras.Model) -> None:
    source = write_image(tmp_path / "plane.png", picture())
    written = tfviz.explain_file(source, tmp_path / "new" / "cam.png", model=model, method="grad_cam", layer="features")
    tensor = preprocessing_of(model).tensor(picture())[None]
    expected = overlay(picture(), np.asarray(tfviz.GradCAM(model, layer="features")(tensor))[0], style="heatmap")
    assert np.array_equal(read_image(written), expected) and expected.shape == (40, 60, 3)


def test_a_preprocessing_that_crops_is_not_changed() -> None:
    crop = Preprocessing(resize="short side 50, center crop 40")
    assert explanations._cropped(crop) == crop
    assert explanations._cropped(Preprocessing()) == Preprocessing()


def test_model_weights_and_labels_are_passed_to_load_model(tmp_path: Path, model: keras.Model, monkeypatch: Any) -> None:
    asked: dict[str, Any] = {}

    def load(name: str, **options: Any) -> keras.Model:
        asked.update(name=name, **options)
        return model

    monkeypatch.setattr(explanations, "load_model", load)
    source = write_image(tmp_path / "a.png", picture())
    tfviz.explain_file(source, tmp_path / "b.png", model="resnet50", weights="w.pth", labels="l.txt")
    assert asked == {"name": "resnet50", "weights": "w.pth", "labels": "l.txt"}


def test_a_class_is_rejected_by_a_method_without_target(tmp_path: Path, model: keras.Model) -> None:
    source = write_image(tmp_path / "a.png", picture())
    with pytest.raises(TargetError, match="visual_backprop is class-agnostic"):
        tfviz.explain_file(source, tmp_path / "b.png", model=model, method="visual_backprop", target="cat")
    with pytest.raises(ImageError, match=r"The file .*nowhere\.png does not exist"):
        tfviz.explain_file(tmp_path / "nowhere.png", tmp_path / "b.png")
