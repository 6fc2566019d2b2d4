"""A .tflite file for LiteRT, on phones and small devices; it needs built-in operations only.

    explainer.tflite    one signature, serving_default. inputs: the model's, and "target" (batch,) int32 where a class can be
                        asked for (−1 is the top class); outputs: as tfviz.json names them

TensorFlow's converter writes it. What it cannot convert, gradients most of all, is made of other operations first (see
`lowering.litert_operations`). A file is for one size of images and of batches; one that is read back takes batches of any
length.

LiteRT wants the kernels of each direction in an order of their own. A file of a class activation map or of VisualBackProp is
about as large as the model's weights; one that goes back to the image through all layers twice, and one of excitation
backprop, which needs positive kernels too, three to four times.
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
_INSTEAD = 'format="saved_model" holds every method'
_NOT_BUILT_IN = re.compile(r"(?:TF Select|Flex|TF Custom|Custom) ops: ([\w, ]+)")
_UNKNOWN = re.compile(r"'?tf\.(\w+)'? op ")


def check(explainer: Explainer, **options: object) -> None:
    """Raises MissingPackageError without LiteRT, OptionError for an option with a value that it cannot take."""
    interpreter_class()
    quantize, batch_size = options.get("quantize"), options.get("batch_size", 1)
    if quantize not in _QUANTIZE:
        raise OptionError(
            f"quantize: expected None (float32), 'int8' (a third of the size) or 'float16' (half); got {quantize!r}"
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise OptionError(f"batch_size: expected how many images the file takes at once, 1 or more; got {batch_size!r}")


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
    """Fills the folder.

    Args:
        quantize: None stores the weights in float32; "int8" in a third of that, "float16" in half. Computing is in float32.
        batch_size: how many images the file takes at once.
        image_shape: (height, width, channels) of the images, for models that leave it free.
        target: what is always explained, in place of a class that is asked for: a class, floats like the outputs of one
            image, `tfviz.At`, or a function outputs -> (N,). A model whose output is no (N, classes) needs one.
    """
    request = one_request(explainer, manifest, target, image_shape, "a .tflite file")
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
    """The computation as a concrete function of named inputs and outputs, in operations that convert."""
    try:
        function = traced(compute, specs)
        return lowered(function, REPLACEMENTS, rounded(function) if in_int8 else None)
    except TfvizError:
        raise
    except Exception as error:  # The user's own code, run on symbols: it may raise anything.
        raise ExportError(
            f"{manifest.method} of the model '{manifest.model}' cannot be written as one graph of fixed size "
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
        if SIGNATURE.encode() not in model:  # Where it cannot keep the names, the converter goes on without.
            raise ValueError("the names of inputs and outputs were lost")
        return model
    except Exception as error:  # The converter has an exception of its own for most things that go wrong, but not for all.
        raise ExportError(
            f"{manifest.method} of the model '{manifest.model}' cannot be converted: {_lacking(error, function)}. {_INSTEAD}"
        ) from error


def _lacking(error: Exception, function: tf.types.experimental.ConcreteFunction) -> str:
    """What the converter could not convert, and where in the graph it stands."""
    said = str(error)
    types = {name.strip() for names in _NOT_BUILT_IN.findall(said) for name in names.split(",")} | set(_UNKNOWN.findall(said))
    if not types:
        return f"{type(error).__name__}: {_first_line(error)}"
    places = [operation.name for operation in function.graph.get_operations() if operation.type in types]
    return f"LiteRT has no operation {', '.join(sorted(types))} (at {', '.join(map(repr, places[:3])) or 'an unknown place'})"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the converter says of its progress; what is wrong comes with the exception."""
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
    """The converter's C++ side writes to file descriptor 2, whatever Python does."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    os.dup2(other, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def read(folder: Path, manifest: Manifest, trusted: bool) -> LiteRTExplainer:
    """The explainer in a folder that `write` filled. Raises MissingPackageError without LiteRT."""
    return LiteRTExplainer(folder, manifest)
