"""The score: what a model says before its last softmax or sigmoid.

A softmax ties the classes together (more of one is less of the others) and, where it is sure, has no gradient left. The
logits before it are what every method here explains, unless asked for the outputs as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras import ops, tree

from tfviz.errors import OptionError
from tfviz.graph.places import Graph, Place, Value

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


def last_activation(graph: Graph, output: Value) -> Place | None:
    """The softmax or sigmoid at the end of an output; None where it ends in anything else."""
    place = graph.producer(output)
    while place is not None and len(place.inputs) == 1:
        if place.kind == "activation" and place.activation in ("softmax", "sigmoid"):
            return place
        if place.kind not in _PASSED_OVER:
            return None
        place = graph.producer(place.inputs[0])
    return None


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
