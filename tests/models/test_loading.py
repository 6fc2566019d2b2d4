"""Networks by name and from files, and everything that can be wrong with either."""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import subprocess
import sys
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfviz.errors import ImageError, LabelsError, OptionError, UnsupportedModelError, WeightsError
from tfviz.images import write_image
from tfviz.images.preprocessing import Preprocessing, named
from tfviz.models import architectures, is_preprocessing_known, labels_of, load_images, load_model, loading, preprocessing_of
from tfviz.models.architectures import ARCHITECTURES, Architecture, find_architecture
from tfviz.models.labels import Labels
from tfviz.models.weights import stored_arrays


def network(classes: int = 5, width: int = 4, *, deep: bool = False, size: Any = (16, 16), channels: int = 3) -> keras.Model:
    inputs = keras.Input((*size, channels))
    x = keras.layers.Conv2D(width, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    if deep:
        x = keras.layers.Conv2D(width, 3, padding="same", name="conv_2")(x)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(classes, name="predictions")(x))
    rng = np.random.default_rng(classes)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    return model


def saved(tmp_path: Path, model: keras.Model, name: str) -> Path:
    path = tmp_path / name
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    return path


def output(model: keras.Model) -> np.ndarray:
    shape = [side or 16 for side in model.input_shape[1:]]
    return np.asarray(model(np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)))


@pytest.fixture
def small(monkeypatch: Any) -> Iterator[str]:
    """Replace an architecture of keras.applications by a small one, and return its name."""

    def build(self: Architecture, weights: str | None = None, *, classes: int = 7, size: Any = None) -> keras.Model:
        return network(classes, size=size or (16, 16))

    monkeypatch.setattr(architectures, "_BY_KEY", {"small": Architecture("Small", "small", "caffe", (16, 16))})
    monkeypatch.setattr(Architecture, "build", build)
    yield "small"


# The table of architectures


def constructors() -> dict[str, Any]:
    return {name: thing for name, thing in inspect.getmembers(keras.applications, inspect.isfunction) if name[0].isupper()}


def test_every_network_of_keras_is_in_the_table() -> None:
    assert set(ARCHITECTURES) == set(constructors())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_preprocessing_matches_that_of_keras(name: str) -> None:
    architecture = ARCHITECTURES[name]
    module = importlib.import_module(f"keras.applications.{architecture.module}")
    assert constructors()[name].__module__.endswith(f".{architecture.module}")
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    expected = module.preprocess_input(rgb.astype(np.float32), data_format="channels_last")
    np.testing.assert_allclose(named(architecture.mode).tensor(rgb), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if "MobileNetV3" not in name])
def test_the_input_size_is_the_default_of_keras(name: str) -> None:
    class SeenError(Exception):
        pass

    def note(input_shape: Any, default_size: int, **_: Any) -> None:
        raise SeenError(default_size)

    with mock.patch("keras.src.applications.imagenet_utils.obtain_input_shape", note), pytest.raises(SeenError) as seen:
        constructors()[name](weights=None)
    assert ARCHITECTURES[name].size == (seen.value.args[0],) * 2


@pytest.mark.parametrize("name", ["mobilenet_v2", "MobileNetV2", "MOBILENET-V2", " mobilenetv2 "])
def test_case_and_hyphens_in_a_name_are_ignored(name: str) -> None:
    assert find_architecture(name) is ARCHITECTURES["MobileNetV2"]


# By name


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    return load_model("mobilenet_v2", weights=None)


def test_a_network_by_name_has_its_size_and_preprocessing(mobilenet: keras.Model) -> None:
    assert mobilenet.name == "mobilenetv2_1.00_224"
    assert preprocessing_of(mobilenet) == named("tf", (224, 224))
    assert is_preprocessing_known(mobilenet)
    assert labels_of(mobilenet) == Labels()  # random weights have no class names


