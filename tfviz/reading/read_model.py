"""A model as it was read: once, and shared by all that explain it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias
from weakref import WeakValueDictionary

import keras
import tensorflow as tf

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.graph.graph import Graph
from tfviz.graph.logits import scored, with_output
from tfviz.reading.fidelity import noise_for, require_faithful
from tfviz.reading.reader import graph_of, graph_of_anything

Model: TypeAlias = keras.Model | Callable[[tf.Tensor], tf.Tensor]
Sizes = tuple[tuple[int | None, ...], ...]  # of each input, without the batch


class ReadModel:
    """The graph of a model, with and without its final activation, and whether it is still what the model computes.

    Use `read_model`, which reads a model once.

    Attributes:
        model: the model.
        graph: its graph, all outputs as the model gives them.
    """

    def __init__(self, model: Model, graph: Graph) -> None:
        self.model, self.graph = model, graph
        self._layers = keras_internals.layers_of(model)
        self._state = keras_internals.state_of(self._layers)
        self._faithful_for: set[Sizes] = set()

    @property
    def is_opaque(self) -> bool:
        """Whether the whole model is one opaque step."""
        return any(step.layer is self.model for step in self.graph.steps)

    def is_current(self) -> bool:
        """Whether the layers are as they were: no quantize(), enable_lora(), other activation, pop() or add() since."""
        now = keras_internals.state_of(self._layers)
        return all(new is old for new, old in zip(now, self._state, strict=True))

    def with_output(self, output: str | int | None) -> Graph:
        """The graph with one of several outputs (see `graph.logits.with_output`)."""
        return with_output(self.graph, output)

    def scored(self, score: str, output: str | int | None = None) -> Graph:
        """The graph whose outputs are the score (see `graph.logits.scored`). It shares its values with `graph`."""
        return scored(self.with_output(output), score)

    def require_faithful(self, images: Sequence[tf.Tensor], sizes: Sizes) -> None:
        """Compares a graph that was seen by tracing with its model, once for each image size.

        Args:
            images: the images; where they have no values, because a user's function is being traced, noise takes their place.
            sizes: the size of each input.

        Raises:
            UnsupportedModelError: the two differ.
        """
        if not self.graph.is_traced or sizes in self._faithful_for or any(None in size for size in sizes):
            return
        has_values = bool(images) and all(hasattr(x, "numpy") for x in images)
        with tf.init_scope():
            require_faithful(self.graph, list(images) if has_values else noise_for(self.graph, sizes))
        self._faithful_for.add(sizes)


_known: WeakValueDictionary[int, ReadModel] = WeakValueDictionary()


def read_model(model: Model, *, accept_opaque: bool = False) -> ReadModel:
    """Reads a model, or returns what was read of it before, as long as anybody holds that and the model has not changed.

    Args:
        model: a built keras.Model; with `accept_opaque` any function of images.
        accept_opaque: whether a model that cannot be traced becomes a graph of one opaque step.

    Raises:
        UnsupportedModelError: a model that cannot be read.
    """
    _require_tensorflow(model)
    known = _known.get(id(model))
    if known is None or known.model is not model or not known.is_current():
        known = ReadModel(model, graph_of_anything(model) if accept_opaque else graph_of(model))
        _known[id(model)] = known
    if not accept_opaque and known.is_opaque:
        graph_of(model)  # raises the reason
    return known


def _require_tensorflow(model: Model) -> None:
    """Raises where Keras runs on another backend, eager execution is off, or the model is one of Keras 2."""
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError(
            f"tfviz needs Keras on TensorFlow, and Keras runs on {keras.backend.backend()}. Set the environment variable "
            "KERAS_BACKEND=tensorflow before keras is imported, and load the model again; its file fits."
        )
    if not tf.compat.v1.executing_eagerly_outside_functions():
        raise UnsupportedModelError(
            "tfviz needs TensorFlow's eager execution, which is off. Remove tf.compat.v1.disable_eager_execution() or "
            "tf.compat.v1.disable_v2_behavior()."
        )
    if not isinstance(model, keras.Layer) and any(cls.__module__.startswith("tf_keras.") for cls in type(model).__mro__):
        raise UnsupportedModelError(
            f"'{getattr(model, 'name', 'model')}' is a model of Keras 2 (tf_keras), and tfviz reads models of Keras 3. Save it "
            "by model.save('model.h5') and load it by tfviz.load_model('model.h5')."
        )
