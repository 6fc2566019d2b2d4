"""A model with constant weights, for frozen explainers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext

from tfviz import keras_internals
from tfviz.graph.constant_weights import folded, stem
from tfviz.graph.graph import Graph, Value
from tfviz.reading.read_model import ReadModel, in_place_of_model
from tfviz.variable_copies import VariableCopies


class ConstantModel(ReadModel):
    """A model's graph with the current weights stored as constants.

    Args:
        live: the read model, whose current weights become constants.
        keep: the values that must not change, because a method explains them.
        dtype: the dtype to compute in. If None, each layer computes in its own dtype.
        fold: whether to fold BatchNormalization layers where possible. Folding changes rounding
            errors.

    Attributes:
        form: the arguments `dtype` and `fold`, as a tuple.
    """

    _copies: VariableCopies
    _unfolded: Graph

    def __init__(
        self,
        live: ReadModel,
        keep: Collection[Value],
        dtype: str | None = None,
        fold: bool = True,
    ) -> None:
        super().__init__(live.model, live.graph)
        self.form = dtype, fold
        if isinstance(live, ConstantModel):
            self._copies, self._unfolded = live._copies.copied(), live._unfolded
        else:
            self._copies = VariableCopies(keras_internals.tensorflow_variables(live.model))
            self._unfolded = live.graph
        self._precise = stem(self._unfolded) if dtype else []
        with self.tracing():
            self.graph = folded(self._unfolded, keep, dtype, self._precise) if fold else self._unfolded
        self._faithful_for = live._faithful_for

    def is_current(self) -> bool:
        """Return True, because later changes to the model have no effect on this graph."""
        return True

    @contextmanager
    def tracing(self) -> Iterator[None]:
        dtype = self.form[0]
        precise = [layer for step in self._precise for layer in keras_internals.layers_of(step.layer)]
        policy = keras_internals.computing_in(self.model, dtype, precise) if dtype else nullcontext()
        with self._copies.read_in_place(), policy, super().tracing():
            yield

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Use this graph for all explainers that are created for the model within the block."""
        with in_place_of_model(self):
            yield
