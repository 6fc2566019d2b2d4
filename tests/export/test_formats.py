"""Properties of all formats.

The numbers are the same for any target and any names, the process is unchanged, and a damaged
folder is reported with a reason.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import cli_material, networks
from support.exported import assert_near, images_for

import tfviz
from tfviz.export import FORMATS
from tfviz.export.manifest import FILE_NAME
from tfviz.methods.explainer import Explainer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in ("jax", "ai_edge_litert", "tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)

TOLERANCE = 1e-4  # of the largest value
every_format = pytest.mark.parametrize("format", FORMATS)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return tfviz.GradCAM(cli_material.network())


@pytest.fixture(scope="module")
def exports(explainer: Explainer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    return {format: explainer.export(folder / format, format=format) for format in FORMATS}


# --- the same numbers -----------------------------------------------------------------------------


@every_format
@pytest.mark.parametrize("weights", [[[50, 0, 0, 0]], [[1, 0, 0, -1]]])
def test_weights_of_the_outputs_may_be_fixed(format: str, weights: Any, explainer: Explainer, tmp_path: Path) -> None:
    target = np.float32(weights)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format, target=target))
    images = images_for(explainer, 3)
    assert_near(loaded(images), explainer(images, np.repeat(target, 3, axis=0)), TOLERANCE)


def test_weights_of_many_classes_may_be_fixed(tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(cli_material.network(outputs=300))
    target = np.random.default_rng(0).normal(size=(1, 300)).astype("float32")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format="onnx", target=target))
    images = images_for(explainer, 2)
    assert_near(loaded(images), explainer(images, np.repeat(target, 2, axis=0)), TOLERANCE)


def two_inputs(first: str, second: str) -> keras.Model:
    inputs = [keras.Input((8, 9, 3), name=first), keras.Input((8, 9, 3), name=second)]
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(layers.Concatenate(name="both")(inputs))
    x = layers.Dense(3, name="dense")(layers.GlobalAveragePooling2D(name="mean")(x))
    return networks.with_random_weights(keras.Model(inputs, x), 0)


NAMES = {
    ("from", "to"): ["x_from", "to"],
    ("self", "other"): ["x_self", "other"],
    ("_left", "_right"): ["x_left", "x_right"],
    ("画像", "深度"): ["x_", "x__2"],
    ("élan", "1st"): ["x_lan", "x_1st"],
    ("A", "a"): ["A", "a_2"],
}


@every_format
@pytest.mark.parametrize("names", NAMES)
def test_inputs_may_have_any_name(names: tuple[str, str], format: str, tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(two_inputs(*names), "conv")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format))
    assert [one.name for one in loaded.manifest.inputs] == NAMES[names]
    images = [np.random.default_rng(seed).normal(size=(2, 8, 9, 3)).astype("float32") for seed in (0, 1)]
    assert_near(loaded(images), explainer(images), TOLERANCE)


@every_format
def test_images_have_the_size_fixed_by_the_export(format: str, tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(cli_material.network((None, None)))
    options: dict[str, Any] = {"image_shape": (20, 16, 3), "preprocessing": "unit"}
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format, **options))
    assert loaded.preprocessing == tfviz.Preprocessing((20, 16), formula="x/255")
    assert loaded(loaded.preprocessing.tensor(cli_material.picture(0))[None]).shape == (1, 10, 8)


# --- the process ----------------------------------------------------------------------------------


def test_exports_in_threads_leave_the_process_unchanged(tmp_path: Path) -> None:
    explainers = [tfviz.GradCAM(cli_material.network()) for _ in range(3)]
    failures: list[BaseException] = []

    def export(number: int) -> None:
        try:
            explainers[number].export(tmp_path / str(number), format=("onnx", "litert", "onnx")[number])
        except BaseException as error:
            failures.append(error)

    def state() -> tuple[Any, ...]:
        return tf.config.functions_run_eagerly(), tf.get_logger().level, os.fstat(2).st_dev, os.fstat(2).st_ino

    before = state()
    threads = [threading.Thread(target=export, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state() == before
    assert not failures
    assert {file.name for file in tmp_path.iterdir()} == {"0", "1", "2"}


# --- damaged folders ------------------------------------------------------------------------------


def edited(**changes: Any) -> Callable[[Path], None]:
    """Return an edit that changes values in tfviz.json."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / FILE_NAME).read_text())
        (folder / FILE_NAME).write_text(json.dumps(content | changes))

    return edit


def truncated(pattern: str, length: int) -> Callable[[Path], None]:
    """Return an edit that truncates a file."""

    def shorten(folder: Path) -> None:
        (file,) = folder.glob(pattern)
        file.write_bytes(file.read_bytes()[:length])

    return shorten


def removed(pattern: str) -> Callable[[Path], None]:
    return lambda folder: next(iter(folder.glob(pattern))).unlink()


_DAMAGED_SAVED_MODEL = "The SavedModel in .* is damaged and cannot be opened"
DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "missing weights": ("saved_model", removed("variables/*.data*"), _DAMAGED_SAVED_MODEL),
    "truncated weights": ("saved_model", truncated("variables/*.data*", 500), _DAMAGED_SAVED_MODEL),
    "a truncated list of weights": ("saved_model", truncated("variables/*.index", 50), _DAMAGED_SAVED_MODEL),
    "a truncated archive": ("stablehlo", truncated("weights.npz", 800), "weights.npz cannot be read"),
    "an empty archive": ("stablehlo", truncated("weights.npz", 0), "weights.npz cannot be read"),
    "a truncated program": ("stablehlo", truncated("explainer.stablehlo", 100), "explainer.stablehlo cannot be compiled"),
    "another format": ("saved_model", edited(format="tf"), "in the format 'tf', but this version of tfviz reads"),
    "no format": ("saved_model", edited(format=None), "in the format None"),
    "versions that are a word": ("saved_model", edited(versions="1"), "tfviz.json is incomplete or damaged"),
    "unknown preprocessing": ("saved_model", edited(preprocessing={"color": 1}), "tfviz.json is incomplete or damaged .*color"),
    "labels that are a number": ("saved_model", edited(labels=5), "tfviz.json is incomplete or damaged"),
    "nothing extra for StableHLO": ("stablehlo", edited(extra={}), "tfviz.json is incomplete or damaged"),
    "nothing extra for LiteRT": ("litert", edited(extra={}), "tfviz.json is incomplete or damaged"),
    "nothing extra for ONNX": ("onnx", edited(extra={}), "tfviz.json is incomplete or damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_rejected(name: str, exports: dict[str, Path], tmp_path: Path) -> None:
    format, damage, message = DAMAGES[name]
    for file in exports[format].rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(exports[format])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    damage(tmp_path)
    with pytest.raises(tfviz.ExportError, match=message):
        tfviz.load_explainer(tmp_path)
