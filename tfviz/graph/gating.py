"""Products of a signal and a gate, as in squeeze-and-excitation and in attention over places."""

from __future__ import annotations

from tfviz.graph.places import Graph, Place, Value

# How surely an activation makes a gate, by its name: relu6 is part of a sigmoid that is written out, or an activation.
_GATES = {"sigmoid": 2, "hard_sigmoid": 2, "hardsigmoid": 2, "softmax": 2, "relu6": 1}
_HANDED_ON = ("identity", "reshape", "scale")


def gated_input(graph: Graph, place: Place) -> int:
    """Which input of a product carries the signal: not the one that was squeezed, nor the one out of a sigmoid.

    A gate holds one number for each channel, (N, 1, 1, C) or (N, C) (Hu et al., 2018, "Squeeze-and-Excitation Networks"), or
    one for each pixel, (N, H, W, 1) (Woo et al., 2018, "CBAM"), or as many as the signal; and a sigmoid or a softmax made it,
    perhaps resized since. Of x · sigmoid(x), a swish written out, the factor x is the signal. Where nothing tells, it is the
    first, as people write it.
    """
    rank = max(len(graph.shapes[value]) for value in place.inputs)

    def is_gate(value: Value) -> tuple[int, int, int]:
        shape = graph.shapes[value]
        missing = rank - len(shape)
        return (missing + sum(size == 1 for size in shape[1:]), missing, _makes_gates(graph, value))

    return min(range(len(place.inputs)), key=lambda i: is_gate(place.inputs[i]))


def _makes_gates(graph: Graph, value: Value) -> int:
    """How surely what a value was made by is the end of a gate."""
    place = graph.producer(value)
    while place is not None and place.kind in _HANDED_ON and len(place.inputs) == 1:
        place = graph.producer(place.inputs[0])
    return 0 if place is None else _GATES.get(place.activation, 0)
