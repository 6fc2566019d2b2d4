"""Each rule on one layer, over the layer's settings, against the reference.

Each model is a single layer between a plain convolution (so the rule sees activations, not the
image) and the outputs. Hypothesis chooses the settings.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from support import networks, reference
from support.reference.linear import Convolution
from support.reference.windows import Window

import tfviz
from tfviz.graph.backprop import backpropagate, inputs_of
from tfviz.graph.logits import scored
from tfviz.graph.operations import Extent, Product
from tfviz.reading.reader import graph_of
from tfviz.rules.excitation import Excitation
from tfviz.rules.visual_backprop import masks_of_inputs, scale_up

some = settings(max_examples=15, deadline=None)
few = settings(max_examples=8, deadline=None)
TOLERANCE = 1e-4

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.sampled_from(["same", "valid"])
sizes = st.tuples(st.integers(7, 9), st.integers(7, 9))  # The widest window, 3 dilated by 3, spans 7.
counts = st.integers(1, 3)
seeds = st.integers(0, 9999)


Convolution2D = tuple[type, dict[str, Any], int]


@st.composite
def windows(draw: Any, *, dilated: bool = True) -> dict[str, Any]:
    """Keras takes strides or dilation, not both."""
    strides = draw(pairs)
    dilation = draw(pairs) if dilated and strides == (1, 1) else (1, 1)
    return {"strides": strides, "padding": draw(paddings)} | ({"dilation_rate": dilation} if dilated else {})


@st.composite
def convolutions(draw: Any) -> Convolution2D:
    """Draw the class and settings of a layer, and the number of its input channels."""
    kind = draw(st.sampled_from(["plain", "grouped", "a group for each", "depthwise", "separable"]))
    options = {"kernel_size": draw(pairs), "use_bias": draw(st.booleans()), **draw(windows())}
    channels, outputs = draw(counts), draw(counts)
    if kind == "separable":
        channels += 1  # Keras fails in TensorFlow's oneDNN for one channel and a kernel of one pixel.
    if kind in ("depthwise", "separable"):
        options["strides"] = (options["strides"][0],) * 2  # TensorFlow requires equal strides here.
        options["dilation_rate"] = (1, 1) if options["strides"] != (1, 1) else options["dilation_rate"]
    if kind == "depthwise":
        return layers.DepthwiseConv2D, {"depth_multiplier": outputs, **options}, channels
    if kind == "separable":
        return layers.SeparableConv2D, {"filters": outputs, "depth_multiplier": draw(counts), **options}, channels
    if kind == "a group for each":
        return layers.Conv2D, {"filters": channels + 1, "groups": channels + 1, **options}, channels + 1
    groups = 2 if kind == "grouped" else 1
    return layers.Conv2D, {"filters": outputs * groups, "groups": groups, **options}, channels * groups


def around(layer: layers.Layer, size: tuple[int, int], channels: int, seed: int) -> keras.Model:
    """Build before (activations of either sign) → layer → one output per element of the layer."""
    inputs = keras.Input((*size, 2))
    x = layer(layers.Conv2D(channels, 1, name="before")(inputs))
    return networks.with_random_weights(keras.Model(inputs, layers.Flatten()(x)), seed)


def assert_equal(got: Any, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * max(abs(want).max(), 1e-6))


def assert_excitation(model: keras.Model, layer: str | None, batch: int, seed: int, **options: Any) -> None:
    """Compare excitation of random weights on all outputs, down to a layer, with the reference."""
    net, images = reference.Network(model), networks.pictures(model, batch, seed)
    weights = np.random.default_rng(seed).uniform(size=net.logits(images).shape).astype(np.float32)
    p = tfviz.ExcitationBackprop(model, layer, sum_channels=False, **options)(images, weights)
    assert_equal(p, reference.excitation_backprop(net, images, weights, layer or "images", **options))


# --- excitation -----------------------------------------------------------------------------------


@some
@given(convolutions(), sizes, counts, seeds)
def test_excitation_through_any_convolution(convolution: Convolution2D, size: tuple[int, int], batch: int, seed: int) -> None:
    kind, options, channels = convolution
    layer = kind(**options)
    assert_excitation(around(layer, size, channels, seed), "before", batch, seed)


@some
@given(convolutions(), sizes, st.booleans(), seeds)
def test_excitation_through_a_convolution_that_reads_the_image(
    convolution: Convolution2D, size: tuple[int, int], is_padded: bool, seed: int
) -> None:
    kind, options, channels = convolution
    layer = kind(**options)
    x = inputs = keras.Input((*size, channels))
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(layers.Rescaling(0.5, 0.2)(x)) if is_padded else x
    model = networks.with_random_weights(keras.Model(inputs, layers.Flatten()(layer(x))), seed)
    assert_excitation(model, None, 2, seed)


@some
@given(pairs, windows(dilated=False), st.booleans(), sizes, counts, counts, counts, seeds)
def test_excitation_through_a_transposed_convolution(
    kernel: Any, window: dict[str, Any], use_bias: bool, size: Any, channels: int, outputs: int, batch: int, seed: int
) -> None:
    layer = layers.Conv2DTranspose(outputs, kernel, use_bias=use_bias, **window)
    assert_excitation(around(layer, size, channels, seed), "before", batch, seed)


@some
@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), counts, st.booleans(), seeds)
def test_excitation_through_a_dense_layer(
    channels: int, outputs: int, use_bias: bool, batch: int, is_flat: bool, seed: int
) -> None:
    """Also along the last axis of a map."""
    inputs = keras.Input((3, 2, channels))
    x = layers.Dense(channels, name="before")(inputs)
    x = layers.Flatten()(x) if is_flat else x
    model = keras.Model(inputs, layers.Flatten()(layers.Dense(outputs, use_bias=use_bias)(x)))
    assert_excitation(networks.with_random_weights(model, seed), "before", batch, seed)


@some
@given(
    st.sampled_from([layers.AveragePooling2D, layers.MaxPooling2D]), pairs, windows(dilated=False), sizes, counts, counts, seeds
)
def test_excitation_through_pooling(
    kind: type, pool_size: Any, window: dict[str, Any], size: Any, channels: int, batch: int, seed: int
) -> None:
    assert_excitation(around(kind(pool_size, **window), size, channels, seed), "before", batch, seed)


@few
@given(convolutions(), st.booleans(), st.booleans(), seeds)
def test_excitation_with_a_merged_batch_norm(convolution: Convolution2D, center: bool, scale: bool, seed: int) -> None:
    kind, options, channels = convolution
    layer = kind(**options)
    norm = layers.BatchNormalization(center=center, scale=scale, epsilon=0.01)
    model = around(keras.Sequential([layer, norm]), (8, 8), channels, seed)
    assert_excitation(model, "before", 2, seed, merge_batch_norm=True)


@few
@given(pairs, windows(dilated=False), seeds)
def test_excitation_with_a_batch_norm_merged_into_a_transposed_convolution(
    kernel: Any, window: dict[str, Any], seed: int
) -> None:
    body = keras.Sequential([layers.Conv2DTranspose(3, kernel, **window), layers.BatchNormalization()])
    assert_excitation(around(body, (7, 8), 2, seed), "before", 2, seed, merge_batch_norm=True)


def test_a_batch_norm_is_not_merged_if_the_convolution_has_another_reader() -> None:
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, padding="same", name="conv")(inputs)
    x = layers.Add()([x, layers.BatchNormalization()(x)])
    model = networks.with_random_weights(keras.Model(inputs, layers.Flatten()(x)), 0)
    images = networks.pictures(model)
    plain, merged = (tfviz.ExcitationBackprop(model, merge_batch_norm=merge)(images) for merge in (False, True))
    np.testing.assert_array_equal(plain, merged)
    assert_excitation(model, None, 2, 0, merge_batch_norm=True)


@some
@given(st.integers(2, 4), st.booleans(), counts, seeds)
def test_excitation_through_a_sum_of_any_number_of_inputs(inputs_count: int, as_operation: bool, batch: int, seed: int) -> None:
    inputs = keras.Input((4, 5, 2))
    parts = [layers.Conv2D(3, 1, name=f"part{i}")(inputs) for i in range(inputs_count)]
    x = layers.Add()(parts) if not as_operation else parts[0] + parts[1]
    model = networks.with_random_weights(keras.Model(inputs, layers.Flatten()(x)), seed)
    assert_excitation(model, "part0", batch, seed)


def test_a_sum_of_a_map_and_a_vector_loses_no_probability() -> None:
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 1, activation="relu", name="map")(inputs)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    model = networks.with_random_weights(keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Add()([x, mean]))), 3)
    images = networks.pictures(model)
    p = {
        layer: tfviz.ExcitationBackprop(model, layer, sum_channels=False)(images, [[0.5, 0.3, 0.2]])
        for layer in ("map", "mean")
    }
    assert p["mean"].shape == (2, 1, 1, 3)
    a = {layer: np.asarray(keras.Model(inputs, model.get_layer(layer).output)(images)) for layer in ("map", "mean")}
    alive = a["mean"].max(axis=(1, 2)) > 0  # (2, 3)
    np.testing.assert_allclose(tf.reduce_sum(p["map"], axis=(1, 2)), alive * [0.5, 0.3, 0.2], rtol=1e-5)
    share = a["mean"] * np.array([0.5, 0.3, 0.2]) * alive[:, None, None]
    want = share * np.sum(
        a["map"] / np.maximum(np.sum(a["map"] * (a["map"] + a["mean"]), axis=(1, 2), keepdims=True), 1e-9),
        axis=(1, 2),
        keepdims=True,
    )
    pooled = a["map"] + a["mean"]
    want = (share / np.maximum(pooled.sum(axis=(1, 2), keepdims=True), 1e-9)) * 16
    np.testing.assert_allclose(p["mean"], want, rtol=1e-4, atol=1e-7)


def one_dimensional() -> keras.Model:
    inputs = keras.Input((12, 3))
    x = layers.Conv1D(4, 3, padding="causal", use_bias=False, activation="relu", name="c1")(inputs)
    x = layers.SeparableConv1D(4, 3, use_bias=False, activation="relu")(layers.MaxPooling1D(2)(x))
    x = layers.Conv1DTranspose(3, 2, 2, use_bias=False, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(2, use_bias=False)(layers.GlobalAveragePooling1D()(x)))


def three_dimensional() -> keras.Model:
    inputs = keras.Input((6, 7, 5, 2))
    x = layers.Conv3D(4, 3, padding="same", use_bias=False, activation="relu", name="c1")(inputs)
    x = layers.Conv3DTranspose(3, 2, 2, use_bias=False, activation="relu")(layers.AveragePooling3D(2)(x))
    return keras.Model(inputs, layers.Dense(2, use_bias=False)(layers.GlobalAveragePooling3D()(x)))


@pytest.mark.parametrize("build", [one_dimensional, three_dimensional])
def test_1d_and_3d_networks_are_explained(build: Any) -> None:
    model = networks.with_random_weights(build(), 2)
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    p = tfviz.ExcitationBackprop(model, "c1")(images, 1).numpy()
    assert p.shape == images.shape[:-1]
    assert p.min() >= 0
    masks = tfviz.VisualBackProp(model)(images).numpy()
    assert masks.shape == images.shape[:-1]
    assert masks.max() == 1
    assert tfviz.GradCAM(model, "c1")(images, 1).shape == images.shape[:-1]


def test_excitation_needs_every_operation_between_the_layer_and_the_outputs() -> None:
    model = around(layers.UpSampling2D(2), (4, 4), 2, 0)
    graph = scored(graph_of(model), "logits")
    Excitation(graph).require_rules(graph.inputs)  # It moves elements, so its own derivative applies.


# --- guided backprop and deconvnet ----------------------------------------------------------------


@few
@given(
    st.sampled_from([None, 0.7, 6.0]), st.sampled_from([0.0, 0.2]), st.sampled_from([0.0, 0.3]), convolutions(), counts, seeds
)
def test_guided_backprop_and_deconvnet_through_any_relu(
    max_value: float | None, slope: float, threshold: float, convolution: Convolution2D, batch: int, seed: int
) -> None:
    kind, options, channels = convolution
    layer = kind(**options)
    layer.use_bias = True  # Otherwise zeros stay zeros, where a ReLU has no derivative.
    relus = [layers.ReLU(), layers.ReLU(max_value, slope, threshold)]
    model = around(keras.Sequential([relus[0], layer, relus[1]]), (8, 7), channels, seed)
    net, images = reference.Network(model), networks.pictures(model, batch, seed)
    weights = np.random.default_rng(seed).normal(size=net.logits(images).shape).astype(np.float32)
    for method in ("guided_backprop", "deconvnet", "saliency"):
        got = tfviz.METHODS[method](model)(images, weights)
        assert_equal(got, getattr(reference, method)(net, images, weights))


FORMS = {
    "fused": lambda x: layers.Dense(5, activation="relu", name="d")(x),
    "layer": lambda x: layers.ReLU()(layers.Dense(5, name="d")(x)),
    "activation": lambda x: layers.Activation("relu")(layers.Dense(5, name="d")(x)),
    "function": lambda x: keras.activations.relu(layers.Dense(5, name="d")(x)),
    "operation": lambda x: keras.ops.relu(layers.Dense(5, name="d")(x)),
    "layer as activation": lambda x: layers.Activation(layers.ReLU())(layers.Dense(5, name="d")(x)),
    "fused layer": lambda x: layers.Dense(5, activation=layers.ReLU(), name="d")(x),
    "fused operation": lambda x: layers.Dense(5, activation=keras.ops.relu, name="d")(x),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_every_kind_of_relu_is_redirected(form: str, method: str) -> None:
    results = []
    for form_of_it in (form, "fused"):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, layers.Dense(2)(FORMS[form_of_it](inputs)))
        networks.with_random_weights(model, 4)
        images = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
        results.append(tfviz.METHODS[method](model)(images, 0).numpy())
    np.testing.assert_array_equal(*results)
    assert abs(results[0] - tfviz.Saliency(model)(images, 0)).numpy().max() > 0.01


# --- VisualBackProp -------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(pairs, pairs, paddings, pairs, sizes, counts, seeds)
def test_scaling_up_equals_a_transposed_convolution_with_ones(
    kernel: Any, strides: Any, padding: str, dilation: Any, size: Any, batch: int, seed: int
) -> None:
    window = Window(kernel, strides, padding, dilation)
    mask = np.random.default_rng(seed).uniform(size=(batch, *window.output_size(size)))
    extent = Extent(size=kernel, strides=strides, padding=padding, dilation=dilation)
    got = scale_up(tf.constant(mask[..., None], tf.float32), size, extent)
    np.testing.assert_allclose(got[..., 0], reference.scale_up(mask, size, window), rtol=1e-5)


@some
@given(pairs, windows(dilated=False), sizes, seeds)
def test_a_transposed_convolution_is_reversed_by_a_convolution_with_ones(
    kernel: Any, window: dict[str, Any], size: Any, seed: int
) -> None:
    model = keras.Sequential([keras.Input((*size, 2)), layers.Conv2DTranspose(3, kernel, **window)])
    (step,) = graph_of(model).steps
    mask = np.random.default_rng(seed).uniform(size=(2, *model.output_shape[1:3])).astype(np.float32)
    (got,) = masks_of_inputs(step, tf.constant(mask[..., None]), [size])
    assert got.shape == (2, *size, 1)
    if window["padding"] == "valid" or all(k >= s for k, s in zip(kernel, window["strides"], strict=True)):
        ones = Convolution(np.ones((*kernel, 1, 1)), Window(kernel, window["strides"], window["padding"]))
        np.testing.assert_allclose(got, ones.apply(mask[..., None]), rtol=1e-5)


@some
@given(convolutions(), sizes, seeds)
def test_visual_backprop_through_any_convolution(convolution: Convolution2D, size: Any, seed: int) -> None:
    kind, options, channels = convolution
    layer = kind(**options)
    inputs = keras.Input((*size, channels))
    x = layers.ReLU()(layer(layers.ReLU()(inputs)))
    model = networks.with_random_weights(keras.Model(inputs, layers.Flatten()(x)), seed)
    images = networks.pictures(model, 2, seed)
    assert_equal(tfviz.VisualBackProp(model)(images), reference.visual_backprop(reference.Network(model), images))


@some
@given(st.sampled_from([layers.AveragePooling2D, layers.MaxPooling2D]), pairs, windows(dilated=False), sizes, seeds)
def test_visual_backprop_through_pooling(kind: type, pool_size: Any, window: dict[str, Any], size: Any, seed: int) -> None:
    inputs = keras.Input((*size, 2))
    x = layers.ReLU()(kind(pool_size, **window)(layers.ReLU()(inputs)))
    model = keras.Model(inputs, layers.Flatten()(x))
    images = networks.pictures(model, 2, seed)
    assert_equal(tfviz.VisualBackProp(model)(images), reference.visual_backprop(reference.Network(model), images))


def test_padding_cropping_and_upsampling_are_reversed() -> None:
    mask = tf.reshape(tf.range(16.0), (1, 4, 4, 1))
    want = {
        "pad": (layers.ZeroPadding2D(((1, 0), (0, 2))), (3, 2), [[4, 5], [8, 9], [12, 13]]),
        "crop": (layers.Cropping2D(((0, 1), (1, 0))), (5, 5), np.pad(np.arange(16).reshape(4, 4), ((0, 1), (1, 0)))),
        "enlarge": (layers.UpSampling2D(2), (2, 2), [[2.5, 4.5], [10.5, 12.5]]),
    }
    for layer, size, expected in want.values():
        graph = graph_of(keras.Sequential([keras.Input((*size, 1)), layer]))
        (got,) = masks_of_inputs(graph.steps[0], mask, [size])
        np.testing.assert_array_equal(got[0, ..., 0], expected)


def test_the_gated_branch_receives_the_mask_and_the_gate_nothing() -> None:
    graph = graph_of(networks.build("gated"))
    step = next(step for step in graph.steps if isinstance(step.operation, Product))
    mask = tf.ones((1, 16, 16, 1))
    assert [part is None for part in masks_of_inputs(step, mask, [(16, 16), (1, 1)])] == [False, True]


def test_a_feature_map_that_only_feeds_a_gate_is_ignored() -> None:
    """It is not the deepest feature map; those before the gated signal are."""
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    side = layers.ReLU(name="side")(x)
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(side))
    x = layers.ReLU(name="main")(layers.Multiply()([x, gate]))
    model = networks.with_random_weights(keras.Model(inputs, layers.Flatten()(x)), 0)
    images = networks.pictures(model)
    assert_equal(tfviz.VisualBackProp(model)(images), reference.visual_backprop(reference.Network(model), images))


# --- rules leave the forward pass alone -----------------------------------------------------------


@pytest.mark.parametrize("name", ["residual", "depthwise", "inception"])
def test_the_outputs_are_the_same_with_and_without_rules(name: str) -> None:
    model = networks.build(name)
    graph = scored(graph_of(model), "outputs")
    images = [tf.constant(networks.pictures(model))]
    rules = Excitation(graph).rules(images)
    backward = backpropagate(graph, inputs_of(graph, images), tf.ones_like, graph.inputs, rules)
    np.testing.assert_allclose(backward.values[graph.outputs[0]], model(images[0]), rtol=1e-5)
