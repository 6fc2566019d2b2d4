"""The meaning of axes: images without a channel axis, and maps with fewer axes than the image."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support.explainers import KEYS, built
from support.tape import compiled
from support.zoo import alive, conv, head_of, noise

import tfviz

IMAGES = noise(16, 14)


def body(x: Any) -> Any:
    return head_of(conv(6, "last", strides=2)(conv(5, "c1")(x)), "softmax")


def of_one_channel() -> keras.Model:
    inputs = keras.Input((16, 14, 1))
    return alive(keras.Model(inputs, body(inputs)))


def without_channels(way: str) -> keras.Model:
    inputs = keras.Input((16, 14))
    x = layers.Rescaling(1.0, name="rescaling")(inputs)
    x = {"layer": layers.Reshape((16, 14, 1)), "operation": lambda x: ops.expand_dims(x, -1)}[way](x)
    return alive(keras.Model(inputs, body(x)))


@pytest.mark.parametrize("way", ["layer", "operation"])
@pytest.mark.parametrize("method", KEYS)
def test_an_image_whose_channel_axis_the_model_adds_is_explained(method: str, way: str) -> None:
    """Like MNIST: (N, 28, 28), reshaped first. The last axis is width, which must not be summed."""
    flat, deep = (built(method, model) for model in (without_channels(way), of_one_channel()))
    target = 1 if flat.takes_target else None
    got, want = flat(IMAGES, target).numpy(), deep(IMAGES[..., None], target).numpy()
    want = want[..., 0] if want.shape[-1] == 1 else want
    assert got.shape == want.shape
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * abs(want).max())


def tokens() -> keras.Model:
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 4, strides=4, activation="relu", name="patches")(inputs)
    x = layers.Dense(6, activation="relu", name="tokens")(layers.Reshape((16, 6))(x))
    return alive(keras.Model(inputs, layers.Dense(4, name="out")(layers.GlobalAveragePooling1D()(x))))


def test_tokens_are_not_the_automatic_layer_of_an_image() -> None:
    explainer = tfviz.GradCAM(tokens())
    assert explainer.layer_path == "patches"
    assert explainer(noise(16, 16, 3), 1).shape == (2, 4, 4)
    assert tfviz.GradCAM(tokens(), "tokens")(noise(16, 16, 3), 1).shape == (2, 16), "whoever names it gets it"


def test_tokens_cannot_mask_an_image() -> None:
    with pytest.raises(
        tfviz.UnknownLayerError,
        match=r"Layer 'tokens' has shape \(None, 16, 6\), but the image has shape .*Choose a conv",
    ):
        tfviz.GuidedGradCAM(tokens(), "tokens")


def test_a_map_without_the_time_axis_of_a_video_is_the_automatic_layer() -> None:
    """A ConvLSTM gives one map for the whole video."""
    inputs = keras.Input((3, 10, 9, 2))
    x = layers.ConvLSTM2D(4, 3, name="memory")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    explainer, films = tfviz.HiResCAM(model), noise(3, 10, 9, 2)
    assert explainer.layer_path == "memory"
    two = keras.Model(inputs, [model.get_layer("memory").output, model.output])

    def maps_and_gradient(films: Any) -> tuple[Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(films)
            A, logits = two(films)
            score = logits[:, 1]
        return A, tape.gradient(score, A)

    A, G = compiled(maps_and_gradient, films)
    np.testing.assert_allclose(explainer(films, 1), tf.nn.relu(tf.reduce_sum(A * G, -1)), rtol=1e-4, atol=1e-7)
    with pytest.raises(tfviz.UnknownLayerError, match="Their axes do not match"):
        tfviz.GuidedGradCAM(model)


# --- channels that are moved ----------------------------------------------------------------------


def as_pytorch(back: bool) -> keras.Model:
    """Code that transposes to channels first, and maybe back."""
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, activation="relu", padding="same", name="c1")(inputs)
    x = layers.ReLU(name="first")(layers.Permute((3, 1, 2))(x) - 0.1)
    if back:
        x = layers.Conv2D(4, 3, activation="relu", name="last")(layers.Permute((2, 3, 1))(x))
        return alive(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    return alive(keras.Model(inputs, layers.Dense(3)(keras.ops.mean(x, axis=(2, 3)))))


def test_a_map_with_channels_first_is_rejected() -> None:
    assert tfviz.GradCAM(as_pytorch(back=True)).layer_path == "last"
    model = as_pytorch(back=False)
    assert tfviz.GradCAM(model).layer_path == "c1"
    for build in (tfviz.GradCAM, tfviz.ExcitationBackprop):
        with pytest.raises(
            tfviz.UnknownLayerError, match=r"Layer 'first' has shape .* moved the channels away from the last axis"
        ):
            build(model, "first")
    with pytest.raises(tfviz.UnknownLayerError, match=r"Layer 'first' has shape .* moved the channels away from the last axis"):
        tfviz.VisualBackProp(model)
    assert tfviz.ExcitationBackprop(model, "first", sum_channels=False)(noise(12, 10, 3), 1).shape == (2, 6, 12, 10)
    assert tfviz.ExcitationBackprop(model)(noise(12, 10, 3), 1).shape == (2, 12, 10)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: keras.ops.relu(keras.ops.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))) - 0.1),
        lambda x: keras.ops.relu(keras.ops.concatenate([x, x], axis=1) - 0.1),
        lambda x: tf.abs(tf.signal.rfft2d(x)),
    ],
    ids=["padding", "concatenation", "spectrum"],
)
def test_channels_stay_first_after_other_operations(operation: Any) -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.Permute((3, 1, 2))(layers.Conv2D(6, 3, activation="relu", name="c1")(inputs))
    x = layers.Lambda(operation)(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    assert tfviz.GradCAM(model).layer_path == "c1"
