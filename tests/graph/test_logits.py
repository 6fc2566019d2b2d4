"""The score: the logits before the final softmax or sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.explainers import TARGETED, built

import tfviz
from tfviz.graph.backprop import inputs_of, run
from tfviz.graph.graph import Graph
from tfviz.graph.logits import scored
from tfviz.reading.reader import graph_of


def trunk() -> tuple[Any, Any]:
    inputs = keras.Input((8, 8, 3))
    return inputs, layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(inputs))


def ending(end: Callable[[Any], Any]) -> keras.Model:
    inputs, x = trunk()
    return networks.with_random_weights(keras.Model(inputs, end(x)), 0)


def deep_ending(x: Any) -> Any:
    inside = keras.Input(x.shape[1:])
    head = keras.Model(inside, keras.Sequential([layers.Dense(3), layers.Softmax()])(inside), name="head")
    return head(x)


ENDINGS: dict[str, Callable[[Any], Any]] = {
    "fused softmax": lambda x: layers.Dense(3, activation="softmax")(x),
    "fused sigmoid": lambda x: layers.Dense(3, activation="sigmoid")(x),
    "fused layer": lambda x: layers.Dense(3, activation=layers.Softmax())(x),
    "fused operation": lambda x: layers.Dense(3, activation=keras.ops.softmax)(x),
    "Activation": lambda x: layers.Activation("softmax")(layers.Dense(3)(x)),
    "Softmax": lambda x: layers.Softmax()(layers.Dense(3)(x)),
    "operation": lambda x: keras.ops.softmax(layers.Dense(3)(x)),
    "sigmoid operation": lambda x: keras.ops.sigmoid(layers.Dense(3)(x)),
    "function": lambda x: keras.activations.softmax(layers.Dense(3)(x)),
    "reshaped before": lambda x: layers.Softmax()(layers.Reshape((3,))(layers.Dense(3)(x))),
    "reshaped after": lambda x: layers.Reshape((3,))(layers.Dense(3, activation="softmax")(x)),
    "with a type of its own": lambda x: layers.Activation("softmax", dtype="float32")(layers.Dense(3)(x)),
    "nested": deep_ending,
    "none": lambda x: layers.Dense(3)(x),
}


def outputs_of(graph: Graph, images: np.ndarray) -> np.ndarray:
    values = run(inputs_of(graph, [tf.constant(images)]), graph.before(graph.outputs))
    return values[graph.outputs[0]].numpy()


@pytest.mark.parametrize("name", ENDINGS)
def test_outputs_returned_with_a_map_are_the_models_own(name: str) -> None:
    model = ending(ENDINGS[name])
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(tfviz.GradCAM(model).with_outputs(images).outputs, model(images), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ENDINGS)
def test_the_logits_are_found_for_every_kind_of_final_activation(name: str) -> None:
    model, bare = ending(ENDINGS[name]), ending(ENDINGS["none"])
    images = networks.pictures(model)
    logits = bare(images).numpy()
    graph = scored(graph_of(model), "logits")
    np.testing.assert_allclose(outputs_of(graph, images), logits, rtol=1e-5)
    np.testing.assert_allclose(tfviz.Saliency(model)(images, 1), tfviz.Saliency(bare)(images, 1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ENDINGS)
def test_removing_the_final_activation_twice_changes_nothing_more(name: str) -> None:
    graph = scored(graph_of(ending(ENDINGS[name])), "logits")
    again = scored(graph, "logits")
    assert again.outputs == graph.outputs
    assert len(again.steps) == len(graph.steps)


@pytest.mark.parametrize("name", ["fused softmax", "Softmax", "nested", "operation"])
def test_score_outputs_keeps_the_softmax(name: str) -> None:
    model = ending(ENDINGS[name])
    images = networks.pictures(model)
    np.testing.assert_allclose(outputs_of(scored(graph_of(model), "outputs"), images), model(images), rtol=1e-5)


def test_a_softmax_in_the_middle_stays() -> None:
    model = ending(lambda x: layers.Dense(3)(layers.Dense(4, activation="softmax")(x)))
    images = networks.pictures(model)
    np.testing.assert_allclose(outputs_of(scored(graph_of(model), "logits"), images), model(images), rtol=1e-5)


def test_another_activation_at_the_end_stays() -> None:
    model = ending(lambda x: layers.Dense(3, activation="tanh")(x))
    images = networks.pictures(model)
    np.testing.assert_allclose(outputs_of(scored(graph_of(model), "logits"), images), model(images), rtol=1e-5)


def test_the_name_of_a_softmax_layer_leads_to_the_logits() -> None:
    model = networks.build("depthwise")
    graph = scored(graph_of(model), "logits")
    assert graph.names["softmax"] == graph.outputs[0] == graph.names["flat"]


# --- one sigmoid unit -----------------------------------------------------------------------------


def one_unit(units: int = 1) -> keras.Model:
    return ending(lambda x: layers.Dense(units, activation="sigmoid", name="out")(x))


def two_units(activation: str = "softmax") -> keras.Model:
    """The equivalent of `one_unit`: logits −z and z. With sigmoids, so are the probabilities."""
    model = ending(lambda x: layers.Dense(2, activation=activation, name="out")(x))
    model.get_layer("conv").set_weights(one_unit().get_layer("conv").get_weights())
    kernel, bias = one_unit().get_layer("out").get_weights()
    model.get_layer("out").set_weights([np.concatenate([-kernel, kernel], 1), np.concatenate([-bias, bias])])
    return model


@pytest.mark.parametrize("method", TARGETED)
def test_one_sigmoid_unit_is_two_classes(method: str) -> None:
    one, two = one_unit(), two_units("sigmoid" if method in ("rise", "score_cam") else "softmax")
    images = networks.pictures(one, 4)
    for target in (0, 1, [0, 1, 1, 0], None):
        got, want = (built(method, model, score="logits")(images, target).numpy() for model in (one, two))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6 * abs(want).max(), err_msg=f"target {target}")


def test_the_top_class_of_one_sigmoid_unit_is_1_above_one_half() -> None:
    model = one_unit()
    images = networks.pictures(model, 8)
    classes = (model(images).numpy()[:, 0] > 0.5).astype(int)
    assert set(classes) == {0, 1}
    explainer = tfviz.ExcitationBackprop(model)
    np.testing.assert_array_equal(explainer(images), explainer(images, classes))


def test_one_unit_has_no_third_class() -> None:
    model = one_unit()
    with pytest.raises(tfviz.TargetError, match=r"Target 2 is out of range\. The model has 2 classes \(0 to 1\)"):
        tfviz.Saliency(model)(networks.pictures(model), 2)
    with pytest.raises(tfviz.TargetError, match=r"Target 1 is out of range\. The model has 1 classes"):
        tfviz.Saliency(model, score="outputs")(networks.pictures(model), 1)


def test_one_unit_without_a_sigmoid_is_one_output() -> None:
    """In a regression there is no class 0."""
    model = ending(lambda x: layers.Dense(1)(x))
    images = networks.pictures(model)
    np.testing.assert_array_equal(tfviz.Saliency(model)(images), tfviz.Saliency(model)(images, 0))


# --- several outputs ------------------------------------------------------------------------------


def test_the_softmax_of_every_output_is_removed() -> None:
    inputs, x = trunk()
    outputs = {"kind": layers.Dense(3, activation="softmax")(x), "color": layers.Softmax()(layers.Dense(2)(x))}
    model = networks.with_random_weights(keras.Model(inputs, outputs), 0)
    images = networks.pictures(model)
    seen = {}

    def target(outputs: dict[str, tf.Tensor]) -> tf.Tensor:
        seen.update({name: tuple(value.shape) for name, value in outputs.items()})
        return outputs["kind"][:, 1] + outputs["color"][:, 0]

    both = tfviz.Saliency(model)(images, target)
    assert seen == {"kind": (None, 3), "color": (None, 2)}
    kind, color = tfviz.Saliency(model, output="kind")(images, 1), tfviz.Saliency(model, output="color")(images, 0)
    np.testing.assert_allclose(both, kind + color, rtol=1e-4, atol=1e-6)
    probabilities = tfviz.Saliency(model, score="outputs")(images, target)
    assert abs(both - probabilities).numpy().max() > 1e-3


# --- several activations, and those that stay on --------------------------------------------------


TOGETHER: dict[str, Callable[[Any, bool], Any]] = {
    "sigmoids beside each other": lambda x, on: layers.Concatenate()([unit(x, i, on) for i in range(3)]),
    "an operation": lambda x, on: keras.ops.concatenate([unit(x, i, on) for i in range(2)], axis=-1),
    "stacked": lambda x, on: keras.ops.stack([layers.Flatten()(unit(x, i, on)) for i in range(2)], axis=1)[..., 0],
    "softmax and sigmoid": lambda x, on: layers.Concatenate()([
        layers.Dense(3, activation="softmax" if on else None, name="kinds")(x), unit(x, 0, on)
    ]),
    "in TensorFlow": lambda x, on: layers.Lambda(lambda y: tf.concat(y, -1), output_shape=(2,))(
        [unit(x, 0, on), unit(x, 1, on)]
    ),
}  # fmt: skip


def unit(x: Any, number: int, is_on: bool) -> Any:
    return layers.Dense(1, activation="sigmoid" if is_on else None, name=f"unit{number}")(x)


@pytest.mark.parametrize("name", TOGETHER)
def test_every_activation_of_a_combined_output_is_removed(name: str) -> None:
    model, plain = (ending(lambda x, on=on: TOGETHER[name](x, on)) for on in (True, False))  # type: ignore[misc]
    plain.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    for method in ("saliency", "grad_cam", "excitation_backprop"):
        got, want = (tfviz.METHODS[method](one)(images, 1).numpy() for one in (model, plain))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tfviz.Saliency(model).with_outputs(images).outputs, model(images), rtol=1e-5)


STAYING: dict[str, Callable[[Any], Any]] = {
    "the mean of two": lambda x: layers.Average()([layers.Dense(3, activation="softmax")(x) for _ in range(2)]),
    "one minus": lambda x: keras.ops.concatenate([1 - (s := layers.Dense(1, activation="sigmoid")(x)), s], axis=-1),
    "scaled": lambda x: 10 * layers.Dense(3, activation="sigmoid")(x),
}


@pytest.mark.parametrize("name", STAYING)
def test_an_activation_that_cannot_be_removed_is_reported(name: str, recwarn: pytest.WarningsRecorder) -> None:
    model = ending(STAYING[name])
    with pytest.warns(
        UserWarning, match=r"are computed from a (softmax|sigmoid) \(.*cannot be removed.*score='outputs'"
    ) as caught:
        tfviz.Saliency(model)
    assert caught[0].filename == __file__
    recwarn.clear()
    tfviz.Saliency(model, score="outputs")
    assert not recwarn.list


def test_a_gate_in_the_head_is_not_a_final_activation() -> None:
    def gated(x: Any) -> Any:
        scores = layers.Dense(3)(x)
        return layers.Multiply()([layers.Dense(3, activation="sigmoid")(x), scores])

    tfviz.Saliency(ending(gated))  # without a warning
