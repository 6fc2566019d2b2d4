"""Define the signatures of an exported explainer, which depend on the supported targets.

method without a target               serving_default
one output (N, classes)               serving_default, explain, explain_weighted
one output of another shape           serving_default for a fixed target, explain_weighted
several outputs                       serving_default for a fixed function of the outputs
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.class_scores import is_classifier
from tfviz.errors import ExportError, TargetError
from tfviz.export.manifest import Manifest
from tfviz.export.signatures import (
    NO_CLASS,
    TOP_CLASS,
    explained,
    fix_image_shape,
    named_results,
    require_numbers,
    require_sizes,
    specs_of,
)
from tfviz.graph.graph import Shape, Value
from tfviz.nesting import Nested
from tfviz.targets import Prepared, Target

if TYPE_CHECKING:  # Explainer.export imports this package
    from tfviz.methods.explainer import Explainer
    from tfviz.methods.explanation import Explanation

Results = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Request:
    """A signature to export.

    Attributes:
        compute: a function that computes the results, keyed by name, from the images and the
            arguments in `specs`.
        specs: the specs of the arguments that follow the images.
    """

    compute: Callable[..., Results]
    specs: list[tf.TensorSpec] = field(default_factory=list)


def requests_for(explainer: Explainer, manifest: Manifest, target: Target = None) -> dict[str, Request]:
    """Return the signatures, keyed by name, and set the manifest's `targets`.

    Raise TargetError if the target does not fit the model or the method, and ExportError if a
    required target is missing.
    """
    if not explainer.takes_target:
        if target is not None:
            raise TargetError(
                f"{explainer.key} is class-agnostic and does not accept a target. Received: target={target!r}. Omit the target."
            )
        return {"serving_default": Request(lambda *images: _results(explainer.compute(list(images)), manifest))}
    fixed = _fixed(explainer, manifest, target)
    if is_classifier(explainer.graph):
        return _of_classes(explainer, manifest, fixed)
    manifest.targets = ["fixed"]
    requests = {"serving_default": _always(explainer, manifest, fixed)}
    if isinstance(explainer.graph.output_structure, Value):
        manifest.targets.append("weights")
        requests["explain_weighted"] = _weighted(explainer, manifest)
    return requests


def one_request(explainer: Explainer, manifest: Manifest, target: Target, image_shape: Shape | None, what: str) -> Request:
    """Return the single request for a format whose files contain a single function.

    The function accepts the images and, if a class can be chosen at run time, the classes.

    Args:
        explainer: the explainer to export.
        manifest: the manifest. Its image shape and targets are set.
        target: a fixed target, or None to choose the class at run time.
        image_shape: the (height, width, channels) of the images, if the model does not fix it.
        what: a name for the exported file in error messages, such as "An ONNX file".

    Returns:
        The request.

    Raises:
        ExportError, OptionError, TargetError: see `require_numbers`, `fix_image_shape`,
            `require_sizes` and `requests_for`.
    """
    require_numbers(manifest, what)
    fix_image_shape(manifest, image_shape)
    require_sizes(manifest, what)
    if target is not None or not (explainer.takes_target and is_classifier(explainer.graph)):
        request = requests_for(explainer, manifest, target)["serving_default"]
        manifest.targets = ["fixed"] if explainer.takes_target else []
        return request
    manifest.targets = ["top", "class"]
    classes = tf.TensorSpec([None], tf.int32, "target")
    return Request(lambda *given: named_results(explained(explainer, [*given[:-1]], given[-1]), manifest), [classes])


def _fixed(explainer: Explainer, manifest: Manifest, target: Target) -> Prepared:
    """Return the target explained by serving_default, as converted by `targets.prepare`."""
    shapes = _score_shapes(explainer)
    if target is None and not is_classifier(explainer.graph):
        raise ExportError(
            f"The model '{manifest.model}' returns {shapes} instead of a single output (N, classes), so there is no top class "
            "to explain. Pass a target to export(path, target=...): a function `outputs -> (N,)` or, for a map of classes, "
            "tfviz.At(class, mask). Alternatively, choose one output when you build the explainer: output=0."
        )
    prepared: Any = targets.prepare(target, shapes, None)
    if tf.is_tensor(prepared) and prepared.shape[0] != 1:
        raise TargetError(
            f"An export has a single fixed target for all images. Received: {prepared.shape[0]} targets, one per image. Pass "
            "a single target, or pass the targets when you call the exported explainer."
        )
    return prepared


def _score_shapes(explainer: Explainer) -> Nested[Shape]:
    return tree.map_structure(lambda value: value.shape, explainer.graph.output_structure)


def _of_classes(explainer: Explainer, manifest: Manifest, fixed: tf.Tensor | None) -> dict[str, Request]:
    """Return the three signatures of a classifier.

    They share one graph, because explaining a class is the same as weighting its output by 1.
    """
    manifest.targets = ["top" if fixed is None else "fixed", "class", "weights"]
    classes = manifest.classes
    target, weights = tf.TensorSpec([None], tf.int32, "target"), tf.TensorSpec([None, classes], tf.float32, "weights")
    none = tf.zeros([1, classes or 1])

    def all_ways(*given: tf.Tensor) -> Results:
        *images, target, weights = given
        return _results(explained(explainer, images, target, weights), manifest)

    graph = tf.function(all_ways, input_signature=[*specs_of(manifest), target, weights], autograph=False)

    def default(*images: tf.Tensor) -> Results:
        if fixed is None or fixed.dtype == tf.int32:
            return graph(*images, tf.fill(tf.shape(images[0])[:1], TOP_CLASS if fixed is None else fixed[0]), none)
        return _without_target(graph(*images, [NO_CLASS], fixed))

    def of_class(*given: tf.Tensor) -> Results:
        *images, target = given
        return graph(*images, _checked(target, classes, tf.shape(images[0])[0]), none)

    def weighted(*given: tf.Tensor) -> Results:
        *images, weights = given
        return _without_target(graph(*images, [NO_CLASS], weights))

    return {
        "serving_default": _always(explainer, manifest, fixed) if callable(fixed) else Request(default),
        "explain": Request(of_class, [target]),
        "explain_weighted": Request(weighted, [weights]),
    }


def _checked(target: tf.Tensor, classes: int | None, count: tf.Tensor) -> tf.Tensor:
    """Broadcast the classes to shape (N,) and check them at run time.

    Without this check, an invalid class would produce a map of zeros.
    """
    fits = (target >= TOP_CLASS) & (target < (classes if classes is not None else target.dtype.max))
    valid = f"from 0 to {classes - 1}" if classes is not None else "of at least 0"
    message = f"`target` must contain classes {valid}, or -1 for the top class. Received:"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(fits), [message, target])]):
        return tf.broadcast_to(target, [count])


def _always(explainer: Explainer, manifest: Manifest, fixed: Prepared) -> Request:
    return Request(lambda *images: _results(explainer.compute(list(images), fixed), manifest))


def _weighted(explainer: Explainer, manifest: Manifest) -> Request:
    shape = explainer.graph.outputs[0].shape
    spec = tf.TensorSpec([None, *shape[1:]], tf.float32, "weights")
    return Request(lambda *given: _results(explainer.compute(list(given[:-1]), given[-1]), manifest), [spec])


def _results(explanation: Explanation, manifest: Manifest) -> Results:
    return named_results(explanation, manifest)


def _without_target(results: Results) -> Results:
    return {name: value for name, value in results.items() if name != "target"}
