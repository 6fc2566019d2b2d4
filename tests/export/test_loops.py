"""Networks with loops, of recurrent and custom layers, in every format, with their gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support.exported import assert_near

import tfviz

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in ("jax", "ai_edge_litert", "tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)

FORMATS = ("litert", "onnx", "stablehlo")
TOLERANCE = 1e-4  # of the largest value


class Looped(layers.Layer):
    """A layer that applies a function of a map with a custom loop."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


def rows(*recurrent: Any) -> keras.Model:
    """Apply recurrent layers to the rows of a convolution's map."""
    inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Reshape((4, 12))(x)
    for layer in recurrent:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def looped(function: Callable[[Any], Any]) -> keras.Model:
    return rows(Looped(function))


def film() -> keras.Model:
    inputs = keras.Input((3, 8, 6, 2))
    x = layers.TimeDistributed(layers.Conv2D(3, 3, padding="same", activation="relu"))(inputs)
    x = layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def series() -> keras.Model:
    """A convolution over time, whose pooling TensorFlow runs on maps with an axis of size 1."""
    inputs = keras.Input((16, 3))
    x = layers.MaxPooling1D(4)(layers.Conv1D(6, 5, padding="same", activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.LSTM(5)(x)))


def masked() -> keras.Model:
    inputs = keras.Input((6, 3))
    x = layers.GRU(4)(layers.Masking(0.0)(inputs))
    return keras.Model(inputs, layers.Dense(3)(x))


def doubled_and_summed(x: Any) -> Any:
    """A loop over steps that keeps a state and records each step."""
    _, outputs = ops.scan(lambda state, step: (state + step, ops.tanh(state * step)), x[:, 0] * 0, ops.swapaxes(x, 0, 1))
    return ops.swapaxes(outputs, 0, 1)


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "lstm": lambda: rows(layers.LSTM(5)),
    "gru": lambda: rows(layers.GRU(5, return_sequences=True)),
    "simple": lambda: rows(layers.SimpleRNN(5, activation="relu", go_backwards=True)),
    "bidirectional": lambda: rows(
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.GRU(3, reset_after=False)
    ),
    "stacked": lambda: rows(layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)])),
    "unrolled": lambda: rows(layers.LSTM(5, unroll=True)),
    "film": film,
    "series": series,
    "masked": masked,
    "scan": lambda: looped(doubled_and_summed),
    "fori_loop": lambda: looped(lambda x: ops.fori_loop(0, 3, lambda i, y: ops.tanh(y) * 1.1, x)),
    "while_loop": lambda: looped(lambda x: ops.while_loop(lambda i, y: i < 4, lambda i, y: (i + 1, ops.sin(y)), (0, x))[1]),
    "map_fn": lambda: looped(lambda x: tf.transpose(tf.map_fn(lambda y: tf.sin(y) * y, tf.transpose(x, [1, 0, 2])), [1, 0, 2])),
    "cond": lambda: looped(lambda x: tf.cond(tf.reduce_mean(x) > 0, lambda: x * 2.0, lambda: tf.sin(x))),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_loop_and_its_gradient_give_the_same_results(network: str, format: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = NETWORKS[network]()
    images = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
    images[:, -2:] *= network != "masked"
    if network == "cond":  # its condition depends on the whole batch
        images = images[:1]
    explainer = tfviz.Saliency(model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format))
    assert_near(loaded(images, 1), explainer(images, 1), TOLERANCE)


@pytest.mark.parametrize("format", FORMATS)
def test_a_map_in_front_of_a_loop_gives_the_same_results(format: str, tmp_path: Path) -> None:
    """The gradient passes the same loops as on its way to the images, so one network is enough."""
    explainer = tfviz.GradCAM(NETWORKS["lstm"](), layer="conv")
    images = np.random.default_rng(0).normal(size=(3, 8, 6, 3)).astype("float32")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format))
    assert_near(loaded(images, 1), explainer(images, 1), TOLERANCE)


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_the_error_for_a_value_dependent_loop_names_supporting_formats(format: str, tmp_path: Path) -> None:
    model = looped(
        lambda x: tf.while_loop(lambda y: tf.reduce_max(y) > 0.1, lambda y: (y * 0.5,), (x,), maximum_iterations=9)[0]
    )
    message = (
        r"belongs to a loop whose number of steps depends on the image values\. "
        "Export with format='stablehlo' or format='saved_model'"
    )
    with pytest.raises(tfviz.ExportError, match=message):
        tfviz.Saliency(model).export(tmp_path / "x", format=format)
    assert not (tmp_path / "x").exists()
