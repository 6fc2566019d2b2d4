"""Targets: from what the user types to a seed."""

from __future__ import annotations

from typing import Any

import networks
import numpy as np
import pytest
import tensorflow as tf

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
def test_a_class_is_a_one_in_its_place(target: Any, classes: list[int]) -> None:
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
    "a class too high": (5, "target 5 is out of range: the model has 5 classes, 0 to 4"),
    "a class too low": (-1, "target -1 is out of range: the model has 5 classes, 0 to 4"),
    "one class of several too high": ([0, 7, 1], "target 7 is out of range"),
    "a class too high, as a tensor": (tf.constant(8), "target 8 is out of range"),
    "too few classes": ([0, 1], "expected 3 targets, one for each image; got 2"),
    "classes in a table": ([[0, 1, 2]], r"expected one class for each image, \(N,\) ints; got an int array of shape \(1, 3\)"),
    "too few weights": (np.ones((3, 4)), r"expected weights of shape \(3, 5\), .* got a float array of shape \(3, 4\)"),
    "weights for other images": (
        np.ones((2, 5)),
        r"expected weights of shape \(3, 5\), .* got a float array of shape \(2, 5\)",
    ),
    "weights in a row": (np.ones(5), r"expected weights of shape \(3, 5\), .* got a float array of shape \(5,\)"),
    "one float": (2.0, r"expected weights of shape \(3, 5\), .* got a float array of shape \(\)"),
    "weights that are NaN": (np.full((3, 5), np.nan), "expected finite weights for the outputs; got NaN or infinity"),
    "a name": ("tabby", "expected a target as None .* or a function .* got str 'tabby'"),
    "a truth": (True, "expected a target as None .* got bool 'True'"),
    "a ragged list": ([[1], [1, 2]], "expected a target as None .* got list"),
    "a dict": ({"class": 1}, "expected a target as None .* got dict"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_target_that_does_not_fit_is_refused(name: str) -> None:
    target, message = REFUSED[name]
    with pytest.raises(tfviz.TargetError, match=message):
        prepare(target, OUTPUTS, 3)


FUNCTIONS: dict[str, tuple[Any, str]] = {
    "a number for the whole batch": (
        lambda y: tf.reduce_sum(y),
        r"must return one number for each image.* returned shape \(\)",
    ),
    "all outputs": (lambda y: y, r"must return one number for each image.* returned shape \(None, 5\)"),
    "an array": (lambda y: np.zeros(3), "must return one number for each image.* returned ndarray"),
    "nothing": (lambda y: None, "must return one number for each image.* returned NoneType"),
    "a constant": (lambda y: tf.zeros(tf.shape(y)[:1]), "does not depend on the model's outputs"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_must_return_one_number_for_each_image(name: str) -> None:
    function, message = FUNCTIONS[name]
    model = networks.build("plain")
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model)(networks.pictures(model), function)


def test_several_outputs_ask_for_a_choice_or_a_function() -> None:
    for outputs in ([(None, 3), (None, 2)], {"a": (None, 3), "b": (None, 2)}):
        with pytest.raises(tfviz.TargetError, match=r"the model has .*outputs.*target=lambda outputs: outputs\[0\]"):
            prepare(1, outputs, 2)
        assert callable(prepare(lambda y: y[0][:, 0], outputs, 2))


def test_a_map_of_classes_asks_where() -> None:
    with pytest.raises(tfviz.TargetError, match=r"the model's output is \(None, 8, 8, 4\), not \(N, classes\); say"):
        prepare(1, (None, 8, 8, 4), 2)


@pytest.mark.parametrize(
    ("count", "message"), [(3, "one target for each image; got 3 for 4"), (9, "expected 5 targets.* got 9")]
)
def test_targets_along_a_dataset_must_be_as_many_as_its_images(count: int, message: str) -> None:
    model = networks.build("plain")
    dataset = tf.data.Dataset.from_tensor_slices(networks.pictures(model, 5)).batch(2)
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model).explain(dataset, [0] * count, batch_size=2, verbose=0)
