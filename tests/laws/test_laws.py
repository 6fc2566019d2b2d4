"""Laws that hold for every network, checked without the reference."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks
from support.explainers import KEYS, built
from support.networks import CAMS, NETWORKS
from support.tape import compiled_gradient

import tfviz
from tfviz.graph.backprop import backpropagate, inputs_of
from tfviz.graph.logits import scored
from tfviz.methods import guided_backprop
from tfviz.reading.reader import graph_of
from tfviz.rules.excitation import Excitation

CLOSE = 1e-5  # relative to the largest value


def assert_close(got: object, want: object, label: str = "") -> None:
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=CLOSE * abs(want).max(), err_msg=label)


def plain_gradient(model: keras.Model, images: np.ndarray, target: int) -> np.ndarray:
    """Return a tape's gradient of one of the model's outputs, through the model's own call."""
    return compiled_gradient(lambda x: model(x, training=False)[:, target], images).numpy()


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_without_rules_backpropagation_gives_the_plain_gradient(name: str) -> None:
    model = networks.build(name)
    images = networks.pictures(model)
    assert_close(tfviz.Saliency(model, score="outputs")(images, 2), plain_gradient(model, images, 2))


@pytest.mark.filterwarnings("ignore:.*redirects ReLUs")
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_without_a_relu_guided_methods_are_the_plain_gradient(method: str) -> None:
    model = keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            layers.Conv2D(4, 3, activation="elu"),
            layers.LeakyReLU(0.3),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    images = networks.pictures(networks.with_random_weights(model, 0))
    assert_close(tfviz.METHODS[method](model)(images, 1), plain_gradient(model, images, 1))


def test_guided_backprop_blocks_whatever_the_gradient_or_deconvnet_blocks() -> None:
    """On one ReLU, guided backprop keeps what both the derivative and the deconvnet rule keep."""
    model = keras.Sequential([keras.Input((6,)), layers.ReLU(), layers.Dense(1, use_bias=False)])
    x = np.array([[1.0, -1.0, 2.0, -2.0, 3.0, 0.0]], np.float32)
    kernel = np.array([1.0, 2.0, -3.0, -4.0, 5.0, 6.0])
    model.set_weights([kernel[:, None]])
    want = {"saliency": [1, 0, -3, 0, 5, 0], "deconvnet": [1, 2, 0, 0, 5, 6], "guided_backprop": [1, 0, 0, 0, 5, 0]}
    for method, p in want.items():
        np.testing.assert_array_equal(tfviz.METHODS[method](model)(x, 0), [p])


# --- excitation -----------------------------------------------------------------------------------


def cascade() -> keras.Model:
    """Every kind of step that passes all of p, without bias so that activations stay excited."""
    inputs = keras.Input((17, 15, 3))
    x = layers.ZeroPadding2D(1, name="pad")(layers.Rescaling(0.5, offset=0.1, name="scale")(inputs))
    x = layers.Conv2D(6, 3, use_bias=False, activation="relu", name="c1")(x)
    y = layers.Conv2D(6, 3, groups=2, padding="same", use_bias=False, activation="relu", name="c2")(layers.ReLU()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, activation="relu", name="w2")(y)
    x = layers.Add(name="sum")([x, y])
    x = layers.MaxPooling2D(3, 2, padding="same", name="max")(x)
    left = layers.Conv2D(5, 3, padding="same", dilation_rate=2, use_bias=False, activation="relu", name="left")(x)
    right = layers.AveragePooling2D(3, 1, padding="same", name="average")(x)
    x = layers.Dropout(0.5, name="drop")(layers.Concatenate(name="cat")([left, right]))
    x = layers.Conv2DTranspose(5, 3, 2, use_bias=False, activation="relu", name="up")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(4, use_bias=False, activation="softmax", name="out")(x))
    return networks.with_random_weights(model, 3)


CUTS = [None, "pad", "c1", "sum", "max", "cat", "drop", "up", "pool"]


@pytest.mark.parametrize("layer", CUTS)
def test_excitation_sums_to_one_at_every_cut_of_a_network_without_negative_activations(layer: str | None) -> None:
    model = cascade()
    explainer = tfviz.ExcitationBackprop(model, layer, sum_channels=False)
    p = explainer(networks.pictures(model, 3), [0, 1, 3]).numpy()
    assert p.min() >= 0
    np.testing.assert_allclose(p.reshape(3, -1).sum(axis=1), 1, atol=1e-5)


def test_excitation_sums_to_what_the_seed_sums_to() -> None:
    model = cascade()
    seed = np.array([[0.2, 0.5, 0.0, 0.1], [0.0, 3.0, 0.0, 1.0]])
    p = tfviz.ExcitationBackprop(model)(networks.pictures(model), seed)
    np.testing.assert_allclose(tf.reduce_sum(p, axis=(1, 2)), seed.sum(axis=1), rtol=1e-5)


