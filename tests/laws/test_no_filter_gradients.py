"""A law: explanations compute no gradient of a filter, compiled or in eager mode.

Nobody needs that gradient, and it costs as much as the requested one. On some processors TensorFlow
2.21 corrupts the heap while computing that of a 1x1 convolution of stride 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import conftest
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.explainers import KEYS, built
from support.networks import with_random_weights
from support.tape import compiled_gradient
from support.zoo import noise
from tensorflow.python.eager import context

import tfviz
from tfviz import keras_internals, targets
from tfviz.methods import blank_maps

SIZE = (24, 24, 3)


def kernels_run(function: Callable[[], Any]) -> Counter[str]:
    """Count the kernels in the graphs that TensorFlow runs during a call, including eager ones."""
    context.context().clear_kernel_cache()  # a graph is recorded when its kernels are created
    context.context().enable_run_metadata()
    try:
        function()
        graphs = context.context().export_run_metadata().partition_graphs
    finally:
        context.context().disable_run_metadata()
    bodies = [(graph.node, [f.node_def for f in graph.library.function]) for graph in graphs]
    return Counter(node.op for nodes, functions in bodies for part in (nodes, *functions) for node in part)


def filter_gradients(function: Callable[[], Any]) -> int:
    kernels = kernels_run(function)
    assert any("Conv2D" in kind for kind in kernels), "the network is run"
    return sum(count for kind, count in kernels.items() if "BackpropFilter" in kind)


def residual() -> keras.Model:
    """A small ResNet, whose shortcut is a 1x1 convolution of stride 2."""
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="first")(inputs)
    shortcut = layers.Conv2D(16, 1, strides=2, padding="same", name="shortcut")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="main")(x)
    x = layers.ReLU(name="last")(layers.Add()([x, shortcut]))
    return with_random_weights(keras.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x))), 0)


def blank() -> keras.Model:
    """No evidence for any class: all maps are zero, but the gradient of the score is not."""
    model = residual()
    model.get_layer("main").kernel.assign(tf.zeros_like(model.get_layer("main").kernel))
    model.get_layer("shortcut").kernel.assign(abs(model.get_layer("shortcut").kernel))
    model.get_layer("out").kernel.assign(-abs(model.get_layer("out").kernel))
    return model


def saturated() -> keras.Model:
    """The score does not depend on the image: all gradients are zero."""
    model = residual()
    model.get_layer("out").kernel.assign(tf.zeros_like(model.get_layer("out").kernel))
    return model


def broken() -> keras.Model:
    model = residual()
    model.get_layer("out").bias.assign([np.nan] * 2)
    model.get_layer("out").kernel.assign(np.full((16, 2), np.nan))
    return model


@pytest.fixture
def images() -> np.ndarray:
    return noise(*SIZE, count=1)


@pytest.mark.eager_filter_gradient
def test_filter_gradients_are_counted(images: np.ndarray) -> None:
    """In a model without the shortcut, which is safe to train."""
    model = keras.Sequential(
        [keras.Input(SIZE), layers.Conv2D(4, 3), layers.DepthwiseConv2D(3), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    model.compile("sgd", "mse")
    assert filter_gradients(lambda: model.train_on_batch(images, np.zeros((1, 2)))) == 2

    def eager_gradient() -> None:
        x = tf.constant(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = model(x)
        tape.gradient(y, x)

    assert filter_gradients(eager_gradient) >= 2
    assert filter_gradients(lambda: compiled_gradient(model, images)) == 0


@pytest.mark.parametrize("method", KEYS)
@pytest.mark.parametrize("model", [residual, blank, saturated, broken])
@pytest.mark.filterwarnings("ignore:.*(zero everywhere|NaN or infinity)")
def test_no_method_computes_a_filter_gradient(method: str, model: Callable[[], keras.Model], images: np.ndarray) -> None:
    # below the convolutions
    options = {"layer": "first"} if tfviz.METHODS[method].needs_layer else {}
    explainer = built(method, model(), **options)
    target = 1 if explainer.takes_target else None
    ways: dict[str, Callable[[], Any]] = {
        "call": lambda: explainer(images, target),
        "explain": lambda: built(method, explainer.model, **options).explain(images, target, verbose=0),
        "with_outputs": lambda: explainer.with_outputs(images, target),
        "compute": lambda: explainer.compute([tf.constant(images)], None if target is None else tf.constant([target])),
        "attribute": lambda: explainer.attribute([tf.constant(images)], targets.seed_for(None)),
    }
    if model is not residual:
        # Only the other ways search for the reason of a blank map.
        del ways["compute"], ways["attribute"]
    assert {name: filter_gradients(way) for name, way in ways.items()} == dict.fromkeys(ways, 0)


@pytest.mark.parametrize(
    ("model", "layer", "said"),
    [
        (blank, "first", r"grad_cam at layer 'first' are zero everywhere\. The method found no evidence for the target"),
        (
            saturated,
            "first",
            r"grad_cam at layer 'first' are zero everywhere\. The score does not depend on the explained values",
        ),
        (
            broken,
            "last",
            r"grad_cam at layer 'last' contain NaN or infinity\. These values originate in the output of 'out' and reach",
        ),
    ],
)
def test_a_reason_is_found_without_filter_gradients(
    model: Callable[[], keras.Model], layer: str, said: str, images: np.ndarray
) -> None:
    explainer = tfviz.GradCAM(model(), layer)

    def warned() -> None:
        with pytest.warns(UserWarning, match=said):
            explainer(images, 1)

    assert filter_gradients(warned) == 0


def test_the_computation_gives_the_same_result_in_eager_mode(images: np.ndarray) -> None:
    for method in KEYS:
        explainer = built(method, residual())
        target = tf.constant([1]) if explainer.takes_target else None
        attribution = explainer.compute([tf.constant(images)], target).attribution
        want = explainer(images, 1 if explainer.takes_target else None)
        np.testing.assert_allclose(attribution, want, rtol=0, atol=1e-5 * np.abs(want).max(), err_msg=method)


def test_keras_masks_are_kept_on_the_results_of_an_eager_run() -> None:
    inputs = keras.Input((8, 3))
    x = layers.Dense(5, "relu", name="last")(layers.Masking()(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    series = noise(8, 3)
    series[:, 5:] = 0
    explainer = tfviz.Saliency(model)
    _, values = explainer.attribute([tf.constant(series)], targets.seed_for(None))
    masks = keras_internals.masks_on(list(values.values()))
    assert list(values).index(explainer.graph.names["last"]) in masks
    for mask in masks.values():
        np.testing.assert_array_equal(mask, [[True] * 5 + [False] * 3] * 2)


# --- a failed diagnosis ---------------------------------------------------------------------------


FAILURES = [tf.errors.AbortedError(None, None, "corrupt"), MemoryError(), AssertionError(), KeyError("a")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", ["run", "backpropagate"])
@pytest.mark.parametrize("is_call", [True, False])
def test_a_failed_diagnosis_is_left_out(
    error: Exception, part: str, is_call: bool, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = tfviz.GradCAM(blank())
    monkeypatch.setattr(blank_maps, part, raising(error))
    with pytest.warns(UserWarning, match="zero everywhere") as caught:
        attribution = explainer(images, 1) if is_call else explainer.explain(images, 1, verbose=0)
    assert [str(w.message) for w in caught] == ["1 of 1 maps of grad_cam at layer 'last' are zero everywhere."]
    assert attribution.shape == (1, 6, 6)
    assert caught[0].filename == __file__


def test_a_failed_diagnosis_of_a_nonfinite_map_is_left_out(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blank_maps, "run", raising(FAILURES[0]))
    with pytest.warns(UserWarning, match="NaN or infinity") as caught:
        tfviz.GradCAM(broken())(images, 1)
    assert [str(w.message) for w in caught] == ["1 of 1 maps of grad_cam at layer 'last' contain NaN or infinity."]


def test_a_keyboard_interrupt_stops_the_diagnosis(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blank_maps, "run", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        tfviz.GradCAM(blank())(images, 1)


def raising(error: BaseException) -> Callable[..., Any]:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fails


# --- the law that conftest enforces for every test ------------------------------------------------


def test_an_eager_filter_gradient_fails_its_test_even_if_caught(images: np.ndarray, request: pytest.FixtureRequest) -> None:
    convolution = layers.Conv2D(3, 1, strides=2)
    convolution(images)
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = convolution(x)
    with (
        pytest.raises(AssertionError, match=r"eagerly, and the error was caught: \['conv2d_backprop_filter'\]"),
        conftest._no_eager_filter_gradient(request.node),
        pytest.raises(AssertionError, match="conv2d_backprop_filter runs eagerly: compile what runs the tape"),
    ):
        tape.gradient(y, x)
