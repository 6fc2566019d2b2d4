"""Targets: from what users pass to a seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.tape import compiled_gradient

import tfviz
from tfviz.targets import prepare, seed_for

OUTPUTS = (None, 5)


def seed(target: Any, outputs: np.ndarray) -> np.ndarray:
    return np.asarray(seed_for(prepare(target, OUTPUTS, len(outputs)))(tf.constant(outputs, tf.float32)))


SCORES = np.array([[0.0, 3.0, 1.0, 2.0, -1.0], [9.0, 3.0, 1.0, 2.0, -1.0], [0.0, 3.0, 1.0, 2.0, 5.0]])


@pytest.mark.parametrize(
    ("target", "classes"),
    [(None, [1, 0, 4]), (2, [2, 2, 2]), ([2], [2, 2, 2]), ([0, 3, 2], [0, 3, 2]), (np.array([4, 4, 0], np.uint8), [4, 4, 0])],
)
def test_a_class_becomes_a_one_hot_seed(target: Any, classes: list[int]) -> None:
    np.testing.assert_array_equal(seed(target, SCORES), np.eye(5)[classes])


def test_weights_are_the_seed() -> None:
    weights = np.arange(15.0).reshape(3, 5)
    np.testing.assert_array_equal(seed(weights, SCORES), weights)
    np.testing.assert_array_equal(seed(weights[:1], SCORES), np.repeat(weights[:1], 3, axis=0))


def test_a_functions_gradient_is_the_seed() -> None:
    got = seed(lambda y: y[:, 1] * y[:, 2] - 3 * y[:, 0], SCORES)
    np.testing.assert_array_equal(got[:, :3], [[-3, 1, 3]] * 3)
    np.testing.assert_array_equal(got[:, 3:], 0)


def test_a_function_of_several_outputs_has_a_seed_for_each() -> None:
    outputs = {"a": tf.ones((2, 3)), "b": tf.ones((2, 2)), "unused": tf.ones((2, 1))}
    seeds = seed_for(lambda y: 2 * y["a"][:, 0] + y["b"][:, 1])(outputs)
    np.testing.assert_array_equal(seeds["a"], [[2, 0, 0]] * 2)
    np.testing.assert_array_equal(seeds["b"], [[0, 1]] * 2)
    np.testing.assert_array_equal(seeds["unused"], 0)


REFUSED: dict[str, tuple[Any, str]] = {
    "a class too high": (5, r"Target 5 is out of range\. The model has 5 classes \(0 to 4\)"),
    "a class too low": (-1, r"Target -1 is out of range\. The model has 5 classes \(0 to 4\)"),
    "one class of several too high": ([0, 7, 1], "Target 7 is out of range"),
    "a class too high, as a tensor": (tf.constant(8), "Target 8 is out of range"),
    "too few classes": ([0, 1], r"Expected 3 targets, one per image\. Received: 2"),
    "classes in a table": (
        [[0, 1, 2]],
        r"Expected one class per image, an int array of shape \(N,\)\. Received: an int array of shape \(1, 3\)",
    ),
    "too few weights": (np.ones((3, 4)), r"Expected weights of shape \(3, 5\), .* Received: a float array of shape \(3, 4\)"),
    "weights for other images": (
        np.ones((2, 5)),
        r"Expected weights of shape \(3, 5\), .* Received: a float array of shape \(2, 5\)",
    ),
    "weights in a row": (np.ones(5), r"Expected weights of shape \(3, 5\), .* Received: a float array of shape \(5,\)"),
    "one float": (2.0, r"Expected weights of shape \(3, 5\), .* Received: a float array of shape \(\)"),
    "weights that are NaN": (np.full((3, 5), np.nan), r"Expected finite weights for the outputs\. Received: NaN or infinity"),
    "a name": ("tabby", "Expected a target as None .* or a function .* Received: str 'tabby'"),
    "a truth": (True, "Expected a target as None .* Received: bool 'True'"),
    "a ragged list": ([[1], [1, 2]], "Expected a target as None .* Received: list"),
    "a dict": ({"class": 1}, "Expected a target as None .* Received: dict"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_target_that_does_not_fit_is_rejected(name: str) -> None:
    target, message = REFUSED[name]
    with pytest.raises(tfviz.TargetError, match=message):
        prepare(target, OUTPUTS, 3)


FUNCTIONS: dict[str, tuple[Any, str]] = {
    "a number for the whole batch": (
        lambda y: tf.reduce_sum(y),
        r"must return one number per image.* Received: shape \(\)",
    ),
    "all outputs": (lambda y: y, r"must return one number per image.* Received: shape \(None, 5\)"),
    "an array": (lambda y: np.zeros(3), "must return one number per image.* Received: ndarray"),
    "nothing": (lambda y: None, "must return one number per image.* Received: NoneType"),
    "a constant": (lambda y: tf.zeros(tf.shape(y)[:1]), "does not depend on the model's outputs"),
    "no gradient": (lambda y: tf.unique(y[:, 0])[0], r"cannot differentiate an operation in the target function \(.*Unique\)"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_must_return_one_number_for_each_image(name: str) -> None:
    function, message = FUNCTIONS[name]
    model = networks.build("plain")
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model)(networks.pictures(model), function)


def test_several_outputs_require_a_choice_or_a_function() -> None:
    for outputs in ([(None, 3), (None, 2)], {"a": (None, 3), "b": (None, 2)}):
        with pytest.raises(tfviz.TargetError, match=r"The model has .*outputs.*target=lambda outputs: outputs\[0\]"):
            prepare(1, outputs, 2)
        assert callable(prepare(lambda y: y[0][:, 0], outputs, 2))


def test_a_map_of_classes_requires_a_position() -> None:
    with pytest.raises(
        tfviz.TargetError,
        match=r"The model's output has shape \(None, 8, 8, 4\), not \(N, classes\)\. To explain a class at certain positions",
    ):
        prepare(1, (None, 8, 8, 4), 2)


@pytest.mark.parametrize(
    ("count", "message"),
    [(3, r"one target per image\. Received: 3 targets for at least 4"), (9, r"one target per image, 5 in total\. Received: 9")],
)
def test_a_dataset_requires_as_many_targets_as_images(count: int, message: str) -> None:
    model = networks.build("plain")
    dataset = tf.data.Dataset.from_tensor_slices(networks.pictures(model, 5)).batch(2)
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model).explain(dataset, [0] * count, batch_size=2, verbose=0)


# --- one tensor as several outputs ----------------------------------------------------------------


def outputs_twice(form: str) -> tuple[keras.Model, Callable[[Any], Any], keras.Model]:
    """A model that returns one tensor twice once its softmax is removed, a target and a twin."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(inputs)
    z = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(x))
    outputs, target = {
        "logits and their softmax": lambda: ({"logits": z, "probs": layers.Softmax()(z)}, lambda y: y["logits"][:, 2]),
        "the softmax asked for": lambda: ({"logits": z, "probs": layers.Softmax()(z)}, lambda y: y["probs"][:, 2]),
        "one tensor twice": lambda: ([z, z], lambda y: y[0][:, 2]),
        "behind a dropout": lambda: ([layers.Dropout(0.5)(z), z], lambda y: y[1][:, 2]),
    }[form]()
    networks.with_random_weights(keras.Model(inputs, z), 0)
    return keras.Model(inputs, outputs), target, keras.Model(inputs, z)


