"""A SavedModel reproduces the explainer's results without tfviz and Keras.

It stores nothing twice.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.exported import BATCHES, Elsewhere, assert_near, explainers_of, images_for, size_of
from support.golden import GOLDEN, golden
from support.networks import NETWORKS
from support.purity import assert_untouched, regularized, snapshot

import tfviz
from tfviz.methods.explainer import Explainer


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("residual")


def of_classes(explainer: Explainer, images: np.ndarray, classes: np.ndarray) -> Any:
    """Run one compiled function for the top class and for given classes."""
    return explainer.with_outputs(images, classes if explainer.takes_target else None)


# --- the same numbers elsewhere -------------------------------------------------------------------


def test_every_method_gives_the_same_results_without_tfviz_and_keras(shared: Path, tmp_path: Path) -> None:
    elsewhere = Elsewhere(tmp_path)
    wanted = []
    for name in GOLDEN:
        model, arrays = golden(shared, name)
        for explainer in explainers_of(model, name):
            folder = explainer.export(tmp_path / name / explainer.key)
            for count in BATCHES:
                images = images_for(explainer, count)
                top = model(images, training=False).numpy().argmax(axis=1)
                elsewhere.ask(folder, "serving_default", images=images)
                wanted.append((f"{name} {explainer.key} {count}", of_classes(explainer, images, top)))
            if explainer.takes_target:
                classes = np.arange(8, dtype="int32") % arrays["logits"].shape[1]
                elsewhere.ask(folder, "explain", images=images, target=classes)
                wanted.append((f"{name} {explainer.key} of classes", of_classes(explainer, images, classes)))
    assert len(wanted) > 150
    for got, (what, want) in zip(elsewhere.answers(), wanted, strict=True):
        assert set(got) == {"outputs", "target", "attribution"}
        assert_near(got["outputs"], want.outputs, what=what)
        np.testing.assert_array_equal(got["target"], want.target, err_msg=what)
        assert_near(got["attribution"], want.attribution, what=what)


@pytest.mark.parametrize("method", ["guided_grad_cam", "contrastive_excitation_backprop"])
def test_a_real_network_gives_the_same_results(method: str, shared: Path, tmp_path: Path) -> None:
    model = keras.models.load_model(shared / "data" / "models" / "squeezenet_imagenet.keras", compile=False)
    explainer = tfviz.METHODS[method](model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    images = 50 * images_for(explainer, 2)
    want = explainer.with_outputs(images, [281, 207])
    got = loaded.with_outputs(images, [281, 207])
    assert_near(got.attribution, want.attribution)
    assert_near(got.outputs, want.outputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_gives_the_same_results(name: str, tmp_path: Path) -> None:
    method = "saliency" if "layer_cam" in NETWORKS[name].no else "layer_cam"
    explainer = tfviz.METHODS[method](networks.build(name))
    loaded = tfviz.load_explainer(explainer.export(tmp_path / method))
    images = images_for(explainer, 3)
    assert_near(loaded(images), explainer(images), what=method)


def test_options_of_the_constructor_apply_to_the_export(tmp_path: Path) -> None:
    model = networks.build("residual")
    explainer = tfviz.ExcitationBackprop(model, "r3", merge_batch_norm=True, sum_channels=False, score="outputs")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    images = images_for(explainer, 2)
    assert loaded(images).shape == (2, 9, 9, 6)
    assert_near(loaded(images, 2), explainer(images, 2))
    assert loaded.manifest.options == {"merge_batch_norm": True, "sum_channels": False, "score": "outputs"}


@pytest.mark.parametrize("policy", ["mixed_float16", "float64", "bfloat16"])
def test_a_network_in_another_precision_gives_the_same_results(policy: str, tmp_path: Path) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = networks.with_random_weights(NETWORKS["inception"].build(), 0)
    finally:
        keras.config.set_dtype_policy("float32")
    explainer = tfviz.GradCAM(model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    images = images_for(explainer, 2)
    assert_near(loaded(images), explainer(images), 1e-5 if policy == "float64" else 1e-2)


def test_a_network_in_int8_gives_the_same_results(tmp_path: Path) -> None:
    model = networks.build("plain")
    for name in ("d1", "out"):
        model.get_layer(name).quantize("int8")
    explainer = tfviz.GuidedBackprop(model, score="outputs")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    images = images_for(explainer, 2)
    assert_near(loaded(images), explainer(images))


# --- signatures -----------------------------------------------------------------------------------


def signatures(folder: Path) -> Any:
    loaded = tf.saved_model.load(str(folder))
    return loaded, loaded.signatures  # the signatures live as long as the loaded object


def test_the_signatures_name_inputs_and_outputs(model: keras.Model, tmp_path: Path) -> None:
    _keep, found = signatures(tfviz.GradCAM(model).export(tmp_path / "x"))
    assert set(found) == {"serving_default", "explain", "explain_weighted"}
    taken = {name: set(one.structured_input_signature[1]) for name, one in found.items()}
    assert taken == {
        "serving_default": {"images"},
        "explain": {"images", "target"},
        "explain_weighted": {"images", "weights"},
    }
    assert set(found["explain"].structured_outputs) == {"outputs", "target", "attribution"}
    assert set(found["explain_weighted"].structured_outputs) == {"outputs", "attribution"}


def test_a_method_without_target_has_one_signature(model: keras.Model, tmp_path: Path) -> None:
    _keep, found = signatures(tfviz.VisualBackProp(model).export(tmp_path / "x"))
    assert set(found) == {"serving_default"}


def test_the_class_minus_1_requests_the_top_class_of_an_image(model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(model)
    _keep, found = signatures(explainer.export(tmp_path / "x"))
    images = images_for(explainer, 3)
    top = explainer.with_outputs(images).target.numpy()
    asked = np.array([-1, (top[1] + 1) % 4, -1], np.int32)
    got = found["explain"](images=tf.constant(images), target=tf.constant(asked))
    want = np.where(asked < 0, top, asked)
    np.testing.assert_array_equal(got["target"], want)
    assert_near(got["attribution"], explainer(images, want))


@pytest.mark.parametrize("wrong", [4, -2, 99])
def test_a_class_that_the_model_does_not_have_is_rejected_at_run_time(wrong: int, model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(model)
    _keep, found = signatures(explainer.export(tmp_path / "x"))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="`target` must contain classes from 0 to 3, or -1 for the top class"
    ):
        found["explain"](images=tf.constant(images_for(explainer, 2)), target=tf.constant([1, wrong]))


def test_weights_of_the_outputs_are_accepted(model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.ContrastiveExcitationBackprop(model, "r1")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    images = images_for(explainer, 3)
    weights = np.random.default_rng(0).random((3, 4)).astype("float32")
    for some in (weights, weights[:1]):
        got = loaded.with_outputs(images, some)
        assert got.target is None
        assert_near(got.attribution, explainer(images, some))


@pytest.mark.parametrize("target", [2, [[0.0, 1.0, -0.5, 0.0]], lambda logits: logits[:, 1] - logits[:, 3]])
def test_a_target_may_be_fixed_for_the_default_signature(target: Any, model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.Saliency(model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", target=target))
    images = images_for(explainer, 2)
    got = loaded.with_outputs(images)
    assert_near(got.attribution, explainer(images, target))
    assert (got.target is None) == (target != 2)
    assert got.target is None or got.target.tolist() == [2, 2]
    assert_near(loaded(images, 3), explainer(images, 3))  # other classes can still be requested
    assert loaded.manifest.targets == ["fixed", "class", "weights"]


def test_height_and_width_stay_free_if_the_model_leaves_them_free(tmp_path: Path) -> None:
    model = networks.build("separable")
    for method in ("guided_grad_cam", "excitation_backprop"):
        explainer = tfviz.METHODS[method](model)
        loaded = tfviz.load_explainer(explainer.export(tmp_path / method))
        for count, height, width in ((1, 24, 20), (3, 17, 31)):
            images = np.random.default_rng(0).normal(size=(count, height, width, 3)).astype("float32")
            assert_near(loaded(images), explainer(images), what=method)


def test_a_method_that_needs_the_size_receives_it(tmp_path: Path) -> None:
    model = networks.build("separable")
    explainer = tfviz.VisualBackProp(model)
    with pytest.raises(
        tfviz.ExportError, match=r"needs the image size at compile time.*image_shape=\(height, width, channels\)"
    ):
        explainer.export(tmp_path / "x")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", image_shape=(24, 20, 3)))
    images = images_for(explainer, 2)
    assert_near(loaded(images), explainer(images))
    with pytest.raises(tfviz.ImageError, match=r"expects images of shape \(any, 24, 20, 3\)\. Received: \(1, 24, 24, 3\)"):
        loaded(np.zeros((1, 24, 24, 3)))


# --- other models ---------------------------------------------------------------------------------


def steered(kind: type = dict) -> keras.Model:
    """Return a model with an image and a vector as inputs, and a class and a number as outputs."""
    picture, speed = keras.Input((12, 12, 3), name="front-camera"), keras.Input((3,), name="speed")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(picture)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), speed])
    turn, brake = layers.Dense(5, activation="softmax", name="turn")(x), layers.Dense(1, name="brake")(x)
    inputs = {"front-camera": picture, "speed": speed} if kind is dict else [picture, speed]
    model = keras.Model(inputs, {"turn": turn, "brake": brake} if kind is dict else [turn, brake])
    return networks.with_random_weights(model, 0)


def given_to(model: keras.Model, count: int = 3) -> Any:
    random = np.random.default_rng(0)
    return keras.tree.map_structure(lambda x: random.normal(size=(count, *x.shape[1:])).astype("float32"), model.input)


def test_several_inputs_keep_their_names(tmp_path: Path) -> None:
    model = steered()
    images = given_to(model)
    explainer = tfviz.GuidedBackprop(model, output="turn")
    folder = explainer.export(tmp_path / "x")
    _keep, found = signatures(folder)
    assert set(found["serving_default"].structured_input_signature[1]) == {"front_camera", "speed"}
    assert set(found["explain"].structured_outputs) == {
        "outputs",
        "target",
        "attribution_front_camera",
        "attribution_speed",
    }
    want, got = explainer.with_outputs(images, 3), tfviz.load_explainer(folder).with_outputs(images, 3)
    assert_near(got.outputs, want.outputs)
    for name in images:
        assert_near(got.attribution[name], want.attribution[name], what=name)


def test_a_function_of_several_outputs_may_be_fixed(tmp_path: Path) -> None:
    model = steered()
    images = given_to(model)
    explainer = tfviz.GradCAM(model, "conv")
    with pytest.raises(tfviz.ExportError, match=r"instead of a single output \(N, classes\).*target=.*function.*output=0"):
        explainer.export(tmp_path / "x")

    def both(outputs: Any) -> Any:
        return outputs["turn"][:, 0] + outputs["brake"][:, 0]

    folder = explainer.export(tmp_path / "x", target=both)
    _keep, found = signatures(folder)
    assert {name: set(one.structured_outputs) for name, one in found.items()} == {
        "serving_default": {"turn", "brake", "attribution"}
    }
    want, got = explainer.with_outputs(images, both), tfviz.load_explainer(folder).with_outputs(images)
    assert_near(got.outputs["turn"], want.outputs["turn"])
    assert_near(got.outputs["brake"], want.outputs["brake"])
    assert_near(got.attribution, want.attribution)


def test_names_of_tfviz_do_not_replace_outputs_of_the_model(tmp_path: Path) -> None:
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(layers.Concatenate()([left, right])))
    names = ["kind", "size", "overlay_bytes", "attribution_left"]
    model = keras.Model([left, right], {name: layers.Dense(count)(x) for count, name in enumerate(names, 1)})
    explainer, images = tfviz.Saliency(model), given_to(model)

    def kind(outputs: Any) -> Any:
        return outputs["kind"][:, 0]

    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", target=kind))
    want, got = explainer.with_outputs(images, kind), loaded.with_outputs(images)
    for name in names:
        assert_near(got.outputs[name], want.outputs[name], what=name)
    assert_near(got.attribution[0], want.attribution[0])
    assert not {"size", "overlay_bytes"} & set(keras.tree.flatten(loaded.manifest.outputs))


def test_lists_of_inputs_and_outputs_are_named_after_their_layers(tmp_path: Path) -> None:
    model = steered(list)
    explainer = tfviz.Saliency(model)

    def braking(outputs: Any) -> Any:
        return outputs[1][:, 0]

    folder = explainer.export(tmp_path / "x", target=braking)
    loaded, images = tfviz.load_explainer(folder), given_to(model)
    assert loaded.manifest.input_structure == ["front_camera", "speed"]
    assert loaded.manifest.outputs == ["turn", "brake"]
    want, got = explainer.with_outputs(images, braking), loaded.with_outputs(images)
    for one, other in zip([*got.outputs, *got.attribution], [*want.outputs, *want.attribution], strict=True):
        assert_near(one, other)


def segmenting() -> keras.Model:
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    return networks.with_random_weights(keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax", name="map")(x)), 0)


def test_a_map_of_classes_needs_a_target_and_accepts_weights(tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(segmenting(), "conv")
    with pytest.raises(tfviz.ExportError, match=r"returns \(None, 12, 10, 3\) instead of a single output \(N, classes\)"):
        explainer.export(tmp_path / "x")
    at = tfviz.At(1, (4, 5))
    folder = explainer.export(tmp_path / "x", target=at)
    _keep, found = signatures(folder)
    assert set(found) == {"serving_default", "explain_weighted"}
    loaded, images = tfviz.load_explainer(folder), images_for(explainer, 2)
    assert_near(loaded(images), explainer(images, at))
    weights = np.random.default_rng(0).random((2, 12, 10, 3)).astype("float32")
    assert_near(loaded(images, weights), explainer(images, weights))
    with pytest.raises(
        tfviz.TargetError, match=r"accepts these targets: None, floats shaped like the outputs\. Received: int 1"
    ):
        loaded(images, 1)


def test_one_sigmoid_unit_has_two_classes(tmp_path: Path) -> None:
    inputs = keras.Input((9, 9, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x)), 0)
    explainer = tfviz.Saliency(model)
    loaded, images = tfviz.load_explainer(explainer.export(tmp_path / "x")), images_for(explainer, 6)
    assert loaded.manifest.classes == 2
    got, want = loaded.with_outputs(images), explainer.with_outputs(images)
    assert got.outputs.shape == (6, 1)
    np.testing.assert_array_equal(got.target, want.target)
    assert_near(got.attribution, want.attribution)
    assert_near(loaded(images, 0), -loaded(images, 1))


class PlainModule(tf.Module):
    """A model without any Keras."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(3, 3, 3, 5)).astype("float32"))

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(tf.nn.relu(tf.nn.conv2d(images, self.kernel, 1, "VALID")), axis=(1, 2))


