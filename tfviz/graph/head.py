"""The score: what a model says before its last softmax or sigmoid.

A softmax ties the classes together (more of one is less of the others) and, where it is sure, has no gradient left. The
logits before it are what every method here explains, unless asked for the outputs as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras import layers, ops, tree

from tfviz.errors import OptionError, UnsupportedModelError, warn
from tfviz.graph.gating import gated_input
from tfviz.graph.inner_operations import last_operation
from tfviz.graph.layers import model_name
from tfviz.graph.places import Graph, Place, Value

_AT_THE_END = ("softmax", "sigmoid")
_MERGING = (layers.Average, layers.Maximum, layers.Minimum, layers.Subtract)
_PASSED_OVER = ("identity", "reshape")
TWO_CLASSES = "two_classes"  # the path of the place that makes two classes of one sigmoid unit


def scored(graph: Graph, score: str) -> Graph:
    """The graph whose outputs are the score.

    score="logits": every output that ends in a softmax or a sigmoid is taken before it, fused or not and at any depth of
    nesting; other outputs stay as they are. One sigmoid unit becomes two classes: 0 with the logit −z, and 1 with z.
    score="outputs": the outputs as they are.
    """
    if score not in ("logits", "outputs"):
        raise OptionError(f"score must be 'logits' or 'outputs', got {score!r}")
    if score == "outputs":
        return graph
    for number in range(len(graph.outputs)):
        place, beside = last_activation(graph, graph.outputs[number]), _last_activations(graph, graph.outputs[number])
        if place is not None:
            graph = _taken_off(graph, number, place)
            if place.activation == "sigmoid" and graph.shapes[graph.outputs[number]][-1:] == (1,):
                graph = _as_two_classes(graph, number)
        elif beside is not None and all(_is_read_once(graph, one) for one in beside):
            for one in beside:
                graph = graph.without(next(place for place in graph.places if place.outputs == one.outputs))
        else:
            _warn_of_what_stays_on(graph, graph.outputs[number])
    return graph


def _last_activations(graph: Graph, output: Value) -> list[Place] | None:
    """The softmaxes and sigmoids at the ends of all that is put together to an output; None where one ends in anything else."""
    place = graph.producer(output)
    if place is None:
        return None
    if place.kind == "activation" and place.activation in _AT_THE_END:
        return [place]
    if place.kind not in _PASSED_OVER or not place.inputs:
        return None
    parts = [_last_activations(graph, value) for value in place.inputs]
    return None if any(part is None for part in parts) else [one for part in parts for one in part or ()]


def _is_read_once(graph: Graph, place: Place) -> bool:
    """Whether an activation is on one way only, which leads to one output."""
    (value,) = place.outputs
    while value not in graph.outputs:
        readers = graph.consumers(value)
        if len(readers) != 1 or len(readers[0].outputs) != 1:
            return False
        (value,) = readers[0].outputs
    return graph.outputs.count(value) == 1 and not graph.consumers(value)


def _warn_of_what_stays_on(graph: Graph, output: Value) -> None:
    """Warns of a softmax or sigmoid that the output is made of, without a linear map between, and that is not at its end."""
    wanted, seen = [output], set()
    while wanted:
        place = graph.producer(wanted.pop())
        if place in seen:
            continue
        seen.add(place)
        if place is None or place.kind == "linear" or (place.kind == "other" and not _is_arithmetic(place.operation)):
            continue
        if place.kind == "activation" and place.activation in _AT_THE_END:
            warn(
                f"the outputs of '{model_name(graph)}' are computed from a {place.activation} ('{place.path}') that cannot be "
                "taken off, so that they are explained as they are: where it is sure, nothing moves it. score='outputs' says "
                "that this is meant"
            )
            return
        wanted += [place.inputs[gated_input(graph, place)]] if place.kind == "multiply" else place.inputs


def _is_arithmetic(operation: Any) -> bool:
    return not isinstance(operation, layers.Layer) or isinstance(operation, _MERGING)


def _taken_off(graph: Graph, number: int, place: Place) -> Graph:
    """The graph with one output from before its activation; whatever else reads the activation still does."""
    behind = _behind(graph, number, place)
    values = {value for one in (place, *behind) for value in one.outputs}
    others = graph.outputs[:number] + graph.outputs[number + 1 :]
    if values.isdisjoint(others) and all(reader in behind for value in values for reader in graph.consumers(value)):
        return graph.without(place)
    new = place.inputs[0]
    for one in behind:
        graph, new = _once_more(graph, one, new)
    return _with_output_at(graph, number, new)


def _behind(graph: Graph, number: int, place: Place) -> list[Place]:
    """What comes between an activation and the output that it belongs to."""
    behind: list[Place] = []
    value = graph.outputs[number]
    while (producer := graph.producer(value)) is not place:
        assert producer is not None
        behind.append(producer)
        (value,) = producer.inputs
    return behind[::-1]


def _once_more(graph: Graph, place: Place, value: Value) -> tuple[Graph, Value]:
    """The graph with a place a second time, on another value."""
    first = len(graph.shapes)
    (old,) = place.outputs
    again = replace(place, inputs=(value,), outputs=(first,))
    shapes, tensors = [*graph.shapes, graph.shapes[old]], [*graph.tensors, graph.tensors[old]]
    return replace(graph, places=[*graph.places, again], shapes=shapes, tensors=tensors), first


def _with_output_at(graph: Graph, number: int, value: Value) -> Graph:
    """The graph with another value as its output of this number."""
    outputs = [value if i == number else old for i, old in enumerate(graph.outputs)]
    return replace(graph, output_structure=tree.pack_sequence_as(graph.output_structure, outputs))


def with_output(graph: Graph, output: str | int | None) -> Graph:
    """The graph with one of its outputs only, by name, by key or by number; None leaves them as they are.

    Raises:
        OptionError: no such output; those that there are are listed.
    """
    if output is None:
        return graph
    outputs = graph.outputs
    if isinstance(graph.output_structure, dict) and output in graph.output_structure:
        chosen = tree.flatten(graph.output_structure[output])
    elif isinstance(output, int) and -len(outputs) <= output < len(outputs):
        chosen = [outputs[output]]
    else:
        chosen = [value for value in dict.fromkeys(outputs) if graph.names.get(str(output)) == value]
    if len(chosen) != 1:
        raise OptionError(
            f"the model has no output {output!r}; it has {len(outputs)}: {', '.join(map(repr, output_names(graph)))} "
            "(a number counts from 0)"
        )
    return replace(graph, output_structure=chosen[0])


def output_names(graph: Graph) -> list[str]:
    """What each output is called: its key in a dict, or the path of the layer that gives it."""
    if isinstance(graph.output_structure, dict):
        return [".".join(map(str, path)) for path, _ in tree.flatten_with_path(graph.output_structure)]
    paths = sorted(graph.names, key=lambda path: path.count("/"), reverse=True)  # a nested model's own name comes first
    names = {graph.names[path]: path for path in paths}
    return [names.get(value, str(number)) for number, value in enumerate(graph.outputs)]


def last_activation(graph: Graph, output: Value) -> Place | None:
    """The softmax or sigmoid at the end of an output; None where it ends in anything else."""
    place = graph.producer(output)
    while place is not None and len(place.inputs) == 1:
        if place.kind == "activation" and place.activation in _AT_THE_END:
            return place
        if place.kind not in _PASSED_OVER:
            _require_split(graph, place)
            return None
        place = graph.producer(place.inputs[0])
    return None


def _require_split(graph: Graph, place: Place) -> None:
    """Raises where a softmax or sigmoid is inside a layer that can only be run as a whole."""
    if place.kind == "other" and (ending := last_operation(graph, place)) in _AT_THE_END:
        if place.operation is graph.model:  # one that only its gradient is asked of
            warn(
                f"the outputs of '{place.path}' end in a {ending} that cannot be taken off, so that they are explained as they "
                "are; score='outputs' says that this is meant"
            )
            return
        raise UnsupportedModelError(
            f"the model ends in '{place.path}' ({type(place.operation).__name__}), whose {ending} cannot be taken "
            "off: its kernel is quantised, or its `call` is its own. Explain the outputs as they are: score='outputs'"
        )


def _as_two_classes(graph: Graph, number: int) -> Graph:
    logit, new = graph.outputs[number], len(graph.shapes)
    place = Place(
        path=TWO_CLASSES,
        operation=None,
        kind="reshape",
        inputs=(logit,),
        outputs=(new,),
        compute=lambda tensors: [ops.concatenate([-tensors[0], tensors[0]], axis=-1)],
    )
    shapes, tensors = [*graph.shapes, (*graph.shapes[logit][:-1], 2)], [*graph.tensors, None]
    return _with_output_at(replace(graph, places=[*graph.places, place], shapes=shapes, tensors=tensors), number, new)