def test_a_weights_file_sets_the_number_of_classes(tmp_path: Path) -> None:
    trained = ARCHITECTURES["MobileNetV2"].build(classes=3, size=(32, 32))
    model = load_model("MobileNetV2", weights=saved(tmp_path, trained, "mine.weights.h5"), size=(32, 32))
    assert model.output_shape == (None, 3)
    np.testing.assert_allclose(output(model), output(trained), rtol=1e-5)


def test_the_error_for_a_failed_download_states_how_to_pass_a_file(monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise Exception("URL fetch failure on https://x.org/vgg16.h5: None -- Name or service not known")

    monkeypatch.setattr(Architecture, "build", fail)
    message = r"weights for VGG16 cannot be downloaded \(URL fetch failure on https://x.org/vgg16.h5.*--weights FILE"
    with pytest.raises(WeightsError, match=message) as caught:
        load_model("vgg16")
    assert caught.value.__cause__ is not None


def test_a_network_by_name_with_trained_weights_has_the_labels_of_imagenet(
    small: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(loading, "imagenet_labels", lambda: Labels(("tench",)))
    monkeypatch.setattr(loading, "_IMAGENET_CLASSES", 7)
    path = saved(tmp_path, network(5), "five.weights.h5")
    assert labels_of(load_model(small)).name(0) == "tench"
    assert labels_of(load_model(small, weights=None)).name(0) == "class 0"
    assert labels_of(load_model(small, weights=path)).name(0) == "class 0"
    assert labels_of(load_model(small, labels=list("abcdefg"))).name(0) == "a"


def test_imagenet_weights_are_copied_to_a_network_of_another_size(small: str) -> None:
    model = load_model(small, size=(24, 32))
    assert model.input_shape == (None, 24, 32, 3)
    assert preprocessing_of(model) == named("caffe", (24, 32))
    for got, expected in zip(model.get_weights(), network(7).get_weights(), strict=True):
        assert np.array_equal(got, expected)


def test_a_size_that_trained_weights_do_not_fit_is_rejected(monkeypatch: Any) -> None:
    def build(self: Architecture, weights: str | None = None, *, size: Any = (16, 16)) -> keras.Model:
        return network(width=size[0])  # like VGG16, whose first dense layer depends on the size

    monkeypatch.setattr(Architecture, "build", build)
    with pytest.raises(OptionError, match="VGG16 with ImageNet weights supports only images of 224x224 pixels"):
        load_model("vgg16", size=(32, 32))


def test_a_size_that_a_network_cannot_take_is_rejected() -> None:
    with pytest.raises(OptionError, match=r"MobileNetV2 does not support images of 8x8 pixels\. .*at least 32"):
        load_model("mobilenetv2", weights=None, size=(8, 8))


@pytest.mark.parametrize("name", ["resnet5", "vgg-61", "no such thing"])
def test_the_error_for_an_unknown_name_lists_what_is_accepted(name: str) -> None:
    expected = r"a network from keras\.applications .* or a \.keras or \.h5 file\."
    message = rf"'{name}' is neither the name of a network nor a file\. Expected {expected}"
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(name)
    near = {"resnet5": "'resnet50'", "vgg-61": "'vgg16'", "no such thing": "Available: 'shapes', 'vgg16'"}
    assert near[name] in str(caught.value)


# From a file


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "mit Leerzeichen ü.keras"])
def test_a_model_file_is_loaded_completely(tmp_path: Path, name: str) -> None:
    model = load_model(saved(tmp_path, network(), name))
    np.testing.assert_allclose(output(model), output(network()), rtol=1e-6)
    assert not model.compiled


def test_a_compiled_model_is_loaded_without_its_training_state(tmp_path: Path) -> None:
    model = network()
    model.compile("adam", "mse")
    # The optimizer now has arrays of its own.
    model.train_on_batch(np.zeros((2, 16, 16, 3)), np.zeros((2, 5)))
    for name in ("model.keras", "model.h5"):
        path = saved(tmp_path, model, name)
        assert not load_model(path).compiled
        np.testing.assert_allclose(output(load_model(path, weights=path)), output(model), rtol=1e-6)


