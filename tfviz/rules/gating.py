"""Products of a signal and a gate, as in squeeze-and-excitation."""

from __future__ import annotations

from tfviz.graph.places import Graph, Place, Value


def gated_input(graph: Graph, place: Place) -> int:
    """Which input of a product carries the signal: not the one that was squeezed to a pixel, nor the one out of a sigmoid.

    A gate (Hu et al., 2018, "Squeeze-and-Excitation Networks") holds one number for each channel, (N, 1, 1, C) or (N, C),
    and a sigmoid or hard sigmoid made it; of x · sigmoid(x), a swish written out, the factor x is the signal. Where neither
    tells, it is the first, as people write it.
    """
    rank = max(len(graph.shapes[value]) for value in place.inputs)

    def is_gate(value: Value) -> tuple[int, int, bool]:
        shape = graph.shapes[value]
        missing = rank - len(shape)
        producer = graph.producer(value)
        is_sigmoid = producer is not None and "sigmoid" in producer.activation
        return (missing + sum(size == 1 for size in shape[1:-1]), missing, is_sigmoid)

    return min(range(len(place.inputs)), key=lambda i: is_gate(place.inputs[i]))
