"""A map that is zero everywhere or not finite causes a warning that states the reason."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.purity import assert_untouched, snapshot
from support.zoo import ZOO, noise

import tfviz

IMAGES = noise(16, 14, 3, count=3)


@pytest.fixture
def model() -> keras.Model:
    return ZOO["no activation"].model()


def warning_of(explainer: Any, images: Any, target: Any) -> str:
    before = snapshot(explainer.model)
    with pytest.warns(UserWarning, match="zero everywhere") as caught:
        attribution = explainer.explain(images, target if explainer.takes_target else None, verbose=0)
    assert not attribution[-1].any()
    assert_untouched(explainer.model, before)
    (warning,) = caught
    assert warning.filename == __file__
    return str(warning.message)


@pytest.mark.parametrize("method", ["guided_backprop", "grad_cam", "excitation_backprop", "visual_backprop"])
def test_dead_activations_are_named(method: str, model: keras.Model) -> None:
    model.get_layer("c1").bias.assign([-1e3] * 5)
    model.get_layer("last").bias.assign([0] * 6)
    said = warning_of(tfviz.METHODS[method](model), IMAGES, 1)
    assert re.match(
        rf"3 of 3 maps of {method}.* are zero everywhere\. All activations of 'c1' are 0 .* all paths pass through this", said
    )


def test_a_dead_branch_is_not_the_reason_if_another_is_alive() -> None:
    inputs = keras.Input((8, 8, 3))
    dead = layers.Conv2D(4, 3, activation="relu", padding="same", name="dead")
    x = layers.Add(name="sum")([dead(inputs), layers.Conv2D(4, 3, padding="same", activation="relu", name="alive")(inputs)])
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x)))
    model.get_layer("dead").bias.assign([-1e3] * 4)
    model.get_layer("out").kernel.assign(-np.ones((4, 2)))
    said = warning_of(tfviz.GradCAM(model, "sum"), noise(8, 8, 3), 1)
    assert "The method found no evidence for the target. Try another target, layer or method." in said


def test_a_saturated_score_is_named() -> None:
    model = ZOO["one sigmoid unit, class 1"].model()
    model.get_layer("out").bias.assign([1e4])
    said = warning_of(tfviz.Saliency(model, score="outputs"), IMAGES, 0)
    assert "The score does not depend on the explained values. Either its softmax or" in said
    assert "Explain the logits with score='logits'" in said
    assert np.abs(tfviz.Saliency(model)(IMAGES, 1)).max() > 0, "as the message says"


def test_a_target_that_does_not_use_the_layer_is_named(model: keras.Model) -> None:
    model.get_layer("out").kernel.assign(model.get_layer("out").kernel * [1.0, 0.0, 1.0, 1.0])
    said = warning_of(tfviz.Saliency(model), IMAGES, [0, 2, 1])
    assert said.startswith(
        "1 of 3 maps of saliency are zero everywhere. The score does not depend on the explained values. Either it is sat"
    )
    assert "Explain the logits" not in said


def test_a_layer_with_evidence_against_the_target_is_named(model: keras.Model) -> None:
    model.get_layer("out").kernel.assign(-abs(model.get_layer("out").kernel))
    said = warning_of(tfviz.HiResCAM(model), IMAGES, 1)
    assert said.startswith(
        "3 of 3 maps of hires_cam at layer 'last' are zero everywhere. The method found no evidence for the target"
    )


def test_the_zero_map_among_many_images_is_diagnosed(model: keras.Model) -> None:
    """In any batch, and from a dataset."""
    images = np.concatenate([IMAGES, np.full((1, 16, 14, 3), -50, np.float32)])
    c1 = model.get_layer("c1")
    c1.kernel.assign(abs(c1.kernel))
    model.get_layer("last").bias.assign([0] * 6)
    model.get_layer("out").kernel.assign(abs(model.get_layer("out").kernel))
    for source in (images, tf.data.Dataset.from_tensor_slices(images).batch(3)):
        with pytest.warns(
            UserWarning, match="1 of 4 maps of grad_cam at layer 'last' are zero .* All activations of 'c1' are 0"
        ):
            tfviz.GradCAM(model).explain(source, 1, batch_size=2, verbose=0)


def test_a_map_of_several_inputs_is_zero_if_all_of_them_are() -> None:
    species = ZOO["image and vector"]
    model = species.model()
    model.get_layer("out").kernel.assign(tf.zeros_like(model.get_layer("out").kernel))
    with pytest.warns(UserWarning, match=r"2 of 2 maps of saliency are zero everywhere\. The score does not depend"):
        tfviz.Saliency(model).explain(species.images(model), 1, verbose=0)


def test_a_map_that_is_not_zero_causes_no_warning(model: keras.Model) -> None:
    assert tfviz.GradCAM(model).explain(IMAGES, 1, verbose=0).any()
    assert tfviz.GradCAM(networks.build("plain")).explain(networks.pictures(networks.build("plain")), verbose=0).any()


def test_a_direct_call_warns_once(model: keras.Model) -> None:
    model.get_layer("last").bias.assign([-1e3] * 6)
    explainer, before = tfviz.GradCAM(model), snapshot(model)
    with pytest.warns(
        UserWarning, match=r"3 of 3 maps of grad_cam at layer 'last' are zero everywhere\. All activations of .* are 0"
    ) as caught:
        explainer(IMAGES, 1)
        explainer(IMAGES, 1)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert_untouched(model, before)
    compiled = tf.function(lambda x: tfviz.GradCAM(model)(x, 1), autograph=False)
    assert not np.any(compiled(tf.constant(IMAGES)))  # no warning where there are no values yet


SINGULAR = {
    "sqrt": lambda x: tf.sqrt(x - x),
    "norm": lambda x: tf.norm(x - x, axis=-1, keepdims=True),
    "power": lambda x: tf.pow(tf.nn.relu(x - 1e9), 0.5),
    "acos": lambda x: tf.acos(x - x + 1.0),
    "ops_sqrt": lambda x: keras.ops.sqrt(keras.ops.sum((x - x) ** 2, -1, keepdims=True)),
    "std": lambda x: tf.math.reduce_std(x - x, axis=-1, keepdims=True),
}


@keras.saving.register_keras_serializable("blank_maps")
class Singular(layers.Layer):
    """Runs the function of `SINGULAR` with the layer's name."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return SINGULAR[self.name](x)


