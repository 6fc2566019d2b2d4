"""SmoothGrad, SquareGrad and VarGrad around other methods."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks, reference
from support.explainers import KEYS, SAMPLED, built
from support.zoo import ZOO, noise

import tfviz

TARGETS = [1, 3]
METHODS = ("smooth_grad", "square_grad", "var_grad")
SHAPE = (20, 17, 3)
DRAWS = np.random.default_rng(6).normal(size=(4, *SHAPE))
OPTIONS: dict[str, dict[str, Any]] = {"integrated_gradients": {"steps": 2}, "occlusion": {"window": 9}}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("plain")


@pytest.fixture(scope="module")
def images(model: keras.Model) -> np.ndarray:
    return networks.pictures(model)


@pytest.fixture(scope="module")
def net(model: keras.Model) -> reference.Network:
    return reference.Network(model)


def assert_equal(got: Any, want: np.ndarray, tolerance: float = 1e-4) -> None:
    assert abs(np.asarray(want)).max() > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * abs(np.asarray(want)).max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", ["guided_backprop", "grad_cam", "integrated_gradients", "occlusion", "score_cam"])
def test_every_base_method_equals_the_reference(
    base: str, method: str, model: keras.Model, net: reference.Network, images: np.ndarray
) -> None:
    weights = np.eye(5)[TARGETS]
    arguments: dict[str, tuple[Any, ...]] = {
        "grad_cam": ("c2",),
        "score_cam": ("c2",),
        "integrated_gradients": ([np.zeros((2, *SHAPE))], 2),
        "occlusion": (9,),
    }
    maps = lambda x: getattr(reference, base)(net, x, weights, *arguments.get(base, ()))  # noqa: E731
    want = getattr(reference, method)(maps, images, DRAWS)
    explainer = tfviz.METHODS[method](model, base, draws=DRAWS, **OPTIONS.get(base, {}))
    assert_equal(explainer(images, TARGETS), want)


@pytest.mark.parametrize("base", KEYS)
def test_without_noise_the_mean_is_the_base_method(base: str, model: keras.Model, images: np.ndarray) -> None:
    # `samples` is an option of SmoothGrad itself
    options = {key: value for key, value in built(base, model).options.items() if key != "samples"}
    options |= {"masks": np.ones((2, *SHAPE[:2]))} if base == "rise" else {}
    explainer, alone = tfviz.SmoothGrad(model, base, noise=0, samples=3, **options), tfviz.METHODS[base](model, **options)
    target = TARGETS if alone.takes_target else None
    assert_equal(explainer(images, target), alone(images, target), 1e-5)
    assert explainer.style == alone.style
    assert explainer.takes_target == alone.takes_target
    if base not in SAMPLED:
        variance = tfviz.VarGrad(model, base, noise=0, samples=3)(images, target).numpy()
        assert abs(variance).max() <= 1e-10 * abs(alone(images, target).numpy()).max() ** 2


@pytest.mark.parametrize("sigma", [0.05, np.float32(0.5)])
def test_noise_is_relative_to_the_range_of_each_image(
    sigma: float, model: keras.Model, net: reference.Network, images: np.ndarray
) -> None:
    images = images * np.array([1, 7])[:, None, None, None]
    maps = partial(reference.saliency, net, weights=np.eye(5)[TARGETS])
    for method in METHODS:
        want = getattr(reference, method)(maps, images, DRAWS, float(sigma))
        assert_equal(tfviz.METHODS[method](model, draws=DRAWS, noise=sigma)(images, TARGETS), want)


def test_each_sample_has_its_noise_from_the_seed(model: keras.Model, net: reference.Network, images: np.ndarray) -> None:
    draws = [tf.random.stateless_normal(SHAPE, [9, k], alg="philox").numpy() for k in range(5)]
    maps = partial(reference.saliency, net, weights=np.eye(5)[TARGETS])
    explainer = tfviz.SmoothGrad(model, samples=5, seed=9)
    assert_equal(explainer(images, TARGETS), reference.smooth_grad(maps, images, np.stack(draws)))
    for options in ({"seed": 8}, {"samples": 4}):
        other = tfviz.SmoothGrad(model, **{"samples": 5, "seed": 9, **options})(images, TARGETS).numpy()
        assert abs(other - explainer(images, TARGETS).numpy()).max() > 0.01 * abs(other).max()


def test_the_variance_keeps_its_digits_beside_a_large_mean() -> None:
    """E[M²] − E[M]² in float32 would be off by 100 % here."""
    inputs = keras.Input((4, 4, 1))
    x = layers.Flatten()(inputs)
    model = keras.Model(inputs, layers.Concatenate()([1e4 * x + x**2, x]))
    images, draws = noise(4, 4, 1).astype(np.float64), np.random.default_rng(1).normal(size=(40, 4, 4, 1))
    maps = lambda x: 1e4 + 2 * x  # noqa: E731 - the gradient of the score
    want = reference.var_grad(maps, images, draws)
    weights = np.repeat(np.eye(2)[[0]], 16, axis=1)
    for size in (1, 7, 80):
        got = tfviz.VarGrad(model, draws=draws, batch_size=size)(images, weights)
        np.testing.assert_allclose(got, want, rtol=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_base_with_several_outputs_or_inputs_is_explained(method: str) -> None:
    species = ZOO["outputs in a dict"]
    model = species.model()
    images = species.images(model)
    chosen = tfviz.METHODS[method](model, samples=2, output="kind")(images, 1)
    assert_equal(tfviz.METHODS[method](model, samples=2)(images, lambda outputs: outputs["kind"][:, 1]), chosen)
    species = ZOO["two images"]
    model = species.model()
    maps = tfviz.METHODS[method](model, samples=2)(species.images(model), 1)
    assert set(maps) == {"left", "right"}
    assert all(np.any(one) for one in maps.values())


def test_noise_of_two_inputs_differs() -> None:
    left, right = keras.Input((6, 6, 1), name="left"), keras.Input((6, 6, 1), name="right")
    x = layers.Flatten()(left * left + right * right)
    model = keras.Model([left, right], layers.Dense(2, kernel_initializer="ones")(x))
    one = noise(6, 6, 1)
    first, second = tfviz.SmoothGrad(model, samples=2)([one, one], 0)
    assert abs(first - second).numpy().max() > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_a_segmentation_network_is_explained_at_positions(method: str) -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    model = networks.with_random_weights(keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(x)), 1)
    explainer = tfviz.METHODS[method](model, samples=3)
    assert np.any(explainer(networks.pictures(model), tfviz.At(1, (4, 5))))
    with pytest.raises(tfviz.TargetError, match="not \\(N, classes\\)"):
        explainer(networks.pictures(model))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 0}, "`samples` must be a positive integer"),
        ({"noise": -0.1}, r"`noise` must be a non-negative number\. Received: -0\.1"),
        ({"noise": np.nan}, "`noise` must be a non-negative number"),
        ({"noise": "0.1"}, "`noise` must be a non-negative number"),
        ({"noise": True}, "`noise` must be a non-negative number"),
        ({"seed": 2**31}, "`seed` must be an integer from 0 to 2147483647"),
        ({"seed": 0.5}, "`seed` must be an integer"),
        ({"draws": np.zeros((0, *SHAPE))}, "`samples` must be a positive integer"),
        ({"draws": "noise"}, "`draws` must be an array of numbers"),
        ({"draws": np.full((2, *SHAPE), np.nan)}, "`draws` contains NaN or infinity"),
        ({"batch_size": 1.5}, "`batch_size` must be a positive integer"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_wrong_options_are_rejected(method: str, options: dict[str, Any], said: str, model: keras.Model) -> None:
    with pytest.raises(tfviz.OptionError, match=said):
        tfviz.METHODS[method](model, **options)


def test_draws_of_another_size_are_rejected(model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(
        tfviz.ImageError, match=r"Each sample in `draws` must have .* Received: `draws` of shape \(2, 9, 9, 3\)"
    ):
        tfviz.SmoothGrad(model, draws=np.zeros((2, 9, 9, 3)))(images, 1)
    for draws in (np.zeros(SHAPE), np.zeros(3)):
        with pytest.raises(tfviz.ImageError, match="Each sample in `draws` must have the shape"):
            tfviz.SmoothGrad(model, draws=draws)(images, 1)


def test_the_base_methods_errors_pass_through(model: keras.Model) -> None:
    with pytest.raises(tfviz.UnknownMethodError, match="no method 'salience'"):
        tfviz.SmoothGrad(model, "salience")
    with pytest.raises(tfviz.UnknownLayerError, match="c9"):
        tfviz.SmoothGrad(model, "grad_cam", layer="c9")
    with pytest.raises(TypeError, match="layer"):
        tfviz.SmoothGrad(model, layer="c1")
    assert tfviz.SmoothGrad(model, "grad_cam", layer="c1").options == {"method": "grad_cam", "layer": "c1"}
