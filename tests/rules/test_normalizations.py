"""Excitation backprop and masks: handwritten normalizations and gates, choices, constants.

Each model consists of a convolution, the operation, and another convolution. A slow float64
reference carries p from the second convolution back to the first by the formula of the paper, and
what the operation does to p is stated next to the operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks

import tfviz

SIZE = (6, 5)
Operation = Callable[[Any], Any]


class ByTensorFlow(layers.Layer):
    """A TensorFlow function as a layer."""

    def __init__(self, function: Operation, **options: Any) -> None:
        super().__init__(**options)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


def tensorflow(function: Operation) -> Operation:
    return lambda x: ByTensorFlow(function)(x)


def nearby(x: Any) -> Any:
    """The sum of squares over three neighboring channels."""
    squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (1, 1)])
    return squares[..., :-2] + squares[..., 1:-1] + squares[..., 2:]


def norm(x: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-3)


def standardized(x: Any, mean: Any, variance: Any) -> Any:
    return (x - mean) / (variance + 1e-3) ** 0.5


NORMALIZATIONS: dict[str, Operation] = {
    "local response normalization": tensorflow(lambda x: tf.nn.local_response_normalization(x, 1, 1.0, 0.5, 0.75)),
    "written out by a power": lambda x: x * (1 + 0.5 * nearby(x)) ** -0.75,
    "written out, the power first": lambda x: (1 + 0.5 * nearby(x)) ** -0.75 * x,
    "written out in TensorFlow": tensorflow(lambda x: x * tf.pow(1.0 + 0.5 * tf.reduce_sum(x * x, -1, keepdims=True), -0.75)),
    "a quotient": lambda x: x / norm(x),
    "a quotient in TensorFlow": tensorflow(lambda x: x / tf.sqrt(tf.reduce_sum(x * x, -1, keepdims=True) + 1e-3)),
    "a reciprocal root": lambda x: x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-3),
    "a reciprocal root in TensorFlow": tensorflow(lambda x: x * tf.math.rsqrt(tf.reduce_mean(x * x, -1, keepdims=True) + 1e-3)),
    "ops.normalize": lambda x: ops.normalize(x, axis=-1),
    "l2_normalize": tensorflow(lambda x: tf.nn.l2_normalize(x, axis=-1)),
    "UnitNormalization": lambda x: layers.UnitNormalization(axis=-1)(x),
    "layer normalization by hand": lambda x: standardized(x, ops.mean(x, -1, keepdims=True), ops.var(x, -1, keepdims=True)),
    "instance normalization by hand": lambda x: standardized(x, *ops.moments(x, axes=(1, 2), keepdims=True)),
    "instance normalization in TensorFlow": tensorflow(lambda x: standardized(x, *tf.nn.moments(x, (1, 2), keepdims=True))),
    "batch normalization by hand": lambda x: (x - np.float32([0.1, 0, 0.2, 0.3])) / np.float32([1, 2, 0.5, 1]) * 2.0 - 0.1,
    "minus a sum over a number": lambda x: x - ops.reshape(ops.sum(x, (1, 2)), (-1, 1, 1, 4)) / 30.0,
    "minus a number": lambda x: x - 0.1,
    "minus an array": tensorflow(lambda x: x - np.float32([0.1, 0, 0.2, 0.3])),
    "minus a constant branch": lambda x: layers.Subtract()([x, 0.1 * ops.ones_like(x)]),
    "plus a constant branch": lambda x: layers.Add()([x, 0.1 * ops.ones_like(x)]),
    "minus a constant branch in TensorFlow": tensorflow(lambda x: x - 0.1 * tf.ones_like(x)),
}


# The first convolution is followed by a gate of its own values, which is not part of the signal.
GATES: dict[str, Operation] = {
    "a sigmoid by hand": lambda x: x * (1 / (1 + ops.exp(-layers.Conv2D(4, 1)(x)))),
    "squeeze-and-excitation by hand": lambda x: ops.sigmoid(layers.Dense(4)(ops.mean(x, axis=(1, 2), keepdims=True))) * x,
    "a gate per position by hand": tensorflow(lambda x: tf.sigmoid(tf.reduce_sum(x, axis=-1, keepdims=True)) * x),
    "a hard sigmoid by hand": lambda x: ops.minimum(ops.maximum(layers.Conv2D(4, 1)(x) / 6 + 0.5, 0), 1) * x,
    "hard swish by hand": lambda x: x * ops.relu6(x + 3) / 6,
    "silu in TensorFlow": tensorflow(lambda x: x * tf.sigmoid(x)),
}
KEPT = NORMALIZATIONS | GATES


def around(operation: Operation) -> keras.Model:
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    y = layers.Conv2D(3, 3, padding="same", activation="relu", name="second")(operation(x))
    return networks.with_random_weights(keras.Model(inputs, layers.Flatten(name="flat")(y)), 3)


def weights_of(model: keras.Model, count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(count, model.output_shape[-1])).astype(np.float32)


def before_second(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the input of the second convolution, in float64."""
    return np.asarray(keras.Model(model.input, model.get_layer("second").input)(images), np.float64)


def through_convolution(x: np.ndarray, kernel: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Compute p_in = a · Σ_out w⁺ p / Σ_in w⁺ a of a 3×3 "same" convolution, pixel by pixel."""
    a, positive = np.maximum(x, 0), np.maximum(kernel, 0)
    padded = np.pad(a, ((0, 0), (1, 1), (1, 1), (0, 0)))
    back = np.zeros_like(padded)
    for i, row, column in np.ndindex(p.shape[:3]):
        window = padded[i, row : row + 3, column : column + 3]
        z = np.einsum("hwc,hwco->o", window, positive)
        share = np.divide(p[i, row, column], z, out=np.zeros_like(z), where=z > 0)
        back[i, row : row + 3, column : column + 3] += window * np.einsum("hwco,o->hwc", positive, share)
    return back[:, 1:-1, 1:-1]


def p_at_operation(model: keras.Model, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return p at the output of the operation."""
    kernel = np.asarray(model.get_layer("second").kernel, np.float64)
    p = weights.astype(np.float64).reshape(len(images), *SIZE, -1)
    return through_convolution(before_second(model, images), kernel, p)


def assert_close(got: Any, want: np.ndarray) -> None:
    assert np.any(want), "all zero, which proves nothing"
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())


