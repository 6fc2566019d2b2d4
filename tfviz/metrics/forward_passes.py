"""Compute a model's logits and probabilities in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import keras
import numpy as np
import tensorflow as tf

from tfviz import keras_internals
from tfviz.errors import ImageError, UnsupportedModelError
from tfviz.graph.backprop import inputs_of, run
from tfviz.graph.graph import Graph, Value
from tfviz.graph.logits import final_activation, is_probability, scored
from tfviz.graph.operations import Sigmoid
from tfviz.metrics.metric import Outputs
from tfviz.reading.read_model import read_model

_RANK = 4


class ForwardPasses:
    """Runs a classifier on any number of images, `batch_size` at a time.

    Probabilities are the softmax of the logits, or the sigmoid if the model ends in a sigmoid. If
    the final activation cannot be removed, the model's outputs serve as both logits and
    probabilities. A single sigmoid unit counts as two classes, as it does for targets.

    Attributes:
        graph: the graph whose outputs are the logits.
        batch_size: the maximum number of images to run at once.
    """

    def __init__(self, model: keras.Model, *, output: str | int | None = None, batch_size: int = 32) -> None:
        """Read the model and check that it is a classifier.

        Args:
            model: a built keras.Model with one image input.
            output: the output that contains the class scores, if there are several outputs.
            batch_size: the maximum number of images to run at once.

        Raises:
            UnsupportedModelError: the model has several inputs, or is not a classifier.
            OptionError: the model has no such output.
        """
        self.batch_size = batch_size
        self._model = model
        self._read = read_model(model, accept_opaque=True)
        whole = self._read.with_output(output)
        _require_classifier(whole)
        self.graph = scored(whole, "logits")
        self._own_probabilities = _own_probabilities(whole)
        self._compiled = tf.function(self._outputs, autograph=False, reduce_retracing=True)

    def classes(self, images: np.ndarray) -> int:
        """Check that the model accepts these images and return the number of classes.

        Raises:
            ImageError: the images do not have shape (N, height, width, channels).
            UnsupportedModelError: the model's outputs do not have shape (N, classes).
        """
        if images.ndim != _RANK:
            raise ImageError(
                f"Metrics need image batches of shape (N, height, width, channels). Received: shape {images.shape}. Choose an "
                "image model."
            )
        self._read.require_faithful([tf.constant(images)], (tuple(images.shape[1:]),))
        logits = self._compiled.get_concrete_function(self._spec(images.shape[1:])).structured_outputs[0]
        if logits.shape.rank != 2 or (logits.shape[1] or 0) < 2:
            raise _not_a_classifier(self.graph, tuple(logits.shape))
        return int(logits.shape[1])

    def all_classes(self, images: np.ndarray) -> np.ndarray:
        """Compute the logits and probabilities of all classes.

        They are stacked in a float32 array of shape (2, N, classes).
        """
        return np.concatenate([np.stack(self._run(batch)) for batch in self._batches(images)], axis=1)

    def one_class(self, images: Iterable[np.ndarray], target: int) -> Outputs:
        """Compute the logits and probabilities for one class.

        Args:
            images: the images, each with shape (H, W, C). At most `batch_size` of them are in
                memory at once.
            target: the class.

        Returns:
            The outputs for all images.
        """
        parts = [np.stack(self._run(batch))[:, :, target] for batch in self._batches(images)]
        logits, probabilities = np.concatenate([np.zeros((2, 0)), *parts], axis=1).astype(np.float64)
        return Outputs(logits, probabilities)

    def _batches(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        rest = iter(images)
        while batch := list(islice(rest, self.batch_size)):
            yield np.stack(batch)

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        function = self._compiled.get_concrete_function(self._spec(batch.shape[1:]))
        return [x.numpy() for x in function(tf.cast(batch, self._dtype))]

    @property
    def _dtype(self) -> tf.DType:
        return tf.as_dtype(self.graph.inputs[0].dtype or tf.float32)

    def _spec(self, size: tuple[int, ...]) -> tf.TensorSpec:
        return tf.TensorSpec((None, *size), self._dtype)

    def _outputs(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with keras_internals.untouched(self._model):
            logits = _output(self.graph, images)
            whole = self._own_probabilities
            p = _output(whole, images) if isinstance(whole, Graph) else whole(logits)
        return logits, p


def _output(graph: Graph, images: tf.Tensor) -> tf.Tensor:
    values = run(inputs_of(graph, [images]), graph.before(graph.outputs))
    return tf.cast(values[graph.outputs[0]], tf.float32)


def _own_probabilities(whole: Graph) -> Graph | Callable[[tf.Tensor], tf.Tensor]:
    """Return a function that converts logits to probabilities, or a graph that outputs them."""
    step = final_activation(whole, whole.outputs[0])
    if step is not None:
        return tf.sigmoid if isinstance(step.operation, Sigmoid) else tf.nn.softmax
    return whole if is_probability(whole, whole.outputs[0]) else tf.nn.softmax


def _require_classifier(graph: Graph) -> None:
    if len(graph.inputs) != 1:
        raise UnsupportedModelError(
            f"Metrics need a model with a single image input, but '{graph.model_name}' has {len(graph.inputs)} inputs. Wrap it "
            "in a model whose only input is an image batch."
        )
    output = graph.output_structure
    if not isinstance(output, Value):
        raise UnsupportedModelError(
            f"Metrics need a single output (N, classes), but '{graph.model_name}' has {len(graph.outputs)} outputs. Choose one "
            "by index or name, such as output=0."
        )
    step = final_activation(graph, output)
    is_binary = output.shape[-1:] == (1,) and step is not None and isinstance(step.operation, Sigmoid)
    if output.shape and (len(output.shape) != 2 or (output.shape[1] == 1 and not is_binary)):
        raise _not_a_classifier(graph, output.shape)


def _not_a_classifier(graph: Graph, shape: tuple[int | None, ...]) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"Metrics need a classifier whose output has shape (N, classes), but the output of '{graph.model_name}' has shape "
        f"{shape}. Evaluate a classifier, or choose another output."
    )
