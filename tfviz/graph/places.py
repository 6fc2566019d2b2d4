"""A model's graph as one flat list of places.

A place is one step of the computation: one call of one operation, at one depth of nesting. Nested models are opened, a
layer that is called twice is two places, and a layer with a fused activation is split in two: its linear map, then its
activation. Rules therefore meet each kind of operation in one form only. Places read and write numbered values; a value
is one tensor of the computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from keras import tree

from tfviz.graph.kinds import name_of_function
from tfviz.graph.linear import NOT_LINEAR, LinearMap

Value = int


@dataclass(frozen=True, eq=False)
class Place:
    """One step: `compute(inputs)` reads the tensors of `inputs` and returns those of `outputs`, a flat list.

    `series_axes` counts the axes behind the first that the operation itself does not see: 1 inside a TimeDistributed.
    """

    path: str
    operation: Any
    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    compute: Callable[[Sequence[Any]], list[Any]]
    linear_map: LinearMap = NOT_LINEAR
    function: Any = None
    series_axes: int = 0

    @property
    def activation(self) -> str:
        """The name of the activation function, such as "softmax"; the operation's class name for what is none."""
        function = self.function or getattr(self.operation, "activation", None)
        name = name_of_function(function) if function is not None else type(self.operation).__name__
        return name.lower()


@dataclass
class Graph:
    """A model as places in the order in which they run.

    `shapes[v]` is the shape of value v, with None where it is free. `names` leads from each path that a user may type to
    its value. `inputs` and `outputs` are flat; the structures hold values, nested as the model takes and returns tensors.
    """

    model: Any
    places: list[Place] = field(default_factory=list)
    shapes: list[tuple[int | None, ...]] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    names: dict[str, Value] = field(default_factory=dict)
    layers: dict[str, Any] = field(default_factory=dict)
    input_structure: Any = None
    output_structure: Any = None
    is_traced: bool = False  # whether a part of it was seen by tracing code, and not recorded by Keras

    @property
    def inputs(self) -> list[Value]:
        return tree.flatten(self.input_structure)

    @property
    def outputs(self) -> list[Value]:
        return tree.flatten(self.output_structure)

    def producer(self, value: Value) -> Place | None:
        """The place that makes a value; None for an input."""
        return self._producers.get(value)

    def consumers(self, value: Value) -> list[Place]:
        """The places that read a value."""
        return self._consumers.get(value, [])

    @cached_property
    def ranks(self) -> dict[Value, int]:
        """For each value the largest rank of the inputs that it is made of."""
        ranks = {value: len(self.shapes[value]) for value in self.inputs}
        for place in self.places:
            rank = max((ranks.get(value, 0) for value in place.inputs), default=0)
            ranks.update(dict.fromkeys(place.outputs, rank))
        return ranks

    @cached_property
    def _producers(self) -> dict[Value, Place]:
        return {value: place for place in self.places for value in place.outputs}

    @cached_property
    def _consumers(self) -> dict[Value, list[Place]]:
        readers: dict[Value, list[Place]] = {}
        for place in self.places:
            for value in dict.fromkeys(place.inputs):
                readers.setdefault(value, []).append(place)
        return readers

    def before(self, values: Iterable[Value], given: Iterable[Value] = ()) -> list[Place]:
        """The places that must run, in order, for these values when the `given` ones are known."""
        known, needed, found = set(given), set(values) - set(given), []
        for place in reversed(self.places):
            if needed.intersection(place.outputs):
                found.append(place)
                needed |= set(place.inputs) - known
        return found[::-1]

    def after(self, values: Iterable[Value]) -> set[Value]:
        """These values and all that is computed from them."""
        reached = set(values)
        for place in self.places:
            if reached.intersection(place.inputs):
                reached.update(place.outputs)
        return reached

    def without(self, place: Place) -> Graph:
        """The same graph with a place of one input and one output left out: its readers read its input."""
        (old,), (new,) = place.outputs, place.inputs

        def rename(value: Value) -> Value:
            return new if value == old else value

        places = [replace(other, inputs=tuple(map(rename, other.inputs))) for other in self.places if other is not place]
        return replace(
            self,
            places=places,
            names={path: rename(value) for path, value in self.names.items()},
            output_structure=tree.map_structure(rename, self.output_structure),
        )
