"""An untrusted export is rejected if loading or calling it could do more than compute."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks

import tfviz
from tfviz import tensorflow_internals
from tfviz.export.manifest import FILE_NAME, Manifest

IMAGES = np.zeros((1, 20, 17, 3), np.float32)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tfviz.GradCAM(networks.build("plain")).export(tmp_path_factory.mktemp("export") / "x")


def tampered(export: Path, folder: Path, effect: Callable[[tf.Tensor], Any], **parts: Any) -> Path:
    """Copy the export with another SavedModel, which has a side effect."""
    module = tf.Module()
    for name, part in parts.items():
        setattr(module, name, part)

    @tf.function(input_signature=[tf.TensorSpec([None, 20, 17, 3], name="images")])
    def explained(images: tf.Tensor) -> dict[str, tf.Tensor]:
        number = tf.reduce_sum(images)
        effect(number)
        return {
            "outputs": tf.zeros((tf.shape(images)[0], 5)),
            "target": tf.zeros(tf.shape(images)[:1], tf.int32),
            "attribution": images[..., 0],
        }

    tf.saved_model.save(module, str(folder), signatures={"serving_default": explained})
    manifest = Manifest.read(export)
    manifest.files = {}
    manifest.write(folder)
    return folder


class Resource(tf.saved_model.experimental.TrackableResource):
    """Writes a file when it is initialized, which happens when a SavedModel is loaded."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[])

    def _initialize(self) -> None:
        tf.io.write_file(self.path, "written while loading")

    def _destroy_resource(self) -> None:
        pass


def test_loading_does_not_write_a_file(export: Path, tmp_path: Path) -> None:
    resource = Resource(tmp_path / "written")
    resource.resource_handle  # noqa: B018 - created on first use
    folder = tampered(export, tmp_path / "x", lambda _: None, resource=resource)
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(tfviz.ExportError, match=r"may not be safe to run: WriteFile\. .*pass trusted=True"):
        tfviz.load_explainer(folder)
    assert not (tmp_path / "written").exists()
    tfviz.load_explainer(folder, trusted=True)
    assert (tmp_path / "written").read_text() == "written while loading"


def inside_a_loop(number: tf.Tensor) -> None:
    def body(count: tf.Tensor) -> tf.Tensor:
        tf.io.write_file("/tmp/never", "")
        return count + 1

    tf.while_loop(lambda count: tf.cast(count, tf.float32) < number, body, [0])


def inside_a_function(number: tf.Tensor) -> None:
    @tf.function
    def inner() -> tf.Tensor:
        return tf.io.read_file("/etc/hostname")

    tf.cond(number > 0, inner, lambda: tf.constant(""))


def from_a_dataset(number: tf.Tensor) -> None:
    tf.data.TextLineDataset("/etc/hostname").reduce("", lambda _, line: line)


def saving(number: tf.Tensor) -> None:
    tf.raw_ops.SaveV2(prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], tensors=[number])


EFFECTS: dict[str, tuple[Callable[[tf.Tensor], Any], str]] = {
    "WriteFile in a loop": (inside_a_loop, "WriteFile"),
    "ReadFile in a function of a condition": (inside_a_function, "ReadFile"),
    "MatchingFiles": (lambda _: tf.io.matching_files("/*"), "MatchingFiles"),
    "PrintV2 to a file": (lambda number: tf.print(number, output_stream="file:///tmp/never"), "PrintV2"),
    "SaveV2": (
        saving,
        "SaveV2",
    ),
    "MergeV2Checkpoints": (
        lambda _: tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=["/tmp/a"], destination_prefix="/tmp/b"),
        "MergeV2Checkpoints",
    ),
    "RestoreV2": (
        lambda _: tf.raw_ops.RestoreV2(prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]),
        "RestoreV2",
    ),
    "a dataset of a file's lines": (from_a_dataset, "TextLineDataset"),
    "EagerPyFunc": (lambda number: tf.py_function(lambda x: x, [number], tf.float32), "EagerPyFunc"),
    "PyFunc": (lambda number: tf.numpy_function(lambda x: x, [number], tf.float32), "PyFunc"),
    "PyFuncStateless": (lambda number: tf.numpy_function(lambda x: x, [number], tf.float32, stateful=False), "PyFuncStateless"),
    "Abort": (lambda _: tf.raw_ops.Abort(), "Abort"),
    "a summary": (
        lambda _: tf.raw_ops.CreateSummaryFileWriter(
            writer=tf.raw_ops.SummaryWriter(), logdir="/tmp/x", max_queue=1, flush_millis=1, filename_suffix=""
        ),
        "CreateSummaryFileWriter, SummaryWriter",
    ),
    "a descriptor file": (
        lambda _: tf.io.decode_proto(["x"], "m", ["f"], [tf.int32], descriptor_source="/etc/hostname"),
        "DecodeProtoV2",
    ),
    "a vocabulary file": (
        lambda _: tf.raw_ops.GenerateVocabRemapping(
            new_vocab_file="a", old_vocab_file="b", new_vocab_offset=0, num_new_vocab=1
        ),
        "GenerateVocabRemapping",
    ),
    "debug URLs": (lambda number: tf.raw_ops.DebugIdentity(input=number, debug_urls=["file:///tmp/never"]), "DebugIdentity"),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_errors_name_operations_that_do_more_than_compute(name: str, export: Path, tmp_path: Path) -> None:
    effect, operation = EFFECTS[name]
    folder = tampered(export, tmp_path / "x", effect)
    with pytest.raises(tfviz.ExportError, match=rf"was not loaded.* it contains .*\b{operation}\b.*trusted=True"):
        tfviz.load_explainer(folder)
    assert tfviz.load_explainer(folder, trusted=True).key == "grad_cam"


