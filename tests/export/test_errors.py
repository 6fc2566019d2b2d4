"""An explainer that cannot be exported is rejected with a reason.

After a failure, the folder is the old one, or does not exist.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks

import tfviz
from tfviz.export import saved_model


@pytest.fixture(scope="module")
def explainer() -> tfviz.GradCAM:
    return tfviz.GradCAM(networks.build("plain"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


# --- the folder -----------------------------------------------------------------------------------


def test_an_existing_export_is_replaced_only_on_request(explainer: Any, tmp_path: Path) -> None:
    folder = explainer.export(tmp_path / "x")
    before = contents(folder)
    with pytest.raises(tfviz.ExportError, match=r"already contains an exported explainer. Pass another name.*overwrite=True"):
        explainer.export(folder)
    assert contents(folder) == before
    tfviz.Saliency(explainer.model).export(folder, overwrite=True)
    assert tfviz.load_explainer(folder).key == "saliency"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_folder_with_other_content_is_never_replaced(explainer: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(tfviz.ExportError, match=r"contains other files but no exported explainer.*it is not replaced"):
            explainer.export(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_file_is_not_a_folder(explainer: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(tfviz.ExportError, match="is a file, but an explainer is exported to a folder"):
        explainer.export(tmp_path / "x", overwrite=True)


def test_an_empty_folder_and_a_new_one_are_filled(explainer: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "deep" / "deeper"):
        assert explainer.export(folder) == folder
        assert tfviz.load_explainer(folder).key == "grad_cam"


def test_a_path_that_cannot_be_written_is_reported(explainer: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(tfviz.OutputError, match=r"cannot be written .*Pass a writable folder"):
        explainer.export(tmp_path / "file" / "x")


def test_a_failure_removes_the_parent_folders_it_created(explainer: Any, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for place in ("new/newer/x", "old/new/x"):
        with pytest.raises(tfviz.TargetError):
            explainer.export(tmp_path / place, target=99)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["old"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_crash_in_the_middle_leaves_the_old_folder_or_none(
    is_there: bool, error: BaseException, explainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "x"
    if is_there:
        explainer.export(folder)
    before = contents(tmp_path)

    def half(explainer: Any, folder: Path, manifest: Any) -> None:
        (folder / "saved_model.pb").write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(saved_model, "write", half)
    with pytest.raises(type(error)):
        explainer.export(folder, overwrite=True)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["x"] if is_there else [])


def test_a_crash_while_the_new_folder_moves_into_place_restores_the_old_one(
    explainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = explainer.export(tmp_path / "x")
    before = contents(tmp_path)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(tfviz.OutputError, match="Input/output error"):
        explainer.export(folder, overwrite=True)
    assert contents(tmp_path) == before


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import tfviz
from support import networks
from tfviz.export import saved_model

whole = saved_model.write

def write(explainer, folder, manifest):
    whole(explainer, folder, manifest)
    os.kill(os.getpid(), signal.SIGKILL)

saved_model.write = write
tfviz.Saliency(networks.build("plain")).export(sys.argv[1], overwrite=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_process_leaves_the_old_folder(explainer: Any, tmp_path: Path) -> None:
    folder = explainer.export(tmp_path / "x")
    before = contents(folder)
    command = [sys.executable, "-c", KILLED, str(folder), str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert contents(folder) == before
    assert tfviz.load_explainer(folder).key == "grad_cam"
    tfviz.Saliency(explainer.model).export(folder, overwrite=True)
    assert tfviz.load_explainer(folder).key == "saliency"


# --- options --------------------------------------------------------------------------------------


def assert_rejected(explainer: Any, folder: Path, error: type[Exception], message: str, **options: Any) -> None:
    with pytest.raises(error, match=message):
        explainer.export(folder / "x", **options)
    assert not any(folder.iterdir())


def test_a_target_for_a_method_without_one_is_rejected(tmp_path: Path) -> None:
    explainer = tfviz.VisualBackProp(networks.build("plain"))
    assert_rejected(
        explainer, tmp_path, tfviz.TargetError, "is class-agnostic and does not accept a target. Received: target=3", target=3
    )


def test_a_target_that_the_model_does_not_have_is_rejected(explainer: Any, tmp_path: Path) -> None:
    assert_rejected(
        explainer, tmp_path, tfviz.TargetError, r"Target 5 is out of range. The model has 5 classes \(0 to 4\)", target=5
    )
    message = "single fixed target for all images. Received: 2 targets, one per image"
    assert_rejected(explainer, tmp_path, tfviz.TargetError, message, target=[1, 2])


def test_errors_for_unknown_formats_and_options_list_the_known_ones(explainer: Any, tmp_path: Path) -> None:
    assert_rejected(
        explainer,
        tmp_path,
        tfviz.OptionError,
        "Unknown export format 'savedmodel'. Did you mean 'saved_model'",
        format="savedmodel",
    )
    assert_rejected(
        explainer, tmp_path, tfviz.OptionError, "'saved_model' has no option 'overlai'. Did you mean 'overlay'", overlai=True
    )
    assert explainer.export(tmp_path / "x", format="Saved-Model").is_dir()


BAD_SHAPES: dict[str, Any] = {
    r"must match the model's input shape, \(20, 17, 3\)\. Received: \(20, 20, 3\)": (20, 20, 3),
    r"must match the model's input shape, \(20, 17, 3\)\. Received: \(20, 17\)": (20, 17),
    r"must be \(height, width, channels\).*Received: 20": 20,
    r"must be \(height, width, channels\).*Received: \(0, 17, 3\)": (0, 17, 3),
}


@pytest.mark.parametrize("message", BAD_SHAPES)
def test_a_shape_that_the_model_does_not_take_is_rejected(message: str, explainer: Any, tmp_path: Path) -> None:
    assert_rejected(explainer, tmp_path, tfviz.OptionError, f"`image_shape` {message}", image_shape=BAD_SHAPES[message])


def test_a_loaded_explainer_rejects_images_of_another_size(explainer: Any, tmp_path: Path) -> None:
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    with pytest.raises(tfviz.ImageError, match=r"expects images of shape \(any, 20, 17, 3\)\. Received: \(2, 17, 20, 3\)"):
        loaded(np.zeros((2, 17, 20, 3), np.float32))


class ValueDependent(keras.Model):
    """Makes Python decisions on its input values."""

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((3, 4))
        self.built = True

    def call(self, images: Any) -> Any:
        mean = np.asarray(images.numpy() if hasattr(images, "numpy") else images).mean()
        return tf.reduce_mean(images, axis=(1, 2)) @ self.kernel * float(mean)


def test_a_model_that_cannot_be_traced_is_rejected(tmp_path: Path) -> None:
    model = ValueDependent()
    model(np.zeros((1, 8, 8, 3), np.float32))
    message = r"The model 'value_dependent' cannot be traced \(.*no .numpy\(\), no NumPy functions"
    assert_rejected(tfviz.Saliency(model), tmp_path, tfviz.ExportError, message, image_shape=(8, 8, 3))


def test_a_model_that_calls_python_while_it_runs_is_rejected(tmp_path: Path) -> None:
    def model(images: tf.Tensor) -> tf.Tensor:
        scale = tf.numpy_function(lambda x: x, [tf.constant(2.0)], tf.float32)
        return tf.reduce_mean(images, axis=(1, 2)) * tf.ensure_shape(scale, ())

    explainer = tfviz.Saliency(model)
    assert_rejected(
        explainer, tmp_path, tfviz.ExportError, "The model 'model' calls Python code at run time", image_shape=(8, 8, 3)
    )


def test_a_missing_extra_is_named(explainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for format, packages, command in (
        ("stablehlo", ("jax",), "jax"),
        ("litert", ("ai_edge_litert",), "ai-edge-litert"),
        ("onnx", ("onnxruntime", "tf2onnx", "onnx"), "tf2onnx onnx onnxruntime"),
    ):
        for name in [*packages, *sys.modules]:
            if name.startswith(packages) and name.partition(".")[0] in packages:
                monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(tfviz.MissingPackageError, match=f"Run: pip install {command}$"):
            tfviz.load_explainer(tfviz.VisualBackProp(explainer.model).export(tmp_path / format, format=format))


def test_custom_layers_are_exported(tmp_path: Path) -> None:
    class Doubled(layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.relu(2 * x)

    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(Doubled()(layers.Conv2D(4, 3, name="conv")(inputs)))
    explainer = tfviz.GuidedBackprop(keras.Model(inputs, layers.Dense(3)(x)))
    loaded = tfviz.load_explainer(explainer.export(tmp_path / "x"))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(loaded(images), explainer(images), atol=1e-6)
