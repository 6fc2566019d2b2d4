"""Read a model's graph once and share it among all explainers for the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias
from weakref import WeakValueDictionary

import keras
import tensorflow as tf

from tfviz import keras_internals
from tfviz.graph.graph import Graph
from tfviz.graph.logits import scored, with_output
from tfviz.keras_internals import require_tensorflow
from tfviz.reading.fidelity import noise_for, require_faithful
from tfviz.reading.reader import graph_of, graph_of_anything

Model: TypeAlias = keras.Model | Callable[[tf.Tensor], tf.Tensor]
Sizes = tuple[tuple[int | None, ...], ...]  # each input's size without the batch axis


class ReadModel:
    """A model's graph, with and without its final activation.

    Create instances with `read_model`, which reads each model only once.

    Attributes:
        model: the model.
        graph: the model's graph, with all outputs unchanged.
    """

    def __init__(self, model: Model, graph: Graph) -> None:
        self.model, self.graph = model, graph
        self._layers = keras_internals.layers_of(model)
        self._state = keras_internals.state_of(self._layers)
        self._faithful_for: set[Sizes] = set()

    @property
    def is_opaque(self) -> bool:
        """Whether the entire model is a single opaque step."""
        return any(step.layer is self.model for step in self.graph.steps)

    def is_current(self) -> bool:
        """Return whether the layers are unchanged since the model was read.

        For example, `quantize()`, `enable_lora()`, `pop()`, `add()` and a new activation change
        them.
        """
        now = keras_internals.state_of(self._layers)
        return all(new is old for new, old in zip(now, self._state, strict=True))

    def with_output(self, output: str | int | None) -> Graph:
        """Return the graph reduced to one of its outputs (see `graph.logits.with_output`)."""
        return with_output(self.graph, output)

    def scored(self, score: str, output: str | int | None = None) -> Graph:
        """Return a graph that outputs the score and shares its values with `graph`.

        Args:
            score: "logits" or "outputs" (see `graph.logits.scored`).
            output: the output to explain. If None, all outputs are kept.
        """
        return scored(self.with_output(output), score)

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Prevent side effects on the model while the graph's steps run in this block."""
        with keras_internals.untouched(self.model):
            yield

    def require_faithful(self, images: Sequence[tf.Tensor], sizes: Sizes) -> None:
        """Check once per image size that a traced graph computes the same outputs as its model.

        Args:
            images: the images. While a function is being traced, they have no values, so noise is
                used instead.
            sizes: each input's size without the batch axis.

        Raises:
            UnsupportedModelError: the graph's outputs differ from the model's.
        """
        if not self.graph.is_traced or sizes in self._faithful_for or any(None in size for size in sizes):
            return
        has_values = bool(images) and all(hasattr(x, "numpy") for x in images)
        with tf.init_scope():
            require_faithful(self.graph, list(images) if has_values else noise_for(self.graph, sizes))
        self._faithful_for.add(sizes)


_known: WeakValueDictionary[int, ReadModel] = WeakValueDictionary()
_in_place: ContextVar[ReadModel | None] = ContextVar("read_in_place", default=None)


@contextmanager
def in_place_of_model(read: ReadModel) -> Iterator[None]:
    """Within the block, make `read_model` return `read` when it is called with its model."""
    token = _in_place.set(read)
    try:
        yield
    finally:
        _in_place.reset(token)


def read_model(model: Model, *, accept_opaque: bool = False) -> ReadModel:
    """Read a model, or return the cached result if the model has not changed.

    The cache holds weak references, so an entry lives only as long as an explainer uses it.

    Args:
        model: a built keras.Model or, with `accept_opaque`, any function of images.
        accept_opaque: whether to represent a model that cannot be traced as one opaque step.

    Raises:
        UnsupportedModelError: the model cannot be read.
    """
    require_tensorflow(model)
    given = _in_place.get()
    if given is not None and given.model is model:
        return given
    known = _known.get(id(model))
    if known is None or known.model is not model or not known.is_current():
        known = ReadModel(model, graph_of_anything(model) if accept_opaque else graph_of(model))
        _known[id(model)] = known
    if not accept_opaque and known.is_opaque:
        graph_of(model)  # raises an error with the reason
    return known