def test_a_model_file_is_fed_with_unprocessed_images_by_default(tmp_path: Path) -> None:
    model = load_model(saved(tmp_path, network(), "model.keras"))
    assert preprocessing_of(model) == Preprocessing((16, 16))
    assert not is_preprocessing_known(model)
    gray = load_model(saved(tmp_path, network(channels=1), "gray.keras"))
    assert preprocessing_of(gray) == Preprocessing((16, 16), "gray")


def test_preprocessing_can_be_passed_as_a_name_a_file_or_an_object(tmp_path: Path) -> None:
    path = saved(tmp_path, network(), "model.keras")
    (tmp_path / "how.json").write_text(json.dumps({"formula": "x/255"}))
    for given in ("unit", tmp_path / "how.json", Preprocessing(formula="x/255")):
        model = load_model(path, preprocessing=given)
        assert preprocessing_of(model) == Preprocessing((16, 16), formula="x/255")
        assert is_preprocessing_known(model)
    with pytest.raises(OptionError, match="produces images of 8x8 pixels, but the network expects 16x16"):
        load_model(path, preprocessing=Preprocessing((8, 8)))


def test_a_network_for_any_size_takes_the_requested_size(tmp_path: Path) -> None:
    path = saved(tmp_path, network(size=(None, None)), "model.keras")
    assert preprocessing_of(load_model(path)).size is None
    model = load_model(path, size=(20, 30))
    assert preprocessing_of(model) == Preprocessing((20, 30))
    assert not is_preprocessing_known(model)
    crop = Preprocessing(resize="short side 50, center crop 40")
    assert preprocessing_of(load_model(path, preprocessing=crop, size=(20, 20))).output_size == (20, 20)


def test_a_network_for_one_size_rejects_another(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"supports only images of \(16, 16\) \(height, width\)\. Received: size=\(20, 20\)"):
        load_model(saved(tmp_path, network(), "model.keras"), size=(20, 20))


def test_labels_of_the_packaged_network_may_be_passed_as_an_array() -> None:
    model = load_model("shapes")
    names = np.array([f"shape {number}" for number in range(model.output_shape[-1])])
    assert labels_of(load_model("shapes", labels=names)).names == tuple(names)


def test_labels_can_be_passed_and_must_match_the_outputs(tmp_path: Path) -> None:
    path = saved(tmp_path, network(), "model.keras")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    assert labels_of(load_model(path, labels=tmp_path / "names.txt")).name(4) == "e"
    with pytest.raises(LabelsError, match=r"must equal the number of outputs, 5\. Received: 3 \(passed as names\)"):
        load_model(path, labels=["a", "b", "c"])


def test_other_weights_can_be_loaded_into_a_model_file(tmp_path: Path) -> None:
    path = saved(tmp_path, network(), "model.keras")
    other = network()
    other.set_weights([weight * 2 for weight in other.get_weights()])
    model = load_model(path, weights=saved(tmp_path, other, "other.weights.h5"))
    np.testing.assert_allclose(output(model), output(other), rtol=1e-6)


def test_the_packaged_network_has_preprocessing_and_labels(tmp_path: Path, monkeypatch: Any) -> None:
    saved(tmp_path, network(), "shapes.keras")
    about = {"preprocessing": {"formula": "x/127.5 - 1", "size": [16, 16]}, "labels": list("abcde"), "accuracy": 0.97}
    (tmp_path / "shapes.json").write_text(json.dumps(about))
    monkeypatch.setattr(loading, "_PACKAGED_FOLDER", tmp_path)
    model = load_model("shapes")
    assert preprocessing_of(model) == named("tf", (16, 16))
    assert is_preprocessing_known(model) and labels_of(model).name(4) == "e"
    assert preprocessing_of(load_model("shapes", preprocessing="unit")).formula == "x/255"


