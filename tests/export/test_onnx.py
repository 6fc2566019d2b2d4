"""onnxruntime reproduces the explainer's results from an ONNX file, for batches of any size.

Operations that ONNX lacks are reported by name.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.explainers import KEYS, built
from support.exported import BATCHES, assert_near, images_for, with_layer
from support.golden import GOLDEN, golden

import tfviz
from tfviz.export import onnx as onnx_format
from tfviz.methods.explainer import Explainer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("tf2onnx")
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-4  # of the largest value


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("plain")


@pytest.fixture(scope="module")
def explainer(model: keras.Model) -> Explainer:
    return tfviz.ExcitationBackprop(model)


@pytest.fixture(scope="module")
def exported(explainer: Explainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explainer.export(tmp_path_factory.mktemp("onnx") / "explainer", format="onnx")


def assert_same(loaded: Any, explainer: Explainer, count: int, target: Any = None) -> None:
    images = images_for(explainer, count)
    got, want = loaded.with_outputs(images, target), explainer.with_outputs(images, target)
    assert_near(got.outputs, want.outputs, TOLERANCE)
    np.testing.assert_array_equal(got.target, want.target)
    assert_near(got.attribution, want.attribution, TOLERANCE)


# --- the same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "key"), [*enumerate(KEYS)])
def test_every_method_gives_the_same_results_for_any_batch_size(number: int, key: str, shared: Path, tmp_path: Path) -> None:
    network, _ = golden(shared, GOLDEN[(number + 2) % 5])  # the sixth has no maps
    explainer = built(key, network)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="onnx"))
    for count in BATCHES:
        assert_same(loaded, explainer, count)
    if explainer.takes_target:
        assert_same(loaded, explainer, 3, [2, 0, 1])


@pytest.mark.parametrize("name", ["nested", "transposed", "gated", "dense"])
def test_other_kinds_of_networks_give_the_same_results(name: str, tmp_path: Path) -> None:
    explainer = tfviz.GuidedBackprop(networks.build(name))
    assert_same(tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="onnx")), explainer, 2)


# A stride of 3 leaves the last rows and columns of 17 x 16 unread. "same" pads more at the end than
# at the beginning.
CONVOLUTIONS: list[Any] = [
    layers.Conv2D(6, 2, strides=3, use_bias=False),
    layers.Conv2D(6, 3, strides=(2, 3), padding="same"),
    layers.Conv2D(6, (3, 2), dilation_rate=(2, 3), padding="same", groups=3),
    layers.Conv2D(6, 1, strides=2, padding="same"),
    layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same"),
    layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    layers.MaxPooling2D(3, strides=2, padding="same"),
    layers.MaxPooling2D(2, strides=3),
    layers.AveragePooling2D(3, strides=2, padding="same"),
    layers.AveragePooling2D((2, 3), strides=3),
]


def test_gradients_of_all_kinds_of_windows_give_the_same_results(tmp_path: Path) -> None:
    inputs = keras.Input((17, 16, 6))
    maps = [layers.GlobalAveragePooling2D()(layers.Activation("tanh")(part(inputs))) for part in CONVOLUTIONS]
    network = networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(layers.Concatenate()(maps))), seed=3)
    explainer = tfviz.Saliency(network)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="onnx"))
    assert_same(loaded, explainer, 2)
    ties = np.round(images_for(explainer, 2))  # creates equal maxima
    assert_near(loaded(ties), explainer(ties), TOLERANCE)


MOVES: list[Any] = [
    layers.UpSampling2D(2),
    layers.UpSampling2D((3, 2), interpolation="bilinear"),
    layers.Resizing(5, 9),
    layers.Cropping2D(((1, 2), (0, 3))),
    layers.ZeroPadding2D(((1, 0), (2, 1))),
    layers.Permute((2, 1, 3)),
    layers.Concatenate(axis=2),
]


def test_gradients_of_moved_elements_give_the_same_results(tmp_path: Path) -> None:
    inputs = keras.Input((7, 6, 3))
    maps = [layers.Conv2D(2, 2)(part([inputs, inputs[:, :, ::-2]] if part is MOVES[-1] else inputs)) for part in MOVES]
    maps = [layers.GlobalAveragePooling2D()(layers.Activation("tanh")(x)) for x in maps]
    network = networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(layers.Concatenate()(maps))), seed=3)
    explainer = tfviz.Saliency(network)
    assert_same(tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="onnx")), explainer, 3)


ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "sigmoid", "tanh", "silu", "gelu")


def test_gradients_of_activations_give_the_same_results(tmp_path: Path) -> None:
    inputs = keras.Input((6, 5, 2))
    maps = [layers.Flatten()(layers.Activation(name)(layers.Conv2D(2, 2)(inputs))) for name in ACTIVATIONS]
    network = networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(layers.Concatenate()(maps))), seed=3)
    explainer = tfviz.Saliency(network)
    assert_same(tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="onnx")), explainer, 3)


def in_precision(dtype: str) -> keras.Model:
    policy = keras.dtype_policies.DTypePolicy(dtype)
    parts: list[Any] = [layers.Conv2D(4, 3, activation="relu", dtype=policy), layers.Flatten(dtype=policy)]
    return keras.Sequential([keras.Input((9, 8, 2), dtype=policy.compute_dtype), *parts, layers.Dense(3, dtype=policy)])


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_other_precisions_become_float32(dtype: str, tmp_path: Path) -> None:
    network, single = in_precision(dtype), in_precision("float32")
    single.set_weights(network.get_weights())
    loaded = tfviz.load_explainer(tfviz.Saliency(network).export(tmp_path / "explainer", format="onnx"))
    assert [one.dtype for one in loaded.manifest.inputs] == ["float32"]
    assert_same(loaded, tfviz.Saliency(single), 2)


def test_several_inputs_and_a_fixed_target(tmp_path: Path) -> None:
    inputs = [keras.Input((8, 8, 2), name="left"), keras.Input((6, 6, 1), name="right")]
    parts = [layers.Flatten()(layers.Conv2D(3, 3, activation="relu")(one)) for one in inputs]
    explainer = tfviz.Saliency(keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(parts))))
    random = np.random.default_rng(0)
    images = [random.normal(size=(2, *one.shape[1:])).astype("float32") for one in inputs]

    def score(outputs: Any) -> Any:
        return outputs[:, 1] - outputs[:, 0]

    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="onnx", target=score))
    for got, want in zip(loaded(images), explainer(images, score), strict=True):
        assert_near(got, want, TOLERANCE)
    with pytest.raises(tfviz.TargetError, match="accepts these targets: None"):
        loaded(images, 1)


# --- what is in the file --------------------------------------------------------------------------


def test_onnxruntime_alone_runs_the_file_by_names(exported: Path, explainer: Explainer) -> None:
    session = onnxruntime.InferenceSession(str(exported / "explainer.onnx"))
    assert [one.name for one in session.get_inputs()] == ["images", "target"]
    assert [one.name for one in session.get_outputs()] == ["outputs", "target_out", "attribution"]
    assert session.get_inputs()[0].shape == ["N", 20, 17, 3]
    images = images_for(explainer, 2)
    answer = session.run(["target_out", "attribution"], {"images": images, "target": np.int32([-1, 3])})
    assert answer[0][1] == 3
    assert_near(answer[1], explainer(images, answer[0]), TOLERANCE)


def test_each_weight_is_stored_once_and_positive_weights_are_not(exported: Path, model: keras.Model) -> None:
    graph = onnx.load(exported / "explainer.onnx").graph
    arrays = [onnx.numpy_helper.to_array(one) for one in graph.initializer]
    sizes = sorted(array.size for array in arrays if array.dtype == np.float32 and array.size > 100)
    shapes = [int(np.prod(weight.shape)) for weight in model.weights]
    # the position in a 3 x 3 window that each share of max pooling goes to, for 6 channels
    windows = 3 * 3 * 6 * 9
    assert sizes == sorted([*(size for size in shapes if size > 100), windows])


def test_the_file_passes_the_onnx_checker(exported: Path) -> None:
    onnx.checker.check_model(str(exported / "explainer.onnx"), full_check=True)
    assert json.loads((exported / "tfviz.json").read_text())["extra"]["opset"] == 17


# --- errors ---------------------------------------------------------------------------------------


def test_operations_that_onnx_lacks_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    explainer = tfviz.Saliency(with_layer(lambda x: tf.math.erfinv(tf.tanh(x) / 2)))
    with pytest.raises(
        tfviz.ExportError,
        match=r"cannot be exported to ONNX\. The graph uses operations that have no equivalent in ONNX: 'Erfinv'",
    ):
        explainer.export(tmp_path / "explainer", format="onnx")
    assert not list(tmp_path.iterdir())


def test_a_conversion_with_other_results_is_rejected(
    model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {**onnx_format.REPLACEMENTS, "ReluGrad": lambda operation, p, x: p}
    monkeypatch.setattr(onnx_format, "REPLACEMENTS", wrong)
    with pytest.raises(tfviz.ExportError, match="The converted graph's output 'attribution' differs from TensorFlow's"):
        tfviz.Saliency(model).export(tmp_path / "explainer", format="onnx")
    assert not list(tmp_path.iterdir())


def test_a_free_image_size_must_be_fixed(tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(networks.build("separable"))
    with pytest.raises(tfviz.ExportError, match=r"accepts any size.*image_shape="):
        explainer.export(tmp_path / "none", format="onnx")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="onnx", image_shape=(24, 20, 3)))
    assert_same(loaded, explainer, 2)


@pytest.mark.parametrize("package", ["onnx", "tf2onnx", "onnxruntime"])
def test_a_missing_package_is_named_before_anything_is_written(
    package: str, explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(tfviz.MissingPackageError, match=rf"need {package}, .* Run: pip install tf2onnx onnx onnxruntime"):
        explainer.export(tmp_path / "explainer", format="onnx")
    assert not list(tmp_path.iterdir())


def test_reading_needs_onnxruntime_only(exported: Path, explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert_same(tfviz.load_explainer(exported), explainer, 1)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(tfviz.MissingPackageError, match="need onnxruntime"):
        tfviz.load_explainer(exported)


def test_a_damaged_file_is_named(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "tfviz.json").write_bytes((exported / "tfviz.json").read_bytes())
    (tmp_path / "explainer.onnx").write_bytes((exported / "explainer.onnx").read_bytes()[:500])
    with pytest.raises(tfviz.ExportError, match=r"explainer\.onnx cannot be opened"):
        tfviz.load_explainer(tmp_path)


def test_the_export_is_silent_and_restores_the_loggers(
    explainer: Explainer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loggers = [logging.getLogger("tf2onnx"), tf.get_logger()]
    before = [logger.level for logger in loggers]
    explainer.export(tmp_path / "explainer", format="onnx")
    assert [logger.level for logger in loggers] == before
    printed = capfd.readouterr()
    # TensorFlow 2.20 logs to stderr regardless of the level.
    of_tensorflow = ("I0000 ", "WARNING: All log messages before absl")
    assert [printed.out, *(line for line in printed.err.splitlines() if not line.startswith(of_tensorflow))] == [""]


class Mixed(keras.layers.Layer):
    """Makes the images of a batch depend on each other."""

    def call(self, x: Any) -> Any:
        return x + 0.5 * x[:1]


class BatchStatistics(keras.layers.Layer):
    """A normalization in training mode."""

    def call(self, x: Any) -> Any:
        ones = tf.ones(x.shape[-1:])
        return tf.compat.v1.nn.fused_batch_norm(x, ones, 0 * ones, is_training=True)[0]


@pytest.mark.parametrize(
    ("layer", "message"), [(Mixed, "slices the batch.*saved_model"), (BatchStatistics, "in training mode.*training=False")]
)
def test_errors_for_gradients_over_the_whole_batch_name_the_operation(layer: Any, message: str, tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(layer()(keras.layers.Conv2D(4, 3, activation="relu")(inputs)))
    explainer = tfviz.Saliency(keras.Model(inputs, keras.layers.Dense(3)(x)))
    with pytest.raises(tfviz.ExportError, match=message):
        explainer.export(tmp_path / "x", format="onnx")
    assert not list(tmp_path.iterdir())