def test_any_callable_with_a_known_input_shape_is_exported(tmp_path: Path) -> None:
    explainer = tfviz.Saliency(PlainModule())
    with pytest.raises(
        tfviz.ExportError, match=r"does not define the shape of its input images.*image_shape=\(height, width, channels\)"
    ):
        explainer.export(tmp_path / "x")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", image_shape=(None, None, 3)))
    for size in (8, 11):
        images = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype("float32")
        assert_near(loaded(images), explainer(images))
        assert_near(loaded(images, [1, 4]), explainer(images, [1, 4]))


# --- what is in the file --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["guided_grad_cam", "contrastive_excitation_backprop"])
def test_each_weight_is_stored_once_and_nothing_else(method: str, tmp_path: Path) -> None:
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(64, 3, activation="relu")(inputs)
    x = layers.Conv2D(128, 3, activation="relu")(x)
    x = layers.Dense(400, activation="relu")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    folder = tfviz.METHODS[method](model).export(tmp_path / "x")
    weights = sum(variable.numpy().nbytes for variable in model.variables)
    assert weights > 25e6
    stored = (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert weights <= stored <= weights + 10_000
    assert size_of(folder) < weights + 300_000


def test_later_changes_of_the_weights_do_not_affect_the_export(tmp_path: Path) -> None:
    model = networks.build("plain")
    explainer = tfviz.GradCAM(model)
    images = images_for(explainer, 2)
    then = explainer(images).numpy()
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    for variable in model.trainable_variables:
        variable.assign(variable * 1.5)
    assert abs(explainer(images).numpy() - then).max() > 0.1 * abs(then).max()
    assert_near(loaded(images), then)


def test_saving_and_loading_are_silent(model: keras.Model, tmp_path: Path, capfd: Any, caplog: Any) -> None:
    before = logging.getLogger("absl").level
    tfviz.load_explainer(tfviz.GuidedBackprop(model).export(tmp_path / "x"))
    assert logging.getLogger("absl").level == before
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
    out, err = capfd.readouterr()
    assert out == err == ""


@pytest.mark.parametrize("method", ["guided_backprop", "excitation_backprop", "visual_backprop"])
def test_the_model_is_unchanged(method: str, tmp_path: Path) -> None:
    model = regularized()
    before, inside = snapshot(model), attributes(model)
    tfviz.METHODS[method](model).export(tmp_path / "x")
    assert_untouched(model, before)
    assert attributes(model) == inside


def test_the_model_is_unchanged_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = regularized()
    before, inside = snapshot(model), attributes(model)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(tfviz.OutputError, match="No space left on device"):
        tfviz.GuidedBackprop(model).export(tmp_path / "x")
    assert_untouched(model, before)
    assert attributes(model) == inside
    assert not any(tmp_path.iterdir())


def attributes(model: keras.Model) -> list[Any]:
    """Return the names of all attributes of a model and its layers, and what they track."""
    return [
        (part.name, sorted(vars(part)), {key: len(store) for key, (_, store) in part._tracker.config.items()})
        for part in model._flatten_layers()
    ]


def test_a_model_with_visual_backprop_exports_through_keras(tmp_path: Path) -> None:
    model = networks.build("residual")
    two = tfviz.with_visual_backprop(model)
    two.export(tmp_path / "keras", verbose=False)
    images = networks.pictures(model, 3)
    elsewhere = Elsewhere(tmp_path)
    elsewhere.ask(tmp_path / "keras", "serving_default", **{two.inputs[0].name: images})
    (answer,) = elsewhere.answers()
    maps = [value for value in answer.values() if value.shape == (3, 18, 18)]
    assert len(maps) == 1
    assert_near(maps[0], tfviz.VisualBackProp(model)(images), 1e-4)


def test_a_model_with_visual_backprop_continues_training_after_saving_and_loading(tmp_path: Path) -> None:
    two = tfviz.with_visual_backprop(networks.build("residual"))
    two.save(tmp_path / "two.keras")
    loaded = keras.models.load_model(tmp_path / "two.keras")
    images, labels = networks.pictures(loaded, 8), np.arange(8) % 4
    loaded.compile(keras.optimizers.Adam(0.01), loss=["sparse_categorical_crossentropy", None])
    losses = loaded.fit(images, labels, epochs=4, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert_near(loaded(images)[1], tfviz.VisualBackProp(loaded, output=0)(images), 1e-4)
