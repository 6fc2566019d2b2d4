"""Integrated and expected gradients: baselines, steps, samples, and the completeness error."""

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
from tfviz.images.reference_colors import black, mean_color, white
from tfviz.models import preprocessing_of

TARGETS = [1, 3]


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


def differ(first: Any, second: Any) -> bool:
    first, second = np.asarray(first), np.asarray(second)
    return bool(abs(first - second).max() > 1e-3 * abs(second).max())


# --- integrated gradients -------------------------------------------------------------------------


def arrays(images: np.ndarray) -> dict[str, Any]:
    """Return baselines as a user passes them, and as the reference takes them."""
    one, each = noise(*images.shape[1:], count=1, seed=3)[0], noise(*images.shape[1:], seed=4)
    zero, blur = np.zeros(images.shape), reference.blurred(images)
    return {
        "black": ("black", [zero]),
        "mean": ("mean", [zero]),
        "blur": ("blur", [blur]),
        "one array": (one, [np.stack([one, one])]),
        "one array in a batch": (one[None], [np.stack([one, one])]),
        "a tensor": (tf.constant(one), [np.stack([one, one])]),
        "one for each": (each, [each]),
        "a list": (["black", "blur", one, each], [zero, blur, np.stack([one, one]), each]),
    }


KINDS = ("black", "mean", "blur", "one array", "one array in a batch", "a tensor", "one for each", "a list")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_baseline_equals_the_reference(
    kind: str, model: keras.Model, net: reference.Network, images: np.ndarray
) -> None:
    baseline, baselines = arrays(images)[kind]
    want = reference.integrated_gradients(net, images, np.eye(5)[TARGETS], baselines, 4)
    assert_equal(tfviz.IntegratedGradients(model, baseline=baseline, steps=4)(images, TARGETS), want)


def test_more_steps_are_another_sum(model: keras.Model, net: reference.Network, images: np.ndarray) -> None:
    found = []
    for steps in (1, 5):
        found.append(tfviz.IntegratedGradients(model, steps=np.int64(steps))(images, TARGETS).numpy())
        zero = np.zeros(images.shape)
        assert_equal(found[-1], reference.integrated_gradients(net, images, np.eye(5)[TARGETS], [zero], steps))
    assert differ(*found)


def test_named_colors_are_those_of_the_models_preprocessing() -> None:
    model = tfviz.load_model("shapes")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 96, 96, 3)).astype("float32")
    found = {}
    for name, color in {"black": black, "mean": mean_color, "white": white}.items():
        array = np.broadcast_to(color(preprocessing_of(model)), images.shape[1:])
        found[name], same = (tfviz.IntegratedGradients(model, baseline=one, steps=2)(images, 3) for one in (name, array))
        np.testing.assert_allclose(found[name], same, rtol=1e-5, atol=1e-6 * abs(same.numpy()).max())
    assert differ(found["black"], found["white"])
    assert differ(found["black"], found["mean"])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_baselines_of_each_image_follow_their_images_in_any_batching(batch_size: int, model: keras.Model) -> None:
    images, each = networks.pictures(model, 5), noise(20, 17, 3, count=5, seed=4)
    explainer = tfviz.IntegratedGradients(model, baseline=each, steps=2)
    want = explainer(images, 1).numpy()
    got = explainer.explain(images, 1, batch_size=batch_size, verbose=0)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * abs(want).max())
    small = tfviz.IntegratedGradients(model, baseline=each, steps=2, batch_size=batch_size)
    np.testing.assert_allclose(small(images, 1), want, rtol=0, atol=1e-5 * abs(want).max())
    np.testing.assert_allclose(explainer(images, 1), want, rtol=0, atol=1e-5 * abs(want).max())
    alone = tfviz.IntegratedGradients(model, baseline=each[3], steps=2)(images[3:4], 1)
    np.testing.assert_allclose(want[3:4], alone, rtol=0, atol=1e-5 * abs(want).max())


