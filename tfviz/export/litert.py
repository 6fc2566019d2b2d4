"""Export to a .tflite file with only built-in operations, for LiteRT on phones and small devices.

    explainer.tflite    one signature, serving_default. inputs: the model's inputs, and "target"
                        if a class can be chosen (one int32 class per image; -1 is the top class);
                        outputs: named as in tfviz.json

TensorFlow's converter writes the file. Operations that it cannot convert, mostly gradients, are
replaced first (see `lowering.litert_operations`). A file supports only one image size and one batch
size, but `LiteRTExplainer` accepts batches of any size.

LiteRT stores separate kernels for the forward and the backward pass. Class activation maps and
VisualBackProp barely need a backward pass, so their files are about as large as the model's
weights. Files for methods that backpropagate to the image are twice that size. Files for excitation
backprop, which also needs positive kernels, are three to four times that size.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from tfviz.errors import ExportError, OptionError, TfvizError
from tfviz.export.int8_weights import rounded, with_int8_weights
from tfviz.export.litert_loading import FILE, SIGNATURE, LiteRTExplainer, interpreter_class
from tfviz.export.lowering.graph_copy import lowered, traced
from tfviz.export.lowering.litert_operations import REPLACEMENTS
from tfviz.export.manifest import Input, Manifest
from tfviz.export.requests import Results, one_request
from tfviz.export.signatures import listed, specs_of
from tfviz.targets import Target

if TYPE_CHECKING:  # Explainer.export imports this package
    from tfviz.methods.explainer import Explainer

_QUANTIZE = (None, "int8", "float16")
_INSTEAD = 'Use format="saved_model", which supports every method.'
_NOT_BUILT_IN = re.compile(r"(?:TF Select|Flex|TF Custom|Custom) ops: ([\w, ]+)")
_UNKNOWN = re.compile(r"'?tf\.(\w+)'? op ")


def check(explainer: Explainer, **options: object) -> None:
    """Raise MissingPackageError if LiteRT is missing, and OptionError if an option is invalid."""
    interpreter_class()
    quantize, batch_size = options.get("quantize"), options.get("batch_size", 1)
    if quantize not in _QUANTIZE:
        raise OptionError(
            "`quantize` must be None (float32), 'int8' (a third of the size) or 'float16' (half the size). Received: "
            f"{quantize!r}."
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise OptionError(f"`batch_size` must be a positive integer (the number of images per run). Received: {batch_size!r}.")


def write(
    explainer: Explainer,
    folder: Path,
    manifest: Manifest,
    *,
    quantize: str | None = None,
    batch_size: int = 1,
    image_shape: tuple[int | None, ...] | None = None,
    target: Target = None,
) -> None:
    """Write the .tflite file to the folder.

    Args:
        explainer: the explainer to export.
        folder: a new, empty folder.
        manifest: the manifest. The fields of this format are added to it.
        quantize: how to store the weights. None stores them as float32, "int8" takes a third of the
            space, and "float16" takes half. Computation always uses float32.
        batch_size: the number of images per run.
        image_shape: the (height, width, channels) of the images, for models that do not fix it.
        target: a target to fix in the export, so that no class can be chosen later. It is a class,
            weights shaped like the outputs for one image, a function outputs -> (N,), or
            `tfviz.At`. Required unless the model has a single output of shape (N, classes).
    """
    request = one_request(explainer, manifest, target, image_shape, "A .tflite file")
    specs = [
        tf.TensorSpec([batch_size, *spec.shape[1:]], spec.dtype, spec.name) for spec in [*specs_of(manifest), *request.specs]
    ]
    function = _convertible(request.compute, specs, manifest, in_int8=quantize == "int8")
    model = _converted(function, manifest, quantize == "float16")
    if quantize == "int8":
        model = with_int8_weights(model)
    (folder / FILE).write_bytes(model)
    manifest.inputs = [
        Input(one.name, one.shape, x.dtype.name) for one, x in zip(manifest.inputs, function.inputs, strict=False)
    ]
    manifest.extra = {
        "batch_size": batch_size,
        "quantize": quantize,
        "arguments": listed(dict(zip((spec.name for spec in specs), function.inputs, strict=False))),
        "results": listed(function.structured_outputs),
    }


def _convertible(
    compute: Callable[..., Results], specs: list[tf.TensorSpec], manifest: Manifest, in_int8: bool
) -> tf.types.experimental.ConcreteFunction:
    """Trace the computation, and replace the operations that the converter does not support."""
    try:
        function = traced(compute, specs)
        return lowered(function, REPLACEMENTS, rounded(function) if in_int8 else None)
    except TfvizError:
        raise
    except Exception as error:  # custom code, run on symbolic tensors, may raise anything
        raise ExportError(
            f"{manifest.method} for the model '{manifest.model}' cannot be traced as a single graph with fixed input shapes "
            f"({type(error).__name__}: {_first_line(error)}). {_INSTEAD}"
        ) from error


def _converted(function: tf.types.experimental.ConcreteFunction, manifest: Manifest, in_float16: bool) -> bytes:
    try:
        with _quiet():
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if in_float16:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.target_spec.supported_types = [tf.float16]
            model = bytes(converter.convert())
        # If the converter cannot keep the names, it silently continues without them.
        if SIGNATURE.encode() not in model:
            raise ValueError(f"The converter dropped the signature {SIGNATURE!r}")
        return model
    except Exception as error:
        # The converter raises ConverterError for most failures, but not for all.
        raise ExportError(
            f"{manifest.method} for the model '{manifest.model}' cannot be converted to LiteRT. "
            f"{_missing_operations(error, function)}. {_INSTEAD}"
        ) from error


def _missing_operations(error: Exception, function: tf.types.experimental.ConcreteFunction) -> str:
    """Describe which operations could not be converted, and where they are in the graph."""
    text = str(error)
    types = {name.strip() for names in _NOT_BUILT_IN.findall(text) for name in names.split(",")} | set(_UNKNOWN.findall(text))
    if not types:
        return f"{type(error).__name__}: {_first_line(error)}"
    places = [operation.name for operation in function.graph.get_operations() if operation.type in types]
    return (
        f"LiteRT does not support {', '.join(sorted(types))} (at {', '.join(map(repr, places[:3])) or 'an unknown position'})"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converter's progress messages. Failures still raise exceptions."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    with tempfile.TemporaryFile() as printed, _standard_error_to(printed.fileno()):
        try:
            yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def _standard_error_to(other: int) -> Iterator[None]:
    """Redirect file descriptor 2, which the converter's C++ code writes to."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # the process has no standard error
        yield
        return
    os.dup2(other, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def read(folder: Path, manifest: Manifest, trusted: bool) -> LiteRTExplainer:
    """Load the explainer from a folder written by `write`.

    Raise MissingPackageError if LiteRT is not installed.
    """
    return LiteRTExplainer(folder, manifest)