def test_excitation_is_linear_in_the_seed() -> None:
    model = networks.build("residual")
    images, explainer = networks.pictures(model), tfviz.ExcitationBackprop(model)
    one, two = explainer(images, 1).numpy(), explainer(images, 2).numpy()
    assert_close(explainer(images, np.array([[0.0, 0.3, 2.0, 0.0]])), 0.3 * one + 2 * two)


def test_contrastive_is_excitation_for_the_class_minus_its_opposite() -> None:
    model, opposite = networks.build("residual"), networks.build("residual")
    out = opposite.get_layer("out")
    out.set_weights([-weight for weight in out.get_weights()])
    images = networks.pictures(model)
    contrast = tfviz.ContrastiveExcitationBackprop(model, sum_channels=False)(images, 2)
    plain = [tfviz.ExcitationBackprop(m, sum_channels=False)(images, 2) for m in (model, opposite)]
    assert_close(contrast, plain[0] - plain[1])
    summed = tfviz.ContrastiveExcitationBackprop(model)(images, 2)
    assert_close(summed, np.maximum(np.asarray(contrast).sum(axis=-1), 0))


def test_a_gate_is_a_weight_and_gets_nothing() -> None:
    model = networks.build("gated")
    images = networks.pictures(model)
    p = {layer: tfviz.ExcitationBackprop(model, layer, sum_channels=False)(images, 1).numpy() for layer in ("scaled", "c1")}
    np.testing.assert_array_equal(p["scaled"], p["c1"])
    graph = scored(graph_of(model), "logits")
    rules = Excitation(graph).rules([tf.constant(images)])
    seed = lambda outputs: tf.one_hot([1, 1], 4)  # noqa: E731
    backward = backpropagate(graph, inputs_of(graph, [tf.constant(images)]), seed, [graph.names["excite"]], rules)
    np.testing.assert_array_equal(backward.gradients[0], 0)


# --- maps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["residual", "depthwise", "separable", "transposed"])
def test_under_global_average_pooling_grad_cam_and_hires_cam_agree(name: str) -> None:
    """G is the same at every pixel there, and equals its mean."""
    model, layer = networks.build(name), NETWORKS[name].cams[-1]
    images = networks.pictures(model)
    assert_close(tfviz.GradCAM(model, layer)(images, 0), tfviz.HiResCAM(model, layer)(images, 0))


def flipped(model: keras.Model) -> keras.Model:
    """Mirror each kernel of a network. (No ties may occur in max pooling.)"""
    mirrored = keras.models.clone_model(model)
    for layer, old in zip(mirrored.layers, model.layers, strict=True):
        layer.set_weights([w[:, ::-1] if w.ndim == 4 else w for w in old.get_weights()])
    return mirrored


def symmetric_options(method: str) -> dict[str, Any]:
    """Return options, among them what a method would draw at random, for 13 × 13 pixels."""
    random = np.random.default_rng(3)
    given: dict[str, dict[str, Any]] = {}
    for noisy in ("smooth_grad", "square_grad", "var_grad"):
        given[noisy] = {"draws": random.normal(size=(3, 13, 13, 3))}
    given["expected_gradients"] = {"backgrounds": random.normal(size=(8, 13, 13, 3))}
    given["rise"] = {"masks": random.uniform(size=(4, 13, 13))}
    given["occlusion"] = {"window": 3, "stride": 2}  # symmetric: 0 … 2, 2 … 4, …, 10 … 12
    return given.get(method, {})


