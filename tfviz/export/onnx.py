"""Export to an ONNX file for onnxruntime, for images of one size and batches of any size.

    explainer.onnx    inputs: the model's inputs, and "target" if a class can be chosen (one int32
                      class per image; -1 is the top class);
                      outputs: named as in tfviz.json, with "_out" appended if an input has the same
                      name ("target_out")

tf2onnx converts the graph. `onnx_operations` handles the gradient operations that tf2onnx does not
support. Any other unsupported operation raises an error that names it. The file is written only if
onnxruntime reproduces TensorFlow's results.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfviz.errors import ExportError, MissingPackageError, TfvizError, first_line, install_command, shown
from tfviz.export.loading import TOP_CLASS, LoadedExplainer
from tfviz.export.lowering.graph_copy import lowered, traced
from tfviz.export.lowering.onnx_operations import HANDLERS, REPLACEMENTS
from tfviz.export.manifest import Input, Manifest
from tfviz.export.requests import one_request
from tfviz.export.signatures import listed, specs_of
from tfviz.targets import Target

if TYPE_CHECKING:  # Explainer.export imports this package
    from onnx import ModelProto
    from onnxruntime import InferenceSession

    from tfviz.methods.explainer import Explainer

FILE = "explainer.onnx"
_OPSET = 17  # supported by onnxruntime since 2022
_MAX_CONSTANT_SIZE = 16  # Arrays with more values are weights.
_TRIED_IMAGES = 3
# The maximum norm of the deviation, relative to the norm of the expected values. The limit is
# generous, because rounding can redirect a gradient if two values almost tie.
_MAX_DEVIATION = 0.1


def check(explainer: Explainer, **options: object) -> None:
    """Raise MissingPackageError if onnx, tf2onnx or onnxruntime is not installed."""
    for name in ("onnx", "tf2onnx", "onnxruntime"):
        _package(name)


def write(
    explainer: Explainer,
    folder: Path,
    manifest: Manifest,
    *,
    image_shape: tuple[int | None, ...] | None = None,
    target: Target = None,
) -> None:
    """Write the ONNX file to the folder.

    Args:
        explainer: the explainer to export.
        folder: a new, empty folder.
        manifest: the manifest. The fields of this format are added to it.
        image_shape: the (height, width, channels) of the images, for models that do not fix it.
        target: a target to fix in the export, so that no class can be chosen later. It is a class,
            weights shaped like the outputs for one image, a function outputs -> (N,), or
            `tfviz.At`. Required unless the model has a single output of shape (N, classes).
    """
    request = one_request(explainer, manifest, target, image_shape, "An ONNX file")
    names: list[str] = []

    def compute(*given: tf.Tensor) -> list[tf.Tensor]:
        results = request.compute(*given)
        names[:] = results
        return [results[name] for name in names]

    try:
        function = traced(compute, [*specs_of(manifest), *request.specs])
        convertible = lowered(function, REPLACEMENTS)
    except TfvizError:
        raise
    except Exception as error:  # custom code, run on symbolic tensors, may raise anything
        raise ExportError(
            f"{manifest.method} for the model '{manifest.model}' cannot be traced as a single graph with a fixed image size "
            f"({type(error).__name__}: {first_line(error)}). {_INSTEAD}"
        ) from error
    try:
        model = _converted(convertible, names)
    except TfvizError:
        raise
    except Exception as error:  # tf2onnx raises many types of exceptions
        raise ExportError(
            f"{manifest.method} for the model '{manifest.model}' cannot be exported to ONNX, because tf2onnx cannot convert "
            f"its graph ({type(error).__name__}: {first_line(error)}). {_INSTEAD}"
        ) from error
    _require_known(model, manifest)
    _require_same(model, function, manifest)
    manifest.inputs = [
        Input(one.name, one.shape, x.dtype.name) for one, x in zip(manifest.inputs, convertible.inputs, strict=False)
    ]
    given = [one.name for one in manifest.inputs] + [spec.name for spec in request.specs]
    called = [one.name for one in model.graph.output]
    manifest.extra = {
        "opset": _OPSET,
        "outputs": dict(zip(names, called, strict=True)),
        "arguments": listed(dict(zip(given, convertible.inputs, strict=True))),
        "results": listed(dict(zip(called, convertible.outputs, strict=True))),
    }
    (folder / FILE).write_bytes(model.SerializeToString())


_INSTEAD = 'Use format="saved_model", which supports every method.'


def _converted(function: tf.types.experimental.ConcreteFunction, names: list[str]) -> ModelProto:
    """Convert a concrete function to ONNX, with the same input names and the given output names."""
    graph = function.graph.as_graph_def()
    for node in graph.node:
        node.attr.pop("_class", None)  # refers to another node, which may no longer exist
    weights = _weights_as_inputs(graph)
    inputs, outputs = [x.name for x in function.inputs] + [f"{name}:0" for name in weights], [x.name for x in function.outputs]
    called = {name: name.partition(":")[0] for name in inputs}
    called |= dict(zip(outputs, _outputs(names, called.values()), strict=True))
    onnx, tf2onnx = _package("onnx"), _package("tf2onnx")
    with _quiet():
        model, _ = tf2onnx.convert.from_graph_def(
            graph,
            input_names=inputs,
            output_names=outputs,
            opset=_OPSET,
            custom_op_handlers=HANDLERS,
            tensors_to_rename=called,
        )
    for one in [one for one in model.graph.input if one.name in weights]:
        model.graph.input.remove(one)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights[one.name], one.name))
    for one in (*model.graph.input, *model.graph.output):
        one.type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def _weights_as_inputs(graph: tf.compat.v1.GraphDef) -> dict[str, np.ndarray]:
    """Replace the weights in the graph with inputs, and return their values, keyed by name.

    If they remained constants, tf2onnx would precompute and store all values that depend only on
    weights, such as transposed and positive weights. onnxruntime computes these values when it
    loads the file.
    """
    weights = {}
    for node in graph.node:
        array = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
        if array is not None and array.dtype.kind == "f" and array.size > _MAX_CONSTANT_SIZE:
            weights[node.name] = array
            node.op = "Placeholder"
            node.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
            del node.attr["value"]
    return weights


def _outputs(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Rename each output that has the same name as an input, because ONNX does not allow that."""
    taken = set(taken)
    return [f"{name}_out" if name in taken else name for name in names]


