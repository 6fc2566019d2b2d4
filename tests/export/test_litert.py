"""A .tflite file reproduces the explainer's results with LiteRT alone.

It contains built-in operations only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks, zoo
from support.exported import assert_near, explainers_of, images_for
from support.golden import GOLDEN, golden
from support.purity import assert_untouched, snapshot

import tfviz
from tfviz.export import int8_weights
from tfviz.export.lowering.graph_copy import traced
from tfviz.methods.explainer import Explainer

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

TOLERANCE = 1e-4  # of the largest value
CORRELATION = 0.98  # between a map with int8 weights and the original map
IMAGES = 2

# Runs files like a phone: with LiteRT and nothing else.
RUNNING = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tfviz", "keras", "tensorflow", "tf_keras"):
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, Blocked())
import numpy as np
from ai_edge_litert.interpreter import Interpreter

for question in json.load(open(sys.argv[1])):
    runner = Interpreter(model_path=question["file"]).get_signature_runner("serving_default")
    given = dict(np.load(question["given"]))
    count = len(given["images"])
    parts = [runner(**{name: array[i : i + 1] for name, array in given.items()}) for i in range(count)]
    np.savez(question["answer"], **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
found = sorted(name for name in sys.modules if name.split(".")[0] in ("tfviz", "keras", "tensorflow"))
assert not found, found
"""


