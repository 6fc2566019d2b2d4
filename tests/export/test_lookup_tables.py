"""Exports of models that look up strings or integers beside the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks

import tfviz

IMAGES = np.random.default_rng(0).uniform(size=(2, 12, 10, 3)).astype(np.float32)
WORDS = np.array([["dog"], ["owl"]])
CODES = np.array([[9], [7]], np.int32)
VALUES = tf.lookup.KeyValueTensorInitializer(tf.constant([7, 9], tf.int64), tf.constant([0.5, 2.0]))


class Valued(layers.Layer):
    """A layer that owns a table of values."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.lookup.StaticHashTable(VALUES, 0.0)

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        return self.table.lookup(tf.cast(codes, tf.int64))


def beside_the_image(dtype: str, *steps: Any) -> keras.Model:
    image, side = keras.Input((12, 10, 3), name="image"), keras.Input((1,), dtype=dtype, name="side")
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    vector = side
    for step in steps:
        vector = step(vector)
    model = keras.Model([image, side], layers.Dense(3)(layers.Concatenate()([features, layers.Flatten()(vector)])))
    return networks.with_random_weights(model, 1)


def of_words() -> keras.Model:
    return beside_the_image("string", layers.StringLookup(vocabulary=["cat", "dog", "owl"]), layers.Embedding(4, 4))


def of_codes() -> keras.Model:
    return beside_the_image("int32", layers.IntegerLookup(vocabulary=[7, 9]), layers.Embedding(3, 4))


@pytest.mark.filterwarnings("ignore:Integer and string inputs", "ignore:Excitation backprop has no rule")
@pytest.mark.parametrize("key", ["grad_cam", "saliency", "visual_backprop"])
@pytest.mark.parametrize(
    ("build", "side"),
    [(of_words, WORDS), (of_codes, CODES), (lambda: beside_the_image("int32", Valued()), CODES)],
    ids=["words", "codes", "values"],
)
def test_a_saved_model_keeps_the_tables(build: Any, side: np.ndarray, key: str, tmp_path: Path) -> None:
    explainer = tfviz.METHODS[key](build())
    target = [1, 2] if explainer.takes_target else None
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "export"))
    got, want = loaded([IMAGES, side], target), explainer([IMAGES, side], target)
    for g, w in zip(*(x if isinstance(x, list) else [x] for x in (got, want)), strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-6)
    assert np.any(got[0] if isinstance(got, list) else got)


def test_an_export_rejects_anything_but_strings_for_an_input_of_strings(tmp_path: Path) -> None:
    loaded = tfviz.load_explainer(tfviz.GradCAM(of_words()).export(tmp_path / "export"))
    for side in (np.ones((2, 1)), np.array([["dog"], [None]], object)):
        with pytest.raises(tfviz.ImageError, match="`side` must be an array of strings"):
            loaded([IMAGES, side], 1)


def test_a_table_that_no_layer_owns_is_rejected(tmp_path: Path) -> None:
    table = tf.lookup.StaticHashTable(VALUES, 0.0)
    model = beside_the_image("int32", layers.Lambda(lambda x: table.lookup(tf.cast(x, tf.int64)), output_shape=(1,)))
    with pytest.raises(tfviz.ExportError, match=r"none of its layers owns.*attribute of the layer"):
        tfviz.GradCAM(model).export(tmp_path / "export")


@pytest.mark.parametrize("format", ["stablehlo", "litert", "onnx"])
def test_formats_without_strings_or_tables_say_so(format: str, tmp_path: Path) -> None:
    pytest.importorskip({"onnx": "tf2onnx", "litert": "ai_edge_litert"}.get(format, "tensorflow"))
    with pytest.raises(tfviz.ExportError, match=r"does not support string inputs, but the input 'side'"):
        tfviz.GradCAM(of_words()).export(tmp_path / "words", format=format)
    with pytest.raises(tfviz.ExportError, match=r"(cannot be|does not support|tf2onnx cannot)"):
        tfviz.GradCAM(of_codes()).export(tmp_path / "codes", format=format)