FORMS = ["logits and their softmax", "the softmax asked for", "one tensor twice", "behind a dropout"]


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_returned_as_two_outputs_counts_once(form: str) -> None:
    model, target, alone = outputs_twice(form)
    images = networks.pictures(alone)
    want = compiled_gradient(lambda x: alone(x)[:, 2], images)
    np.testing.assert_allclose(tfviz.Saliency(model)(images, target), want, rtol=1e-5, atol=1e-7)
    for method in ("excitation_backprop", "grad_cam_plus_plus"):
        got, want = tfviz.METHODS[method](model, "conv")(images, target), tfviz.METHODS[method](alone, "conv")(images, 2)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
    sums = tf.reduce_sum(tfviz.ExcitationBackprop(model)(images, target), axis=(1, 2))
    np.testing.assert_allclose(
        sums, tf.reduce_sum(tfviz.ExcitationBackprop(model, output=0)(images, 2), axis=(1, 2)), rtol=1e-5
    )


def test_a_difference_of_two_outputs_may_use_one_tensor() -> None:
    model, _, alone = outputs_twice("one tensor twice")
    images = networks.pictures(alone)
    got = tfviz.Saliency(model)(images, lambda y: 3 * y[0][:, 2] - y[1][:, 1])
    weights = np.tile(np.array([[0, -1, 3, 0]], np.float32), (2, 1))
    np.testing.assert_allclose(got, tfviz.Saliency(alone)(images, weights), rtol=1e-5, atol=1e-7)


# --- masks and classes along the images -----------------------------------------------------------