def test_a_wrong_number_of_baselines_is_rejected(model: keras.Model) -> None:
    images = networks.pictures(model, 3)
    explainer = tfviz.IntegratedGradients(model, baseline=noise(20, 17, 3, count=2), steps=1)
    with pytest.raises(
        tfviz.ImageError,
        match=r"Expected one baseline per image\. Received: 2 baselines for 3 images\. Pass one baseline per image, or",
    ):
        explainer(images, 1)
    with pytest.raises(tfviz.ImageError, match="Received: 2 baselines for at least 3 images"):
        explainer.explain(images, 1, batch_size=1, verbose=0)
    assert explainer(images[:2], 1).shape == (2, 20, 17, 3), "the failure left nothing behind"


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        ("blak", r"Unknown baseline 'blak'\. Did you mean 'black'"),
        ([], "`baseline` is an empty list"),
        ("white", "The baseline 'white' depends on the preprocessing, which is unknown for the model 'model'"),
        (np.full((20, 17, 3), np.nan), "`baseline` contains NaN or infinity"),
        (["black", "grey"], "Unknown baseline 'grey'"),
        ([np.zeros((2, 20, 17, 3)), np.zeros((3, 20, 17, 3))], r"the same number of rows\. Received: \[2, 3\]"),
        ([np.zeros(3), object()], "`baseline` must be an array of numbers"),
    ],
)
def test_a_wrong_baseline_is_rejected(baseline: Any, said: str) -> None:
    inputs = keras.Input((20, 17, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(inputs)), name="model")
    with pytest.raises(tfviz.OptionError, match=said):
        tfviz.IntegratedGradients(model, baseline=baseline)