def _require_known(model: ModelProto, manifest: Manifest) -> None:
    has = _package("onnx").defs.has
    unknown = sorted({node.op_type for node in model.graph.node if not has(node.op_type, node.domain)})
    if unknown:
        raise ExportError(
            f"{manifest.method} for the model '{manifest.model}' cannot be exported to ONNX. The graph uses operations that "
            f"have no equivalent in ONNX: {', '.join(map(repr, unknown))}. {_INSTEAD}"
        )


def _require_same(model: ModelProto, function: tf.types.experimental.ConcreteFunction, manifest: Manifest) -> None:
    """Raise ExportError unless onnxruntime reproduces TensorFlow's results on random images."""
    given = [_random(x) for x in function.inputs[: len(function.inputs) - len(function.captured_inputs)]]
    wanted = [tf.cast(x, tf.float32).numpy() for x in function(*given)]
    session = _session(model.SerializeToString())
    feed = {one.name: _as_float32(x).numpy() for one, x in zip(session.get_inputs(), given, strict=True)}
    for one, got, want in zip(session.get_outputs(), session.run(None, feed), wanted, strict=True):
        if got.shape != want.shape or np.linalg.norm(got - want) > _MAX_DEVIATION * np.linalg.norm(want):
            raise ExportError(
                f"{manifest.method} for the model '{manifest.model}' cannot be exported to ONNX. The converted graph's output "
                f"'{one.name}' differs from TensorFlow's. {_INSTEAD}"
            )


def _random(x: tf.Tensor) -> tf.Tensor:
    """Return random images. For the target input, alternate between the top class and class 0."""
    shape = [_TRIED_IMAGES if n is None else n for n in x.shape]
    if len(shape) == 1:
        return tf.constant(np.resize([TOP_CLASS, 0], shape), x.dtype)
    random = np.random.default_rng(0)
    return tf.cast(random.normal(size=shape) if x.dtype.is_floating else random.integers(0, 2, shape), x.dtype)


def _as_float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype.is_floating else x


def _session(model: bytes | str) -> InferenceSession:
    onnxruntime = _package("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # only errors
    return onnxruntime.InferenceSession(model, options, providers=onnxruntime.get_available_providers())


def _package(name: str) -> ModuleType:
    """Import onnx, tf2onnx or onnxruntime."""
    try:
        with _quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(f"ONNX files need {name}, which is not installed. Run: {install_command('onnx')}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence tf2onnx's logs and warnings. Failures still raise exceptions."""
    loggers = [logging.getLogger("tf2onnx"), tf.get_logger()]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read(folder: Path, manifest: Manifest, trusted: bool) -> LoadedExplainer:
    """Load the explainer from a folder written by `write`.

    Raise MissingPackageError if onnxruntime is not installed.
    """
    return OnnxExplainer(folder, manifest)


class OnnxExplainer(LoadedExplainer):
    """An explainer loaded from an ONNX file. `session` is the onnxruntime session."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._names = manifest.extra["outputs"]
        try:
            manifest.require_exported(folder, FILE)
            self.session = _session(str(folder / FILE))
        except MissingPackageError:
            raise
        except Exception as error:
            # onnxruntime raises many types of exceptions.
            raise ExportError(
                f"{shown(folder / FILE)} cannot be opened ({first_line(error)}). Export the explainer again."
            ) from error

    def _run(self, images: list[np.ndarray], target: np.ndarray | None) -> tuple[Any, np.ndarray | None, Any]:
        feed = {one.name: array for one, array in zip(self.manifest.inputs, images, strict=True)}
        if "class" in self.manifest.targets:
            feed["target"] = np.full(len(images[0]), TOP_CLASS, np.int32) if target is None else target
        return self._nested(dict(zip(self._names, self.session.run(list(self._names.values()), feed), strict=True)))
