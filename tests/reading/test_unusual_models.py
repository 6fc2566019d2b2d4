"""Models that run in Keras and are easily misread: compared with a compiled tape."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks
from support.explainers import KEYS, built
from support.tape import compiled_gradient

import tfviz

SIZE = (12, 10, 3)


def behind(front: Callable[[Any], Any]) -> keras.Model:
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(4, 3, activation="relu", name="features")(front(inputs))
    return networks.with_random_weights(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))), 0)


def assert_gradient(model: keras.Model) -> None:
    images = tf.constant(networks.pictures(model))
    want = tf.convert_to_tensor(compiled_gradient(lambda x: model(x)[:, 1], images))
    got = tfviz.Saliency(model, score="outputs")(images, 1)
    assert np.any(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(np.asarray(want)).max())


def adjusted(x: Any) -> Any:
    return tf.clip_by_value(x, -1.0, 1.0) - tf.reduce_mean(tf.image.rgb_to_grayscale(x))


def mean_of_batch(x: Any) -> Any:
    return x * tf.reduce_max(tf.abs(x))


def largest(x: Any) -> Any:
    return x / (1.0 + tf.norm(x))


SCALARS = {
    "standardization": tf.image.per_image_standardization,
    "a mean": adjusted,
    "a maximum": mean_of_batch,
    "a norm": largest,
}


@pytest.mark.parametrize("name", SCALARS)
def test_code_may_create_a_scalar(name: str) -> None:
    assert_gradient(behind(layers.Lambda(SCALARS[name])))


GATHERING = {
    "gather": lambda x: tf.gather(x, [0, 2, 1], axis=-1),
    "gather at the batch": lambda x: tf.gather(x, tf.range(tf.shape(x)[0])),
    "embedding_lookup": lambda x: tf.nn.embedding_lookup(x, tf.range(tf.shape(x)[0])),
}


@pytest.mark.parametrize("name", GATHERING)
def test_a_gradient_as_indexed_slices_becomes_a_tensor(name: str) -> None:
    model = behind(layers.Lambda(GATHERING[name]))
    assert_gradient(model)
    assert tf.is_tensor(tfviz.Saliency(model)(networks.pictures(model), 1))


class Padding(layers.Conv2D):
    """Declares the shape of "valid" and computes "same"."""

    def call(self, x: Any) -> Any:
        return tf.nn.conv2d(x, self.kernel, 1, "SAME") + self.bias


def test_a_layer_may_declare_a_wrong_output_shape() -> None:
    assert_gradient(behind(lambda x: layers.ReLU()(Padding(3, 3, name="second")(Padding(3, 3, name="first")(x)))))


def test_calls_of_a_shared_layer_are_numbered_in_the_order_of_the_calls() -> None:
    """Keras' own traversal starts at the output, where the second call may come first."""
    encode = keras.Sequential([keras.Input(SIZE), layers.Conv2D(4, 3, activation="relu", name="conv")], name="enc")
    pair = [keras.Input(SIZE, name=name) for name in ("first", "second", "third")]
    codes = [layers.GlobalAveragePooling2D()(encode(x)) for x in pair]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        model = keras.Model(pair, layers.Dense(2)(layers.Concatenate()([codes[i] for i in order])))
        networks.with_random_weights(model, 0)
        graph = tfviz.Saliency(model).graph
        for number in range(3):
            assert graph.names[f"enc:{number}/conv"] in graph.after([graph.inputs[number]]), order


def attention_by_hand(x: Any) -> Any:
    tokens = ops.reshape(x, (-1, 80, 4))
    heads = ops.transpose(ops.reshape(tokens, (-1, 80, 2, 2)), (0, 2, 1, 3))
    weights = ops.softmax(ops.matmul(heads, ops.transpose(heads, (0, 1, 3, 2))))
    return ops.reshape(ops.transpose(ops.matmul(weights, heads), (0, 2, 1, 3)), (-1, 80, 4))


