"""The target `Against`: a class in contrast to its nearest rivals."""

from __future__ import annotations

import pickle
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks, reference
from support.explainers import TARGETED, built

import tfviz
from tfviz.seeds import FunctionSeed

NAMES = ["cat", "dog", "fish", "bird", "snake"]
CLASSES = np.array([1, 3])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("plain")


@pytest.fixture(scope="module")
def images(model: keras.Model) -> np.ndarray:
    return networks.pictures(model)


@pytest.mark.parametrize("options", [{}, {"classes": 1}, {"classes": 2, "alpha": 0.3}, {"classes": 40}, {"alpha": -2}])
@pytest.mark.parametrize("name", ["plain", "residual", "dense"])
def test_score_and_gradient_equal_the_reference(name: str, options: dict[str, Any]) -> None:
    model = networks.build(name)
    net, images = reference.Network(model), networks.pictures(model)
    logits = net.logits(images)
    score, weights = reference.against(logits, CLASSES, options.get("classes", 3), options.get("alpha", 1.0))
    target = tfviz.Against(CLASSES, **options)
    np.testing.assert_allclose(target(tf.constant(logits, tf.float32)), score, rtol=1e-4, atol=1e-5 * abs(logits).max())
    want = reference.saliency(net, images, weights)
    np.testing.assert_allclose(tfviz.Saliency(model)(images, target), want, rtol=0, atol=1e-4 * abs(want).max())
    if options:
        default = reference.against(logits, CLASSES)[1]
        assert (abs(weights - default).max() > 1e-3) == (options != {"classes": 40} or logits.shape[1] > 4)


def test_ties_go_to_the_lower_index_and_never_to_the_class_itself() -> None:
    S = tf.constant([[1.0, 1.0, 1.0, 1.0, 5.0]])
    assert tfviz.Against(1, classes=2).choose(S)[1].numpy().tolist() == [[0, 2]]
    assert tfviz.Against(4, classes=9).choose(S)[1].numpy().tolist() == [[0, 1, 2, 3]]
    assert tfviz.Against(None, classes=1).choose(S)[0].numpy().tolist() == [4]


def test_alpha_0_is_the_class_alone(model: keras.Model, images: np.ndarray) -> None:
    want = tfviz.Saliency(model)(images, CLASSES).numpy()
    np.testing.assert_allclose(
        tfviz.Saliency(model)(images, tfviz.Against(CLASSES, alpha=0)), want, atol=1e-6 * abs(want).max()
    )


@pytest.mark.parametrize("method", TARGETED)
def test_every_method_with_a_target_takes_it(method: str, model: keras.Model, images: np.ndarray) -> None:
    explainer = built(method, model)
    alone = explainer(images, 1).numpy()
    contrast = explainer(images, tfviz.Against(1)).numpy()
    assert np.isfinite(contrast).all()
    assert abs(contrast - alone).max() > 1e-4 * abs(alone).max()
    explained = explainer.with_outputs(images, tfviz.Against(CLASSES))
    np.testing.assert_array_equal(explained.target, CLASSES)


def test_the_class_may_be_given_in_every_form(model: keras.Model, images: np.ndarray) -> None:
    explainer = tfviz.Saliency(model, class_names=NAMES)
    want = explainer(images, tfviz.Against([1, 3])).numpy()
    for form in ((1, 3), CLASSES, tf.constant(CLASSES), ["dog", "bird"], ("dog", "bird"), np.array(["dog", "bird"])):
        np.testing.assert_array_equal(explainer(images, tfviz.Against(form)), want)
    one = explainer(images, tfviz.Against(1)).numpy()
    for form in ([1], "dog", np.int64(1), ["dog"]):
        np.testing.assert_array_equal(explainer(images, tfviz.Against(form)), one)
    top = model(images).numpy().argmax(1)
    np.testing.assert_array_equal(explainer(images, tfviz.Against()), explainer(images, tfviz.Against(top)))


def test_classes_of_each_image_follow_their_images_in_batches(model: keras.Model) -> None:
    images = networks.pictures(model, 5)
    target = tfviz.Against([4, 0, 1, 2, 3], classes=2)
    explainer = tfviz.Saliency(model)
    want = explainer(images, target).numpy()
    got = explainer.explain(images, target, batch_size=2, verbose=0)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * abs(want).max())
    smooth = tfviz.SmoothGrad(model, samples=3, batch_size=2)
    together = smooth(images, target).numpy()
    np.testing.assert_allclose(
        smooth.explain(images, target, batch_size=3, verbose=0), together, rtol=0, atol=1e-5 * abs(together).max()
    )


def test_it_is_compiled_once_and_pickles(model: keras.Model, images: np.ndarray) -> None:
    explainer = tfviz.Saliency(model)
    for _ in range(3):
        explainer(images, tfviz.Against(np.array([1, 3])))
    assert explainer.traces == 1
    target = tfviz.Against(np.array([1, 3]), alpha=0.5)
    assert pickle.loads(pickle.dumps(target)) == target


def test_one_sigmoid_unit_has_one_rival() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    images = networks.pictures(model)
    # z against −z
    np.testing.assert_allclose(
        tfviz.Saliency(model)(images, tfviz.Against(1)), 2 * tfviz.Saliency(model)(images, 1), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 0}, r"`classes` must be a positive integer\. Received: 0"),
        ({"classes": 1.5}, "`classes` must be a positive integer"),
        ({"classes": True}, "`classes` must be a positive integer"),
        ({"alpha": np.nan}, r"`alpha` must be a finite number\. Received: nan"),
        ({"alpha": "1"}, "`alpha` must be a finite number"),
    ],
)
def test_wrong_options_are_rejected(options: dict[str, Any], said: str) -> None:
    with pytest.raises(tfviz.OptionError, match=said):
        tfviz.Against(1, **options)


@pytest.mark.parametrize(
    ("c", "said"),
    [
        (5, r"Class 5 is out of range\. The model has 5 classes \(0 to 4\)\."),
        (-1, "Class -1 is out of range"),
        ([0, 7], "Class 7 is out of range"),
        (1.5, r"`c` must be a class number or name, or a list with one class per image\. Received: c=1\.5"),
        ([0, 1, 2], r"Against needs one class per image, 2 in total\. Received: 3 classes"),
        ([[0, 1]], "`c` must be a class"),
        ("cow", "cow"),
    ],
)
def test_wrong_classes_are_rejected(c: Any, said: str, model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(tfviz.TargetError, match=said):
        tfviz.Saliency(model, class_names=NAMES)(images, tfviz.Against(c))


def test_a_model_without_several_classes_is_rejected(images: np.ndarray) -> None:
    inputs = keras.Input((20, 17, 3))
    one = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    with pytest.raises(tfviz.TargetError, match=r"the model has only one output\. Pass target=0"):
        tfviz.Saliency(one)(images, tfviz.Against())
    maps = keras.Model(inputs, layers.Conv2D(3, 1)(inputs))
    with pytest.raises(tfviz.TargetError, match=r"not \(N, classes\)"):
        tfviz.Saliency(maps)(images, tfviz.Against(1))


def test_the_rivals_are_those_of_the_unperturbed_image() -> None:
    target = tfviz.Against(0, classes=1)
    seed = FunctionSeed(target)
    choice = seed.choose(tf.constant([[3.0, 2.0, 0.0]]))
    perturbed = tf.constant([[3.0, 0.0, 2.0]])
    np.testing.assert_allclose(seed.score(perturbed, choice), [3.0])
    np.testing.assert_allclose(seed.score(perturbed, seed.choose(perturbed)), [1.0])
