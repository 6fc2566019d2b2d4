"""What goes into an exported explainer and what comes out, under which names.

Every format holds one computation, `explained`: images and a class for each go in, the outputs, the class and the map come
out. The class −1 means the top class, so that a file needs one graph for both ways to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
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

if TYPE_CHECKING:  # Explainer.export imports this package
    from tfviz.methods.explainer import Explainer
    from tfviz.methods.explanation import Explanation

TOP_CLASS, NO_CLASS = -1, -2


class Described(TypedDict):
    """A tensor in tfviz.json. None in a shape is free."""

    name: str
    shape: list[int | None]
    dtype: str


def explained(
    explainer: Explainer, images: list[tf.Tensor], target: tf.Tensor, weights: tf.Tensor | None = None
) -> Explanation:
    """The computation that is exported, to be traced on symbolic tensors.

    Args:
        images: one tensor for each input of the model.
        target: (N,) or (1,) int32 classes; TOP_CLASS asks for an image's top class, and NO_CLASS for none, where the
            weights say it all. Left aside where the method takes no target.
        weights: (N or 1, classes) float32, added to the class's 1; None for none.

    Returns: outputs; target (N,) int32; attribution (see `Explanation`).
    """
    if not explainer.takes_target:
        return explainer.compute(images)
    classes = []

    def score(logits: tf.Tensor) -> tf.Tensor:
        if len(logits.shape) != 2:
            raise TargetError(
                f"the model's output is {tuple(logits.shape)}, not (N, classes); fix a target: export(target=...)"
            )
        top = tf.argmax(logits, axis=-1, output_type=tf.int32)
        classes.append(tf.where(tf.equal(target, TOP_CLASS), top, target))
        # No tf.one_hot: in ONNX it counts a negative class from the end, and NO_CLASS is to be none.
        seed = tf.cast(tf.equal(classes[-1][:, None], tf.range(tf.shape(logits)[-1])), logits.dtype)
        if weights is not None:
            seed += tf.cast(weights, logits.dtype)
        return tf.reduce_sum(logits * tf.stop_gradient(seed), axis=-1)

    explanation = explainer.compute(images, score)
    return explanation._replace(target=tf.broadcast_to(classes[0], tf.shape(images[0])[:1]))


def fix_image_shape(manifest: Manifest, image_shape: Shape | None) -> None:
    """Gives the manifest's one input a shape (height, width, channels), where the model leaves it free or does not say.

    The preprocessing of pictures learns it too. Raises OptionError where it does not fit, ExportError where it is needed.
    """
    if image_shape is None:
        if silent := [one.name for one in manifest.inputs if not one.shape]:
            raise ExportError(
                f"the model '{manifest.model}' does not say which {silent[0]} it takes; say it: image_shape=(height, width, "
                "channels), with None where it is free"
            )
        return
    (own,) = manifest.inputs if len(manifest.inputs) == 1 else (None,)
    is_shape = isinstance(image_shape, (tuple, list)) and all(n is None or (isinstance(n, int) and n > 0) for n in image_shape)
    if own is None or not is_shape:
        raise OptionError(
            f"image_shape: expected (height, width, channels), for a model with one input; got {image_shape!r} for a model "
            f"with {len(manifest.inputs)}"
        )
    fits = not own.shape or (
        len(image_shape) == len(own.shape) - 1
        and all(n is None or m in (None, n) for m, n in zip(own.shape[1:], image_shape, strict=True))
    )
    if not fits:
        raise OptionError(f"image_shape: the model takes {own.shape[1:]}; got {tuple(image_shape)}")
    merged = [n if n is not None else m for n, m in zip(image_shape, own.shape[1:] or image_shape, strict=True)]
    manifest.inputs = [Input(own.name, (None, *merged), own.dtype)]
    if (preprocessing := manifest.picture_preprocessing) is not None and len(merged) == 3:
        height, width, channels = merged
        size = (height, width) if height and width else None
        manifest.preprocessing = asdict(preprocessing.for_input(size, channels or preprocessing.channels))


def require_sizes(manifest: Manifest, what: str) -> None:
    """Raises ExportError where the size of an input is free; `what` is for one size only."""
    for one in manifest.inputs:
        if None in one.shape[1:]:
            raise ExportError(
                f"{what} is for one size of images, and the model '{manifest.model}' leaves it free: {one.name} is "
                f"{one.shape[1:]}. Say it: image_shape=(height, width, channels)"
            )


def specs_of(manifest: Manifest) -> list[tf.TensorSpec]:
    """What the exported computation takes as images, with the names of the manifest."""
    return [tf.TensorSpec(one.shape, one.dtype, one.name) for one in manifest.inputs]


def listed(tensors: Mapping[str, tf.Tensor | tf.TensorSpec | np.ndarray]) -> list[Described]:
    """What tfviz.json says of tensors: names, shapes (None is free) and types."""
    return [{"name": name, "shape": list(one.shape), "dtype": tf.as_dtype(one.dtype).name} for name, one in tensors.items()]


def named_results(explanation: Explanation, manifest: Manifest) -> dict[str, tf.Tensor]:
    """Outputs, target and attribution under their names in the manifest, which learns here how the maps are nested."""
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
    """The manifest of an explainer, as far as it is known before the explainer is written."""
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
            f"preprocessing: it is for models with one input (N, height, width, channels); this one takes {shapes}"
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
        raise LabelsError(f"The labels are {len(names)} names; the model has {classes} classes.")
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
