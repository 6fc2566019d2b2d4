"""JAX reproduces the explainer's results from a StableHLO program.

The program runs without TensorFlow, Keras and tfviz.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import cli_material, networks
from support.explainers import KEYS, built
from support.exported import assert_near, images_for, with_layer
from support.golden import GOLDEN, golden

import tfviz
from tfviz.export.stablehlo import PROGRAM, WEIGHTS
from tfviz.images import write_image
from tfviz.methods.explainer import Explainer

pytest.importorskip("jax")

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "run_stablehlo.py"
TOLERANCE = 1e-4  # of the largest value
BLOCKED = ("tensorflow", "keras", "tfviz")
ALONE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({BLOCKED}))  # importing one of them fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not any(sys.modules.get(name) for name in {BLOCKED})
"""


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("plain")


@pytest.fixture(scope="module")
def explainer(model: keras.Model) -> Explainer:
    """Return Saliency, which compiles quickly and reads every weight."""
    return tfviz.Saliency(model)


@pytest.fixture(scope="module")
def exported(explainer: Explainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explainer.export(tmp_path_factory.mktemp("stablehlo") / "explainer", format="stablehlo")


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """Return the functions of the example."""
    return runpy.run_path(str(SCRIPT))


def assert_same(got: Any, want: Any) -> None:
    assert_near(got.outputs, want.outputs, TOLERANCE)
    np.testing.assert_array_equal(got.target, want.target)
    assert_near(got.attribution, want.attribution, TOLERANCE)


# --- the same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "key"), [*enumerate(KEYS)])
def test_every_method_gives_the_same_results_in_jax(number: int, key: str, shared: Path, tmp_path: Path) -> None:
    network, _ = golden(shared, GOLDEN[number % 5])  # the sixth has no maps
    explainer = built(key, network)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="stablehlo", batch_size=3))
    images = images_for(explainer, 3)
    assert_same(loaded.with_outputs(images), explainer.with_outputs(images))
    if explainer.takes_target:
        assert_same(loaded.with_outputs(images, [2, 0, 1]), explainer.with_outputs(images, [2, 0, 1]))
        np.testing.assert_array_equal(loaded(images, 1), loaded(images, [1, 1, 1]))


@pytest.mark.parametrize("name", ["depthwise", "nested", "gated", "dense"])
def test_other_kinds_of_networks_give_the_same_results(name: str, tmp_path: Path) -> None:
    explainer = tfviz.GuidedBackprop(networks.build(name))
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="stablehlo"))
    assert_same(loaded.with_outputs(images_for(explainer, 1)), explainer.with_outputs(images_for(explainer, 1)))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "mixed_float16"])
def test_other_precisions_are_kept(dtype: str, tmp_path: Path) -> None:
    policy = keras.dtype_policies.DTypePolicy(dtype)
    parts = [
        layers.Conv2D(4, 3, activation="relu", dtype=policy),
        layers.Flatten(dtype=policy),
        layers.Dense(3, dtype=policy),
    ]
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((9, 8, 2), dtype=policy.compute_dtype), *parts])
    explainer = tfviz.Saliency(network)
    folder = explainer.export(tmp_path / "explainer", format="stablehlo")
    stored = {one["dtype"] for one in json.loads((folder / "tfviz.json").read_text())["extra"]["weights"]}
    assert stored == {policy.variable_dtype}
    images = images_for(explainer, 1)
    share = 1e-4 if dtype == "float64" else 0.02
    assert_near(tfviz.load_explainer(folder)(images), explainer(images), share)


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    inputs = {"left": keras.Input((8, 8, 2), name="left"), "right": keras.Input((6, 6, 1), name="right")}
    parts = [layers.Flatten()(layers.Conv2D(3, 3, activation="relu")(inputs[name])) for name in ("right", "left")]
    joined = layers.Concatenate()(parts)
    outputs = {"a": layers.Dense(3, name="a")(joined), "b": layers.Dense(2, name="b")(joined)}
    explainer = tfviz.Saliency(keras.Model(inputs, outputs))
    random = np.random.default_rng(0)
    images = {name: random.normal(size=(1, *x.shape[1:])).astype("float32") for name, x in inputs.items()}

    def score(outputs: Any) -> Any:
        return outputs["b"][:, 1]

    with pytest.raises(tfviz.ExportError, match="instead of a single output"):
        explainer.export(tmp_path / "none", format="stablehlo")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="stablehlo", target=score))
    want, got = explainer.with_outputs(images, score), loaded.with_outputs(images)
    for name in ("a", "b"):
        assert_near(got.outputs[name], want.outputs[name], TOLERANCE)
    for name in ("left", "right"):
        assert_near(got.attribution[name], want.attribution[name], TOLERANCE)


