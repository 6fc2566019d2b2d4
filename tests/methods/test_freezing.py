"""Frozen explainers give the same maps, with constant weights; and several devices."""

from __future__ import annotations

import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import networks
from support.explainers import KEYS, built
from support.package_source import ROOT

import tfviz
from tfviz.cli.plan import plan_for
from tfviz.cli.terminal import let_memory_grow
from tfviz.export import saved_model
from tfviz.graph.operations import Normalization
from tfviz.metrics.sources import _named

FEW = ("grad_cam", "guided_backprop", "excitation_backprop", "visual_backprop")


def assert_equal(got: Any, want: Any) -> None:
    want = np.asarray(want)
    assert np.abs(np.asarray(got) - want).max() <= 1e-5 * np.abs(want).max()


@pytest.fixture(scope="module")
def residual() -> keras.Model:
    return networks.build("residual")


@pytest.mark.parametrize("key", KEYS)
def test_every_method_gives_the_same_map(key: str, residual: keras.Model) -> None:
    explainer, images = built(key, residual), networks.pictures(residual)
    frozen = explainer.freeze()
    assert (frozen.is_frozen, explainer.is_frozen) == (True, False)
    assert type(frozen) is type(explainer)
    assert_equal(frozen(images), explainer(images))


@pytest.mark.parametrize("name", ["depthwise", "separable", "transposed", "nested", "preactivation"])
@pytest.mark.parametrize("key", FEW)
def test_other_networks_give_the_same_map(name: str, key: str) -> None:
    if key in networks.NETWORKS[name].no:
        return
    model = networks.build(name)
    explainer, images = tfviz.METHODS[key](model), networks.pictures(model)
    assert_equal(explainer.freeze()(images), explainer(images))


@pytest.mark.parametrize("layer", ["b_conv", "b_norm"])
@pytest.mark.parametrize("key", ["grad_cam", "excitation_backprop"])
def test_a_layer_next_to_a_normalization_keeps_its_meaning(key: str, layer: str, residual: keras.Model) -> None:
    explainer, images = tfviz.METHODS[key](residual, layer), networks.pictures(residual)
    assert_equal(explainer.freeze()(images, 1), explainer(images, 1))


def test_merged_normalizations_stay_merged(residual: keras.Model) -> None:
    explainer, images = tfviz.ExcitationBackprop(residual, merge_batch_norm=True), networks.pictures(residual)
    assert_equal(explainer.freeze()(images, 1), explainer(images, 1))


def test_positive_kernels_are_computed_once(residual: keras.Model) -> None:
    explainer, images = tfviz.ExcitationBackprop(residual), networks.pictures(residual)
    frozen = explainer.freeze()
    held = frozen.excitation.positive_kernels.held
    assert not held
    frozen(images, 1)
    first = dict(held)
    frozen(images, [1, 2])
    assert len(first) == 6
    assert held == first
    explainer(images, 1)
    assert not explainer.excitation.positive_kernels.held


def test_the_base_of_a_noisy_method_keeps_its_layer(residual: keras.Model) -> None:
    images = networks.pictures(residual)
    explainer = tfviz.SmoothGrad(residual, method="grad_cam", layer="b_conv", samples=2)
    frozen = explainer.freeze()
    assert frozen.base.is_frozen
    assert_equal(frozen(images, 1), explainer(images, 1))


def test_normalizations_after_linear_maps_are_folded(residual: keras.Model) -> None:
    frozen = tfviz.GradCAM(residual).freeze()
    x = tf.constant([[2.0]])
    norms = [step for step in frozen.graph.steps if isinstance(step.operation, Normalization)]
    assert len(norms) == 5
    assert all(step.compute([x])[0] is x for step in norms)


def test_calls_of_a_shared_layer_share_its_constants() -> None:
    layers = keras.layers
    backbone = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 3), layers.BatchNormalization(), layers.ReLU()])
    inputs = keras.Input((12, 12, 3))
    x = layers.GlobalAveragePooling2D()(backbone(backbone(inputs)))
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(3)(x)), 1)
    explainer, images = tfviz.Saliency(model), networks.pictures(model)
    frozen = explainer.freeze()
    assert_equal(frozen(images, 1), explainer(images, 1))
    (compiled,) = frozen._functions._known.values()
    assert len(compiled.graph.variables) == 4  # one convolution, one Dense


