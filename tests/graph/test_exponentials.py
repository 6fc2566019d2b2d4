"""Softmaxes and sigmoids that are written with exponentials are removed like built-in ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tfviz
from tfviz.graph.operations import Attention, Sigmoid, Softmax
from tfviz.reading.reader import graph_of

IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


def total(x: Any) -> Any:
    return ops.sum(x, axis=-1, keepdims=True)


def stable(x: Any) -> Any:
    e = ops.exp(x - ops.max(x, axis=-1, keepdims=True))
    return e / total(e)


def in_tensorflow(x: Any) -> Any:
    e = tf.exp(x - tf.stop_gradient(tf.reduce_max(x, -1, keepdims=True)))
    return e / tf.reduce_sum(e, -1, keepdims=True)


class Exponentials(layers.Layer):
    def call(self, x: Any) -> Any:
        return in_tensorflow(x)


SOFTMAXES: dict[str, Callable[[Any], Any]] = {
    "two exponentials": lambda x: ops.exp(x) / total(ops.exp(x)),
    "minus the maximum": stable,
    "minus a detached maximum": lambda x: (
        ops.exp(d := x - ops.stop_gradient(ops.max(x, -1, keepdims=True))) / total(ops.exp(d))
    ),
    "a reciprocal": lambda x: (e := ops.exp(x)) * ops.reciprocal(total(e)),
    "a mean": lambda x: (e := ops.exp(x)) / (4 * ops.mean(e, axis=-1, keepdims=True)),
    "an activation": lambda x: (e := layers.Activation("exponential")(x)) / total(e),
    "after log_softmax": lambda x: ops.exp(ops.log_softmax(x)),
    "after logsumexp": lambda x: ops.exp(x - ops.logsumexp(x, axis=-1, keepdims=True)),
    "a layer in TensorFlow": lambda x: Exponentials()(x),
    "a Lambda": lambda x: layers.Lambda(in_tensorflow, output_shape=(4,))(x),
}
SIGMOIDS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": lambda x: 1 / (1 + ops.exp(-x)),
    "sigmoid of an exponential": lambda x: (e := ops.exp(x)) / (1 + e),
    "sigmoid of tanh": lambda x: 0.5 * (1 + ops.tanh(x / 2)),
    "sigmoid of softplus": lambda x: ops.exp(-ops.softplus(-x)),
}
# These compute a softmax or sigmoid of k·x, with the k given here.
SCALED: dict[str, tuple[Callable[[Any], Any], float]] = {
    "base 2": (lambda x: (e := 2.0**x) / total(e), float(np.log(2))),
    "base 2 in TensorFlow": (
        lambda x: layers.Lambda(lambda t: (e := tf.pow(2.0, t)) / tf.reduce_sum(e, -1, keepdims=True))(x),
        float(np.log(2)),
    ),
    "tanh": (lambda x: (layers.Activation("tanh")(x) + 1) / 2, 2.0),
    "a clipped softmax": (lambda x: ops.clip(ops.softmax(x), 1e-7, 1 - 1e-7), 1.0),
    "rest of a sigmoid": (lambda x: 1 - ops.sigmoid(-x), 1.0),
    "negated": (lambda x: 1 / (1 + ops.exp(x)), -1.0),
}


def model_with(end: Callable[[Any], Any]) -> tuple[keras.Model, keras.Model]:
    """Return a model with this end, and the same model without it."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(inputs)
    logits = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, end(logits)), keras.Model(inputs, logits)


@pytest.mark.parametrize("name", [*SOFTMAXES, *SIGMOIDS])
@pytest.mark.filterwarnings("error::UserWarning")
def test_the_logits_of_a_handwritten_activation_are_explained(name: str) -> None:
    model, plain = model_with((SOFTMAXES | SIGMOIDS)[name])
    for key in ("saliency", "grad_cam"):
        got, want = (tfviz.METHODS[key](one)(IMAGES, 1).numpy() for one in (model, plain))
        np.testing.assert_allclose(got, want, atol=1e-5 * abs(want).max())
    (last,) = [step for step in graph_of(model).steps if isinstance(step.operation, (Softmax, Sigmoid))]
    assert isinstance(last.operation, Softmax if name in SOFTMAXES else Sigmoid)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.filterwarnings("error::UserWarning")
