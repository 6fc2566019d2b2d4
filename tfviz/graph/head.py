"""The score: what a model says before its last softmax or sigmoid.

A softmax ties the classes together (more of one is less of the others) and, where it is sure, has no gradient left. The
logits before it are what every method here explains, unless asked for the outputs as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras import ops, tree

from tfviz.errors import OptionError, UnsupportedModelError
from tfviz.graph.places import Graph, Place, Value

_AT_THE_END = ("softmax", "sigmoid")
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
        place = last_activation(graph, graph.outputs[number])
        if place is not None:
            graph = graph.without(place)
            if place.activation == "sigmoid" and graph.shapes[graph.outputs[number]][1:] == (1,):
                graph = _as_two_classes(graph, graph.outputs[number])
    return graph


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
        chosen = [value for value, name in zip(outputs, output_names(graph), strict=True) if name == output]
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
    names = {value: path for path, value in reversed(graph.names.items())}
    return [names.get(value, str(number)) for number, value in enumerate(graph.outputs)]


def last_activation(graph: Graph, output: Value) -> Place | None:
    """The softmax or sigmoid at the end of an output; None where it ends in anything else."""
    place = graph.producer(output)
    while place is not None and len(place.inputs) == 1:
        if place.kind == "activation" and place.activation in _AT_THE_END:
            return place
        if place.kind not in _PASSED_OVER:
            _require_split(place)
            return None
        place = graph.producer(place.inputs[0])
    return None


def _require_split(place: Place) -> None:
    """Raises where a softmax or sigmoid is inside a layer that can only be run as a whole."""
    if place.kind == "other" and getattr(place.operation, "activation", None) and place.activation in _AT_THE_END:
        raise UnsupportedModelError(
            f"the model ends in '{place.path}' ({type(place.operation).__name__}), whose {place.activation} cannot be taken "
            "off: its kernel is quantised, or its `call` is its own. Explain the outputs as they are: score='outputs'"
        )


def _as_two_classes(graph: Graph, logit: Value) -> Graph:
    new = len(graph.shapes)
    place = Place(
        path=TWO_CLASSES,
        operation=None,
        kind="reshape",
        inputs=(logit,),
        outputs=(new,),
        compute=lambda tensors: [ops.concatenate([-tensors[0], tensors[0]], axis=-1)],
    )
    return replace(
        graph,
        places=[*graph.places, place],
        shapes=[*graph.shapes, (graph.shapes[logit][0], 2)],
        tensors=[*graph.tensors, None],
        output_structure=_renamed(graph.output_structure, logit, new),
    )


def _renamed(structure: Any, old: Value, new: Value) -> Any:
    return tree.map_structure(lambda value: new if value == old else value, structure)
