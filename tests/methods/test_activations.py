"""Networks whose activations are not ReLUs: VisualBackProp, and guided methods with "all"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks, reference
from support.tape import compiled

import tfviz

Function = Callable[[Any], Any]
REDIRECTED = ("guided_backprop", "deconvnet")
TARGETS = [1, 3]
# by export format
NEEDED = {"stablehlo": "jax", "litert": "ai_edge_litert", "onnx": "tf2onnx"}


def smooth(first: str = "silu") -> keras.Model:
    """Build an EfficientNet block between two convolutions: gates, a shortcut, four activations."""
    inputs = keras.Input((16, 14, 3))
    x = short = layers.Conv2D(6, 3, padding="same", activation=first, name="stem")(inputs)
    x = layers.BatchNormalization(name="norm")(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = layers.Activation("silu", name="swish")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(3, 1, activation="silu", name="reduce")(gate)
    x = layers.Multiply(name="gated")([x, layers.Conv2D(6, 1, activation="sigmoid", name="expand")(gate)])
    x = layers.Add(name="sum")([layers.Conv2D(6, 1, name="project")(x), short])
    x = layers.Activation("elu", name="elu")(layers.Conv2D(8, 3, strides=2, name="top")(x))
    x = layers.LeakyReLU(0.2, name="leaky")(layers.Conv2D(4, 1, activation="tanh", name="last")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return networks.with_random_weights(keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(x)), 1)


@pytest.fixture(scope="module", params=["silu", "relu"])
def model(request: pytest.FixtureRequest) -> keras.Model:
    return smooth(request.param)


def assert_close(got: Any, want: np.ndarray) -> None:
    assert np.any(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())


@pytest.mark.parametrize("method", REDIRECTED)
def test_all_activations_are_redirected_as_in_the_reference(model: keras.Model, method: str) -> None:
    images, weights = networks.pictures(model), np.eye(4)[TARGETS]
    got = tfviz.METHODS[method](model, activations="all")(images, TARGETS)
    net = reference.Network(model)
    assert_close(got, getattr(reference, method)(net, images, weights, activations="all"))
    with pytest.raises(AssertionError):
        assert_close(got, getattr(reference, method)(net, images, weights))


def test_guided_grad_cam_takes_the_redirected_gradient(model: keras.Model) -> None:
    images = networks.pictures(model)
    cam = tfviz.GradCAM(model, "elu")(images, TARGETS)[..., None]
    cam = tf.image.resize(cam, images.shape[1:3])
    got = tfviz.GuidedGradCAM(model, "elu", activations="all")(images, TARGETS)
    assert_close(got, (tfviz.GuidedBackprop(model, activations="all")(images, TARGETS) * cam).numpy())


@pytest.mark.parametrize("activations", [None, "all"])
def test_the_mask_equals_the_reference(model: keras.Model, activations: str | None) -> None:
    images = networks.pictures(model)
    want = reference.visual_backprop(reference.Network(model), images, activations)
    assert_close(tfviz.VisualBackProp(model, activations=activations)(images), want)
    assert_close(tfviz.with_visual_backprop(model, activations=activations)(images)[1], want)


def test_the_maps_are_those_behind_activations_on_the_signal_path() -> None:
    paths = [step.path for step in tfviz.VisualBackProp(smooth()).maps]
    assert paths == ["stem", "swish", "elu", "last", "leaky"]


def test_a_network_with_relus_uses_the_maps_behind_them_only() -> None:
    assert [step.path for step in tfviz.VisualBackProp(smooth("relu")).maps] == ["stem"]
    assert len(tfviz.VisualBackProp(smooth("relu"), activations="all").maps) == 5
    plain = networks.build("plain")
    images = networks.pictures(plain)
    np.testing.assert_array_equal(tfviz.VisualBackProp(plain)(images), tfviz.VisualBackProp(plain, activations="all")(images))


@pytest.mark.parametrize("network", ["residual", "inception", "operations"])
def test_all_changes_nothing_in_a_network_of_relus(network: str) -> None:
    model = networks.build(network)
    images = networks.pictures(model)
    for method in REDIRECTED:
        got, want = (tfviz.METHODS[method](model, activations=which)(images, 1) for which in ("all", "relu"))
        np.testing.assert_array_equal(got, want)


@pytest.mark.filterwarnings("ignore:.*has none")
def test_relu_is_the_default() -> None:
    model = smooth()
    images = networks.pictures(model)
    np.testing.assert_array_equal(tfviz.GuidedBackprop(model)(images, 1), tfviz.Saliency(model)(images, 1))


def test_the_warning_names_the_option() -> None:
    with pytest.warns(UserWarning, match=r'has none.*elu.*Pass activations="all" to redirect these\.'):
        tfviz.GuidedBackprop(smooth())


# --- handwritten activations ----------------------------------------------------------------------

HANDWRITTEN: dict[str, tuple[Function, Function]] = {
    "silu": (ops.silu, lambda x: x * ops.sigmoid(x)),
    "silu, by a quotient": (ops.silu, lambda x: x / (1 + ops.exp(-x))),
    "silu, in layers": (ops.silu, lambda x: layers.Multiply()([x, layers.Activation("sigmoid")(x)])),
    "silu, in TensorFlow": (ops.silu, lambda x: layers.Lambda(lambda x: x * tf.sigmoid(x))(x)),
    "gelu": (lambda x: ops.gelu(x, approximate=False), lambda x: 0.5 * x * (1 + ops.erf(x / 2**0.5))),
    "gelu, by tanh": (ops.gelu, lambda x: 0.5 * x * (1 + ops.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))),
    "gelu, in TensorFlow": (lambda x: ops.gelu(x, approximate=False), lambda x: layers.Lambda(tf.nn.gelu)(x)),
    "hard silu": (ops.hard_silu, lambda x: x * ops.relu6(x + 3) / 6),
    "mish": (layers.Activation("mish"), lambda x: x * ops.tanh(ops.log(1 + ops.exp(x)))),
    "leaky, by maximum": (lambda x: ops.leaky_relu(x, 0.2), lambda x: ops.maximum(x, 0.2 * x)),
    "leaky, by where": (lambda x: ops.leaky_relu(x, 0.2), lambda x: ops.where(x > 0, x, 0.2 * x)),
    "elu": (ops.elu, lambda x: ops.where(x > 0, x, ops.exp(x) - 1)),
    "softplus": (ops.softplus, lambda x: ops.log(1 + ops.exp(x))),
}


def two_convolutions(function: Function) -> keras.Model:
    """Build conv → function → conv → function, with a shortcut around the second pair."""
    inputs = keras.Input((12, 10, 3))
    x = short = function(layers.Conv2D(5, 3, padding="same")(inputs))
    x = layers.Add()([function(layers.Conv2D(5, 3, padding="same")(x)), short])
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    return networks.with_random_weights(model, 2)


@pytest.mark.parametrize("name", HANDWRITTEN)
def test_a_handwritten_activation_is_the_built_in_one(name: str) -> None:
    known, by_hand = map(two_convolutions, HANDWRITTEN[name])
    images = networks.pictures(known)
    np.testing.assert_allclose(by_hand(images), known(images), atol=1e-5)
    for build in (tfviz.VisualBackProp, tfviz.GuidedBackprop):
        explainers = [build(model, activations="all") for model in (by_hand, known)]
        target = 1 if explainers[0].takes_target else None
        got, want = (explainer(images, target).numpy() for explainer in explainers)
        assert_close(got, want)


def in_slow_motion(model: keras.Model, images: np.ndarray, function: Function) -> np.ndarray:
    """Compute guided backprop of `two_convolutions` by NumPy and one tape per convolution."""
    first, second = (layer for layer in model.layers if isinstance(layer, layers.Conv2D))
    dense = model.layers[-1]

    def pulled(run: Function, x: Any, p: Any) -> Any:
        def way(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = run(x)
            return tape.gradient(y, x, output_gradients=p)

        return compiled(way, tf.convert_to_tensor(x))

    x1 = first(images)
    y1 = function(x1)
    x2 = second(y1)
    p = tf.broadcast_to(dense.kernel[:, 1] / (12 * 10), x2.shape)
    through = pulled(second, y1, guided(pulled(function, x2, tf.ones_like(x2)), p))
    return np.asarray(pulled(first, images, guided(pulled(function, x1, tf.ones_like(x1)), through + p)))


def guided(slope: Any, p: Any) -> Any:
    return tf.nn.relu(p) * tf.nn.relu(slope)


@pytest.mark.parametrize("function", [ops.silu, ops.gelu, ops.tanh, ops.sigmoid, ops.sin], ids=lambda f: f.__name__)
def test_the_rule_is_p_above_zero_times_the_positive_slope(function: Function) -> None:
    model = two_convolutions(function)
    images = networks.pictures(model)
    want = in_slow_motion(model, images, function)
    assert_close(tfviz.GuidedBackprop(model, activations="all")(images, 1), want)


def test_a_handwritten_normalization_and_preprocessing_are_no_activations() -> None:
    def normalized(x: Any) -> Any:
        centered = x - ops.mean(x, axis=-1, keepdims=True)
        return centered / ops.sqrt(ops.mean(ops.square(centered), axis=-1, keepdims=True) + 1e-3)

    inputs = keras.Input((12, 10, 3))
    x = normalized(layers.Conv2D(5, 3, name="c1")(ops.log(1 + ops.square(inputs))))
    x = layers.Conv2D(4, 3, activation="silu", name="c2")(x)
    x = layers.Conv2D(4, 3, activation="silu", name="c3")(normalized(x))
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))), 2)
    explainer = tfviz.VisualBackProp(model)
    assert [step.path for step in explainer.maps] == ["c2", "c3"]
    guided_at = [step.path for step in tfviz.GuidedBackprop(model, activations="all").redirected.steps if is_activation(step)]
    assert guided_at == ["c2", "c3"]


def is_activation(step: Any) -> bool:
    return type(step.operation).__name__ == "Activation"


def test_a_gate_with_height_and_width_is_no_feature_map() -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(5, 3, activation="gelu", name="c1")(inputs)
    gate = layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="gate")(x)
    x = layers.Conv2D(4, 3, activation="gelu", name="c2")(layers.Multiply()([x, gate]))
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    assert [step.path for step in tfviz.VisualBackProp(model).maps] == ["c1", "c2"]


@pytest.mark.parametrize("final", ["sigmoid", "softmax"])
def test_the_final_activation_is_no_feature_map(final: str) -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(5, 3, activation="gelu", name="c1")(inputs)
    model = keras.Model(inputs, layers.Conv2D(2, 1, activation=final)(x))
    assert [step.path for step in tfviz.VisualBackProp(model).maps] == ["c1"]


def test_a_shortcut_around_an_activation_is_not_part_of_it() -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(5, 3, name="c1")(inputs)
    x = layers.Add(name="sum")([x, layers.Activation("silu", name="silu")(x)])
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    assert [step.path for step in tfviz.VisualBackProp(model).maps] == ["silu"]


@pytest.mark.parametrize(("build", "value"), [
    (tfviz.GuidedBackprop, "silu"), (tfviz.GuidedGradCAM, None), (tfviz.Deconvnet, True), (tfviz.VisualBackProp, "relu"),
    (tfviz.with_visual_backprop, "gelu"),
])  # fmt: skip
def test_another_value_is_rejected(build: Callable[..., Any], value: Any) -> None:
    with pytest.raises(tfviz.OptionError, match=r"`activations` must be .* 'all'\. Received: "):
        build(networks.build("plain"), activations=value)


@pytest.mark.parametrize("build", [tfviz.GuidedBackprop, tfviz.VisualBackProp])
@pytest.mark.parametrize("format", ["saved_model", "stablehlo", "litert", "onnx"])
def test_an_exported_explainer_gives_the_same(build: Any, format: str, tmp_path: Path) -> None:
    if format in NEEDED:
        pytest.importorskip(NEEDED[format])
    model = smooth()
    images = networks.pictures(model)
    explainer = build(model, activations="all")
    target = [1, 1] if explainer.takes_target else None
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format=format))
    assert_close(loaded(images, target), explainer(images, target).numpy())


def test_a_changed_layer_is_read_again() -> None:
    model = smooth()
    images = networks.pictures(model)
    explainer = tfviz.GuidedBackprop(model, activations="all")
    before = explainer(images, 1).numpy()
    model.get_layer("swish").activation = keras.activations.tanh
    after = explainer(images, 1).numpy()
    assert abs(after - before).max() > 0
    np.testing.assert_array_equal(after, tfviz.GuidedBackprop(model, activations="all")(images, 1))
