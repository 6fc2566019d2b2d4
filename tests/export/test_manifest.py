"""tfviz.json describes an export, and load_explainer makes it callable like the explainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.exported import images_for

import tfviz
from tfviz.export import FORMATS
from tfviz.export.manifest import FILE_NAME, Input, Manifest, flat_names, nested, plain_names


@pytest.fixture(scope="module")
def explainer() -> tfviz.GradCAM:
    return tfviz.GradCAM(tfviz.load_model("shapes"), "block4_conv2", score="outputs")


@pytest.fixture(scope="module")
def folder(explainer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explainer.export(tmp_path_factory.mktemp("export") / "x")


def test_the_manifest_describes_the_export(folder: Path) -> None:
    content = json.loads((folder / FILE_NAME).read_text())
    assert content["format"] == "saved_model"
    assert content["method"] == "grad_cam"
    assert content["layer"] == "block4_conv2"
    assert content["options"] == {"score": "outputs"}
    assert content["model"] == "shapes"
    assert content["inputs"] == [{"name": "images", "shape": [None, 96, 96, 3], "dtype": "float32"}]
    assert content["outputs"] == "outputs"
    assert content["attribution"] == "attribution"
    assert content["targets"] == ["top", "class", "weights"]
    assert content["classes"] == 10
    assert content["scores"] == [None, 10]
    assert content["preprocessing"]["formula"] == "x/127.5 - 1"
    assert content["labels"][:2] == ["disc", "ring"]
    assert content["style"] == "heatmap"
    assert content["versions"] == {
        "tfviz": tfviz.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "format_version": 1,
    }
    assert content["extra"]["signatures"]["explain"] == {
        "inputs": [
            {"name": "images", "shape": [None, 96, 96, 3], "dtype": "float32"},
            {"name": "target", "shape": [None], "dtype": "int32"},
        ],
        "outputs": [
            {"name": "outputs", "shape": [None, 10], "dtype": "float32"},
            {"name": "target", "shape": [None], "dtype": "int32"},
            {"name": "attribution", "shape": [None, 12, 12], "dtype": "float32"},
        ],
    }


def test_a_manifest_survives_writing_and_reading(folder: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(folder)
    assert manifest.inputs == [Input("images", (None, 96, 96, 3), "float32")]
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


def test_a_loaded_explainer_is_called_like_the_explainer(explainer: Any, folder: Path) -> None:
    loaded = tfviz.load_explainer(folder)
    images = images_for(explainer, 3)
    assert (loaded.key, loaded.style, loaded.takes_target) == ("grad_cam", "heatmap", True)
    assert repr(loaded) == "SavedModelExplainer('grad_cam' on 'shapes')"
    for target in (None, 4, np.int64(4), [1, 2, 3], np.eye(10)[[2]]):
        got, want = loaded.with_outputs(images, target), explainer.with_outputs(images, target)
        assert isinstance(got.attribution, np.ndarray)
        assert got.attribution.dtype == np.float32
        np.testing.assert_allclose(got.attribution, want.attribution, atol=1e-6 * abs(got.attribution).max())
        np.testing.assert_array_equal(loaded(images, target), got.attribution)
        np.testing.assert_allclose(got.outputs, want.outputs, atol=1e-6)
        assert (got.target is None) == (want.target is None)
        if want.target is not None:
            np.testing.assert_array_equal(got.target, want.target)


def test_a_loaded_explainer_has_preprocessing_and_labels(folder: Path) -> None:
    loaded = tfviz.load_explainer(str(folder))
    assert loaded.preprocessing == tfviz.Preprocessing((96, 96), formula="x/127.5 - 1")
    assert loaded.labels.index("heart") == 7
    images = tfviz.load_images(Path(tfviz.__file__).parent / "shapes" / "samples", loaded.preprocessing)
    assert loaded.with_outputs(images).outputs.shape == (len(images), 10)


blank = np.zeros((1, 96, 96, 3))
BAD_CALLS: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "another size": (
        np.zeros((1, 64, 64, 3)),
        None,
        tfviz.ImageError,
        r"expects images of shape \(any, 96, 96, 3\)\. Received: \(1, 64, 64, 3\)\. Resize the images, or export",
    ),
    "one image": (np.zeros((96, 96, 3)), None, tfviz.ImageError, r"of shape \(any, 96, 96, 3\)\. Received: \(96, 96, 3\)"),
    "no image": (np.zeros((0, 96, 96, 3)), None, tfviz.ImageError, "at least one image. Received: an empty batch"),
    "words": ([["a"]], None, tfviz.ImageError, "`images` must be an array of numbers. Received: list"),
    "NaN": (np.full((1, 96, 96, 3), np.nan), None, tfviz.ImageError, "The images contain NaN or infinity"),
    "a class beyond the last": (blank, 10, tfviz.TargetError, r"Target 10 is out of range.*10 classes \(0 to 9\)"),
    "a negative class": (blank, -1, tfviz.TargetError, "Target -1 is out of range"),
    "too many classes": (blank, [1, 2], tfviz.TargetError, r"an int, or as 1 ints.*Received: an array of shape \(2,\)"),
    "a function": (blank, lambda x: x[:, 0], tfviz.TargetError, r"does not accept a function.*export\(path, target=...\)"),
    "a place": (blank, tfviz.At(1, (2, 3)), tfviz.TargetError, r"does not accept a function or tfviz\.At as a target"),
    "a name": (blank, "heart", tfviz.TargetError, "accepts these targets: None.*Received: str heart"),
    "flat weights": (blank, [0.5, 0.5], tfviz.TargetError, r"Expected weights of shape \(any, 10\), .*Received: shape \(2,\)"),
    "too few weights": (blank, [[0.5, 0.5]], tfviz.TargetError, r"weights of shape \(any, 10\), .*Received: shape \(1, 2\)"),
    "NaN weights": (blank, np.full((1, 10), np.nan), tfviz.TargetError, "Expected finite weights"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_bad_call_of_a_loaded_explainer_is_rejected(name: str, folder: Path) -> None:
    images, target, error, message = BAD_CALLS[name]
    with pytest.raises(error, match=message):
        tfviz.load_explainer(folder)(images, target)


def test_a_target_for_a_method_without_one_is_rejected(tmp_path: Path) -> None:
    explainer = tfviz.VisualBackProp(networks.build("plain"))
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    assert not loaded.takes_target
    with pytest.raises(
        tfviz.TargetError, match=r"visual_backprop is class-agnostic and does not accept a target\. Received: target=1"
    ):
        loaded(images_for(explainer, 1), 1)


def test_inputs_that_do_not_fit_together_are_rejected(tmp_path: Path) -> None:
    inputs = [keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")]
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(layers.Add()(inputs)))
    explainer = tfviz.GradCAM(keras.Model(inputs, layers.Dense(3)(x)))
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    one, two = np.zeros((1, 8, 8, 3)), np.zeros((2, 8, 8, 3))
    with pytest.raises(tfviz.ImageError, match=r"expects 2 inputs\. Received: 1\. Arrange them like.*\['left', 'right'\]"):
        loaded([one])
    with pytest.raises(tfviz.ImageError, match=r"the same number of images\. Received: \[1, 2\]"):
        loaded([one, two])
    assert loaded([two, two]).shape == (2, 6, 6)


def steered_by(structure: type) -> keras.Model:
    """Return a model whose two inputs are not in alphabetical order."""
    inputs = {name: keras.Input((8, 8, 3), name=name) for name in ("right", "left")}
    x = layers.Concatenate()([inputs["right"], 2 * inputs["left"]])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    return keras.Model(inputs if structure is dict else list(inputs.values()), layers.Dense(3)(x))


def test_a_dict_is_matched_by_keys_and_a_list_by_order(tmp_path: Path) -> None:
    right, left = np.random.default_rng(0).normal(size=(2, 2, 8, 8, 3)).astype("float32")
    for structure in (list, dict):
        explainer = tfviz.GradCAM(steered_by(structure))
        loaded = tfviz.load_explainer(explainer.export(tmp_path / structure.__name__))
        given = {"right": right, "left": left}
        want = explainer(given if structure is dict else [right, left])
        np.testing.assert_allclose(loaded(given), want, atol=1e-6)
        with pytest.raises(
            tfviz.ImageError, match=r"expects a dict with the keys 'right', 'left'\. Received: the keys 'right', 'wrong'"
        ):
            loaded({"right": right, "wrong": left})
        if structure is dict:
            with pytest.raises(tfviz.ImageError, match=r"expects a dict with the keys 'right', 'left'\. Received: list"):
                loaded([right, left])
        else:
            np.testing.assert_allclose(loaded([right, left]), want, atol=1e-6)


def test_a_list_of_one_input_equals_its_batch(explainer: Any, folder: Path) -> None:
    loaded, images = tfviz.load_explainer(folder), images_for(explainer, 2)
    for given in ([images], (tf.constant(images),), {"images": images}, list(images)):
        np.testing.assert_array_equal(loaded(given), loaded(images))
    with pytest.raises(tfviz.ImageError, match=r"expects a dict with the keys 'images'\. Received: the keys 'pictures'"):
        loaded({"pictures": images})


def test_preprocessing_and_labels_may_be_passed(tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(networks.build("plain"))
    bare = Manifest.read(explainer.export(tmp_path / "bare"))
    assert bare.preprocessing is None
    assert bare.labels is None
    names = ["a", "b", "c", "d", "e"]
    given = tfviz.load_explainer(explainer.export(tmp_path / "given", preprocessing="unit", labels=names))
    assert given.preprocessing == tfviz.Preprocessing((20, 17), formula="x/255")
    assert given.labels.names == tuple(names)
    with pytest.raises(tfviz.LabelsError, match=r"must equal the number of classes, 5\. Received: 2\."):
        explainer.export(tmp_path / "x", labels=["a", "b"])
    with pytest.raises(tfviz.OptionError, match="produces images of 9x9 pixels, but the network expects 20x17"):
        explainer.export(tmp_path / "x", preprocessing=tfviz.Preprocessing((9, 9)))


def test_names_become_plain_and_unique() -> None:
    assert plain_names(["a/b:0", "a_b_0", "target", "é"]) == ["a_b_0", "a_b_0_2", "target_2", "x_"]


def test_names_are_nested_like_in_keras() -> None:
    structure: Any = {"b": ["x", "y"], "a": "z"}
    assert flat_names(structure) == ["z", "x", "y"]
    assert nested(structure, str.upper) == {"b": ["X", "Y"], "a": "Z"}
    assert flat_names(structure) == keras.tree.flatten(structure)


BAD_FILES = {
    "no JSON": ("{", "cannot be read"),
    "a list": ("[]", "does not contain a JSON object"),
    "another version": (
        '{"versions": {"format_version": 99}}',
        "has format version 99, but this version of tfviz reads only version 1. Export the explainer again",
    ),
    "a part of it": ('{"versions": {"format_version": 1}}', r"is incomplete or damaged \(KeyError: 'inputs'\)"),
    "an unknown part": ('{"versions": {"format_version": 1}, "inputs": [], "color": 1}', "is incomplete or damaged .*color"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_unreadable_manifest_is_reported(name: str, tmp_path: Path) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(tfviz.ExportError, match=message):
        tfviz.load_explainer(tmp_path)


@pytest.mark.parametrize("structure", [5, {"a": None}], ids=["a number", "null"])
def test_a_bad_structure_in_an_unknown_format_is_reported(structure: Any, folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / FILE_NAME).read_text())
    (tmp_path / FILE_NAME).write_text(json.dumps({**content, "format": "unknown", "input_structure": structure}))
    with pytest.raises(tfviz.ExportError, match="is incomplete or damaged"):
        tfviz.load_explainer(tmp_path)


def test_a_folder_without_an_export_is_reported(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(tfviz.ExportError, match=r"contains no exported explainer: it has no tfviz.json"):
            tfviz.load_explainer(folder)


def test_a_saved_model_without_its_files_is_reported(folder: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes((folder / FILE_NAME).read_bytes())
    with pytest.raises(tfviz.ExportError, match=r"The SavedModel in .* is damaged and cannot be opened"):
        tfviz.load_explainer(tmp_path)


def test_every_format_has_a_description() -> None:
    assert set(FORMATS) == {"saved_model", "stablehlo", "litert", "onnx"}
    for one in FORMATS.values():
        assert one.description
        assert one.module.startswith("tfviz.export.")