def pixels_of_classes() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A network with an output per pixel, six images, and a mask for each."""
    inputs = keras.Input((8, 7, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(inputs)
    model = networks.with_random_weights(keras.Model(inputs, layers.Conv2D(3, 1)(x)), 0)
    return model, networks.pictures(model, 6), np.random.default_rng(0).uniform(size=(6, 8, 7)) > 0.5


CLASSES = np.array([0, 2, 1, 1, 0, 2])


@pytest.mark.parametrize("class_index", [1, CLASSES, [2]])
@pytest.mark.parametrize("is_mask_for_each", [False, True])
@pytest.mark.parametrize("is_dataset", [False, True])
def test_each_mask_and_class_goes_with_its_own_image(class_index: Any, is_mask_for_each: bool, is_dataset: bool) -> None:
    model, images, masks = pixels_of_classes()
    where = masks if is_mask_for_each else masks[0]
    explainer = tfviz.Saliency(model)
    source = tf.data.Dataset.from_tensor_slices(images) if is_dataset else images
    got = explainer.explain(source, tfviz.At(class_index, where), batch_size=4, verbose=0)
    index = np.broadcast_to(class_index, 6)
    weights = np.broadcast_to(where, masks.shape)[..., None] * np.eye(3)[index][:, None, None]
    np.testing.assert_allclose(got, compiled_gradient(lambda x: model(x) * weights, images), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda masks: tfviz.At(1, masks[:2]), r"one target per image\. Received: 2 targets for at least 4 images"),
        (lambda masks: tfviz.At(1, masks[:4]), r"one target per image\. Received: 4 targets for at least 6 images"),
        (lambda masks: tfviz.At(1, np.repeat(masks, 2, axis=0)), r"one target per image, 6 in total\. Received: 12"),
        (lambda masks: tfviz.At([0, 1], masks[0]), r"one target per image\. Received: 2 targets for at least 4 images"),
        (lambda masks: tfviz.At([0, 1, 2], masks), r"Expected as many masks as classes\. Received: 6 masks and 3 classes"),
    ],
)
def test_a_call_requires_as_many_masks_as_images(target: Any, message: str) -> None:
    model, images, masks = pixels_of_classes()
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model).explain(images, target(masks), batch_size=2, verbose=0)


def test_a_batch_takes_one_mask_or_one_per_image() -> None:
    model, images, masks = pixels_of_classes()
    message = r"Expected 6 masks or classes, one per image, or one for all images\. Received: 2"
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model)(images, tfviz.At(1, masks[:2]))
    one, all_alike = (tfviz.Saliency(model)(images, tfviz.At(1, where)) for where in (masks[:1], masks[0]))
    np.testing.assert_array_equal(one, all_alike)


def test_positions_in_an_output_of_unknown_size_require_a_function() -> None:
    kernel = tf.random.normal((3, 3, 3, 2))
    explainer = tfviz.Saliency(lambda images: tf.nn.conv2d(images, kernel, 1, "SAME"))
    with pytest.raises(tfviz.TargetError, match=r"output size is unknown .* Pass a function"):
        explainer(np.zeros((2, 8, 8, 3), np.float32), tfviz.At(1, np.ones((8, 8))))


# --- a target inside a user's own function --------------------------------------------------------


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.uint8])
@pytest.mark.parametrize("classes", [[2, 5], [7, 1], [-1, 0]])
def test_a_class_out_of_range_raises_inside_a_tf_function_too(dtype: tf.DType, classes: list[int]) -> None:
    model = networks.build("plain")
    explainer, images = tfviz.Saliency(model), tf.constant(networks.pictures(model))

    @tf.function
    def explain(target: tf.Tensor) -> tf.Tensor:
        return explainer(images, target)

    np.testing.assert_array_equal(explain(tf.constant([4, 1], dtype)), explainer(images, [4, 1]))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"The target is out of range\. The model has 5 classes \(0 to 4\)"
    ):
        explain(tf.cast(tf.constant(classes), dtype))


def test_a_users_function_with_a_target_compiles_for_xla_and_is_saved(tmp_path: Path) -> None:
    model = networks.build("plain")
    explainer, images = tfviz.Saliency(model), networks.pictures(model)
    specs = [tf.TensorSpec((None, *images.shape[1:]), tf.float32), tf.TensorSpec((None,), tf.int32)]

    def explain(images: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        return explainer(images, target)

    want, given = explainer(images, [4, 1]), (tf.constant(images), tf.constant([4, 1]))
    compiled = tf.function(explain, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(*given), want, rtol=1e-4, atol=1e-6)
    module = tf.Module()
    module.model = model
    module.explain = tf.function(explain, specs, autograph=False)
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(loaded.explain(*given), want, rtol=1e-5, atol=1e-7)
    with pytest.raises(tf.errors.InvalidArgumentError, match="The target is out of range"):
        loaded.explain(given[0], tf.constant([4, 5]))


def test_another_function_is_needed_for_another_class() -> None:
    model = networks.build("plain")
    explainer, images = tfviz.Saliency(model), networks.pictures(model)
    for k in (1, 3):
        np.testing.assert_array_equal(explainer(images, lambda y, k=k: y[:, k]), explainer(images, k))
