"""VisualBackProp through moves, several outputs or inputs, and opaque layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks, reference, rewritten
from support.reference.windows import Window

import tfviz
from tfviz.rules import resize

SIZE = (12, 10)
Array = np.ndarray


def conv(filters: int, size: int, name: str) -> layers.Layer:
    return layers.Conv2D(filters, size, padding="same", activation="relu", name=name)


def network(between: Callable[[Any], Any]) -> keras.Model:
    """Build first (3 × 3) → the given layers → second (5 × 5), both with a ReLU."""
    inputs = keras.Input((*SIZE, 3))
    x = conv(4, 5, "second")(between(conv(8, 3, "first")(inputs)))
    model = keras.Model(inputs, layers.Dense(4, name="out")(layers.GlobalAveragePooling2D()(x)))
    return networks.with_random_weights(model, 0)


def average_of(model: keras.Model, layer: str, images: Array) -> Array:
    return np.asarray(keras.Model(model.inputs[0], model.get_layer(layer).output)(images), np.float64).mean(-1)


def by_hand(model: keras.Model, images: Array, back: Callable[[Array], Array]) -> Array:
    """Compute the mask (N, height, width) by hand; `back` maps a mask back to `first`."""
    deepest = average_of(model, "second", images)
    mask = back(reference.scale_up(deepest, deepest.shape[1:], Window((5, 5), (1, 1), "same", (1, 1))))
    mask = reference.scale_up(mask * average_of(model, "first", images), SIZE, Window((3, 3), (1, 1), "same", (1, 1)))
    low, high = mask.min((1, 2), keepdims=True), mask.max((1, 2), keepdims=True)
    return (mask - low) / (high - low)


def assert_masks(model: keras.Model, back: Callable[[Array], Array]) -> None:
    """Compare the masks of the explainer and of the model with a branch with those by hand."""
    images = networks.pictures(model)
    want = by_hand(model, images, back)
    np.testing.assert_allclose(tfviz.VisualBackProp(model)(images), want, atol=1e-5)
    np.testing.assert_allclose(tfviz.with_visual_backprop(model)(images)[1], want, atol=1e-5)


def unchanged(mask: Array) -> Array:
    return mask


def transposed(mask: Array) -> Array:
    return mask.transpose(0, 2, 1)


def pieces_to_channels(x: Any) -> Any:
    """2 × 2 neighboring pixels become the channels of one."""
    x = ops.reshape(x, (-1, SIZE[0] // 2, 2, SIZE[1] // 2, 2, x.shape[-1]))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, SIZE[0] // 2, SIZE[1] // 2, 4 * x.shape[-1]))


def shuffled(x: Any) -> Any:
    """The channel shuffle of ShuffleNet."""
    x = layers.Permute((1, 2, 4, 3))(layers.Reshape((*SIZE, 2, 4))(x))
    return layers.Reshape((*SIZE, 8))(x)


MOVES: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "flip": (lambda x: ops.flip(x, axis=2), lambda mask: mask[:, :, ::-1]),
    "a slice backwards": (lambda x: x[:, ::-1], lambda mask: mask[:, ::-1]),
    "roll": (lambda x: ops.roll(x, 3, axis=1), lambda mask: np.roll(mask, -3, axis=1)),
    "Permute": (lambda x: layers.Permute((2, 1, 3))(x), transposed),
    "transpose": (lambda x: ops.transpose(x, (0, 2, 1, 3)), transposed),
    "swapaxes": (lambda x: ops.swapaxes(x, 1, 2), transposed),
    "moveaxis": (lambda x: ops.moveaxis(x, 2, 1), transposed),
    "halves changed": (
        lambda x: ops.concatenate(ops.split(x, 2, axis=1)[::-1], axis=1), lambda mask: np.roll(mask, 6, axis=1)
    ),
    "half of it": (lambda x: ops.split(x, 2, axis=2)[1], lambda mask: np.pad(mask, ((0, 0), (0, 0), (5, 0)))),
    "a part of it": (lambda x: x[:, 2:9, 1:], lambda mask: np.pad(mask, ((0, 0), (2, 3), (1, 0)))),
    "twice beside itself": (lambda x: ops.tile(x, (1, 1, 2, 1)), lambda mask: (mask[:, :, :10] + mask[:, :, 10:]) / 2),
    "each row twice": (lambda x: ops.repeat(x, 2, axis=1), lambda mask: (mask[:, ::2] + mask[:, 1::2]) / 2),
    "pieces as channels": (pieces_to_channels, lambda mask: mask.repeat(2, axis=1).repeat(2, axis=2)),
    "channels shuffled": (shuffled, unchanged),
    "channels backwards": (lambda x: x[..., ::-1], unchanged),
    "two parts of the channels": (lambda x: ops.concatenate(ops.split(x, [3, 4], axis=-1)[:2], axis=-1), lambda m: 2 * m),
    "the second part of the channels": (lambda x: ops.split(x, 2, axis=-1)[1], unchanged),
    "channel by channel": (
        lambda x: ops.stack([ops.tanh(one) for one in ops.unstack(x, axis=-1)], axis=-1), lambda mask: 8 * mask
    ),
    "two channels": (lambda x: ops.stack([x[..., 3], x[..., 1]], axis=-1), lambda mask: 2 * mask),
    "a list handed on": (lambda x: layers.Identity()([x, ops.flip(x, axis=1)])[1], lambda mask: mask[:, ::-1]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_the_mask_returns_to_where_its_pixels_came_from(name: str) -> None:
    between, back = MOVES[name]
    assert_masks(network(between), back)


def test_every_output_of_a_split_returns_its_mask() -> None:
    def between(x: Any) -> Any:
        left, right = ops.split(x, 2, axis=2)
        return ops.concatenate([right, conv(4, 1, "one")(left)], axis=-1)

    model = network(between)
    images = networks.pictures(model)

    def back(mask: Array) -> Array:
        return np.concatenate([mask * average_of(model, "one", images), mask], axis=2)

    assert_masks(model, back)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_pixels_are_tracked_exactly_in_any_compute_dtype(policy: str) -> None:
    """float16 represents no odd number above 2048."""
    size = (60, 61)
    inputs = keras.Input((*size, 1))
    x = layers.Permute((2, 1, 3), dtype=policy)(layers.ReLU(dtype="float32")(inputs))
    model = keras.Model(inputs, layers.Flatten()(layers.ReLU(dtype="float32")(x)))
    images = np.random.default_rng(0).uniform(size=(1, *size, 1)).astype(np.float32)
    want = images[..., 0] ** 2
    want = (want - want.min()) / (want.max() - want.min())
    np.testing.assert_allclose(tfviz.VisualBackProp(model)(images), want, atol=0.01)


RESIZES = {
    "larger": lambda x: layers.Resizing(20, 7)(x),
    "twice as large": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x),
    "nearest": lambda x: layers.Resizing(7, 20, interpolation="nearest")(x),
    "smoothed": lambda x: layers.Resizing(5, 5, antialias=True)(x),
    "with the aspect ratio": lambda x: layers.Resizing(9, 9, crop_to_aspect_ratio=True)(x),
    "padded": lambda x: layers.Resizing(20, 9, pad_to_aspect_ratio=True)(x),
    "cropped": lambda x: layers.CenterCrop(7, 5)(x),
    # the image-level branch of DeepLab
    "a global mean": lambda x: x + layers.Resizing(*SIZE)(layers.GlobalAveragePooling2D(keepdims=True)(x)),
}


def test_a_large_resize_runs_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(RESIZES["larger"])
    images = networks.pictures(model)
    want = tfviz.VisualBackProp(model)(images)
    monkeypatch.setattr(resize, "_MOST_BYTES", 1)
    np.testing.assert_array_equal(tfviz.VisualBackProp(model)(images), want)


@pytest.mark.parametrize("name", RESIZES)
def test_the_mask_of_a_resized_map_goes_to_the_pixels_that_were_read(name: str) -> None:
    model = network(RESIZES[name])
    images = networks.pictures(model)
    got = tfviz.VisualBackProp(model)(images)
    np.testing.assert_allclose(tfviz.with_visual_backprop(model)(images)[1], got, atol=1e-5)
    with rewritten.Masks(model) as second:
        (want,) = second.masks(images)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_mask_returns_through_a_move_inside_a_time_distributed() -> None:
    inputs = keras.Input((3, *SIZE, 3))
    frame = keras.Sequential([keras.Input((*SIZE, 3)), conv(8, 3, "first"), layers.Permute((2, 1, 3)), conv(4, 5, "second")])
    x = layers.GlobalAveragePooling3D()(layers.TimeDistributed(frame)(inputs))
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(x)), 0)
    still = networks.pictures(frame, 1)
    films = np.repeat(still[:, None], 3, axis=1)
    want = by_hand(frame, still, transposed)
    for found in np.moveaxis(tfviz.VisualBackProp(model)(films).numpy(), 1, 0):
        np.testing.assert_allclose(found, want, atol=1e-5)


def test_a_branch_with_a_move_is_saved_and_loaded(tmp_path: Path) -> None:
    model = network(MOVES["a part of it"][0])
    images, two = networks.pictures(model), tfviz.with_visual_backprop(model)
    two.save(tmp_path / "two.keras")
    loaded = keras.models.load_model(tmp_path / "two.keras")
    np.testing.assert_allclose(loaded(images)[1], two(images)[1], atol=1e-6)


# --- sums and products with a vector --------------------------------------------------------------


def squeezed(x: Any) -> Any:
    return layers.Dense(8, activation="relu", name="gate")(layers.GlobalAveragePooling2D()(x))


FORMS: dict[str, dict[str, Callable[[Any, Any], Any]]] = {
    "multiply": {
        "(N, C) first": lambda x, v: layers.Multiply()([v, x]),
        "(N, C) last": lambda x, v: layers.Multiply()([x, v]),
        "(N, 1, 1, C) first": lambda x, v: layers.Multiply()([layers.Reshape((1, 1, 8))(v), x]),
        "an operation": lambda x, v: v[:, None, None] * x,
    },
    "add": {
        "(N, C) first": lambda x, v: layers.Add()([v, x]),
        "(N, C) last": lambda x, v: layers.Add()([x, v]),
        "(N, 1, 1, C) first": lambda x, v: layers.Add()([layers.Reshape((1, 1, 8))(v), x]),
        "an operation": lambda x, v: x + v[:, None, None],
    },
}


@pytest.mark.parametrize("form", FORMS["add"])
@pytest.mark.parametrize("kind", FORMS)
def test_a_vector_that_is_broadcast_to_all_pixels_does_not_affect_the_mask(kind: str, form: str) -> None:
    assert_masks(network(lambda x: FORMS[kind][form](x, squeezed(x))), unchanged)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("layer", ["first", "gate"])
def test_excitation_handles_broadcast_vectors_in_every_form(kind: str, layer: str) -> None:
    found = []
    for form in FORMS[kind].values():
        model = network(lambda x, form=form: form(x, squeezed(x)))
        found.append(tfviz.ExcitationBackprop(model, layer)(networks.pictures(model), 1).numpy())
    assert kind == "multiply" or np.any(found[0])  # The gate of a product gets nothing.
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-7)


# --- opaque layers --------------------------------------------------------------------------------


class OwnCall(layers.Conv2D):
    """A convolution in custom code, which only TensorFlow can trace."""

    def call(self, x: Any) -> Any:
        return super().call(tf.identity(x))


class OwnKernel(layers.Layer):
    """A convolution by a TensorFlow function with its own kernel, optionally in a tf.function."""

    def __init__(self, size: int, is_inside: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.size = size
        self.convolve = tf.function(self._convolve, autograph=False) if is_inside else self._convolve

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(self.size, self.size, shape[-1], 8), name="kernel")

    def call(self, x: Any) -> Any:
        return self.convolve(x)

    def _convolve(self, x: Any) -> Any:
        return tf.nn.conv2d(x, tf.convert_to_tensor(self.kernel), 1, "SAME")


class Pooled(layers.Layer):
    """A pooling layer that owns a weight."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(), name="scale")

    def call(self, x: Any) -> Any:
        return self.scale * tf.nn.max_pool2d(x, 3, 1, "SAME")