@pytest.mark.parametrize("shape", [(20, 17), (20, 18, 3), (2, 20, 18, 3), (3,), ()])
def test_a_baseline_of_another_size_is_rejected(shape: tuple[int, ...], model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(tfviz.ImageError, match=r"The baseline has shape .* but the images have shape"):
        tfviz.IntegratedGradients(model, baseline=np.zeros(shape))(images, 1)


@pytest.mark.parametrize("steps", [0, -1, 2.0, True, "8", None])
def test_steps_must_be_a_positive_integer(steps: Any, model: keras.Model) -> None:
    with pytest.raises(tfviz.OptionError, match=r"`steps` must be a positive integer\. Received: "):
        tfviz.IntegratedGradients(model, steps=steps)


def test_a_vector_beside_the_image_starts_from_0() -> None:
    species = ZOO["image and vector"]
    model = species.model()
    image, vector = species.images(model)
    blurred = tfviz.IntegratedGradients(model, baseline="blur", steps=64)
    maps = blurred([image, vector], 1)
    assert blurred.completeness_error([image, vector], maps, 1).max() < 0.05
    assert [m.shape for m in maps] == [image.shape, vector.shape]
    assert np.any(maps[1])


def test_the_image_may_be_any_of_the_inputs() -> None:
    vector, image = keras.Input((5,)), keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    model = alive(keras.Model([vector, image], layers.Dense(3)(layers.Concatenate()([x, vector]))))
    given = [noise(5), noise(12, 10, 3)]
    baseline = noise(12, 10, 3, count=1, seed=2)
    for one in ("blur", baseline):
        maps = tfviz.IntegratedGradients(model, baseline=one, steps=2)(given, 1)
        assert [m.shape for m in maps] == [(2, 5), (2, 12, 10, 3)]
    draws = noise(12, 10, 3, count=3)
    assert tfviz.SmoothGrad(model, draws=draws)(given, 1)[1].shape == (2, 12, 10, 3)


# --- completeness ---------------------------------------------------------------------------------


def quadratic() -> keras.Model:
    """A score that one step integrates exactly, and another that it does not."""
    inputs = keras.Input((2, 2, 1))
    x = layers.Flatten()(inputs)
    return keras.Model(inputs, layers.Concatenate()([x**2, x**4]))


def test_the_completeness_error_is_measured() -> None:
    model, images = quadratic(), np.full((2, 2, 2, 1), 2.0, np.float32)
    images[1] = 0
    explainer = tfviz.IntegratedGradients(model, steps=1)
    exact = explainer(images, 0)
    np.testing.assert_allclose(explainer.completeness_error(images, exact, 0), [0, 0], atol=1e-6)
    with pytest.warns(UserWarning, match="have a sum that differs from the score difference"):
        rough = explainer(images, 4)  # 2 · 4 · 1³ = 8 instead of 2⁴ = 16
    np.testing.assert_allclose(explainer.completeness_error(images, rough, 4), [0.5, 0], atol=1e-6)
    np.testing.assert_array_equal(explainer.completeness_error(images, np.ones_like(rough), 4)[1], np.inf)
    assert explainer.completeness_error(images, exact, [0, 4]).dtype == np.float32


@pytest.mark.parametrize("is_call", [True, False])
def test_an_error_above_5_percent_is_warned_of_once(is_call: bool) -> None:
    model, images = quadratic(), np.full((3, 2, 2, 1), 2.0, np.float32)
    explainer = tfviz.IntegratedGradients(model, steps=1)
    explain = explainer if is_call else (lambda x, t: explainer.explain(x, t, batch_size=2, verbose=0))
    message = (
        r"[23] of [23] maps of integrated_gradients have a sum that differs from the score difference by more than 5% \("
        r"up to 50%\)\. Increase `steps` \(now 1\), or choose a baseline whose score differs more\."
    )
    with pytest.warns(UserWarning, match=message) as caught:
        explain(images, 4)
        explain(images, 4)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_small_error_is_not_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    model = quadratic()
    assert np.any(tfviz.IntegratedGradients(model, steps=8)(np.ones((1, 2, 2, 1), np.float32), 4))
    assert not recwarn.list


# --- expected gradients ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backgrounds() -> np.ndarray:
    return noise(20, 17, 3, count=9, seed=5)


def test_expected_gradients_equal_the_reference(
    model: keras.Model, net: reference.Network, images: np.ndarray, backgrounds: np.ndarray
) -> None:
    positions = np.random.default_rng(2).uniform(size=12)
    want = reference.expected_gradients(net, images, np.eye(5)[TARGETS], backgrounds, positions)
    assert_equal(tfviz.ExpectedGradients(model, backgrounds, positions=positions)(images, TARGETS), want)
    assert_equal(tfviz.ExpectedGradients(model, backgrounds.tolist(), positions=list(positions))(images, TARGETS), want)
    assert differ(tfviz.ExpectedGradients(model, backgrounds[::-1], positions=positions)(images, TARGETS), want)


def test_positions_are_drawn_one_in_each_part_of_the_path(
    model: keras.Model, images: np.ndarray, backgrounds: np.ndarray
) -> None:
    explainer = tfviz.ExpectedGradients(model, backgrounds, samples=10, seed=3)
    numbers, positions = (np.asarray(x) for x in explainer.path())
    np.testing.assert_array_equal(numbers, [*range(9), 0])
    np.testing.assert_array_equal(np.floor(positions * 10), range(10))
    uniform = np.random.Generator(np.random.Philox(3)).random(10)
    np.testing.assert_allclose(positions, (np.arange(10) + uniform) / 10, rtol=1e-6)
    want = explainer(images, 1)
    np.testing.assert_array_equal(tfviz.ExpectedGradients(model, backgrounds, samples=10, seed=3)(images, 1), want)
    for options in ({"seed": 4}, {"samples": 11}):
        other = tfviz.ExpectedGradients(model, backgrounds, **{"samples": 10, "seed": 3, **options})(images, 1)
        assert differ(other, want)


@pytest.mark.parametrize(
    ("backgrounds", "options", "said"),
    [
        (None, {}, r"expected_gradients needs at least 8 background images of shape \(B, H, W, C\)\. Received: none"),
        (np.zeros((7, 20, 17, 3)), {}, r"at least 8 background images.*Received: shape \(7, 20, 17, 3\)"),
        (np.full((8, 20, 17, 3), np.inf), {}, "`backgrounds` contains NaN or infinity"),
        (
            np.zeros((8, 20, 17, 3)),
            {"positions": [0.5, 1.5]},
            r"Received: shape \(2,\), with values from 0\.5 to 1\.5",
        ),
        (np.zeros((8, 20, 17, 3)), {"positions": [[0.5]]}, r"Received: shape \(1, 1\)"),
        (np.zeros((8, 20, 17, 3)), {"positions": []}, "`positions` must be numbers from 0 to 1"),
        (np.zeros((8, 20, 17, 3)), {"samples": 0}, "`samples` must be a positive integer"),
        (np.zeros((8, 20, 17, 3)), {"seed": -1}, r"`seed` must be an integer from 0 to 2147483647\. Received: -1"),
        (np.zeros((8, 20, 17, 3)), {"seed": None}, "`seed` must be an integer"),
        (np.zeros((8, 20, 17, 3)), {"batch_size": 0}, "`batch_size` must be a positive integer"),
    ],
)
def test_wrong_options_of_expected_gradients_are_rejected(
    backgrounds: Any, options: dict[str, Any], said: str, model: keras.Model
) -> None:
    with pytest.raises(tfviz.OptionError, match=said):
        tfviz.ExpectedGradients(model, backgrounds, **options)


def test_backgrounds_of_another_size_are_rejected(model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(tfviz.ImageError, match=r"The backgrounds have shape \(8, 9, 9, 3\), but the images have shape"):
        tfviz.ExpectedGradients(model, np.zeros((8, 9, 9, 3)))(images, 1)


def test_expected_gradients_need_a_model_with_one_input() -> None:
    model = ZOO["two images"].model()
    with pytest.raises(
        tfviz.UnsupportedModelError, match=r"expected_gradients supports only models with one input, but .* has 2\."
    ):
        tfviz.ExpectedGradients(model, np.zeros((8, 12, 10, 3)))