def test_a_table_filled_from_a_file_is_rejected(export: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n")
    lines = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    folder = tampered(export, tmp_path / "x", lambda _: None, table=tf.lookup.StaticHashTable(lines, -1))
    with pytest.raises(tfviz.ExportError, match=r"may not be safe to run: .*InitializeTableFromTextFileV2"):
        tfviz.load_explainer(folder)


def edited(export: Path, folder: Path, edit: Callable[[Any], None]) -> Path:
    """Copy the export with a change to its saved_model.pb that tfviz.json does not record."""
    shutil.copytree(export, folder)
    content = tensorflow_internals.saved_model_in(folder)
    edit(content.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(content.SerializeToString())
    return folder


def named(meta_graph: Any, pattern: str) -> Any:
    return next(one for one in meta_graph.graph_def.library.function if re.search(pattern, one.signature.name))


def calling_the_saver(meta_graph: Any) -> None:
    saver, called = named(meta_graph, "traced_save"), named(meta_graph, "signature_wrapper")
    node = called.node_def.add(name="save", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saver.signature.name


def of_another_library(meta_graph: Any) -> None:
    meta_graph.graph_def.library.function[0].node_def.add(name="x", op="RunCommand\x1b[2J")


def behind_a_name(meta_graph: Any) -> None:
    functions = meta_graph.graph_def.library.function
    functions.add().signature.name = "WriteFile"
    functions[0].node_def.add(name="x", op="WriteFile")


def twice(meta_graph: Any) -> None:
    functions = meta_graph.graph_def.library.function
    functions.add().CopyFrom(functions[0])
    functions[0].node_def.add(name="x", op="WriteFile")


def without_objects(meta_graph: Any) -> None:
    meta_graph.ClearField("object_graph_def")


EDITS = {
    "a call of the checkpoint's own function": (calling_the_saver, "it contains .*SaveV2"),
    "an operation of another library": (of_another_library, r"it contains .*RunCommand\\x1b\[2J"),
    "a function with the name of an operation": (behind_a_name, "it contains .*WriteFile"),
    "two functions of one name": (twice, "Several functions have the same name in"),
    "a graph of TensorFlow 1": (without_objects, "There is no object graph in"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_changed_graph_is_rejected(name: str, export: Path, tmp_path: Path) -> None:
    edit, message = EDITS[name]
    with pytest.raises(tfviz.ExportError, match=message):
        tfviz.load_explainer(edited(export, tmp_path / "x", edit))


def test_a_changed_file_is_rejected_unless_it_is_trusted(export: Path, tmp_path: Path) -> None:
    folder = edited(export, tmp_path / "x", lambda meta_graph: meta_graph.meta_info_def.tags.append("more"))
    with pytest.raises(tfviz.ExportError, match=r"saved_model\.pb was changed or damaged after the export"):
        tfviz.load_explainer(folder)


def test_the_operations_of_real_exports_are_allowed(tmp_path: Path) -> None:
    """Random numbers, strings and images in a model are allowed."""

    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            tf.print("a remark")
            tf.debugging.assert_all_finite(x, "not finite")
            words = tf.strings.as_string(tf.shape(x)[0])
            picture = tf.cast(tf.io.decode_png(tf.io.encode_png(tf.cast(x[0, ..., :3], tf.uint8))), tf.float32)
            noise = tf.random.normal(()) + tf.random.stateless_uniform((), [1, 2])
            return x + 0 * (tf.strings.to_number(words) + tf.reduce_sum(picture) + noise)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    parts = [layers.Conv2D(4, 3, activation="relu"), Own(), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    explainer = tfviz.Saliency(keras.Sequential([keras.Input((8, 8, 3)), *parts]))
    folder = explainer.export(tmp_path / "x")
    assert tfviz.load_explainer(folder)(np.zeros((1, 8, 8, 3), np.float32)).shape == (1, 8, 8, 3)


def test_a_stablehlo_program_with_foreign_calls_is_rejected(tmp_path: Path) -> None:
    jax = pytest.importorskip("jax")
    folder = tfviz.GradCAM(networks.build("plain")).export(tmp_path / "x", format="stablehlo")
    manifest = Manifest.read(folder)
    arguments = [
        jax.ShapeDtypeStruct(one["shape"], one["dtype"]) for part in ("arguments", "weights") for one in manifest.extra[part]
    ]
    results = [jax.ShapeDtypeStruct(one["shape"], one["dtype"]) for one in manifest.extra["results"]]

    def calling(*given: Any) -> Any:
        return [jax.lax.linalg.cholesky(jax.numpy.eye(2))[0, 0] + jax.numpy.zeros(one.shape, one.dtype) for one in results]

    program = jax.export.export(jax.jit(calling, keep_unused=True))(*arguments).mlir_module_serialized
    (folder / "explainer.stablehlo").write_bytes(program)
    manifest.files = {}
    (folder / FILE_NAME).unlink()
    manifest.write(folder)
    with pytest.raises(tfviz.ExportError, match=r"was not loaded.* it calls .*lapack_\w+\. .*trusted=True"):
        tfviz.load_explainer(folder)
