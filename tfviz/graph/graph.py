"""Represent a model as one flat list of typed steps.

A step is one call to one operation, at any nesting depth. Nested models are flattened, a layer
called twice becomes two steps, and a layer with a fused activation becomes one step for its linear
map and one for its activation. Rules therefore see each kind of operation in only one form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

import keras
from keras import tree

from tfviz.graph.operations import Constant, Operation, Reshape

if TYPE_CHECKING:
    import tensorflow as tf

    from tfviz.nesting import Nested

Shape = tuple[int | None, ...]


class Value:
    """One tensor in the computation.

    Attributes:
        shape: the shape, with None for each unknown size, or () if the rank is unknown.
        dtype: the dtype name, or None if it is unknown.
        symbol: the Keras symbolic tensor, or None if there is none.
    """

    __slots__ = ("dtype", "shape", "symbol")

    def __init__(self, shape: Sequence[int | None], dtype: str | None = None, symbol: keras.KerasTensor | None = None) -> None:
        self.shape: Shape = tuple(shape)
        self.dtype, self.symbol = dtype, symbol

    @classmethod
    def of(cls, symbol: keras.KerasTensor) -> Value:
        """Create the value for a symbolic tensor."""
        return cls(symbol.shape, keras.backend.standardize_dtype(symbol.dtype), symbol)

    @property
    def rank(self) -> int:
        return len(self.shape)


O_co = TypeVar("O_co", bound=Operation, covariant=True)


@dataclass(frozen=True, eq=False)
class Step(Generic[O_co]):
    """One call to one operation.

    Attributes:
        path: the path that users type, such as "backbone/conv1".
        operation: what the step computes.
        inputs, outputs: the values that the step reads and computes.
        compute: a function that computes the list of output tensors from the input tensors.
        layer: the Keras layer or operation that the step calls, if any.
        time_axes: the number of axes after the batch axis that are hidden from the operation, such
            as 1 inside a TimeDistributed layer.
    """

    path: str
    operation: O_co
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    compute: Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]
    layer: keras.Operation | None = None
    time_axes: int = 0

    @property
    def label(self) -> str:
        """The step's name in messages."""
        return f"'{self.path}' ({self.operation.name})"

    @property
    def signal_inputs(self) -> tuple[Value, ...]:
        """The inputs that carry the signal, excluding gates; empty for a constant."""
        if isinstance(self.operation, Constant):
            return ()
        return self.inputs if self.operation.signal is None else (self.inputs[self.operation.signal],)


@dataclass
class Graph:
    """A model represented as a list of steps in execution order.

    Attributes:
        model: the model that was read.
        steps: the steps.
        names: a dict that maps each path that users may type to its value.
        layers: a dict that maps each path to its layer or operation.
        input_structure, output_structure: the input and output values, nested like the model's
            tensors.
        is_traced: whether some steps come from tracing code rather than from Keras' recorded graph.
        compute_dtype: the dtype to compute in, or None for each layer's dtype.
    """

    model: keras.Model
    steps: list[Step] = field(default_factory=list)
    names: dict[str, Value] = field(default_factory=dict)
    layers: dict[str, keras.Operation] = field(default_factory=dict)
    input_structure: Nested[Value] = ()
    output_structure: Nested[Value] = ()
    is_traced: bool = False
    compute_dtype: str | None = None

    @property
    def inputs(self) -> list[Value]:
        return tree.flatten(self.input_structure)

    @property
    def outputs(self) -> list[Value]:
        return tree.flatten(self.output_structure)

    @property
    def model_name(self) -> str:
        """The model's name in messages."""
        return str(getattr(self.model, "name", None) or getattr(self.model, "__name__", type(self.model).__name__))

    def is_half_precision(self) -> bool:
        """Return whether any value is float16."""
        return any(value.dtype == "float16" for value in self.values)

    @property
    def values(self) -> Iterable[Value]:
        """All values, inputs first."""
        yield from self.inputs
        for step in self.steps:
            yield from step.outputs

    def producer(self, value: Value) -> Step | None:
        """Return the step that computes a value, or None for an input."""
        return self._producers.get(value)

    def consumers(self, value: Value) -> list[Step]:
        """Return the steps that read a value."""
        return self._consumers.get(value, [])

    def name_of(self, value: Value) -> str:
        """Return the path of the step that computes a value, or an input's name."""
        step = self.producer(value)
        return step.path if step else next(name for name, other in self.names.items() if other is value)

    @cached_property
    def ranks(self) -> dict[Value, int]:
        """The largest rank among the inputs that each value depends on, keyed by value."""
        ranks = {value: value.rank for value in self.inputs}
        for step in self.steps:
            rank = max((ranks.get(value, 0) for value in step.inputs), default=0)
            ranks.update(dict.fromkeys(step.outputs, rank))
        return ranks

    @cached_property
    def constants(self) -> set[Value]:
        """The values that do not depend on the inputs, except possibly on their sizes."""
        found: set[Value] = set()
        for step in self.steps:
            inputs = step.signal_inputs if isinstance(step.operation, Reshape) else step.inputs
            if isinstance(step.operation, Constant) or found.issuperset(inputs):
                found.update(step.outputs)
        return found

    @cached_property
    def _producers(self) -> dict[Value, Step]:
        return {value: step for step in self.steps for value in step.outputs}

    @cached_property
    def _consumers(self) -> dict[Value, list[Step]]:
        readers: dict[Value, list[Step]] = {}
        for step in self.steps:
            for value in dict.fromkeys(step.inputs):
                readers.setdefault(value, []).append(step)
        return readers

    def before(self, values: Iterable[Value], given: Iterable[Value] = ()) -> list[Step]:
        """Return the steps, in execution order, that compute these values from those in `given`."""
        known, needed, found = set(given), set(values) - set(given), []
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                found.append(step)
                needed |= set(step.inputs) - known
        return found[::-1]

    def after(self, values: Iterable[Value]) -> set[Value]:
        """Return the given values and every value that depends on them."""
        reached = set(values)
        for step in self.steps:
            if reached.intersection(step.inputs):
                reached.update(step.outputs)
        return reached

    def signal_path(self, at: Iterable[Value]) -> list[Step]:
        """Return the steps that carry the signal from `at` to the outputs, excluding gates."""
        reached = self.after(at)
        needed, found = set(self.outputs), []
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                carrying = reached.intersection(step.signal_inputs)
                if carrying:
                    found.append(step)
                    needed |= carrying
        return found[::-1]

    def without(self, step: Step) -> Graph:
        """Return the graph without a step. Steps that read its output now read its input."""
        (old,), (new,) = step.outputs, step.inputs

        def rename(value: Value) -> Value:
            return new if value is old else value

        steps = [replace(other, inputs=tuple(map(rename, other.inputs))) for other in self.steps if other is not step]
        return replace(
            self,
            steps=steps,
            names={path: rename(value) for path, value in self.names.items()},
            output_structure=tree.map_structure(rename, self.output_structure),
        )
