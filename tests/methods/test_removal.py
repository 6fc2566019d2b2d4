"""Occlusion and RISE: windows, masks, and the value of removed pixels."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks, reference
from support.zoo import ZOO, alive, noise

import tfviz
from tfviz.images.reference_colors import mean_color
from tfviz.models import preprocessing_of

TARGETS = [1, 3]
SIZE = (20, 17)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("plain")


@pytest.fixture(scope="module")
def images(model: keras.Model) -> np.ndarray:
    return networks.pictures(model)


@pytest.fixture(scope="module")
def net(model: keras.Model) -> reference.Network:
    return reference.Network(model)


def assert_equal(got: Any, want: np.ndarray) -> None:
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())


COLORS = (0.7, np.float32(-1), np.array([0.5, -1, 2]), [1, 0, 0])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": 5},
        {"window": 5, "stride": 2},
        {"window": 2, "stride": 4},  # pixels between the windows
        {"window": 3, "stride": 20},
        {"window": 40},
        {"window": np.int64(6), "stride": np.int32(6)},
        *({"window": 8, "value": color} for color in COLORS),
    ],
)
def test_occlusion_equals_the_reference(
    options: dict[str, Any], model: keras.Model, net: reference.Network, images: np.ndarray
) -> None:
    want = reference.occlusion(net, images, np.eye(5)[TARGETS], **options)
    assert_equal(tfviz.Occlusion(model, **options)(images, TARGETS), want)
    default = reference.occlusion(net, images, np.eye(5)[TARGETS])
    assert (abs(want - default).max() > 1e-3 * abs(default).max()) == bool(options)


@pytest.mark.parametrize(("height", "width", "windows"), [(20, 17, 10 * 8), (7, 7, 7 * 7), (14, 5, 13 * 4)])
def test_the_default_window_is_a_seventh_of_the_height(height: int, width: int, windows: int) -> None:
    inputs = keras.Input((height, width, 1))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    explainer = tfviz.Occlusion(model)
    assert explainer.copies_per_image([tf.zeros((1, height, width, 1))]) == windows
    w = -(-height // 7)
    assert windows == np.prod([len(reference.removal.corners(n, w, -(-w // 2))) for n in (height, width)])


def test_removed_pixels_get_the_mean_color_by_default() -> None:
    model = tfviz.load_model("shapes")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 96, 96, 3)).astype("float32")
    color = mean_color(preprocessing_of(model))
    for default, given in (
        (tfviz.Occlusion(model, window=40), tfviz.Occlusion(model, window=40, value=color)),
        (tfviz.RISE(model, samples=4), tfviz.RISE(model, samples=4, value=color)),
    ):
        want = given(images, 2).numpy()
        np.testing.assert_allclose(default(images, 2), want, rtol=1e-5, atol=1e-6 * abs(want).max())
    far = tfviz.Occlusion(model, window=40, value=color + 1)(images, 2).numpy()
    assert abs(far - tfviz.Occlusion(model, window=40)(images, 2).numpy()).max() > 1e-3 * abs(far).max()


def test_the_drop_is_positive_where_the_score_needs_the_pixel() -> None:
    inputs = keras.Input((6, 6, 1))
    x = layers.Flatten()(inputs)
    model = keras.Model(inputs, layers.Concatenate()([x[:, 7:8], -x[:, 7:8]]))
    image = np.ones((1, 6, 6, 1), np.float32)
    drops = tfviz.Occlusion(model, window=1)(image, 0).numpy()[0]
    np.testing.assert_allclose(drops, np.eye(36)[7].reshape(6, 6), atol=1e-6)
    np.testing.assert_allclose(tfviz.Occlusion(model, window=1)(image, 1)[0], -drops, atol=1e-6)


# --- RISE -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"kept": 0.25}, *({"value": color} for color in COLORS)])
def test_rise_with_given_masks_equals_the_reference(
    options: dict[str, Any], model: keras.Model, net: reference.Network, images: np.ndarray
) -> None:
    masks = np.random.default_rng(8).uniform(size=(6, *SIZE))
    want = reference.rise(net, images, np.eye(5)[TARGETS], masks, **options)
    assert_equal(tfviz.RISE(model, masks=masks, **options)(images, TARGETS), want)


@pytest.mark.parametrize("options", [{}, {"seed": 4}, {"grid": 3}, {"grid": 30}, {"kept": 0.8}, {"samples": 9}])
def test_rise_draws_its_masks_from_the_seed(
    options: dict[str, Any], model: keras.Model, net: reference.Network, images: np.ndarray
) -> None:
    drawn = {"samples": 8, "grid": 7, "kept": 0.5, "seed": 0} | options
    masks = reference.rise_masks(drawn["seed"], drawn["samples"], drawn["grid"], drawn["kept"], SIZE)
    want = reference.rise(net, images, np.eye(5)[TARGETS], masks, drawn["kept"])
    got = tfviz.RISE(model, **({"samples": 8} | options))(images, TARGETS)
    assert_equal(got, want)
    if options:
        assert abs(got - tfviz.RISE(model, samples=8)(images, TARGETS)).numpy().max() > 1e-3 * abs(want).max()


def test_masks_keep_their_share_of_the_image(model: keras.Model, images: np.ndarray) -> None:
    masks = reference.rise_masks(0, 300, 7, 0.3, SIZE)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert abs(masks.mean() - 0.3) < 0.02
    assert abs(masks.mean(0) - 0.3).max() < 0.12, "no place is preferred"


def test_all_ones_masks_give_a_constant_map(model: keras.Model, images: np.ndarray) -> None:
    p = model(images).numpy()[[0, 1], TARGETS]
    got = tfviz.RISE(model, masks=np.ones((3, *SIZE)), kept=1)(images, TARGETS)
    np.testing.assert_allclose(got, np.broadcast_to(p[:, None, None], (2, *SIZE)), rtol=1e-5)
    np.testing.assert_allclose(tfviz.RISE(model, samples=3, kept=1)(images, TARGETS), got, rtol=1e-5)


def test_rise_weighs_by_probabilities_also_of_a_model_that_ends_in_logits() -> None:
    with_softmax, without = networks.build("plain"), networks.plain()
    without.layers[-1].activation = keras.activations.linear
    without.set_weights(with_softmax.get_weights())
    images = networks.pictures(without)
    for score in ("logits", "outputs"):
        maps = [tfviz.RISE(one, samples=5, score=score)(images, 1).numpy() for one in (with_softmax, without)]
        np.testing.assert_allclose(*maps, rtol=1e-4)


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("occlusion", {"window": 0}, "`window` must be a positive integer"),
        ("occlusion", {"stride": 1.5}, "`stride` must be a positive integer"),
        ("occlusion", {"value": np.nan}, "`value` contains NaN or infinity"),
        ("occlusion", {"value": "grey"}, "`value` must be an array of numbers"),
        (
            "occlusion",
            {"value": [1, 2]},
            r"`value` must be one number, or one number per image channel. Received: shape \(2,\)",
        ),
        ("rise", {"value": np.zeros((20, 17, 3))}, r"one number per image channel.*Received: shape \(20, 17, 3\)"),
        ("rise", {"samples": 0}, "`samples` must be a positive integer"),
        ("rise", {"grid": 0}, "`grid` must be a positive integer"),
        ("rise", {"kept": 0}, r"`kept` must be a probability greater than 0 and at most 1\. Received: 0"),
        ("rise", {"kept": 1.5}, "`kept` must be a probability"),
        ("rise", {"kept": True}, "`kept` must be a probability"),
        ("rise", {"seed": -1}, "`seed` must be an integer from 0"),
        ("rise", {"masks": np.full((2, *SIZE), np.inf)}, "`masks` contains NaN or infinity"),
        ("rise", {"masks": np.zeros((0, *SIZE))}, "`samples` must be a positive integer"),
    ],
)
def test_wrong_options_are_rejected(method: str, options: dict[str, Any], said: str, model: keras.Model) -> None:
    with pytest.raises(tfviz.OptionError, match=said):
        tfviz.METHODS[method](model, **options)


def test_masks_of_another_size_are_rejected(model: keras.Model, images: np.ndarray) -> None:
    for masks in (np.ones((2, 9, 9)), np.ones(SIZE), np.ones((2, *SIZE, 3))):
        with pytest.raises(
            tfviz.ImageError, match=r"must have the same size as the images, \(20, 17\)\. Received: `masks` of shape"
        ):
            tfviz.RISE(model, masks=masks)(images, 1)


@pytest.mark.parametrize("method", ["occlusion", "rise", "score_cam"])
def test_a_model_with_two_images_is_rejected(method: str) -> None:
    message = rf"{method} needs exactly one image input, but .* has 2\. Use saliency or integrated_gradients, or build"
    with pytest.raises(tfviz.UnsupportedModelError, match=message):
        tfviz.METHODS[method](ZOO["two images"].model())


def test_a_vector_beside_the_image_is_not_masked() -> None:
    species = ZOO["image and vector"]
    model, twin = species.build("softmax"), species.build(None)
    twin.set_weights(model.get_weights())
    image, vector = species.images(model)
    black = np.zeros_like(image)
    logits, without = (twin([x, vector]).numpy()[:, 1] for x in (image, black))
    drops = tfviz.Occlusion(model, window=100)([image, vector], 1).numpy()
    np.testing.assert_allclose(drops, np.broadcast_to((logits - without)[:, None, None], image.shape[:3]), rtol=1e-3)
    kept = tfviz.RISE(model, masks=np.ones((2, *image.shape[1:3])), kept=1)([image, vector], 1).numpy()
    p = model([image, vector]).numpy()[:, 1]
    np.testing.assert_allclose(kept, np.broadcast_to(p[:, None, None], image.shape[:3]), rtol=1e-4)


@pytest.mark.parametrize("method", ["occlusion", "rise"])
@pytest.mark.parametrize("size", [(24, 3), (6, 8, 10, 2)])
def test_series_and_volumes_are_masked_along_all_their_axes(method: str, size: tuple[int, ...]) -> None:
    rank = len(size) - 1
    conv = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    pool = {1: layers.GlobalAveragePooling1D, 3: layers.GlobalAveragePooling3D}[rank]
    inputs = keras.Input(size)
    x = layers.Dense(3, activation="softmax")(pool()(conv(4, 3, activation="relu")(inputs)))
    model, images = alive(keras.Model(inputs, x)), noise(*size)
    options = {"samples": 5} if method == "rise" else {}
    maps = tfviz.METHODS[method](model, **options)(images, 1).numpy()
    assert maps.shape == images.shape[:-1]
    assert np.ptp(maps) > 0