# --- what is in the folder ------------------------------------------------------------------------


def test_the_program_is_a_portable_artifact(exported: Path) -> None:
    assert b"StableHLO_v1.0.0" in (exported / PROGRAM).read_bytes()[:32]
    assert sorted(file.name for file in exported.iterdir()) == sorted([PROGRAM, WEIGHTS, "tfviz.json"])


def test_each_weight_is_stored_once_and_named(exported: Path, model: keras.Model) -> None:
    manifest = json.loads((exported / "tfviz.json").read_text())
    stored = dict(np.load(exported / WEIGHTS))
    assert list(stored) == [one["name"] for one in manifest["extra"]["weights"]]
    assert {name: array.shape for name, array in stored.items()} == {w.value.name[:-2]: tuple(w.shape) for w in model.weights}
    for weight in model.weights:
        np.testing.assert_array_equal(stored[weight.value.name[:-2]], weight.numpy())


def test_a_backbone_called_twice_is_stored_once(tmp_path: Path) -> None:
    network = networks.build("shared")
    folder = tfviz.GradCAM(network).export(tmp_path / "explainer", format="stablehlo")
    assert sum(array.size for array in np.load(folder / WEIGHTS).values()) == network.count_params()


def drop_digests(folder: Path) -> None:
    """Make an export look like those of versions that stored no digests, so files may change."""
    manifest = json.loads((folder / "tfviz.json").read_text())
    del manifest["files"]
    (folder / "tfviz.json").write_text(json.dumps(manifest))


def test_the_program_reads_all_its_weights_from_the_file(exported: Path, model: keras.Model, tmp_path: Path) -> None:
    """Other values in the weights file have the effect of other weights in the model."""
    other = networks.with_random_weights(networks.build("plain"), seed=11)
    folder = tmp_path / "explainer"
    folder.mkdir()
    for file in exported.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    drop_digests(folder)
    names = [weight.value.name[:-2] for weight in model.weights]
    np.savez(folder / WEIGHTS, **dict(zip(names, other.get_weights(), strict=True)))
    explainer = tfviz.Saliency(other)
    images = images_for(explainer, 1)
    assert_same(tfviz.load_explainer(folder).with_outputs(images), explainer.with_outputs(images))


def test_equally_shaped_weights_are_passed_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    explainer = tfviz.Saliency(networks.build("residual"))
    folder = explainer.export(tmp_path / "explainer", format="stablehlo")
    images = images_for(explainer, 1)
    drop_digests(folder)
    stored, manifest = dict(np.load(folder / WEIGHTS)), json.loads((folder / "tfviz.json").read_text())
    first, second = [one for one in manifest["extra"]["weights"] if one["name"].endswith(("a_norm/gamma", "a_norm/beta"))]
    first["name"], second["name"] = second["name"], first["name"]
    (folder / "tfviz.json").write_text(json.dumps(manifest))
    exchanged = tfviz.load_explainer(folder)(images)
    np.savez(folder / WEIGHTS, **(stored | {first["name"]: stored[second["name"]], second["name"]: stored[first["name"]]}))
    assert_near(tfviz.load_explainer(folder)(images), explainer(images), TOLERANCE)
    assert abs(exchanged - explainer(images).numpy()).max() > 0.01 * abs(exchanged).max()


# --- shapes ---------------------------------------------------------------------------------------