def tokens(x: Any) -> Any:
    return layers.Reshape((SIZE[0] * SIZE[1], 8))(x)


def attended(x: Any) -> Any:
    return layers.Reshape((*SIZE, 8))(layers.Attention()([tokens(x), tokens(x)]))


def similar(x: Any) -> Any:
    """Non-local: each pixel is the mean of all, weighted by similarity."""
    alike = ops.softmax(ops.matmul(tokens(x), ops.swapaxes(tokens(x), 1, 2)))
    return layers.Reshape((*SIZE, 8))(ops.matmul(alike, tokens(x)))


KERNEL = np.random.default_rng(0).normal(size=(7, 7, 8, 8)).astype(np.float32)

# Only TensorFlow can trace these: the explainer opens them, a branch of the model cannot.
OPENED: dict[str, tuple[Callable[[], layers.Layer], Callable[[], layers.Layer]]] = {
    "a Conv2D with its own call": (lambda: OwnCall(8, 7, padding="same"), lambda: layers.Conv2D(8, 7, padding="same")),
    "a kernel of its own": (lambda: OwnKernel(3), lambda: layers.Conv2D(8, 3, padding="same", use_bias=False)),
    "a kernel inside a tf.function": (
        lambda: OwnKernel(3, is_inside=True),
        lambda: layers.Conv2D(8, 3, padding="same", use_bias=False),
    ),
    "a pooling of its own": (Pooled, lambda: PooledByKeras()),
    "SpectralNormalization": (
        lambda: layers.SpectralNormalization(layers.Conv2D(8, 3, padding="same")),
        lambda: layers.Conv2D(8, 3, padding="same"),
    ),
    "a function that moves": (
        lambda: layers.Lambda(lambda x: tf.reverse(x, [1]), output_shape=(*SIZE, 8)),
        lambda: layers.Lambda(lambda x: ops.flip(x, axis=1)),
    ),
}
HIDING: dict[str, Callable[[Any], Any]] = {
    "an operation": lambda x: ops.conv(x, KERNEL, padding="same"),
    "EinsumDense over height": lambda x: layers.EinsumDense("bhwc,hi->biwc", (SIZE[0], SIZE[1], 8))(x),
    "EinsumDense over width": lambda x: layers.EinsumDense("bhwc,wi->bhic", (*SIZE, 8))(x),
    "a product with a constant": lambda x: ops.einsum("bhwc,hi->biwc", x, np.eye(SIZE[0], dtype="float32")[::-1]),
    "matmul": lambda x: ops.matmul(np.eye(SIZE[0], dtype="float32")[::-1], ops.transpose(x, (0, 3, 1, 2)))[:, :8, :, :8],
    "sort": lambda x: ops.sort(x, axis=1),
    "cumsum": lambda x: ops.cumsum(x, axis=2),
    "an LSTM": lambda x: layers.Reshape((*SIZE, 8))(layers.LSTM(8, return_sequences=True)(tokens(x))),
    "attention": attended,
    "a product of maps": similar,
}


