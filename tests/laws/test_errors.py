"""Bad input: each kind has its own error, with what is wrong, what was received and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.explainers import KEYS, built
from support.networks import CAMS

import tfviz
from tfviz.errors import near_matches


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A model that takes (N, 20, 17, 3)."""
    return networks.build("plain")


@pytest.fixture(scope="module")
def images(model: keras.Model) -> np.ndarray:
    return networks.pictures(model, 4)


# --- images ---------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[Any, str]] = {
    "one image": (
        lambda x: x[0],
        r"needs batches of shape \(N, 20, 17, 3\)\. Received: one image of shape \(20, 17, 3\)\. Pass image\[None\]",
    ),
    "too high a rank": (lambda x: x[None], r"needs images of shape \(N, 20, 17, 3\)\. Received: \(1, 4, 20, 17, 3\)"),
    "gray for color": (
        lambda x: x[..., :1],
        r"needs images of shape \(N, 20, 17, 3\)\. Received: \(4, 20, 17, 1\)\. Resize the images and check",
    ),
    "channels first": (
        lambda x: x.transpose(0, 3, 1, 2),
        r"needs images of shape \(N, 20, 17, 3\)\. Received: \(4, 3, 20, 17\)",
    ),
    "another size": (lambda x: x[:, :16], r"needs images of shape \(N, 20, 17, 3\)\. Received: \(4, 16, 17, 3\)"),
    "no image": (lambda x: x[:0], r"Expected at least one image\. Received: an empty batch of shape \(0, 20, 17, 3\)"),
    "text": (lambda x: "cat.jpg", r"Expected images as an array of numbers .*Received: str\."),
    "nothing": (lambda x: None, "Input 'input_layer.*' is None, but tfviz needs a value for each input"),
    "different sizes": (
        lambda x: [x[0], x[0, :5]],
        r"images as an array of numbers .*Received: list of arrays with different shapes, such as \(20, 17, 3\) and \(5",
    ),
    "dates": (lambda x: x.astype("datetime64[s]"), r"array of numbers .*Received: ndarray with dtype datetime64\[s\]\."),
}


@pytest.mark.parametrize("name", CHANGES)
def test_images_that_do_not_fit_the_model_are_rejected(name: str, model: keras.Model, images: np.ndarray) -> None:
    change, message = CHANGES[name]
    with pytest.raises(tfviz.ImageError, match=message):
        tfviz.Saliency(model)(change(images))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", KEYS)
def test_images_that_are_not_finite_are_rejected_by_index(
    method: str, bad: float, model: keras.Model, images: np.ndarray
) -> None:
    images = images.copy()
    images[1, 2, 3, 0] = images[3, 0, 0, 0] = bad
    explainer = built(method, model)
    for batch in (images, tf.constant(images)):
        with pytest.raises(tfviz.ImageError, match=r"Images 1, 3 in the batch contain NaN or infinity.*division by zero\."):
            explainer(batch)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "float16", "float64"])
def test_nan_is_found_in_every_floating_type(dtype: str, model: keras.Model) -> None:
    images = tf.cast(tf.random.uniform((2, 20, 17, 3)), dtype)
    assert np.isfinite(tfviz.Saliency(model)(images, 0)).all()
    rows = images.numpy()
    rows[1, 2, 3, 0] = np.nan
    for batch in (rows, tf.constant(rows)):
        with pytest.raises(tfviz.ImageError, match="Image 1 in the batch contains NaN or infinity"):
            tfviz.Saliency(model)(batch, 0)


OUT_OF_RANGE = {
    ("float64", "float32"): (
        1e300,
        "The model's input dtype is float32, which represents .* Received: float64 values from 0 to 1e.300",
    ),
    ("float32", "float16"): (
        1e5,
        "The model's input dtype is float16, which represents values up to 65504. Received: float32 .* 100000",
    ),
    ("uint16", "float16"): (65535, "The model's input dtype is float16, .* Received: uint16 values from 0 to 65535"),
    ("float32", "uint8"): (
        256.0,
        "The model's input dtype is uint8, .* up to 255. Received: float32 values from 0 to 256",
    ),
    ("int32", "uint8"): (-1, "The model's input dtype is uint8, .* Received: int32 values from -1 to 0"),
}


