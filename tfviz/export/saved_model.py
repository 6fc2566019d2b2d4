"""Export to a TensorFlow SavedModel, for tf.saved_model.load and TensorFlow Serving.

The SavedModel runs without tfviz and Keras.

    serving_default(images)              outputs, target (the top class, int32) and attribution
    explain(images, target)              the same for N given int32 classes; -1 requests the top
                                         class
    explain_weighted(images, weights)    the same for float32 weights for the outputs, with shape
                                         (N or 1, classes); the results contain no target
    image(image_bytes), …                the same for JPEG and PNG files (see `encoded_images`)

All signatures share one graph, and each weight is stored once, in the model's dtype.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfviz.errors import ExportError, ImageError, TfvizError, first_line, shown
from tfviz.export.allowed_operations import require_harmless
from tfviz.export.loading import LoadedExplainer
from tfviz.export.manifest import Manifest
from tfviz.export.pictures.encoded_images import check_options, image_functions, require_drawable
from tfviz.export.requests import Request, Results, requests_for
from tfviz.export.signatures import Described, fix_image_shape, listed, specs_of
from tfviz.keras_internals import layers_of
from tfviz.targets import Target

if TYPE_CHECKING:  # Explainer.export imports this package
    from tfviz.methods.explainer import Explainer

_PYTHON_OPERATIONS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")


def check(explainer: Explainer, **options: object) -> None:
    """Raise OptionError if the options are invalid or contradict each other."""
    check_options(options.get("include"), options.get("overlay", False))


def write(
    explainer: Explainer,
    folder: Path,
    manifest: Manifest,
    *,
    target: Target = None,
    include: str | None = None,
    overlay: bool = False,
    image_shape: tuple[int | None, ...] | None = None,
) -> None:
    """Write the SavedModel to the folder.

    Args:
        explainer: the explainer to export.
        folder: a new, empty folder.
        manifest: the manifest. The fields of this format are added to it.
        target: the target explained by serving_default instead of the top class. It is a class,
            weights shaped like the outputs for one image, `tfviz.At`, or a function outputs ->
            (N,). Required unless the model has a single output of shape (N, classes).
        include: "image" adds signatures that accept JPEG and PNG files.
        overlay: whether these signatures also return the drawn image, as PNG.
        image_shape: the (height, width, channels) of the images, for models that do not define it
            and for methods that need a fixed size. None means any size.
    """
    fix_image_shape(manifest, image_shape)
    requests = requests_for(explainer, manifest, target)
    functions = _traced(manifest, requests)
    if include:
        require_drawable(manifest, functions["serving_default"].structured_outputs.get("attribution"))
        functions |= image_functions(functions, manifest, overlay)
    manifest.extra["signatures"] = {name: _described(function) for name, function in functions.items()}
    module = tf.Module()
    module.weights = _variables(functions)
    module.tables = _tables(explainer, functions)
    with _quiet(tf.get_logger(), logging.WARNING):  # hides "Assets written to"
        tf.saved_model.save(
            module,
            str(folder),
            signatures=functions,
            # The graph already contains the gradients and is not differentiated again.
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )


def _traced(manifest: Manifest, requests: dict[str, Request]) -> dict[str, tf.types.experimental.ConcreteFunction]:
    try:
        functions = {
            name: _function(request.compute, [*specs_of(manifest), *request.specs]) for name, request in requests.items()
        }
    except ImageError as error:  # some methods need a fixed image size
        raise ExportError(
            f"{manifest.method} cannot be exported for images of shape {specs_of(manifest)[0].shape} "
            f"({first_line(error).rstrip('.')}). Set the image size: image_shape=(height, width, channels) (--image-size on "
            "the command line)."
        ) from error
    except TfvizError:
        raise
    except Exception as error:  # custom code, run on symbolic tensors, may raise anything
        raise ExportError(
            f"The model '{manifest.model}' cannot be traced ({type(error).__name__}: {first_line(error)}). Use only "
            "TensorFlow or keras.ops between images and outputs: no .numpy(), no NumPy functions and no Python branches on "
            "tensor values."
        ) from error
    for function in functions.values():
        _require_exportable(function.graph, manifest)
    return functions


def _function(compute: Callable[..., Results], specs: list[tf.TensorSpec]) -> tf.types.experimental.ConcreteFunction:
    return tf.function(compute, autograph=False).get_concrete_function(*specs)


def _require_exportable(graph: tf.Graph, manifest: Manifest) -> None:
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    if found := next((node for node in nodes if node.op in _PYTHON_OPERATIONS), None):
        raise ExportError(
            f"The model '{manifest.model}' calls Python code at run time (tf.py_function or tf.numpy_function, at "
            f"'{found.name}'), which an exported model cannot do. Rewrite that step with TensorFlow or keras.ops."
        )


def _described(function: tf.types.experimental.ConcreteFunction) -> dict[str, list[Described]]:
    """Describe the inputs and outputs of a signature for tfviz.json."""
    taken = {spec.name: spec for spec in function.structured_input_signature[0]}
    return {"inputs": listed(taken), "outputs": listed(function.structured_outputs)}


def _variables(functions: dict[str, tf.types.experimental.ConcreteFunction]) -> list[tf.Variable]:
    found = {id(variable): variable for function in functions.values() for variable in function.graph.variables}
    return list(found.values())


def _tables(
    explainer: Explainer, functions: dict[str, tf.types.experimental.ConcreteFunction]
) -> list[tf.saved_model.experimental.TrackableResource]:
    """Return the lookup tables that the functions use, such as the one in a `StringLookup` layer.

    Raises:
        ExportError: no layer owns one of them, so that TensorFlow cannot save it.
    """
    read = {id(x): x for function in functions.values() for x in function.captured_inputs if x.dtype == tf.resource}
    resource = tf.saved_model.experimental.TrackableResource
    owned = [x for layer in layers_of(explainer.model) for x in vars(layer).values() if isinstance(x, resource)]
    known = {id(x.handle) for x in _variables(functions)} | {id(x.resource_handle) for x in owned}
    if read.keys() - known:
        raise ExportError(
            f"The model '{explainer.graph.model_name}' reads a lookup table or another TensorFlow resource that none of its "
            "layers owns, so it cannot be saved. Assign the table to an attribute of the layer that reads it."
        )
    return [x for x in owned if id(x.resource_handle) in read]


@contextlib.contextmanager
def _quiet(logger: logging.Logger, level: int) -> Iterator[None]:
    """Mute a logger's messages below the given level."""
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def read(folder: Path, manifest: Manifest, trusted: bool) -> LoadedExplainer:
    """Load the explainer from a folder written by `write`."""
    if not trusted:
        require_harmless(folder)
    return SavedModelExplainer(folder, manifest)


class SavedModelExplainer(LoadedExplainer):
    """An explainer loaded from a SavedModel. `module` is the result of tf.saved_model.load."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(manifest)
        try:
            # Mute TensorFlow's warning that the file's gradients cannot be differentiated. Nothing
            # differentiates them.
            with _quiet(logging.getLogger("absl"), logging.ERROR):
                manifest.require_exported(folder)
                self.module = tf.saved_model.load(str(folder))
        except Exception as error:
            # TensorFlow raises many types of exceptions for a damaged file, such as IndexError.
            raise ExportError(
                f"The SavedModel in {shown(folder)} is damaged and cannot be opened ({first_line(error)}). Export the "
                "explainer again."
            ) from error

    def _run(self, images: list[np.ndarray], target: np.ndarray | None) -> tuple[Any, np.ndarray | None, Any]:
        named = {one.name: tf.constant(array) for one, array in zip(self.manifest.inputs, images, strict=True)}
        signatures = self.module.signatures
        if target is None:
            results = signatures["serving_default"](**named)
        elif target.dtype.kind == "i":
            results = signatures["explain"](**named, target=tf.constant(target))
        else:
            results = signatures["explain_weighted"](**named, weights=tf.constant(target))
        return self._nested(results)
