"""CAMs of models with several images, and with small gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, tree
from support import networks

import tfviz


def two_eyes() -> tuple[keras.Model, dict[str, np.ndarray]]:
    """A network with a separate convolution for each of two images."""
    sides = {side: keras.Input((12, 10, 3), name=side) for side in ("left", "right")}
    vector = keras.Input((4,), name="vector")
    maps = [layers.Conv2D(5, 3, activation="relu", name=f"c_{side}")(image) for side, image in sides.items()]
    x = layers.Concatenate()([*map(layers.GlobalAveragePooling2D(), maps), vector])
    model = keras.Model({**sides, "vector": vector}, layers.Dense(4)(layers.Dense(6, activation="relu")(x)))
    random = np.random.default_rng(1)
    images = {side: random.normal(size=(2, 12, 10, 3)).astype(np.float32) for side in sides}
    return networks.with_random_weights(model, 0), images | {"vector": random.normal(size=(2, 4)).astype(np.float32)}


@pytest.mark.parametrize(("seen", "other"), [("left", "right"), ("right", "left")])
def test_a_map_belongs_to_the_image_that_its_layer_depends_on(seen: str, other: str) -> None:
    model, images = two_eyes()
    found = tfviz.GuidedGradCAM(model, f"c_{seen}")(images, 1)
    guided, cam = tfviz.GuidedBackprop(model)(images, 1), tfviz.GradCAM(model, f"c_{seen}")(images, 1)
    assert all(np.any(part) for part in (cam, *tree.flatten(guided)))
    resized = tf.image.resize(cam[..., None], (12, 10))
    np.testing.assert_allclose(found[seen], guided[seen] * resized, rtol=1e-4, atol=1e-7)
    # It has no position in that map.
    np.testing.assert_array_equal(found[other], np.zeros((2, 12, 10, 3)))
    np.testing.assert_allclose(found["vector"], guided["vector"], rtol=1e-5)


@pytest.mark.parametrize("size", [1, 1e-8, 1e-19, 1e-24, 1e15])
def test_grad_cam_plus_plus_matches_the_paper_for_gradients_of_any_size(size: float) -> None:
    inputs = keras.Input((9, 8, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(inputs)
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))), 0)
    images = networks.pictures(model)
    found = tfviz.GradCAMPlusPlus(model, "conv")(images, lambda y: size * y[:, 1]).numpy() / size
    A = np.asarray(keras.Model(inputs, x)(images), np.float64)
    # Because of the average, all elements of a channel have the same gradient.
    G = size * np.asarray(model.layers[-1].kernel, np.float64)[:, 1] / np.prod(A.shape[1:3]) * np.ones(A.shape)
    alpha = G**2 / (2 * G**2 + A.sum((1, 2), keepdims=True) * G**3)
    weights = (alpha * np.maximum(G, 0)).sum((1, 2), keepdims=True)
    want = np.maximum((weights * A).sum(-1), 0) / size
    assert want.max() > 0
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * want.max())