# Files that cannot be used


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        load_model(path, **options)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_text_file_is_not_a_model(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs")
    assert "is not a Keras file. It starts with b'version http'" in error_of(tmp_path / name)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_truncated_model_file_is_rejected(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, network(), name)
    path.write_bytes(path.read_bytes()[:-3000])
    assert "is truncated or damaged. Copy or download it again" in error_of(path)


def test_a_missing_model_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    assert "is neither the name of a network nor a file" in error_of(tmp_path / "nowhere.keras")
    assert "is a folder, not a model file. Expected " in error_of(tmp_path)


def test_weights_files_are_not_models(tmp_path: Path) -> None:
    weights = saved(tmp_path, network(), "model.weights.h5")
    assert "is not a complete model" in error_of(weights)
    assert "pass the network's name, and pass the file as `weights`" in error_of(weights.rename(tmp_path / "renamed.h5"))


def test_the_error_for_a_model_that_would_run_code_names_the_way_out(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    for name in ("model.keras", "model.h5"):
        message = error_of(saved(tmp_path, model, name))
        assert "cannot be opened" in message and "safe_mode" in message and "pass the model itself to tfviz" in message


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_of_another_network_are_rejected_with_the_differences(tmp_path: Path, small: str, suffix: str) -> None:
    deeper, wider = saved(tmp_path, network(7, deep=True), f"deep{suffix}"), saved(tmp_path, network(7, 9), f"wide{suffix}")
    message = (
        r"do not match Small\. Unexpected: "
        r"\S*/conv_2/\w+ \([^/]*\), \S*/conv_2/\w+ \([^/]*\)\."
    )
    # Keras itself would load the first one silently.
    with pytest.raises(WeightsError, match=message):
        load_model(small, weights=deeper)
    with pytest.raises(WeightsError, match=r"Missing: conv/kernel \(3, 3, 3, 4\), .* and 3 more\. Unexpected: .*9"):
        load_model(small, weights=wider)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_the_number_of_classes_is_read_from_the_file(tmp_path: Path, small: str, suffix: str) -> None:
    for classes in (2, 4, 7, 9):  # 4: equal to the number of channels, so the biases have one shape
        path = saved(tmp_path, network(classes), f"{classes}{suffix}")
        np.testing.assert_allclose(output(load_model(small, weights=path)), output(network(classes)), rtol=1e-6)


def test_weights_in_another_order_are_rejected(tmp_path: Path, small: str) -> None:
    inputs = keras.Input((16, 16, 3))
    nested = keras.Sequential([inputs, keras.Model(inputs, network(7).layers[1](inputs)), *network(7).layers[2:]])
    with pytest.raises(WeightsError, match=r"nested\.weights\.h5 do not match Small\. "):
        load_model(small, weights=saved(tmp_path, nested, "nested.weights.h5"))


@pytest.mark.parametrize(
    ("name", "message"),
    [("text.weights.h5", "is not a Keras file"), ("nowhere.h5", "does not exist"), ("x.txt", r"Use one of: \.weights\.h5, ")],
)
def test_files_without_weights_are_rejected(tmp_path: Path, small: str, name: str, message: str) -> None:
    if "nowhere" not in name:
        (tmp_path / name).write_text("hello")
    with pytest.raises(WeightsError, match=message):
        load_model(small, weights=tmp_path / name)


def test_an_archive_without_weights_is_rejected(tmp_path: Path, small: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="is truncated or damaged"):
        load_model(small, weights=tmp_path / "x.keras")


def test_arrays_in_a_file_are_listed_by_the_layers_own_names(tmp_path: Path) -> None:
    arrays = stored_arrays(saved(tmp_path, network(), "model.weights.h5"))
    assert arrays["layers/conv2d/conv/0"] == (3, 3, 3, 4)
    assert len(arrays) == 8


def test_axes_that_keras_drops_from_its_h5_files_are_an_error(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Softmax(axis=[1, 2], name="over_places")(inputs))
    message = error_of(saved(tmp_path, model, "model.h5"))
    assert "Layer 'over_places' has axis=[1, 2], but Keras 3 reads only one axis" in message and "Save the" in message
    np.testing.assert_allclose(load_model(saved(tmp_path, model, "model.keras"))(np.ones((1, 4, 4, 3))), 1 / 16)


# What is known about a model


def test_the_input_of_a_custom_model_is_checked() -> None:
    assert preprocessing_of(network()) == Preprocessing((16, 16))
    assert labels_of(network()) == Labels()
    with pytest.raises(OptionError, match="the network expects 4"):
        preprocessing_of(network(channels=4))
    inputs = [keras.Input((8, 8, 3)), keras.Input((4,))]
    with pytest.raises(UnsupportedModelError, match=r"one input .*This model's inputs: \(None, 8, 8, 3\), \(None, 4\)"):
        preprocessing_of(keras.Model(inputs, [keras.layers.Identity()(x) for x in inputs]))


def test_notes_on_a_model_do_not_keep_it_alive(tmp_path: Path) -> None:
    seen = weakref.ref(load_model(saved(tmp_path, network(), "model.keras"), preprocessing="unit"))
    gc.collect()
    assert seen() is None


def test_images_are_loaded_as_the_model_expects_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (size, 40, 3), dtype=np.uint8) for size in (20, 30)]
    paths = [write_image(tmp_path / f"{i}.png", picture) for i, picture in enumerate(pictures)]
    model = load_model(saved(tmp_path, network(), "model.keras"), preprocessing="tf")
    batch = load_images(paths, model)
    assert batch.shape == (2, 16, 16, 3) and batch.dtype == np.float32
    assert np.array_equal(batch[1], preprocessing_of(model).tensor(pictures[1]))
    assert load_images(str(paths[0]), named("none")).shape == (1, 20, 40, 3)
    np.testing.assert_array_equal(load_images(tmp_path, model), load_images(paths, model))
    with pytest.raises(
        ImageError, match=r"same size \(height, width\)\. Received: .*0\.png is \(20, 40\), .*1\.png is \(30, 40\)"
    ):
        load_images(paths, named("none"))
    with pytest.raises(ImageError, match="at least one image file"):
        load_images([], model)