@pytest.mark.parametrize(("given", "taken"), OUT_OF_RANGE)
def test_values_that_the_models_dtype_cannot_hold_are_rejected(given: str, taken: str) -> None:
    inputs = keras.Input((8, 8, 3), dtype=taken)
    x = layers.Conv2D(2, 3, name="c")(layers.Rescaling(1.0)(inputs))
    explainer = tfviz.GradCAM(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))), "c")
    value, message = OUT_OF_RANGE[given, taken]
    images = np.zeros((2, 8, 8, 3), given)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*zero everywhere")
        explainer(images, 0)
    images[1, 0, 0, 0] = value
    for batch in (images, tf.constant(images)):
        with pytest.raises(tfviz.ImageError, match=message):
            explainer(batch, 0)


SOURCES: dict[str, tuple[Any, str]] = {
    "no image": (np.zeros((0, 20, 17, 3)), "Expected at least one image. Received: none"),
    "an empty dataset": (
        tf.data.Dataset.from_tensor_slices(np.zeros((0, 20, 17, 3))),
        "Expected at least one image. Received: none",
    ),
    "one image": (np.zeros((20, 17, 3)), r"Received: one image of shape \(20, 17, 3\)\. Pass image\[None\]"),
    "a generator": (
        iter([1]),
        r"Expected an array of images, a tf\.data\.Dataset or a keras\.utils\.PyDataset\. Received: list_iterator",
    ),
    "a path": (
        "photos/",
        r"Expected an array of images, a tf\.data\.Dataset or a keras\.utils\.PyDataset\. Received: str 'photos/'",
    ),
    "a dataset of dicts": (
        tf.data.Dataset.from_tensor_slices({"image": np.zeros((2, 20, 17, 3))}),
        r"Expected a dataset of images.*Received elements: dict.*dataset\.map",
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_explain_rejects_anything_but_batches_of_images(name: str, model: keras.Model) -> None:
    source, message = SOURCES[name]
    with pytest.raises(tfviz.ImageError, match=message):
        tfviz.Saliency(model).explain(source, verbose=0)


def test_a_model_with_two_inputs_requires_both() -> None:
    inputs = [keras.Input((6, 6, 3)), keras.Input((6, 6, 1))]
    x = layers.Flatten()(layers.Concatenate()(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x), name="two")
    with pytest.raises(tfviz.ImageError, match=r"The model 'two' needs 2 inputs\. Received: 1\."):
        tfviz.Saliency(model)(np.zeros((1, 6, 6, 3), np.float32))


def test_visual_backprop_needs_the_size_inside_a_tf_function() -> None:
    explainer = tfviz.VisualBackProp(networks.build("separable"))
    function = tf.function(explainer, input_signature=[tf.TensorSpec((None, None, None, 3))], autograph=False)
    with pytest.raises(
        tfviz.ImageError, match=r"VisualBackProp needs the image size at compile time.*input_signature with height and width"
    ):
        function(np.zeros((1, 24, 24, 3), np.float32))


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", KEYS)
def test_anything_but_a_model_is_rejected(method: str) -> None:
    with pytest.raises(tfviz.UnsupportedModelError, match=r"Expected a keras\.Model\. Received: str \('vgg16'\)"):
        built(method, "vgg16")


@pytest.mark.parametrize("method", KEYS)
def test_an_unbuilt_sequential_model_is_rejected(method: str) -> None:
    model = keras.Sequential([layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(2)], name="fresh")
    with pytest.raises(tfviz.UnsupportedModelError, match=r"'fresh' has never been called.*Call it once on an image"):
        built(method, model)


@pytest.mark.parametrize("method", KEYS)
def test_channels_first_is_rejected_with_the_layers_name(method: str) -> None:
    inputs = keras.Input((3, 9, 9))
    x = layers.Conv2D(4, 3, data_format="channels_first", name="odd_one")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    with pytest.raises(tfviz.UnsupportedModelError, match=r"Layer 'odd_one' uses data_format='channels_first'.*same weights"):
        built(method, model)


@pytest.mark.parametrize("method", [*CAMS, "guided_grad_cam", "visual_backprop"])
def test_a_model_without_convolution_is_rejected_where_it_matters(method: str) -> None:
    with pytest.raises(tfviz.UnsupportedModelError, match=r"saliency"):
        tfviz.METHODS[method](networks.build("dense"))


def test_visual_backprop_requires_activations() -> None:
    model = keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)], name="linear")
    for build in (tfviz.VisualBackProp, tfviz.with_visual_backprop):
        with pytest.raises(
            tfviz.UnsupportedModelError, match="the model 'linear' has no ReLU or other activation that outputs a feature map"
        ):
            build(model)