class Phone:
    """A new process that runs .tflite files without TensorFlow, Keras and tfviz."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.questions: list[dict[str, str]] = []

    def ask(self, file: Path, **given: Any) -> Path:
        """Queue a file and its inputs. The results will be at the returned path."""
        number = len(self.questions)
        np.savez(self.folder / f"{number}.npz", **given)
        answer = self.folder / f"{number}.answer.npz"
        self.questions.append({"file": str(file), "given": str(self.folder / f"{number}.npz"), "answer": str(answer)})
        return answer

    def run(self) -> None:
        (self.folder / "questions.json").write_text(json.dumps(self.questions))
        command = [sys.executable, "-c", RUNNING, str(self.folder / "questions.json")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stderr


def correlation(one: Any, other: Any) -> float:
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def operations_of(file: Path) -> set[int]:
    """Return the operations in a file, all of which must be built in."""
    whole = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    assert not any(code.customCode for code in whole.operatorCodes)
    return {max(code.builtinCode, code.deprecatedBuiltinCode) for code in whole.operatorCodes}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("residual")


# --- the same numbers elsewhere -------------------------------------------------------------------


def ask(phone: Phone, explainer: Explainer, folder: Path, images: np.ndarray, **options: Any) -> list[Any]:
    """Export an explainer, and queue single images for the top class and for other classes."""
    file = explainer.export(folder, format="litert", **options) / "explainer.tflite"
    assert operations_of(file)
    if not explainer.takes_target:
        return [(folder.name, explainer.with_outputs(images), phone.ask(file, images=images))]
    top, others = np.full(len(images), -1, np.int32), np.array([1, 3], np.int32)
    answers = [phone.ask(file, images=images, target=target) for target in (top, others)]
    return [
        (folder.name, explainer.with_outputs(images, target), path)
        for target, path in zip((None, others), answers, strict=True)
    ]


@pytest.mark.parametrize("name", GOLDEN)
def test_every_method_on_a_golden_network_gives_the_same_results_on_a_phone(name: str, shared: Path, tmp_path: Path) -> None:
    phone, wanted = Phone(tmp_path), []
    network, _ = golden(shared, name)
    for explainer in explainers_of(network, name):
        wanted += ask(phone, explainer, tmp_path / explainer.key, images_for(explainer, IMAGES))
    phone.run()
    for what, want, path in wanted:
        got = np.load(path)
        assert_near(got["attribution"], want.attribution, TOLERANCE, what)
        assert_near(got["outputs"], want.outputs, TOLERANCE, what)
        if want.target is not None:
            np.testing.assert_array_equal(got["target"], want.target, what)


@pytest.mark.parametrize("name", GOLDEN)
def test_int8_weights_hardly_change_the_maps_of_golden_networks(name: str, shared: Path, tmp_path: Path) -> None:
    phone, wanted = Phone(tmp_path), []
    network, _ = golden(shared, name)
    for method in (tfviz.Saliency, tfviz.ContrastiveExcitationBackprop):
        explainer = method(network)
        images = images_for(explainer, IMAGES)
        wanted += ask(phone, explainer, tmp_path / explainer.key, images, quantize="int8")
    phone.run()
    for what, want, path in wanted:
        assert correlation(np.load(path)["attribution"], want.attribution) >= CORRELATION, what


@pytest.mark.parametrize(
    ("name", "key"),
    [("squeezenet_imagenet", "guided_grad_cam"), ("mobilenet_v2_imagenet", "contrastive_excitation_backprop")],
)
@pytest.mark.filterwarnings("ignore:No preprocessing is known")
def test_real_networks_give_the_same_results_on_a_phone(name: str, key: str, shared: Path, tmp_path: Path) -> None:
    explainer = tfviz.METHODS[key](tfviz.load_model(shared / "data" / "models" / f"{name}.keras"))
    images = np.asarray(tfviz.load_images(sorted((shared / "data" / "photos").glob("*.jpg"))[:IMAGES], explainer.model))
    phone = Phone(tmp_path)
    exact = ask(phone, explainer, tmp_path / "float32", images)
    small = ask(phone, explainer, tmp_path / "int8", images, quantize="int8")
    phone.run()
    for _, want, path in exact:
        got, map_ = np.load(path), want.attribution.numpy()
        assert_near(got["outputs"], want.outputs, TOLERANCE)
        # LiteRT rounds differently than TensorFlow. If two values almost tie, a gradient takes
        # another path.
        assert (abs(got["attribution"] - map_) > TOLERANCE * abs(map_).max()).mean() < 1e-3
        assert correlation(got["attribution"], map_) > 0.9999
    for _, want, path in small:
        assert correlation(np.load(path)["attribution"], want.attribution) >= CORRELATION


# --- behind an explainer's call -------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_of_any_length_run_with_a_fixed_batch_size(batch_size: int, model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.GuidedBackprop(model)
    before = snapshot(model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "e", format="litert", batch_size=batch_size))
    assert_untouched(model, before)
    assert loaded.interpreter.get_input_details()[0]["shape"][0] == batch_size
    for count in (1, 3, 8):
        images = images_for(explainer, count)
        for target in (None, 2, np.arange(count) % 4):
            got, want = loaded.with_outputs(images, target), explainer.with_outputs(images, target)
            np.testing.assert_array_equal(got.target, want.target)
            assert_near(got.attribution, want.attribution, TOLERANCE)
            assert_near(got.outputs, want.outputs, TOLERANCE)


def test_threads_may_share_a_file(model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.GuidedBackprop(model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "e", format="litert"))
    images = images_for(explainer, 8)
    want = [loaded(images[i : i + 1]) for i in range(8)]

    def differing(first: int) -> int:
        numbers = [(3 * first + i) % 8 for i in range(300)]
        return sum(not np.array_equal(loaded(images[i : i + 1]), want[i]) for i in numbers)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(differing, range(4))) == [0] * 4


def test_several_inputs_and_outputs_keep_their_structure(tmp_path: Path) -> None:
    network = zoo.two_images("softmax")
    images = {"left": zoo.noise(12, 10, 1), "right": zoo.noise(12, 10, 3, seed=2)}
    explainer = tfviz.Saliency(network)
    got = tfviz.load_explainer(explainer.export(tmp_path / "two", format="litert"))(images, 1)
    for name, want in explainer(images, 1).items():
        assert_near(got[name], want, TOLERANCE, name)
    network = zoo.outputs_in_a_dict("softmax")
    explainer = tfviz.GradCAM(network, output="kind")
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "kind", format="litert"))
    assert_near(loaded(zoo.noise(14, 12, 3), 2), explainer(zoo.noise(14, 12, 3), 2), TOLERANCE)


def test_a_target_may_be_fixed(tmp_path: Path) -> None:
    network, images = zoo.segmentation("softmax"), zoo.noise(12, 10, 3)
    explainer = tfviz.ExcitationBackprop(network)
    target = tfviz.At(1, zoo.MASK)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "e", format="litert", target=target))
    assert_near(loaded(images), explainer(images, target), TOLERANCE)
    with pytest.raises(tfviz.TargetError, match="accepts these targets"):
        loaded(images, 1)


def test_a_free_image_size_must_be_fixed(tmp_path: Path) -> None:
    explainer = tfviz.LayerCAM(networks.build("separable"))
    message = r"A \.tflite file needs a fixed image size.*image_shape=\(height, width, channels\)"
    with pytest.raises(tfviz.ExportError, match=message):
        explainer.export(tmp_path / "e", format="litert")
    assert not (tmp_path / "e").exists()
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "e", format="litert", image_shape=(24, 20, 3)))
    images = images_for(explainer, 2)
    assert_near(loaded(images), explainer(images), TOLERANCE)
    with pytest.raises(tfviz.ImageError, match="The export expects images of shape"):
        loaded(images[:, :-1])


@pytest.mark.parametrize("species", ["mixed_float16", "float64", "int8", "three dimensions", "gelu", "TimeDistributed"])
def test_models_of_other_kinds_are_converted(species: str, tmp_path: Path) -> None:
    one = zoo.ZOO[species]
    network = one.model()
    images, explainer = one.images(network), tfviz.Saliency(network)
    got = tfviz.load_explainer(explainer.export(tmp_path / "e", format="litert"))(images, 1)
    assert_near(got, explainer(images, 1), max(TOLERANCE, one.tolerance))


# --- the size of the file -------------------------------------------------------------------------


def fully_connected() -> keras.Model:
    hidden = [layers.Dense(64, "relu") for _ in range(6)]
    network = keras.Sequential([keras.Input((16, 16, 1)), layers.Flatten(), *hidden, layers.Dense(4)])
    return networks.with_random_weights(network, 0)


@pytest.mark.parametrize(("quantize", "share", "near"), [("int8", 0.4, 0.98), ("float16", 0.6, 0.9999)])
def test_quantized_weights_reduce_the_size(quantize: str, share: float, near: float, tmp_path: Path) -> None:
    explainer = tfviz.Saliency(fully_connected())
    images = images_for(explainer, 4)
    sizes, maps = {}, {}
    for name in (None, quantize):
        folder = explainer.export(tmp_path / str(name), format="litert", quantize=name)
        sizes[name] = (folder / "explainer.tflite").stat().st_size
        maps[name] = tfviz.load_explainer(folder)(images, 1)
    assert sizes[quantize] < share * sizes[None]
    assert near <= correlation(maps[quantize], maps[None]) < 1
    assert json.loads((tmp_path / quantize / "tfviz.json").read_text())["extra"]["quantize"] == quantize


def kernels(in_int8: bool, file: Path) -> set[tuple[int, ...]]:
    """Return the shapes of the weights that a file stores as int8, or as float32."""
    whole = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    (graph,) = whole.subgraphs
    kind = schema.TensorType.INT8 if in_int8 else schema.TensorType.FLOAT32
    held = [tensor for tensor in graph.tensors if tensor.type == kind and whole.buffers[tensor.buffer].data is not None]
    return {tuple(map(int, tensor.shape)) for tensor in held if len(tensor.shape) == 4}


def test_the_smallest_layers_keep_exact_weights(tmp_path: Path) -> None:
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(40, 3, activation="relu")(layers.Rescaling(0.5)(inputs))
    x = layers.DepthwiseConv2D(5)(layers.Conv2D(80, 5, activation="relu")(x))
    network = networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))), 0)
    file = tfviz.VisualBackProp(network).export(tmp_path / "e", format="litert", quantize="int8") / "explainer.tflite"
    assert kernels(True, file) == {(80, 5, 5, 40)}
    assert kernels(False, file) >= {(40, 3, 3, 3), (1, 5, 5, 80)}


def wide() -> keras.Model:
    """Return a network whose depthwise kernel is also large, behind a BatchNormalization."""
    inputs = keras.Input((9, 8, 60))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(40, 3, use_bias=False)(inputs)))
    x = layers.DepthwiseConv2D(5, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.Conv2D(50, 3, activation="relu")(x)
    return networks.with_random_weights(keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))), 0)


@pytest.mark.parametrize("method", [tfviz.GuidedBackprop, tfviz.ContrastiveExcitationBackprop])
def test_an_int8_file_explains_the_network_with_rounded_weights(
    method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_weights, "_UNROUNDED_SHARE", 0.02)
    network = wide()
    explainer, images = method(network), np.abs(zoo.noise(9, 8, 60))
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "e", format="litert", quantize="int8"))
    before = explainer(images, 1).numpy()
    values = int8_weights.rounded(traced(lambda x: explainer.compute([x]), [tf.TensorSpec((None, 9, 8, 60))]))
    rounded = [variable for variable in network.trainable_weights if id(variable.value.handle) in values]
    assert {variable.name for variable in rounded} == {"kernel"}
    assert (5, 5, 40, 2) in {tuple(variable.shape) for variable in rounded}
    for variable in rounded:
        variable.assign(values[id(variable.value.handle)])
    want = explainer(images, 1).numpy()
    assert_near(loaded(images, 1), want, TOLERANCE)
    assert abs(before - want).max() > 10 * TOLERANCE * abs(want).max()
    assert len(kernels(True, tmp_path / "e" / "explainer.tflite")) >= 4


def test_step_sizes_are_recovered_from_a_part_of_a_channel() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(-127, 128, (6, 300))
    counts[2], counts[3] = np.clip(counts[2], -9, 9), 0
    # One channel has few values, and one is zero where it is sampled.
    counts[4, 5:], counts[5, ::4] = 0, 0
    steps = random.uniform(0.001, 3, 6).astype("float32")
    values = (counts * steps[:, None]).astype("float32")
    for part in (values, np.maximum(values, 0), np.maximum(-values, 0)):
        for axis, placed in ((0, part), (1, part.T)):
            found, sizes, channels = int8_weights._in_steps(placed)
            assert channels == axis
            restored = found * np.expand_dims(sizes, 1 - axis)
            np.testing.assert_allclose(restored, placed, rtol=1e-5, atol=0)
    assert int8_weights._in_steps(random.normal(size=(6, 300)).astype("float32")) is None
    assert int8_weights._in_steps(random.normal(size=(1, 2000)).astype("float32")) is None


# --- errors ---------------------------------------------------------------------------------------


def test_invalid_options_are_rejected(model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(model)
    with pytest.raises(tfviz.OptionError, match=r"`quantize` must be None \(float32\), 'int8'.*Received: 'int4'"):
        explainer.export(tmp_path / "e", format="litert", quantize="int4")
    for batch_size in (0, 2.0, True):
        with pytest.raises(tfviz.OptionError, match="`batch_size` must be a positive integer"):
            explainer.export(tmp_path / "e", format="litert", batch_size=batch_size)
    assert not list(tmp_path.iterdir())


def sorted_pixels(x: Any) -> Any:
    return tf.cast(tf.signal.fft2d(tf.cast(x, tf.complex64)), tf.float32)


def test_operations_that_litert_lacks_are_named_and_nothing_is_written(tmp_path: Path, capfd: Any) -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Lambda(sorted_pixels, output_shape=(8, 8, 3), name="spectrum")(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    network = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    with pytest.raises(tfviz.ExportError, match=r"LiteRT does not support FFT2D.*spectrum.*format=\"saved_model\""):
        tfviz.GradCAM(network).export(tmp_path / "e", format="litert")
    assert not list(tmp_path.iterdir())
    assert "error" not in capfd.readouterr().err


def test_without_litert_the_error_names_the_command_to_install_it(model: keras.Model, tmp_path: Path, monkeypatch: Any) -> None:
    folder = tfviz.GradCAM(model).export(tmp_path / "e", format="litert")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(tfviz.MissingPackageError, match=r"Run: pip install ai-edge-litert"):
        tfviz.GradCAM(model).export(tmp_path / "other", format="litert")
    with pytest.raises(tfviz.MissingPackageError, match=r"Run: pip install ai-edge-litert"):
        tfviz.load_explainer(folder)
    assert not (tmp_path / "other").exists()


def test_the_error_for_a_damaged_file_names_it(model: keras.Model, tmp_path: Path) -> None:
    folder = tfviz.GradCAM(model).export(tmp_path / "e", format="litert")
    (folder / "explainer.tflite").write_bytes(b"nothing")
    with pytest.raises(tfviz.ExportError, match=r"explainer.tflite cannot be opened"):
        tfviz.load_explainer(folder)
