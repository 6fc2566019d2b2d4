"""Methods that run perturbed copies of each image, in every format."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support import cli_material, networks
from support.explainers import SAMPLED, built
from support.exported import assert_near, images_for, size_of

import tfviz
from tfviz.export import FORMATS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in ("jax", "ai_edge_litert", "tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)

TOLERANCE = 1e-5  # of the largest value
# Each has more copies than two batches hold, and a rest, so that the graph has a loop and a part
# after it.
COPIES: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 5, "baseline": ["black", "blur"]},
    "expected_gradients": {"samples": 9},
    "smooth_grad": {"samples": 5, "seed": 3},
    "square_grad": {"samples": 5, "method": "guided_backprop"},
    "var_grad": {"samples": 5, "noise": 0.3},
    "occlusion": {"window": 6, "stride": 5},
    "rise": {"samples": 11, "grid": 3, "seed": 2},
    "score_cam": {"channels": 5, "weights": "softmax"},
    "ablation_cam": {"channels": 5},
}
BATCH = 2
every_format = pytest.mark.parametrize("format", FORMATS)


def network(activation: str | None = "softmax") -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = layers.MaxPooling2D(2)(layers.Conv2D(6, 3, padding="same", activation="relu")(inputs))
    x = layers.Conv2D(8, 3, activation="relu", name="last")(x)
    x = layers.Dense(4, activation=activation)(layers.GlobalAveragePooling2D()(x))
    return networks.with_random_weights(keras.Model(inputs, x), 0)


def test_every_method_is_here() -> None:
    assert set(COPIES) == set(SAMPLED)


@every_format
@pytest.mark.parametrize("key", SAMPLED)
def test_a_loaded_explainer_gives_the_same_results(key: str, format: str, tmp_path: Path) -> None:
    explainer = built(key, network(), batch_size=BATCH, **COPIES[key])
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format))
    images = images_for(explainer, 3)
    want, got = explainer.with_outputs(images), loaded.with_outputs(images)
    np.testing.assert_array_equal(got.target, want.target)
    assert_near(got.outputs, want.outputs, TOLERANCE)
    assert_near(got.attribution, want.attribution, TOLERANCE)
    assert_near(loaded(images, [2, 0, 1]), explainer(images, [2, 0, 1]), TOLERANCE)


@pytest.mark.parametrize("key", ["integrated_gradients", "smooth_grad", "occlusion", "rise", "score_cam"])
def test_a_saved_model_takes_images_of_any_size(key: str, tmp_path: Path) -> None:
    explainer = built(key, cli_material.network((None, None)), batch_size=BATCH)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    for size in ((20, 16), (16, 24)):
        images = np.random.default_rng(1).uniform(0, 255, (2, *size, 3)).astype("float32")
        assert_near(loaded(images), explainer(images), TOLERANCE)


@every_format
def test_the_top_class_is_that_of_the_unperturbed_image(format: str, tmp_path: Path) -> None:
    explainer = tfviz.SmoothGrad(network(), samples=6, noise=5.0, batch_size=BATCH)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format))
    images = images_for(explainer, 3)
    top = loaded.with_outputs(images).target
    assert_near(loaded(images), explainer(images, top), TOLERANCE)


def test_weights_of_the_outputs_can_be_chosen(tmp_path: Path) -> None:
    explainer = built("occlusion", network())
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    images, weights = images_for(explainer, 2), np.float32([[1, 0, 0, -1], [0, 2, 0, 0]])
    assert_near(loaded(images, weights), explainer(images, weights), TOLERANCE)


@every_format
@pytest.mark.parametrize("target", [2, lambda outputs: outputs[:, 3] - outputs[:, 0], tfviz.Against(1)])
def test_a_fixed_target_holds_for_all_copies(target: Any, format: str, tmp_path: Path) -> None:
    explainer = built("integrated_gradients", network(), batch_size=BATCH)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format, target=target))
    images = images_for(explainer, 2)
    assert_near(loaded(images), explainer(images, target), TOLERANCE)


@pytest.mark.parametrize("format", ["litert", "onnx", "stablehlo"])
@pytest.mark.parametrize(("key", "few", "many"), [("integrated_gradients", 4, 40), ("rise", 4, 40)])
def test_more_copies_hardly_make_the_file_larger(key: str, few: int, many: int, format: str, tmp_path: Path) -> None:
    option = "steps" if key == "integrated_gradients" else "samples"
    sizes = []
    for count in (few, many):
        explainer = tfviz.METHODS[key](network(), batch_size=BATCH, **{option: count})
        sizes.append(size_of(explainer.export(tmp_path / f"{count}", format=format)))
    assert sizes[1] - sizes[0] < (many - few) * 400  # bytes: grids and positions, but no networks


@pytest.mark.parametrize("quantize", ["int8", "float16"])
def test_quantized_files_keep_their_loop(quantize: str, tmp_path: Path) -> None:
    explainer = built("occlusion", network(), batch_size=BATCH)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format="litert", quantize=quantize))
    images = images_for(explainer, 2)
    assert np.corrcoef(loaded(images).ravel(), np.ravel(explainer(images)))[0, 1] > 0.99


@pytest.mark.parametrize("format", ["litert", "onnx", "stablehlo"])
def test_a_network_with_a_loop_of_its_own_runs_within_the_loop_over_copies(format: str, tmp_path: Path) -> None:
    inputs = keras.Input((8, 6, 3))
    x = layers.Reshape((8, 24))(layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs))
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(3)(layers.GRU(5)(x))), 0)
    explainer = tfviz.IntegratedGradients(model, steps=5, batch_size=BATCH)
    explainer._has_warned_of_error = True
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x", format=format))
    images = images_for(explainer, 2)
    assert_near(loaded(images), explainer(images), 1e-4)