def test_tensorflow_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, tfviz.models, tfviz.images; sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow', 'h5py')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(loading.__file__).parents[2]).returncode == 0


# Real networks


def test_a_real_network_classifies_a_photo(shared: Path) -> None:
    folder = shared / "data"
    network = folder / "models" / "mobilenet_v2_imagenet"
    model = load_model(f"{network}.keras", preprocessing=f"{network}.json", labels=folder / "imagenet_classes.json")
    probabilities = model(load_images(folder / "photos" / "coral_cat.jpg", model))
    assert labels_of(model).name(int(np.asarray(probabilities)[0].argmax())) in {
        "Egyptian cat",
        "tiger cat",
        "tabby, tabby cat",
    }


@keras.saving.register_keras_serializable("test_loading")
class Halved(keras.layers.Layer):
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x / 2


def test_a_custom_layer_that_is_not_registered_is_named(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4, 4, 3)), Halved(), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.save(tmp_path / "own.keras")
    with zipfile.ZipFile(tmp_path / "own.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b"Halved", b"Gone")
    with zipfile.ZipFile(tmp_path / "own.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(WeightsError, match=r"Could not locate class 'Gone'.* open it with keras.models.load_model"):
        load_model(tmp_path / "own.keras")


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2", "resnet50", "vgg16_bn"])
def test_networks_by_name_load_under_channels_first_in_keras_json(name: str) -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        model = load_model(name, weights=None, size=(64, 64))
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    assert model.input_shape == (None, 64, 64, 3)
    assert all(getattr(layer, "data_format", "channels_last") == "channels_last" for layer in model.layers)
    assert model(np.zeros((1, 64, 64, 3), "float32")).shape == (1, 1000)
