"""Sanity checks: the copy, its random weights, the tests and the verdicts."""

from __future__ import annotations

import csv
import io
import random

import keras
import numpy as np
import pytest
from keras import layers
from support import networks
from support.purity import assert_untouched, regularized, snapshot

import tfviz
from tfviz.metrics.pixel_maps import pixel_maps
from tfviz.metrics.random_clone import RandomClone
from tfviz.metrics.similarities import similarity


def small(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((24, 24, 3))
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))
    networks.with_random_weights(model, seed)
    return model


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(count, 24, 24, 3)).astype(np.float32)


def weights_of(layer: keras.Layer) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in layer.variables]


# --- the copy -------------------------------------------------------------------------------------


def test_the_users_model_is_untouched() -> None:
    for model, x in ((regularized(), images(2)[:, :14, :14]), (small(), images(2))):
        before = snapshot(model)
        state = random.getstate()
        tfviz.sanity_check(model, x, ["saliency", "grad_cam"], steps=2)
        assert_untouched(model, before)
        assert random.getstate() == state


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_network_can_be_copied(name: str) -> None:
    model = networks.build(name)
    x = networks.pictures(model)
    before = snapshot(model)
    clone = RandomClone(model, x)
    own = keras.tree.flatten(model(x, training=False))[0]
    np.testing.assert_allclose(keras.tree.flatten(clone.model(x, training=False))[0], own, atol=1e-5)
    clone.randomize(range(len(clone.groups)))
    kernels = [one for one in clone.model.trainable_variables if len(one.shape) > 1]
    originals = [one for one in model.trainable_variables if len(one.shape) > 1]
    assert all(not np.allclose(one, other) for one, other in zip(kernels, originals, strict=True) if np.ptp(other) > 0)
    assert_untouched(model, before)


def test_layers_without_a_kernel_belong_to_the_layer_before_them() -> None:
    groups = RandomClone(small(), images()).groups
    assert [(group.path, [layer.name for layer in group.layers]) for group in groups] == [
        ("first", ["first", "norm"]),
        ("second", ["second"]),
        ("head", ["head"]),
    ]


def test_permuting_keeps_the_values_and_shuffles_a_normalization_by_channel() -> None:
    model = small()
    clone = RandomClone(model, images())
    clone.randomize([0])
    kernel, bias = weights_of(clone.model.get_layer("first"))
    own_kernel, own_bias = weights_of(model.get_layer("first"))
    assert not np.array_equal(kernel, own_kernel)
    np.testing.assert_array_equal(np.sort(kernel.ravel()), np.sort(own_kernel.ravel()))
    np.testing.assert_array_equal(np.sort(bias), np.sort(own_bias))
    norm, own_norm = (np.stack(weights_of(one.get_layer("norm"))) for one in (clone.model, model))
    assert not np.array_equal(norm, own_norm)
    columns = lambda x: sorted(map(tuple, x.T.tolist()))  # noqa: E731
    assert columns(norm) == columns(own_norm)
    np.testing.assert_array_equal(weights_of(clone.model.get_layer("head"))[0], weights_of(model.get_layer("head"))[0])


def test_the_initializer_draws_the_weights() -> None:
    model = small()
    clone = RandomClone(model, images(), randomization="initializer", seed=3)
    clone.randomize([0, 2])
    kernel, bias = weights_of(clone.model.get_layer("first"))
    assert np.abs(kernel).max() <= np.sqrt(6 / (27 + 54)) and len(np.unique(kernel)) == kernel.size
    assert not bias.any()
    gamma, beta, mean, variance = weights_of(clone.model.get_layer("norm"))
    assert (gamma == 1).all() and (variance == 1).all() and not beta.any() and not mean.any()
    again, other = (RandomClone(model, images(), randomization="initializer", seed=seed) for seed in (3, 4))
    again.randomize([0])
    other.randomize([0])
    np.testing.assert_array_equal(weights_of(again.model.get_layer("first"))[0], kernel)
    assert not np.array_equal(weights_of(other.model.get_layer("first"))[0], kernel)


def test_randomizing_others_restores_a_layer() -> None:
    model = small()
    clone = RandomClone(model, images())
    clone.randomize([0, 1, 2])
    random_head = weights_of(clone.model.get_layer("head"))[0]
    clone.randomize([0])
    np.testing.assert_array_equal(weights_of(clone.model.get_layer("head"))[0], weights_of(model.get_layer("head"))[0])
    clone.randomize([2])
    np.testing.assert_array_equal(weights_of(clone.model.get_layer("head"))[0], random_head)


