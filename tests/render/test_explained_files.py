"""From picture files to picture files: one call for one, batches for many, and how masks and gradients are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfviz
from tfviz import picture_files
from tfviz.errors import ImageError, OptionError, TargetError
from tfviz.images import read_image, write_image
from tfviz.models import load_model, preprocessing_of
from tfviz.picture_batches import read_batches
from tfviz.preprocessing import Preprocessing
from tfviz.render import grey_mask, overlay, red_mask, standardized


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


# explain_file


def test_guided_backprop_is_cropped_and_standardized(tmp_path: Path, model: keras.Model) -> None:
    source = write_image(tmp_path / "plane.png", picture())
    written = tfviz.explain_file(source, tmp_path / "vis.png", model=model, method="guided_backprop", target="dog")
    crop = Preprocessing((32, 32), formula="x/127.5 - 1", resize="short side 32, centre crop 32")
    expected = standardized(np.asarray(tfviz.GuidedBackprop(model)(crop.tensor(picture())[None], 1))[0])
    assert written == tmp_path / "vis.png"
    assert np.array_equal(read_image(written), expected) and expected.shape == (32, 32, 3)
    other = tfviz.explain_file(source, tmp_path / "o.png", model=model, method="guided_backprop", target=2)
    assert not np.array_equal(read_image(other), expected)


def test_grad_cam_is_drawn_over_the_whole_picture(tmp_path: Path, model: keras.Model) -> None:
    source = write_image(tmp_path / "plane.png", picture())
    written = tfviz.explain_file(source, tmp_path / "new" / "cam.png", model=model, method="grad_cam", layer="features")
    tensor = preprocessing_of(model).tensor(picture())[None]
    expected = overlay(picture(), np.asarray(tfviz.GradCAM(model, layer="features")(tensor))[0], style="heatmap")
    assert np.array_equal(read_image(written), expected) and expected.shape == (40, 60, 3)


def test_a_preprocessing_that_crops_is_left_as_it_is() -> None:
    crop = Preprocessing(resize="short side 50, centre crop 40")
    assert picture_files._cropped(crop) == crop
    assert picture_files._cropped(Preprocessing()) == Preprocessing()


def test_model_weights_and_labels_go_to_load_model(tmp_path: Path, model: keras.Model, monkeypatch: Any) -> None:
    asked: dict[str, Any] = {}

    def load(name: str, **options: Any) -> keras.Model:
        asked.update(name=name, **options)
        return model

    monkeypatch.setattr(picture_files, "load_model", load)
    source = write_image(tmp_path / "a.png", picture())
    tfviz.explain_file(source, tmp_path / "b.png", model="resnet50", weights="w.pth", labels="l.txt")
    assert asked == {"name": "resnet50", "weights": "w.pth", "labels": "l.txt"}


def test_a_class_is_refused_where_none_is_explained(tmp_path: Path, model: keras.Model) -> None:
    source = write_image(tmp_path / "a.png", picture())
    with pytest.raises(TargetError, match="visual_backprop explains no single class"):
        tfviz.explain_file(source, tmp_path / "b.png", model=model, method="visual_backprop", target="cat")
    with pytest.raises(ImageError, match="There is no file"):
        tfviz.explain_file(tmp_path / "nowhere.png", tmp_path / "b.png")


# Batches


def test_pictures_are_read_in_batches_and_bad_ones_skipped(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{i}.png", picture(seed=i)) for i in range(5)]
    paths[1].write_text("hello")
    skipped: list[ImageError] = []
    how = Preprocessing((8, 6), resize="stretch")
    batches = list(read_batches(paths, how, 2, skipped.append))
    assert [batch.numbers for batch in batches] == [[0], [2, 3], [4]]
    assert [batch.tensors.shape for batch in batches] == [(1, 8, 6, 3), (2, 8, 6, 3), (1, 8, 6, 3)]
    assert np.array_equal(batches[1].pictures[1], picture(seed=3))
    assert np.array_equal(batches[1].tensors[1], how.tensor(picture(seed=3)))
    assert len(skipped) == 1 and "1.png is not a JPEG" in str(skipped[0])
    with pytest.raises(OptionError, match="The batch size must be 1 or more; got 0"):
        list(read_batches(paths, how, 0, skipped.append))


# Masks and gradients as pictures


def test_a_red_mask_keeps_the_picture_at_0_and_is_red_at_1() -> None:
    mask = np.zeros((40, 60))
    mask[:, 30:], mask[:, 20:30] = 1, 0.5
    drawn = red_mask(picture(), mask)
    assert np.array_equal(drawn[:, :20], picture()[:, :20])
    assert (drawn[:, 30:] == (255, 0, 0)).all()
    half = picture()[:, 20:30] / 2 + (127.5, 0, 0)
    assert np.abs(drawn[:, 20:30] - half).max() <= 0.5


def test_a_mask_is_drawn_in_grey_at_the_pictures_size() -> None:
    drawn = grey_mask(np.array([[0.0, 1.0], [0.0, 1.0]]), 8, 8)
    assert drawn.shape == (8, 8, 3) and drawn.dtype == np.uint8
    assert (drawn[:, 0] == 0).all() and (drawn[:, -1] == 255).all()


@pytest.mark.parametrize("mask", [np.full((4, 4), 1.1), np.full((4, 4), -0.1), np.zeros((4, 4, 3))])
def test_what_is_no_mask_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"Expected a mask \(height, width\) in \[0, 1\], got"):
        red_mask(picture(4, 4), mask)


@pytest.mark.parametrize("scale", [1e-38, 1.0, 1e38])
def test_a_standardized_map_has_mean_a_half_and_deviation_a_tenth(scale: float) -> None:
    values = np.random.default_rng(0).standard_normal((64, 64, 3)) * scale
    drawn = standardized(values).astype(np.float64) / 255
    assert abs(drawn.mean() - 0.5) < 0.002 and abs(drawn.std() - 0.1) < 0.002
    expected = np.clip(0.5 + 0.1 * (values - values.mean()) / values.std(), 0, 1)
    assert np.abs(drawn - expected).max() <= 0.5 / 255 + 1e-9


def test_a_constant_map_is_mid_grey() -> None:
    assert (standardized(np.zeros((4, 4))) == 128).all() and (standardized(np.full((4, 4, 3), 7.0)) == 128).all()