@pytest.mark.parametrize("name", KEPT)
def test_the_signal_receives_all_of_p(name: str) -> None:
    model = around(KEPT[name])
    images = networks.pictures(model)
    weights = weights_of(model, len(images))
    got = tfviz.ExcitationBackprop(model, "first", sum_channels=False)(images, weights)
    assert_close(got, p_at_operation(model, images, weights))


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_only_the_signal_receives_the_mask(name: str) -> None:
    """The second route is the model without the operation, run on the operation's outputs."""
    model = around(NORMALIZATIONS[name])
    images = networks.pictures(model)
    first, second = (np.asarray(keras.Model(model.input, model.get_layer(one).output)(images)) for one in ("first", "second"))
    mask = second.mean(-1)
    mask = ones_3x3(mask) * first.mean(-1)
    assert_close(tfviz.VisualBackProp(model)(images), unit_range(ones_3x3(mask)))


def ones_3x3(mask: np.ndarray) -> np.ndarray:
    """Sum over the 3×3 neighborhood of each pixel."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    return np.sum([padded[:, i : i + mask.shape[1], j : j + mask.shape[2]] for i in range(3) for j in range(3)], axis=0)


def unit_range(mask: np.ndarray) -> np.ndarray:
    low, high = mask.min((1, 2), keepdims=True), mask.max((1, 2), keepdims=True)
    return (mask - low) / (high - low)


# --- operations of two branches -------------------------------------------------------------------

Shares = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def by_activation(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.maximum(x, 0), np.maximum(y, 0)
    total = a + b
    return tuple(np.divide(one, total, out=np.zeros_like(total), where=total > 0) for one in (a, b))  # type: ignore[return-value]


TWO: dict[str, tuple[Callable[[list[Any]], Any], Shares]] = {
    "Average": (layers.Average(), by_activation),
    "Maximum": (layers.Maximum(), lambda x, y: (x > y, y > x)),
    "Minimum": (layers.Minimum(), lambda x, y: (x < y, y < x)),
    "ops.maximum": (lambda both: ops.maximum(*both), lambda x, y: (x > y, y > x)),
    "ops.minimum": (lambda both: ops.minimum(*both), lambda x, y: (x < y, y < x)),
    "tf.maximum": (
        lambda both: ByTensorFlow(lambda x: tf.maximum(x[..., :4], x[..., 4:]))(layers.Concatenate()(both)),
        lambda x, y: (x > y, y > x),
    ),
}


def of_two(operation: Callable[[list[Any]], Any]) -> keras.Model:
    inputs = keras.Input((*SIZE, 3))
    # Without a ReLU there are no ties, so each maximum has a single winner.
    both = [layers.Conv2D(4, 3, padding="same", name=name)(inputs) for name in ("left", "right")]
    y = layers.Conv2D(3, 3, padding="same", activation="relu", name="second")(operation(both))
    return networks.with_random_weights(keras.Model(inputs, layers.Flatten()(y)), 3)


@pytest.mark.parametrize("name", TWO)
def test_two_branches_share_p(name: str) -> None:
    operation, shares = TWO[name]
    model = of_two(operation)
    images = networks.pictures(model)
    weights = weights_of(model, len(images))
    branches = keras.Model(model.input, [model.get_layer(one).output for one in ("left", "right")])(images)
    p = p_at_operation(model, images, weights)
    for layer, share in zip(("left", "right"), shares(*(np.asarray(x, np.float64) for x in branches)), strict=True):
        got = tfviz.ExcitationBackprop(model, layer, sum_channels=False)(images, weights)
        assert_close(got, p * share)


@pytest.mark.parametrize("name", TWO)
def test_the_mask_goes_into_both_branches(name: str) -> None:
    model = of_two(TWO[name][0])
    images = networks.pictures(model)
    mask = np.asarray(keras.Model(model.input, model.get_layer("second").output)(images)).mean(-1)
    assert_close(tfviz.VisualBackProp(model)(images), unit_range(ones_3x3(ones_3x3(mask))))


REFUSED: dict[str, Operation] = {
    "a difference of two branches": lambda x: layers.Subtract()([x, layers.Conv2D(4, 1)(x)]),
    "a difference from the mean of another branch": lambda x: x - ops.mean(layers.Conv2D(4, 1)(x), -1, keepdims=True),
    "a constant minus the signal": lambda x: layers.Subtract()([ops.ones_like(x), x]),
    "a number over the signal": lambda x: 1.0 / (x + 1.0),
    "a sine": lambda x: ops.sin(x),
    "a comparison": lambda x: ops.cast(x > 0.1, "float32"),
    "a product of matrices": lambda x: ops.matmul(x, ops.swapaxes(x[..., :5, :], -1, -2)),
}


@pytest.mark.parametrize("method", networks.EXCITATIONS)
@pytest.mark.parametrize("name", REFUSED)
def test_an_operation_without_a_rule_is_rejected_with_a_reason(name: str, method: str) -> None:
    model = around(REFUSED[name])
    with pytest.raises(tfviz.UnsupportedModelError, match=r"has no rule for '.*(saliency|guided_backprop)"):
        tfviz.METHODS[method](model, "first")