@pytest.mark.skipif(not hasattr(layers, "AdaptiveAveragePooling2D"), reason="Keras 3.12 does not have this layer")
def test_visual_backprop_names_an_unsupported_operation() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.ReLU()(layers.AdaptiveAveragePooling2D(5, name="shrink")(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    explainer = tfviz.VisualBackProp(model)
    with pytest.raises(tfviz.UnsupportedModelError, match=r"'shrink' \(AdaptiveAveragePooling2D\), from \(5, 5\) to \(6, 6\)"):
        explainer(networks.pictures(model))


@pytest.mark.parametrize("method", networks.EXCITATIONS)
def test_excitation_names_an_operation_without_a_rule(method: str) -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="below")(inputs)
    x = layers.Subtract(name="difference")([x, layers.Conv2D(4, 3, name="other")(inputs)])
    x = layers.Conv2D(4, 3, activation="relu", name="above")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    message = r"Excitation backprop has no rule for 'difference' \(Subtract\).*Explain a layer above this operation"
    for layer in (None, "below"):
        with pytest.raises(tfviz.UnsupportedModelError, match=message):
            tfviz.METHODS[method](model, layer)
    assert tfviz.METHODS[method](model, "above")(networks.pictures(model)).shape == (2, 4, 4)


def test_contrastive_rejects_a_layer_after_the_last_linear_map(model: keras.Model) -> None:
    with pytest.raises(tfviz.UnknownLayerError, match="Layer 'out' comes after the last linear map, where the contrast starts"):
        tfviz.ContrastiveExcitationBackprop(model, "out")


# --- methods and options --------------------------------------------------------------------------


def test_an_unknown_method_lists_similar_names(model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(tfviz.UnknownMethodError, match=r"tfviz has no method 'gradcam'\. Did you mean 'grad_cam'"):
        tfviz.explain(model, images, "gradcam")
    with pytest.raises(tfviz.UnknownMethodError, match=r"tfviz has no method 'lime'\. Available: 'saliency', "):
        tfviz.explain(model, images, "lime")


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None, "8"])
def test_batch_size_must_be_a_positive_integer(batch_size: Any, model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(tfviz.OptionError, match=r"`batch_size` must be a positive integer.*Received: "):
        tfviz.Saliency(model).explain(images, batch_size=batch_size, verbose=0)
    with pytest.raises(tfviz.OptionError, match=r"`batch_size` must be a positive integer.*Received: "):
        tfviz.Saliency(model).show(images, batch_size=batch_size)
    with pytest.raises(tfviz.OptionError, match=r"`batch_size` must be a positive integer.*Received: "):
        tfviz.Saliency(model).explain_files("nowhere", batch_size=batch_size)  # before reading


def test_an_unknown_output_lists_the_known_ones() -> None:
    inputs = keras.Input((6, 6, 3))
    x = layers.Flatten()(inputs)
    model = keras.Model(inputs, {"kind": layers.Dense(2)(x), "color": layers.Dense(3)(x)})
    with pytest.raises(tfviz.OptionError, match=r"The model has no output 'kid'\. Its outputs are 'color', 'kind'"):
        tfviz.Saliency(model, output="kid")


# --- warnings -------------------------------------------------------------------------------------


@pytest.fixture
def warned() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_a_guided_method_warns_of_a_model_without_relu(method: str, warned: list[warnings.WarningMessage]) -> None:
    model = keras.Sequential(
        [keras.Input((6, 6, 3)), layers.Conv2D(2, 3, activation="silu"), layers.Flatten(), layers.Dense(2)]
    )
    tfviz.METHODS[method](model)
    (warning,) = warned
    assert "redirects ReLUs" in str(warning.message)
    assert "The model's activations: silu" in str(warning.message)
    assert warning.filename == __file__  # It points at the user's own line.


class Closed(layers.Layer):
    """A layer whose inner ReLU is hidden, because it calls Python in the middle of TensorFlow."""

    def __init__(self) -> None:
        super().__init__(name="closed")
        self.conv = layers.Conv2D(3, 1)

    def call(self, x: Any) -> Any:
        return tf.nn.relu(self.conv(tf.ensure_shape(tf.py_function(tf.square, [x], tf.float32), [None, 4, 4, 3])))


def test_a_guided_method_warns_of_an_opaque_layer(warned: list[warnings.WarningMessage]) -> None:
    inputs = keras.Input((6, 6, 3))
    x = Closed()(layers.Conv2D(3, 3, activation="relu")(inputs))
    tfviz.GuidedBackprop(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    assert any("cannot redirect ReLUs inside the opaque layer 'closed' (Closed)" in str(warning.message) for warning in warned)


HIDING = {
    "a condition": lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: tf.nn.relu(x), lambda: x),
    "a loop": lambda x: tf.map_fn(tf.nn.relu, x),
    "a loop of Keras": lambda x: keras.ops.map(keras.ops.relu, x),
    "a map of Keras": lambda x: keras.ops.vectorized_map(keras.ops.relu, x),
    "no trace": lambda x: tf.nn.relu(tf.constant(x.numpy())) if tf.executing_eagerly() else tf.convert_to_tensor(x.numpy()),
}


@pytest.mark.parametrize("name", HIDING)
def test_a_guided_method_warns_of_a_relu_in_a_function_of_tensorflow(name: str, warned: list[warnings.WarningMessage]) -> None:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, activation="relu")(inputs)
    x = layers.Lambda(HIDING[name], output_shape=(4, 4, 3), name="hidden")(x)
    tfviz.GuidedBackprop(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    (warning,) = warned
    assert "cannot redirect ReLUs inside the opaque layer 'hidden" in str(warning.message)
    assert "These ReLUs keep their ordinary derivative" in str(warning.message)


def test_no_guided_method_warns_of_a_function_without_a_relu(warned: list[warnings.WarningMessage]) -> None:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, activation="relu")(inputs)
    x = layers.Lambda(lambda x: tf.maximum(tf.abs(x), 0.1) * tf.nn.leaky_relu(x), output_shape=(4, 4, 3))(x)
    tfviz.GuidedBackprop(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    assert warned == []


def test_maps_that_are_zero_everywhere_are_counted_in_a_warning(warned: list[warnings.WarningMessage]) -> None:
    model = networks.build("plain")
    model.get_layer("c2").set_weights([-abs(weight) - 1 for weight in model.get_layer("c2").get_weights()])
    tfviz.GradCAM(model, "c2").explain(abs(networks.pictures(model, 3)), 1, verbose=0)
    (warning,) = warned
    assert "3 of 3 maps of grad_cam at layer 'c2' are zero everywhere" in str(warning.message)
    assert warning.filename == __file__


# --- near matches ---------------------------------------------------------------------------------


def test_near_matches_are_similar_names_or_the_first_ones() -> None:
    assert near_matches("conv_1", ["conv1", "dense"]) == "Did you mean 'conv1'?"
    assert near_matches("conv", ["conv1", "conv2"]) in ("Did you mean 'conv1' or 'conv2'?", "Did you mean 'conv2' or 'conv1'?")
    assert near_matches("xyz", list("abcdefg")) == "Available: 'a', 'b', 'c', 'd', 'e' and 2 more."
    assert near_matches("xyz", ["a"]) == "Available: 'a'."
