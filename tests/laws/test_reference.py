"""The NumPy reference against golden arrays, against Keras, and against its own laws."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from support import reference
from support.reference.arranging import GlobalMaxPool, MaxPool
from support.reference.linear import AveragePool, Convolution, TransposedConvolution
from support.reference.windows import Window

GOLDEN = ["plain", "residual", "depthwise", "inception", "preact", "mlp"]
FLOAT32_ROUNDING = 1e-6  # golden arrays are stored in float32


def expected_by_reference(key: str, net: reference.Network, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    method, *rest = key.split("/")
    if method == "logits":
        return net.logits(images)
    if method == "visual_backprop":
        return reference.visual_backprop(net, images)
    options = {"merge_batch_norm": True} if rest[1:] else {}
    return getattr(reference, method)(net, images, weights, *rest[:1], **options)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_reference_gives_every_golden_array(name: str, shared: Path) -> None:
    net = reference.Network(keras.models.load_model(shared / "golden" / f"{name}.keras", compile=False))
    golden = dict(np.load(shared / "golden" / f"{name}.expected.npz"))
    images, target = golden.pop("images"), golden.pop("target")
    weights = np.eye(golden["logits"].shape[1])[target]
    for key, want in golden.items():
        got = expected_by_reference(key, net, images, weights)
        np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_ROUNDING * abs(want).max(), err_msg=f"{name} {key}")


def test_the_steering_networks_masks_are_the_published_ones(shared: Path) -> None:
    model = keras.models.load_model(shared / "data" / "models" / "pilotnet_steering.keras", compile=False)
    road, net = np.load(shared / "data" / "driving" / "reference.npz"), reference.Network(model)
    images = road["images"][..., None]
    np.testing.assert_allclose(reference.visual_backprop(net, images), road["masks"], atol=FLOAT32_ROUNDING)
    np.testing.assert_allclose(net.outputs(images)[:, 0], road["angles"], atol=FLOAT32_ROUNDING)


# --- forward: the same numbers as Keras -----------------------------------------------------------

LAYERS = {
    "conv": lambda: layers.Conv2D(6, (3, 2), padding="same"),
    "conv strided, same": lambda: layers.Conv2D(6, 4, strides=(2, 3), padding="same", use_bias=False),
    "conv strided, valid": lambda: layers.Conv2D(6, 3, strides=2, activation="tanh"),
    "conv dilated": lambda: layers.Conv2D(6, 3, dilation_rate=(2, 3), padding="same"),
    "conv in groups": lambda: layers.Conv2D(6, 3, groups=2, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same"),
    "separable": lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, activation="elu"),
    "transposed, same": lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
    "transposed, valid": lambda: layers.Conv2DTranspose(5, (2, 4), strides=3, activation="silu"),
    "dense": lambda: layers.Dense(5, activation="sigmoid"),
    "batch norm": lambda: layers.BatchNormalization(),
    "batch norm, bare": lambda: layers.BatchNormalization(center=False, scale=False),
    "relu with every setting": lambda: layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.3),
    "leaky relu": lambda: layers.LeakyReLU(0.3),
    "relu6": lambda: layers.Activation("relu6"),
    "softmax": lambda: layers.Softmax(),
    "max pooling, same": lambda: layers.MaxPooling2D(3, 2, padding="same"),
    "max pooling, valid": lambda: layers.MaxPooling2D((2, 3), (1, 2)),
    "average pooling, same": lambda: layers.AveragePooling2D(3, 2, padding="same"),
    "average pooling, valid": lambda: layers.AveragePooling2D((3, 2), 2),
    "global average": lambda: layers.GlobalAveragePooling2D(),
    "global maximum": lambda: layers.GlobalMaxPooling2D(keepdims=True),
    "flatten": lambda: layers.Flatten(),
    "reshape": lambda: layers.Reshape((-1, 8)),
    "zero padding": lambda: layers.ZeroPadding2D(((1, 2), (0, 3))),
    "cropping": lambda: layers.Cropping2D(((0, 1), (2, 0))),
    "dropout": lambda: layers.Dropout(0.5),
    "rescaling": lambda: layers.Rescaling(1 / 127.5, offset=-1.0),
    "normalization": lambda: layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 9.0, 16.0]),
}


def with_random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Set everything to random values, also where Keras starts with 0 or 1; variances > 0."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        numbers = random.normal(size=weight.shape) * 0.5
        weight.assign(abs(numbers) + 0.5 if "variance" in weight.path else numbers)
    return model


def assert_computes_as_keras(model: keras.Model) -> None:
    images = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    want = np.asarray(model(images.astype(np.float32), training=False))
    np.testing.assert_allclose(reference.Network(model).outputs(images), want, rtol=1e-4, atol=2e-6 * abs(want).max())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_computes_as_in_keras(kind: str) -> None:
    assert_computes_as_keras(with_random_weights(keras.Sequential([keras.Input((9, 8, 4)), LAYERS[kind]()])))


def forked_model() -> keras.Model:
    """Nested models, a layer used twice, and Add, Multiply and Concatenate in both forms."""
    inner = keras.Sequential([layers.BatchNormalization(name="norm")], name="inner")
    twice = keras.Sequential([layers.Conv2D(4, 3, padding="same", activation="relu", name="conv"), inner], name="twice")
    inputs = keras.Input((12, 12, 4))
    once = twice(inputs)
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(once))
    left = keras.activations.relu(layers.Multiply()([once, gate]) + once, max_value=2.0)
    right = keras.ops.relu(layers.BatchNormalization()(layers.Add()([once, left])) * left)
    x = layers.Concatenate(axis=1)([twice(right), left])
    x = layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling2D()(x))
    return with_random_weights(keras.Model(inputs, x))


def test_a_forked_and_nested_model_computes_as_in_keras() -> None:
    assert_computes_as_keras(forked_model())


def test_a_nested_models_layers_have_paths_and_it_stands_for_its_own_output() -> None:
    net = reference.Network(forked_model())
    assert net.name_of("twice") == net.name_of("twice/inner") == "twice/inner/norm"
    assert {"twice/conv:0", "twice/conv", "twice#1/conv"} <= {node.name for node in net.nodes}


def test_the_reference_names_an_unknown_layer() -> None:
    inputs = keras.Input((4, 4, 1))
    with pytest.raises(NotImplementedError, match="constants"):
        reference.Network(keras.Model(inputs, inputs * 0.5))
    with pytest.raises(NotImplementedError, match="UpSampling2D"):
        reference.Network(keras.Model(inputs, layers.UpSampling2D()(inputs)))


def test_logits_are_what_a_softmax_or_sigmoid_at_the_end_reads() -> None:
    for head in ("softmax", "sigmoid"):
        bare = with_random_weights(keras.Sequential([keras.Input((5,)), layers.Dense(3)]))
        fused = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation=head)])
        separate = keras.Sequential([bare, layers.Activation(head)])
        fused.set_weights(bare.get_weights())
        x = np.random.default_rng(2).normal(size=(4, 5))
        for model in (fused, separate):
            np.testing.assert_array_equal(reference.Network(model).logits(x), reference.Network(bare).outputs(x))


# --- backward: adjoints and derivatives -----------------------------------------------------------

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
windows = st.builds(Window, pairs, pairs, st.sampled_from(["same", "valid"]), pairs)
sizes = st.tuples(st.integers(7, 11), st.integers(7, 11))  # at least as large as the widest window
counts, seeds = st.integers(1, 3), st.integers(0, 999)


def assert_transpose(linear: object, x: np.ndarray, random: np.random.Generator) -> None:
    """Check ⟨f(x), y⟩ = ⟨x, fᵀ(y)⟩."""
    fx = linear.apply(x)
    y = random.normal(size=fx.shape)
    np.testing.assert_allclose((fx * y).sum(), (x * linear.transpose(y, x.shape)).sum(), rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(windows, sizes, counts, counts, counts, counts, seeds)
def test_convolutions_and_average_pooling_are_transposed_correctly(
    window: Window, size: tuple[int, int], batch: int, groups: int, inputs: int, outputs: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(batch, *size, groups * inputs))
    kernel = random.normal(size=(*window.kernel, inputs, groups * outputs))
    assert_transpose(Convolution(kernel, window, groups), x, random)
    undilated = Window(window.kernel, window.strides, window.padding)
    assert_transpose(AveragePool(undilated), x, random)
    transposed = random.normal(size=(*window.kernel, outputs, groups * inputs))
    assert_transpose(TransposedConvolution(transposed, undilated), x, random)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layers_gradient_equals_finite_differences(kind: str) -> None:
    body = [keras.Input((9, 8, 4)), LAYERS[kind](), layers.Flatten(), layers.Dense(2)]
    assert_gradient_equals_finite_differences(with_random_weights(keras.Sequential(body)))


def test_a_forked_models_gradient_equals_finite_differences() -> None:
    assert_gradient_equals_finite_differences(forked_model())


def assert_gradient_equals_finite_differences(model: keras.Model) -> None:
    net, random, step = reference.Network(model), np.random.default_rng(3), 1e-6
    images = random.normal(size=(2, *model.input_shape[1:]))
    weights, direction = random.normal(size=net.logits(images).shape), random.normal(size=images.shape)
    up, down = (net.logits(images + sign * step * direction) for sign in (1, -1))
    want = (weights * (up - down)).sum() / (2 * step)
    np.testing.assert_allclose((reference.saliency(net, images, weights) * direction).sum(), want, rtol=1e-5)


def test_ties_go_to_the_first_pixel_or_are_shared_in_global_max_pooling() -> None:
    flat = np.ones((1, 2, 2, 1))
    (first,) = MaxPool(Window((2, 2))).adjoint(np.full((1, 1, 1, 1), 8.0), (flat,), flat[:, :1, :1])
    (shared_out,) = GlobalMaxPool().adjoint(np.full((1, 1), 8.0), (flat,), flat[:, 0, 0])
    np.testing.assert_array_equal(first[0, ..., 0], [[8, 0], [0, 0]])
    np.testing.assert_array_equal(shared_out[0, ..., 0], [[2, 2], [2, 2]])


# --- the rules ------------------------------------------------------------------------------------


def test_guided_relu_requires_positive_gradient_and_positive_uncapped_input() -> None:
    p, x = np.array([1.0, 1.0, -1.0, -1.0, 1.0]), np.array([2.0, -2.0, 2.0, -2.0, 7.0])
    np.testing.assert_array_equal(reference.guided_relu(p, x), [1, 0, 0, 0, 1])
    np.testing.assert_array_equal(reference.guided_relu(p, x, reference.Relu(max_value=6.0)), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(reference.deconvnet_relu(p), [1, 1, 0, 0, 1])


def test_excitation_shares_by_positive_weight_times_positive_input() -> None:
    x = np.array([2.0, 1.0, -3.0, 5.0]).reshape(1, 1, 1, 4)
    kernel = np.array([3.0, 4.0, 9.0, -9.0]).reshape(1, 1, 4, 1)
    p = reference.excitation_linear(x, np.ones((1, 1, 1, 1)), kernel, Window((1, 1)))
    np.testing.assert_allclose(p.ravel(), [0.6, 0.4, 0, 0])


def test_probability_is_lost_where_nothing_excites() -> None:
    x, p, kernel = -np.ones((1, 3, 3, 1)), np.ones((1, 1, 1, 1)), np.ones((3, 3, 1, 1))
    np.testing.assert_array_equal(reference.excitation_linear(x, p, kernel, Window((3, 3))), 0)


def test_excitation_divides_a_sum_by_the_positive_parts() -> None:
    p, inputs = np.array([1.0, 1.0, 1.0]), (np.array([3.0, -3.0, -3.0]), np.array([1.0, 1.0, -1.0]))
    np.testing.assert_array_equal(reference.excitation_add(p, *inputs), [[0.75, 0, 0], [0.25, 1, 0]])


@settings(deadline=None, max_examples=60)
@given(windows, sizes, counts, counts, counts, seeds)
def test_excitation_through_a_convolution_of_positive_numbers_is_conserved(
    window: Window, size: tuple[int, int], groups: int, inputs: int, outputs: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = random.uniform(0.1, 1, (2, *size, groups * inputs))
    kernel = random.uniform(0.1, 1, (*window.kernel, inputs, groups * outputs))
    p = random.normal(size=Convolution(kernel, window, groups).apply(x).shape)
    passed = reference.excitation_linear(x, p, kernel, window, groups)
    np.testing.assert_allclose(passed.sum((1, 2, 3)), p.sum((1, 2, 3)), atol=1e-9)


def test_excitation_sums_to_one_at_every_cut_of_a_network_without_positive_biases() -> None:
    model = with_random_weights(keras.Sequential([
        keras.Input((16, 16, 3)),
        layers.Conv2D(8, 3, padding="same", activation="relu", use_bias=False, name="c1"),
        layers.MaxPooling2D(3, 2, padding="same", name="p1"),
        layers.Conv2D(8, 3, strides=2, activation="relu", use_bias=False, name="c2"),
        layers.AveragePooling2D(2, name="p2"),
        layers.Flatten(name="flat"),
        layers.Dense(6, activation="softmax", name="out"),
    ]))  # fmt: skip
    net, images = reference.Network(model), np.random.default_rng(4).normal(size=(3, 16, 16, 3))
    for layer in ("images", "c1", "p1", "c2", "p2", "flat"):
        p = reference.excitation_backprop(net, images, np.eye(6)[:3], layer)
        assert (p >= 0).all()
        np.testing.assert_allclose(p.reshape(3, -1).sum(1), 1, err_msg=layer)


def test_the_image_is_shifted_and_padding_is_not() -> None:
    model = keras.Sequential([keras.Input((2, 2, 1)), layers.Rescaling(2.0, 1.0), layers.ZeroPadding2D(1),
                              layers.Conv2D(1, 4, use_bias=False), layers.Flatten()])  # fmt: skip
    model.set_weights([np.ones((4, 4, 1, 1))])
    images = np.array([[-4.0, -3.0], [-2.0, -1.0]]).reshape(1, 2, 2, 1)
    net = reference.Network(model)
    p = reference.excitation_backprop(net, images, np.ones((1, 1)))
    np.testing.assert_allclose(p[0, ..., 0], [[0, 1 / 6], [2 / 6, 3 / 6]])


def test_contrastive_is_excitation_for_a_class_minus_excitation_against_it() -> None:
    model = with_random_weights(keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3)]))
    against = keras.models.clone_model(model)
    against.set_weights([-weight for weight in model.get_weights()])
    images, weights = np.random.default_rng(5).normal(size=(3, 4, 4, 1)), np.eye(3)
    plain, other = (reference.excitation_backprop(reference.Network(m), images, weights) for m in (model, against))
    got = reference.contrastive_excitation_backprop(reference.Network(model), images, weights)
    np.testing.assert_allclose(got, plain - other, atol=1e-12)


def test_a_merged_batch_norm_with_negative_scale_negates_the_weights() -> None:
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 2, use_bias=False, name="conv")(inputs)
    model = keras.Model(inputs, layers.Flatten()(layers.BatchNormalization(epsilon=0.0)(x)))
    kernel = np.random.default_rng(6).normal(size=(2, 2, 2, 3))
    scale = np.array([-2.0, 1.0, -1.0])
    model.set_weights([kernel, scale, np.zeros(3), np.zeros(3), np.ones(3)])
    folded = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(3, 2, use_bias=False), layers.Flatten()])
    folded.set_weights([kernel * scale])
    images, weights = np.random.default_rng(7).normal(size=(1, 4, 4, 2)), np.ones((1, 27)) / 27
    merged = reference.excitation_backprop(reference.Network(model), images, weights, merge_batch_norm=True)
    apart = reference.excitation_backprop(reference.Network(model), images, weights)
    want = reference.excitation_backprop(reference.Network(folded), images, weights)
    np.testing.assert_allclose(merged, want, rtol=1e-6)
    assert abs(apart - want).max() > 1e-3


@settings(deadline=None, max_examples=60)
@given(windows, sizes, seeds)
def test_scaling_a_mask_up_adds_each_value_to_every_pixel_its_window_reads(
    window: Window, size: tuple[int, int], seed: int
) -> None:
    mask = np.random.default_rng(seed).uniform(size=(2, *window.output_size(size)))
    want = np.zeros((2, *(size[axis] + sum(window.pads(size)[axis]) for axis in (0, 1))))
    for row, column in np.ndindex(*mask.shape[1:]):
        for i, j in np.ndindex(*window.kernel):
            y, x = (np.array([row, column]) * window.strides + np.array([i, j]) * window.dilation).tolist()
            want[:, y, x] += mask[:, row, column]
    (top, _), (left, _) = window.pads(size)
    want = want[:, top : top + size[0], left : left + size[1]]
    np.testing.assert_allclose(reference.scale_up(mask, size, window), want)


def test_a_constant_image_gives_visual_backprop_no_nan() -> None:
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(2, 1, activation="relu"), layers.Flatten()])
    mask = reference.visual_backprop(reference.Network(model), np.ones((2, 6, 6, 1)))
    np.testing.assert_array_equal(mask, np.zeros((2, 6, 6)))


def test_gates_and_heads_after_global_pooling_are_not_feature_maps() -> None:
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="deepest")(inputs)
    head = layers.Conv2D(5, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = with_random_weights(keras.Model(inputs, layers.Flatten()(head)))
    images = np.random.default_rng(8).normal(size=(2, 8, 8, 2))
    with_head, trunk = (reference.Network(m) for m in (model, keras.Model(inputs, x)))
    np.testing.assert_allclose(reference.visual_backprop(with_head, images), reference.visual_backprop(trunk, images))


def test_a_network_without_activation_has_no_visual_backprop() -> None:
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten()])
    with pytest.raises(ValueError, match="no activation with height and width"):
        reference.visual_backprop(reference.Network(model), np.ones((1, 6, 6, 1)))