class PooledByKeras(layers.Layer):
    """Like Pooled, from Keras layers."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.one = layers.MaxPooling2D(3, 1, padding="same"), layers.DepthwiseConv2D(1, use_bias=False)

    def build(self, shape: Any) -> None:
        self.one.build(shape)

    def call(self, x: Any) -> Any:
        return self.one(self.pool(x))


def weighted_like(model: keras.Model, twin: keras.Model) -> keras.Model:
    """The twin with the model's weights, except those that only the model has (vector_u)."""
    wanted = [weight for weight in model.weights if "vector_u" not in weight.path]
    for mine, its in zip(twin.weights, wanted, strict=True):
        mine.assign(np.broadcast_to(its, mine.shape))
    return twin


@pytest.mark.parametrize("name", OPENED)
def test_layers_that_only_tensorflow_can_trace_are_opened(name: str) -> None:
    own, of_keras = OPENED[name]
    model, twin = (network(lambda x, make=make: layers.ReLU()(make()(x))) for make in (own, of_keras))  # type: ignore[misc]
    images = networks.pictures(model)
    want = tfviz.VisualBackProp(weighted_like(model, twin))(images).numpy()
    assert abs(want - tfviz.VisualBackProp(network(layers.ReLU()))(images).numpy()).max() > 0.01
    np.testing.assert_allclose(tfviz.VisualBackProp(model)(images), want, atol=1e-5)
    with pytest.raises(
        tfviz.UnsupportedModelError,
        match=r"cannot scale its mask back through '.*each output pixel depends on several input pixels",
    ):
        tfviz.with_visual_backprop(model)