def test_a_loaded_program_takes_batches_of_any_length(exported: Path, explainer: Explainer, tmp_path: Path) -> None:
    pairs = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="stablehlo", batch_size=2))
    for loaded, count in ((tfviz.load_explainer(exported), 3), (pairs, 5), (pairs, 1)):
        images, target = images_for(explainer, count), np.arange(count) % 5
        assert_same(loaded.with_outputs(images, target), explainer.with_outputs(images, target))
    assert json.loads((tmp_path / "explainer" / "tfviz.json").read_text())["extra"]["arguments"][0]["shape"] == [2, 20, 17, 3]


def test_another_image_size_is_rejected(exported: Path, explainer: Explainer) -> None:
    with pytest.raises(tfviz.ImageError, match=r"expects images of shape \(any, 20, 17, 3\)\. Received: \(1, 20, 16, 3\)"):
        tfviz.load_explainer(exported)(images_for(explainer, 1)[:, :, 1:])


@pytest.mark.parametrize("batch_size", [0, 2.5, None, True])
def test_an_invalid_batch_size_is_rejected(batch_size: Any, explainer: Explainer, tmp_path: Path) -> None:
    with pytest.raises(tfviz.OptionError, match="`batch_size` must be a positive integer"):
        explainer.export(tmp_path / "explainer", format="stablehlo", batch_size=batch_size)
    assert not list(tmp_path.iterdir())


def test_a_free_image_size_must_be_fixed(tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(networks.build("separable"))
    with pytest.raises(tfviz.ExportError, match=r"accepts any size.*image_shape="):
        explainer.export(tmp_path / "none", format="stablehlo")
    folder = explainer.export(tmp_path / "explainer", format="stablehlo", image_shape=(24, 20, 3))
    images = images_for(explainer, 1)
    assert_near(tfviz.load_explainer(folder)(images), explainer(images), TOLERANCE)


# --- targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [3, [[0.5, 0, 0, -1, 0]], lambda outputs: outputs[:, 1] - outputs[:, 0]])
def test_a_target_may_be_fixed(target: Any, explainer: Explainer, tmp_path: Path) -> None:
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "explainer", format="stablehlo", target=target))
    images = images_for(explainer, 1)
    assert_near(loaded(images), explainer(images, target), TOLERANCE)
    with pytest.raises(tfviz.TargetError, match="accepts these targets: None"):
        loaded(images, 1)


def test_an_invalid_class_is_rejected(exported: Path, explainer: Explainer) -> None:
    loaded, images = tfviz.load_explainer(exported), images_for(explainer, 1)
    with pytest.raises(tfviz.TargetError, match="Target 5 is out of range"):
        loaded(images, 5)
    with pytest.raises(tfviz.TargetError, match="accepts these targets"):
        loaded(images, np.eye(5)[:1])


# --- errors ---------------------------------------------------------------------------------------


def test_operations_that_stablehlo_lacks_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(with_layer(lambda x: tf.linalg.qr(x)[0]))
    with pytest.raises(tfviz.ExportError, match="the operation Qr, which StableHLO does not support"):
        explainer.export(tmp_path / "explainer", format="stablehlo")
    assert not list(tmp_path.iterdir())


def test_python_code_in_the_model_is_rejected_and_nothing_is_written(tmp_path: Path) -> None:
    explainer = tfviz.Saliency(with_layer(lambda x: tf.ensure_shape(tf.py_function(tf.identity, [x], tf.float32), x.shape)))
    with pytest.raises(tfviz.ExportError, match=r"cannot be compiled to StableHLO.*EagerPyFunc"):
        explainer.export(tmp_path / "explainer", format="stablehlo")
    assert not list(tmp_path.iterdir())


