"""With other tools' weights, logits match an independent forward pass, and errors are precise."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from support import vgg_files
from support.vgg_files import random_vgg, write_npy, write_python_2_npy

import tfviz
from tfviz.errors import MissingPackageError, OptionError, WeightsError
from tfviz.graph.backprop import inputs_of, run
from tfviz.graph.logits import scored
from tfviz.images.preprocessing import Preprocessing, named
from tfviz.models import labels_of, load_model, loading, preprocessing_of
from tfviz.models.labels import Labels
from tfviz.models.weights import stored_arrays
from tfviz.models.weights.torchvision import LAYOUTS
from tfviz.reading.reader import graph_of

SIDE = 224
TORCHVISION = ("vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "resnet50")


def images(count: int = 2, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, side, side, 3), np.float32)


def logits_of(model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    graph = scored(graph_of(model), "logits")
    return np.asarray(run(inputs_of(graph, [pictures]), graph.before(graph.outputs))[graph.outputs[0]])


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(expected).max() > 0.1  # otherwise anything would be close
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


# .npy


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
@pytest.mark.parametrize("write", [write_npy, write_python_2_npy])
def test_logits_of_an_npy_file_match_a_forward_pass_with_its_arrays(
    tmp_path: Path, name: str, write: Callable[..., Path]
) -> None:
    layers = random_vgg(name)
    model = load_model(name, weights=write(tmp_path / f"{name}.npy", layers))
    assert model.output_shape == (None, 9)
    assert_close(logits_of(model, images()), vgg_files.logits(layers, images().astype(np.float64)))


def test_a_vgg19_of_full_size_is_loaded(tmp_path: Path) -> None:
    layers = random_vgg("vgg19", (64, 128, 256, 512, 512), (4096, 4096), 1000)
    path = write_npy(tmp_path / "vgg19.npy", layers)
    assert path.stat().st_size > 574_000_000
    model = load_model("vgg19", weights=path)
    path.unlink()
    assert_close(logits_of(model, images(1)), vgg_files.logits(layers, images(1)))


def test_swapped_dense_layers_change_the_logits(tmp_path: Path) -> None:
    layers = random_vgg("vgg16", units=(12, 12), classes=12)
    expected = vgg_files.logits(layers, images().astype(np.float64))
    layers["fc7"], layers["fc8"] = layers["fc8"], layers["fc7"]
    model = load_model("vgg16", weights=write_npy(tmp_path / "vgg16.npy", layers))
    with pytest.raises(AssertionError):
        assert_close(logits_of(model, images()), expected)


def test_other_number_types_and_byte_orders_are_accepted(tmp_path: Path) -> None:
    layers = random_vgg("vgg16")
    expected = load_model("vgg16", weights=write_npy(tmp_path / "a.npy", layers)).get_weights()
    layers["fc7"] = [np.asfortranarray(layers["fc7"][0].astype(">f8")), layers["fc7"][1].astype(np.float64)]
    model = load_model("vgg16", weights=write_npy(tmp_path / "b.npy", layers))
    for got, wanted in zip(model.get_weights(), expected, strict=True):
        assert got.dtype == np.float32 and np.array_equal(got, wanted)


def test_an_npy_file_implies_bgr_and_the_mean(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "vgg16.npy", random_vgg("vgg16"))
    own = preprocessing_of(load_model("vgg16", weights=path))
    assert (own.channel_order, own.formula, own.mean) == ("BGR", "x - mean", named("caffe").mean)
    assert own.output_size == (SIDE, SIDE) and own.crop_box(300, 400) == (0, 50, 300, 350)
    assert preprocessing_of(load_model("vgg16", weights=path, preprocessing="unit")) == named("unit", (SIDE, SIDE))


# torchvision


def written(path: Path, state: dict[str, Any]) -> Path:
    torch = pytest.importorskip("torch")
    if path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        torch.save(state, path)
    return path


def torch_logits(network: Any, pictures: np.ndarray) -> np.ndarray:
    import torch
    from support.torch_networks import logits

    return logits(network, torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))).numpy()


def small(name: str, **options: Any) -> Any:
    pytest.importorskip("torch")
    from support.torch_networks import small

    return small(name, **options)


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_logits_of_a_torchvision_file_match_pytorch(tmp_path: Path, name: str, suffix: str) -> None:
    network = small(name)
    model = load_model(name, weights=written(tmp_path / f"{name}{suffix}", network.state_dict()))
    assert_close(logits_of(model, images()), torch_logits(network, images()))


def test_the_flattening_order_of_the_first_dense_layer_matters(tmp_path: Path) -> None:
    network = small("vgg16")
    model = load_model("vgg16", weights=written(tmp_path / "a.pth", network.state_dict()))
    dense = model.get_layer("fc1")
    kernel, bias = dense.get_weights()
    dense.set_weights([kernel.reshape(7, 7, 8, 12).transpose(2, 0, 1, 3).reshape(kernel.shape), bias])
    with pytest.raises(AssertionError):
        assert_close(logits_of(model, images()), torch_logits(network, images()))


def test_a_resnet_takes_images_of_another_size(tmp_path: Path) -> None:
    network = small("resnet50")
    model = load_model("resnet50", weights=written(tmp_path / "a.pth", network.state_dict()), size=(96, 64))
    pictures = images()[:, :96, :64]
    assert_close(logits_of(model, pictures), torch_logits(network, pictures))
    assert preprocessing_of(model).resize == "short side 110, center crop 96x64"


def test_a_vgg_with_trained_weights_takes_one_size(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pth", small("vgg16").state_dict())
    with pytest.raises(OptionError, match="VGG16 with trained weights supports only images of 224x224 pixels"):
        load_model("vgg16", weights=path, size=(192, 192))


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


WRAPPED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "model": lambda state: {"model": state},
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "module.": lambda state: prefixed("module.", state),
    "state_dict, module.": lambda state: {"state_dict": prefixed("module.", state)},
    "model, state_dict, model.": lambda state: {"model": {"state_dict": prefixed("model.", state)}},
    "features.module.": lambda state: {name.replace("features.", "features.module."): state[name] for name in state},
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("suffix", [".pth.tar", ".pt"])
def test_wrapped_state_dicts_are_unwrapped(tmp_path: Path, wrap: str, suffix: str) -> None:
    state = small("vgg16_bn").state_dict()
    plain = load_model("vgg16_bn", weights=written(tmp_path / "plain.pth", state))
    model = load_model("vgg16_bn", weights=written(tmp_path / f"wrapped{suffix}", WRAPPED[wrap](state)))
    for got, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(got, expected)


def test_prefixes_in_a_safetensors_file_are_removed(tmp_path: Path) -> None:
    state = small("vgg16").state_dict()
    expected = load_model("vgg16", weights=written(tmp_path / "a.safetensors", state)).get_weights()
    model = load_model("vgg16", weights=written(tmp_path / "b.safetensors", prefixed("model.module.", state)))
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), expected, strict=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_in_other_precisions_become_float32(tmp_path: Path, dtype: str, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    network = small("vgg16").to(getattr(torch, dtype))
    model = load_model("vgg16", weights=written(tmp_path / f"a{suffix}", network.state_dict()))
    assert model.get_layer("fc2").kernel.dtype == "float32"
    expected = network.state_dict()["classifier.3.weight"].float().numpy().T
    assert np.array_equal(model.get_layer("fc2").get_weights()[0], expected)


def test_a_checkpoint_written_before_pytorch_1_6_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    network = small("vgg16")
    torch.save(network.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_close(logits_of(load_model("vgg16", weights=tmp_path / "old.pth"), images()), torch_logits(network, images()))


def test_torchvision_weights_imply_mean_and_standard_deviation(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", small("vgg19").state_dict())
    own = preprocessing_of(load_model("vgg19", weights=path))
    torch = named("torch")
    assert own == Preprocessing(None, "RGB", torch.formula, torch.mean, torch.std, "short side 256, center crop 224x224")
    assert preprocessing_of(load_model("vgg19", weights=path, preprocessing="tf")) == named("tf", (SIDE, SIDE))


def test_a_thousand_classes_get_the_names_of_imagenet(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(loading, "imagenet_labels", lambda: Labels(("tench",)))
    for classes, name in ((1000, "tench"), (9, "class 0")):
        path = written(tmp_path / f"{classes}.safetensors", small("vgg16", classes=classes).state_dict())
        assert labels_of(load_model("vgg16", weights=path)).name(0) == name


def test_a_network_with_foreign_weights_is_an_ordinary_model(tmp_path: Path) -> None:
    model = load_model("vgg16_bn", weights=written(tmp_path / "a.pth", small("vgg16_bn").state_dict()))
    model.save(tmp_path / "a.keras")
    again = load_model(tmp_path / "a.keras")
    assert np.array_equal(logits_of(again, images(1)), logits_of(model, images(1)))
    assert type(model.get_layer("fc1").kernel_initializer).__name__ == "GlorotUniform"
    model.compile("sgd", "mse")
    # The memory that TensorFlow adopted is writable.
    model.train_on_batch(images(1), np.zeros((1, 9)))


# The architectures that tfviz defines


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_the_plain_vgg_matches_that_of_keras(tmp_path: Path, name: str) -> None:
    from tfviz.models import networks

    own = networks.build(name.upper(), networks.standard_widths(name.upper()) | {"fc1": 8, "fc2": 8}, (SIDE, SIDE))
    theirs = getattr(keras.applications, name.upper())(weights=None, include_top=False)
    shapes = {weight.path: tuple(weight.shape) for weight in own.weights}
    assert {weight.path: tuple(weight.shape) for weight in theirs.weights}.items() <= shapes.items()
    kinds = [(layer.name, type(layer)) for layer in own.layers if layer.name.startswith("block")]
    assert kinds == [(layer.name, type(layer)) for layer in theirs.layers if layer.name.startswith("block")]


@pytest.mark.parametrize("name", ["vgg16_bn", "VGG16-BN"])
def test_vgg_with_batch_norm_is_available_by_name(tmp_path: Path, name: str) -> None:
    model = load_model(name, weights=None, size=(64, 64))
    assert model.name == "vgg16_bn" and model.output_shape == (None, 1000)
    assert preprocessing_of(model) == named("torch", (64, 64))
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers) == 13


def test_vgg_with_batch_norm_takes_keras_weights(tmp_path: Path) -> None:
    network = load_model("vgg16_bn", weights=None, size=(32, 32))
    network.save_weights(tmp_path / "a.weights.h5")
    assert len(stored_arrays(tmp_path / "a.weights.h5")) == len(network.weights)
    again = load_model("vgg16_bn", weights=tmp_path / "a.weights.h5", size=(32, 32))
    assert np.array_equal(again(images(1, 32)), network(images(1, 32)))


def test_keras_has_no_imagenet_weights_for_batch_norm() -> None:
    with pytest.raises(WeightsError, match=r"Keras does not provide ImageNet weights for VGG19_BN\. Pass a weights file"):
        load_model("vgg19_bn")


# Malicious files


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.witness}'",)


def error_of(name: str, path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_model(name, weights=path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def test_an_npy_file_with_a_command_is_rejected_and_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "run"
    for content in ({"conv1_1": Command(witness)}, Command(witness), [np.zeros(3), Command(witness)]):
        path = write_npy(tmp_path / "evil.npy", content)
        message = error_of("vgg19", path)
        assert "It refers to posix.system, but only NumPy arrays are allowed. No code from the file was run" in message
    assert not witness.exists()
    np.load(path, allow_pickle=True)
    assert witness.exists()  # the file is in fact malicious


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_checkpoint_with_a_command_is_rejected_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    torch = pytest.importorskip("torch")
    witness = tmp_path / "run"
    evil = {"state_dict": {"features.0.weight": Command(witness)}}
    torch.save(evil, tmp_path / "zip.pth")
    torch.save(evil, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("zip.pth", "old.pth"):
        assert "refers to posix.system, but only arrays are allowed. No code from the file" in error_of(
            "vgg16", tmp_path / name
        )
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(evil, protocol))
    error_of("vgg16", tmp_path / "plain.pth")
    assert not witness.exists()


OTHER_CONTENT = [
    ({"a": [np.array(["x"]), np.zeros(2)]}, "It contains an array of type 'U1' instead of numbers"),
    ({"a": np.zeros(2)}, "Layer 'a' does not contain the arrays [kernel, bias]"),
    ({"a": [1, 2]}, "Layer 'a' does not contain the arrays [kernel, bias]"),
    ({"a": np.array([object], dtype=object)}, "It refers to builtins.object"),
    ({}, "It contains nothing. Expected a dictionary that maps layers to [kernel, bias]"),
    (3, "It contains int. Expected a dictionary"),
]


@pytest.mark.parametrize(("content", "message"), OTHER_CONTENT)
def test_an_npy_file_with_other_content_is_rejected(tmp_path: Path, content: Any, message: str) -> None:
    assert message in error_of("vgg19", write_npy(tmp_path / "other.npy", content))


def test_an_npy_file_with_one_array_is_rejected(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((2, 3)))
    assert "It contains an array of type float64 and shape (2, 3). Expected a dictionary" in error_of(
        "vgg19", tmp_path / "one.npy"
    )


# Files that do not fit


def test_one_error_lists_missing_unexpected_and_misshaped_arrays(tmp_path: Path) -> None:
    layers = random_vgg("vgg16")
    layers["conv2_2"][1] = np.zeros(3)
    layers["fc9"] = layers.pop("fc7")
    message = error_of("vgg16", write_npy(tmp_path / "vgg16.npy", layers))
    assert "Missing: fc7 kernel (12, 11), fc7 bias (11,). Unexpected: fc9 kernel (12, 11), fc9 bias (11,)" in message
    assert "Mis-shaped: conv2_2 bias (3,) (expected (5,))" in message


def test_misshaped_arrays_of_a_checkpoint_are_listed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = small("resnet50").state_dict()
    state["layer2.1.conv2.weight"] = torch.zeros(4, 5, 3, 3)
    del state["layer3.0.downsample.1.running_var"]
    message = error_of("resnet50", written(tmp_path / "a.pth", state))
    assert "Missing: layer3.0.downsample.1.running_var (24,). Mis-shaped" in message
    assert "layer2.1.conv2.weight (4, 5, 3, 3) (expected (5, 5, 3, 3))" in message


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_of_another_network_is_recognized(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"x{suffix}", small("vgg19_bn").state_dict())
    message = error_of("vgg16", path)
    assert "do not match VGG16. Missing: features." in message and " more" in message
    assert message.endswith("Its arrays belong to VGG19_BN. Load it by that name.")


def test_foreign_weights_are_supported_for_some_networks_only(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "vgg16.npy", random_vgg("vgg16"))
    assert "cannot be loaded into MobileNetV2. Files of this format are supported only for VGG16, VGG19" in error_of(
        "mobilenet_v2", path
    )
    assert "Its arrays belong to VGG16. Load it by that name." in error_of("vgg19", path)
    assert set(LAYOUTS) == {"VGG16", "VGG16_BN", "VGG19", "VGG19_BN", "ResNet50"}


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".pth", ".pth.tar"])
def test_a_truncated_file_is_rejected(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"x{suffix}"
    write_npy(path, random_vgg("vgg16")) if suffix == ".npy" else written(path, small("vgg16").state_dict())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "is truncated or damaged. Copy or download it again" in error_of("vgg16", path)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".pth", ".pth.tar", ".pt", ".weights.h5", ".keras"])
def test_a_text_file_is_not_a_weights_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    message = error_of("vgg16", path)
    assert "is not a " in message and ". It starts with b'version http'" in message
    path.write_text("")
    error_of("vgg16", path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert "nowhere.pth does not exist" in error_of("vgg16", tmp_path / "nowhere.pth")


def test_a_checkpoint_without_arrays_is_rejected(tmp_path: Path) -> None:
    assert "contains no named arrays. Received: 'epoch', 'lr'" in error_of(
        "vgg16", written(tmp_path / "x.pth", {"epoch": 1, "lr": 2})
    )
    assert "contains no named arrays. Received: nothing" in error_of("vgg16", written(tmp_path / "x.pth", [1]))  # type: ignore[arg-type]


def test_a_safetensors_file_with_an_unknown_number_type_is_rejected(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"0")
    assert "It stores a as F8_E4M3. Supported types: F64, F32" in error_of("vgg16", path)


def test_without_pytorch_the_error_names_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "x.pth"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(MissingPackageError, match=r"Reading .*x\.pth requires PyTorch\. Run: pip install torch\.") as caught:
        load_model("vgg16", weights=path)
    assert isinstance(caught.value, ImportError) and isinstance(caught.value, tfviz.TfvizError)