def test_the_scale_of_a_handwritten_activation_is_part_of_the_logits(name: str) -> None:
    end, scale = SCALED[name]
    model, plain = model_with(end)
    got, want = (tfviz.Saliency(one)(IMAGES, 1).numpy() for one in (model, plain))
    np.testing.assert_allclose(got, scale * want, atol=1e-4 * abs(want).max())
    np.testing.assert_allclose(tfviz.Saliency(model).with_outputs(IMAGES, 1).outputs, model(IMAGES), atol=1e-6)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: ops.relu(x) / (1e-9 + total(ops.relu(x))),
        lambda x: (s := ops.softplus(x)) / total(s),
        lambda x: ops.arctan(x) / np.pi + 0.5,
        lambda x: ops.exp(x) / (1 + total(ops.exp(x))),
        lambda x: layers.Lambda(lambda t: tf.map_fn(tf.nn.softmax, t))(x),
    ],
    ids=["shares", "softplus", "arctan", "an abstention", "a loop"],
)
def test_other_probabilities_cause_a_warning(end: Callable[[Any], Any]) -> None:
    model, _ = model_with(end)
    with pytest.warns(UserWarning, match=r"are probabilities, but .* neither a softmax nor a sigmoid.*score='outputs'"):
        tfviz.Saliency(model)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: ops.exp(x),  # a rate
        lambda x: ops.log(1 + ops.exp(x)),
        lambda x: ops.relu(x) / (1e-3 + total(ops.relu(x))),
        lambda x: ops.exp(x) / (1 + total(ops.exp(x))),
    ],
    ids=["a rate", "softplus", "a share", "an abstention"],
)
def test_other_functions_of_exponentials_are_unchanged(end: Callable[[Any], Any]) -> None:
    model, _ = model_with(end)
    assert not any(isinstance(step.operation, (Softmax, Sigmoid)) for step in graph_of(model).steps)


def test_a_softmax_over_positions_is_found_in_handwritten_attention() -> None:
    inputs = keras.Input((8, 8, 3))
    tokens = layers.Reshape((16, 6))(layers.Conv2D(6, 2, strides=2)(inputs))
    scores = ops.matmul(layers.Dense(5)(tokens), ops.transpose(layers.Dense(5)(tokens), (0, 2, 1)))
    x = layers.GlobalAveragePooling1D()(ops.matmul(stable(scores), layers.Dense(6)(tokens)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    (softmax,) = [step for step in graph_of(model).steps if isinstance(step.operation, Attention)]
    assert softmax.outputs[0].shape == (None, 16, 16)


def exported(end: Callable[[Any], Any], folder: Any) -> keras.Model:
    model, _ = model_with(end)
    model.export(folder, verbose=False)
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.TFSMLayer(folder, call_endpoint="serve")(inputs))


def python_function(x: Any) -> Any:
    return in_tensorflow(tf.ensure_shape(tf.py_function(tf.identity, [x], tf.float32), [None, 4]))


def test_a_handwritten_softmax_in_an_opaque_layer_is_reported(tmp_path: Any) -> None:
    opaque = model_with(lambda x: layers.Lambda(python_function, output_shape=(4,))(x))[0]
    base_2 = exported(SCALED["base 2"][0], str(tmp_path / "base_2"))
    for model in (exported(stable, str(tmp_path / "stable")), base_2, opaque):
        with pytest.raises(tfviz.UnsupportedModelError, match=r"softmax in .* cannot be removed.*score='outputs'"):
            tfviz.Saliency(model)
        assert tfviz.Saliency(model, score="outputs")(IMAGES, 1).shape == IMAGES.shape


def test_a_softmax_in_an_opaque_layer_before_other_steps_is_reported(tmp_path: Any) -> None:
    model = exported(stable, str(tmp_path))
    scaled = keras.Model(model.inputs, layers.Average()([model.outputs[0], layers.Rescaling(1.0)(model.outputs[0])]))
    with pytest.warns(UserWarning, match=r"are computed from a softmax \('tfsm_layer.*score='outputs'"):
        tfviz.Saliency(scaled)