@pytest.mark.parametrize("name", HIDING)
def test_a_mask_does_not_pass_an_opaque_layer_unscaled(name: str) -> None:
    model = network(lambda x: layers.ReLU()(HIDING[name](x)))
    opaque = r"cannot scale its mask back through '.*each output pixel depends on several input pixels"
    # Attention is opened, and a branch of the model cannot start inside its layer.
    inside = "cannot add a branch inside the nested layers of" if name == "attention" else opaque
    explainers = ((tfviz.VisualBackProp(model), opaque), (lambda x: tfviz.with_visual_backprop(model)(x), inside))
    for explain, message in explainers:
        with pytest.raises(tfviz.UnsupportedModelError, match=message):
            explain(networks.pictures(model))


class Attending(layers.Layer):
    """Handwritten attention between pixels that owns weights."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), name="kernel")

    def call(self, x: Any) -> Any:
        flat = tf.reshape(x, [-1, SIZE[0] * SIZE[1], 8])
        alike = tf.nn.softmax(tf.matmul(flat, tf.matmul(flat, self.kernel), transpose_b=True))
        return tf.reshape(tf.matmul(alike, flat), tf.shape(x))


@pytest.mark.parametrize("branch", [False, True])
def test_handwritten_attention_is_rejected(branch: bool) -> None:
    model = network(lambda x: layers.ReLU()(Attending(name="attending")(x)))
    explain = tfviz.with_visual_backprop if branch else lambda model: tfviz.VisualBackProp(model)(networks.pictures(model))
    with pytest.raises(tfviz.UnsupportedModelError, match="cannot scale its mask back through 'attending"):
        explain(model)


def test_an_einsum_over_channels_keeps_the_mask() -> None:
    for equation in ("bhwc,cd->bhwd", "abcd,de->abce"):
        assert_masks(network(lambda x, e=equation: layers.EinsumDense(e, (*SIZE, 8))(x)), unchanged)  # type: ignore[misc]


def one_by_one(x: Any) -> Any:
    return OwnKernel(1, name="one")(x)


@pytest.mark.parametrize("between", [one_by_one, lambda x: x - ops.abs(x), lambda x: layers.Average()([x, ops.square(x)])])
def test_pixelwise_operations_keep_the_mask(between: Callable[[Any], Any]) -> None:
    model = network(lambda x: between(layers.Identity()(x)))
    paths = 2 if between is not one_by_one else 1
    assert_masks(model, lambda mask: paths * mask)


def test_a_relu_inside_an_opaque_layer_causes_a_warning() -> None:
    hidden = layers.SpectralNormalization(conv(5, 3, "inside"), name="hidden")
    inputs = keras.Input((*SIZE, 3))
    x = layers.GlobalAveragePooling2D()(hidden(conv(4, 3, "first")(inputs)))
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(2)(x)), 0)
    with pytest.warns(UserWarning, match=r"opaque layer 'hidden' \(SpectralNormalization\), so the mask does not cover"):
        tfviz.with_visual_backprop(model)
    assert [step.path for step in tfviz.VisualBackProp(model).maps] == ["first", "hidden/inside"]


def test_a_mask_that_cannot_reach_the_image_raises_an_error() -> None:
    inputs = keras.Input((*SIZE, 3))
    x = layers.Dense(5)(layers.Flatten()(conv(4, 3, "first")(inputs)))
    x = layers.Reshape((*SIZE, 3))(layers.Dense(SIZE[0] * SIZE[1] * 3)(x))
    model = networks.with_random_weights(keras.Model(inputs, conv(2, 3, "second")(x)), 0)
    for explain in (tfviz.VisualBackProp(model), lambda images: tfviz.with_visual_backprop(model)(images)):
        with pytest.raises(tfviz.UnsupportedModelError, match=r"cannot scale the feature maps of .* do not preserve positions"):
            explain(networks.pictures(model))