def test_infinity_within_a_finite_network_is_named() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(inputs))
    x = keras.ops.exp(0.5 * keras.ops.log(keras.ops.relu(x - 1e9)))
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    with pytest.warns(
        UserWarning, match=r"NaN or infinity\. These values originate in the output of 'log.*'\. Check the layer's weights"
    ):
        tfviz.Saliency(model)(noise(8, 8, 3), 1)


@pytest.mark.parametrize("name", SINGULAR)
def test_a_step_without_a_finite_derivative_is_named(name: str) -> None:
    """Its value is finite, so the outputs are unaffected."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="c")(inputs))
    x = layers.Dense(4, name="in")(x) + Singular(name=name)(layers.Dense(4, name="beside")(x))
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.Dense(3, activation="tanh", name="above")(x)))
    before = snapshot(model)
    with pytest.warns(
        UserWarning, match=rf"contain NaN or infinity\. The derivative of '{name}.* infinite or undefined for these images"
    ):
        assert not np.isfinite(tfviz.Saliency(model)(noise(8, 8, 3), 1)).all()
    assert_untouched(model, before)


def test_an_overflow_of_the_gradient_is_named() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="c")(inputs))
    x = layers.Dense(4, use_bias=False, name="large")(layers.Rescaling(1e-30, name="small")(x))
    x = layers.Dense(4, use_bias=False, name="larger")(layers.Rescaling(1e-30, name="smaller")(x))
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    for name in ("large", "larger"):
        model.get_layer(name).kernel.assign(np.full((4, 4), 1e30))
    with pytest.warns(UserWarning, match=r"The gradient overflows float32 at 'larger' .* weights for large values"):
        tfviz.Saliency(model)(noise(8, 8, 3), lambda y: 1e20 * y[:, 1])