class Subclassed(keras.Model):
    def __init__(self, units: int = 3, **options) -> None:
        super().__init__(**options)
        self.units = units
        self.conv, self.pool = layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()
        self.head = layers.Dense(units, activation="softmax")

    def call(self, x):
        return self.head(self.pool(self.conv(x)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Unclonable(Subclassed):
    def __init__(self, units) -> None:
        super().__init__(units)

    def get_config(self):
        return {}


class Changed(Subclassed):
    """Its configuration misses what the user changed."""

    def call(self, x):
        return super().call(x * getattr(self, "factor", 1))


def test_a_subclassed_model_with_a_config_is_copied() -> None:
    model = Subclassed(5)
    model(images())
    before = snapshot(model)
    clone = RandomClone(model, images())
    assert [len(group.layers) for group in clone.groups] == [1, 1]
    assert_untouched(model, before)
    assert tfviz.sanity_check(model, images(), "saliency", steps=1).verdicts


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = Unclonable(3)
    model(images())
    with pytest.raises(tfviz.UnsupportedModelError, match=r"'unclonable' cannot be copied: .*get_config"):
        tfviz.sanity_check(model, images(), "saliency")


def test_a_copy_that_computes_something_else_is_refused() -> None:
    model = Changed(3)
    model.factor = -5.0
    model(images())
    with pytest.raises(tfviz.UnsupportedModelError, match="the copy returns different outputs"):
        tfviz.sanity_check(model, images(), "saliency")


def test_a_model_without_weights_is_refused() -> None:
    model = keras.Sequential([keras.Input((24, 24, 3)), layers.GlobalAveragePooling2D()])
    with pytest.raises(tfviz.UnsupportedModelError, match="has no weights to randomize"):
        tfviz.sanity_check(model, images(), "saliency")


# --- the comparison -------------------------------------------------------------------------------


def test_the_scores_are_the_similarities_of_the_copys_maps() -> None:
    model, x = small(), images()
    target = model.predict(x, verbose=0).argmax(axis=1)
    check = tfviz.sanity_check(model, x, "saliency", orders=("top_down", "bottom_up", "independent"), batch_size=2, seed=5)
    clone = RandomClone(model, x, seed=5)
    own = np.stack([one.values for one in pixel_maps(tfviz.Saliency(model)(x, target).numpy())])
    random_layers = {
        "top_down": [[2], [1, 2], [0, 1, 2]],
        "bottom_up": [[0], [0, 1], [0, 1, 2]],
        "independent": [[2], [1], [0]],
    }
    explainer = tfviz.Saliency(clone.model)
    for order, states in random_layers.items():
        for depth, state in enumerate(states, start=1):
            clone.randomize(state)
            maps = np.stack([one.values for one in pixel_maps(explainer(x, target).numpy())])
            for measure in ("spearman", "hog"):
                got = [one for one in check.scores if (one.test, one.measure, one.depth) == (order, measure, depth / 3)]
                assert [one.image for one in got] == [0, 1, 2]
                np.testing.assert_allclose([one.value for one in got], similarity(measure, own, maps), atol=1e-4)
    names = [row["randomized"] for row in check.rows if row["test"] == "top_down" and row["measure"] == "ssim"]
    assert names == ["head", "second", "first"]


def test_the_batch_size_does_not_matter() -> None:
    results = [tfviz.sanity_check(small(), images(4), "grad_cam", batch_size=size).scores for size in (1, 3, 32)]
    for other in results[1:]:
        np.testing.assert_allclose([one.value for one in results[0]], [one.value for one in other], atol=1e-3)


def test_targets_stay_those_of_the_original_model() -> None:
    check = tfviz.sanity_check(small(), images(), "saliency", targets=[0, 1, 2], steps=1)
    other = tfviz.sanity_check(small(), images(), "saliency", targets=3, steps=1)
    assert [one.value for one in check.scores] != [one.value for one in other.scores]


def test_emprt_is_the_relative_rise_of_the_entropy() -> None:
    check = tfviz.sanity_check(small(), images(), "saliency")
    (row,) = [row for row in check.rows if row["measure"] == "emprt"]
    assert row["test"] == "top_down" and row["depth"] == 1 and row["n"] == 3


def test_steps_choose_the_depths() -> None:
    model = networks.build("residual")
    x = networks.pictures(model, 2)
    depths = lambda steps: sorted({one.depth for one in tfviz.sanity_check(model, x, "saliency", steps=steps).scores})  # noqa: E731
    assert len(depths(1)) < len(depths(100)) and depths(1)[-1] == 1
    assert any(0.5 <= depth < 1 for depth in depths(1))


def test_an_explainer_keeps_its_options() -> None:
    model = small()
    check = tfviz.sanity_check(model, images(), [tfviz.GradCAM(model, layer="first"), "layer_cam"], layer="second", steps=1)
    assert {(one.method, one.layer) for one in check.scores} == {("grad_cam", "first"), ("layer_cam", "second")}


def test_blank_maps_count_and_have_no_similarity() -> None:
    model = small()
    model.get_layer("second").set_weights([np.zeros((3, 3, 6, 8)), -np.ones(8)])
    check = tfviz.sanity_check(model, images(), "grad_cam", steps=1)
    assert all(row["value"] == 0 and row["blank"] == 3 for row in check.rows)
    assert all((row["blank"], row["n"]) == (3, 3) for row in check.verdicts)
    assert "depends (0% kept, 3 of 3 maps blank)" in check.to_markdown()


# --- verdicts -------------------------------------------------------------------------------------


def test_the_known_verdicts_are_found() -> None:
    model = tfviz.load_model("shapes")
    x = np.asarray(tfviz.load_images(tfviz.__path__[0] + "/shapes/samples", model))
    check = tfviz.sanity_check(model, x, ["saliency", "grad_cam", "guided_backprop", "visual_backprop"], steps=2)
    verdicts = {(row["method"], row["on"]): row["verdict"] for row in check.verdicts}
    assert verdicts["saliency", "the upper half of the layers"] == verdicts["grad_cam", "the class"] == "depends"
    assert verdicts["guided_backprop", "the upper half of the layers"] == "hardly depends"
    assert verdicts["guided_backprop", "the class"] == "hardly depends"
    assert verdicts["visual_backprop", "the class"] == "no class to compare"


def test_the_report_has_a_verdict_per_method_and_no_rank() -> None:
    check = tfviz.sanity_check(small(), images(), ["saliency", "visual_backprop"])
    text = check.to_markdown()
    first = text.split("\n\n")[0].splitlines()
    assert len(first) == 4 and "on the class" in first[0] and "no class to compare" in first[3]
    assert "rank" not in text and "nan" not in text
    rows = list(csv.DictReader(io.StringIO(check.to_csv())))
    assert len(rows) == len(check.rows) and set(rows[0]) == set(check.rows[0])


def test_the_plot_has_a_row_per_method_and_a_column_per_order() -> None:
    check = tfviz.sanity_check(small(), images(), ["saliency", "grad_cam"], orders=("top_down", "independent"))
    figure = check.plot()
    assert len(figure.axes) == 4
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert labels == ["head", "second", "first"]


def test_one_image_has_no_unrelated_map() -> None:
    check = tfviz.sanity_check(small(), images(1), "saliency", steps=1)
    assert not [row for row in check.rows if row["test"] == "unrelated"]
    assert {row["unrelated"] for row in check.verdicts} == {0.0}
    assert check.plot().axes and "nan" not in check.to_markdown()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"orders": ("topdown",)}, tfviz.OptionError, "Unknown randomization order 'topdown'. Did you mean 'top_down'"),
        ({"randomization": "shuffle"}, tfviz.OptionError, "Unknown randomization 'shuffle'"),
        ({"steps": 0}, tfviz.OptionError, "`steps` must be a positive integer. Received: 0"),
        ({"batch_size": 2.5}, tfviz.OptionError, "`batch_size` must be a positive integer"),
        ({"methods": "grad_kam"}, tfviz.UnknownMethodError, "grad_kam"),
        ({"targets": [0, 1]}, tfviz.TargetError, r"one class per image \(3 integers\)"),
        ({"targets": 1.5}, tfviz.TargetError, "one class per image"),
        ({"images": np.zeros((24, 24, 3))}, tfviz.ImageError, r"Received: shape \(24, 24, 3\)"),
        ({"images": np.zeros((0, 24, 24, 3))}, tfviz.ImageError, "at least one image"),
    ],
)
def test_invalid_options_are_errors(options, error, said) -> None:
    arguments = {"model": small(), "images": images(), "methods": "saliency", **options}
    with pytest.raises(error, match=said):
        tfviz.sanity_check(**arguments)