class Handwritten(keras.layers.Layer):
    """A convolution that only TensorFlow can trace, with a weight that Keras knows."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 4), name="kernel")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "SAME"))


def of_all_kinds() -> keras.Model:
    """Weights that are read by a convolution, a normalization, an activation, and code."""
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((10, 10, 3)),
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.PReLU(alpha_initializer="ones"),
        layers.LayerNormalization(),
        Handwritten(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ])  # fmt: skip
    return networks.with_random_weights(model, 1)


@pytest.mark.parametrize("key", ["saliency", "excitation_backprop"])
def test_later_changes_to_the_weights_have_no_effect(key: str) -> None:
    model = of_all_kinds()
    explainer, images = tfviz.METHODS[key](model), networks.pictures(model)
    before, frozen = explainer(images, 1), explainer.freeze()
    for variable in model.variables:
        if "float" in variable.dtype:
            variable.assign(variable * 0.5 + 0.1)
    assert np.abs(np.asarray(explainer(images, 1)) - before).max() > 0.01 * np.abs(before).max()
    assert_equal(frozen(images, 1), before)
    assert_equal(frozen.freeze()(images, 1), before)
    assert_equal(tf.function(lambda x: frozen(x, 1))(images), before)


def state(model: keras.Model) -> list[Any]:
    policies = [layer.dtype_policy.name for layer in model.layers]
    return [model.get_config(), policies, *[np.asarray(variable) for variable in model.variables]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_model_is_unchanged_also_after_an_exception(
    dtype: str, residual: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, images = state(residual), networks.pictures(residual)
    frozen = tfviz.GradCAM(residual).freeze(dtype)
    frozen(images)

    def fail(outputs: tf.Tensor) -> tf.Tensor:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(tfviz.GradCAM, "weigh", lambda *given: fail(given[-1]))
    with pytest.raises(RuntimeError, match="on purpose"):
        frozen.with_outputs(images)
    for now, then in zip(state(residual), before, strict=True):
        np.testing.assert_equal(now, then)


# At the image, a few pixels change places: rounding decides on which side of 0 an activation lies
# and, behind the second linear map, which of two near-equal values of a max pooling wins.
CORRELATIONS = {"grad_cam": 0.999, "visual_backprop": 0.999, "guided_backprop": 0.995, "excitation_backprop": 0.995}


@pytest.mark.parametrize("key", CORRELATIONS)
def test_bfloat16_gives_nearly_the_same_map(key: str) -> None:
    model = tfviz.load_model("shapes")
    images = tfviz.load_images("tfviz/shapes/samples", model)[:4]
    explainer = tfviz.METHODS[key](model)
    frozen = explainer.freeze("bfloat16")
    assert frozen.graph.compute_dtype == "bfloat16"
    maps = [np.asarray(one(images)) for one in (explainer, frozen)]
    assert CORRELATIONS[key] <= np.corrcoef(*(one.ravel() for one in maps))[0, 1] < 1
    assert maps[1].dtype == np.float32


def test_what_cannot_be_frozen(residual: keras.Model) -> None:
    with pytest.raises(tfviz.OptionError, match=r"`dtype` must be one of float32, bfloat16\. Received: 'float16'"):
        tfviz.GradCAM(residual).freeze("float16")
    with pytest.raises(tfviz.UnsupportedModelError, match=r"Only a keras\.Model can be frozen"):
        tfviz.Saliency(lambda x: tf.reduce_mean(x, [1, 2])).freeze()
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(tfviz.GradCAM(residual).freeze())


# --- several devices ------------------------------------------------------------------------------

_ON_TWO = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from support import networks
import tfviz
from tfviz.methods import devices
seen, run = set(), devices._Replica.run
def noted(self, part):
    result = run(self, part)
    seen.add(result.device)
    return result
devices._Replica.run = noted
model = networks.build("residual")
images, targets = networks.pictures(model, 7), [0, 1, 2, 3, 0, 1, 2]
for explainer in (tfviz.GradCAM(model), tfviz.GradCAM(model).freeze(), tfviz.SmoothGrad(model, samples=2)):
    one, both = (explainer.explain(images, targets, batch_size=2, verbose=0, devices=which) for which in (None, "all"))
    np.testing.assert_array_equal(one, both)
    assert len(seen) == 2, seen
    seen.clear()
"""


def test_all_devices_share_the_batches_and_give_the_same_maps() -> None:
    code = f"import sys; sys.path[:0] = {[str(ROOT.parent), str(ROOT.parent / 'tests')]!r}\n{_ON_TWO}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_unknown_choice_of_devices_is_an_error(residual: keras.Model) -> None:
    with pytest.raises(tfviz.OptionError, match=r"`devices` must be \"all\" or None\. Received: 'gpu'"):
        tfviz.GradCAM(residual).explain(networks.pictures(residual), devices="gpu")


# --- where weights cannot change ------------------------------------------------------------------


def test_commands_and_evaluations_freeze_their_explainers(residual: keras.Model) -> None:
    options = dict.fromkeys(("preprocess", "labels", "image_size", "layer", "backgrounds"))
    args = Namespace(model="shapes", weights="imagenet", method=["grad_cam"], target=["top"], **options)
    assert [one.is_frozen for one in plan_for(args, print).explainers] == [True]
    assert _named(residual, "grad_cam", None, False).is_frozen


@pytest.mark.parametrize(
    ("key", "freeze", "is_frozen"), [("grad_cam", True, True), ("grad_cam", False, False), (FEW[2], True, False)]
)
def test_exports_freeze_unless_a_rule_reads_kernels(
    key: str, freeze: bool, is_frozen: bool, residual: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(saved_model, "write", lambda explainer, folder, manifest, **options: seen.append(explainer))
    tfviz.METHODS[key](residual).export(tmp_path / "x", freeze=freeze)
    assert [one.is_frozen for one in seen] == [is_frozen]


def test_gpu_memory_grows_only_in_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[tuple[str, bool]] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind} 0", f"{kind} 1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu, on)))
    let_memory_grow()
    assert grown == [("GPU 0", True), ("GPU 1", True)]
    users = [path for path in ROOT.rglob("*.py") if "set_memory_growth" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(ROOT).as_posix() for path in users] == ["cli/terminal.py"]