def test_without_jax_a_folder_is_written_but_not_read(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    folder = explainer.export(tmp_path / "explainer", format="stablehlo")
    with pytest.raises(tfviz.MissingPackageError, match=r"Run: pip install jax"):
        tfviz.load_explainer(folder)


@pytest.mark.parametrize(("name", "fault"), [(PROGRAM, "cannot be compiled"), (WEIGHTS, "cannot be read")])
def test_a_missing_file_is_named(name: str, fault: str, explainer: Explainer, tmp_path: Path) -> None:
    folder = explainer.export(tmp_path / "explainer", format="stablehlo")
    (folder / name).unlink()
    with pytest.raises(tfviz.ExportError, match=rf"{name} {fault} \(\[Errno 2\] No such file"):
        tfviz.load_explainer(folder)


# --- the example, alone ---------------------------------------------------------------------------


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the example in a process that cannot import TensorFlow, Keras or tfviz."""
    return subprocess.run([sys.executable, "-c", ALONE, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_the_example_explains_a_batch_with_jax_alone(exported: Path, explainer: Explainer, tmp_path: Path) -> None:
    images = images_for(explainer, 1)
    np.save(tmp_path / "images.npy", images)
    done = run(exported, tmp_path / "images.npy", tmp_path / "maps.npy", "--target", 3)
    assert done.returncode == 0, done.stderr
    assert "image 0: class 3" in done.stdout
    assert_near(np.load(tmp_path / "maps.npy"), explainer(images, 3), TOLERANCE)


HOW: list[dict[str, Any]] = [
    {"formula": "x/127.5 - 1", "resize": "short side 40, center crop 30x26"},
    {"formula": "x - mean", "channel_order": "BGR", "mean": [103.9, 116.8, 123.7]},
    {"formula": "(x/255 - mean)/std", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
]


@pytest.mark.parametrize("how", HOW)
def test_the_example_explains_an_image_like_tfviz_does(
    how: dict[str, Any], explainer: Explainer, tmp_path: Path, example: Any
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (44, 50, 3), np.uint8)
    write_image(tmp_path / "photo.png", pixels)
    preprocessing = tfviz.Preprocessing(size=(20, 17), **how)
    labels = ["ant", "bee", "cat", "dog", "emu"]
    folder = explainer.export(tmp_path / "explainer", format="stablehlo", preprocessing=preprocessing, labels=labels)
    manifest = json.loads((folder / "tfviz.json").read_text())
    np.testing.assert_allclose(example["tensor"](pixels, manifest), preprocessing.tensor(pixels), rtol=1e-6, atol=1e-6)
    if how is not HOW[0]:
        return
    done = run(folder, tmp_path / "photo.png", tmp_path / "map.png")
    assert done.returncode == 0, done.stderr
    outputs, _, attribution = explainer.with_outputs(preprocessing.tensor(pixels)[None])
    assert f"class {outputs.numpy().argmax()} {labels[outputs.numpy().argmax()]}" in done.stdout
    gray = attribution.numpy()[0].sum(axis=-1)
    want = cv2.resize((gray / abs(gray).max() + 1) / 2, preprocessing.picture(pixels).shape[1::-1])
    got = cv2.imread(str(tmp_path / "map.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(got, 255 * want, rtol=0, atol=0.6)


def test_the_example_accepts_one_name_for_the_two_classes_of_a_sigmoid(tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(cli_material.network(outputs=1))
    folder = explainer.export(tmp_path / "explainer", format="stablehlo")
    manifest = json.loads((folder / "tfviz.json").read_text())
    # like a model with a known label
    (folder / "tfviz.json").write_text(json.dumps(manifest | {"labels": ["cat"]}))
    np.save(tmp_path / "images.npy", images_for(explainer, 1))
    done = run(folder, tmp_path / "images.npy", tmp_path / "maps.npy", "--target", 1)
    assert done.returncode == 0, done.stderr
    assert "image 0: class 1\n" in done.stdout


def test_the_example_reports_the_shape_that_it_takes(exported: Path, explainer: Explainer, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images_for(explainer, 2))
    done = run(exported, tmp_path / "images.npy", tmp_path / "maps.npy")
    assert done.returncode == 1
    assert "The program was exported for images of shape [1, 20, 17, 3]. Received: [2, 20, 17, 3]." in done.stderr
    assert not (tmp_path / "maps.npy").exists()


def test_the_example_rejects_an_invalid_class(exported: Path, explainer: Explainer, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images_for(explainer, 1))
    done = run(exported, tmp_path / "images.npy", tmp_path / "maps.npy", "--target", 7)
    assert done.returncode == 1
    assert "--target 7 is out of range. Choose a class from 0 to 4." in done.stderr
