"""Compute class scores from a model's outputs and rank the classes.

A model is a classifier if it has a single output of shape (N, classes). A single sigmoid unit
counts as two classes, as it does for targets: if its output is p, class 0 scores 1 − p and class 1
scores p.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfviz import keras_internals
from tfviz.errors import ImageError, UnsupportedModelError, first_line
from tfviz.graph.backprop import inputs_of, run
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.logits import ends_in_sigmoid, final_activation
from tfviz.graph.operations import Sigmoid
from tfviz.nesting import Nested
from tfviz.reading.read_model import read_model

_TIES = 5  # galleries and tables show this many top classes, so ties among these are broken


def is_classifier(graph: Graph) -> bool:
    """Return whether the model has a single output whose shape is (N, classes) or unknown."""
    output = graph.output_structure
    return isinstance(output, Value) and output.rank in (0, 2)


def both_classes(p: np.ndarray) -> np.ndarray:
    """Convert the (N, 1) output of a single sigmoid unit to (N, 2) class scores."""
    return np.concatenate([1 - p, p], axis=1)


@dataclass(frozen=True)
class ClassScores:
    """The class scores for a batch or for one image.

    Attributes:
        values: the scores, a float32 array of shape (N, classes) or (classes,).
        ranked: the classes sorted by descending score, an int32 array of the same shape. The logits
            break ties between probabilities. If the logits are also equal, the lower class number
            comes first.
    """

    values: np.ndarray
    ranked: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, image: int) -> ClassScores:
        return ClassScores(self.values[image], self.ranked[image])


def ranked_classes(scores: np.ndarray, logits: np.ndarray | None = None) -> np.ndarray:
    """Sort each image's classes by descending score.

    Args:
        scores: the scores, with shape (N, classes).
        logits: the logits that break ties, with shape (N, classes). If they are None or also equal,
            the lower class number comes first.

    Returns:
        The classes, an int32 array of shape (N, classes).
    """
    order = np.argsort(-(scores if logits is None else logits), axis=-1, kind="stable")
    by_score = np.argsort(-np.take_along_axis(scores, order, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(order, by_score, axis=-1).astype(np.int32)


def predictions(outputs: object, graph: Graph) -> list[tuple[int, float] | None]:
    """Return each image's top class and its score (see `scores_of`).

    Args:
        outputs: the model's outputs for a batch.
        graph: the model's graph with its final activation.
    """
    return scores_of(None, outputs, graph)


def scores_of(classes: np.ndarray | None, outputs: object, graph: Graph) -> list[tuple[int, float] | None]:
    """Return a class and its score for each image.

    The entry is None if the outputs are not class scores, or if any score of the image is not
    finite.

    Args:
        classes: an integer array with one class per image, or None for the top class.
        outputs: the model's outputs for a batch.
        graph: the model's graph with its final activation.
    """
    flat = keras.tree.flatten(outputs)
    if len(flat) != 1 or flat[0].ndim != 2:
        return [None] * (len(flat[0]) if flat else 0)
    scores = flat[0]
    if scores.shape[1] == 1:
        if not ends_in_sigmoid(graph):  # the output is a regression value
            return [None] * len(scores)
        scores = both_classes(scores)
    chosen = scores.argmax(axis=1) if classes is None else classes
    pairs = zip(chosen, scores, strict=True)
    return [(int(place), float(row[place])) if np.isfinite(row).all() else None for place, row in pairs]


class Classifier:
    """Computes class scores from images with a compiled forward pass.

    Attributes:
        classes: the number of classes, or None if the model does not have a single output of shape
            (N, classes).
        kind: "probability" if the model ends in a softmax or sigmoid, otherwise "output".
    """

    def __init__(self, model: keras.Model) -> None:
        shapes = [tuple(tensor.shape) for tensor in model.outputs]
        is_one_row = len(shapes) == 1 and len(shapes[0]) == 2
        activation = _final_activation_of(model)
        self.kind = "output" if activation is None else "probability"
        self._is_binary = shapes == [(None, 1)] and activation is not None and isinstance(activation.operation, Sigmoid)
        self.classes: int | None = (2 if self._is_binary else shapes[0][1]) if is_one_row else None
        self._forward = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)],
            autograph=False,
        )
        self._model = model
        self._logits: Callable[[np.ndarray], tf.Tensor] | None = None  # compiled on first use

    def scores(self, images: np.ndarray) -> ClassScores | None:
        """Compute the class scores for preprocessed images of shape (N, H, W, C).

        Returns:
            The scores, or None if the model is not a classifier.

        Raises:
            ImageError: the model does not support the image size.
        """
        if self.classes is None:
            return None
        try:
            outputs = self._forward(images)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            size = "x".join(map(str, images.shape[1:3]))
            raise ImageError(
                f"The model does not support images of {size} pixels ({first_line(error)}). Resize the images."
            ) from error
        return self.scores_from(outputs, images)

    def scores_from(
        self, outputs: Nested[tf.Tensor], images: np.ndarray, logits: tf.Tensor | None = None
    ) -> ClassScores | None:
        """Compute the class scores from the model's outputs.

        Args:
            outputs: the model's outputs for the images, after its final activation.
            images: the preprocessed images, with shape (N, H, W, C).
            logits: the outputs before the final activation. If None, the model computes them again
                for images whose top classes have equal scores.

        Returns:
            The scores, or None if the model is not a classifier.
        """
        if self.classes is None:
            return None
        scores = np.asarray(tf.nest.flatten(outputs)[0], np.float32)
        scores = both_classes(scores) if self._is_binary else scores
        return ClassScores(scores, ranked_classes(scores, self._tie_breakers(images, scores, logits)))

    def _tie_breakers(self, images: np.ndarray, scores: np.ndarray, logits: tf.Tensor | None) -> np.ndarray | None:
        """Return logits of shape (N, classes) if any top probabilities are equal, otherwise None.

        The logits can break ties, because a saturated sigmoid or softmax maps different logits to
        the same probability.
        """
        best = -np.partition(-scores, min(_TIES, scores.shape[1] - 1), axis=1)[:, : _TIES + 1]
        if self.kind != "probability" or (np.diff(np.sort(best, axis=1), axis=1) > 0).all():
            return None
        if logits is None:
            self._logits = self._logits or _logits_of(self._model)
            logits = self._logits(images)
        return np.asarray(logits, np.float32)


def _final_activation_of(model: keras.Model) -> Step | None:
    try:
        graph = read_model(model).graph
    except UnsupportedModelError:
        # A forward pass works without the graph. Each method reports why the model can't be read.
        return None
    return final_activation(graph, graph.outputs[0])


def _logits_of(model: keras.Model) -> Callable[[np.ndarray], tf.Tensor]:
    """Compile a function that computes logits of shape (N, classes) from images."""
    graph = read_model(model).scored("logits")

    def logits(images: tf.Tensor) -> tf.Tensor:
        with keras_internals.untouched(model):
            return run(inputs_of(graph, [images]), graph.before(graph.outputs))[graph.outputs[0]]

    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    return tf.function(logits, input_signature=[spec], autograph=False)
