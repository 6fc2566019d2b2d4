"""Define the inputs and outputs of an exported explainer, and their names.

Every format exports the same computation, `explained`. It accepts images and one class per image,
and returns the outputs, the class and the map. The class -1 means the top class, so one graph
handles requests with and without a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import keras
import numpy as np
import tensorflow as tf
from keras import tree

import tfviz
from tfviz.class_scores import is_classifier
from tfviz.errors import ExportError, LabelsError, OptionError, TargetError
from tfviz.export.manifest import FORMAT_VERSION, NO_PARAMETERS, Input, Manifest, flat_names, map_name, plain_names
from tfviz.graph.graph import Shape, Value
from tfviz.graph.logits import output_names
from tfviz.images.preprocessing import Preprocessing, preprocessing_from
from tfviz.models import is_preprocessing_known, labels_of, preprocessing_of
from tfviz.models.labels import LabelSource, labels_from
from tfviz.seeds import Choice, ChoosingTarget

if TYPE_CHECKING:  # Explainer.export imports this package
    from tfviz.methods.explainer import Explainer
    from tfviz.methods.explanation import Explanation

TOP_CLASS, NO_CLASS = -1, -2


class Described(TypedDict):
    """The description of a tensor in tfviz.json. None in a shape means any size."""

    name: str
    shape: list[int | None]
    dtype: str


def explained(
    explainer: Explainer, images: list[tf.Tensor], target: tf.Tensor, weights: tf.Tensor | None = None
) -> Explanation:
    """Compute the results of an exported explainer on symbolic tensors.

    Args:
        explainer: the explainer to export.
        images: one tensor per input of the model.
        target: int32 classes with shape (N,) or (1,). TOP_CLASS requests the top class of an image.
            NO_CLASS requests no class and is used if `weights` defines the target. Methods that
            accept no target ignore this argument.
        weights: float32 weights with shape (N or 1, classes), which are added to the weight of 1
            for the class, or None.

    Returns:
        The outputs, the target (int32 of shape (N,)), and the attribution (see `Explanation`).
    """
    return explainer.compute(images, _Requested(target, weights) if explainer.takes_target else None)


@dataclass(frozen=True, eq=False)
class _Requested(ChoosingTarget):
    """The target of a request: a class or the top class, plus optional weights."""

    target: tf.Tensor
    weights: tf.Tensor | None

    def check(self, count: int | None, classes: int | None) -> None:
        """Accept any model, because `choose` checks the outputs."""

    def explained_classes(self, outputs: tf.Tensor) -> tf.Tensor:
        top = tf.argmax(outputs, axis=-1, output_type=tf.int32)
        return tf.where(tf.equal(self.target, TOP_CLASS), top, self.target)

    def choose(self, outputs: tf.Tensor) -> Choice:
        if len(outputs.shape) != 2:
            raise TargetError(
                f"The model's output has shape {tuple(outputs.shape)}, not (N, classes). Set a fixed target: export(path, "
                "target=...)."
            )
        # In ONNX, tf.one_hot would count negative classes from the end, but NO_CLASS must match no
        # class.
        own = tf.equal(self.explained_classes(outputs)[:, None], tf.range(tf.shape(outputs)[-1]))
        weights = tf.cast(own, outputs.dtype)
        return [weights if self.weights is None else weights + tf.cast(self.weights, outputs.dtype)]

    def score(self, outputs: tf.Tensor, choice: Choice) -> tf.Tensor:
        return tf.reduce_sum(outputs * tf.cast(choice[0], outputs.dtype), axis=-1)


def fix_image_shape(manifest: Manifest, image_shape: Shape | None) -> None:
    """Replace the unknown input sizes in the manifest with those in `image_shape`.

    Also adapt the preprocessing in the manifest to these sizes. Raise OptionError if `image_shape`,
    (height, width, channels), does not fit the model, and ExportError if it is required but
    missing.
    """
    if image_shape is None:
        if shapeless := [one.name for one in manifest.inputs if not one.shape]:
            raise ExportError(
                f"The model '{manifest.model}' does not define the shape of its input {shapeless[0]}. Pass "
                "image_shape=(height, width, channels), with None for dimensions of any size."
            )
        return
    (own,) = manifest.inputs if len(manifest.inputs) == 1 else (None,)
    is_shape = isinstance(image_shape, (tuple, list)) and all(n is None or (isinstance(n, int) and n > 0) for n in image_shape)
    if own is None or not is_shape:
        raise OptionError(
            f"`image_shape` must be (height, width, channels), and the model must have one input. Received: {image_shape!r} "
            f"(model inputs: {len(manifest.inputs)})."
        )
    fits = not own.shape or (
        len(image_shape) == len(own.shape) - 1
        and all(n is None or m in (None, n) for m, n in zip(own.shape[1:], image_shape, strict=True))
    )
    if not fits:
        raise OptionError(f"`image_shape` must match the model's input shape, {own.shape[1:]}. Received: {tuple(image_shape)}.")
    merged = [n if n is not None else m for n, m in zip(image_shape, own.shape[1:] or image_shape, strict=True)]
    manifest.inputs = [Input(own.name, (None, *merged), own.dtype)]
    if (preprocessing := manifest.picture_preprocessing) is not None and len(merged) == 3:
        height, width, channels = merged
        size = (height, width) if height and width else None
        manifest.preprocessing = asdict(preprocessing.for_input(size, channels or preprocessing.channels))


def is_model(model: object) -> bool:
    """Return whether an explainer's model is a Keras model."""
    return isinstance(model, keras.Model)