def test_handwritten_attention_reads_the_tokens_of_the_automatic_layer() -> None:
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(inputs)
    x = layers.Conv2D(4, 3, activation="relu", padding="same", name="features")(x)
    x = layers.Dense(4, activation="relu")(attention_by_hand(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    explainer = tfviz.GradCAM(model)
    assert explainer.layer.shape == (None, 80, 4)
    assert explainer(networks.pictures(model)).shape == (2, 10, 8)


@pytest.mark.parametrize(
    "quantize",
    [
        lambda x: tf.quantization.fake_quant_with_min_max_args(x, -3, 3),
        lambda x: tf.quantization.fake_quant_with_min_max_vars(x, -3.0, 3.0),
        lambda x: tf.quantization.quantize_and_dequantize_v2(x, -3.0, 3.0, range_given=True),
        lambda x: keras.quantizers.fake_quant_with_min_max_vars(x, -3.0, 3.0),
    ],
)
def test_masks_and_probabilities_pass_fake_quantization(quantize: Callable[[Any], Any]) -> None:
    plain, quantized = behind(lambda x: x), behind(layers.Lambda(quantize))
    images = networks.pictures(plain)
    for method in ("visual_backprop", "excitation_backprop"):
        target = None if method == "visual_backprop" else 1
        want = np.asarray(tfviz.METHODS[method](plain)(images, target))
        got = np.asarray(tfviz.METHODS[method](quantized)(images, target))
        np.testing.assert_allclose(got, want, rtol=0, atol=0.1 * want.max())


@pytest.mark.parametrize(
    "function",
    [keras.ops.trunc, lambda x: keras.ops.logaddexp(x, -x), lambda x: keras.ops.arctan2(x, 2 * x)],
)
def test_visual_backprop_passes_elementwise_functions(function: Callable[[Any], Any]) -> None:
    model = behind(function)
    images = networks.pictures(model)
    np.testing.assert_allclose(tfviz.VisualBackProp(model)(images).shape[1:], images.shape[1:3])


def test_visual_backprop_does_not_need_the_softmax_removed() -> None:
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(4, 3, activation="relu", name="features")(inputs)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(layers.GlobalAveragePooling2D()(x)))
    want = np.asarray(tfviz.VisualBackProp(model)(networks.pictures(model)))
    model.get_layer("out").quantize("int4")
    np.testing.assert_array_equal(tfviz.VisualBackProp(model)(networks.pictures(model)), want)


def test_a_softmax_inside_a_saved_model_is_found(tmp_path: Path) -> None:
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    model.export(tmp_path / "saved", verbose=False)
    whole = layers.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve")
    wrapped = keras.Model(outer := keras.Input(SIZE), whole(outer))
    with pytest.raises(tfviz.UnsupportedModelError, match=r"softmax in .* cannot be removed.*score='outputs'"):
        tfviz.Saliency(wrapped)


def test_the_order_of_channels_in_keras_json_does_not_matter() -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.SeparableConv2D(4, 3, activation="relu", padding="same", name="a")(inputs)
    x = layers.DepthwiseConv2D(3, strides=2, activation="relu", padding="same", name="b")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, activation="relu", name="c")(layers.UpSampling2D(2)(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    images = np.random.default_rng(0).normal(size=(2, 12, 10, 3)).astype("float32")

    def maps() -> dict[str, np.ndarray]:
        return {key: np.asarray(built(key, model)(images)) for key in KEYS}

    before = maps()
    keras.config.set_image_data_format("channels_first")
    try:
        after = maps()
    finally:
        keras.config.set_image_data_format("channels_last")
    for key, want in before.items():
        np.testing.assert_array_equal(after[key], want, err_msg=key)


USES = (
    "tfviz.GradCAM(model)",
    "tfviz.load_model('mobilenet_v2', weights=None, size=(64, 64))",
    "tfviz.SnapshotCallback('grad_cam', np.zeros((2, 8, 8, 3)), log_dir='unused')",
    "tfviz.with_visual_backprop(model)",
)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_is_rejected_with_instructions(backend: str) -> None:
    """A refused use leaves nothing behind, so all uses share one process."""
    pytest.importorskip(backend)
    code = f"""
import os
os.environ["KERAS_BACKEND"] = "{backend}"
import keras, tfviz, numpy as np
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)])
for use in {USES}:
    try:
        eval(use)
    except tfviz.UnsupportedModelError as error:
        assert "KERAS_BACKEND=tensorflow" in str(error), (use, error)
    else:
        raise SystemExit(use + " was not refused")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