@pytest.mark.parametrize("method", KEYS)
def test_flipping_the_image_and_the_kernels_flips_the_map(method: str) -> None:
    model = keras.Sequential([
        keras.Input((13, 13, 3)),
        layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
        layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", activation="relu"),
        layers.Conv2D(6, 3),
        layers.MaxPooling2D(3, 2),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    images = networks.pictures(networks.with_random_weights(model, 1))
    arrays = symmetric_options(method)
    mirrored = {name: array[:, :, ::-1] if np.ndim(array) else array for name, array in arrays.items()}
    want = built(method, model, **arrays)(images).numpy()
    got = built(method, flipped(model), **mirrored)(images[:, :, ::-1]).numpy()
    assert abs(want).max() > 0
    assert_close(got[:, :, ::-1], want)


@pytest.mark.parametrize("method", KEYS)
def test_a_batch_equals_its_images_one_by_one(method: str) -> None:
    model = networks.build("residual")
    images, explainer = (
        networks.pictures(model, 4) * np.array([1, 0.1, 5, 1])[:, None, None, None],
        built(method, model),
    )
    images[3] = 0  # A uniform image does not affect the others.
    whole = explainer(images).numpy()
    for i in range(4):
        np.testing.assert_allclose(explainer(images[i : i + 1])[0], whole[i], rtol=1e-4, atol=1e-6 * abs(whole[i]).max())


@pytest.mark.parametrize("method", KEYS)
def test_a_constant_image_and_dead_relus_give_no_nan(method: str) -> None:
    model = networks.build("plain")
    model.get_layer("c2").set_weights([-abs(w) - 1 for w in model.get_layer("c2").get_weights()])
    assert np.isfinite(built(method, model)(np.zeros((2, *model.input_shape[1:]), np.float32))).all()


# --- compilation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", KEYS)
def test_one_trace_serves_every_batch_of_one_size(method: str) -> None:
    model = networks.build("separable")
    explainer = built(method, model)
    target = 1 if explainer.takes_target else None
    for count in (2, 2, 1, 5):
        explainer(networks.pictures(model, count), target)
    assert explainer.traces == 1
    if method != "expected_gradients":  # its backgrounds have one size
        explainer(networks.pictures(model)[:, :18], target)
        assert explainer.traces == 2


def test_fifty_calls_with_different_targets_trace_once() -> None:
    model = networks.build("plain")
    images, explainer = networks.pictures(model), tfviz.GradCAM(model)
    for i in range(50):
        explainer(images, i % 5)
    assert explainer.traces == 1
    explainer(images, [0, 1])
    assert explainer.traces == 1


def test_one_function_as_target_traces_once_and_many_do_not_pile_up() -> None:
    model = networks.build("dense")
    images, explainer = networks.pictures(model), tfviz.Saliency(model)
    for _ in range(3):
        explainer(images, first_output)
    assert explainer.traces == 1
    for i in range(40):
        explainer(images, lambda outputs, i=i: outputs[:, i % 4])
    assert len(explainer._functions) <= 32


def first_output(outputs: tf.Tensor) -> tf.Tensor:
    return outputs[:, 0]


@pytest.mark.parametrize("method", KEYS)
def test_an_explainer_works_inside_a_users_tf_function(method: str) -> None:
    model = networks.build("residual")
    images, explainer = networks.pictures(model, 3), built(method, model)
    target = np.array([0, 1, 3]) if explainer.takes_target else None
    want = explainer(images, target)

    @tf.function(input_signature=[tf.TensorSpec((None, 18, 18, 3)), tf.TensorSpec((None,), tf.int64)], autograph=False)
    def compiled(x: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        return explainer(x * 1.0, classes if explainer.takes_target else None)

    assert_close(compiled(images, target if target is not None else [0, 0, 0]), want)


def test_an_explainer_first_used_inside_a_tf_function_can_be_used_outside() -> None:
    model = networks.build("plain")
    images, explainer = networks.pictures(model), tfviz.GuidedBackprop(model)
    inside = tf.function(lambda x: explainer(x, 1), autograph=False)(tf.constant(images))
    assert_close(explainer(images, 1), inside)
    assert explainer.traces == 1


# --- the rules can be broken, and these tests see it ----------------------------------------------


def test_the_cams_differ_from_each_other() -> None:
    model = networks.build("residual")
    images = networks.pictures(model)
    explainers = [tfviz.METHODS[method](model, "s1") for method in CAMS]
    maps = [one(images, 1 if one.takes_target else None).numpy() for one in explainers]
    for i, first in enumerate(maps):
        for second in maps[:i]:
            assert abs(first - second).max() > 1e-3 * abs(first).max()


def test_a_rule_reaches_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = networks.build("plain")
    images = networks.pictures(model)
    guided = tfviz.GuidedBackprop(model)(images, 1).numpy()
    monkeypatch.setattr(guided_backprop.GuidedBackprop, "rules", {})
    assert_close(tfviz.GuidedBackprop(model)(images, 1), tfviz.Saliency(model)(images, 1))
    assert abs(guided - tfviz.Saliency(model)(images, 1).numpy()).max() > 1e-3 * abs(guided).max()


@pytest.mark.parametrize("key", ["guided_backprop", "deconvnet"])
def test_a_handwritten_relu_is_closed_at_0_and_at_its_cap(key: str) -> None:
    images = np.array([[[[-1.0], [0.0], [2.0], [6.0], [7.0]]]], "float32")
    inputs = keras.Input((1, 5, 1))
    found = {}
    for forms in ("operations", "handwritten"):
        x = ops.relu6(inputs) if forms == "operations" else ops.clip(inputs, 0, 6)
        y = ops.relu(inputs) if forms == "operations" else ops.maximum(inputs, 0)
        outputs = layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(y)])
        sums = layers.Dense(2, use_bias=False)(outputs)
        model = keras.Model(inputs, sums)
        model.layers[-1].set_weights([np.eye(2).repeat(5, axis=0)])
        found[forms] = [tfviz.METHODS[key](model)(images, target).numpy().ravel() for target in (0, 1)]
    np.testing.assert_array_equal(found["handwritten"], found["operations"])
    if key == "guided_backprop":
        np.testing.assert_array_equal(found["operations"], [[0, 0, 1, 0, 0], [0, 0, 1, 1, 1]])