def require_numbers(manifest: Manifest, what: str) -> None:
    """Raise ExportError for a string input, which tfviz exports only to a SavedModel."""
    if name := next((one.name for one in manifest.inputs if one.dtype == "string"), None):
        raise ExportError(
            f"{what} does not support string inputs, but the input '{name}' of the model '{manifest.model}' is a string. Use "
            'format="saved_model" instead.'
        )


def require_sizes(manifest: Manifest, what: str) -> None:
    """Raise ExportError if an input has no fixed size. In the message, `what` names the export."""
    for one in manifest.inputs:
        if None in one.shape[1:]:
            raise ExportError(
                f"{what} needs a fixed image size, but the model '{manifest.model}' accepts any size: {one.name} has shape "
                f"{one.shape[1:]}. Pass image_shape=(height, width, channels)."
            )


def specs_of(manifest: Manifest) -> list[tf.TensorSpec]:
    """Return the tensor specs of the model's inputs, named as in the manifest."""
    return [tf.TensorSpec(one.shape, one.dtype, one.name) for one in manifest.inputs]


def listed(tensors: Mapping[str, tf.Tensor | tf.TensorSpec | np.ndarray]) -> list[Described]:
    """Describe tensors for tfviz.json by name, shape (None for any size) and type."""
    return [{"name": name, "shape": list(one.shape), "dtype": tf.as_dtype(one.dtype).name} for name, one in tensors.items()]


def named_results(explanation: Explanation, manifest: Manifest) -> dict[str, tf.Tensor]:
    """Return the outputs, the target and the attribution, keyed by their names in the manifest.

    Also record in the manifest how the maps are nested.
    """
    maps = tree.flatten(explanation.attribution)
    if len(maps) == 1:
        manifest.attribution = "attribution"
    else:
        manifest.attribution = tree.map_structure(map_name, manifest.input_structure)
    results = dict(zip(flat_names(manifest.outputs), tree.flatten(explanation.outputs), strict=True))
    if explanation.target is not None:
        results["target"] = explanation.target
    return results | dict(zip(flat_names(manifest.attribution), maps, strict=True))


def manifest_of(
    explainer: Explainer, format: str, *, preprocessing: str | Path | Preprocessing | None = None, labels: LabelSource = None
) -> Manifest:
    """Create the manifest for an explainer, without the fields added by the format."""
    inputs = _inputs(explainer)
    graph, whole = explainer.graph, explainer.whole
    names = dict(zip(graph.inputs, (one.name for one in inputs), strict=True))
    outputs = dict(zip(whole.outputs, _output_names(explainer), strict=True))
    layer = getattr(explainer, "layer_path", None)
    can_choose = explainer.takes_target and is_classifier(explainer.graph)
    return Manifest(
        format=format,
        method=explainer.key,
        options={name: value for name, value in explainer.options.items() if name not in ("layer", "class_names")},
        layer=None if layer == "image" else layer,
        model=graph.model_name,
        inputs=inputs,
        input_structure=tree.map_structure(names.__getitem__, graph.input_structure),
        outputs=tree.map_structure(outputs.__getitem__, whole.output_structure),
        attribution="attribution",
        takes_target=explainer.takes_target,
        targets=["top", "class"] if can_choose else [],
        classes=_classes(explainer),
        scores=list(graph.output_structure.shape) if isinstance(graph.output_structure, Value) else None,
        preprocessing=_preprocessing(explainer, preprocessing),
        labels=_labels(explainer, labels),
        style=explainer.style,
        versions={
            "tfviz": tfviz.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "format_version": FORMAT_VERSION,
        },
    )


def _classes(explainer: Explainer) -> int | None:
    shape = explainer.graph.outputs[0].shape
    return shape[-1] if is_classifier(explainer.graph) and shape else None


def _preprocessing(explainer: Explainer, given: str | Path | Preprocessing | None) -> dict[str, Any] | None:
    model = explainer.model
    if given is None:
        known = isinstance(model, keras.Model) and is_preprocessing_known(model)
        return asdict(preprocessing_of(model)) if known else None
    shapes = [value.shape or (None, None, None, 3) for value in explainer.graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] is None:
        raise OptionError(
            f"`preprocessing` needs a model with one input (N, height, width, channels). This model's inputs are {shapes}. "
            "Omit `preprocessing`."
        )
    height, width, channels = shapes[0][1], shapes[0][2], int(shapes[0][3])
    size = (height, width) if height and width else None
    if not isinstance(given, Preprocessing):
        given = preprocessing_from(given, size, channels)
    return asdict(given.for_input(size, channels))


def _labels(explainer: Explainer, given: LabelSource) -> list[str] | None:
    is_model = isinstance(explainer.model, keras.Model)
    names = list((labels_of(explainer.model) if given is None and is_model else labels_from(given)).names)
    classes = _classes(explainer)
    if given is not None and names and classes not in (None, len(names)):
        raise LabelsError(
            f"The number of labels must equal the number of classes, {classes}. Received: {len(names)}. Pass one name per "
            "class."
        )
    return names or None


def _inputs(explainer: Explainer) -> list[Input]:
    graph = explainer.graph
    own = [graph.name_of(value) for value in graph.inputs]
    names = ["images"] if len(own) == 1 else plain_names(f"x_{name}" if name in NO_PARAMETERS else name for name in own)
    found = []
    for name, value in zip(names, graph.inputs, strict=True):
        found.append(Input(name, (None, *value.shape[1:]) if value.shape else (), value.dtype or "float32"))
    return found


def _output_names(explainer: Explainer) -> list[str]:
    names = output_names(explainer.whole)
    inputs = _inputs(explainer)
    maps = [map_name(one.name) for one in inputs] if len(inputs) > 1 else []
    return ["outputs"] if len(names) == 1 else plain_names(names, taken=maps)
